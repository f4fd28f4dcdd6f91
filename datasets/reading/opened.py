"""A picture whose header has been read but whose pixels have not been decoded, and its size limits."""

from typing import Final, NamedTuple

from PIL.ImageFile import ImageFile

MAX_PIXELS: Final = 50_000_000
"""Maximum number of pixels. Formats whose decoders need more memory per pixel have lower limits."""

DECODE_BYTES: Final = 360_000_000
"""Memory limit of decoding in bytes. With the file and the interpreter, a process stays below 512 MB."""

_PIXEL_BYTES: Final = 7  # Pillow's 4 and the result's 3


class BadFileError(Exception):
    """A problem with the content, without the file's name: args are `expected` and `found`."""


class OpenedPicture(NamedTuple):
    """A picture whose header has been read but whose pixels have not been decoded."""

    image: ImageFile
    orientation: int = 1  # EXIF orientation, 1 to 8
    pixel_bytes: float = _PIXEL_BYTES  # memory per pixel while decoding
    fixed_bytes: int = 0  # further memory while decoding
    bits: int = 16  # per sample, if Pillow keeps more than 8
    scalable: bool = False  # True if Pillow can decode it at reduced scale
    white_is_zero: bool = False  # True if 0 is white and Pillow does not invert it


def check_size(width: int, height: int, pixel_bytes: float = _PIXEL_BYTES, fixed_bytes: int = 0) -> None:
    """Refuse a picture without pixels, with too many pixels, or too large for `DECODE_BYTES`."""
    limit = min(MAX_PIXELS, max(0, int((DECODE_BYTES - fixed_bytes) / pixel_bytes)))
    if min(width, height) < 1 or width * height > limit:
        raise BadFileError(f"1 to {limit:,} pixels", f"{width} x {height}")
