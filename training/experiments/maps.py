"""Cached mid-level maps of photos and renderings, and fine-tuning of the stages above them.

The loop, the loss and the batches are those of `scarlens train`, which keeps the trunk as pretrained up to the
mid-level maps as well; what differs is that the views of a photo are drawn from a few cached ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from scarlens.datasets.photos import LabelledPhoto
from scarlens.model.network import NetworkOutput, ScarNetwork
from scarlens.training.config import TrainConfig
from scarlens.training.loader import BalancedBatches, Batch, View, collate
from scarlens.training.run import Run, Team
from scarlens.training.runlog import RunLog
from scarlens.training.train import train_one_epoch

from .linear import rendered_views
from .study import Study, read_views, remembered

VIEWS_OF_TYPED: Final = 20
VIEWS_OF_OTHERS: Final = 6

Maps = Sequence[np.ndarray]
"""Of each photo the mid-level maps of its views, float16 [V, C, h, w], the first one of the photo as it is."""


class UpperStages(nn.Module):
    """The network from its mid-level map on, without the texture head."""

    def __init__(self, network: ScarNetwork) -> None:
        """Share the weights of `network`."""
        super().__init__()
        self.network = network

    def features(self, maps: Tensor) -> Tensor:
        """Return the last maps [B, F, h / 2, w / 2] of mid-level maps [B, C, h, w], with dropout."""
        return self.network.dropout(self.network.trunk[self.network.mid_level :](maps))

    def forward(self, maps: Tensor) -> NetworkOutput:
        """Score mid-level maps [B, C, h, w]."""
        return self.output_of(self.features(maps))

    def output_of(self, features: Tensor) -> NetworkOutput:
        """Score what `features` returns."""
        scores = self.network.head(features)  # [B, 4, h / 2, w / 2]
        pooled = scores.mean(dim=(2, 3))
        return NetworkOutput(scores[:, :-1], pooled[:, :-1], pooled[:, -1])


class CachedMaps(Dataset[tuple[np.ndarray, int]]):
    """Photos as one of their cached maps; one of a photo that has no other is mirrored every other time."""

    def __init__(self, maps: Maps, photos: Sequence[LabelledPhoto]) -> None:
        """Keep the maps of `photos`."""
        self._maps, self._types = maps, [photo.type_index for photo in photos]

    def __len__(self) -> int:
        """Return the number of photos."""
        return len(self._types)

    def __getitem__(self, view: View) -> tuple[np.ndarray, int]:
        """Return a map, float32 [C, h, w], and the index of the photo's type, -1 for out of scope."""
        views = self._maps[view.photo]
        chosen = views[view.seed % len(views)].astype(np.float32)
        if len(views) == 1 and view.seed % 2:
            chosen = chosen[..., ::-1].copy()
        return chosen, self._types[view.photo]


