"""Check files of each format before Pillow decodes them.

Each file is parsed by the rules of its container, with limits, and Pillow gets only the parts of the first picture.
Metadata, further frames and everything after the picture never reach a decoder: that is where decompression bombs,
endless loops and warnings come from. Parsing also finds truncation that Pillow ignores.

Each `open_*` takes a whole file that begins with the format's signature. It raises `BadFileError`, or whatever a
damaged file makes Pillow or `struct` raise.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.WebPImagePlugin import WebPImageFile

from .colour import MAX_PROFILE_BYTES, profile_of_code_points, profile_of_nclx, profile_of_png
from .opened import MAX_PIXELS, MAX_SCALED_PIXELS, BadFileError, OpenedPicture, check_size
from .tiff import exif_orientation

_WEBP_PIXEL_BYTES: Final = 17  # measured: 16; Pillow decodes WebP as an animation, with two canvases and a copy
_AVIF_PIXEL_BYTES: Final = 20  # measured: 14 with 8 bits at 4:4:4; deeper samples take more
_MAX_PARTS: Final = 100_000  # limit of segments or chunks per file; each costs an object and a loop iteration


# JPEG: ITU-T T.81, annex B

# Within a scan 0xFF is followed by 0 or a restart marker; any other marker ends the scan. 0xFF may repeat as padding.
_JPEG_MARKER: Final = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
# Start-of-frame markers; the others are tables (DHT), the JPG extension and arithmetic conditioning.
_JPEG_FRAMES: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_SEQUENTIAL: Final = (0xC0, 0xC1, 0xC9)  # frames that can be decoded block by block
_JPEG_LOSSLESS: Final = (0xC3, 0xC7, 0xCB, 0xCF)
_JPEG_END, _JPEG_SCAN, _JPEG_EXIF, _JPEG_ICC, _JPEG_ADOBE = 0xD9, 0xDA, 0xE1, 0xE2, 0xEE
_JPEG_ADOBE_BYTES: Final = 12  # of the segment that names the colour encoding
_ICC_MARK: Final = b"ICC_PROFILE\0"  # of segments that hold parts of a profile; number and count of parts follow
# Comments and application segments, except JFIF (0xE0) and Adobe (0xEE), which define the colour encoding.
_JPEG_DROPPED: Final = {*range(0xE1, 0xF0), 0xFE} - {0xEE}
# A progressive JPEG visits every pixel in each scan. The limit is 40 scans of the largest picture; ten are usual.
_JPEG_SCANNED_PIXELS: Final = 40 * MAX_PIXELS


class _JpegFrame(NamedTuple):
    width: int = 0
    height: int = 0
    components: int = 0
    coefficient_bytes: float = 0  # per pixel, all components
    sequential: bool = True
    of_blocks: bool = True  # DCT blocks; a lossless frame stores pixels


def open_jpeg(data: bytes) -> OpenedPicture:
    """Open the first picture of a JPEG or MPO file, without its application segments."""
    kept, frame, scans, coefficients = [data[:2]], _JpegFrame(), 0, 0.0
    orientation, profile = 1, dict[int, bytes]()
    for code, before, segment in _jpeg_segments(data):
        content = segment[4:]  # after marker and length
        if scans:
            kept.append(before)
        if code in _JPEG_FRAMES:
            frame = _jpeg_frame(code, content)
            if frame.width * frame.height > MAX_SCALED_PIXELS:
                raise BadFileError(f"a JPEG of at most {MAX_SCALED_PIXELS:,} pixels", f"{frame.width} x {frame.height}")
        elif code == _JPEG_SCAN:
            scans += 1
            if scans * frame.width * frame.height > _JPEG_SCANNED_PIXELS:
                raise BadFileError("a JPEG with fewer scans", f"{scans} scans or more")
            if scans == 1 and (not frame.sequential or content[0] < frame.components):
                coefficients = frame.coefficient_bytes  # pixels need several scans, so all are in memory at once
        elif code == _JPEG_EXIF and content.startswith(b"Exif\0\0"):
            orientation = exif_orientation(content)
        elif code == _JPEG_ICC and content.startswith(_ICC_MARK) and len(content) > len(_ICC_MARK):
            profile[content[len(_ICC_MARK)]] = content[len(_ICC_MARK) + 2 :]
        elif code == _JPEG_ADOBE and content.startswith(b"Adobe") and len(content) < _JPEG_ADOBE_BYTES:
            raise BadFileError(f"{_JPEG_ADOBE_BYTES} bytes in a JPEG's Adobe segment", f"{len(content)}")
        if code not in _JPEG_DROPPED:
            kept.append(segment)
    return OpenedPicture(
        JpegImageFile(io.BytesIO(b"".join(kept))),
        orientation,
        coefficient_bytes=coefficients,
        scalable=frame.of_blocks,
        profile=b"".join(profile[part] for part in sorted(profile)),
    )


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield for each segment its code, the bytes before it (pixels, after the start of a scan) and its own bytes."""
    position = 2
    for _ in range(_MAX_PARTS):
        marker = _JPEG_MARKER.search(data, position)
        if marker is None:
            raise BadFileError("a JPEG up to its end marker", f"{len(data):,} bytes without one")
        start, end, code = marker.start(), marker.end(), marker[1][0]
        if code != _JPEG_END:
            end += int.from_bytes(data[end : end + 2], "big")
            if end > len(data):
                raise BadFileError(f"a JPEG of at least {end:,} bytes", f"{len(data):,}")
        yield code, data[position:start], data[start:end]
        if code == _JPEG_END:
            return
        position = end
    raise BadFileError(f"a JPEG with at most {_MAX_PARTS:,} segments", "more")


