"""Robustness figures: invariance, common corruptions, orientations of the square, skin tone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from ...datasets.photos import LabelledPhoto
from ...datasets.skin_tone import TONES, tone_of
from .metrics import Estimate, bootstrap, bootstrap_mean, calibration_error, calibration_error_by_chance, scope_figures
from .scores import Decisions
from .stress import EQUALISED, ORIGINAL, SHRUNK, STRENGTHS, TURNS, corruption_name, turn_name

COMPARED: Final[Mapping[str, tuple[str, tuple[str, ...], float]]] = {
    "orientations": (ORIGINAL, tuple(map(turn_name, TURNS)), 0.03),
    "lighter": (ORIGINAL, ("lighter",), 0.02),
    "darker": (ORIGINAL, ("darker",), 0.02),
    "zoom_in": ("zoom_reference", ("zoom_in",), 0.02),
    "zoom_out": ("zoom_reference", (ORIGINAL,), 0.02),
    "jpeg_50": (ORIGINAL, ("jpeg_50",), 0.02),
    "white_box": (ORIGINAL, ("white_box",), 0.02),
    "black_border": (ORIGINAL, ("black_border",), 0.02),
    "caption": (ORIGINAL, ("caption",), 0.02),
}
"""Invariance tests: the reference, the changes compared with it, and the target for the share of flips."""

FEWEST: Final = 20
"""Fewest photos of a group with figures. With fewer, the interval of an accuracy is wider than 0.4."""

_FLIPS: Final = ("type", "answer", "changed")


def stress_figures(photos: Sequence[LabelledPhoto], decided: Mapping[str, Decisions]) -> dict[str, Any]:
    """Compute the figures of changed photos, as plain JSON types.

    Args:
        photos: the photos of the three types that were changed, N of them.
        decided: by name of the change, as `stress.score_changes` returns scores.
    """
    subjects = [photo.subject or "" for photo in photos]
    truth = np.array([photo.type_index for photo in photos])
    return {
        "stressed_photos": len({photo.path for photo in photos}),
        "invariance": {
            name: {"target": target, **_flips(decided[before], [decided[n] for n in after], subjects)}
            for name, (before, after, target) in COMPARED.items()
        },
        "corruptions": _corruptions(decided, truth, subjects),
    }


def _flips(before: Decisions, after: Sequence[Decisions], subjects: Sequence[str]) -> dict[str, Any]:
    """Return the shares of flipped decisions.

    `type`: the most probable type is another; `answer`: a label was given before and another one after; `changed`:
    another label, or a label in one case and an abstention in the other.
    """
    flipped = np.concatenate([_flipped(before, other) for other in after], axis=1)
    who = [*subjects] * len(after)
    return {name: asdict(bootstrap_mean(row, who)) for name, row in zip(_FLIPS, flipped, strict=True)}


def _flipped(before: Decisions, after: Decisions) -> np.ndarray:
    """Return which decisions flipped, bool [3, N], in the order of `_FLIPS`."""
    changed = before.answers != after.answers
    return np.stack([before.chosen != after.chosen, changed & before.answered & after.answered, changed])


def _corruptions(decided: Mapping[str, Decisions], truth: np.ndarray, subjects: Sequence[str]) -> dict[str, Any]:
    """Return a row per level for each corruption, from 0 (the shrunk photo) to 5."""

    def row(level: int, name: str) -> dict[str, Any]:
        decisions = decided[corruption_name(name, level)] if level else decided[SHRUNK]
        right = decisions.chosen == truth
        return {
            "level": level,
            "strength": STRENGTHS[name][level - 1] if level else None,
            "accuracy": asdict(bootstrap_mean(right, subjects)),
            "share_answered": asdict(bootstrap_mean(decisions.answered, subjects)),
            "accuracy_answered": asdict(bootstrap_mean(right, subjects, weights=decisions.answered)),
        }

    return {name: [row(level, name) for level in range(len(STRENGTHS[name]) + 1)] for name in STRENGTHS}


def equalised_figures(photos: Sequence[LabelledPhoto], decided: Mapping[str, Decisions]) -> dict[str, Any]:
    """Return the AUROC of the scope for each class after all files are made alike; `photos` are of all classes."""
    class_names, subjects = [photo.class_name for photo in photos], [photo.subject or "" for photo in photos]
    areas = scope_figures(decided[EQUALISED].in_scope, class_names, subjects)
    return {class_name: asdict(estimate) for class_name, estimate in areas.items()}


def tone_figures(
    photos: Sequence[LabelledPhoto], decisions: Decisions, angles: Mapping[LabelledPhoto, float | None]
) -> dict[str, Any]:
    """Compute figures per group of skin tone over photos of the three types, as plain JSON types.

    Args:
        photos: photos of any kind, N of them.
        decisions: theirs.
        angles: the typology angle in degrees of each photo of the three types; None where it shows too little skin.

    Returns:
        Per group of `skin_tone.TONES` and for "no_skin_found": `photos`, `subjects`, and, each None in a group of
        fewer than `FEWEST` photos, `accuracy`, `calibration_error` (with what chance alone would make of it,
        `calibration_error_by_chance`), `share_answered`, `share_refused` and `share_low_quality`.
    """
    group_of = {photo: "no_skin_found" if angle is None else tone_of(angle) for photo, angle in angles.items()}
    groups = np.array([group_of.get(photo, "") for photo in photos])
    return {name: _group(photos, decisions, np.flatnonzero(groups == name)) for name in (*TONES, "no_skin_found")}


def _group(photos: Sequence[LabelledPhoto], decisions: Decisions, rows: np.ndarray) -> dict[str, Any]:
    subjects = [photos[i].subject or "" for i in rows]
    names = [str(photos[i].path) for i in rows]
    truth = np.array([photos[i].type_index for i in rows])
    size = {"photos": len(set(names)), "subjects": len(set(subjects))}
    if size["photos"] < FEWEST:
        return {**size, **dict.fromkeys(_GROUP_FIGURES)}
    probabilities = decisions.probabilities[rows]
    figures: tuple[Estimate, ...] = (
        bootstrap_mean(decisions.chosen[rows] == truth, subjects),
        bootstrap(lambda i: calibration_error(probabilities[i], truth[i]), subjects),
        calibration_error_by_chance(probabilities, names),
        bootstrap_mean(decisions.answered[rows], subjects),
        bootstrap_mean(decisions.refused[rows], subjects),
        bootstrap_mean(decisions.low_quality[rows], subjects),
    )
    return {**size, **{name: asdict(figure) for name, figure in zip(_GROUP_FIGURES, figures, strict=True)}}


_GROUP_FIGURES: Final = (
    "accuracy",
    "calibration_error",
    "calibration_error_by_chance",
    "share_answered",
    "share_refused",
    "share_low_quality",
)
