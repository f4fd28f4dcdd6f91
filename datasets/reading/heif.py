"""Check and open HEIF files (HEIC), the default format of iPhones, through libheif; see `containers`."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from .colour import profile_of_code_points
from .opened import PIXEL_BYTES, BadFileError, OpenedPicture, check_size

if TYPE_CHECKING:
    from pillow_heif import HeifImage

_DEEP_PIXEL_BYTES: Final = 18  # measured: 16 with 10 bits at 4:4:4
_SEQUENCES: Final = (b"msf1", b"hevc", b"hevx")  # major brands of image sequences, ISO/IEC 23008-12
_DECODER_BYTES: Final = 65_536  # more than the parameters of any HEVC decoder take


class HeifPicture:
    """The primary picture of a HEIF file, with the part of Pillow's interface that the reader uses.

    Pillow would hold a second copy of the pixels, with four bytes for each.
    """

    format = "HEIF"

    def __init__(self, image: HeifImage) -> None:
        """Wrap a picture of libheif, whose pixels are not decoded yet."""
        self._image, self.mode, self.size = image, image.mode, image.size
        self._rows = np.empty((0, 0), np.uint8)

    def load(self) -> None:
        """Decode the pixels.

        Raises:
            BadFileError: the header gave another size.
        """
        data = self._image.data
        if data is None or self._image.size != self.size:
            raise BadFileError(f"a HEIF picture of {self.size} pixels, as its header says", str(self._image.size))
        self._rows = np.frombuffer(data, np.uint8).reshape(-1, self._image.stride)

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        """Return whole rows as a picture: box is (0, top, width, bottom)."""
        _, top, width, bottom = box
        rows = self._rows[top:bottom]
        return Image.frombuffer(self.mode, (width, bottom - top), rows, "raw", self.mode, self._image.stride, 1)


def open_heif(data: bytes) -> OpenedPicture:
    """Open the primary picture of a HEIF file, or the first of a sequence.

    libheif rotates and mirrors it; EXIF orientation does not count.
    """
    from pillow_heif import HeifFile  # here: other formats need not wait for it

    try:
        file = HeifFile(io.BytesIO(data), convert_hdr_to_8bit=True)
    except ValueError:
        if data[8:12] not in _SEQUENCES:  # one with a still picture has opened like any other file
            raise
        file = HeifFile(io.BytesIO(_first_of_sequence(data)), convert_hdr_to_8bit=True)
    image = file[file.primary_index]
    plain = image.info.get("bit_depth") == 8 and image.info.get("chroma") in (420, None)
    pixel_bytes = PIXEL_BYTES if plain else _DEEP_PIXEL_BYTES
    check_size(*image.size, pixel_bytes)
    return OpenedPicture(HeifPicture(image), pixel_bytes=pixel_bytes, profile=_profile(image.info))


def _profile(info: dict[str, Any]) -> bytes | None:
    if profile := info.get("icc_profile"):
        return profile
    nclx = info.get("nclx_profile") or {}
    return profile_of_code_points(nclx.get("color_primaries", 0), nclx.get("transfer_characteristics", 0))


def _first_of_sequence(data: bytes) -> bytes:
    """Return a HEIF file of the first picture of a track, which pillow-heif does not open.

    ISO/IEC 14496-12 has the boxes of tracks (8.5, 8.7) and of items (8.11), 14496-15 those of HEVC (8.4). The track's
    rotation is not applied and its colours count as sRGB.

    Raises:
        ValueError: a box is missing.
        struct.error: a box is cut.
    """
    track, view = data.index(b"moov"), memoryview(data)  # views: a file may have 100 MB

    def numbers(form: str, box: bytes, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(form, data, data.index(box, track) + offset)

    (size,) = numbers(">L", b"hvcC", -4)
    decoder = bytes(view[data.index(b"hvcC", track) - 4 :][: min(size, _DECODER_BYTES)])
    width, height = numbers(">HH", b"hvc1", 28)
    same_length, _, length = numbers(">LLL", b"stsz", 8)
    (start,) = numbers(">L", b"stco", 12)
    picture = view[start : start + (same_length or length)]

    def described(offset: int) -> bytes:
        shape = _box(b"ispe", struct.pack(">4xLL", width, height))
        used = _box(b"ipma", struct.pack(">4xLHBBB", 1, 1, 2, 0x81, 2))  # both properties; the decoder's is essential
        return _box(b"ftyp", b"heic\0\0\0\0heic") + _box(
            b"meta",
            bytes(4),
            _box(b"hdlr", bytes(8), b"pict", bytes(13)),
            _box(b"pitm", struct.pack(">4xH", 1)),
            _box(b"iloc", struct.pack(">4xHHHHHLL", 0x4400, 1, 1, 0, 1, offset, len(picture))),
            _box(b"iinf", struct.pack(">4xH", 1), _box(b"infe", struct.pack(">LHH4sx", 2 << 24, 1, 0, b"hvc1"))),
            _box(b"iprp", _box(b"ipco", decoder, shape), used),
        )

    before = len(described(0)) + 8  # whatever the offset, it takes as many bytes
    return b"".join([described(before), struct.pack(">L4s", 8 + len(picture), b"mdat"), picture])


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">L4s", 8 + len(content), kind) + content
