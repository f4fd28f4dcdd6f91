"""Train the network on labelled photos.

One process, on the CPU or one GPU:

    python training/train.py --data photos/ --out runs/mine

Several GPUs or machines (see torchrun's own flags):

    torchrun --nproc-per-node 4 training/train.py --data photos/ --out runs/mine --device cuda
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from scarlens.datasets.annotations.readings import read_readings
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.photos import LabelledPhoto, measured_and_extra
from scarlens.datasets.splits import grouped_holdout, refuse_parted
from scarlens.datasets.writing.atomic import write_atomically
from scarlens.inference.engine import TorchEngine
from scarlens.inference.terminal import counter
from scarlens.model.calibration import Calibration
from scarlens.model.checkpoint import load_checkpoint, save_checkpoint
from scarlens.model.export import export_onnx, network_of
from scarlens.model.network import NetworkOutput, ScarNetwork
from scarlens.training.batches.lessons import Lesson, lessons_of
from scarlens.training.batches.loader import BalancedBatches, Batch, training_batches
from scarlens.training.batches.views import FrozenViews
from scarlens.training.config import TrainConfig
from scarlens.training.evaluate import measure, validation_loss, write_report
from scarlens.training.measure.calibrate import HeldOut, calibrated
from scarlens.training.measure.report import draw_learning_curve
from scarlens.training.measure.scores import ScoredPhotos, decide, score_photos
from scarlens.training.run import Run, RunLog, Team, TrainingError, diverged

_log = logging.getLogger(__name__)

STATE_FILE: Final = "state.pt"
CHECKPOINT_FILE: Final = "model.safetensors"

VIEWS_FOLDER: Final = "views"

STANDARDISED_ON: Final = 256
"""Number of photos on which features are measured before the first epoch."""

WHERE: Final = 2.0
"""Weight of the map in the loss; the photo's type has 1."""

WHETHER: Final = 0.5
"""Weight of the scope in the loss. Small, because most of it follows from the map."""

FEWEST_TO_CALIBRATE: Final = 10
"""Fewest photos of a type that can calibrate plausible sets with 90 % coverage."""


def train(
    photos: Sequence[LabelledPhoto],
    config: TrainConfig,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
    held_out: HeldOut | None = None,
    allow_parted: bool = False,
) -> Path:
    """Make a checkpoint: split off validation photos, fit, calibrate, evaluate and export.

    Args:
        photos: readable labelled photos with subjects.
        config: the settings.
        out: run folder; created if missing: `model.safetensors`, `model.onnx`, `config.yaml`, `photos.csv`, `log.csv`,
            `learning_curve.png`, TensorBoard files, and `validation/` with figures and the confusion matrix.
        device: "cpu" or "cuda"; under torchrun each process takes its own GPU.
        resume: whether to resume an interrupted run in the same folder.
        held_out: scores to calibrate with, from a cross-validation with the same settings. Default: those of the
            validation photos; without these, probabilities stay uncalibrated.
        allow_parted: whether the split may separate near-duplicates, which inflates the figures.

    Returns:
        The checkpoint, `model.safetensors`.

    Raises:
        TrainingError: the folder holds another run, or the loss is no longer finite.
        SplitError: a class has too few subjects for a validation split, or the split separates near-duplicates.
        PhotoSetError: a type has no photo, or an extra photo shows a subject of the others.
    """
    training, validation = with_validation(photos, config)
    if not allow_parted:
        refuse_parted([*training, *validation], [0] * len(training) + [1] * len(validation))
    checkpoint = fit(training, validation, config, out, device=device, resume=resume)
    if Team.joined(device).leads:
        write_atomically(out / "photos.csv", _photo_list(training, validation))
        _finish(checkpoint, photos, validation, held_out)
    return checkpoint


def with_validation(
    photos: Sequence[LabelledPhoto], config: TrainConfig
) -> tuple[list[LabelledPhoto], list[LabelledPhoto]]:
    """Split photos into training photos, extra ones among them, and validation photos of other subjects."""
    measured, extra = measured_and_extra(photos)
    if not config.validation_fraction:
        return [*measured, *extra], []
    class_names, subjects = [photo.class_name for photo in measured], [photo.subject or "" for photo in measured]
    apart = grouped_holdout(class_names, subjects, fraction=config.validation_fraction, seed=config.seed)
    training = [photo for photo, held in zip(measured, apart, strict=True) if not held]
    return [*training, *extra], [photo for photo, held in zip(measured, apart, strict=True) if held]


