"""What blind readers saw in photos, looked up by the file's sha256.

The readers are machine vision models, not dermatologists; GUIDE.md beside this file says how they read.
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from ..errors import ScarlensError
from ..labels import SCAR_TYPES
from .scar_map import CELL_MARKS, GRID

SHIPPED: Final = Path(__file__).parent
"""Folder of the bundled readings: `cells.csv` and `types.csv`."""

_ROWS: Final = "ABCDEFGH"
_ROUNDING: Final = 0.02  # of probabilities with two decimals


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


class ReadingsError(ScarlensError, ValueError):
    """A file of readings cannot be used; the message says why."""


def read_readings(more: Path | None = None, *, folder: Path = SHIPPED) -> dict[str, Reading]:
    """Return the readings of a folder, by default the bundled ones, and those of a user.

    A folder has `cells.csv` (sha256, reader, A to H) and `types.csv` (sha256, reader, ice_pick, boxcar, rolling).

    Args:
        more: CSV file with a row for each photo and reader: `file,reader,ice_pick,boxcar,rolling`. Files are relative
            to it; the last three are the probabilities with which each type dominates the photo.
        folder: folder of readings.

    Returns:
        Readings by the sha256 of the photo's file.

    Raises:
        ReadingsError: `more` or one of its photos cannot be read, or a row's probabilities do not sum to 1.
        ValueError: a cell of the folder is not one of `CELL_MARKS`, or a row does not have 8 cells.
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
    for digest, reader, judged in _own_types(more) if more else ():
        types.setdefault(digest, {})[reader] = judged
    return {digest: Reading(cells.get(digest, {}), types.get(digest, {})) for digest in {**cells, **types}}


def _own_types(manifest: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield the photo's sha256, the reader, and the probabilities of the types, float64 [3], of each row."""
    try:
        for line, row in enumerate(_rows(manifest), 2):
            judged = np.array([float(row[name]) for name in SCAR_TYPES])
            if not (judged >= 0).all() or abs(judged.sum() - 1) > _ROUNDING:
                raise ReadingsError(f"{manifest}, line {line}: expected probabilities that sum to 1, found {judged}")
            yield digest_of(manifest.parent / row["file"]), row["reader"], judged
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        if isinstance(error, ReadingsError):
            raise
        columns = ",".join(("file", "reader", *SCAR_TYPES))
        raise ReadingsError(f"{manifest}: expected a CSV file with the columns {columns}, found: {error!r}") from error


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def digest_of(photo: Path) -> str:
    """Return the sha256 of a photo's file, which identifies it in readings."""
    return hashlib.sha256(photo.read_bytes()).hexdigest()