def _jpeg_frame(code: int, content: bytes) -> _JpegFrame:
    height, width, components = struct.unpack(">HHB", content[1:6])
    # Horizontal times vertical sampling factor; the densest component has one sample per pixel.
    densities = [(byte >> 4) * (byte & 15) for byte in content[7 : 7 + 3 * components : 3]]
    coefficients = 2 * sum(densities) / max([1, *densities])
    return _JpegFrame(
        width, height, components, coefficients, code in _JPEG_SEQUENTIAL, of_blocks=code not in _JPEG_LOSSLESS
    )


# PNG: W3C recommendation, third edition

_PNG_COLOUR: Final = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
# Chunks that affect the first picture.
_PNG_KINDS: Final = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND", *_PNG_COLOUR)
_PNG_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # samples per pixel: grey, RGB, palette, grey + alpha, RGBA
# Left, top, and horizontal and vertical step of each pass of an interlaced picture.
_ADAM7: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def open_png(data: bytes) -> OpenedPicture:
    """Open the default picture of a PNG or APNG file, after checking the checksums and that no pixels are missing."""
    kept, pixels, orientation = {}, [], 1
    for kind, chunk in _png_chunks(data):
        if kind == b"IDAT":
            pixels.append(chunk)
            if len(pixels) > _MAX_PARTS:
                raise BadFileError(f"a PNG with at most {_MAX_PARTS:,} pixel chunks", "more")
        elif kind == b"eXIf":
            orientation = exif_orientation(bytes(chunk[8:-4]))
        else:
            kept.setdefault(kind, chunk)
    width, height, depth, colour, *methods = struct.unpack(">LLBBBBB", kept.get(b"IHDR", b"")[8:-4])
    check_size(width, height)
    if methods not in ([0, 0, 0], [0, 0, 1]):
        raise BadFileError("compression 0, filter 0 and interlacing 0 or 1 in a PNG", f"{methods}")
    if colour == 3 and b"PLTE" not in kept:
        raise BadFileError("a palette in a PNG with palette colours", "none")
    _check_png_pixels(pixels, _png_bytes(width, height, depth * _PNG_SAMPLES[colour], bool(methods[-1])))
    if (depth, colour) == (16, 2) and b"tRNS" in kept:
        # Pillow keeps the upper 8 bits of each sample, but not of the transparent colour.
        body = b"tRNS" + bytes(byte for high in kept[b"tRNS"][8:-4][:6:2] for byte in (0, high))
        kept[b"tRNS"] = struct.pack(">L", len(body) - 4) + body + struct.pack(">L", zlib.crc32(body))
    head = [kept[kind] for kind in (b"IHDR", b"PLTE", b"tRNS") if kind in kept]
    image = PngImageFile(io.BytesIO(b"".join([data[:8], *head, *pixels, kept[b"IEND"]])))
    return OpenedPicture(image, orientation, profile=_png_profile(kept))


