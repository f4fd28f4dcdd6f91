"""A picture whose header was read and none of whose pixels was decoded, and how large it may be."""

from typing import Final, NamedTuple

from PIL.ImageFile import ImageFile

MAX_PIXELS: Final = 50_000_000
"""Largest picture that is decoded; a format whose decoder needs more memory for each pixel has a lower limit."""

DECODE_BYTES: Final = 360_000_000
"""Memory for the pixels while they are decoded; with the file and the interpreter it keeps a process below 512 MB."""

_PIXEL_BYTES: Final = 7  # Pillow's 4 and the result's 3


class BadFileError(Exception):
    """A problem of the content, before it is known what to call the file: args are `expected` and `found`."""


class OpenedPicture(NamedTuple):
    """A picture whose header was read and none of whose pixels was decoded."""

    image: ImageFile
    orientation: int = 1  # of EXIF, 1 to 8
    pixel_bytes: float = _PIXEL_BYTES  # memory for each pixel while decoding
    fixed_bytes: int = 0  # memory while decoding that does not follow from the pixels
    bits: int = 16  # of each sample where Pillow keeps more than 8
    scalable: bool = False  # whether Pillow can decode it at a smaller scale
    white_is_zero: bool = False  # where Pillow does not invert such samples itself


def check_size(width: int, height: int, pixel_bytes: float = _PIXEL_BYTES, fixed_bytes: int = 0) -> None:
    """Refuse a picture without pixels, with too many, or too large for `DECODE_BYTES`."""
    limit = min(MAX_PIXELS, max(0, int((DECODE_BYTES - fixed_bytes) / pixel_bytes)))
    if min(width, height) < 1 or width * height > limit:
        raise BadFileError(f"1 to {limit:,} pixels", f"{width} x {height}")
