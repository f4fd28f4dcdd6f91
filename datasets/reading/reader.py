"""The one reader of image files: whatever comes in, an upright RGB array or one clear error comes out.

What each format must hold before Pillow may decode it is checked in `containers` and `tiff`; here is what becomes of
the pixels.
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

from ..errors import ScarlensError, printable
from . import containers, tiff
from .opened import MAX_PIXELS, BadFileError, OpenedPicture, check_size
from .reduction import ReducedPhoto, reduced, reduction_factor

__all__ = ["MAX_BYTES", "MAX_PIXELS", "ImageReadError", "read_bytes", "read_image", "read_reduced"]

MAX_BYTES: Final = 50_000_000
"""Largest file that is read."""

_REGULAR: Final = f"a regular file of at most {MAX_BYTES:,} bytes"

# How a file of each format begins, and what opens it.
_FORMATS: Final[dict[str, tuple[re.Pattern[bytes], Callable[[bytes], OpenedPicture]]]] = {
    "JPEG": (re.compile(rb"\xff\xd8\xff"), containers.open_jpeg),
    "PNG": (re.compile(rb"\x89PNG\r\n\x1a\n"), containers.open_png),
    "WebP": (re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL), containers.open_webp),
    "TIFF": (re.compile(rb"II[*+]\0|MM\0[*+]"), tiff.open_tiff),
    "BMP": (re.compile(rb"BM"), containers.open_bmp),
    "GIF": (re.compile(rb"GIF8[79]a"), containers.open_gif),
    "AVIF": (re.compile(rb".{4}ftyp(avif|avis|mif1|msf1)", re.DOTALL), containers.open_avif),
    "PNM": (re.compile(rb"P[1-6]\s"), containers.open_pnm),
}

# Pillow decodes these in Python, about a microsecond for each pixel: four seconds at most.
_SLOW_CODECS: Final = ("bmp_rle", "ppm", "ppm_plain")
_SLOW_PIXELS: Final = 4_000_000

_STRIP_PIXELS: Final = 1_000_000  # converted at a time; of float64 they take 8 MB


class ImageReadError(ScarlensError, ValueError):
    """Say which file is no readable picture, what was expected of it and what was found.

    Attributes:
        name: the file's name as given; may hold any character.
        expected: what a readable file has.
        found: what this one has.
    """

    def __init__(self, name: str, expected: str, found: str) -> None:
        """Keep the three parts; `str()` joins them to one line of printable characters."""
        super().__init__(name, expected, found)
        self.name, self.expected, self.found = name, expected, found

    def __str__(self) -> str:
        """Return one line; characters that are not printable (control, bidirectional, surrogate) are escaped."""
        return printable(f"{self.name}: expected {self.expected}, found {self.found}")


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a regular file of at most `MAX_BYTES`.

    Links are followed. A directory, a FIFO, a socket or a device is refused without waiting for it.

    Raises:
        ImageReadError: the file is missing, not regular, too large, unreadable, or changed meanwhile.
    """
    name = os.fspath(path)
    try:
        return _read_regular(name)
    except BadFileError as problem:
        raise ImageReadError(name, *problem.args) from problem.__cause__


