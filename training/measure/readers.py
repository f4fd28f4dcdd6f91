"""Metrics of the photo's type against blind readers: on photos that are clear to them, on the rest, and agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from ...datasets.annotations.readings import Reading, digest_of
from ...datasets.labels import SCAR_TYPES
from ...datasets.photos import LabelledPhoto
from .metrics import bootstrap_mean, confusion, expected_gap

FEWEST_READERS: Final = 2
"""Readers that must have judged a photo for it to count as clear or as not clear."""


def reader_figures(
    photos: Sequence[LabelledPhoto], probabilities: np.ndarray, readings: Mapping[str, Reading]
) -> dict[str, Any]:
    """Compute the metrics on labelled photos that readers judged, as plain JSON types.

    Args:
        photos: N photos of known type.
        probabilities: calibrated, float [N, 3].
        readings: by the photo's sha256 what readers saw.

    Returns:
        `clear`: metrics on photos on which the label and every reader agree; `rest`: on the others; `readers`: for each
        reader, how often it agrees with the label and how often the model agrees with it; `readers_agree`: how often
        all readers agree. Empty if no photo was judged by `FEWEST_READERS`.
    """
    judged = [_judged(photo, readings) for photo in photos]
    rows = [row for row, opinions in enumerate(judged) if len(opinions) >= FEWEST_READERS]
    if not rows:
        return {}
    truth = np.array([photo.type_index for photo in photos])
    chosen = {row: {reader: int(opinion.argmax()) for reader, opinion in judged[row].items()} for row in rows}
    clear = [row for row in rows if set(chosen[row].values()) == {truth[row]}]
    alike = np.array([len(set(chosen[row].values())) == 1 for row in rows])
    names = sorted({reader for row in rows for reader in chosen[row]})
    return {
        "photos": len(rows),
        "clear": _part(photos, probabilities, truth, clear),
        "rest": _part(photos, probabilities, truth, sorted({*rows} - {*clear})),
        "readers": {name: _agreement(name, photos, probabilities, truth, judged) for name in names},
        "readers_agree": asdict(bootstrap_mean(alike, _subjects(photos, rows))),
    }


def untyped_figures(
    photos: Sequence[LabelledPhoto], probabilities: np.ndarray, readings: Mapping[str, Reading]
) -> dict[str, Any]:
    """Compute the metrics on photos of unknown type that readers judged, as plain JSON types.

    Args:
        photos: N photos of `UNTYPED` scars.
        probabilities: calibrated, float [N, 3].
        readings: by the photo's sha256 what readers saw.

    Returns:
        On photos whose type is clear, because every reader gives it more than half: their number `photos` and the
        `accuracy`. On all photos with readings: `judged`, their number, and `calibration_error`, the expected
        calibration error if a choice counts as right with the probability that the readers give it on average.
    """
    judged = [_judged(photo, readings) for photo in photos]
    rows = [row for row, opinions in enumerate(judged) if len(opinions) >= FEWEST_READERS]
    if not rows:
        return {"photos": 0}
    least = np.array([np.min([*judged[row].values()], axis=0) for row in rows])
    mean = np.array([np.mean([*judged[row].values()], axis=0) for row in rows])
    chosen = probabilities[rows].argmax(axis=1)
    clear = least.max(axis=1) > 0.5
    right = chosen == least.argmax(axis=1)
    return {
        "photos": int(clear.sum()),
        "accuracy": asdict(bootstrap_mean(right, _subjects(photos, rows), weights=clear)),
        "judged": len(rows),
        "calibration_error": expected_gap(probabilities[rows], mean[np.arange(len(rows)), chosen]),
    }


def _judged(photo: LabelledPhoto, readings: Mapping[str, Reading]) -> Mapping[str, np.ndarray]:
    """Return the probabilities of the types by reader, each float [3]."""
    reading = readings.get(digest_of(photo.path))
    return reading.types if reading else {}


def _part(
    photos: Sequence[LabelledPhoto], probabilities: np.ndarray, truth: np.ndarray, rows: Sequence[int]
) -> dict[str, Any]:
    """Return accuracy, log loss, recall of each type and confusion on some photos."""
    if not rows:
        return {"photos": 0}
    subjects, types, found = _subjects(photos, rows), truth[list(rows)], probabilities[list(rows)]
    right = found.argmax(axis=1) == types
    log_loss = -np.log(np.maximum(found[np.arange(len(rows)), types], 1e-12))
    recalls = {name: bootstrap_mean(right, subjects, weights=types == k) for k, name in enumerate(SCAR_TYPES)}
    return {
        "photos": len({photos[row].path for row in rows}),
        "accuracy": asdict(bootstrap_mean(right, subjects)),
        "log_loss": asdict(bootstrap_mean(log_loss, subjects)),
        "recall": {name: asdict(recall) for name, recall in recalls.items()},
        "confusion": confusion(types, found.argmax(axis=1)).tolist(),
    }


def _agreement(
    reader: str,
    photos: Sequence[LabelledPhoto],
    probabilities: np.ndarray,
    truth: np.ndarray,
    judged: Sequence[Mapping[str, np.ndarray]],
) -> dict[str, Any]:
    """Return a reader's agreement with the labels and with the model, over all photos that it judged."""
    rows = [row for row, opinions in enumerate(judged) if reader in opinions]
    opinion = np.array([judged[row][reader] for row in rows])
    subjects, types = _subjects(photos, rows), truth[rows]
    log_loss = -np.log(np.maximum(opinion[np.arange(len(rows)), types], 1e-3))
    return {
        "photos": len({photos[row].path for row in rows}),
        "with_label": asdict(bootstrap_mean(opinion.argmax(axis=1) == types, subjects)),
        "log_loss": asdict(bootstrap_mean(log_loss, subjects)),
        "with_model": asdict(bootstrap_mean(opinion.argmax(axis=1) == probabilities[rows].argmax(axis=1), subjects)),
    }


def _subjects(photos: Sequence[LabelledPhoto], rows: Sequence[int]) -> list[str]:
    return [photos[row].subject or str(photos[row].path) for row in rows]
