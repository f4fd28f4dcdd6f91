"""Raised scars as classes of their own in the linear texture head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from torch import Tensor

from scarlens.datasets.photos import LabelledPhoto
from scarlens.model.network import ScarNetwork
from scarlens.training import texture

from .linear import (
    TEXTURE,
    TEXTURE_LAYERS,
    Scorer,
    fit_prior,
    joined,
    measured,
    moments,
    photo_features,
    with_prior,
)
from .study import Row, Setting, Study, StudyError, layer_statistics, read_views, remembered

RAISED: Final = ("hypertrophic", "keloid")
"""Kinds of out-of-scope photos that become the fourth and the fifth class."""


class Raised(NamedTuple):
    """Photos of raised scars.

    Attributes:
        features: float32 [V, R, T], as `linear.photo_features` has them.
        classes: int [R], 3 or 4.
        subjects: of each.
    """

    features: np.ndarray
    classes: np.ndarray
    subjects: Sequence[str]


def raised_scars(study: Study) -> list[Row]:
    """Measure the texture head with and without the two classes, with and without renderings."""
    rows = []
    for name, weights in (("0", [0.0]), ("chosen", texture.PRIOR_WEIGHTS)):
        what = f"texture head, prior {name}"
        rows.append(measured(study, what, with_prior(study, weights)))
        rows.append(measured(study, f"{what}, raised scars as classes", with_raised(study, study.types, weights)))
    return rows


def with_raised(study: Study, types: np.ndarray, weights: Sequence[float]) -> Scorer:
    """Return the texture head of five classes, three of which are scored.

    It learns from the raised scars of all subjects but those it is asked about: nothing is measured on raised scars,
    so folds have no say in which.

    Args:
        study: the study.
        types: of its photos of the three types, int [N].
        weights: of the prior of `fit_prior`, which knows three classes.
    """
    features, raised, prior = photo_features(study), raised_photos(study), fit_prior(study)
    subjects = np.array([photo.subject or "" for photo in study.typed])

    def score(training: np.ndarray, held: np.ndarray) -> dict[Setting, np.ndarray]:
        mean, std = moments(features[:, training])
        kept = ~np.isin(raised.subjects, subjects[held])
        views = (np.concatenate([features[:, training], raised.features[:, kept]], axis=1) - mean) / std
        classes = np.r_[types[training], raised.classes[kept]]
        seen = (features[0, held] - mean) / std
        found: dict[Setting, np.ndarray] = {}
        for strength in texture.STRENGTHS:
            scores = texture.logistic(views, classes, strength).decision_function(seen)[:, :3]
            found |= {(strength, weight): scores + weight * (seen @ prior.weight.T) for weight in weights}
        return found

    return score


def raised_photos(study: Study) -> Raised:
    """Return the study's raised scars.

    Raises:
        StudyError: when it has none of a kind.
    """
    photos: list[LabelledPhoto] = [photo for photo in study.photos if photo.kind in RAISED]
    if missing := set(RAISED) - {photo.kind for photo in photos}:
        raise StudyError(f"there is no photo of {', '.join(sorted(missing))}: name it with --out-of-scope")

    def read(network: ScarNetwork, seen: Tensor) -> dict[str, Tensor]:
        return layer_statistics(network, seen, TEXTURE_LAYERS)

    views = [texture.VIEWS] * len(photos)
    file = study.out / "features" / "raised.safetensors"
    found = remembered(file, lambda: read_views(photos, views, study.config, read))
    rows = joined(found, TEXTURE_LAYERS, TEXTURE).reshape(len(photos), texture.VIEWS, -1)
    classes = np.array([3 + RAISED.index(photo.kind) for photo in photos])
    return Raised(rows.swapaxes(0, 1), classes, [photo.subject or "" for photo in photos])
