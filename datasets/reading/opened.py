"""A picture whose header has been read but whose pixels have not been decoded, and its size limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from PIL.Image import Image

if TYPE_CHECKING:
    from .heif import HeifPicture

DECODE_BYTES: Final = 360_000_000
"""Memory limit of decoding in bytes. With the file and the interpreter, a process stays below 512 MB."""

PIXEL_BYTES: Final = 7
"""Memory per pixel in bytes while decoding most formats: Pillow's 4 and the result's 3."""

MAX_PIXELS: Final = DECODE_BYTES // PIXEL_BYTES
"""Maximum number of pixels that are decoded whole. Formats whose decoders need more memory have lower limits."""

MAX_SCALED_PIXELS: Final = 500_000_000
"""Maximum number of pixels of a JPEG that is decoded at reduced scale: about six seconds of decoding."""


class BadFileError(Exception):
    """A problem with the content, without the file's name: args are `expected` and `found`."""


class OpenedPicture(NamedTuple):
    """A picture whose header has been read but whose pixels have not been decoded."""

    image: Image | HeifPicture
    orientation: int = 1  # EXIF orientation, 1 to 8
    pixel_bytes: float = PIXEL_BYTES  # memory per pixel while decoding, at the scale of decoding
    coefficient_bytes: float = 0  # further memory per pixel of the file, at any scale
    fixed_bytes: int = 0  # further memory while decoding
    bits: int = 16  # per sample, if Pillow keeps more than 8
    scalable: bool = False  # True if Pillow can decode it at reduced scale
    profile: bytes | None = None  # ICC profile
    white_is_zero: bool = False  # True if 0 is white and Pillow does not invert it


def check_size(width: int, height: int, pixel_bytes: float = PIXEL_BYTES, fixed_bytes: int = 0) -> None:
    """Refuse a picture without pixels, or too large for `DECODE_BYTES`."""
    limit = max(0, int((DECODE_BYTES - fixed_bytes) / pixel_bytes))
    if min(width, height) < 1 or width * height > limit:
        raise BadFileError(f"1 to {limit:,} pixels", f"{width} x {height}")
