"""Evaluate a checkpoint on labelled photos that it was not trained on.

python training/evaluate.py runs/mine/model.safetensors --data photos/ --out runs/evaluation
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from scarlens.datasets.annotations.readings import Reading, read_readings
from scarlens.datasets.labels import SCAR_TYPES, UNTYPED
from scarlens.datasets.photos import LabelledPhoto
from scarlens.datasets.reading.reader import read_image
from scarlens.datasets.skin_tone import typology_angle
from scarlens.datasets.writing.atomic import write_atomically
from scarlens.inference.classifier import Classifier
from scarlens.inference.engine import Engine, open_engine
from scarlens.inference.prediction import Prediction
from scarlens.model.calibration import Calibration, softmax
from scarlens.training.measure.metrics import (
    Estimate,
    accuracy_by_coverage,
    bootstrap_mean,
    calibration_error_by_chance,
    calibration_error_equal_mass,
    confusion,
    reliability,
    scope_figures,
    type_figures,
)
from scarlens.training.measure.readers import reader_figures, untyped_figures
from scarlens.training.measure.report import draw_confusion, report_page
from scarlens.training.measure.robustness import equalised_figures, stress_figures, tone_figures
from scarlens.training.measure.scores import Decisions, ScoredPhotos, decide, predictions_csv, score_photos
from scarlens.training.measure.stress import PHOTOS_A_TYPE, score_changes, tried_photos

WORST: Final = 12
"""Photos in the report for each kind of mistake."""

_CURVE_POINTS: Final = 100


def validation_loss(scored: ScoredPhotos) -> float:
    """Return the log loss of the types over photos with a type, plus that of the scope over all photos."""
    truth = scored.type_indices
    shown = truth >= 0
    of_truth = softmax(scored.type_logits[shown])[np.arange(shown.sum()), truth[shown]]
    signed = np.where(scored.in_scope, scored.scope_logits, -scored.scope_logits)
    return float(-np.log(np.maximum(of_truth, 1e-12)).mean() + np.logaddexp(0.0, -signed).mean())


def measure(photos: Sequence[LabelledPhoto], decisions: Decisions, readings: Mapping[str, Reading]) -> dict[str, Any]:
    """Compute the figures of unchanged photos, as plain JSON types; an interval is `{"value", "low", "high"}`.

    In a repeated cross-validation each photo counts once per repeat, except in the numbers of photos.

    Args:
        photos: the photos.
        decisions: the classifier's decisions for them.
        readings: by the photo's sha256 what blind readers saw; may be empty.
    """
    truth = np.array([photo.type_index for photo in photos])
    subjects = [photo.subject or "" for photo in photos]
    shown = np.flatnonzero(truth >= 0)
    types, probabilities, who = truth[shown], decisions.probabilities[shown], [subjects[i] for i in shown.tolist()]
    names = [str(photos[i].path) for i in shown.tolist()]
    right, answered = decisions.chosen[shown] == types, decisions.answered[shown]
    held = decisions.plausible[shown, types]
    sizes = decisions.plausible[shown].sum(axis=1)
    figures = {
        **type_figures(probabilities, types, who),
        "plausible_set_coverage": bootstrap_mean(held, who),
        "plausible_set_size": bootstrap_mean(sizes, who),
        "share_answered": bootstrap_mean(answered, who),
        "accuracy_answered": bootstrap_mean(right, who, weights=answered),
        "share_refused": bootstrap_mean(decisions.refused[shown], who),
        "share_low_quality": bootstrap_mean(decisions.low_quality[shown], who),
    }
    class_names = [photo.class_name for photo in photos]
    different = Counter({photo.path: photo.class_name for photo in photos}.values())
    mass_by_chance = calibration_error_by_chance(probabilities, names, error=calibration_error_equal_mass)
    return {
        "photos": different.total(),
        "photos_by_class": dict(sorted(different.items())),
        "subjects": len(set(subjects)),
        "types": _plain(figures),
        "reliability": {
            "bins": reliability(probabilities, types, names),
            "calibration_error_by_chance": asdict(calibration_error_by_chance(probabilities, names)),
            "calibration_error_equal_mass_by_chance": asdict(mass_by_chance),
        },
        "risk_coverage": _curve(probabilities.max(axis=1), right),
        "coverage_by_type": _by_type(held, types, who),
        "set_size_by_type": _by_type(sizes, types, who),
        "confusion": confusion(types, decisions.chosen[shown]).tolist(),
        "scope_auroc": _plain(scope_figures(decisions.in_scope, class_names, subjects)),
        "out_of_scope_refused": _refused(class_names, decisions, subjects),
        "readers": reader_figures([photos[i] for i in shown.tolist()], probabilities, readings),
        **_untyped(photos, decisions, readings),
        **_mistakes(photos, decisions),
    }


def _plain(figures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: asdict(estimate) for name, estimate in figures.items()}


def _by_type(values: np.ndarray, types: np.ndarray, subjects: Sequence[str]) -> dict[str, Any]:
    means = {name: bootstrap_mean(values, subjects, weights=types == k) for k, name in enumerate(SCAR_TYPES)}
    return _plain({name: mean for name, mean in means.items() if mean.value is not None})


def _curve(confidence: np.ndarray, right: np.ndarray) -> list[dict[str, float]]:
    """Return points of the risk-coverage curve: accuracy at each coverage, most confident photos first."""
    accuracy = accuracy_by_coverage(confidence, right)
    counts = np.unique(np.linspace(1, len(accuracy), min(_CURVE_POINTS, len(accuracy))).round().astype(int))
    return [{"coverage": float(n / len(accuracy)), "accuracy": float(accuracy[n - 1])} for n in counts]


def _refused(class_names: Sequence[str], decisions: Decisions, subjects: Sequence[str]) -> dict[str, Any]:
    """Return the share of photos without an answer for each out-of-scope class."""
    silent = decisions.refused | decisions.low_quality
    others = sorted(set(class_names) - {*SCAR_TYPES, UNTYPED})
    rows = {class_name: np.array([other == class_name for other in class_names]) for class_name in others}
    return _plain(
        {class_name: bootstrap_mean(silent, subjects, weights=of_class) for class_name, of_class in rows.items()}
    )


def _untyped(photos: Sequence[LabelledPhoto], decisions: Decisions, readings: Mapping[str, Reading]) -> dict[str, Any]:
    """Return figures of photos with scars of unknown type: share refused, and accuracy on those with a clear type."""
    rows = [i for i, photo in enumerate(photos) if photo.label == UNTYPED]
    if not rows:
        return {}
    subjects = [photos[i].subject or "" for i in rows]
    silent = (decisions.refused | decisions.low_quality)[rows]
    clear = untyped_figures([photos[i] for i in rows], decisions.probabilities[rows], readings)
    return {"untyped": {"refused": asdict(bootstrap_mean(silent, subjects)), "clear_types": clear}}


def _mistakes(photos: Sequence[LabelledPhoto], decisions: Decisions) -> dict[str, Any]:
    """List the worst mistakes: wrong types, out-of-scope photos given a type, and refused scars."""
    truth = np.array([photo.type_index for photo in photos])
    in_scope = np.array([photo.in_scope for photo in photos], dtype=bool)
    best = decisions.probabilities.max(axis=1)
    wrong = (truth >= 0) & (decisions.chosen != truth)
    return {
        "worst": _listed(photos, decisions, wrong, -best),
        "missed": _listed(photos, decisions, ~in_scope & decisions.answered, -decisions.in_scope),
        "falsely_refused": _listed(photos, decisions, in_scope & decisions.refused, decisions.in_scope),
    }


def _listed(
    photos: Sequence[LabelledPhoto], decisions: Decisions, rows: np.ndarray, order: np.ndarray
) -> list[dict[str, Any]]:
    """List some rows by ascending `order`, each photo once; `row` is the 0-based line in `predictions.csv`."""
    found = sorted(np.flatnonzero(rows).tolist(), key=lambda i: float(order[i]))
    first = {photos[i].path: i for i in reversed(found)}  # if a photo was scored several times, keep the worst
    return [
        {
            "row": i,
            "file": photos[i].path.name,
            "class": photos[i].class_name,
            "chosen": SCAR_TYPES[decisions.chosen[i]],
            "probabilities": dict(zip(SCAR_TYPES, decisions.probabilities[i].tolist(), strict=True)),
            "in_scope": float(decisions.in_scope[i]),
            "answered": bool(decisions.answered[i]),
        }
        for i in sorted(first.values(), key=lambda i: float(order[i]))[:WORST]
    ]


def measure_trust(
    photos: Sequence[LabelledPhoto],
    decisions: Decisions,
    tried: Sequence[LabelledPhoto],
    decided: Mapping[str, Decisions],
) -> dict[str, Any]:
    """Compute the figures that need changed photos, as plain JSON types.

    Args:
        photos: all N photos.
        decisions: their decisions.
        tried: the changed photos, once per decision.
        decided: their decisions by name of the change, as in `stress.score_changes`; "equalised" has those of all N
            photos.
    """
    different = {photo.path: photo for photo in photos if photo.type_index >= 0}
    angles = {photo: typology_angle(read_image(photo.path)) for photo in different.values()}
    return {
        **stress_figures(tried, decided),
        "stressed_photos_at_most": f"{PHOTOS_A_TYPE} a type, drawn by lot with seed 0",
        "scope_equalised": equalised_figures(photos, decided),
        "skin_tone": tone_figures(photos, decisions, angles),
    }


def uncalibrated_figures(scored: ScoredPhotos) -> dict[str, Any]:
    """Compute the figures of uncalibrated type probabilities, as plain JSON types."""
    shown = np.flatnonzero(scored.type_indices >= 0)
    subjects = [scored.photos[int(i)].subject or "" for i in shown]
    figures = type_figures(softmax(scored.type_logits[shown]), scored.type_indices[shown], subjects)
    return {name: asdict(figures[name]) for name in ("log_loss", "brier_score", "expected_calibration_error")}


def summary_lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures as lines for a terminal."""
    lines = [f"{figures['photos']} photos of {figures['subjects']} subjects; 95 % intervals over resampled subjects"]
    lines += [_line(name, e) for name, e in figures["types"].items()]
    lines += [_line(f"set coverage, {name}", e) for name, e in figures["coverage_by_type"].items()]
    lines += [_line(f"scope AUROC, {class_name}", e) for class_name, e in figures["scope_auroc"].items()]
    lines += [
        _line(f"{class_name}, files equalised", e) for class_name, e in figures.get("scope_equalised", {}).items()
    ]
    lines += [_line(f"answer changed, {name}", row["changed"]) for name, row in figures.get("invariance", {}).items()]
    lines += _reader_lines(figures["readers"])
    lines += ["  confusion, true type by row: " + "  ".join(SCAR_TYPES)]
    lines += [
        f"    {name:<10}" + "".join(f"{n:>8}" for n in row)
        for name, row in zip(SCAR_TYPES, figures["confusion"], strict=True)
    ]
    return lines


