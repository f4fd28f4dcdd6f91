"""What blind readers saw in photos, looked up by the file's sha256.

The readers are machine vision models, not dermatologists; GUIDE.md beside this file says how they read.
"""

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ..labels import SCAR_TYPES
from .scar_map import CELL_MARKS, GRID

SHIPPED: Final = Path(__file__).parent
"""Folder of the bundled readings: `cells.csv` and `types.csv`."""

_ROWS: Final = "ABCDEFGH"


@dataclass(frozen=True)
class Reading:
    """What readers saw in one photo.

    Attributes:
        cells: by reader, 8 rows of 8 characters of `scar_map.CELL_MARKS`; row 0 is the photo's top.
        types: by reader, the probability that each type dominates the photo, float64 [3].
    """

    cells: Mapping[str, tuple[str, ...]]
    types: Mapping[str, np.ndarray]

    @property
    def mean_types(self) -> np.ndarray | None:
        """Mean of the readers' type probabilities, float64 [3]; None if nobody judged the whole photo."""
        return np.mean(list(self.types.values()), axis=0) if self.types else None


def read_readings(folder: Path = SHIPPED) -> dict[str, Reading]:
    """Read `cells.csv` (sha256, reader, A to H) and `types.csv` (sha256, reader, ice_pick, boxcar, rolling).

    Returns:
        Readings by the sha256 of the photo's file.

    Raises:
        ValueError: a cell is not one of `CELL_MARKS`, or a row does not have 8 cells.
    """
    cells: dict[str, dict[str, tuple[str, ...]]] = {}
    for row in _rows(folder / "cells.csv"):
        marks = tuple(row[name] for name in _ROWS)
        if any(len(line) != GRID or set(line) - set(CELL_MARKS) for line in marks):
            raise ValueError(f"{folder / 'cells.csv'}: expected 8 of {CELL_MARKS!r} in each of A to H, found {marks}")
        cells.setdefault(row["sha256"], {})[row["reader"]] = marks
    types: dict[str, dict[str, np.ndarray]] = {}
    for row in _rows(folder / "types.csv"):
        types.setdefault(row["sha256"], {})[row["reader"]] = np.array([float(row[name]) for name in SCAR_TYPES])
    return {digest: Reading(cells.get(digest, {}), types.get(digest, {})) for digest in {**cells, **types}}


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def digest_of(photo: Path) -> str:
    """Return the sha256 of a photo's file, which identifies it in readings."""
    return hashlib.sha256(photo.read_bytes()).hexdigest()
