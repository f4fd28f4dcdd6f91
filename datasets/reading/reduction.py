"""Shrink large photos first, the way libjpeg does while decoding, so that a JPEG need not be decoded whole.

libjpeg's scaled decoding keeps the lowest frequencies of each 8 x 8 block and writes them as a smaller block (ITU-T
T.81, annex A; "DCT scaling" in libjpeg). `reduced` does the same to the pixels of other formats, so that all formats
get the same answer. Blocks start at the file's first corner: in a rotated file whose sides are not multiples of 8 they
shift by up to one pixel of the reduced photo.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

_BLOCK: Final = 8
_LEAST_SIDE: Final = {4: 4000, 2: 3000}
"""Long side, in pixels, from which a photo is reduced by each factor.

With these values, probabilities with scaled and with full decoding differed by at most 0.016, in most photos by less
than 0.01; smaller scales lose more (`tests/benchmarks/scaled_decoding.py`).
"""

_STRIP_ROWS: Final = 256  # reduced at a time; a multiple of `_BLOCK`


class ReducedPhoto(NamedTuple):
    """A photo for the evaluation transform.

    Attributes:
        pixels: upright RGB uint8 [ceil(height / factor), ceil(width / factor), 3].
        factor: reduction factor: 1, 2 or 4.
        height: height of the upright photo in pixels.
        width: width of the upright photo in pixels.
        decoded_whole: False if the file was decoded at reduced scale.
    """

    pixels: np.ndarray
    factor: int
    height: int
    width: int
    decoded_whole: bool = True


def reduction_factor(height: int, width: int) -> int:
    """Return the reduction factor for a photo of this size: 1, 2 or 4."""
    return next((factor for factor, side in _LEAST_SIDE.items() if max(height, width) >= side), 1)


def reduced(image: np.ndarray) -> ReducedPhoto:
    """Reduce an upright RGB uint8 [H, W, 3] photo if it is large; otherwise return it unchanged."""
    height, width = image.shape[:2]
    factor = reduction_factor(height, width)
    if factor == 1:
        return ReducedPhoto(image, 1, height, width)
    strips = [_reduced_strip(image[top : top + _STRIP_ROWS], factor) for top in range(0, height, _STRIP_ROWS)]
    return ReducedPhoto(np.concatenate(strips), factor, height, width)


def _reduced_strip(strip: np.ndarray, factor: int) -> np.ndarray:
    """Reduce whole rows of blocks. Incomplete blocks are filled by repeating the border."""
    height, width = strip.shape[:2]
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    fill = ((0, rows * _BLOCK - height), (0, columns * _BLOCK - width), (0, 0))
    blocks = np.pad(strip, fill, mode="edge").reshape(rows, _BLOCK, columns, _BLOCK, 3).astype(np.float32)
    lowest = _lowest_frequencies(factor)
    small = np.einsum("yi,ricjs,xj->rycxs", lowest, blocks, lowest, optimize=True)
    whole = small.reshape(rows * len(lowest), columns * len(lowest), 3)[: -(-height // factor), : -(-width // factor)]
    return np.clip(np.rint(whole), 0, 255).astype(np.uint8)


def _lowest_frequencies(factor: int) -> np.ndarray:
    """Return float32 [8 / factor, 8]: the DCT of 8 samples, truncated to its low frequencies and inverted."""
    kept = _BLOCK // factor
    scale = np.sqrt(kept / _BLOCK)  # keeps the mean
    return (scale * _cosines(kept).T @ _cosines(_BLOCK)[:kept]).astype(np.float32)


def _cosines(samples: int) -> np.ndarray:
    """Return the orthonormal DCT-II matrix, float64 [frequencies, samples]."""
    frequencies, places = np.mgrid[:samples, :samples]
    matrix = np.cos(np.pi * frequencies * (2 * places + 1) / (2 * samples)) * np.sqrt(2 / samples)
    matrix[0] /= np.sqrt(2)
    return matrix
