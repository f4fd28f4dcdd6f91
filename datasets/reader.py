"""The one reader of image files: whatever comes in, an upright RGB array or one clear error comes out.

Each file is first walked by its own container's rules, bounded, and handed to Pillow with only the parts that make up
the first picture. Metadata, further frames and everything after the picture never reach a decoder: that is where
decompression bombs, endless loops and warnings live. Truncation that Pillow passes in silence is found by the walk.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.Image import Image
from PIL.ImageFile import ImageFile

MAX_BYTES: Final = 50_000_000
"""Largest file that is read."""

MAX_PIXELS: Final = 50_000_000
"""Largest picture that is decoded; a format whose decoder needs more memory for each pixel has a lower limit."""

DECODE_BYTES: Final = 360_000_000
"""Memory for the pixels while they are decoded; with the file and the interpreter it keeps a process below 512 MB."""

FORMATS: Final = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or PNM"

_REGULAR: Final = f"a regular file of at most {MAX_BYTES:,} bytes"

# Pillow decodes these in pure Python, about a microsecond for each pixel.
_SLOW_CODECS: Final = ("bmp_rle", "ppm", "ppm_plain")
_SLOW_PIXELS: Final = 4_000_000
# Progressive JPEGs revisit every pixel in each scan: scans times pixels bounds the time.
_SCANNED_PIXELS: Final = 2_000_000_000
_MAX_SEGMENTS: Final = 100_000
_STRIP_PIXELS: Final = 1_000_000
_JPEG_MARKER: Final = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")


class ImageReadError(ValueError):
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
        text = f"{self.name}: expected {self.expected}, found {self.found}"
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _BadFileError(Exception):
    """A problem of the content, before it is known what to call the file: args are `expected` and `found`."""


class _Opened(NamedTuple):
    """A picture whose header was read and none of whose pixels was decoded."""

    image: ImageFile
    orientation: int = 1  # of EXIF, 1 to 8
    pixel_bytes: float = 7  # memory for each pixel while decoding: Pillow's 4 bytes and the result's 3
    fixed_bytes: int = 0  # memory while decoding that does not follow from the pixels
    bits: int = 16  # of each sample where Pillow keeps more than 8
    white_is_zero: bool = False  # where Pillow does not invert such samples itself


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a regular file of at most `MAX_BYTES`.

    Links are followed. A directory, a FIFO, a socket or a device is refused without waiting for it.

    Raises:
        ImageReadError: the file is missing, not regular, too large or unreadable.
    """
    name = os.fspath(path)
    try:
        return _read_regular(name)
    except _BadFileError as problem:
        raise ImageReadError(name, *problem.args) from problem.__cause__


def _read_regular(name: str) -> bytes:
    # Opening a device can already act on it, so look first; without O_NONBLOCK a FIFO put there since would hang.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
    try:
        _require_regular(Path(name).stat())
        with open(os.open(name, flags), "rb") as file:  # noqa: PTH123
            _require_regular(os.fstat(file.fileno()))
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _BadFileError(_REGULAR, getattr(error, "strerror", None) or str(error)) from error
    if len(data) > MAX_BYTES:
        raise _BadFileError(_REGULAR, "one that grew beyond")
    return data


def _require_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _BadFileError(_REGULAR, "a directory" if stat.S_ISDIR(status.st_mode) else "a FIFO, socket or device")
    if status.st_size > MAX_BYTES:
        raise _BadFileError(_REGULAR, f"one of {status.st_size:,} bytes")


def read_image(source: str | os.PathLike[str] | bytes | np.ndarray, *, name: str | None = None) -> np.ndarray:
    """Return the first picture of a file, upright and opaque.

    JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF and PNM are read, told by content, not by name; of several frames or pages
    the first. The EXIF orientation (in AVIF its own rotation) is applied; one named in XMP alone is not. Transparent
    pixels lie on white. CMYK, YCbCr, Lab and palettes become RGB; colour profiles (ICC) are ignored.

    Colour of 16 bits keeps the upper 8. Grey of more than 8 bits is scaled linearly: 16-bit from 0..65535 and 12-bit
    from 0..4095; 32-bit, signed and float grey from the first of 0..1 (float only), 0..255, 0..32767 and 0..65535
    that holds all values, else from its own minimum and maximum. A float that is not finite counts as the low end.

    Args:
        source: path of a file, the content of one, or a decoded picture: uint8 RGB [H, W, 3], taken as it is.
        name: what an error calls the source; by default its path, "<bytes>" or "<array>".

    Returns:
        uint8 RGB [H, W, 3], 0 to 255, C-contiguous; an array that has this form already is returned itself.

    Raises:
        ImageReadError: the source is no such picture, damaged, cut short, larger than `MAX_BYTES` or `MAX_PIXELS`,
            or would take more memory than `DECODE_BYTES` to decode.
        TypeError: the source is neither a path nor bytes nor an array.
    """
    if name is None:
        name = "<array>" if isinstance(source, np.ndarray) else "<bytes>" if isinstance(source, bytes) else str(source)
    try:
        if isinstance(source, np.ndarray):
            return _check_array(source)
        return _decode(source if isinstance(source, bytes) else _read_regular(os.fspath(source)))
    except _BadFileError as problem:
        raise ImageReadError(name, *problem.args) from problem.__cause__


