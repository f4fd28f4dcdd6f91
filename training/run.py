"""The state of a training run, the processes that share it, and the log that it leaves behind."""

from __future__ import annotations

import atexit
import csv
import io
import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
import torch.distributed as dist
from rich.progress import track
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

from ..datasets.errors import ScarlensError
from ..datasets.writing.atomic import write_atomically
from ..inference.terminal import ON_TERMINAL, messages
from ..model.calibration import Calibration
from ..model.checkpoint import Card
from ..model.network import ScarNetwork, load_trunk_weights, usable_device
from .batches.views import FrozenViews
from .config import TrainConfig

_log = logging.getLogger(__name__)


class TrainingError(ScarlensError, RuntimeError):
    """Training cannot start or resume; the message says why and what was saved."""


def diverged(what: str) -> str:
    """Return an error message that says how to fix a diverged training."""
    return f"{what}: lower the learning rate; the best checkpoint so far, if there is one, is still in the run folder"


@dataclass(frozen=True)
class Team:
    """The processes started by torchrun, or this one alone."""

    rank: int
    processes: int
    device: torch.device

    @classmethod
    def joined(cls, device: str) -> Team:
        """Join the processes started by torchrun. With "cuda", each takes its own GPU."""
        device = usable_device(device)
        if not dist.is_torchelastic_launched():
            return cls(0, 1, torch.device(device))
        if not dist.is_initialized():
            # The others wait while the leader validates and writes.
            backend = "nccl" if device.startswith("cuda") else "gloo"
            dist.init_process_group(backend, timeout=timedelta(hours=6))
            atexit.register(dist.destroy_process_group)
        if device.startswith("cuda"):
            device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(device)
        return cls(dist.get_rank(), dist.get_world_size(), torch.device(device))

    @property
    def leads(self) -> bool:
        """Whether this process validates, writes files and reports."""
        return self.rank == 0

    def agreed(self, value: float) -> float:
        """Return the leader's value in every process."""
        if self.processes == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, src=0)
        return float(shared.item())


