"""Metrics of the map against blind readers, who are machine vision models, not dermatologists."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from sklearn.metrics import cohen_kappa_score

from ...datasets.annotations.readings import Reading, digest_of
from ...datasets.annotations.scar_map import CELL_MARKS, GRID
from ...datasets.labels import MAP_CLASSES, SCAR_TYPES
from ...datasets.photos import LabelledPhoto
from ...datasets.reading.reader import read_image
from ...datasets.rendering.photo import render_photo
from ...datasets.transform import frame, normalise
from ...inference.classifier import Classifier
from ...inference.compare.comparison import compare, extent_pairs, root_changes
from ...inference.engine import Engine
from ...inference.regions import photo_map
from ...model.calibration import fit_repeatability
from .metrics import Estimate, auroc, bootstrap, bootstrap_mean
from .scores import Change
from .stress import CHANGES

CELLS_FILE: Final = "cells.npz"
"""File of a cross-validation with the map's cells of photos with readings."""

FIRST, SECOND = "reader1", "reader2"

THRESHOLDS: Final = np.linspace(0.1, 0.7, 61)
"""Scar thresholds to choose from."""

RETAKES_FILE: Final = "retakes.npz"
"""File of a cross-validation with the extents in two photos of unchanged skin."""

RETAKES: Final[Mapping[str, Change]] = {
    "lighter": CHANGES["lighter"],
    "darker": CHANGES["darker"],
    "compressed": CHANGES["jpeg_50"],
    "zoomed in": CHANGES["zoom_in"],
    "darker, zoomed in and compressed": lambda photo: CHANGES["jpeg_50"](CHANGES["darker"](CHANGES["zoom_in"](photo))),
}
"""Changes of a photo that leave the skin as it is."""

RENDERED: Final = "under other light, rendered"
"""Name of the pairs of renderings of one skin under other lamps and with another camera."""

_FIRST_SEED: Final = 900_000  # training does not use such seeds
_SHOT_SIDE: Final = 480  # pixels

_NO_SKIN: Final = MAP_CLASSES.index("no_skin")

Cells = dict[str, np.ndarray]
"""By the photo's sha256 float32 [5, 8, 8]: the mean probability of each of `MAP_CLASSES` in each cell."""


def score_cells(engine: Engine, photos: Sequence[LabelledPhoto], readings: Mapping[str, Reading]) -> Cells:
    """Return the map's probabilities for the cells of photos with readings."""
    card, cells = engine.card, Cells()
    for photo in photos:
        digest = digest_of(photo.path)
        if digest not in readings or not readings[digest].cells:
            continue
        framed = frame(read_image(photo.path), card.size)
        scores = engine(normalise(framed.square, mean=card.mean, std=card.std)[None]).of(0)
        shown = photo_map(scores.class_map, placement=framed.placement, size=card.size)
        cells[digest] = np.stack([cv2.resize(plane, (GRID, GRID), interpolation=cv2.INTER_AREA) for plane in shown])
    return cells


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as the bytes of an `.npz` file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the output of `npz`; empty if there is no such file."""
    if not path.is_file():
        return {}
    with np.load(path) as arrays:
        return dict(arrays)


def fit_scar_threshold(cells: Cells, readings: Mapping[str, Reading]) -> float:
    """Choose the threshold with the largest mean of Cohen's kappa with each reader; 0.5 without readings."""
    read = [(cells[digest], marks) for digest in cells for marks in readings[digest].cells.values()]
    if not read:
        return 0.5
    seen = np.concatenate([_scar(part).ravel() for part, _ in read])
    truth = np.concatenate([_is_scar(_marks(marks)) for _, marks in read])
    return float(max(THRESHOLDS, key=lambda threshold: cohen_kappa_score(truth, seen >= threshold)))