def _check_array(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        mend = "scale to 0..255, repeat grey three times, drop alpha, put colours last in the order R, G, B"
        raise _BadFileError(f"a uint8 RGB array [H, W, 3] ({mend})", f"{array.dtype} {list(array.shape)}")
    _check_size(array.shape[1], array.shape[0])
    return np.ascontiguousarray(array)


def _check_size(width: int, height: int, pixel_bytes: float = 7, fixed_bytes: int = 0) -> None:
    limit = min(MAX_PIXELS, max(0, int((DECODE_BYTES - fixed_bytes) / pixel_bytes)))
    if not 0 < width * height <= limit or min(width, height) < 0:
        raise _BadFileError(f"1 to {limit:,} pixels", f"{width} x {height}")


def _decode(data: bytes) -> np.ndarray:
    if len(data) > MAX_BYTES:
        raise _BadFileError(f"at most {MAX_BYTES:,} bytes", f"{len(data):,}")
    form, opener = next(((form, opener) for magic, form, opener in _OPENERS if magic.match(data)), (None, None))
    if form is None or opener is None:
        raise _BadFileError(f"a {FORMATS} file", f"bytes that begin {data[:12]!r}" if data else "an empty file")
    try:
        opened = opener(data)
        del data  # the copy that `opened` holds is enough
        image = opened.image
        _check_size(image.width, image.height, opened.pixel_bytes, opened.fixed_bytes)
        if image.tile and image.tile[0][0] in _SLOW_CODECS and math.prod(image.size) > _SLOW_PIXELS:
            raise _BadFileError(
                f"at most {_SLOW_PIXELS:,} pixels in this kind of {form}", f"{image.width} x {image.height}"
            )
        image.load()
        return _upright_rgb(opened)
    except _BadFileError:
        raise
    except Exception as error:  # Pillow and its codecs raise nearly every type there is
        raise _BadFileError(f"a whole, undamaged {form} file", f"{type(error).__name__}: {error}") from error


def _upright_rgb(opened: _Opened) -> np.ndarray:
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


def _deep_range(opened: _Opened, strips: list[tuple[int, int, int, int]]) -> tuple[float, float]:
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
    values = np.asarray(strip).astype(np.float64)
    grey = (np.nan_to_num(values, nan=low, posinf=low, neginf=low) - low) * (255 / ((high - low) or 1))
    grey = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    if "transparency" in strip.info:
        grey[values == strip.info["transparency"]] = 255
    return grey[..., None]


def _open_jpeg(data: bytes) -> _Opened:
    """Open the first picture of a JPEG or MPO file, without its application segments."""
    kept, position, scans, orientation = [data[:2]], 2, 0, 1
    width = height = 0
    coefficient_bytes, components, progressive = 0.0, 0, False
    for _ in range(_MAX_SEGMENTS):
        # Within a scan 0xFF is followed by 0 or a restart marker; any other marker ends it.
        marker = _JPEG_MARKER.search(data, position)
        if marker is None:
            raise _BadFileError("a JPEG up to its end marker", f"{len(data):,} bytes without one")
        code, start = marker[1][0], marker.end()
        if scans:
            kept.append(data[position : marker.start()])
        if code == 0xD9:
            break
        position = start + int.from_bytes(data[start : start + 2], "big")
        segment = data[start + 2 : position]
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            height, width, components = struct.unpack(">HHB", segment[1:6])
            factors = [(byte >> 4) * (byte & 15) for byte in segment[7 : 7 + 3 * components : 3]]
            coefficient_bytes = 2 * sum(factors) / max(1, *factors)
            progressive = code not in (0xC0, 0xC1, 0xC9)
            _check_size(width, height)
        elif code == 0xDA:
            scans += 1
            if scans * width * height > _SCANNED_PIXELS:
                raise _BadFileError("a JPEG that is drawn in few scans", f"{scans} scans or more")
            if scans == 1 and (progressive or segment[0] < components):
                # The decoder holds all coefficients of such a file at once.
                _check_size(width, height, 4 + coefficient_bytes)
        elif code == 0xE1 and segment.startswith(b"Exif\0\0"):
            orientation = _exif_orientation(segment)
        # JFIF (0xE0) and Adobe (0xEE) say how colours are coded; no other application segment or comment is needed.
        if code in (0xE0, 0xEE) or not (0xE1 <= code <= 0xEF or code == 0xFE):
            kept.append(data[marker.start() : position])
    else:
        raise _BadFileError("a JPEG of few segments", f"more than {_MAX_SEGMENTS:,}")
    return _Opened(JpegImagePlugin.JpegImageFile(io.BytesIO(b"".join([*kept, b"\xff\xd9"]))), orientation)


def _open_png(data: bytes) -> _Opened:
    """Open the default picture of a PNG or APNG file whose checksums hold and whose pixels are all there."""
    kept, pixels, header, orientation = {}, [], b"", 1
    for kind, body in _png_chunks(data):
        if kind == b"IHDR":
            header = header or body
        elif kind == b"IDAT":
            pixels.append(body)
            if len(pixels) > _MAX_SEGMENTS:
                raise _BadFileError("a PNG of few chunks", f"more than {_MAX_SEGMENTS:,} of pixels")
        elif kind == b"eXIf":
            orientation = _exif_orientation(bytes(body))
        elif kind in (b"PLTE", b"tRNS"):
            kept.setdefault(kind, bytes(body))
    width, height, depth, colour, _, _, interlaced = struct.unpack(">LLBBBBB", header)
    _check_size(width, height)
    if colour == 3 and b"PLTE" not in kept:
        raise _BadFileError("a palette in a PNG of palette colours", "none")
    _check_png_pixels(pixels, width, height, depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour], bool(interlaced))
    if (depth, colour) == (16, 2) and b"tRNS" in kept:
        # Pillow keeps the upper 8 bits of each sample, but not of the colour that stands for transparent.
        kept[b"tRNS"] = bytes(byte for high in kept[b"tRNS"][:6:2] for byte in (0, high))
    file = io.BytesIO()
    file.write(data[:8])
    for kind, bodies in ((b"IHDR", [header]), *((kind, [kept[kind]]) for kind in sorted(kept)), (b"IDAT", pixels)):
        crc = zlib.crc32(kind)
        file.write(struct.pack(">L", sum(map(len, bodies))) + kind)
        for body in bodies:
            file.write(body)
            crc = zlib.crc32(body, crc)
        file.write(struct.pack(">L", crc))
    file.write(struct.pack(">L4sL", 0, b"IEND", zlib.crc32(b"IEND")))
    file.seek(0)
    return _Opened(PngImagePlugin.PngImageFile(file), orientation)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield kind and body of each chunk that bears on the pixels, up to the end chunk, checksums verified."""
    view, position = memoryview(data), 8
    while True:
        if position + 12 > len(data):
            raise _BadFileError("a PNG up to its end chunk", f"{len(data):,} bytes without one")
        length, kind = struct.unpack_from(">L4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise _BadFileError(f"{length:,} bytes in PNG chunk {kind!r}", f"{len(data) - position - 8:,}")
        position, start = end, position
        if kind not in _PNG_KINDS:
            continue
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise _BadFileError("PNG chunks that match their checksums", f"a damaged {kind!r}")
        if kind == b"IEND":
            return
        yield kind, view[start + 8 : end - 4]


def _check_png_pixels(parts: list[memoryview], width: int, height: int, bits: int, interlaced: bool) -> None:
    """Refuse a pixel stream that ends early, which Pillow fills up in silence; inflates a megabyte at a time."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    missing = 0
    for left, top, right, down in passes if interlaced else [(0, 0, 1, 1)]:
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        missing += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    stream = zlib.decompressobj()
    for part in parts:
        for start in range(0, len(part), 1 << 16):
            piece: bytes | memoryview = part[start : start + (1 << 16)]
            while piece and missing > 0 and not stream.eof:
                missing -= len(stream.decompress(piece, 1 << 20))
                piece = stream.unconsumed_tail
    while missing > 0 and (rest := stream.decompress(b"", 1 << 20)):
        missing -= len(rest)
    if missing > 0:
        raise _BadFileError("all pixels of a PNG", f"a stream that ends {missing:,} bytes early")


