"""The reader of image files: any input gives an upright RGB array or one clear error.

`containers` and `tiff` check files before Pillow decodes them; this module converts the pixels.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from PIL.Image import Image
from PIL.ImageFile import ImageFile

from ..errors import ScarlensError, printable
from . import containers, tiff
from .colour import ToSrgb, to_srgb
from .dicom import open_dicom
from .heif import open_heif
from .opened import MAX_PIXELS, BadFileError, OpenedPicture, check_size
from .reduction import ReducedPhoto, reduced, reduction_factor
from .sources import Source, array_of_tensor, is_tensor, name_of, over_white, require_no_address, rgb_of_array

__all__ = ["MAX_BYTES", "MAX_PIXELS", "ImageReadError", "Source", "read_bytes", "read_image", "read_reduced"]

MAX_BYTES: Final = 100_000_000
"""Size limit of a file in bytes."""

_REGULAR: Final = f"a regular file of at most {MAX_BYTES:,} bytes"
_NO_FILE: Final = "no such file"
_FOLDER: Final = "a directory (scarlens batch reads folders)"

# Signature and opener of each format.
_FORMATS: Final[dict[str, tuple[re.Pattern[bytes], Callable[[bytes], OpenedPicture]]]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), containers.open_jpeg),
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), containers.open_png),
    "WebP": (re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL), containers.open_webp),
    "TIFF": (re.compile(rb"II[*+]\0|MM\0[*+]"), tiff.open_tiff),
    "BMP": (re.compile(rb"BM"), containers.open_bmp),
    "GIF": (re.compile(rb"GIF8[79]a"), containers.open_gif),
    "AVIF": (re.compile(rb".{4}ftyp(avi[fs]|m[is]f1.{4}(.{4}){0,20}?avi[fs])", re.DOTALL), containers.open_avif),
    "HEIF": (re.compile(rb".{4}ftyp(hei[cxms]|hev[cx]|m[is]f1)", re.DOTALL), open_heif),
    "PNM": (re.compile(rb"P[1-6]\s"), containers.open_pnm),
    "DICOM": (re.compile(rb".{128}DICM", re.DOTALL), open_dicom),
}

# Pillow decodes these in Python, at about a microsecond per pixel: four seconds at most.
_SLOW_CODECS: Final = ("bmp_rle", "ppm", "ppm_plain")
_SLOW_PIXELS: Final = 4_000_000

_EXIF_ORIENTATION: Final = 0x0112

_STRIP_PIXELS: Final = 1_000_000  # converted at a time; 8 MB as float64


class ImageReadError(ScarlensError, ValueError):
    """A file is not a readable picture; the message says what was expected and what was found.

    Attributes:
        name: the file's name as given; may contain any character.
        expected: what was expected of the file.
        found: what was found instead.
    """

    def __init__(self, name: str, expected: str, found: str) -> None:
        """Store the three parts; `str()` joins them into one printable line."""
        super().__init__(name, expected, found)
        self.name, self.expected, self.found = name, expected, found

    def __str__(self) -> str:
        """Return one line with unprintable characters (control, bidirectional, surrogate) escaped."""
        if self.found == _NO_FILE:
            return printable(f"{self.name}: {_NO_FILE}")
        return printable(f"{self.name}: expected {self.expected}, found {self.found}")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a regular file of at most `MAX_BYTES`.

    Links are followed. A directory, FIFO, socket or device is refused without blocking.

    Raises:
        ImageReadError: the file is missing, not regular, too large, unreadable, or changed while being read.
    """
    name = os.fspath(path)
    try:
        return _read_regular(name)
    except BadFileError as problem:
        raise ImageReadError(name, *problem.args) from problem.__cause__