def _reader_lines(figures: Mapping[str, Any]) -> list[str]:
    if not figures:
        return []
    parts = {name: figures[name] for name in ("clear", "rest") if figures[name]["photos"]}
    lines = [_line(f"accuracy, {name} photos ({part['photos']})", part["accuracy"]) for name, part in parts.items()]
    for name, row in figures["readers"].items():
        lines += [_line(f"{name} agrees with label", row["with_label"])]
        lines += [_line(f"{name} agrees with model", row["with_model"])]
    return lines


def _line(name: str, estimate: Mapping[str, Any]) -> str:
    return f"  {name.replace('_', ' '):<34}{Estimate(**estimate)}"


def evaluate(
    checkpoint: Path,
    photos: Sequence[LabelledPhoto],
    out: Path,
    *,
    device: str = "cpu",
    readings: Path | None = None,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Evaluate a checkpoint; write `report.html`, `metrics.json`, `predictions.csv` and `confusion.png` to `out`.

    Args:
        checkpoint: `.safetensors` or `.onnx`.
        photos: readable labelled photos of subjects that the checkpoint was not trained on.
        out: output folder; created if missing.
        device: "cpu" or a torch device.
        readings: CSV file of what blind readers saw, see `read_readings`; added to the bundled readings.
        advance: called after each photo. The rest takes up to a second more per photo of the three types.

    Returns:
        The figures that `metrics.json` holds.
    """
    engine = open_engine(checkpoint, device=device)
    calibration = engine.card.calibration
    scored = score_photos(engine, photos, advance=advance)
    decisions = decide(scored, calibration)
    tried = tried_photos(photos)
    changed = score_changes(engine, tried, everything=photos)
    decided = {name: decide(part, calibration) for name, part in changed.items()}
    figures = {
        "command": "scarlens evaluate CHECKPOINT --data DATA --out OUT",
        "model_id": engine.card.model_id,
        "version": version("scarlens"),
        **measure(photos, decisions, read_readings(readings)),
        **measure_trust(photos, decisions, tried, decided),
    }
    write_report(out, figures, scored, decisions, seen_in=lambda row: Classifier(engine).predict(photos[row].path))
    return figures


def judge(engine: Engine, calibration: Calibration) -> Classifier:
    """Return a classifier with this calibration instead of the engine's own."""
    judged = copy(engine)
    judged.card = replace(engine.card, calibration=calibration)
    return Classifier(judged)


def write_report(
    out: Path,
    figures: dict[str, Any],
    scored: ScoredPhotos,
    decisions: Decisions,
    *,
    seen_in: Callable[[int], Prediction] | None = None,
) -> None:
    """Write a report into a folder: `report.html`, `metrics.json`, `predictions.csv` and `confusion.png`.

    Args:
        out: output folder; created if missing.
        figures: the results of `measure` and, if computed, of `measure_trust`.
        scored: the scores.
        decisions: the decisions.
        seen_in: returns the prediction for the photo in a row; if missing, photos have no overlays.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "metrics.json", json.dumps(figures, indent=2).encode())
    write_atomically(out / "predictions.csv", predictions_csv(scored, decisions))
    draw_confusion(np.array(figures["confusion"]), out / "confusion.png")
    page = report_page(figures, lambda row: read_image(scored.photos[row].path), seen_in)
    write_atomically(out / "report.html", page.encode(errors="replace"))  # a file's name need not be UTF-8


if __name__ == "__main__":
    from scarlens.cli import main

    main("evaluate")
