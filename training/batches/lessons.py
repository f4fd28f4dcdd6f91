"""What each labelled photo teaches: where scars are, which type it shows, and whether it shows any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np

from ...datasets.annotations.readings import Reading, digest_of
from ...datasets.annotations.scar_map import ScarMap, map_of_cells, map_of_rendering, map_unknown, map_without_scars
from ...datasets.labels import OUT_OF_SCOPE, SCAR_TYPES
from ...datasets.photos import LabelledPhoto

READERS_SHARE: Final = 0.5
"""Of the readers' mean in the target of a photo that has a label too.

No label deserves full belief: the readers agree with 67 and 76 % of them. A linear probe was as accurate with it, and
its log loss on new photos fell from 1.05 to 0.88.
"""

WEAK: Final = 0.5
"""Weight of the type of photos that nobody labelled, and of renderings, beside 1 for a labelled photo."""


class Lesson(NamedTuple):
    """What one photo teaches.

    Attributes:
        scar_map: where it shows what.
        types: float32 [3], the target of the type, summing to 1; zeros where nothing is known of it.
        weight: of the type in the loss, 0 to 1.
        in_scope: 1.0 when it shows a scar of the three types, else 0.0.
    """

    scar_map: ScarMap
    types: np.ndarray
    weight: float
    in_scope: float


def lessons_of(photos: Sequence[LabelledPhoto], readings: Mapping[str, Reading]) -> list[Lesson]:
    """Return what each photo teaches, with the readings of those that have one."""
    return [_lesson(photo, readings.get(digest_of(photo.path))) for photo in photos]


def _lesson(photo: LabelledPhoto, reading: Reading | None) -> Lesson:
    nothing = np.zeros(len(SCAR_TYPES), np.float32)
    if photo.label == OUT_OF_SCOPE:
        return Lesson(map_without_scars(), nothing, 0.0, 0.0)
    scar_map = _scar_map(photo, reading)
    read = reading.mean_types if reading else None
    if photo.type_index < 0:
        known = read is not None
        return Lesson(scar_map, read.astype(np.float32) if known else nothing, WEAK if known else 0.0, 1.0)
    types = np.eye(len(SCAR_TYPES), dtype=np.float32)[photo.type_index]
    if read is not None:
        types = ((1 - READERS_SHARE) * types + READERS_SHARE * read).astype(np.float32)
    return Lesson(scar_map, types, WEAK if photo.extra else 1.0, 1.0)


def _scar_map(photo: LabelledPhoto, reading: Reading | None) -> ScarMap:
    if reading and reading.cells:
        return map_of_cells(list(reading.cells.values()))
    rendered = _type_map(photo.path)
    return map_unknown() if rendered is None else map_of_rendering(rendered)


def _type_map(photo: Path) -> np.ndarray | None:
    """Return the exact type map that `scarlens render` wrote beside a rendering, uint8 [S, S]."""
    file = photo.parent.parent / "type_maps" / f"{photo.stem}.png"
    return cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) if file.is_file() else None
