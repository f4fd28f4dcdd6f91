"""Fit the texture head: a convex problem on frozen features, solved before the network is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from ..datasets.augment import Augmentation
from ..datasets.photos import LabelledPhoto
from ..datasets.preprocess import frame, normalise
from ..datasets.reader import read_image
from ..datasets.splits import SplitError, grouped_folds
from ..model.network import ScarNetwork
from .config import TrainConfig

VIEWS: Final = 9
"""Views of each photo, the first of them as it is: what an augmentation changes should not matter."""

VIEWS_IN_ALL: Final = 3000
"""With many photos each is seen less often."""

STRENGTHS: Final = (1.0, 3.0, 10.0)
"""Inverse ridge penalties to choose from, for the mean loss of a photo."""

PRIOR_WEIGHTS: Final = (0.0, 0.5, 1.0)
"""Weights to choose from for the scores of the head that came with the pretrained weights."""

INNER_FOLDS: Final = 4
_FALLBACK: Final = (3.0, 0.5)  # with too few subjects to choose by

SHARE: Final = 0.5
"""Of the texture head in the network's score: the mean of both heads, whose log loss was below that of either."""


class Features(NamedTuple):
    """Pooled texture of the photos of the three types.

    Attributes:
        views: float32 [V, N, T], standardised over views and photos; view 0 is the photo as it is.
        mean: float32 [T], what was taken off.
        std: float32 [T], what it was divided by.
    """

    views: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def fit_texture_head(
    network: ScarNetwork, photos: Sequence[LabelledPhoto], config: TrainConfig, device: torch.device
) -> None:
    """Fit the texture head on top of the trunk as it is, and give it its share in the network's score.

    The scores are those of a logistic regression on the photos, plus, with some weight, those of the head that the
    pretrained weights brought along, fitted to renderings for instance: a sum of two linear models is one. Penalty and
    weight are chosen by folds of these photos that never part a subject.

    Args:
        network: the network, whose `texture` is overwritten.
        photos: what to learn from; those of the three types count, extra ones do not.
        config: the settings; `seed` decides the views.
        device: where the network is.
    """
    typed = [photo for photo in photos if photo.type_index >= 0 and not photo.extra]
    types = np.array([photo.type_index for photo in typed])
    head = network.texture
    prior = head.scores.weight[..., 0, 0].cpu().numpy() if head.share > 0 else np.zeros(head.scores.weight.shape[:2])
    found = _features(network, typed, config, device)
    strength, prior_weight = chosen_setting(found, typed, types, prior)
    fitted = logistic(found.views, types, strength)
    weight = fitted.coef_ + prior_weight * prior
    head.load_state_dict(
        {
            "mean": torch.from_numpy(found.mean),
            "std": torch.from_numpy(found.std),
            "share": torch.tensor(SHARE),
            "scores.weight": torch.from_numpy(weight)[..., None, None],
            "scores.bias": torch.from_numpy(fitted.intercept_),
        }
    )


def _features(
    network: ScarNetwork, photos: Sequence[LabelledPhoto], config: TrainConfig, device: torch.device
) -> Features:
    views = min(VIEWS, max(1, VIEWS_IN_ALL // len(photos)))
    augment = Augmentation(config.size)
    network.eval()
    rows = []
    for number, photo in enumerate(photos):
        squares = np.stack(
            [
                normalise(square, mean=config.mean, std=config.std)
                for square in squares_of(photo, config, augment, views=views, number=number)
            ]
        )
        with torch.inference_mode():
            texture = network.mid_level_maps(torch.from_numpy(squares).to(device))[1]
        rows.append(texture.mean(dim=(2, 3)).cpu().numpy())
    pooled = np.stack(rows, axis=1)  # [V, N, T]
    mean, std = pooled.mean(axis=(0, 1)), pooled.std(axis=(0, 1)) + 1e-6
    return Features((pooled - mean) / std, mean, std)


def squares_of(
    photo: LabelledPhoto, config: TrainConfig, augment: Augmentation, *, views: int, number: int
) -> Iterator[np.ndarray]:
    """Yield the photo as it is and augmented views of it, RGB uint8 [S, S, 3]."""
    image = read_image(photo.path)
    yield frame(image, config.size).square
    for seed in np.random.SeedSequence([config.seed, number]).generate_state(views - 1).tolist():
        yield augment(image, seed=seed)


def chosen_setting(
    found: Features, photos: Sequence[LabelledPhoto], types: np.ndarray, prior: np.ndarray
) -> tuple[float, float]:
    """Choose the penalty and the weight of the prior by the log loss of held-out photos."""
    subjects = [photo.subject or str(photo.path) for photo in photos]
    try:
        folds = np.array(grouped_folds([photo.kind for photo in photos], subjects, folds=INNER_FOLDS, seed=0))
    except SplitError:
        return _FALLBACK
    of_prior = found.views[0] @ prior.T
    weights = PRIOR_WEIGHTS if prior.any() else (0.0,)
    losses = {}
    for strength in STRENGTHS:
        scores = np.zeros_like(of_prior)
        for fold in range(INNER_FOLDS):
            held = folds == fold
            model = logistic(found.views[:, ~held], types[~held], strength)
            scores[held] = model.decision_function(found.views[0, held])
        for weight in weights:
            losses[strength, weight] = log_loss(types, _softmax(scores + weight * of_prior))
    return min(losses, key=losses.__getitem__)


def logistic(views: np.ndarray, types: np.ndarray, strength: float) -> LogisticRegression:
    """Fit a multinomial logistic regression to views [V, N, T] of photos of `types` [N]."""
    rows = views.reshape(-1, views.shape[-1])
    model = LogisticRegression(C=strength / len(rows), max_iter=1000)
    return model.fit(rows, np.tile(types, len(views)))


def _softmax(scores: np.ndarray) -> np.ndarray:
    return torch.from_numpy(scores).softmax(dim=1).numpy()
