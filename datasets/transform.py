"""The evaluation transform: an upright photo becomes the network's input. OpenCV and NumPy only.

Training, evaluation, prediction and export all use these functions. They shrink large photos (`reading.reduction`),
trim padding, fill pasted boxes and normalise the light (`canonical`). The rest of the photo stays in view: its
long side is scaled to the network's input size, and its reflection fills the square. A centre crop could cut a scar
away, and stretching would change its shape.
"""

from typing import Final, NamedTuple

import cv2
import numpy as np

from .canonical import (
    canonical_orientation,
    content_window,
    filled,
    flat_areas,
    mean_luma,
    sharpness,
    turned_copy,
    with_even_light,
)
from .reading.reader import MAX_PIXELS, Source, loaded, read_image, read_reduced
from .reading.reduction import ReducedPhoto, reduced
from .reading.sources import name_of

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


_DETAIL: Final = 0.8
"""Pixels kept along a photo's side for each pixel along the side of the network's square.

Photos of scars are larger than photos of other skin, so fine detail would reveal the class. More detail did not improve
the map when measured (`training/EXPERIMENTS.md`).
"""


class Placement(NamedTuple):
    """How a photo was placed in the network's square: rotated, trimmed, scaled, rotated again.

    Attributes:
        first: orientation, for `canonical.turned`, of the whole upright photo.
        height: height of the photo after that rotation and reduction, in pixels.
        width: width of the photo after that rotation and reduction, in pixels.
        window: top, bottom, left and right of what remains inside the padding, in those pixels.
        second: orientation of the trimmed photo; differs from 0 if padding or boxes misled the first.
        factor: reduction factor: pixels of the photo along a side of each reduced pixel.
    """

    first: int
    height: int
    width: int
    window: tuple[int, int, int, int]
    second: int
    factor: int = 1

    @property
    def trimmed(self) -> bool:
        """Whether the photo had padding."""
        return self.window != (0, self.height, 0, self.width)


class Framed(NamedTuple):
    """A photo as the network sees it.

    Attributes:
        square: RGB uint8 [S, S, 3].
        placement: how the photo was placed there.
        brightness: mean luma before normalisation, 0 to 255.
        sharpness: `canonical.sharpness` at the network's scale.
    """

    square: np.ndarray
    placement: Placement
    brightness: float
    sharpness: float


class FramedPhoto(NamedTuple):
    """A photo that has been read and framed.

    Attributes:
        framed: the photo as the network sees it.
        height: height of the upright photo in pixels.
        width: width of the upright photo in pixels.
        preview: small JPEG of the upright photo, without metadata; None unless requested.
    """

    framed: Framed
    height: int
    width: int
    preview: bytes | None = None


def read_framed(source: Source, size: int, *, preview: int = 0) -> FramedPhoto:
    """Read a photo and frame it for a network with inputs of `size` pixels.

    A large JPEG is decoded at reduced scale. If it then shows padding, it is decoded whole, unless it is too large:
    finding the edge of padding needs exact grey levels, which scaled decoding can change.

    Args:
        source: the photo.
        size: side of the square.
        preview: longest side in pixels of the preview, or 0 for none; smaller photos are not enlarged.

    Raises:
        ImageReadError: the source cannot be read as a photo.
    """
    name = name_of(source)
    content = loaded(source, name)
    photo = read_reduced(content, name=name)
    framed = frame(photo, size)
    if framed.placement.trimmed and not photo.decoded_whole and photo.height * photo.width <= MAX_PIXELS:
        framed = frame(read_image(content, name=name), size)
    picture = jpeg_preview(photo.pixels, preview) if preview else None
    return FramedPhoto(framed, photo.height, photo.width, picture)


