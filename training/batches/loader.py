"""Training batches: balanced over classes, divided among processes, and repeatable from the seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ...datasets.annotations.scar_map import targets
from ...datasets.labels import SCAR_TYPES
from ...datasets.photos import LabelledPhoto, PhotoSetError
from ..config import ConfigError, TrainConfig
from .lessons import Lesson
from .views import FrozenViews

OTHERS: Final = 5
"""Photos out of scope per epoch for each photo of one type. Everything else is more varied than scars."""


class Batch(NamedTuple):
    """One process's share of a step.

    Attributes:
        maps: float32 [N, C, h, w], as in `views.FrozenView`.
        truth: float32 [N, 6, h, w], from `scar_map.targets`.
        types: float32 [N, 3], the target of the type; all 0 if it is unknown.
        weight: float32 [N], weight of the type in the loss.
        in_scope: float32 [N], 1 or 0.
    """

    maps: Tensor
    truth: Tensor
    types: Tensor
    weight: Tensor
    in_scope: Tensor


class Draw(NamedTuple):
    """A photo, and a random number that selects one of its views."""

    photo: int
    view: int


class BalancedBatches(Sampler[list[Draw]]):
    """Batches of one epoch, determined by seed and epoch.

    An epoch has `per_type` photos of each type (repeating photos of rare types), as many of unknown type, as many
    renderings, and `OTHERS` times as many photos out of scope. Each class out of scope has a share proportional to the
    square root of its size, so that small classes count and large ones keep their variety. Each batch is divided among
    the processes. The last batch of an epoch is filled up from its start.
    """

    def __init__(
        self, photos: Sequence[LabelledPhoto], config: TrainConfig, *, rank: int = 0, processes: int = 1
    ) -> None:
        """Plan batches of `photos` for process `rank` of `processes`.

        Raises:
            PhotoSetError: a type has no photo.
            ConfigError: the batch size is not a multiple of the number of processes.
        """
        if missing := [name for name in SCAR_TYPES if name not in {photo.class_name for photo in photos}]:
            raise PhotoSetError(f"there are no photos of {', '.join(missing)} to train on")
        if config.batch_size % processes:
            raise ConfigError(f"batch_size {config.batch_size} must be a multiple of the {processes} processes")
        self._groups = [*_groups(photos, config.per_type)]
        self._config, self._rank, self._processes = config, rank, processes
        self.epoch = 0

    @property
    def photos_per_epoch(self) -> int:
        """Number of views per epoch over all processes."""
        return sum(count for _, count in self._groups)

    def __len__(self) -> int:
        """Return the number of steps of an epoch."""
        return -(-self.photos_per_epoch // self._config.batch_size)

    def __iter__(self) -> Iterator[list[Draw]]:
        """Yield this process's share of each batch of epoch `self.epoch`."""
        random = np.random.default_rng([self._config.seed, self.epoch])
        photos = random.permutation(np.concatenate([_drawn(*group, random) for group in self._groups]))
        views = random.integers(2**32, size=len(photos))
        draws = [Draw(int(photo), int(view)) for photo, view in zip(photos, views, strict=True)]
        shape = (len(self), self._config.batch_size)
        for batch in np.resize(np.arange(len(draws)), shape):
            yield [draws[i] for i in batch[self._rank :: self._processes]]


def _groups(photos: Sequence[LabelledPhoto], per_type: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield groups of photos as indices, each with the number of its photos per epoch."""
    real = [photo.in_scope and not photo.extra for photo in photos]
    typed = {
        name for name in SCAR_TYPES if any(is_real for is_real, p in zip(real, photos, strict=True) if p.label == name)
    }
    names = [
        photo.class_name if not photo.in_scope else photo.label if is_real or photo.label not in typed else "rendered"
        for is_real, photo in zip(real, photos, strict=True)
    ]
    others = {photo.class_name for photo in photos if not photo.in_scope}
    numbers = {name: np.flatnonzero(np.array(names) == name) for name in dict.fromkeys(names)}
    roots = {name: len(numbers[name]) ** 0.5 for name in sorted(others)}
    for name, found in numbers.items():
        share = OTHERS * roots[name] / sum(roots.values()) if name in others else 1.0
        yield found, max(1, round(share * per_type))


def _drawn(indices: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Sample `count` of `indices` evenly: each occurs as often as any other, or once more."""
    rounds = -(-count // len(indices))
    return np.concatenate([random.permutation(indices) for _ in range(rounds)])[:count]


class Lessons(Dataset[tuple[Any, ...]]):
    """Views with their targets, each selected by a `Draw`."""

    def __init__(self, views: FrozenViews, lessons: Sequence[Lesson]) -> None:
        """Combine the views and the targets of the same photos."""
        self._views, self._lessons = views, lessons

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self._lessons)

    def __getitem__(self, draw: Draw) -> tuple[Any, ...]:
        """Return a view's row of every array of a `Batch`."""
        lesson = self._lessons[draw.photo]
        maps, places = self._views(draw.photo, draw.view % self._views.count(draw.photo))
        truth = targets(places, lesson.scar_map.truth, self._views.side)
        return maps, truth, lesson.types, np.float32(lesson.weight), np.float32(lesson.in_scope)


def training_batches(views: FrozenViews, lessons: Sequence[Lesson], batches: BalancedBatches) -> DataLoader[Any]:
    """Return a loader of the batches that `batches` plans. Set `batches.epoch` before each epoch."""
    return DataLoader(Lessons(views, lessons), batch_sampler=batches, collate_fn=collate)


def collate(rows: Sequence[tuple[Any, ...]]) -> Batch:
    """Stack views into a batch."""
    return Batch(*(torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True)))
