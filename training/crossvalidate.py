"""Cross-validation by subject: the honest figure, and the held-out scores that a checkpoint is calibrated with.

python training/crossvalidate.py --data photos/ --out runs/cv
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from scarlens.datasets.annotations.readings import read_readings
from scarlens.datasets.labels import UNTYPED
from scarlens.datasets.photos import LabelledPhoto, measured_and_extra
from scarlens.datasets.splits import grouped_folds, refuse_parted
from scarlens.datasets.writing.atomic import write_atomically
from scarlens.inference.classifier import Classifier
from scarlens.inference.engine import Engine, TorchEngine
from scarlens.inference.prediction import Prediction
from scarlens.model.calibration import Calibration
from scarlens.model.export import network_of
from scarlens.training.config import TrainConfig
from scarlens.training.evaluate import (
    judge,
    measure,
    measure_trust,
    uncalibrated_figures,
    write_report,
)
from scarlens.training.measure.calibrate import CHANGES_FILE, HeldOut, calibrated
from scarlens.training.measure.map_figures import CELLS_FILE, cells_npz, extent_changes, map_figures, score_cells
from scarlens.training.measure.scores import (
    Decisions,
    ScoredPhotos,
    changes_csv,
    decide,
    read_changes,
    score_photos,
)
from scarlens.training.measure.stress import ALL_CHANGES, ORIGINAL, averaging_seconds, score_changes, tried_photos
from scarlens.training.run import Team, TrainingError
from scarlens.training.train import VIEWS_FOLDER, fit, with_validation

LISTED: Final = 6
"""Photos with the best and the worst map that a report shows."""


@dataclass(frozen=True)
class Fold:
    """What one fold leaves behind.

    Attributes:
        checkpoint: its network.
        held_out: scores of the photos it held out; without changed ones in a process that does not lead.
    """

    checkpoint: Path
    held_out: HeldOut


def crossvalidate(
    photos: Sequence[LabelledPhoto],
    config: TrainConfig,
    out: Path,
    *,
    folds: int = 5,
    repeats: int = 1,
    device: str = "cpu",
    resume: bool = False,
    allow_parted: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train and measure on folds that never part a subject.

    Within the training part of each fold, early stopping sees its own held-out subjects; the fold that is reported
    decides nothing. Probabilities, plausible sets and thresholds of a fold come from the other folds' scores.

    Args:
        photos: readable labelled photos with subjects; extra ones are learned from in every fold.
        config: the settings; repeat r splits and trains with `config.seed + r`.
        out: the folder, which is made: `report.html`, `metrics.json`, `predictions.csv`, `confusion.png`, and a run
            folder per fold with `changes.csv`, the scores of changed photos.
        folds: number of folds.
        repeats: how often to deal the photos anew; photos then count once a repeat.
        device: "cpu" or "cuda".
        resume: go on with an interrupted cross-validation in the same folder.
        allow_parted: whether copies of one picture may stand in different folds, which flatters the figures.
        report: called with a line of text after each fold.

    Returns:
        The figures that `metrics.json` holds; in a process that does not lead, without those of changed photos
        and decided without limits of quality, which come from them.

    Raises:
        SplitError: when a class has too few subjects for the folds, or the folds part copies.
    """
    _claim_folder(out, config)
    measured, extra = measured_and_extra(photos)
    kinds, subjects = [photo.kind for photo in measured], [photo.subject or "" for photo in measured]
    team, readings = Team.joined(device), read_readings()
    tried = set(tried_photos(measured))
    done: list[Fold] = []
    calibrations: list[Calibration] = []
    for repeat in range(repeats):
        seeded = config.with_settings(seed=config.seed + repeat)
        fold_of = grouped_folds(kinds, subjects, folds=folds, seed=seeded.seed)
        if not allow_parted:
            refuse_parted([*measured, *extra], [*fold_of, *[-1] * len(extra)])
        for fold in range(folds):
            run = out / f"repeat_{repeat}_fold_{fold}"
            kept = [photo for photo, other in zip(measured, fold_of, strict=True) if other != fold]
            held_out = [photo for photo, other in zip(measured, fold_of, strict=True) if other == fold]
            training, validation = with_validation([*kept, *extra], seeded)
            if not allow_parted:
                refuse_parted([*training, *validation], [0] * len(training) + [1] * len(validation))
            checkpoint = fit(
                training, validation, seeded, run, device=device, resume=resume, views_folder=out / VIEWS_FOLDER
            )
            engine = TorchEngine(*network_of(checkpoint), device=device)
            scored = score_photos(engine, held_out)
            chosen = [photo for photo in held_out if photo in tried]
            changed = _changed(engine, chosen, scored, run / CHANGES_FILE) if team.leads else {}
            done.append(Fold(checkpoint, HeldOut(scored, changed, score_cells(engine, held_out, readings))))
            report(f"repeat {repeat + 1}/{repeats}, fold {fold + 1}/{folds}: {_count_right(scored)}")
        calibrations += other_folds_calibrations([fold.held_out for fold in done[-folds:]])
    joined = HeldOut.joined([fold.held_out for fold in done])
    everything = joined.scored
    decided = Decisions.joined([decide(f.held_out.scored, c) for f, c in zip(done, calibrations, strict=True)])
    figures = {
        "command": f"scarlens crossvalidate --data DATA --out OUT --folds {folds} --repeats {repeats}",
        "folds": folds,
        "repeats": repeats,
        **measure(everything.photos, decided),
        "uncalibrated": uncalibrated_figures(everything),
    }
    if team.leads:
        write_atomically(out / CHANGES_FILE, changes_csv(joined.changed))
        write_atomically(out / CELLS_FILE, cells_npz(joined.cells))
        figures |= _trust(done, calibrations, everything, decided) | _maps(done, calibrations, folds)
        write_report(out, figures, everything, decided, seen_in=lambda row: _seen(done, calibrations, row))
        shutil.rmtree(out / VIEWS_FOLDER, ignore_errors=True)  # about a gigabyte, which nothing needs any more
    return figures


