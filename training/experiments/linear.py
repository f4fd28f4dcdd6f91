"""Linear models on frozen features, of photos and of renderings, and how their settings are chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from scarlens.datasets.photos import LabelledPhoto
from scarlens.datasets.splits import SplitError, grouped_folds
from scarlens.model.network import ScarNetwork
from scarlens.training import texture
from scarlens.training.config import TrainConfig

from .study import (
    LAYERS,
    STATISTICS,
    Held,
    Row,
    Setting,
    Study,
    layer_statistics,
    log_loss_of,
    read_views,
    remembered,
    types_of,
)

Scorer = Callable[[np.ndarray, np.ndarray], dict[Setting, np.ndarray]]
"""Given photos to learn from and photos to score, int indices, returns scores [n, 3] of the latter for each setting."""

TEXTURE_LAYERS: Final = (10, 13)
TEXTURE: Final = ("mean", "mad")


class Prior(NamedTuple):
    """A linear model of renderings.

    Attributes:
        weight: float [3, T], for standardised features.
        bias: float [3].
        mean: float [T], of the renderings.
        std: float [T].
    """

    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def held_out(
    scorer: Scorer, photos: Sequence[LabelledPhoto], fold_of: np.ndarray, *, share: float = 1.0, seed: int = 0
) -> Held:
    """Score the photos of each fold by a model of the others, its setting chosen by folds within those.

    Args:
        scorer: the model.
        photos: the N photos of the three types.
        fold_of: the fold of each, int [N].
        share: of the subjects of a training part to learn from.
        seed: which subjects those are.
    """
    scores, chosen = np.zeros((len(photos), 3)), []
    for fold in np.unique(fold_of):
        training = _some_subjects(photos, np.flatnonzero(fold_of != fold), share, seed)
        held = np.flatnonzero(fold_of == fold)
        found = scorer(training, held)
        setting = next(iter(found)) if len(found) == 1 else choose(scorer, photos, training)
        scores[held] = found[setting]
        chosen += [setting] if len(found) > 1 else []
    return Held(scores, chosen)


def measured(study: Study, what: str, scorer: Scorer, *, share: float = 1.0) -> Row:
    """Measure a model of a share of the subjects of each training part, which each deal draws anew."""

    def of_deal(deal: int) -> Held:
        return held_out(scorer, study.typed, study.fold_of(deal)[study.shown], share=share, seed=deal)

    return study.measure(what, of_deal)


def choose(scorer: Scorer, photos: Sequence[LabelledPhoto], training: np.ndarray) -> Setting:
    """Choose by the log loss on folds of the training part, int indices; too few subjects: the middle one."""
    kinds, subjects = [photos[i].kind for i in training], [photos[i].subject or "" for i in training]
    try:
        fold_of = grouped_folds(kinds, subjects, folds=texture.INNER_FOLDS, seed=0)
    except SplitError:
        settings = list(scorer(training, training[:1]))
        return settings[len(settings) // 2]
    scores: dict[Setting, np.ndarray] = {}
    for fold in range(texture.INNER_FOLDS):
        for setting, found in scorer(training[fold_of != fold], training[fold_of == fold]).items():
            scores.setdefault(setting, np.zeros((len(training), 3)))[fold_of == fold] = found
    types = types_of([photos[i] for i in training])
    losses = {setting: log_loss_of(found, types) for setting, found in scores.items()}
    return min(losses, key=losses.__getitem__)


def _some_subjects(photos: Sequence[LabelledPhoto], indices: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Keep a share of the subjects of each type, at least one."""
    random, kept = np.random.default_rng(seed), set()
    for type_index in range(3):
        subjects = sorted({photos[i].subject or "" for i in indices if photos[i].type_index == type_index})
        kept |= set(random.permutation(subjects)[: max(1, round(share * len(subjects)))].tolist())
    return np.array([i for i in indices if photos[i].subject in kept])


def linear(
    features: np.ndarray,
    types: np.ndarray,
    strengths: Sequence[float],
    prior: Prior | None = None,
    weights: Sequence[float] = (0.0,),
) -> Scorer:
    """Return the logistic regression of the texture head, with every strength and every weight of the prior.

    Args:
        features: float [V, N, T], view 0 is the photo as it is.
        types: int [N].
        strengths: inverse ridge penalties.
        prior: a model of renderings whose scores are added.
        weights: of the prior.
    """

    def score(training: np.ndarray, held: np.ndarray) -> dict[Setting, np.ndarray]:
        mean, std = moments(features[:, training])
        views, seen = (features[:, training] - mean) / std, (features[0, held] - mean) / std
        added = seen @ prior.weight.T if prior else np.zeros((len(held), 3))
        found: dict[Setting, np.ndarray] = {}
        for strength in strengths:
            scores = texture.logistic(views, types[training], strength).decision_function(seen)
            found |= {(strength, weight): scores + weight * added for weight in weights}
        return found

    return score


def zero_shot(features: np.ndarray, prior: Prior, *, own_moments: bool) -> Scorer:
    """Return the model of renderings, for photos standardised by the training photos' moments or the renderings'."""

    def score(training: np.ndarray, held: np.ndarray) -> dict[Setting, np.ndarray]:
        mean, std = moments(features[:, training]) if own_moments else (prior.mean, prior.std)
        return {(): (features[0, held] - mean) / std @ prior.weight.T + prior.bias}

    return score


