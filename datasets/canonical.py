"""Remove from a photo what could give its label away without showing a scar: padding, boxes, light, orientation.

Every step depends on the photo alone, so training, evaluation and prediction see the same picture.
"""

from typing import Final

import cv2
import numpy as np

ORIENTATIONS: Final = range(8)
"""The eight rotations and reflections of a square, as arguments of `turned`."""

BRIGHTNESS: Final = 120.0
"""Mean luma, 0 to 255, that `with_even_light` produces: about that of the photos this project was built on."""

_LONGEST: Final = 512  # pixels: flat areas are looked for in a copy that is no larger
_PADDING_SPREAD: Final = 3  # levels of 255: JPEG keeps flat padding within it
_AVERAGED_PADDING_SPREAD: Final = 1  # the same, if each pixel is a mean of several
_PADDING_STEP: Final = 1  # levels of 255 from pixel to pixel: dark skin is even, but less so
_PADDING_SHARE: Final = 0.8  # of a row: letters stand on padding too
_PADDING_MARGIN: Final = 6  # pixels: JPEG blends padding and photo in blocks of 8
_LEAST_LEFT: Final = 0.2  # of a side: a picture that is flat all over has no padding
_FLAT_SPREAD: Final = 3  # levels of 255 over 5 x 5 pixels: skin through a camera is never that even
_AVERAGED_SPREAD: Final = 1  # the same, if each pixel is a mean of several, which reduces noise
_LEAST_BOX: Final = 0.004  # of the photo's area
_BOX_MARGIN: Final = 10  # pixels: JPEG rings around a box
_GAINS: Final = (0.5, 2.5)  # beyond these, only noise or clipped light remains


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate an array [H, W, ...] by quarter turns; orientations 4 to 7 are also mirrored. 0 changes nothing."""
    quarters = np.rot90(array, orientation % 4)
    return np.swapaxes(quarters, 0, 1) if orientation >= 4 else quarters


def turned_copy(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return `turned` of an image uint8 [H, W, 3], contiguous; OpenCV copies several times faster than NumPy."""
    quarters = (None, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)[orientation % 4]
    image = np.ascontiguousarray(image) if quarters is None else cv2.rotate(image, quarters)
    return cv2.transpose(image) if orientation >= 4 else image


