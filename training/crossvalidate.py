"""Cross-validation by subject: honest figures, and the held-out scores that calibrate a checkpoint.

python training/crossvalidate.py --data photos/ --out runs/cv
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from scarlens.datasets.annotations.readings import Reading, read_readings
from scarlens.datasets.labels import SCAR_TYPES, UNTYPED
from scarlens.datasets.photos import LabelledPhoto, measured_and_extra
from scarlens.datasets.splits import grouped_folds, refuse_parted
from scarlens.datasets.writing.atomic import write_atomically
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
from scarlens.training.measure.map_figures import (
    CELLS_FILE,
    RETAKES_FILE,
    joined_retakes,
    map_figures,
    npz,
    retake_figures,
    retaken_extents,
    score_cells,
)
from scarlens.training.measure.scores import (
    Decisions,
    ScoredPhotos,
    changes_csv,
    decide,
    read_changes,
    score_photos,
)
from scarlens.training.measure.stress import ALL_CHANGES, ORIGINAL, score_changes, tried_photos
from scarlens.training.run import Team, TrainingError
from scarlens.training.train import VIEWS_FOLDER, fit, with_validation

SHOTS: Final = 6
"""Number of skins of each type that a fold renders under two lights, unless it holds out fewer photos: then 1."""

LISTED: Final = 6
"""Number of photos with the best and the worst map in the report."""


@dataclass(frozen=True)
class Fold:
    """The result of one fold.

    Attributes:
        checkpoint: its network.
        held_out: scores of the photos it held out. Only the leading process has those of changed photos.
    """

    checkpoint: Path
    held_out: HeldOut


@dataclass(frozen=True)
class _Setup:
    """What all folds share.

    Attributes:
        out: folder of the cross-validation.
        team: the processes that share the work.
        device: "cpu" or "cuda".
        resume: whether finished folds are kept.
        allow_parted: whether folds may separate near-duplicates.
        tried: the photos that are also scored under changes.
        readings: what blind readers saw, by sha256.
    """

    out: Path
    team: Team
    device: str
    resume: bool
    allow_parted: bool
    tried: frozenset[LabelledPhoto]
    readings: Mapping[str, Reading]


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
    readings: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train and evaluate on folds that never split a subject.

    Early stopping uses its own held-out subjects within the training part of each fold, so the evaluated fold decides
    nothing. Its probabilities, plausible sets and thresholds come from the scores of the other folds.

    Args:
        photos: readable labelled photos with subjects; extra ones are trained on in every fold.
        config: the settings. Repeat r shuffles and trains with `config.seed + r`.
        out: output folder; created if missing: `report.html`, `metrics.json`, `predictions.csv`, `confusion.png`, and a
            run folder per fold with `changes.csv`, the scores of changed photos.
        folds: number of folds.
        repeats: number of times to reshuffle the photos. Each photo then counts once per repeat.
        device: "cpu" or "cuda".
        resume: whether to resume an interrupted cross-validation in the same folder.
        allow_parted: whether folds may separate near-duplicates, which inflates the figures.
        readings: CSV file of what blind readers saw, see `read_readings`; added to the bundled readings.
        report: called with a line of text after each fold.

    Returns:
        The figures in `metrics.json`. In a process that does not lead they lack those of changed photos, and decisions
        ignore the quality limits, which come from changed photos.

    Raises:
        SplitError: a class has too few subjects for the folds, or the folds separate near-duplicates.
    """
    _claim_folder(out, config)
    measured, extra = measured_and_extra(photos)
    setup = _Setup(
        out=out,
        team=Team.joined(device),
        device=device,
        resume=resume,
        allow_parted=allow_parted,
        tried=frozenset(tried_photos(measured)),
        readings=read_readings(readings),
    )
    done: list[Fold] = []
    calibrations: list[Calibration] = []
    for repeat in range(repeats):
        seeded = config.with_settings(seed=config.seed + repeat)
        for number, (kept, held_out) in enumerate(_splits(measured, extra, folds, seeded.seed, setup)):
            fold = _run_fold(setup, seeded, out / f"repeat_{repeat}_fold_{number}", kept, held_out)
            report(f"repeat {repeat + 1}/{repeats}, fold {number + 1}/{folds}: {_count_right(fold.held_out.scored)}")
            done.append(fold)
        calibrations += other_folds_calibrations([fold.held_out for fold in done[-folds:]])
    command = f"scarlens crossvalidate --data DATA --out OUT --folds {folds} --repeats {repeats}"
    figures = {"command": command, "version": version("scarlens"), "folds": folds, "repeats": repeats}
    return _measure_folds(setup, done, calibrations, figures)


