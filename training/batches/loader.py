"""Batches for training: balanced over classes, shared out over processes, and repeatable from the seed alone."""

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
"""Photos out of scope in an epoch for each photo of one type: what no scar is takes more showing than what one is."""


class Batch(NamedTuple):
    """One process's share of a step.

    Attributes:
        maps: float32 [N, C, h, w], as `views.FrozenView` has them.
        truth: float32 [N, 6, h, w], as `scar_map.targets` makes it.
        types: float32 [N, 3], the target of the type; all 0 where nothing is known of it.
        weight: float32 [N], of the type in the loss.
        in_scope: float32 [N], 1 or 0.
    """

    maps: Tensor
    truth: Tensor
    types: Tensor
    weight: Tensor
    in_scope: Tensor


class Draw(NamedTuple):
    """Which photo to show, and a number that decides which of its views."""

    photo: int
    view: int


class BalancedBatches(Sampler[list[Draw]]):
    """Batches of one epoch at a time, decided by seed and epoch alone.

    An epoch shows `per_type` photos of each type, repeating those of rarer ones, as many scars of unknown type, as many
    renderings, and `OTHERS` times as many photos out of scope: of each of their classes in proportion to the square
    root of its photos, so that small classes count and large ones keep their variety. Each batch is shared out to the
    processes; the last one of an epoch is filled up from its start.
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
        self._groups = [*_groups(photos, config.per_type)]
        self._config, self._rank, self._processes = config, rank, processes
        self.epoch = 0

    @property
    def photos_per_epoch(self) -> int:
        """How many views an epoch shows over all processes."""
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
    """Yield groups of photos by number, each with how many of it an epoch shows."""
    real = [photo.in_scope and not photo.extra for photo in photos]
    typed = {
        name for name in SCAR_TYPES if any(is_real for is_real, p in zip(real, photos, strict=True) if p.label == name)
    }
    names = [
        photo.kind if not photo.in_scope else photo.label if is_real or photo.label not in typed else "rendered"
        for is_real, photo in zip(real, photos, strict=True)
    ]
    others = {photo.kind for photo in photos if not photo.in_scope}
    numbers = {name: np.flatnonzero(np.array(names) == name) for name in dict.fromkeys(names)}
    roots = {name: len(numbers[name]) ** 0.5 for name in sorted(others)}
    for name, found in numbers.items():
        share = OTHERS * roots[name] / sum(roots.values()) if name in others else 1.0
        yield found, max(1, round(share * per_type))


def _drawn(indices: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Draw `count` of `indices` evenly: each as often as any other, or once more."""
    rounds = -(-count // len(indices))
    return np.concatenate([random.permutation(indices) for _ in range(rounds)])[:count]


class Lessons(Dataset[tuple[Any, ...]]):
    """Views with what they teach, each decided by its `Draw`."""

    def __init__(self, views: FrozenViews, lessons: Sequence[Lesson]) -> None:
        """Keep both lists, which are of the same photos."""
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
    """Load the batches that `batches` plans; set its `epoch` before each pass."""
    return DataLoader(Lessons(views, lessons), batch_sampler=batches, collate_fn=collate)


def collate(rows: Sequence[tuple[Any, ...]]) -> Batch:
    """Stack views into a batch."""
    return Batch(*(torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True)))