def _open_tiff(data: bytes) -> _Opened:
    """Open the first page of a TIFF or BigTIFF file, through a directory that holds no metadata and no further page."""
    order, big, entries = _tiff_entries(data)
    kept, values, unread = {}, {}, len(data)  # tags that share bytes could add up to more than the file
    for entry in entries:
        tag, kind, count = struct.unpack_from(order + ("HHQ" if big else "HHL"), entry)
        if tag not in _TIFF_TAGS or tag in kept or kind not in _TIFF_KINDS:
            continue
        letter, field = _TIFF_KINDS[kind], entry[12:] if big else entry[8:]
        size = count * struct.calcsize("=" + letter)
        if count > _TIFF_TAGS[tag]:
            raise _BadFileError(f"at most {_TIFF_TAGS[tag]:,} values in TIFF tag {tag}", f"{count:,}")
        start = int.from_bytes(field, "little" if order == "<" else "big")
        content = field[:size] if size <= len(field) else data[start : start + size]
        unread -= size
        if len(content) < size or unread < 0:
            raise _BadFileError("a whole TIFF", f"one cut short in tag {tag}")
        kept[tag], values[tag] = entry, struct.unpack(f"{order}{count}{letter}", content)

    def first(tag: int, default: int) -> int:
        return (values.get(tag) or (default,))[0]

    width, height, bits = first(256, 0), first(257, 0), first(258, 1)
    compression, photometric = first(259, 1), first(262, 0)
    if compression not in _TIFF_COMPRESSIONS:
        raise _BadFileError(f"a TIFF compressed by one of {_TIFF_COMPRESSIONS}", str(compression))
    if first(277, 1) > 8:
        raise _BadFileError("at most 8 samples in each pixel of a TIFF", f"{first(277, 1):,}")
    _check_size(width, height)
    for offset, size in zip(
        values.get(273) or values.get(324, ()), values.get(279) or values.get(325, ()), strict=False
    ):
        if offset + size > len(data):
            raise _BadFileError(f"a TIFF of at least {offset + size:,} bytes", f"{len(data):,}")
    rows, columns = (first(323, 0), first(322, 0)) if 322 in values else (min(first(278, height), height), width)
    # One tile or strip is decoded whole; where libtiff converts YCbCr it takes four bytes for each pixel.
    unit = rows * columns * max(first(277, 1) * bits / 8, 4 if photometric == 6 else 0)
    directory = struct.pack(order + ("Q" if big else "H"), len(kept)) + b"".join(kept[tag] for tag in sorted(kept))
    start, link = len(data), struct.pack(order + ("Q" if big else "L"), len(data))
    file = io.BytesIO()
    for part in (data[: 8 if big else 4], link, memoryview(data)[16 if big else 8 :], directory, bytes(8)):
        file.write(part)
    file.seek(0)
    return _Opened(
        TiffImagePlugin.TiffImageFile(file),
        orientation=_orientation(data),
        fixed_bytes=int(unit),
        bits=bits,
        white_is_zero=photometric == 0,
    )