def _finish(
    checkpoint: Path,
    photos: Sequence[LabelledPhoto],
    validation: Sequence[LabelledPhoto],
    held_out: HeldOut | None,
) -> None:
    """Calibrate the checkpoint, evaluate it on the validation photos and write its ONNX form."""
    tensors, card = load_checkpoint(checkpoint)
    engine = TorchEngine(*network_of(checkpoint))
    scored = score_photos(engine, validation)
    source, origin = (held_out, "cross-validation") if held_out else (HeldOut(scored), "the validation part")
    calibration = Calibration()
    if source.scored.photos:
        calibration = calibrated(source, fitted_on=f"{origin}: {len(source.scored.photos)} scores")
    _say_what_calibration_lacks(source.scored)
    class_names = [photo.class_name for photo in photos]
    data = {"photos": {class_name: class_names.count(class_name) for class_name in sorted(set(class_names))}}
    card = replace(card, calibration=calibration, training={**card.training, **data})
    save_checkpoint(checkpoint, tensors, card)
    export_onnx(checkpoint, checkpoint.with_suffix(".onnx"))
    if validation:
        decisions = decide(scored, calibration)
        note = "These photos also chose the epoch and, without --calibrate-on, the calibration: too good to report."
        figures = {"note": note, **measure(validation, decisions, read_readings())}
        write_report(checkpoint.parent / "validation", figures, scored, decisions)


def _say_what_calibration_lacks(scored: ScoredPhotos) -> None:
    labels = [photo.type_index for photo in scored.photos]
    fewest = min(labels.count(index) for index in range(len(SCAR_TYPES)))
    if fewest < FEWEST_TO_CALIBRATE:
        _log.warning(
            f"only {fewest} photos of a type to calibrate on, expected at least {FEWEST_TO_CALIBRATE}: plausible sets "
            "will hold nearly every type; give --calibrate-on predictions.csv of a cross-validation with the same "
            "settings"
        )


def fit(
    training: Sequence[LabelledPhoto],
    validation: Sequence[LabelledPhoto],
    config: TrainConfig,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
    views_folder: Path | None = None,
) -> Path:
    """Train to the last epoch or until the patience runs out, and keep the best weights.

    The state is saved after every epoch. On the CPU, a killed and resumed run ends with the same weights.

    Args:
        training: photos to train on, with every scar type among them.
        validation: photos of other subjects, for early stopping. If empty, training goes to the last epoch.
        config: the settings.
        out: run folder; created if missing.
        device: "cpu" or "cuda"; under torchrun each process takes its own GPU.
        resume: whether to resume after the last finished epoch in the folder.
        views_folder: folder in which to keep the views for other trainings. By default they are deleted at the end.

    Returns:
        The checkpoint, with an identity calibration.

    Raises:
        TrainingError: the folder holds another run, or the loss is no longer finite. The best checkpoint so far stays.
    """
    team = Team.joined(device)
    out.mkdir(parents=True, exist_ok=True)
    run = Run(config, _digest(training, validation), team.device)
    batches = BalancedBatches(training, config, rank=team.rank, processes=team.processes)
    resumed = (out / STATE_FILE).exists()
    if resumed and not resume:
        raise TrainingError(f"{out} already holds a run: give another --out, or --resume to resume it")
    if resumed:
        run.restore(out / STATE_FILE)
    if run.finished:
        return out / CHECKPOINT_FILE
    lessons = lessons_of(training, read_readings())
    views = FrozenViews(training, lessons, run.network, config, views_folder or out / VIEWS_FOLDER, frozen=run.frozen)
    _prepare(views, len(training), team)
    if not resumed:
        if team.leads:
            write_atomically(out / "config.yaml", config.to_yaml().encode())
        run.standardise(views, _measured_on(lessons, seed=config.seed))
    _train_epochs(run, training_batches(views, lessons, batches), batches, validation, out, team)
    if team.processes > 1:
        dist.barrier()  # the others must wait until the leader has written the checkpoint
    if team.leads and views_folder is None:
        shutil.rmtree(out / VIEWS_FOLDER, ignore_errors=True)  # gigabytes that nothing needs any more
    return out / CHECKPOINT_FILE


def _train_epochs(
    run: Run,
    loader: DataLoader[Batch],
    batches: BalancedBatches,
    validation: Sequence[LabelledPhoto],
    out: Path,
    team: Team,
) -> None:
    """Train, validate and save, epoch by epoch, until the run is finished."""
    rest = _Finish(run.network, run.frozen)
    learner = DistributedDataParallel(rest) if team.processes > 1 else rest
    log = RunLog(out, enabled=team.leads)
    while not run.finished:
        batches.epoch = run.epoch
        started = time.perf_counter()
        row = {"epoch": run.epoch + 1, "loss": train_one_epoch(run, learner, loader, team, log)}
        if validation:
            row["validation_loss"] = team.agreed(_validate(run, validation) if team.leads else 0.0)
        row["seconds"] = time.perf_counter() - started
        _end_epoch(run, row, out, team, log)
    log.close()


def _end_epoch(run: Run, row: dict[str, float], out: Path, team: Team, log: RunLog) -> None:
    """Add an epoch to the history; save the weights if they are the best, and the state in any case."""
    run.check_finite()  # no further step has tried the weights of the last one
    run.history.append(row)
    current = row.get("validation_loss", -run.epoch)  # without validation photos, the latest is the best
    best = current < run.best_loss
    if best:
        run.best_epoch, run.best_loss = run.epoch, current
    if not team.leads:
        return
    if best:
        save_checkpoint(out / CHECKPOINT_FILE, _arrays(run.average), run.card())
    log.epoch(run.history, best_epoch=run.best_epoch)
    draw_learning_curve(run.history, run.best_epoch, out / "learning_curve.png")
    run.save(out / STATE_FILE)


