"""Train the network on labelled photos.

One process, on the CPU or one GPU:

    python training/train.py --data photos/ --out runs/mine

Several GPUs, or several machines (torchrun's own flags name them):

    torchrun --nproc-per-node 4 training/train.py --data photos/ --out runs/mine --device cuda
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from scarlens.datasets.photos import LabelledPhoto
from scarlens.inference.engine import TorchEngine
from scarlens.model.calibration import Calibration
from scarlens.model.checkpoint import Card, save_checkpoint, write_atomically
from scarlens.model.network import NetworkOutput, ScarNetwork, load_trunk_weights
from scarlens.training.config import TrainConfig
from scarlens.training.evaluate import score_photos, validation_loss
from scarlens.training.loader import BalancedBatches, Batch, training_batches
from scarlens.training.runlog import RunLog

STATE_FILE: Final = "state.pt"
CHECKPOINT_FILE: Final = "model.safetensors"


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why and what is left."""


@dataclass(frozen=True)
class Team:
    """The processes that torchrun started, or this one alone."""

    rank: int
    processes: int
    device: torch.device

    @classmethod
    def joined(cls, device: str) -> Team:
        """Join the processes that torchrun started, one GPU each where "cuda" is asked for."""
        if not dist.is_torchelastic_launched():
            return cls(0, 1, torch.device(device))
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        if device.startswith("cuda"):
            device = f"cuda:{dist.get_node_local_rank()}"
            torch.cuda.set_device(device)
        return cls(dist.get_rank(), dist.get_world_size(), torch.device(device))

    @property
    def leads(self) -> bool:
        """Whether this process validates, writes and reports."""
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

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        """Build the network from its seed and its pretrained weights."""
        torch.manual_seed(config.seed)
        self.config, self.device = config, device
        self.network = ScarNetwork(config.trunk, dropout=config.dropout)
        if config.weights:
            load_trunk_weights(self.network, config.trunk, config.weights)
        for stage in list(self.network.trunk)[: config.frozen_stages]:
            stage.requires_grad_(False)
        # Channels last: measured here at 1.7 s a step of 32 photos where torch's default layout takes 3 to 10.
        self.network.to(device, memory_format=torch.channels_last)
        self.averaged = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(config.average_decay))
        trunk = [parameter for parameter in self.network.trunk.parameters() if parameter.requires_grad]
        groups = [
            {"params": trunk, "peak": config.learning_rate},
            {"params": list(self.network.head.parameters()), "peak": config.head_learning_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=config.weight_decay)
        self.best_epoch, self.best_loss = 0, math.inf
        self.history: list[dict[str, float]] = []

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return len(self.history)

    @property
    def finished(self) -> bool:
        """Whether the epochs or the patience have run out."""
        return self.epoch >= self.config.epochs or self.epoch - self.best_epoch >= self.config.patience

    def save(self, path: Path) -> None:
        """Write the whole state, whole or not at all."""
        buffer = io.BytesIO()
        torch.save(
            {
                "config": self.config.to_yaml(),
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
        """Go back to a saved state.

        Raises:
            TrainingError: when the file is damaged or belongs to a run with other settings.
        """
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
            raise TrainingError(f"{path}: expected the state of a run, found: {error}") from error
        if state["config"] != self.config.to_yaml():
            raise TrainingError(f"{path} belongs to a run with other settings; resume with its config.yaml")
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best_epoch, self.best_loss = state["best"]
        self.history = state["history"]

    def card(self) -> Card:
        """Describe the running average as a checkpoint that is not calibrated yet."""
        training = {"config": asdict(self.config), "best_epoch": self.best_epoch}
        shape = {"trunk": self.config.trunk, "size": self.config.size, "mean": self.config.mean, "std": self.config.std}
        return Card(**shape, calibration=Calibration(), training=training)


def fit(
    training: Sequence[LabelledPhoto],
    validation: Sequence[LabelledPhoto],
    config: TrainConfig,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
) -> Path:
    """Train until the epochs or the patience run out, and keep the best weights.

    Everything random is decided by `config.seed` and the epoch, and the state is saved after every epoch: a run that
    was killed and resumed ends, on the CPU, with the same weights as one that was left alone.

    Args:
        training: photos to learn from, every scar type among them.
        validation: photos of other subjects, for early stopping; empty to train to the last epoch.
        config: the settings.
        out: the run's folder, which is made.
        device: "cpu" or "cuda"; under torchrun each process takes its own GPU.
        resume: go on from the last finished epoch where the folder has one.

    Returns:
        The checkpoint, with an identity calibration.

    Raises:
        TrainingError: when the folder holds another run, or the loss stops being finite; the best checkpoint so far
            stays.
    """
    team = Team.joined(device)
    run = Run(config, team.device)
    if (out / STATE_FILE).exists():
        if not resume:
            raise TrainingError(f"{out} holds a run already: give another --out, or --resume to go on with it")
        run.restore(out / STATE_FILE)
    out.mkdir(parents=True, exist_ok=True)
    learner = DistributedDataParallel(run.network) if team.processes > 1 else run.network
    batches = BalancedBatches(training, config, rank=team.rank, processes=team.processes)
    loader = training_batches(training, config, batches)
    log = RunLog(out, enabled=team.leads)
    while not run.finished:
        batches.epoch = run.epoch
        started = time.perf_counter()
        row = {"epoch": run.epoch + 1, "loss": train_one_epoch(run, learner, loader, team, log)}
        if validation:
            row["validation_loss"] = team.agreed(_validate(run, validation) if team.leads else 0.0)
        row["seconds"] = time.perf_counter() - started
        run.history.append(row)
        current = row.get("validation_loss", -run.epoch)  # nothing held out: the latest is the best
        if current < run.best_loss:
            run.best_epoch, run.best_loss = run.epoch, current
            if team.leads:
                save_checkpoint(out / CHECKPOINT_FILE, _arrays(run.averaged.module), run.card())
        if team.leads:
            log.epoch(run.history, best_epoch=run.best_epoch)
            run.save(out / STATE_FILE)
    log.close()
    if team.processes > 1:
        dist.barrier()  # the others must not go on before the leader has written the checkpoint
    return out / CHECKPOINT_FILE


def train_one_epoch(run: Run, learner: nn.Module, loader: DataLoader[Batch], team: Team, log: RunLog) -> float:
    """Take one pass over the photos and return the mean loss."""
    config, epoch = run.config, run.epoch
    seeds = np.random.SeedSequence([config.seed, epoch, team.rank])
    random = np.random.default_rng(seeds)
    torch.manual_seed(int(seeds.generate_state(1)[0]))  # dropout
    set_training_mode(learner, config)
    losses = []
    for step, batch in enumerate(log.steps(loader, epoch=epoch + 1, total=len(loader))):
        set_learning_rates(run.optimizer, (epoch + (step + 0.5) / len(loader)) / config.epochs)
        batch = mixed(Batch(*(part.to(team.device) for part in batch)), config.mixup, random)
        photos = batch.photos.contiguous(memory_format=torch.channels_last)
        with torch.autocast(team.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            output = learner(photos)
        loss = loss_of(output, batch, label_smoothing=config.label_smoothing)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise TrainingError(
                f"the loss became {losses[-1]} in epoch {epoch + 1}, step {step + 1}: lower the learning rate; "
                "the best checkpoint of the epochs before, if there is one, stays in the run folder"
            )
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        run.optimizer.step()
        run.averaged.update_parameters(run.network)
    return float(np.mean(losses))


def loss_of(output: NetworkOutput, batch: Batch, *, label_smoothing: float) -> Tensor:
    """Return the mean over photos of the scope loss, plus the type loss where a type is shown.

    Dividing by all photos, not by those in scope, makes the mean over processes equal the loss of the whole batch.
    """
    smoothed = (1 - label_smoothing) * batch.types
    smoothed = smoothed + label_smoothing * batch.in_scope[:, None] / batch.types.shape[1]
    type_loss = -(smoothed * functional.log_softmax(output.type_logits.float(), dim=1)).sum(dim=1)
    scope_logit = output.scope_logit.float()
    scope_loss = functional.binary_cross_entropy_with_logits(scope_logit, batch.in_scope, reduction="none")
    return (type_loss + scope_loss).mean()


def mixed(batch: Batch, strength: float, random: np.random.Generator) -> Batch:
    """Blend each photo and its targets with another's (mixup, Zhang et al., ICLR 2018); 0 leaves them alone."""
    if strength == 0:
        return batch
    share = float(random.beta(strength, strength))
    partner = torch.from_numpy(random.permutation(len(batch.photos))).to(batch.photos.device)
    return Batch(*(share * part + (1 - share) * part[partner] for part in batch))


def set_training_mode(network: nn.Module, config: TrainConfig) -> None:
    """Switch dropout on, and batch normalisation too unless the pretrained statistics are to stay."""
    network.train()
    if config.freeze_batchnorm and config.weights:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def set_learning_rates(optimizer: torch.optim.Optimizer, progress: float) -> None:
    """Set each group's rate: a short linear rise to its peak, then half a cosine to zero; `progress` goes 0 to 1."""
    rise = 0.1
    factor = progress / rise if progress < rise else 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def _validate(run: Run, photos: Sequence[LabelledPhoto]) -> float:
    engine = TorchEngine(run.averaged.module, run.card(), device=str(run.device))
    return validation_loss(score_photos(engine, photos))


def _arrays(network: nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}