def turned_back(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo `turned`."""
    straight = np.swapaxes(array, 0, 1) if orientation >= 4 else array
    return np.rot90(straight, -(orientation % 4))


def canonical_orientation(image: np.ndarray) -> int:
    """Return the orientation in which the light comes from the top left, and more from the top than from the left.

    Light decides how relief looks, and skin has no upright side. With the light from a fixed side, a photo and its
    seven other orientations become the same picture and get the same answer, bit for bit ("canonicalisation", Kaba
    et al., ICML 2023), unless two orientations are lit exactly alike. The direction of the light is the first moment
    of the luma without its darkest and brightest tenths, which are hair, boxes and highlights. Integer arithmetic
    makes the result independent of the order of summation.

    Args:
        image: RGB uint8 [H, W, 3].
    """
    luma = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    luma = np.clip(luma, *_tenths(luma))
    height, width = luma.shape
    # Times the other side's length, so that the two compare on any shape.
    top = width * -_moment(cv2.reduce(luma, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S))
    left = height * -_moment(cv2.reduce(luma, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S))
    quarters = np.array([[top + left, top - left], [left - top, -top - left]], dtype=object)

    def light(orientation: int) -> tuple[int, int]:
        (first, beside), _ = turned(quarters, orientation)
        return first, beside

    return max(ORIENTATIONS, key=light)


def _tenths(luma: np.ndarray) -> tuple[int, int]:
    """Return the 10th and the 90th percentile of the grey levels."""
    below = np.cumsum(cv2.calcHist([luma], [0], None, [256], [0, 256]).ravel().astype(np.int64))
    return int(np.searchsorted(below, luma.size / 10)), int(np.searchsorted(below, luma.size * 9 / 10))


def _moment(sums: np.ndarray) -> int:
    """Return the first moment of sums along a side about its middle, times two."""
    return int((sums.ravel().astype(np.int64) * (2 * np.arange(sums.size) - (sums.size - 1))).sum())


def content_window(image: np.ndarray, *, averaged: bool = False) -> tuple[int, int, int, int]:
    """Find the photo inside flat padding of any colour. The padding may carry letters.

    Args:
        image: uint8 [H, W, 3], any colour order.
        averaged: whether its pixels are averages of the camera's pixels.

    Returns:
        top, bottom, left, right in pixels; the whole image if it has no padding or is nothing but padding.
    """
    step = _step(image)
    small = image[::step, ::step]
    height, width = image.shape[:2]
    spread = _AVERAGED_PADDING_SPREAD if averaged else _PADDING_SPREAD
    columns = small.swapaxes(0, 1)
    top, bottom, left, right = (_padding(side, spread) for side in (small, small[::-1], columns, columns[::-1]))
    before, below, beside, beyond = (
        step * (flat + _PADDING_MARGIN) if flat else 0 for flat in (top, bottom, left, right)
    )
    if height - before - below < _LEAST_LEFT * height or width - beside - beyond < _LEAST_LEFT * width:
        return 0, height, 0, width
    return before, height - below, beside, width - beyond


def flat_areas(image: np.ndarray, *, averaged: bool = False) -> np.ndarray:
    """Find areas of one flat colour, such as boxes pasted over eyes and cut-out backgrounds.

    Args:
        image: uint8 [H, W, 3], any colour order.
        averaged: whether its pixels are averages of the camera's pixels.

    Returns:
        uint8 [h, w], 1 where flat, over a copy of the image with sides of at most 512 pixels.
    """
    step = _step(image)
    small = np.ascontiguousarray(image[::step, ::step])
    square = np.ones((5, 5), dtype=np.uint8)
    red, green, blue = cv2.split(cv2.subtract(cv2.dilate(small, square), cv2.erode(small, square)))
    spread = _AVERAGED_SPREAD if averaged else _FLAT_SPREAD
    flat = (cv2.max(cv2.max(red, green), blue) <= spread).astype(np.uint8)
    least = _LEAST_BOX * flat.size
    if cv2.countNonZero(flat) < least:
        return np.zeros_like(flat)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(flat, connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= least
    large[0] = False  # the background of the labelling: whatever is not flat
    margin = np.ones((2 * _BOX_MARGIN + 1,) * 2, dtype=np.uint8)
    return cv2.dilate(large[labels.astype(np.intp)].astype(np.uint8), margin) if count > 1 else np.zeros_like(flat)


def filled(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill masked pixels smoothly from their surroundings, with averages over growing areas ("pull-push").

    Gortler et al., "The lumigraph", SIGGRAPH 1996. A fully masked image is returned unchanged.

    Args:
        image: uint8 [H, W, 3], any colour order.
        mask: uint8 [H, W], 1 where to fill.
    """
    if not mask.any() or mask.all():
        return image
    known = 1.0 - mask.astype(np.float32)
    smooth = _pulled(image.astype(np.float32) * known[..., None], known)
    return np.where(mask[..., None] > 0, np.rint(smooth), image).astype(np.uint8)


def _pulled(weighted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Average float32 [H, W, 3], already multiplied by its weights [H, W], where those fall short of 1."""
    height, width = weight.shape
    if max(height, width) == 1:
        return weighted / np.maximum(weight, 1e-6)[..., None]
    half = ((width + 1) // 2, (height + 1) // 2)
    below = _pulled(
        cv2.resize(weighted, half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0], 3),
        cv2.resize(weight, half, interpolation=cv2.INTER_AREA),
    )
    coarse = cv2.resize(below, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, 3)
    return weighted + (1.0 - weight)[..., None] * coarse


def with_even_light(image: np.ndarray) -> np.ndarray:
    """Scale an RGB uint8 [H, W, 3] photo to a mean luma of `BRIGHTNESS`."""
    gain = float(np.clip(BRIGHTNESS / max(mean_luma(image), 1.0), *_GAINS))
    return cv2.convertScaleAbs(image, alpha=gain)


def mean_luma(image: np.ndarray) -> float:
    """Return the mean luma (ITU-R BT.601) of an RGB uint8 [H, W, 3] photo, 0 to 255."""
    return float(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0])


def sharpness(image: np.ndarray) -> float:
    """Measure how much of the contrast of an RGB uint8 [H, W, 3] photo is fine detail. Blur lowers it, light does not.

    The standard deviation of the luma's Laplacian divided by that of the luma; 0 for a flat photo. The variance of
    the Laplacian is a common measure of focus (Pech-Pacheco et al., ICPR 2000); the division removes contrast.
    """
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    contrast = float(luma.std())
    return float(cv2.Laplacian(luma, cv2.CV_32F).std()) / contrast if contrast > 1e-3 else 0.0


def _step(image: np.ndarray) -> int:
    """Return the subsampling step. Subsampling keeps flat areas flat; averaging would flatten skin too."""
    return -(-max(image.shape[:2]) // _LONGEST)


def _padding(rows: np.ndarray, spread: int) -> int:
    """Count the leading rows of uint8 [H, W, 3] that are flat and have the colour of the first one."""
    colour = np.median(rows[0], axis=0)
    for number, row in enumerate(rows):
        row = row.astype(np.int16)
        coloured = np.abs(row - colour).max(axis=1) <= spread
        even = np.abs(np.diff(row, axis=0, append=row[-1:])).max(axis=1) <= _PADDING_STEP
        if (coloured & even).mean() < _PADDING_SHARE:
            return number
    return len(rows)