def _prepare(views: FrozenViews, photos: int, team: Team) -> None:
    """Compute this process's share of the views."""
    mine = range(photos)[team.rank :: team.processes]
    with counter("photos seen by the frozen stages", len(mine)) as advance:
        views.prepare(mine, advance=advance)
    if team.processes > 1:
        dist.barrier()


def _measured_on(lessons: Sequence[Lesson], *, seed: int) -> list[int]:
    """Choose the photos on which the mean and variance of the features are measured."""
    return np.random.default_rng(seed).permutation(len(lessons))[:STANDARDISED_ON].tolist()


class _Finish(nn.Module):
    """The trained part of the network, as a module for DistributedDataParallel."""

    def __init__(self, network: ScarNetwork, frozen: int) -> None:
        super().__init__()
        self.network, self.frozen = network, frozen

    def forward(self, maps: Tensor) -> NetworkOutput:
        return self.network.finish(maps, self.frozen)


def train_one_epoch(run: Run, learner: nn.Module, loader: DataLoader[Batch], team: Team, log: RunLog) -> float:
    """Train for one epoch and return the mean loss."""
    config, epoch = run.config, run.epoch
    seeds = np.random.SeedSequence([config.seed, epoch, team.rank])
    torch.manual_seed(int(seeds.generate_state(1)[0]))  # dropout
    set_training_mode(learner, config)
    losses = []
    for step, batch in enumerate(log.steps(loader, epoch=epoch + 1, total=len(loader))):
        set_learning_rates(run.optimizer, (epoch + (step + 0.5) / len(loader)) / config.epochs)
        batch = Batch(*(part.to(team.device) for part in batch))
        maps = batch.maps.contiguous(memory_format=torch.channels_last)
        with torch.autocast(team.device.type, torch.bfloat16, enabled=config.in_bfloat16):
            output = learner(maps)
        loss = loss_of(output, batch, label_smoothing=config.label_smoothing)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise TrainingError(diverged(f"the loss became {losses[-1]} in epoch {epoch + 1}, step {step + 1}"))
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        run.optimizer.step()
        run.averaged.update_parameters(run.network)
    return float(np.mean(losses))


def loss_of(output: NetworkOutput, batch: Batch, *, label_smoothing: float) -> Tensor:
    """Return the mean over photos of three losses: where, what, and whether.

    It divides by all photos, not by those with a target, so that the mean over processes equals the loss of the whole
    batch.
    """
    known = output.class_map.log_softmax(dim=1)
    no_scar = known[:, len(SCAR_TYPES) :].logsumexp(dim=1, keepdim=True)  # skin or not
    where = -(batch.truth * torch.cat([known, no_scar], dim=1)).sum(dim=1).mean(dim=(1, 2))
    types = (1 - label_smoothing) * batch.types + label_smoothing / len(SCAR_TYPES)
    what = -batch.weight * (types * output.type_logits.log_softmax(dim=1)).sum(dim=1)
    whether = functional.binary_cross_entropy_with_logits(output.scope_logit, batch.in_scope, reduction="none")
    return (WHERE * where + what + WHETHER * whether).mean()


def set_training_mode(network: nn.Module, config: TrainConfig) -> None:
    """Turn on dropout, and batch normalisation unless its statistics are frozen."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and (_keeps_statistics(config) or not module.affine):
            module.eval()


def _keeps_statistics(config: TrainConfig) -> bool:
    return config.freeze_batchnorm and config.weights is not None


def set_learning_rates(optimizer: torch.optim.Optimizer, progress: float) -> None:
    """Set each group's learning rate: linear warm-up to its peak, then cosine decay to zero. `progress` goes 0 to 1."""
    rise = 0.1
    factor = progress / rise if progress < rise else 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def _validate(run: Run, photos: Sequence[LabelledPhoto]) -> float:
    engine = TorchEngine(run.average, run.card(), device=str(run.device))
    return validation_loss(score_photos(engine, photos))


def _arrays(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}


def _digest(training: Sequence[LabelledPhoto], validation: Sequence[LabelledPhoto]) -> str:
    """Return a digest of the photos and their split, so that a run is never resumed with others."""
    parts = [[(str(p.path), p.class_name, p.subject) for p in part] for part in (training, validation)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _photo_list(training: Sequence[LabelledPhoto], validation: Sequence[LabelledPhoto]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "class", "subject", "part"])
    for part, photos in (("training", training), ("validation", validation)):
        writer.writerows([photo.path, photo.class_name, photo.subject, part] for photo in photos)
    return text.getvalue().encode(errors="surrogateescape")


if __name__ == "__main__":
    from scarlens.cli import main

    main("train")