def _splits(
    measured: Sequence[LabelledPhoto], extra: Sequence[LabelledPhoto], folds: int, seed: int, setup: _Setup
) -> Iterator[tuple[list[LabelledPhoto], list[LabelledPhoto]]]:
    """Yield for each fold the photos to train on, extra ones among them, and those held out."""
    class_names, subjects = [photo.class_name for photo in measured], [photo.subject or "" for photo in measured]
    fold_of = grouped_folds(class_names, subjects, folds=folds, seed=seed)
    if not setup.allow_parted:
        refuse_parted([*measured, *extra], [*fold_of, *[-1] * len(extra)])
    for fold in range(folds):
        kept = [photo for photo, other in zip(measured, fold_of, strict=True) if other != fold]
        held_out = [photo for photo, other in zip(measured, fold_of, strict=True) if other == fold]
        yield [*kept, *extra], held_out


def _run_fold(
    setup: _Setup,
    config: TrainConfig,
    run: Path,
    kept: Sequence[LabelledPhoto],
    held_out: Sequence[LabelledPhoto],
) -> Fold:
    """Train on the kept photos in the run folder `run`, and score those held out."""
    training, validation = with_validation(kept, config)
    if not setup.allow_parted:
        refuse_parted([*training, *validation], [0] * len(training) + [1] * len(validation))
    checkpoint = fit(
        training,
        validation,
        config,
        run,
        device=setup.device,
        resume=setup.resume,
        views_folder=setup.out / VIEWS_FOLDER,
    )
    engine = TorchEngine(*network_of(checkpoint), device=setup.device)
    scored = score_photos(engine, held_out)
    chosen = [photo for photo in held_out if photo in setup.tried]
    changed = _changed(engine, chosen, scored, run / CHANGES_FILE) if setup.team.leads else {}
    return Fold(checkpoint, HeldOut(scored, changed, score_cells(engine, held_out, setup.readings)))


def _measure_folds(
    setup: _Setup, done: Sequence[Fold], calibrations: Sequence[Calibration], begun: Mapping[str, Any]
) -> dict[str, Any]:
    """Compute the figures over all folds, and let the leading process write the report."""
    joined = HeldOut.joined([fold.held_out for fold in done])
    everything = joined.scored
    decided = Decisions.joined([decide(f.held_out.scored, c) for f, c in zip(done, calibrations, strict=True)])
    measured = measure(everything.photos, decided, setup.readings)
    figures = {**begun, **measured, "uncalibrated": uncalibrated_figures(everything)}
    if not setup.team.leads:
        return figures
    out = setup.out
    write_atomically(out / CHANGES_FILE, changes_csv(joined.changed))
    write_atomically(out / CELLS_FILE, npz(joined.cells))
    retakes = _retakes(done[: begun["folds"]], calibrations)
    write_atomically(out / RETAKES_FILE, npz(joined_retakes(retakes)))
    figures |= _trust(done, calibrations, everything, decided)
    figures |= _maps(done, calibrations, begun["folds"], setup.readings)
    figures |= retake_figures(retakes)
    write_report(out, figures, everything, decided, seen_in=lambda row: _seen(done, calibrations, row))
    shutil.rmtree(out / VIEWS_FOLDER, ignore_errors=True)  # gigabytes that nothing needs any more
    return figures