def _tiff_entries(data: bytes) -> tuple[str, bool, list[bytes]]:
    """Return byte order, whether it is a BigTIFF, and the raw entries of the first directory."""
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    (start,) = struct.unpack_from(order + ("Q" if big else "L"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    start, size = start + (8 if big else 2), 20 if big else 12
    if start + count * size > len(data):
        raise _BadFileError("a whole TIFF directory", "one cut short")
    return order, big, [data[at : at + size] for at in range(start, start + min(count, 4096) * size, size)]


def _orientation(data: bytes) -> int:
    """Return the orientation, 1 to 8, that the first directory of a TIFF structure names."""
    order, big, entries = _tiff_entries(data)
    for entry in entries:
        tag, kind = struct.unpack_from(order + "HH", entry)
        (value,) = struct.unpack_from(order + "H", entry, 12 if big else 8)
        if tag == 274 and kind == 3 and 1 <= value <= 8:
            return value
    return 1


def _exif_orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, of an EXIF block; 1 where it is absent or the block is damaged."""
    try:
        return _orientation(exif.removeprefix(b"Exif\0\0"))
    except (_BadFileError, KeyError, struct.error):
        return 1


def _open_gif(data: bytes) -> _Opened:
    """Open the first frame of a GIF file, rebuilt from its colour table, its transparency and its pixels alone."""
    flags, control = data[10], b""
    table = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    position = table
    while data[position] == 0x21:
        if data[position + 1] == 0xF9 and data[position + 3] & 1:
            # Without how to dispose of the frame, for which Pillow would fill another canvas.
            control = b"\x21\xf9\x04\x01\0\0" + data[position + 6 : position + 7] + b"\0"
        position = _skip_gif_blocks(data, position + 2)
    if data[position] != 0x2C:
        raise _BadFileError("a GIF frame", f"a block of kind {data[position]}")
    left, top, width, height, local = struct.unpack_from("<4HB", data, position + 1)
    screen = struct.unpack_from("<HH", data, 6)
    _check_size(max(screen[0], left + width), max(screen[1], top + height))
    _check_size(width, height)
    end = _skip_gif_blocks(data, position + 11 + (3 << (local & 7) + 1 if local & 128 else 0))
    if data[end : end + 1] not in (b"\x21", b"\x2c", b"\x3b"):
        raise _BadFileError("a GIF up to its end mark", "nothing after the first frame")
    return _Opened(GifImagePlugin.GifImageFile(io.BytesIO(data[:table] + control + data[position:end] + b"\x3b")))


def _skip_gif_blocks(data: bytes, position: int) -> int:
    while length := data[position]:
        position += 1 + length
    return position + 1


def _open_webp(data: bytes) -> _Opened:
    """Open the first frame of a WebP file."""
    size = 8 + int.from_bytes(data[4:8], "little")
    if size > len(data):
        raise _BadFileError(f"a WebP of {size:,} bytes", f"{len(data):,}")
    # Pillow allocates the canvas when it opens the file.
    if data[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    _check_size(width, height, _WEBP_PIXEL_BYTES)
    image = WebPImagePlugin.WebPImageFile(io.BytesIO(data[:size]))
    return _Opened(image, _exif_orientation(image.info.get("exif", b"")), _WEBP_PIXEL_BYTES)


def _open_avif(data: bytes) -> _Opened:
    """Open the first picture of an AVIF file; Pillow reports its rotation and mirroring as an EXIF orientation."""
    image = AvifImagePlugin.AvifImageFile(io.BytesIO(data))
    return _Opened(image, _exif_orientation(image.info.get("exif", b"")), _AVIF_PIXEL_BYTES)


def _open_pnm(data: bytes) -> _Opened:
    """Open a PBM, PGM or PPM file; in the plain ones a comment may stand before the pixels only."""
    PpmImagePlugin.PpmImageFile(io.BytesIO(data[:4096]))  # a longer header is comments, read byte by byte
    image = PpmImagePlugin.PpmImageFile(io.BytesIO(data))
    if data[1:2] in b"123" and b"#" in data[image.tile[0][2] :]:
        raise _BadFileError("plain PNM pixels without comments", "a comment")  # Pillow's time grows with their square
    return _Opened(image)


def _open_bmp(data: bytes) -> _Opened:
    return _Opened(BmpImagePlugin.BmpImageFile(io.BytesIO(data)))


_PNG_KINDS: Final = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")

# Measured: 16 for WebP; 14 for AVIF of 8 bits and full colour, to which deeper samples add.
_WEBP_PIXEL_BYTES: Final = 17
_AVIF_PIXEL_BYTES: Final = 20

# Tags that say how the pixels are stored, with the most values each may have.
_TIFF_TAGS: Final[dict[int, int]] = dict.fromkeys((256, 257, 259, 262, 266, 277, 278, 284, 292, 293, 317, 322, 323), 1)
_TIFF_TAGS.update({258: 8, 338: 8, 339: 8, 530: 2, 531: 1, 529: 3, 532: 6, 320: 3 << 16, 347: 1 << 20})
_TIFF_TAGS.update(dict.fromkeys((273, 279, 324, 325), 300_000))
_TIFF_KINDS: Final = {1: "B", 3: "H", 4: "L", 5: "Q", 7: "B", 16: "Q"}
# None, three kinds of fax, LZW, JPEG, deflate (two numbers) and PackBits.
_TIFF_COMPRESSIONS: Final = (1, 2, 3, 4, 5, 7, 8, 32946, 32773)

_OPENERS: Final[list[tuple[re.Pattern[bytes], str, Callable[[bytes], _Opened]]]] = [
    (re.compile(rb"\xff\xd8\xff"), "JPEG", _open_jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG", _open_png),
    (re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL), "WebP", _open_webp),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "TIFF", _open_tiff),
    (re.compile(rb"BM"), "BMP", _open_bmp),
    (re.compile(rb"GIF8[79]a"), "GIF", _open_gif),
    (re.compile(rb".{4}ftyp(avif|avis|mif1|msf1)", re.DOTALL), "AVIF", _open_avif),
    (re.compile(rb"P[1-6]\s"), "PNM", _open_pnm),
]