def jpeg_preview(image: np.ndarray, side: int) -> bytes:
    """Encode an RGB uint8 [H, W, 3] photo as a JPEG without metadata, at most `side` pixels long."""
    scale = min(1.0, side / max(image.shape[:2]))
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    small = image if scale == 1.0 else cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def frame(image: np.ndarray | ReducedPhoto, size: int) -> Framed:
    """Frame an upright RGB uint8 [H, W, 3] photo, or one that `reduced` has shrunk, in a square of `size` pixels."""
    pixels, factor, *_ = image if isinstance(image, ReducedPhoto) else reduced(image)
    first = canonical_orientation(pixels)
    upright = turned_copy(pixels, first)
    averaged = factor > 1
    top, bottom, left, right = window = content_window(upright, averaged=averaged)
    photo = np.ascontiguousarray(upright[top:bottom, left:right])
    flat = flat_areas(photo, averaged=averaged)
    square = filled(fit_square(shrunk(photo, round(_DETAIL * size)), size), _fit_mask(flat, size))
    second = canonical_orientation(square)
    placement = Placement(first, upright.shape[0], upright.shape[1], window, second, factor)
    even = with_even_light(turned_copy(square, second))
    return Framed(even, placement, mean_luma(square), sharpness(square))


def placed(places: np.ndarray, placement: Placement, size: int) -> np.ndarray:
    """Move an integer map over a photo, [H, W], into the square in which the photo was placed. Nearest neighbour."""
    upright = cv2.resize(
        turned_copy(places, placement.first),
        (placement.width, placement.height),
        interpolation=cv2.INTER_NEAREST_EXACT,
    )
    top, bottom, left, right = placement.window
    above, below, before, beyond = photo_window(bottom - top, right - left, size)
    part = cv2.resize(
        upright[top:bottom, left:right], (beyond - before, below - above), interpolation=cv2.INTER_NEAREST_EXACT
    )
    part = cv2.copyMakeBorder(part, above, size - below, before, size - beyond, cv2.BORDER_REFLECT)
    return turned_copy(part, placement.second)


def _fit_mask(mask: np.ndarray, size: int) -> np.ndarray:
    if not mask.any():
        return np.zeros((size, size), np.uint8)
    return (fit_square(np.repeat(255 * mask[..., None], 3, axis=2), size)[..., 0] > 0).astype(np.uint8)


def fit_square(image: np.ndarray, size: int) -> np.ndarray:
    """Scale the long side to `size` and fill the square around the photo with its reflection.

    Args:
        image: uint8 [H, W, 3], any colour order.
        size: side of the square in pixels.

    Returns:
        uint8 [size, size, 3] in the same colour order.
    """
    top, bottom, left, right = photo_window(image.shape[0], image.shape[1], size)
    height, width = bottom - top, right - left
    # Area averaging is the only OpenCV interpolation that shrinks without aliasing, but it enlarges in blocks.
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return cv2.copyMakeBorder(scaled, top, size - bottom, left, size - right, cv2.BORDER_REFLECT)


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """Shrink the long side of a uint8 [H, W, 3] photo to `side` pixels; smaller photos are not enlarged."""
    scale = side / max(image.shape[:2])
    if scale >= 1.0:
        return image
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def photo_window(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Return where `fit_square` puts a photo: top, bottom, left, right in pixels of the square."""
    scale = size / max(height, width)
    scaled_height, scaled_width = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size - scaled_height) // 2, (size - scaled_width) // 2
    return top, top + scaled_height, left, left + scaled_width


def normalise(square: np.ndarray, *, mean: tuple[float, float, float], std: tuple[float, float, float]) -> np.ndarray:
    """Turn RGB uint8 [S, S, 3] into the network's float32 [3, S, S]: (value / 255 - mean) / std per channel."""
    scale = 1.0 / (255.0 * np.asarray(std, dtype=np.float32))
    offset = np.asarray(mean, dtype=np.float32) / np.asarray(std, dtype=np.float32)
    planes = np.multiply(square.transpose(2, 0, 1), scale[:, None, None], dtype=np.float32, order="C")
    return np.subtract(planes, offset[:, None, None], out=planes)


def preprocess(
    image: np.ndarray, *, size: int, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> np.ndarray:
    """Turn an upright RGB uint8 [H, W, 3] photo into the network's input, float32 [3, size, size]."""
    return normalise(frame(image, size).square, mean=mean, std=std)