def _png_profile(chunks: dict[bytes, memoryview]) -> bytes | None:
    """Return the profile of the chunk that counts most: cICP, iCCP, sRGB, then gAMA with cHRM."""
    body = {kind: bytes(chunks[kind][8:-4]) for kind in _PNG_COLOUR if kind in chunks}
    if len(body.get(b"cICP", b"")) == 4:
        return profile_of_code_points(*body[b"cICP"][:2])
    if b"iCCP" in body:
        _, _, packed = body[b"iCCP"].partition(b"\0")
        try:
            return zlib.decompressobj().decompress(packed[1:], MAX_PROFILE_BYTES + 1)  # after the method
        except zlib.error:
            return None
    if b"sRGB" in body or len(body.get(b"gAMA", b"")) != 4:
        return None
    chromaticities = body.get(b"cHRM", b"")
    points = struct.unpack(">8L", chromaticities) if len(chromaticities) == 32 else None
    return profile_of_png(*struct.unpack(">L", body[b"gAMA"]), points)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield kind and bytes of each chunk of `_PNG_KINDS`, with verified checksum; the body is `[8:-4]`.

    Damaged chunks about colour are left out, like any other useless profile.
    """
    view, position = memoryview(data), 8
    while True:
        if position + 12 > len(data):
            raise BadFileError("a PNG up to its end chunk", f"{len(data):,} bytes without one")
        length, kind = struct.unpack_from(">L4s", data, position)
        start, end = position, position + 12 + length
        if end > len(data):
            raise BadFileError(f"{length:,} bytes in PNG chunk {kind!r}", f"{len(data) - start - 8:,}")
        position = end
        if kind not in _PNG_KINDS:
            continue
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            if kind in _PNG_COLOUR:
                continue
            raise BadFileError("PNG chunks that match their checksums", f"a damaged {kind!r} chunk")
        yield kind, view[start:end]
        if kind == b"IEND":
            return


def _png_bytes(width: int, height: int, pixel_bits: int, interlaced: bool) -> int:
    """Return the length of the inflated stream: rows of whole bytes, each preceded by a filter byte."""
    size = 0
    for left, top, right, down in _ADAM7 if interlaced else [(0, 0, 1, 1)]:
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            size += rows * (1 + (columns * pixel_bits + 7) // 8)
    return size


def _check_png_pixels(chunks: list[memoryview], missing: int) -> None:
    """Refuse a pixel stream shorter than `missing` bytes, which Pillow would silently fill up."""
    # Output comes in pieces of 1 MB to limit memory. zlib copies unconsumed input, so input pieces are short too.
    stream, bodies = zlib.decompressobj(), (chunk[8:-4] for chunk in chunks)
    for piece in (body[start : start + (1 << 16)] for body in bodies for start in range(0, len(body), 1 << 16)):
        left: bytes | memoryview = piece
        while missing > 0 and not stream.eof and (output := stream.decompress(left, 1 << 20)):
            missing -= len(output)
            left = stream.unconsumed_tail
    if missing > 0:
        raise BadFileError("all pixels of a PNG", f"a stream that ends {missing:,} bytes early")


# GIF89a

_GIF_EXTENSION, _GIF_FRAME, _GIF_END = b"!,;"  # first byte of each type of block
_GIF_CONTROL: Final = 0xF9  # extension with the transparent colour


def open_gif(data: bytes) -> OpenedPicture:
    """Open the first frame of a GIF file, rebuilt from its colour table, transparency and pixels."""
    screen_width, screen_height, flags = struct.unpack_from("<HHB", data, 6)
    header = data[: 13 + _gif_palette_bytes(flags)]
    start, control = len(header), b""
    while data[start] == _GIF_EXTENSION:
        if data[start + 1] == _GIF_CONTROL and data[start + 3] & 1:
            # Drop the disposal method, for which Pillow would allocate another canvas.
            control = b"!\xf9\4\1\0\0" + data[start + 6 : start + 7] + b"\0"
        start = _skip_gif_blocks(data, start + 2)
    if data[start] != _GIF_FRAME:
        raise BadFileError("a GIF frame", f"a block of type {data[start]}")
    left, top, width, height, flags = struct.unpack_from("<4HB", data, start + 1)
    check_size(max(screen_width, left + width), max(screen_height, top + height))
    check_size(width, height)
    end = _skip_gif_blocks(data, start + 11 + _gif_palette_bytes(flags))
    if end >= len(data) or data[end] not in (_GIF_EXTENSION, _GIF_FRAME, _GIF_END):
        raise BadFileError("a GIF up to its end marker", "nothing after the first frame")
    return OpenedPicture(GifImageFile(io.BytesIO(header + control + data[start:end] + b";")))


def _gif_palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_gif_blocks(data: bytes, position: int) -> int:
    """Return the end of a chain of blocks, each preceded by its length; the last one is empty."""
    while length := data[position]:
        position += 1 + length
    return position + 1


def open_webp(data: bytes) -> OpenedPicture:
    """Open the first frame of a WebP file."""
    size = 8 + int.from_bytes(data[4:8], "little")
    if size > len(data):
        raise BadFileError(f"a WebP of {size:,} bytes", f"{len(data):,}")
    # Pillow allocates the canvas when it opens the file.
    if data[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif data[12:16] == b"VP8L":
        (sides,) = struct.unpack_from("<L", data, 21)  # 14 bits each
        width, height = 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    check_size(width, height, _WEBP_PIXEL_BYTES)
    image = WebPImageFile(io.BytesIO(data[:size]))
    exif, profile = image.info.get("exif", b""), image.info.get("icc_profile")
    return OpenedPicture(image, exif_orientation(exif), _WEBP_PIXEL_BYTES, profile=profile)


def open_avif(data: bytes) -> OpenedPicture:
    """Open the first picture of an AVIF file. Pillow reports its rotation and mirroring as an EXIF orientation."""
    image = AvifImageFile(io.BytesIO(data))
    profile = image.info.get("icc_profile") or profile_of_nclx(data)
    return OpenedPicture(image, exif_orientation(image.info.get("exif", b"")), _AVIF_PIXEL_BYTES, profile=profile)


def open_pnm(data: bytes) -> OpenedPicture:
    """Open a PBM, PGM or PPM file. In the plain formats, comments are allowed only before the pixels."""
    PpmImageFile(io.BytesIO(data[:4096]))  # a longer header can only be comments, which Pillow reads byte by byte
    image = PpmImageFile(io.BytesIO(data))
    if data[1:2] in b"123" and b"#" in data[image.tile[0][2] :]:
        raise BadFileError("plain PNM pixels without comments", "a comment")  # Pillow takes quadratic time
    return OpenedPicture(image)


def open_bmp(data: bytes) -> OpenedPicture:
    """Open a BMP file. Pillow's own header parser is careful enough."""
    return OpenedPicture(BmpImageFile(io.BytesIO(data)))
