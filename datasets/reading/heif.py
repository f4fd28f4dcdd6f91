"""Check and open HEIF files (HEIC), the default format of iPhones, through libheif; see `containers`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from .colour import profile_of_code_points
from .opened import PIXEL_BYTES, BadFileError, OpenedPicture, check_size

if TYPE_CHECKING:
    from pillow_heif import HeifImage

_DEEP_PIXEL_BYTES: Final = 18  # measured: 16 with 10 bits at 4:4:4
_SEQUENCES: Final = (b"msf1", b"hevc", b"hevx")  # major brands of image sequences, ISO/IEC 23008-12


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
    """Open the primary picture of a HEIF file. libheif rotates and mirrors it; EXIF orientation does not count."""
    from pillow_heif import HeifFile  # here: other formats need not wait for it

    try:
        file = HeifFile(io.BytesIO(data), convert_hdr_to_8bit=True)
    except ValueError as error:
        if data[8:12] in _SEQUENCES:  # one with a still picture opens like any other file
            raise BadFileError("a HEIF file with a still picture", f"a sequence without one ({error})") from error
        raise
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