def _maps(
    done: Sequence[Fold], calibrations: Sequence[Calibration], folds: int, readings: Mapping[str, Reading]
) -> dict[str, Any]:
    """Compute the map's figures over the first repeat. The network that held a photo out judges it."""
    first = [*zip(done[:folds], calibrations[:folds], strict=True)]
    cells = {digest: found for fold, _ in first for digest, found in fold.held_out.cells.items()}
    thresholds = {digest: calibration.scar_threshold for fold, calibration in first for digest in fold.held_out.cells}
    photos = [photo for fold, _ in first for photo in fold.held_out.scored.photos]
    labelled = [photo for photo in photos if photo.type_index >= 0]
    untyped = [photo for photo in photos if photo.label == UNTYPED]
    parts = {"map": labelled, "map_untyped": untyped}
    figures = {name: map_figures(part, cells, thresholds, readings) for name, part in parts.items()}
    row_of = {str(photo.path): row for row, photo in reversed([*enumerate(photos)])}
    for figure in filter(None, figures.values()):
        listed = [{"row": row_of[path], "auroc": area} for path, area in figure.pop("by_photo")]
        figure |= {"worst_photos": listed[:LISTED], "best_photos": listed[::-1][:LISTED]}
    return {name: figure for name, figure in figures.items() if figure}


def _retakes(folds: Sequence[Fold], calibrations: Sequence[Calibration]) -> list[dict[str, np.ndarray]]:
    """Return `retaken_extents` for each fold, of the photos of the three types that it held out."""
    found = []
    for number, (fold, calibration) in enumerate(zip(folds, calibrations, strict=False)):
        photos = [photo for photo in fold.held_out.scored.photos if photo.type_index >= 0]
        shots = SHOTS if len(photos) >= SHOTS * len(SCAR_TYPES) else 1
        classifier = judge(TorchEngine(*network_of(fold.checkpoint)), calibration)
        first = number * SHOTS
        found.append(retaken_extents(classifier, photos, shots=range(first, first + shots)))
    return found


def _changed(
    engine: Engine, photos: Sequence[LabelledPhoto], scored: ScoredPhotos, file: Path
) -> dict[str, ScoredPhotos]:
    """Score held-out photos under every change, or reuse the scores of an earlier start of this run.

    They are reused only if the unchanged photos are the same and have the same scores: the weights or the evaluation
    transform may have changed since.
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
    """Compute the figures of changed photos, with the calibration of each photo's fold."""
    parts = [(fold.held_out.changed, calibration) for fold, calibration in zip(done, calibrations, strict=True)]
    changed = {
        name: Decisions.joined([decide(scores[name], calibration) for scores, calibration in parts])
        for name in done[0].held_out.changed
    }
    tried = [photo for fold in done for photo in fold.held_out.changed[ORIGINAL].photos]
    return measure_trust(everything.photos, decided, tried, changed)


def _seen(done: Sequence[Fold], calibrations: Sequence[Calibration], row: int) -> Prediction:
    """Return the prediction for the photo in a row of all scores, by the network that held it out."""
    ends = np.cumsum([len(fold.held_out.scored.photos) for fold in done])
    number = int(np.searchsorted(ends, row, side="right"))
    fold = done[number]
    photo = fold.held_out.scored.photos[row - int(ends[number])]  # negative: counted from the fold's end
    return judge(TorchEngine(*network_of(fold.checkpoint)), calibrations[number]).predict(photo.path)


def other_folds_calibrations(folds: Sequence[HeldOut]) -> list[Calibration]:
    """Fit a calibration for each fold on the scores of the other folds."""
    return [
        calibrated(HeldOut.joined([*folds[:number], *folds[number + 1 :]]), fitted_on="the other folds")
        for number in range(len(folds))
    ]


def _claim_folder(out: Path, config: TrainConfig) -> None:
    """Create the folder and save the settings, unless it holds a cross-validation with other settings."""
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
