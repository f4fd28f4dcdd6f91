"""Large photos are made smaller first, as libjpeg does it while it decodes: a JPEG then never has to be decoded whole.

libjpeg's scaled decoding keeps the lowest frequencies of each block of 8 x 8 pixels and writes them as a smaller block
(ITU-T T.81, annex A; "DCT scaling" in libjpeg). `reduced` does the same to the pixels of a picture of any other format,
so that all formats get the same answer. Blocks are counted from the corner where a file's rows begin: in a turned file
whose sides are no multiples of 8 they lie up to a pixel of the reduced photo elsewhere.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

_BLOCK: Final = 8
_LEAST_SIDE: Final = {4: 4000, 2: 3000}
"""Long side, in pixels, from which a photo is reduced by each factor.

With these, probabilities of a JPEG decoded at the scale and of one decoded whole were at most 0.016 apart, in most
photos less than 0.01; more is lost where less is left (`tests/benchmarks/scaled_decoding.py`).
"""

_STRIP_ROWS: Final = 256  # reduced at a time; a multiple of the block


class ReducedPhoto(NamedTuple):
    """A photo as the evaluation transform wants it.

    Attributes:
        pixels: upright RGB uint8 [ceil(height / factor), ceil(width / factor), 3].
        factor: pixels of the photo along a side of each of these: 1, 2 or 4.
        height: of the upright photo in pixels.
        width: likewise.
        decoded_whole: False where a file was decoded at the smaller scale.
    """

    pixels: np.ndarray
    factor: int
    height: int
    width: int
    decoded_whole: bool = True


def reduction_factor(height: int, width: int) -> int:
    """Return by how much a photo of this size is reduced: 1, 2 or 4."""
    return next((factor for factor, side in _LEAST_SIDE.items() if max(height, width) >= side), 1)


def reduced(image: np.ndarray) -> ReducedPhoto:
    """Reduce an upright RGB uint8 [H, W, 3] photo where it is large; otherwise it is returned itself."""
    height, width = image.shape[:2]
    factor = reduction_factor(height, width)
    if factor == 1:
        return ReducedPhoto(image, 1, height, width)
    strips = [_reduced_strip(image[top : top + _STRIP_ROWS], factor) for top in range(0, height, _STRIP_ROWS)]
    return ReducedPhoto(np.concatenate(strips), factor, height, width)


def _reduced_strip(strip: np.ndarray, factor: int) -> np.ndarray:
    """Reduce whole rows of blocks; the last block of a side is completed by repeating its border."""
    height, width = strip.shape[:2]
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    fill = ((0, rows * _BLOCK - height), (0, columns * _BLOCK - width), (0, 0))
    blocks = np.pad(strip, fill, mode="edge").reshape(rows, _BLOCK, columns, _BLOCK, 3).astype(np.float32)
    lowest = _lowest_frequencies(factor)
    small = np.einsum("yi,ricjs,xj->rycxs", lowest, blocks, lowest, optimize=True)
    whole = small.reshape(rows * len(lowest), columns * len(lowest), 3)[: -(-height // factor), : -(-width // factor)]
    return np.clip(np.rint(whole), 0, 255).astype(np.uint8)


def _lowest_frequencies(factor: int) -> np.ndarray:
    """Return float32 [8 / factor, 8]: the DCT of 8 samples, without its upper frequencies, turned back into samples."""
    kept = _BLOCK // factor
    scale = np.sqrt(kept / _BLOCK)  # keeps the mean
    return (scale * _cosines(kept).T @ _cosines(_BLOCK)[:kept]).astype(np.float32)


def _cosines(samples: int) -> np.ndarray:
    """Return the orthonormal DCT-II of so many samples, float64 [frequencies, samples]."""
    frequencies, places = np.mgrid[:samples, :samples]
    matrix = np.cos(np.pi * frequencies * (2 * places + 1) / (2 * samples)) * np.sqrt(2 / samples)
    matrix[0] /= np.sqrt(2)
    return matrix