def _maps(done: Sequence[Fold], calibrations: Sequence[Calibration], folds: int) -> dict[str, Any]:
    """Compute the map's figures of the first repeat, each photo by the network that held it out."""
    first = [*zip(done[:folds], calibrations[:folds], strict=True)]
    cells = {digest: found for fold, _ in first for digest, found in fold.held_out.cells.items()}
    thresholds = {digest: calibration.scar_threshold for fold, calibration in first for digest in fold.held_out.cells}
    photos = [photo for fold, _ in first for photo in fold.held_out.scored.photos]
    labelled = [photo for photo in photos if photo.type_index >= 0]
    untyped = [photo for photo in photos if photo.label == UNTYPED]
    parts, readings = {"map": labelled, "map_untyped": untyped}, read_readings()
    figures = {name: map_figures(part, cells, thresholds, readings) for name, part in parts.items()}
    row_of = {str(photo.path): row for row, photo in reversed([*enumerate(photos)])}
    judges: dict[LabelledPhoto, Classifier] = {}
    for fold, calibration in first:
        classifier = judge(TorchEngine(*network_of(fold.checkpoint)), calibration)
        judges |= {photo: classifier for photo in fold.held_out.scored.photos if photo.type_index >= 0}
    for figure in filter(None, figures.values()):
        listed = [{"row": row_of[path], "auroc": area} for path, area in figure.pop("by_photo")]
        figure |= {"worst_photos": listed[:LISTED], "best_photos": listed[::-1][:LISTED]}
    found = {name: figure for name, figure in figures.items() if figure}
    return {**found, "extent_changes": extent_changes(judges)}


def _changed(
    engine: Engine, photos: Sequence[LabelledPhoto], scored: ScoredPhotos, file: Path
) -> dict[str, ScoredPhotos]:
    """Score held-out photos under every change, or read the scores that an earlier start of this run left.

    Those are taken only if they hold the same photos and, for the photos as they are, the same scores as now: weights
    or the evaluation transform may have changed since.
    """
    if file.exists():
        changed = read_changes(file)
        now = [row for row, photo in enumerate(scored.photos) if photo in photos]
        if tuple(changed) == ALL_CHANGES and _same(changed[ORIGINAL], scored.taken(now)):
            return changed
    changed = score_changes(engine, photos, everything=scored.photos)
    write_atomically(file, changes_csv(changed))
    return changed


def _same(one: ScoredPhotos, other: ScoredPhotos) -> bool:
    if [photo.path for photo in one.photos] != [photo.path for photo in other.photos]:
        return False
    return np.allclose(one.numbers, other.numbers, rtol=1e-3, atol=1e-3)


def _trust(
    done: Sequence[Fold], calibrations: Sequence[Calibration], everything: ScoredPhotos, decided: Decisions
) -> dict[str, Any]:
    """Compute the figures of changed photos, each decided with its fold's calibration."""
    parts = [(fold.held_out.changed, calibration) for fold, calibration in zip(done, calibrations, strict=True)]
    changed = {
        name: Decisions.joined([decide(scores[name], calibration) for scores, calibration in parts])
        for name in done[0].held_out.changed
    }
    tried = [photo for fold in done for photo in fold.held_out.changed[ORIGINAL].photos]
    figures = measure_trust(everything.photos, decided, tried, changed)
    last = TorchEngine(*network_of(done[-1].checkpoint))
    figures["orientation_averaging"] |= averaging_seconds(last, tried)
    return figures


def _seen(done: Sequence[Fold], calibrations: Sequence[Calibration], row: int) -> Prediction:
    """Return what is seen in the photo of a row of all scores, by the network that held it out."""
    ends = np.cumsum([len(fold.held_out.scored.photos) for fold in done])
    number = int(np.searchsorted(ends, row, side="right"))
    fold = done[number]
    photo = fold.held_out.scored.photos[row - int(ends[number])]  # negative: counted from the fold's end
    return judge(TorchEngine(*network_of(fold.checkpoint)), calibrations[number]).predict(photo.path)


def other_folds_calibrations(folds: Sequence[HeldOut]) -> list[Calibration]:
    """Fit, for each fold, a calibration on the scores of the others."""
    return [
        calibrated(HeldOut.joined([*folds[:number], *folds[number + 1 :]]), fitted_on="the other folds")
        for number in range(len(folds))
    ]


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


if __name__ == "__main__":
    from scarlens.cli import main

    main("crossvalidate")