def mixing(
    features: np.ndarray, types: np.ndarray, rendered: np.ndarray, rendered_types: np.ndarray, ratios: Sequence[float]
) -> Scorer:
    """Return a logistic regression on photos [V, N, T] and renderings [M, T] together, each standardised by itself."""
    mean, std = moments(rendered[None])
    extra = (rendered - mean) / std

    def score(training: np.ndarray, held: np.ndarray) -> dict[Setting, np.ndarray]:
        mean, std = moments(features[:, training])
        rows = ((features[:, training] - mean) / std).reshape(-1, features.shape[2])
        seen, labels = (features[0, held] - mean) / std, np.tile(types[training], len(features))
        found: dict[Setting, np.ndarray] = {}
        for ratio in ratios:
            shares = np.r_[np.full(len(rows), 1 / len(rows)), np.full(len(extra), ratio / len(extra))] / (1 + ratio)
            for strength in texture.STRENGTHS:
                model = LogisticRegression(C=strength, max_iter=1000)
                model.fit(np.r_[rows, extra], np.r_[labels, rendered_types], sample_weight=shares)
                found[ratio, strength] = model.decision_function(seen)
        return found

    return score


def fit_prior(
    study: Study, layers: Sequence[int] = TEXTURE_LAYERS, *, count: int | None = None, strength: float | None = None
) -> Prior:
    """Fit the linear model of renderings, as `scarlens train` on them would fit its texture head.

    Args:
        study: the study.
        layers: whose mean and mean absolute deviation to read.
        count: how many renderings of the three types to draw; by default all.
        strength: the inverse ridge penalty; by default folds of the renderings choose it.
    """

    def make() -> dict[str, np.ndarray]:
        drawn = draw_renderings(study, count)
        photos = [rendered_typed(study)[i] for i in drawn]
        return prior_of(rendered_features(study, layers)[drawn], photos, strength=strength)

    name = f"layers_{'_'.join(map(str, layers))}_count_{count}_strength_{strength}"
    return Prior(**remembered(study.out / "priors" / f"{name}.safetensors", make))


def prior_of(
    features: np.ndarray, photos: Sequence[LabelledPhoto], *, strength: float | None = None
) -> dict[str, np.ndarray]:
    """Fit the linear model of photos by their features [N, T]: the arrays of `Prior` by name."""
    mean, std = moments(features[None])
    found = texture.Features((features[None] - mean) / std, mean, std)
    types, no_prior = types_of(photos), np.zeros((3, features.shape[1]))
    chosen = strength or texture.chosen_setting(found, photos, types, no_prior)[0]
    model = texture.logistic(found.views, types, chosen)
    return {"weight": model.coef_, "bias": np.asarray(model.intercept_), "mean": mean, "std": std}


def draw_renderings(study: Study, count: int | None) -> np.ndarray:
    """Draw some of the renderings of the three types, or all: int indices."""
    return np.random.default_rng(0).permutation(len(rendered_typed(study)))[:count]


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of features [V, N, T] over views and photos, float [T] each."""
    return features.mean(axis=(0, 1)), features.std(axis=(0, 1)) + 1e-6


def rendered_typed(study: Study) -> list[LabelledPhoto]:
    """Return the M renderings of the three types."""
    return [photo for photo in study.rendered if photo.type_index >= 0]


def photo_features(
    study: Study,
    layers: Sequence[int] = TEXTURE_LAYERS,
    statistics: Sequence[str] = TEXTURE,
    *,
    config: TrainConfig | None = None,
    all_layers: Sequence[int] = LAYERS,
) -> np.ndarray:
    """Return features of the photos of the three types, float32 [V, N, T], computed once for all layers."""
    config = config or study.config

    def read(network: ScarNetwork, photos: Tensor) -> dict[str, Tensor]:
        return layer_statistics(network, photos, all_layers)

    file = study.out / "features" / f"{config.trunk}_{config.size}.safetensors"
    views = [texture.VIEWS] * len(study.typed)
    found = remembered(file, lambda: read_views(study.typed, views, config, read))
    rows = joined(found, layers, statistics)
    return rows.reshape(len(study.typed), texture.VIEWS, -1).swapaxes(0, 1)


def rendered_features(
    study: Study, layers: Sequence[int] = TEXTURE_LAYERS, statistics: Sequence[str] = TEXTURE
) -> np.ndarray:
    """Return features of the renderings of the three types, as they are: float32 [M, T]."""
    return joined(rendered_views(study), layers, statistics)[types_of(study.rendered) >= 0]


def rendered_views(study: Study) -> dict[str, np.ndarray]:
    """Show the frozen network all renderings once: statistics by layer [R, 4, C], and mid-level "maps" [R, C, h, w]."""

    def read(network: ScarNetwork, photos: Tensor) -> dict[str, Tensor]:
        mid_level = [layer for layer in LAYERS if layer < network.mid_level]
        return layer_statistics(network, photos, mid_level, keep_maps=True)

    file = study.out / "features" / "rendered.safetensors"
    return remembered(file, lambda: read_views(study.rendered, [1] * len(study.rendered), study.config, read))


def joined(found: dict[str, np.ndarray], layers: Sequence[int], statistics: Sequence[str]) -> np.ndarray:
    """Put statistics [B, 4, C] of some layers side by side: float32 [B, T]."""
    return np.concatenate([found[str(n)][:, STATISTICS.index(name)] for name in statistics for n in layers], axis=1)


def with_prior(
    study: Study, weights: Sequence[float], *, count: int | None = None, strength: float | None = None
) -> Scorer:
    """Return the texture head with the prior of `fit_prior` at the given weights."""
    prior = fit_prior(study, count=count, strength=strength)
    return linear(photo_features(study), study.types, texture.STRENGTHS, prior, weights)