class Run:
    """The state of one training run: network, optimiser, running average, and how far it has come."""

    def __init__(self, config: TrainConfig, photos: str, device: torch.device) -> None:
        """Build the network from its seed and pretrained weights. `photos` is the digest of the training photos."""
        torch.manual_seed(config.seed)
        self.config, self.photos, self.device = config, photos, device
        self.network = ScarNetwork(config.trunk, dropout=config.dropout)
        if config.weights:
            load_trunk_weights(self.network, config.trunk, config.weights)
        self.frozen = _frozen_stages(self.network, config)
        self.network.trunk[: self.frozen].requires_grad_(False)
        # Channels last: measured here at 1.7 s a step of 32 photos where torch's default layout takes 3 to 10.
        self.network.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.averaged = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(config.average_decay))
        trunk = [parameter for parameter in self.network.trunk.parameters() if parameter.requires_grad]
        groups = [
            {"params": trunk, "peak": config.learning_rate},
            {"params": self.network.head_parameters(), "peak": config.head_learning_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=config.weight_decay)
        self.best_epoch, self.best_loss = 0, math.inf
        self.history: list[dict[str, float]] = []

    @property
    def average(self) -> ScarNetwork:
        """The running average of the weights, which is validated and saved."""
        return cast(ScarNetwork, self.averaged.module)

    def standardise(self, views: FrozenViews, photos: Sequence[int]) -> None:
        """Measure mean and variance of the heads' input features on some unaugmented photos, before the first epoch.

        Args:
            views: the views of all photos.
            photos: indices of the photos to measure on.
        """
        self.network.eval()
        moments = []
        with torch.inference_mode():
            for number in photos:
                maps = torch.from_numpy(views(number, 0).maps[None]).to(self.device)
                features = self.network.features(maps, self.frozen)
                moments.append(torch.stack([features.mean(dim=(0, 2, 3)), features.square().mean(dim=(0, 2, 3))]))
        mean, square = torch.stack(moments).mean(dim=0)
        moments = {"running_mean": mean, "running_var": square - mean.square()}
        for network in (self.network, self.average):
            network.standardise.load_state_dict(moments, strict=False)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def finished(self) -> bool:
        """Whether the maximum number of epochs or the patience is reached."""
        return self.epoch >= self.config.epochs or self.epoch - self.best_epoch >= self.config.patience

    def check_finite(self) -> None:
        """Refuse weights that diverged.

        Raises:
            TrainingError: when a weight, or its running average, is not finite.
        """
        for network in (self.network, self.average):
            for name, tensor in network.state_dict().items():
                if not torch.isfinite(tensor).all():
                    raise TrainingError(diverged(f"{name} is no longer finite after epoch {self.epoch + 1}"))

    def save(self, path: Path) -> None:
        """Write the state atomically."""
        buffer = io.BytesIO()
        torch.save(
            {
                "config": self.config.to_yaml(),
                "photos": self.photos,
                "network": self.network.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "best": [self.best_epoch, self.best_loss],
                "history": self.history,
            },
            buffer,
        )
        write_atomically(path, buffer.getvalue())

    def restore(self, path: Path) -> None:
        """Restore a saved state.

        Raises:
            TrainingError: when the file is damaged or belongs to a run with other settings.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
            raise TrainingError(f"{path}: expected the state of a run, found: {error}") from error
        if state["config"] != self.config.to_yaml():
            raise TrainingError(f"{path} belongs to a run with other settings; resume with its config.yaml")
        if state["photos"] != self.photos:
            raise TrainingError(f"{path} belongs to a run with other photos, subjects or folds; give another --out")
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best_epoch, self.best_loss = state["best"]
        self.history = state["history"]

    def card(self) -> Card:
        """Return the card of the running average, without calibration."""
        training = {"config": _without_paths(self.config), "best_epoch": self.best_epoch}
        shape = {"trunk": self.config.trunk, "size": self.config.size, "mean": self.config.mean, "std": self.config.std}
        return Card(**shape, calibration=Calibration(), training=training)


def _frozen_stages(network: ScarNetwork, config: TrainConfig) -> int:
    """Return the number of frozen stages: none without pretrained weights."""
    if config.frozen_stages is None:
        return network.most_frozen if config.weights else 0
    if config.frozen_stages > network.most_frozen:
        raise TrainingError(f"frozen_stages must be at most {network.most_frozen} for {config.trunk}")
    return config.frozen_stages


def _without_paths(config: TrainConfig) -> dict[str, Any]:
    """Return the settings as plain types, with the weights file's name instead of its path on this machine."""
    settings = asdict(config)
    return {**settings, "weights": Path(config.weights).name if config.weights else None}


class RunLog:
    """The log of one run. Only the leading process writes."""

    def __init__(self, out: Path, *, enabled: bool) -> None:
        """Open the log in the run folder `out`."""
        self._out, self._enabled = out, enabled
        self._board: SummaryWriter | None = None

    def steps(self, batches: Iterable[Any], *, epoch: int, total: int) -> Iterator[Any]:
        """Yield the batches of an epoch, with a progress bar if standard error is a terminal."""
        hidden = not (self._enabled and ON_TERMINAL)
        yield from track(batches, f"epoch {epoch}", total=total, console=messages, disable=hidden, transient=True)

    def epoch(self, history: Sequence[dict[str, float]], *, best_epoch: int) -> None:
        """Log the last row of `history`. The CSV is rewritten each time, so it is complete even after a resume."""
        if not self._enabled:
            return
        if self._board is None:
            # Rows of an epoch that was cut off and is done again are dropped, so that curves have no double points.
            self._board = SummaryWriter(str(self._out / "tensorboard"), purge_step=int(history[-1]["epoch"]))
        row = history[-1]
        for name, value in row.items():
            self._board.add_scalar(name, value, int(row["epoch"]))
        self._board.flush()
        write_atomically(self._out / "log.csv", _as_csv(history))
        figures = "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.items() if name != "epoch")
        best = "  (best so far)" if best_epoch == row["epoch"] else ""
        _log.info(f"epoch {int(row['epoch'])}  {figures}{best}")

    def close(self) -> None:
        """Close the TensorBoard file."""
        if self._board is not None:
            self._board.close()


def _as_csv(history: Sequence[dict[str, float]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue().encode()
