"""Where a photo shows which scar: the training target of every position of the network's map."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np

from ..labels import MAP_CLASSES, SCAR_TYPES

TRUTHS: Final = (*MAP_CLASSES, "no_scar")
"""What can be known about a position: one of `MAP_CLASSES`, or only that it shows no scar."""

GRID: Final = 8
"""Rows and columns of the readers' grid."""

CELL_MARKS: Final = "ibr.x"
"""The character of each of `MAP_CLASSES` in a reading."""

NOT_SKIN: Final = 255
"""Place of pasted boxes and borders: always "no skin", whatever the photo's truth says."""


class ScarMap(NamedTuple):
    """What is known about each place of a photo.

    Attributes:
        places: uint8 [h, w] over the upright photo, at any resolution: the row of `truth` that holds there.
        truth: float32 [K, 6], the probability of each of `TRUTHS`; rows sum to 1, or are 0 if nothing is known.
    """

    places: np.ndarray
    truth: np.ndarray


def map_of_cells(readings: Sequence[Sequence[str]]) -> ScarMap:
    """Make a map from the cells of one or several readers. Where they disagree, each has the same weight.

    Args:
        readings: for each reader, 8 rows of 8 characters of `CELL_MARKS`; row 0 is the photo's top.
    """
    seen = np.array([[CELL_MARKS.index(mark) for row in rows for mark in row] for rows in readings])  # [R, 64]
    truth = np.eye(len(TRUTHS), dtype=np.float32)[seen].mean(axis=0)
    return ScarMap(np.arange(GRID * GRID, dtype=np.uint8).reshape(GRID, GRID), truth)


def map_of_rendering(type_map: np.ndarray) -> ScarMap:
    """Make a map from `RenderedPhoto.type_map`, uint8 [S, S]. It locates scars exactly, but not skin."""
    return ScarMap(type_map, _rows("no_scar", *SCAR_TYPES))


def map_without_scars() -> ScarMap:
    """Return the map of a photo that shows no such scar anywhere."""
    return ScarMap(np.zeros((1, 1), np.uint8), _rows("no_scar"))


def map_unknown() -> ScarMap:
    """Return the map of a photo whose scars were not located: it teaches nothing about places."""
    return ScarMap(np.zeros((1, 1), np.uint8), np.zeros((1, len(TRUTHS)), np.float32))


def places_over(scar_map: ScarMap, height: int, width: int) -> np.ndarray:
    """Return the places scaled to a photo of this size, uint8 [height, width]."""
    return cv2.resize(scar_map.places, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def targets(places: np.ndarray, truth: np.ndarray, side: int) -> np.ndarray:
    """Average the truth over each position of a map of `side` x `side` positions.

    Args:
        places: uint8 [S, S], as in `ScarMap`, in the network's square.
        truth: as in `ScarMap`.
        side: positions along a side.

    Returns:
        float32 [6, side, side]; the values of a position sum to the share of its area about which something is known.
    """
    samples = cv2.resize(places, (4 * side, 4 * side), interpolation=cv2.INTER_NEAREST_EXACT)
    table = np.zeros((NOT_SKIN + 1, len(TRUTHS)), np.float32)
    table[: len(truth)] = truth
    table[NOT_SKIN] = _rows("no_skin")[0]
    known = table[samples.astype(np.intp)].reshape(side, 4, side, 4, len(TRUTHS)).mean(axis=(1, 3))
    return np.ascontiguousarray(known.transpose(2, 0, 1))


def _rows(*names: str) -> np.ndarray:
    return np.eye(len(TRUTHS), dtype=np.float32)[[TRUTHS.index(name) for name in names]]
