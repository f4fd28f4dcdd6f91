"""Cross-validation by subject: the honest figure, and the held-out scores that a checkpoint is calibrated with.

python training/crossvalidate.py --data photos/ --out runs/cv
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scarlens.datasets.atomic import write_atomically
from scarlens.datasets.photos import LabelledPhoto, measured_and_extra
from scarlens.datasets.splits import grouped_folds
from scarlens.inference.engine import TorchEngine
from scarlens.model.calibration import fit_calibration
from scarlens.model.export import network_of
from scarlens.training.config import TrainConfig
from scarlens.training.evaluate import Decisions, ScoredPhotos, ScoresError, decide, measure, score_photos, write_report
from scarlens.training.run import Team, TrainingError
from scarlens.training.train import fit, with_validation


def crossvalidate(
    photos: Sequence[LabelledPhoto],
    config: TrainConfig,
    out: Path,
    *,
    folds: int = 5,
    repeats: int = 1,
    device: str = "cpu",
    resume: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train and measure on folds that never part a subject.

    Within the training part of each fold, early stopping sees its own held-out subjects; the fold that is reported
    decides nothing. Probabilities, plausible sets and thresholds of a fold come from the other folds' scores.

    Args:
        photos: readable labelled photos with subjects; extra ones are learned from in every fold.
        config: the settings; repeat r splits and trains with `config.seed + r`.
        out: the folder, which is made: `metrics.json`, `predictions.csv`, `confusion.png`, a run folder per fold.
        folds: number of folds.
        repeats: how often to deal the photos anew; photos then count once a repeat.
        device: "cpu" or "cuda".
        resume: go on with an interrupted cross-validation in the same folder.
        report: called with a line of text after each fold.

    Returns:
        The figures that `metrics.json` holds.
    """
    _claim_folder(out, config)
    measured, extra = measured_and_extra(photos)
    kinds, subjects = [photo.kind for photo in measured], [photo.subject or "" for photo in measured]
    parts: list[ScoredPhotos] = []
    decisions: list[Decisions] = []
    for repeat in range(repeats):
        seeded = config.with_settings(seed=config.seed + repeat)
        fold_of = grouped_folds(kinds, subjects, folds=folds, seed=seeded.seed)
        scored: list[ScoredPhotos] = []
        for fold in range(folds):
            run = out / f"repeat_{repeat}_fold_{fold}"
            kept = [photo for photo, other in zip(measured, fold_of, strict=True) if other != fold]
            held_out = [photo for photo, other in zip(measured, fold_of, strict=True) if other == fold]
            training, validation = with_validation([*kept, *extra], seeded)
            checkpoint = fit(training, validation, seeded, run, device=device, resume=resume)
            scored.append(score_photos(TorchEngine(*network_of(checkpoint), device=device), held_out))
            report(f"repeat {repeat + 1}/{repeats}, fold {fold + 1}/{folds}: {_count_right(scored[-1])}")
        parts += scored
        decisions += cross_fitted(scored)
    everything, decided = ScoredPhotos.joined(parts), Decisions.joined(decisions)
    figures = {"folds": folds, "repeats": repeats, **measure(everything.photos, decided)}
    if Team.joined(device).leads:
        write_report(out, figures, everything, decided)
    return figures


def cross_fitted(folds: Sequence[ScoredPhotos]) -> list[Decisions]:
    """Decide each fold with a calibration fitted on the scores of the others."""
    decisions = []
    for number, fold in enumerate(folds):
        others = ScoredPhotos.joined([other for i, other in enumerate(folds) if i != number])
        calibration = fit_calibration(
            type_logits=others.type_logits,
            scope_logits=others.scope_logits,
            type_indices=others.type_indices,
            fitted_on="the other folds",
        )
        decisions.append(decide(fold, calibration))
    return decisions


def _claim_folder(out: Path, config: TrainConfig) -> None:
    """Make the folder and write the settings into it, unless it holds a cross-validation with other settings."""
    out.mkdir(parents=True, exist_ok=True)
    settings = out / "config.yaml"
    if settings.exists() and settings.read_text(encoding="utf-8") != config.to_yaml():
        raise TrainingError(f"{out} holds a cross-validation with other settings: give another --out")
    write_atomically(settings, config.to_yaml().encode())


def _count_right(scored: ScoredPhotos) -> str:
    shown = scored.type_indices >= 0
    right = scored.type_logits[shown].argmax(axis=1) == scored.type_indices[shown]
    return f"{right.sum()} of {len(right)} types right"


def read_held_out(predictions: Path, config: TrainConfig) -> ScoredPhotos:
    """Read the scores of a cross-validation, to calibrate a training that has the same settings.

    Args:
        predictions: the cross-validation's `predictions.csv`, with its `config.yaml` beside it.
        config: the settings of the training.

    Raises:
        ScoresError: when it is no such file, or the settings differ in more than seed and workers.
    """
    scored = ScoredPhotos.read(predictions)
    used = TrainConfig.from_yaml(predictions.with_name("config.yaml"))
    if used.with_settings(seed=config.seed, workers=config.workers) != config:
        raise ScoresError(
            f"{predictions} was scored with other settings than this training's: see config.yaml beside it"
        )
    return scored


if __name__ == "__main__":
    from scarlens.cli import main

    main("crossvalidate")
