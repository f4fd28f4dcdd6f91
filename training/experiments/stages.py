"""Fine-tuning of the stages above the mid-level maps, on cached maps, and its mean with the texture head.

The loop, the loss and the batches are those of `scarlens train`, which keeps the trunk as pretrained up to the
mid-level maps as well; what differs is that the views of a photo are drawn from a few cached ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from scarlens.datasets.photos import LabelledPhoto
from scarlens.model.network import NetworkOutput, ScarNetwork
from scarlens.training import texture
from scarlens.training.config import TrainConfig
from scarlens.training.loader import BalancedBatches, View, collate
from scarlens.training.run import Run, Team
from scarlens.training.runlog import RunLog
from scarlens.training.train import train_one_epoch

from .linear import measured, rendered_views, with_prior
from .study import Held, Row, Study, StudyError, frozen_network, read_views, remembered

VIEWS_OF_TYPED: Final = 20
VIEWS_OF_OTHERS: Final = 6
PRETRAINING_EPOCHS: Final = 2

Maps = Sequence[np.ndarray]
"""Of each photo the mid-level maps of its views, float16 [V, C, h, w], the first one of the photo as it is."""


@dataclass(frozen=True)
class Recipe:
    """How the stages are fine-tuned.

    Attributes:
        pretrained: on renderings whose maps are "aligned" to those of photos, channel by channel, or left "as they
            are"; None starts from the weights the study was given.
        ratio: renderings for each photo in a batch.
        seeds: runs to average.
        soup: whether their weights are averaged rather than their scores.
        label_smoothing: as for `scarlens train`.
    """

    pretrained: str | None = None
    ratio: float = 0.0
    seeds: int = 1
    soup: bool = False
    label_smoothing: float = 0.1


RECIPES: Final = {
    "from ImageNet": Recipe(),
    "pretrained on renderings": Recipe(pretrained="as they are"),
    "pretrained on aligned renderings": Recipe(pretrained="aligned"),
    "from ImageNet, renderings mixed in 1 : 2": Recipe(ratio=0.5),
    "from ImageNet, renderings mixed in 1 : 1": Recipe(ratio=1.0),
    "from ImageNet, no label smoothing": Recipe(label_smoothing=0.0),
    "from ImageNet, scores of 3 seeds averaged": Recipe(seeds=3),
    "from ImageNet, weights of 3 seeds averaged": Recipe(seeds=3, soup=True),
}


class UpperStages(nn.Module):
    """The network from its mid-level map on, without the texture head."""

    def __init__(self, network: ScarNetwork) -> None:
        """Share the weights of `network`."""
        super().__init__()
        self.network = network

    def forward(self, maps: Tensor) -> NetworkOutput:
        """Score mid-level maps [B, C, h, w]."""
        network = self.network
        scores = network.head(network.dropout(network.trunk[network.mid_level :](maps)))  # [B, 4, h / 2, w / 2]
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
) -> ScarNetwork:
    """Fine-tune the stages above the mid-level maps, and return the running average of the weights.

    Args:
        study: the study, for its renderings' types.
        config: the settings, starting weights among them.
        maps: of the photos to learn from.
        photos: those photos.
        rendered: maps of all renderings, to add to the batches.
        ratio: how many of them for each photo.
    """
    run = Run(config, "", torch.device("cpu"))
    batches = BalancedBatches(photos, config)
    sampler = batches
    if ratio:
        each = round(ratio * config.batch_size)
        sampler = WithRenderings(batches, config, photos=len(photos), rendered=len(rendered), each=each)
        maps, photos = [*maps, *rendered], [*photos, *study.rendered]
    loader: DataLoader[Any] = DataLoader(CachedMaps(maps, photos), batch_sampler=sampler, collate_fn=collate)
    learner, team, log = UpperStages(run.network), Team(0, 1, run.device), RunLog(study.out, enabled=False)
    while run.epoch < config.epochs:
        batches.epoch = run.epoch
        run.history.append({"loss": train_one_epoch(run, learner, loader, team, log)})
    return run.average


def scores_of(network: ScarNetwork, maps: Maps) -> np.ndarray:
    """Score photos as they are by their maps: raw scores of the three types, float32 [N, 3]."""
    upper, scores = UpperStages(network).eval(), []
    with torch.inference_mode():
        for views in maps:
            scores.append(upper(torch.from_numpy(views[:1].astype(np.float32))).type_logits.numpy())
    return np.concatenate(scores)


def pretrained(study: Study, how: str) -> Path:
    """Train the stages on all renderings, and return the weights.

    Channels are aligned to those of the photos of the three types: to their pictures, never to their labels.
    """
    file = study.out / "pretrained" / f"{how.replace(' ', '_')}.safetensors"
    if not file.exists():
        maps = photo_maps(study)
        shown = [maps[i] for i in study.shown.tolist()] if how == "aligned" else ()
        config = study.config.with_settings(epochs=PRETRAINING_EPOCHS)
        started = time.process_time()
        network = fit(study, config, rendered_maps(study, aligned_to=shown), study.rendered)
        print(f"pretraining on renderings {how}: {time.process_time() - started:.0f} s", flush=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, file)
    return file


def held_out_by(study: Study, recipe: Recipe, deal: int, *, fold_of: np.ndarray | None = None) -> Held:
    """Score the photos of each fold of a deal by stages that were fine-tuned on the others."""
    maps = photo_maps(study)
    rendered = rendered_maps(study) if recipe.ratio else ()
    fold_of = study.fold_of(deal) if fold_of is None else fold_of
    weights = str(pretrained(study, recipe.pretrained)) if recipe.pretrained else study.config.weights
    scores = np.zeros((len(maps), 3))
    for fold in range(study.folds):
        training, held = np.flatnonzero(fold_of != fold).tolist(), np.flatnonzero(fold_of == fold).tolist()
        own, photos = [maps[i] for i in training], [study.photos[i] for i in training]
        networks = []
        for seed in range(recipe.seeds):
            config = study.config.with_settings(
                weights=weights, label_smoothing=recipe.label_smoothing, seed=seed + recipe.seeds * deal
            )
            networks.append(fit(study, config, own, photos, rendered=rendered, ratio=recipe.ratio))
        networks = [averaged(networks)] if recipe.soup else networks
        scores[held] = np.mean([scores_of(network, [maps[i] for i in held]) for network in networks], axis=0)
    return Held(scores[study.shown])


def averaged(networks: Sequence[ScarNetwork]) -> ScarNetwork:
    """Average the weights of networks into the first one (Wortsman et al., "Model soups", ICML 2022)."""
    states = [network.state_dict() for network in networks]
    soup = {name: torch.stack([state[name].float() for state in states]).mean(dim=0) for name in states[0]}
    networks[0].load_state_dict(soup)
    return networks[0]


def fine_tuned(study: Study, only: Sequence[str] = ()) -> list[Row]:
    """Measure the recipes, by default all, and the stages that know renderings alone.

    Raises:
        StudyError: when a name in `only` is no recipe.
    """
    if unknown := set(only) - set(RECIPES):
        raise StudyError(f"--only knows no {sorted(unknown)}; there are {[*RECIPES]}")
    rows = [_measured(study, name) for name in only or RECIPES]
    for how in ("as they are", "aligned"):
        if (study.out / "pretrained" / f"{how.replace(' ', '_')}.safetensors").exists():
            rows.append(study.measure(f"stages trained on renderings {how}, no photo", _known_renderings(study, how)))
    return rows


def _measured(study: Study, name: str) -> Row:
    recipe = RECIPES[name]
    photo_maps(study)  # here and not in the first row that reads them, whose seconds they are not
    if recipe.pretrained:
        pretrained(study, recipe.pretrained)
    return study.measure(f"stages {name}", lambda deal: held_out_by(study, recipe, deal))


def _known_renderings(study: Study, how: str) -> Callable[[int], Held]:
    network = frozen_network(study.config)
    network.load_state_dict(load_file(pretrained(study, how)))
    maps = photo_maps(study)
    scores = scores_of(network, [maps[i] for i in study.shown.tolist()])
    return lambda deal: Held(scores)


def both_heads(study: Study) -> list[Row]:
    """Measure the texture head, the fine-tuned stages, and the mean of both, each with and without renderings."""
    heads = {
        "texture head, prior 0": with_prior(study, [0.0]),
        "texture head, prior chosen": with_prior(study, texture.PRIOR_WEIGHTS),
    }
    rows = [measured(study, name, scorer) for name, scorer in heads.items()]
    for recipe in ("from ImageNet", "pretrained on renderings", "pretrained on aligned renderings"):
        stages = _measured(study, recipe)
        means = [study.measure(f"mean of {head.what} and {stages.what}", _mean(head, stages)) for head in rows[:2]]
        rows += [stages, *means]
    return rows


def _mean(head: Row, stages: Row) -> Callable[[int], Held]:
    mean = texture.SHARE * head.scores + (1 - texture.SHARE) * stages.scores
    return lambda deal: Held(mean[deal])
