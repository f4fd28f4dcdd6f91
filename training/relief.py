"""Train the relief head on renderings alone, measure it on others, and put it into a checkpoint.

    python training/relief.py train model/weights/scarlens.safetensors --out runs/relief
    python training/relief.py attach model/weights/scarlens.safetensors runs/relief/relief.safetensors

The trunk stays as it is: the head fits every checkpoint that has the same stages as the one it was trained on.
"""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import torch
import typer
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from scarlens.datasets.atomic import write_atomically
from scarlens.datasets.errors import ScarlensError
from scarlens.datasets.rendering.photo import light_of
from scarlens.inference.terminal import counter, messages
from scarlens.model.calibration import ReliefLimits
from scarlens.model.export import attach_relief
from scarlens.model.network import ScarNetwork, load_trunk_weights
from scarlens.model.relief import RELIEF_TRUNK, TAPS, Relief, ReliefHead, trunk_digest
from scarlens.training.relief_figures import (
    FRONTAL_DEGREES,
    photo_row,
    relief_figures,
    relief_of,
    scar_rows,
    summary_lines,
)
from scarlens.training.relief_pictures import MEAN, SIZE, STD, Arrays, cached_examples, pictures
from scarlens.training.run import TrainingError

RELIEF_FILE: Final = "relief.safetensors"
STATE_FILE: Final = "state.pt"

TRAINING_SEED, VALIDATION_SEED, TEST_SEED = 50_000_000, 60_000_000, 70_000_000
"""First seeds of the three parts, which never meet."""

LEARNING_RATE: Final = 3e-3  # of AdamW, at its peak
WEIGHT_DECAY: Final = 0.02
WARM_UP: Final = 50  # steps
BATCH: Final = 32
SAVE_EVERY: Final = 500  # steps

WEIGHTS: Final = {"types": 2.0, "width": 1.0, "depth": 0.3, "boxcar_depth": 0.7, "deep": 1.0, "light": 4.0}
"""What each part of the loss counts: our own choice."""

FRONTAL_ANSWERED: Final = 0.03
"""Share of photos in frontal light of which a depth may still be told."""

COARSEST_MM_PER_PIXEL: Final = 0.25
"""Photos of more than 56 mm of skin get no width: theirs are off by more than the 10 % aimed at."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is rendered and trained; the defaults take about half an hour on one core.

    Attributes:
        training: pictures to learn from.
        steps: of `BATCH` pictures.
        frontal: validation pictures in frontal light, which set the limit.
        test: pictures to measure with.
    """

    training: int = 6000
    steps: int = 2500
    frontal: int = 360
    test: int = 1200


def train(weights: str, out: Path, *, effort: Effort = Effort(), resume: bool = False) -> dict[str, Any]:
    """Train a head for a trunk and measure it.

    Args:
        weights: a checkpoint, or weights of the trunk as `load_trunk_weights` takes them.
        out: the run's folder, which is made: `relief.safetensors`, `relief.json` with the figures, the state after
            every `SAVE_EVERY` steps, and the rendered pictures.
        effort: how much is rendered and trained.
        resume: go on with an interrupted run in the same folder.

    Returns:
        What `relief.json` holds.

    Raises:
        TrainingError: when the folder holds another run.
        TrunkError: when the weights do not fit.
    """
    torch.manual_seed(0)
    network = ScarNetwork(RELIEF_TRUNK).eval()
    load_trunk_weights(network, RELIEF_TRUNK, weights)
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(trunk_digest(network.state_dict()), effort, out / STATE_FILE)
    if run.file.exists():
        if not resume:
            raise TrainingError(f"{out} holds a run already: give another --out, or --resume to go on with it")
        run.restore()
    else:
        run.save()
    if run.step < effort.steps:
        with counter("rendered", effort.training) as advance:
            shards = cached_examples(
                out / "pictures", network.trunk, first_seed=TRAINING_SEED, count=effort.training, advance=advance
            )
        run.fit(shards)
    head = run.head.eval()
    limits = ReliefLimits(
        highest_elevation_degrees=_highest_elevation(network, head, effort.frontal),
        coarsest_mm_per_pixel=COARSEST_MM_PER_PIXEL,
    )
    figures = {
        "trunk": run.digest,
        "effort": asdict(effort),
        "limits": asdict(limits),
        **_measured(network, head, limits, effort.test),
    }
    card = {"trunk": run.digest, "size": SIZE, "mean": MEAN, "std": STD, "limits": asdict(limits)}
    tensors = {name: tensor.contiguous() for name, tensor in head.state_dict().items()}
    write_atomically(out / RELIEF_FILE, save(tensors, {"relief": json.dumps(card)}))
    write_atomically(out / "relief.json", json.dumps(figures, indent=2).encode())
    return figures