def _read_regular(name: str) -> bytes:
    # Opening a device can already act on it, so look first; without O_NONBLOCK a FIFO put there since would hang.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        _require_regular(Path(name).stat())
        with open(os.open(name, flags), "rb") as file:  # noqa: PTH123
            before = os.fstat(file.fileno())
            _require_regular(before)
            data = file.read(before.st_size + 1)  # a larger buffer would cost more than what it reads
            after = os.fstat(file.fileno())
    except (OSError, ValueError) as error:
        raise BadFileError(_REGULAR, getattr(error, "strerror", None) or str(error)) from error
    if (len(data), before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise BadFileError("a file that stays as it is while it is read", "one that was written to; try again later")
    return data


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BadFileError(_REGULAR, "a directory" if stat.S_ISDIR(status.st_mode) else "a FIFO, socket or device")
    if status.st_size > MAX_BYTES:
        raise BadFileError(_REGULAR, f"one of {status.st_size:,} bytes")


Source = str | os.PathLike[str] | bytes | np.ndarray
"""A path, the bytes of an image file, or RGB uint8 [H, W, 3]."""


def read_image(source: Source, *, name: str | None = None) -> np.ndarray:
    """Return the first picture of a file, upright and opaque.

    JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF and PNM are read, told by content, not by name; of several frames or pages
    the first. The EXIF orientation (in AVIF its own rotation) is applied; one named in XMP alone is not. Transparent
    pixels lie on white. CMYK, YCbCr, Lab and palettes become RGB; colour profiles (ICC) are ignored.

    Colour of 16 bits keeps the upper 8. Grey of more than 8 bits is scaled linearly: 16-bit from 0..65535 and 12-bit
    from 0..4095; 32-bit, signed and float grey from the first of 0..1 (float only), 0..255, 0..32767 and 0..65535
    that holds all values, else from its own minimum and maximum. A float that is not finite counts as the low end.

    A picture may have `MAX_PIXELS`, or fewer where decoding would take more than 360 MB of memory:

    - 36 megapixels in a progressive JPEG of full colour (4:4:4; 50 at 4:2:0), whose coefficients are all held at once,
      and in a TIFF of one strip of 8-bit RGB (50 in small strips or tiles), for a strip is decoded whole;
    - 21 in WebP, each of which Pillow decodes as an animation, with two canvases and a copy;
    - 18 in AVIF, for planes of up to 16 bits and two copies;
    - 4 in run-length BMP and in PNM as text or of a maximum other than 255, which Pillow decodes in Python, slowly.

    Args:
        source: path of a file, the content of one, or a decoded picture: uint8 RGB [H, W, 3], taken as it is.
        name: what an error calls the source; by default its path, "<bytes>" or "<array>".

    Returns:
        uint8 RGB [H, W, 3], 0 to 255, C-contiguous; an array that has this form already is returned itself.

    Raises:
        ImageReadError: the source is no such picture, damaged, cut short, larger than `MAX_BYTES` or has more
            pixels than its format may.
        TypeError: the source is neither a path nor bytes nor an array.
    """
    name = _name_of(source) if name is None else name
    try:
        return _check_array(source) if isinstance(source, np.ndarray) else _decode(_content(source)).pixels
    except BadFileError as problem:
        raise ImageReadError(name, *problem.args) from problem.__cause__


def read_reduced(source: Source, *, name: str | None = None) -> ReducedPhoto:
    """Return the first picture of a file as the evaluation transform wants it: reduced where it is large.

    As `reduction.reduced` of `read_image`, which takes the same sources and raises the same errors, but a large JPEG
    is decoded at the scale that is wanted, in a fraction of the time.
    """
    name = _name_of(source) if name is None else name
    try:
        if isinstance(source, np.ndarray):
            return reduced(_check_array(source))
        photo = _decode(_content(source), scaled=True)
        return reduced(photo.pixels) if photo.factor == 1 else photo
    except BadFileError as problem:
        raise ImageReadError(name, *problem.args) from problem.__cause__


def _name_of(source: Source) -> str:
    return "<array>" if isinstance(source, np.ndarray) else "<bytes>" if isinstance(source, bytes) else str(source)


def _content(source: str | os.PathLike[str] | bytes) -> bytes:
    return source if isinstance(source, bytes) else _read_regular(os.fspath(source))


def _check_array(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        mend = "scale to 0..255, repeat grey three times, drop alpha, put colours last in the order R, G, B"
        raise BadFileError(f"a uint8 RGB array [H, W, 3] ({mend})", f"{array.dtype} {list(array.shape)}")
    check_size(array.shape[1], array.shape[0])
    return np.ascontiguousarray(array)


def _decode(data: bytes, *, scaled: bool = False) -> ReducedPhoto:
    """Decode a file whole or, where it is `scaled` and a large JPEG, at the scale that it is reduced to."""
    if len(data) > MAX_BYTES:
        raise BadFileError(f"at most {MAX_BYTES:,} bytes", f"{len(data):,}")
    form = _recognise(data)
    try:
        opened = _FORMATS[form][1](data)
        del data  # the copy that `opened` holds is enough
        _check_cost(opened, form)
        width, height = opened.image.size
        factor = reduction_factor(height, width) if scaled and opened.scalable else 1
        if 1 < factor <= min(width, height):
            opened.image.draft(None, (width // factor, height // factor))
        else:
            factor = 1
        opened.image.load()
        if opened.orientation > 4:
            width, height = height, width
        return ReducedPhoto(_upright_rgb(opened), factor, height, width, decoded_whole=factor == 1)
    except BadFileError:
        raise
    except Exception as error:  # Pillow and its codecs raise nearly every type there is
        raise BadFileError(f"a whole, undamaged {form} file", f"{type(error).__name__}: {error}") from error


def _recognise(data: bytes) -> str:
    """Return the name of the format that the content begins like."""
    for form, (mark, _) in _FORMATS.items():
        if mark.match(data):
            return form
    *forms, last = _FORMATS
    found = f"bytes that begin {data[:12]!r}" if data else "an empty file"
    raise BadFileError(f"a {', '.join(forms)} or {last} file", found)


def _check_cost(opened: OpenedPicture, form: str) -> None:
    """Refuse a picture that would take too much memory or time to decode."""
    (width, height), tiles = opened.image.size, opened.image.tile
    check_size(width, height, opened.pixel_bytes, opened.fixed_bytes)
    if tiles and tiles[0][0] in _SLOW_CODECS and width * height > _SLOW_PIXELS:
        raise BadFileError(f"at most {_SLOW_PIXELS:,} pixels in this kind of {form}", f"{width} x {height}")


def _upright_rgb(opened: OpenedPicture) -> np.ndarray:
    """Return uint8 RGB [H, W, 3] of a loaded picture, converted in strips so that no second copy is held."""
    image, orientation = opened.image, opened.orientation
    width, height = image.size
    result = np.empty((width, height, 3) if orientation > 4 else (height, width, 3), np.uint8)
    # `stored` is the result as the file's rows see it: writing a row there puts it upright.
    mirrored = result[:, ::-1] if orientation in (2, 3, 6, 7) else result
    mirrored = mirrored[::-1] if orientation in (3, 4, 7, 8) else mirrored
    stored = mirrored.swapaxes(0, 1) if orientation > 4 else mirrored
    rows = max(1, _STRIP_PIXELS // width)
    strips = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    deep = image.mode in ("I", "F") or image.mode.startswith("I;16")
    low_high = _deep_range(opened, strips) if deep else (0, 0)
    for box in strips:
        strip = image.crop(box)
        stored[box[1] : box[3]] = _deep_to_grey(strip, *low_high) if deep else _to_rgb(strip)
    return result


def _to_rgb(strip: Image) -> np.ndarray:
    """Return uint8 RGB [h, w, 3] of 8-bit samples, alpha over white."""
    if not strip.has_transparency_data:
        return np.asarray(strip.convert("RGB"))
    if strip.mode in ("La", "RGBa"):  # premultiplied
        strip = strip.convert("LA" if strip.mode == "La" else "RGBA")
    rgba = np.asarray(strip.convert("RGBA")).astype(np.uint16)
    alpha = rgba[..., 3:]
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


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
            ranges = (65535.0,)  # Pillow has scaled the file's own maximum to this
        if low >= 0:
            low, high = 0.0, next((top for top in ranges if high <= top), high)
    return (high, low) if opened.white_is_zero else (low, high)


def _deep_to_grey(strip: Image, low: float, high: float) -> np.ndarray:
    """Return uint8 [h, w, 1], `low` black and `high` white; the value of a transparent colour key becomes white."""
    with np.errstate(invalid="ignore"):  # a signalling NaN is one more value that is not finite
        values = np.asarray(strip).astype(np.float64)
    grey = (np.nan_to_num(values, nan=low, posinf=low, neginf=low) - low) * (255 / ((high - low) or 1))
    grey = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    if "transparency" in strip.info:
        grey[values == strip.info["transparency"]] = 255
    return grey[..., None]