def map_figures(
    photos: Sequence[LabelledPhoto], cells: Cells, thresholds: Mapping[str, float], readings: Mapping[str, Reading]
) -> dict[str, Any]:
    """Compute the map's metrics on photos with readings, as plain JSON types.

    Args:
        photos: photos; those without readings are ignored.
        cells: the map's cells, from a network that held the photo out.
        thresholds: the scar threshold by the photo's sha256, fitted on other folds.
        readings: by the photo's sha256 what readers saw.

    Returns:
        AUROC of scar against none: against each reader, within photos, and on cells where both readers agree;
            Cohen's kappa with each reader and between them; accuracy of the type in cells where both readers see the
            same type; the share of the map's scar in cells that the first reader calls no skin.
    """
    found = [(digest_of(photo.path), photo) for photo in photos]
    rows = [
        _Row(readings[digest], cells[digest], thresholds[digest], photo) for digest, photo in found if digest in cells
    ]
    if not rows:
        return {}
    both = [row for row in rows if row.second is not None]
    who, who_both = [row.subject for row in rows], [row.subject for row in both]
    areas = {
        f"auroc_{FIRST}": _over(rows, who, lambda r: auroc(_is_scar(_joined(r, "first")), _joined(r, "scar"))),
        f"auroc_{SECOND}": _over(both, who_both, lambda r: auroc(_is_scar(_joined(r, "second")), _joined(r, "scar"))),
        "auroc_alike": _over(both, who_both, _auroc_alike),
        "auroc_within_photos": _mean_within(rows, who),
    }
    kappas = {
        f"kappa_{FIRST}": _over(rows, who, lambda r: _kappa(_is_scar(_joined(r, "first")), _joined(r, "seen"))),
        f"kappa_{SECOND}": _over(both, who_both, lambda r: _kappa(_is_scar(_joined(r, "second")), _joined(r, "seen"))),
        "kappa_readers": _over(
            both, who_both, lambda r: _kappa(_is_scar(_joined(r, "first")), _is_scar(_joined(r, "second")))
        ),
    }
    others = {
        "type_right": _over(both, who_both, _type_right),
        "scar_off_skin": _over(rows, who, _off_skin),
    }
    curve = _curve(np.concatenate([_is_scar(row.first) for row in rows]), np.concatenate([row.scar for row in rows]))
    figures = {name: asdict(estimate) for name, estimate in {**areas, **kappas, **others}.items()}
    return {
        "photos": len(rows),
        "photos_of_both": len(both),
        **figures,
        "roc": curve,
        "readers_point": _readers_point(both) if both else [None, None],
        "by_photo": sorted(([row.path, row.within] for row in rows if row.within == row.within), key=lambda r: r[1]),
    }


def retaken_extents(classifier: Classifier, photos: Sequence[LabelledPhoto], *, shots: range) -> dict[str, np.ndarray]:
    """Return the extents in pairs of photos of unchanged skin, float64 [N, 2, 4] by what differs between the two.

    Pairs that `compare` does not compare, and those without any scar, are left out.

    Args:
        classifier: a classifier that has not seen the photos.
        photos: photos to change.
        shots: numbers of skins to render for each type.
    """
    pairs: dict[str, list[np.ndarray]] = {name: [] for name in (*RETAKES, RENDERED)}

    def add(name: str, before: np.ndarray, after: np.ndarray) -> None:
        result = compare(before, after, classifier=classifier)
        extents = extent_pairs(result.before, result.after)
        if result.obstacle is None and extents.any():
            pairs[name].append(extents)

    for photo in photos:
        image = read_image(photo.path)
        for name, change in RETAKES.items():
            add(name, image, change(image))
    for number, label in itertools.product(shots, SCAR_TYPES):
        seed = _FIRST_SEED + 2 * number
        one, other = (render_photo(label, seed=seed, size=_SHOT_SIDE, shot=shot).image for shot in (None, seed + 1))
        add(RENDERED, one, other)
    return {name: np.array(found).reshape(-1, 2, 4) for name, found in pairs.items()}