class _Run:
    """The head while it is trained, and how far it has come."""

    def __init__(self, digest: str, effort: Effort, file: Path) -> None:
        self.digest, self.effort, self.file = digest, effort, file
        self.head = ReliefHead().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.AdamW(self.head.parameters(), lr=0.0, weight_decay=WEIGHT_DECAY)
        self.step = 0

    def fit(self, shards: Sequence[Arrays]) -> None:
        """Train to the last step; every step's batch depends on its number alone, so that a resumed run is the same."""
        steps = self.effort.steps
        with counter("trained", steps - self.step) as advance:
            while self.step < steps:
                rate = LEARNING_RATE * min(1.0, (self.step + 1) / WARM_UP)
                for group in self.optimizer.param_groups:
                    group["lr"] = rate * 0.5 * (1.0 + math.cos(math.pi * self.step / steps))
                batch = _batch(shards, self.step)
                stages = {number: batch[f"stage_{number}"] for number in TAPS}
                losses = relief_losses(self.head.train()(batch["square"] / 127.5 - 1.0, stages), batch)
                self.optimizer.zero_grad()
                sum((WEIGHTS[name] * loss for name, loss in losses.items()), torch.zeros(())).backward()
                torch.nn.utils.clip_grad_norm_(self.head.parameters(), 5.0)
                self.optimizer.step()
                self.step += 1
                advance()
                if self.step % SAVE_EVERY == 0 or self.step == steps:
                    self.save()
                    parts = "  ".join(f"{name} {loss.item():.3f}" for name, loss in losses.items())
                    messages.print(f"step {self.step}  {parts}")

    def save(self) -> None:
        """Write the state, whole or not at all."""
        buffer = io.BytesIO()
        state = {"head": self.head.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        torch.save({"digest": self.digest, "effort": asdict(self.effort), **state}, buffer)
        write_atomically(self.file, buffer.getvalue())

    def restore(self) -> None:
        """Go back to the saved state.

        Raises:
            TrainingError: when it belongs to another trunk or another effort.
        """
        state = torch.load(self.file, weights_only=True)
        if (state["digest"], state["effort"]) != (self.digest, asdict(self.effort)):
            raise TrainingError(f"{self.file} belongs to a run with another trunk or effort; give another --out")
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def _batch(shards: Sequence[Arrays], step: int) -> dict[str, Tensor]:
    """Return the pictures of one step, float32 by the names of `cached_examples`; an epoch shows each at most once."""
    places = [(shard, row) for shard in shards for row in range(len(shard["square"]))]
    size = min(BATCH, len(places))
    epoch, number = divmod(step, len(places) // size)
    order = np.random.default_rng(epoch).permutation(len(places))[number * size :][:size]
    picked = [places[i] for i in order]
    batch = {
        name: torch.from_numpy(np.stack([shard[name][row] for shard, row in picked]).astype(np.float32))
        for name in shards[0]
    }
    # Channels last: a tenth faster on a CPU.
    return {
        name: tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
        for name, tensor in batch.items()
    }


def relief_losses(relief: Relief, truth: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parts of the loss by the names of `WEIGHTS`.

    Args:
        relief: of N pictures.
        truth: the targets of `relief_pictures.example_of`, float32 with N as their first axis.
    """
    types, log_width = truth["types"], truth["log_width"]
    # A scar has about pi/4 (width / 4)^2 positions: their root, so that wide scars count more, but not by their area.
    share = (1.0 + 0.785 * (log_width.exp() / 4.0) ** 2) ** -0.5
    covered = _normalised((1.0 - types[:, 0]) * share)
    boxcar = _normalised(types[:, 2] * share)
    deep = (truth["deep"] / types[:, 2].clamp(min=1.0 / 16.0)).clamp(max=1.0)
    # The likelihood of a Laplace distribution whose spread is learned too: what cannot be seen is not insisted on
    # (Kendall & Gal, "What uncertainties do we need in Bayesian deep learning?", NeurIPS 2017).
    width_error = (relief.log_width - log_width).abs() * (-relief.log_spread).exp() + relief.log_spread
    depth_error = (relief.log_depth - truth["log_depth"]).abs()
    deep_error = functional.binary_cross_entropy_with_logits(relief.deep_logit, deep, reduction="none")
    return {
        "types": -(types * relief.type_logits.log_softmax(dim=1)).sum(dim=1).mean(),
        "width": (covered * width_error).sum(),
        "depth": (covered * depth_error).sum(),
        "boxcar_depth": (boxcar * depth_error).sum(),
        "deep": (boxcar * deep_error).sum(),
        "light": (relief.elevation - truth["elevation"]).abs().mean(),
    }


def _normalised(weights: Tensor) -> Tensor:
    return weights / weights.sum().clamp(min=1.0)


def _highest_elevation(network: ScarNetwork, head: ReliefHead, count: int) -> float:
    """Return the elevation in degrees below which the head puts only `FRONTAL_ANSWERED` of frontal pictures."""
    validation = range(VALIDATION_SEED, TEST_SEED)
    frontal = (seed for seed in validation if light_of(seed).key_elevation_degrees > FRONTAL_DEGREES)
    seeds = [*islice(frontal, count)]
    with counter("validated", count) as advance:
        found = []
        for _, planes in relief_of(network.trunk, head, pictures(seeds)):
            found.append(90.0 * float(planes[-1, 0, 0]))
            advance()
    return float(np.quantile(found, FRONTAL_ANSWERED))


def _measured(network: ScarNetwork, head: ReliefHead, limits: ReliefLimits, count: int) -> dict[str, Any]:
    scars, photos = [], []
    with counter("tested", count) as advance:
        for picture, planes in relief_of(network.trunk, head, pictures(range(TEST_SEED, TEST_SEED + count))):
            scars += scar_rows(picture, planes)
            if (photo := photo_row(picture, planes, limits)) is not None:
                photos.append(photo)
            advance()
    return relief_figures(scars, photos, limits)


app = typer.Typer(help="Train the relief head, and put it into checkpoints.", pretty_exceptions_enable=False)


@app.command("train")
def _train(
    weights: Annotated[str, typer.Argument(help="A checkpoint, or weights of the trunk.")],
    out: Annotated[Path, typer.Option(help="The run's folder, which is made.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the interrupted run in --out.")] = False,
) -> None:
    """Render, train, measure; print the figures."""
    print("\n".join(summary_lines(train(weights, out, resume=resume))))


@app.command("attach")
def _attach(
    checkpoint: Annotated[Path, typer.Argument(help="A .safetensors checkpoint; its ONNX form is written anew.")],
    relief: Annotated[Path, typer.Argument(help="relief.safetensors of a run.")],
) -> None:
    """Put a trained head into a checkpoint whose trunk is the one that it was trained on."""
    messages.print(f"model {attach_relief(checkpoint, relief).model_id}: {checkpoint}")


if __name__ == "__main__":
    try:
        app()
    except ScarlensError as error:
        messages.print(f"relief: {error}", markup=False)
        sys.exit(2)