def _read_regular(name: str) -> bytes:
    require_no_address(name)
    # Opening a device can have side effects, so check first. O_NONBLOCK: a FIFO created since the check would block.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        _require_regular(Path(name).stat())
        with open(os.open(name, flags), "rb") as file:  # noqa: PTH123
            before = os.fstat(file.fileno())
            _require_regular(before)
            data = file.read(before.st_size + 1)  # a larger buffer would cost more than the read
            after = os.fstat(file.fileno())
    except FileNotFoundError as error:
        raise BadFileError(_REGULAR, _NO_FILE) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadFileError(_REGULAR, f"one that cannot be read: {reason}") from error
    if (len(data), before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise BadFileError("a file that does not change while it is read", "one that did; try again later")
    return data


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BadFileError(_REGULAR, _FOLDER if stat.S_ISDIR(status.st_mode) else "a FIFO, socket or device")
    if status.st_size > MAX_BYTES:
        raise BadFileError(_REGULAR, f"one of {status.st_size:,} bytes")


def read_image(source: Source, *, name: str | None = None) -> np.ndarray:
    """Return the first picture of a file, upright and opaque.

    JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIF, PNM and (with the extra `dicom`) DICOM are recognised by content, not
    by name. Of several frames or pages, the first is read, of a HEIF file its primary picture if it has one. EXIF
    orientation (in AVIF and HEIF their own rotation) is applied; orientation in XMP alone is not.
    Transparency is composited over white. CMYK, YCbCr, Lab and palettes become RGB.

    Colours become sRGB, by the ICC profile or what the format has instead (PNG's cICP or gAMA and cHRM, nclx in HEIF
    and AVIF); profiles that cannot be used, of grey with more than 8 bits, and HDR transfer curves are ignored.

    16-bit colour keeps the upper 8 bits. Grey with more than 8 bits is scaled linearly: 16-bit from 0..65535, 12-bit
    from 0..4095; 32-bit, signed and float grey from the first of 0..1 (float only), 0..255, 0..32767 and 0..65535 that
    contains all values, else from its own minimum and maximum. Non-finite floats become the low end.

    Decoding may take 360 MB of memory: `MAX_PIXELS`, about 51 megapixels, or fewer:

    - 36 megapixels in a progressive JPEG at 4:4:4 (51 at 4:2:0), whose coefficients are all in memory at once;
    - 36 in an 8-bit RGB TIFF with one strip (51 with small strips or tiles), because a strip is decoded whole;
    - 21 in WebP, which Pillow decodes as an animation, with two canvases and a copy;
    - 18 in AVIF, with planes of up to 16 bits and two copies, and 20 in HEIF with more than 8 bits;
    - 4 in run-length BMP, and in PNM that is text or has a maximum other than 255, which Pillow decodes in Python.

    Args:
        source: see `sources.Source`.
        name: name of the source in errors; default: its path, or a description such as "<bytes>".

    Returns:
        uint8 RGB [H, W, 3], 0 to 255, C-contiguous. An array of this form is returned itself.

    Raises:
        ImageReadError: the source is not such a picture, is damaged or truncated, is larger than `MAX_BYTES`, or has
            too many pixels for its format.
        TypeError: the source is none of `sources.Source`.
    """
    name = name_of(source) if name is None else name
    content = loaded(source, name)
    try:
        return content if isinstance(content, np.ndarray) else _decode(content).pixels
    except BadFileError as problem:
        raise ImageReadError(name, *problem.args) from problem.__cause__


def read_reduced(source: Source, *, name: str | None = None) -> ReducedPhoto:
    """Return the first picture of a file for the evaluation transform: reduced if it is large.

    Like `reduction.reduced` of `read_image`, with the same sources and errors, but a large JPEG is decoded at reduced
    scale, in a fraction of the time and memory: up to `MAX_SCALED_PIXELS`.
    """
    name = name_of(source) if name is None else name
    content = loaded(source, name)
    try:
        if isinstance(content, np.ndarray):
            return reduced(content)
        photo = _decode(content, scaled=True)
        return reduced(photo.pixels) if photo.factor == 1 else photo
    except BadFileError as problem:
        raise ImageReadError(name, *problem.args) from problem.__cause__


def loaded(source: Source, name: str) -> bytes | np.ndarray:
    """Return the bytes of an image file, or the pixels, uint8 RGB [H, W, 3], of a source that is already decoded.

    Args:
        source: the source.
        name: its name in errors.

    Raises:
        ImageReadError: the source cannot be loaded.
        TypeError: the source is none of `sources.Source`.
    """
    try:
        return _loaded(source)
    except BadFileError as problem:
        raise ImageReadError(name, *problem.args) from problem.__cause__


def _loaded(source: Source) -> bytes | np.ndarray:
    if isinstance(source, str | os.PathLike):
        return _read_regular(os.fspath(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, Image):
        return _pixels_of_image(source)
    if is_tensor(source):
        source = array_of_tensor(source)
    if isinstance(source, np.ndarray):
        check_size(*(source.shape[1::-1] if source.ndim > 1 else (0, 0)))
        return np.ascontiguousarray(rgb_of_array(source))
    read = getattr(source, "read", None)
    if read is None:
        raise TypeError(f"expected a path, an open file, bytes, an array, an image or a tensor, got {source!r}")
    content = read(MAX_BYTES + 1)
    if not isinstance(content, bytes):
        raise BadFileError("a file opened in binary mode", "one opened as text")
    return content


def _pixels_of_image(image: Image) -> np.ndarray:
    check_size(*image.size)
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    try:
        image.load()
        return _upright_rgb(OpenedPicture(image, orientation, profile=image.info.get("icc_profile")))
    except Exception as error:  # Pillow and its codecs raise almost any type
        raise BadFileError("an image that Pillow can load", f"{type(error).__name__}: {error}") from error


def _decode(data: bytes, *, scaled: bool = False) -> ReducedPhoto:
    """Decode a file whole or, if `scaled` is set and it is a large JPEG, at reduced scale."""
    if len(data) > MAX_BYTES:
        raise BadFileError(f"at most {MAX_BYTES:,} bytes", f"{len(data):,}")
    form = _recognise(data)
    try:
        opened = _FORMATS[form][1](data)
        del data  # `opened` has its own copy
        width, height = opened.image.size
        factor = reduction_factor(height, width) if scaled and opened.scalable else 1
        if factor > min(width, height):
            factor = 1
        _check_cost(opened, form, factor)
        if factor > 1 and isinstance(opened.image, ImageFile):
            opened.image.draft(None, (width // factor, height // factor))
        opened.image.load()
        if opened.orientation > 4:
            width, height = height, width
        return ReducedPhoto(_upright_rgb(opened), factor, height, width, decoded_whole=factor == 1)
    except BadFileError:
        raise
    except Exception as error:  # Pillow and its codecs raise almost any type
        raise BadFileError(f"a complete, undamaged {form} file", f"{type(error).__name__}: {error}") from error


def _recognise(data: bytes) -> str:
    """Return the name of the format, from the content's first bytes."""
    for form, (mark, _) in _FORMATS.items():
        if mark.match(data):
            return form
    *forms, last = _FORMATS
    found = f"bytes that begin with {data[:12]!r}" if data else "an empty file"
    raise BadFileError(f"a {', '.join(forms)} or {last} file (convert others to JPEG)", found)


def _check_cost(opened: OpenedPicture, form: str, factor: int) -> None:
    """Refuse a picture that would take too much memory or time to decode at a scale of 1 / factor."""
    (width, height), tiles = opened.image.size, getattr(opened.image, "tile", ())
    pixel_bytes = opened.pixel_bytes / factor**2
    if opened.coefficient_bytes:  # freed before the result is made, but not before Pillow's four bytes
        pixel_bytes = max(pixel_bytes, 4 / factor**2 + opened.coefficient_bytes)
    check_size(width, height, pixel_bytes, opened.fixed_bytes)
    if tiles and tiles[0][0] in _SLOW_CODECS and width * height > _SLOW_PIXELS:
        raise BadFileError(f"at most {_SLOW_PIXELS:,} pixels in this type of {form}", f"{width} x {height}")


def _upright_rgb(opened: OpenedPicture) -> np.ndarray:
    """Convert a loaded picture to uint8 RGB [H, W, 3], in strips, without a second copy in memory."""
    image, orientation = opened.image, opened.orientation
    width, height = image.size
    result = np.empty((width, height, 3) if orientation > 4 else (height, width, 3), np.uint8)
    # `stored` is a view of the result in the file's orientation: rows written to it come out upright.
    mirrored = result[:, ::-1] if orientation in (2, 3, 6, 7) else result
    mirrored = mirrored[::-1] if orientation in (3, 4, 7, 8) else mirrored
    stored = mirrored.swapaxes(0, 1) if orientation > 4 else mirrored
    rows = max(1, _STRIP_PIXELS // width)
    strips = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    deep = image.mode in ("I", "F") or image.mode.startswith("I;16")
    low_high = _deep_range(opened, strips) if deep else (0, 0)
    convert = to_srgb(opened.profile, image.mode) if opened.profile and not deep else None
    for box in strips:
        strip = image.crop(box)
        stored[box[1] : box[3]] = _deep_to_grey(strip, *low_high) if deep else _to_rgb(strip, convert)
    return result


def _to_rgb(strip: Image, convert: ToSrgb | None) -> np.ndarray:
    """Convert 8-bit samples to uint8 sRGB [h, w, 3], with alpha over white."""
    if strip.mode in ("La", "RGBa", "P") and strip.has_transparency_data:  # La, RGBa: premultiplied
        strip = strip.convert("LA" if strip.mode == "La" else "RGBA")
    colours = np.asarray(convert(strip) if convert else strip.convert("RGB"))
    if not strip.has_transparency_data:
        return colours
    return over_white(colours, np.asarray(strip.convert("RGBA"))[..., 3:])


def _deep_range(opened: OpenedPicture, strips: list[tuple[int, int, int, int]]) -> tuple[float, float]:
    """Return the values that become black and white."""
    image = opened.image
    if image.mode.startswith("I;16"):
        low, high = 0.0, 2.0**opened.bits - 1
    else:
        low, high = math.inf, -math.inf
        for box in strips:
            values = np.asarray(image.crop(box))
            values = values[np.isfinite(values)]
            if values.size:
                low, high = min(low, float(values.min())), max(high, float(values.max()))
        ranges = (1.0, 255.0, 32767.0, 65535.0) if image.mode == "F" else (255.0, 32767.0, 65535.0)
        if image.format == "PPM" and image.mode == "I":
            ranges = (65535.0,)  # Pillow has scaled the file's maximum to this
        if low >= 0:
            low, high = 0.0, next((top for top in ranges if high <= top), high)
    return (high, low) if opened.white_is_zero else (low, high)


def _deep_to_grey(strip: Image, low: float, high: float) -> np.ndarray:
    """Scale to uint8 [h, w, 1], with `low` black, `high` white and a transparent colour key white."""
    with np.errstate(invalid="ignore"):  # a signalling NaN is non-finite like the others
        values = np.asarray(strip).astype(np.float64)
    grey = (np.nan_to_num(values, nan=low, posinf=low, neginf=low) - low) * (255 / ((high - low) or 1))
    grey = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    if "transparency" in strip.info:
        grey[values == strip.info["transparency"]] = 255
    return grey[..., None]