def joined_retakes(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Concatenate several `retaken_extents`."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def repeatability(retakes: Mapping[str, np.ndarray]) -> dict[str, tuple[float, ...]]:
    """Fit `Calibration.repeatability`, and that under any light, to pairs; empty without pairs.

    The worst of the differences sets each limit.
    """
    fitted = {name: fit_repeatability(root_changes(pairs)) for name, pairs in retakes.items() if len(pairs)}
    if len(fitted) < len(retakes) or not retakes:
        return {}
    worst = tuple(map(max, *(fitted[name] for name in RETAKES)))
    return {"repeatability": worst, "repeatability_any_light": tuple(map(max, worst, fitted[RENDERED]))}


def retake_figures(folds: Sequence[Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Compute how well extents repeat, as plain JSON types.

    Args:
        folds: `retaken_extents` of each fold of a cross-validation, at least 2.

    Returns:
        By what differs, the number of pairs, the median relative change of the total extent, and the share of pairs in
            which a change beyond the same light, and any light, would be named, with limits fitted on the other folds.
    """
    retakes = joined_retakes(folds)
    limits = [repeatability(joined_retakes([*folds[:n], *folds[n + 1 :]])) for n in range(len(folds))]
    figures = {}
    for name, pairs in retakes.items():
        if not len(pairs) or not all(limits):
            continue
        before, after = pairs[:, 0, -1], pairs[:, 1, -1]
        beyond = {
            kind: np.concatenate(
                [
                    (root_changes(fold[name]) > limit[kind]).any(axis=1)
                    for fold, limit in zip(folds, limits, strict=True)
                ]
            )
            for kind in limits[0]
        }
        figures[name] = {
            "pairs": len(pairs),
            "median_change": float(np.median(np.abs(after - before) / np.maximum(before, after))),
            **{f"beyond_{kind}": float(named.mean()) for kind, named in beyond.items()},
        }
    return {"retakes": figures}


class _Row:
    """One photo: flat arrays of its 64 cells."""

    def __init__(self, reading: Reading, cells: np.ndarray, threshold: float, photo: LabelledPhoto) -> None:
        self.path, self.subject = str(photo.path), photo.subject or str(photo.path)
        self.first = _marks(reading.cells[FIRST])
        self.second = _marks(reading.cells[SECOND]) if SECOND in reading.cells else None
        self.scar = _scar(cells).ravel()
        self.seen = self.scar >= threshold
        self.type = cells[: len(SCAR_TYPES)].argmax(axis=0).ravel()

    @property
    def within(self) -> float:
        """AUROC of this photo's cells; NaN if all are alike."""
        return auroc(_is_scar(self.first), self.scar)


def _marks(rows: Sequence[str]) -> np.ndarray:
    """Return the index into `MAP_CLASSES` of each cell, int [64]."""
    return np.array([CELL_MARKS.index(mark) for row in rows for mark in row])


def _is_scar(marks: np.ndarray) -> np.ndarray:
    return marks < len(SCAR_TYPES)


def _scar(cells: np.ndarray) -> np.ndarray:
    return cells[: len(SCAR_TYPES)].sum(axis=0)


def _joined(rows: Sequence[_Row], name: str) -> np.ndarray:
    return np.concatenate([getattr(row, name) for row in rows])


def _over(rows: Sequence[_Row], subjects: Sequence[str], figure: Callable[[list[_Row]], float]) -> Estimate:
    """Estimate a figure of photos, with an interval over resampled subjects."""
    return bootstrap(lambda chosen: figure([rows[i] for i in chosen]), subjects, resamples=_RESAMPLES)


_RESAMPLES: Final = 300  # each goes through some thousand cells


def _mean_within(rows: Sequence[_Row], subjects: Sequence[str]) -> Estimate:
    areas = np.array([row.within for row in rows])
    return bootstrap_mean(np.nan_to_num(areas), subjects, weights=~np.isnan(areas))


def _auroc_alike(rows: Sequence[_Row]) -> float:
    first, second = _is_scar(_joined(rows, "first")), _is_scar(_joined(rows, "second"))
    alike = first == second
    return auroc(first[alike], _joined(rows, "scar")[alike])


def _kappa(one: np.ndarray, other: np.ndarray) -> float:
    """Return Cohen's kappa of two bool arrays (Cohen, Educational and Psychological Measurement 1960)."""
    agreed = (one == other).mean()
    by_chance = one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean())
    return float((agreed - by_chance) / (1 - by_chance)) if by_chance < 1 else float("nan")


def _type_right(rows: Sequence[_Row]) -> float:
    first, second = _joined(rows, "first"), _joined(rows, "second")
    agreed = _is_scar(first) & (first == second)
    return float((_joined(rows, "type")[agreed] == first[agreed]).mean()) if agreed.any() else float("nan")


def _off_skin(rows: Sequence[_Row]) -> float:
    scar = _joined(rows, "scar")
    return float(scar[_joined(rows, "first") == _NO_SKIN].sum() / scar.sum())


def _readers_point(rows: Sequence[_Row]) -> list[float]:
    """Return the false and the true positive rate of the second reader against the first."""
    first, second = _is_scar(_joined(rows, "first")), _is_scar(_joined(rows, "second"))
    return [float(second[~first].mean()), float(second[first].mean())]


def _curve(truth: np.ndarray, score: np.ndarray) -> list[list[float]]:
    """Return points [false positive rate, true positive rate] of the ROC curve at the `THRESHOLDS`."""
    thresholds = np.concatenate([np.linspace(0.0, 0.1, 11), THRESHOLDS, [0.8, 0.9, 1.01]])
    return [[float((score[~truth] >= t).mean()), float((score[truth] >= t).mean())] for t in thresholds]