class TaughtMaps(CachedMaps):
    """Photos as one of their cached maps, each with what teachers say about that very view."""

    def __init__(self, maps: Maps, photos: Sequence[LabelledPhoto], taught: Sequence[np.ndarray]) -> None:
        """Keep the maps, and of each photo the probabilities of its views, float32 [V, 3]; 0 for out of scope."""
        super().__init__(maps, photos)
        self._taught = taught

    def __getitem__(self, view: View) -> tuple[np.ndarray, np.ndarray]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return a map, float32 [C, h, w], and the probabilities of the types, float32 [3]."""
        taught = self._taught[view.photo]
        return super().__getitem__(view)[0], taught[view.seed % len(taught)]


def collate_taught(views: Sequence[tuple[np.ndarray, np.ndarray]]) -> Batch:
    """Stack maps and probabilities into a batch; those of a photo in scope sum to 1."""
    maps, types = (torch.from_numpy(np.stack(part)) for part in zip(*views, strict=True))
    return Batch(maps, types, types.sum(dim=1))


class WithRenderings(Sampler[list[View]]):
    """Batches of photos, each with some renderings added, which stand behind the photos in the dataset."""

    def __init__(self, batches: BalancedBatches, config: TrainConfig, *, photos: int, rendered: int, each: int) -> None:
        """Add `each` of `rendered` renderings to every batch of `photos` photos."""
        self._batches, self._seed = batches, config.seed
        self._photos, self._rendered, self._each = photos, rendered, each

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return len(self._batches)

    def __iter__(self) -> Iterator[list[View]]:
        """Yield the batches of the epoch that `BalancedBatches` is set to."""
        random = np.random.default_rng([self._seed, self._batches.epoch, 1])
        for batch in self._batches:
            drawn = self._photos + random.integers(self._rendered, size=self._each)
            seeds = random.integers(2**32, size=self._each)
            yield batch + [View(int(photo), int(seed)) for photo, seed in zip(drawn, seeds, strict=True)]


def photo_maps(study: Study) -> list[np.ndarray]:
    """Return the mid-level maps of all real photos, those of the three types with more views."""

    def read(network: ScarNetwork, photos: Tensor) -> dict[str, Tensor]:
        return {"maps": network.mid_level_maps(photos)[0].half()}

    views = [VIEWS_OF_TYPED if photo.type_index >= 0 else VIEWS_OF_OTHERS for photo in study.photos]
    file = study.out / "features" / "maps.safetensors"
    maps = remembered(file, lambda: read_views(study.photos, views, study.config, read))["maps"]
    return np.split(maps, np.cumsum(views)[:-1])


def rendered_maps(study: Study, *, aligned_to: Maps = ()) -> list[np.ndarray]:
    """Return the mid-level maps of all renderings; given maps of photos, with mean and deviation of their channels."""
    maps = rendered_views(study)["maps"]
    if aligned_to:
        mean, std = _channel_moments(maps)
        wanted_mean, wanted_std = _channel_moments(np.concatenate(aligned_to))
        factor = (wanted_std / std).astype(np.float16)
        maps = maps * factor + (wanted_mean - mean * factor).astype(np.float16)
    return list(maps[:, None])


def _channel_moments(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the channels of maps [B, C, h, w], float32 [C, 1, 1] each."""
    axes = (0, 2, 3)
    std = maps.std(axis=axes, dtype=np.float32) + 1e-3
    return maps.mean(axis=axes, dtype=np.float32)[:, None, None], std[:, None, None]


def fit(
    study: Study,
    config: TrainConfig,
    maps: Maps,
    photos: Sequence[LabelledPhoto],
    *,
    rendered: Maps = (),
    ratio: float = 0.0,
    taught: Sequence[np.ndarray] = (),
) -> ScarNetwork:
    """Fine-tune the stages above the mid-level maps, and return the running average of the weights.

    Args:
        study: the study, for its renderings' types.
        config: the settings, starting weights among them.
        maps: of the photos to learn from.
        photos: those photos.
        rendered: maps of all renderings, to add to the batches.
        ratio: how many of them for each photo.
        taught: what to learn instead of the labels, as `TaughtMaps` has it; not with renderings.
    """
    run = Run(config, "", torch.device("cpu"))
    batches = BalancedBatches(photos, config)
    sampler = batches
    if ratio:
        each = round(ratio * config.batch_size)
        sampler = WithRenderings(batches, config, photos=len(photos), rendered=len(rendered), each=each)
        maps, photos = [*maps, *rendered], [*photos, *study.rendered]
    loader: DataLoader[Any] = DataLoader(CachedMaps(maps, photos), batch_sampler=sampler, collate_fn=collate)
    if taught:
        loader = DataLoader(TaughtMaps(maps, photos, taught), batch_sampler=sampler, collate_fn=collate_taught)
    learner, team, log = UpperStages(run.network), Team(0, 1, run.device), RunLog(study.out, enabled=False)
    while run.epoch < config.epochs:
        batches.epoch = run.epoch
        run.history.append({"loss": train_one_epoch(run, learner, loader, team, log)})
    return run.average


def scores_of(network: ScarNetwork, maps: Maps) -> np.ndarray:
    """Score photos as they are by their maps: raw scores of the three types, float32 [N, 3]."""
    return np.concatenate(scores_of_views(network, [views[:1] for views in maps]))


def scores_of_views(network: ScarNetwork, maps: Maps) -> list[np.ndarray]:
    """Score every view of photos by their maps: raw scores of the three types, float32 [V, 3] of each photo."""
    upper = UpperStages(network).eval()
    with torch.inference_mode():
        return [upper(torch.from_numpy(views.astype(np.float32))).type_logits.numpy() for views in maps]
