"""Batches for training: balanced over classes, shared out over processes, and repeatable from the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..datasets.augment import Augmentation
from ..datasets.labels import SCAR_TYPES
from ..datasets.photos import LabelledPhoto, PhotoSetError
from ..datasets.preprocess import normalise
from ..datasets.reader import read_image
from .config import ConfigError, TrainConfig


class Batch(NamedTuple):
    """One process's share of a step.

    Attributes:
        photos: float32 [N, 3, S, S], augmented and normalised.
        types: float32 [N, 3], 1 for the photo's type; all 0 for a photo out of scope.
        in_scope: float32 [N], 1 or 0.
    """

    photos: Tensor
    types: Tensor
    in_scope: Tensor


class View(NamedTuple):
    """Which photo to show, and the seed that decides how."""

    photo: int
    seed: int


class BalancedBatches(Sampler[list[View]]):
    """Batches of one epoch at a time, decided by seed and epoch alone.

    Every epoch shows each type equally often, repeating photos of the rarer ones, and as many out-of-scope photos as
    photos of the three types, spread evenly over their kinds. Each batch is dealt out to the processes in equal shares;
    the last one of an epoch is filled up with views from its start.
    """

    def __init__(
        self, photos: Sequence[LabelledPhoto], config: TrainConfig, *, rank: int = 0, processes: int = 1
    ) -> None:
        """Prepare batches over `photos` for process `rank` of `processes`.

        Raises:
            PhotoSetError: when one of the types has no photo.
            ConfigError: when the batch size cannot be shared out evenly.
        """
        if missing := [name for name in SCAR_TYPES if name not in {photo.kind for photo in photos}]:
            raise PhotoSetError(f"there are no photos of {', '.join(missing)} to train on")
        if config.batch_size % processes:
            raise ConfigError(f"batch_size {config.batch_size} must be a multiple of the {processes} processes")
        kinds = np.array([photo.kind for photo in photos])
        self._typed = [np.flatnonzero(kinds == name) for name in SCAR_TYPES]
        others = sorted({photo.kind for photo in photos} - set(SCAR_TYPES))
        self._others = [np.flatnonzero(kinds == name) for name in others]
        self._config, self._rank, self._processes = config, rank, processes
        self.epoch = 0

    @property
    def photos_per_epoch(self) -> int:
        """How many views an epoch shows over all processes."""
        typed = len(SCAR_TYPES) * max(map(len, self._typed))
        return 2 * typed if self._others else typed

    def __len__(self) -> int:
        """Return the number of steps of an epoch."""
        return -(-self.photos_per_epoch // self._config.batch_size)

    def __iter__(self) -> Iterator[list[View]]:
        """Yield this process's share of each batch of epoch `self.epoch`."""
        random = np.random.default_rng([self._config.seed, self.epoch])
        each = max(map(len, self._typed))
        order = [_drawn(indices, each, random) for indices in self._typed]
        if self._others:
            wanted = len(SCAR_TYPES) * each
            shares = [len(part) for part in np.array_split(np.arange(wanted), len(self._others))]
            order += [_drawn(indices, share, random) for indices, share in zip(self._others, shares, strict=True)]
        photos = random.permutation(np.concatenate(order))
        seeds = random.integers(2**32, size=len(photos))
        views = [View(int(photo), int(seed)) for photo, seed in zip(photos, seeds, strict=True)]
        shape = (len(self), self._config.batch_size)
        for batch in np.resize(np.arange(len(views)), shape):
            yield [views[i] for i in batch[self._rank :: self._processes]]


def _drawn(indices: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Draw `count` of `indices` evenly: each as often as any other, or once more."""
    rounds = -(-count // len(indices))
    return np.concatenate([random.permutation(indices) for _ in range(rounds)])[:count]


class AugmentedPhotos(Dataset[tuple[np.ndarray, int]]):
    """Photos as augmented views, each decided by its `View`."""

    def __init__(self, photos: Sequence[LabelledPhoto], config: TrainConfig) -> None:
        """Keep the list; files are read when a view is asked for."""
        self._photos, self._config = list(photos), config
        self._augment = Augmentation(config.size)

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self._photos)

    def __getitem__(self, view: View) -> tuple[np.ndarray, int]:
        """Return the normalised view, float32 [3, S, S], and the index of its type, -1 for out of scope."""
        photo = self._photos[view.photo]
        square = self._augment(read_image(photo.path), seed=view.seed)
        return normalise(square, mean=self._config.mean, std=self._config.std), photo.type_index


def training_batches(photos: Sequence[LabelledPhoto], config: TrainConfig, batches: BalancedBatches) -> DataLoader[Any]:
    """Load the batches that `batches` plans; set its `epoch` before each pass."""
    return DataLoader(
        AugmentedPhotos(photos, config), batch_sampler=batches, num_workers=config.workers, collate_fn=collate
    )


def collate(views: Sequence[tuple[np.ndarray, int]]) -> Batch:
    """Stack views into a batch."""
    types = np.zeros((len(views), len(SCAR_TYPES)), dtype=np.float32)
    for row, (_, index) in enumerate(views):
        if index >= 0:
            types[row, index] = 1.0
    photos = torch.from_numpy(np.stack([view for view, _ in views]))
    return Batch(photos, torch.from_numpy(types), torch.from_numpy(types.sum(axis=1)))
