"""From raw scores to probabilities that mean what they say, plausible sets, and knowing when to keep silent.

Everything here is fitted on scores of photos that the model did not see, in NumPy, and stored in the checkpoint's card.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..datasets.labels import SCAR_TYPES

COVERAGE: Final = 0.90
"""Share of photos whose true type the plausible set is meant to hold."""

FALSE_REFUSALS: Final = 0.04
"""Share of photos of the three types that the scope threshold aims to refuse.

One in twenty is what may be refused; aiming a little below leaves room for the error of a threshold from few photos.
"""

MAX_QUALITY_REFUSALS: Final = 0.01
"""Share of the photos it was fitted on that a quality threshold may refuse, whatever the blurred copies of them say."""

COST_OF_SILENCE: Final = 0.45
"""What "can't tell" costs when a wrong type costs 1 and a right one 0.

The decision of least expected cost is then to answer only with a probability of at least 1 - 0.45 (Chow, "On optimum
recognition error and reject tradeoff", IEEE Transactions on Information Theory, 1970). Silence costs little here: it
still shows the plausible types side by side. At 0.5 small changes of a photo (training.stress) turned one answered
label into another in up to 4 % of photos, at 0.45 in up to 1.4 %.
"""

TEMPERATURE_SPREAD: Final = 0.1
"""Standard deviation of the logarithm of the temperature before anything was measured.

Fitted freely on some eighty photos, the temperature made the log loss of others worse, by 0.002 and 0.006 nats in two
cross-validations; with this prior it stays as it is without temperature, and a thousand photos outweigh the prior.
"""

_LEAST_TEMPERATURE: Final = 1e-6  # below, logits over it would be too large to tell apart

MIN_SIDE: Final = 64
"""Shortest side in pixels of a photo worth judging: below, a scar of 2 mm on a cheek is smaller than a pixel or two."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How scores become an answer.

    Attributes:
        temperature: type logits are divided by it before the softmax (temperature scaling, Guo et al., ICML 2017).
        scope_slope: the scope logit is multiplied by it and
        scope_offset: shifted by this before the sigmoid (Platt scaling, Platt 1999).
        plausible_thresholds: per type, in the order of `SCAR_TYPES`: the type is plausible from this probability on.
        scope_threshold: below this scope probability the photo is refused as out of scope.
        answer_threshold: below this probability of the best type the answer is "ambiguous".
        scar_threshold: a position of the map counts as scarred from this probability of a scar on.
        min_brightness: a photo with a lower mean luma, 0 to 255, is too dark to judge.
        min_sharpness: one with a lower `datasets.canonical.sharpness` is too blurred to judge.
        fitted_on: what the numbers come from, in words.
    """

    temperature: float = 1.0
    scope_slope: float = 1.0
    scope_offset: float = 0.0
    plausible_thresholds: tuple[float, ...] = (0.0,) * len(SCAR_TYPES)
    scope_threshold: float = 0.5
    answer_threshold: float = 1.0 - COST_OF_SILENCE
    scar_threshold: float = 0.5
    min_brightness: float = 0.0
    min_sharpness: float = 0.0
    fitted_on: str = "nothing: raw scores"

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be a calibration."""
        numbers = (self.temperature, self.scope_slope, self.scope_offset, self.scope_threshold, self.answer_threshold)
        numbers += (self.scar_threshold, self.min_brightness, self.min_sharpness)
        if not all(math.isfinite(number) for number in (*numbers, *self.plausible_thresholds)):
            raise ValueError("every number of a calibration must be finite")
        if self.temperature < _LEAST_TEMPERATURE or self.scope_slope <= 0:
            raise ValueError(
                f"temperature must be at least {_LEAST_TEMPERATURE} and scope_slope positive, "
                f"got {self.temperature}, {self.scope_slope}"
            )
        if len(self.plausible_thresholds) != len(SCAR_TYPES):
            raise ValueError(f"expected {len(SCAR_TYPES)} plausible_thresholds, got {len(self.plausible_thresholds)}")

    def probabilities(self, type_logits: np.ndarray) -> np.ndarray:
        """Turn type logits [..., 3] into probabilities [..., 3] that sum to 1 along the last axis."""
        return softmax(np.asarray(type_logits, dtype=np.float64) / self.temperature)

    def in_scope(self, scope_logit: np.ndarray) -> np.ndarray:
        """Turn scope logits [...] into the probability that a photo shows one of the three types."""
        return sigmoid(self.scope_slope * np.asarray(scope_logit, dtype=np.float64) + self.scope_offset)

    def judgeable(self, brightness: np.ndarray | float, sharpness: np.ndarray | float) -> np.ndarray:
        """Return whether photos are bright and sharp enough to judge, bool [...]."""
        return (np.asarray(brightness) >= self.min_brightness) & (np.asarray(sharpness) >= self.min_sharpness)

    def plausible(self, probabilities: np.ndarray) -> tuple[str, ...]:
        """Return the types of the conformal prediction set of one photo, most probable first.

        The most probable type always belongs to it: an empty set would tell a reader nothing.
        """
        order = np.argsort(-probabilities, kind="stable")
        return tuple(SCAR_TYPES[i] for i in order if i == order[0] or probabilities[i] >= self.plausible_thresholds[i])


def fit_calibration(
    *,
    type_logits: np.ndarray,
    scope_logits: np.ndarray,
    type_indices: np.ndarray,
    in_scope: np.ndarray,
    fitted_on: str,
    repeats: int = 1,
) -> Calibration:
    """Fit a calibration to the scores of photos the model did not see.

    Args:
        type_logits: [N, 3].
        scope_logits: [N].
        type_indices: int [N], index into `SCAR_TYPES`, or -1 where the type is none or not known. At least one photo of
            each type.
        in_scope: bool [N], whether a photo shows one of the types; where all do, the scope stays uncalibrated and
            nothing is refused. How many are refused is measured on photos of a known type.
        fitted_on: what the scores come from, in words.
        repeats: how many scores come from one photo; only photos are independent.
    """
    shown = type_indices >= 0
    temperature = _fit_temperature(type_logits[shown], type_indices[shown], repeats)
    slope, offset = (1.0, 0.0) if in_scope.all() else _fit_platt(scope_logits, in_scope)
    scores = Calibration(temperature=temperature, scope_slope=slope, scope_offset=offset)
    probabilities = scores.probabilities(type_logits[shown])
    refused_below = 0.0 if in_scope.all() else _refusal_threshold(scores.in_scope(scope_logits[shown]), repeats)
    return Calibration(
        temperature=temperature,
        scope_slope=slope,
        scope_offset=offset,
        plausible_thresholds=_conformal_thresholds(probabilities, type_indices[shown], repeats),
        scope_threshold=refused_below,
        fitted_on=fitted_on,
    )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of [..., K] along its last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the logistic function of each number, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def _fit_temperature(logits: np.ndarray, targets: np.ndarray, repeats: int) -> float:
    """Minimise the log loss, with a prior that holds the temperature near 1 while there are few photos."""
    from scipy.optimize import minimize_scalar  # fitting only: prediction does not load it

    photos = len(targets) / repeats

    def log_posterior(log_temperature: float) -> float:
        probabilities = softmax(logits / math.exp(log_temperature))
        log_loss = float(-np.log(probabilities[np.arange(len(targets)), targets] + 1e-12).mean())
        return photos * log_loss + 0.5 * (log_temperature / TEMPERATURE_SPREAD) ** 2

    return math.exp(minimize_scalar(log_posterior, bounds=(-4.0, 4.0), method="bounded").x)


def _fit_platt(logits: np.ndarray, shown: np.ndarray) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    # Both sides weigh the same: how often users send other pictures is unknown, and not as in the training folder.
    model = LogisticRegression(C=1.0, class_weight="balanced").fit(logits[:, None], shown)
    return max(float(model.coef_[0, 0]), 1e-3), float(model.intercept_[0])


def least_judgeable(measure: np.ndarray, right: np.ndarray, unchanged: np.ndarray) -> float:
    """Return the quality from which on answering pays, at `COST_OF_SILENCE`: there 55 % of the answers are right.

    The share of right answers is fitted as a logistic function of the logarithm of the quality.

    Args:
        measure: float [N], brightness or sharpness of photos and of copies of them that were spoilt step by step.
        right: bool [N], whether the most probable type was the label.
        unchanged: bool [N], the photos as they are; at most `MAX_QUALITY_REFUSALS` of them fall below the threshold.

    Returns:
        The threshold; 0, which refuses nothing, when answers do not get better with the quality.
    """
    from sklearn.linear_model import LogisticRegression

    most = float(np.quantile(measure[unchanged], MAX_QUALITY_REFUSALS))
    if right.all() or not right.any():
        return 0.0 if right.all() else most
    logarithm = np.log(np.maximum(measure, 1e-3))[:, None]
    model = LogisticRegression(C=1e6).fit(logarithm, right)
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0.0:
        return 0.0
    wanted = math.log((1.0 - COST_OF_SILENCE) / COST_OF_SILENCE)
    return min(math.exp(min((wanted - offset) / slope, 50.0)), most)


def _refusal_threshold(in_scope: np.ndarray, repeats: int) -> float:
    """Return the score below which a new photo of the three types falls with probability `FALSE_REFUSALS`.

    Of n scores and a new one, any is the lowest with equal chance: the (n + 1) * share-th smallest, interpolated. With
    fewer than 24 photos even the lowest score refuses more than that: then nothing is refused.
    """
    photos = len(in_scope) // repeats
    if (photos + 1) * FALSE_REFUSALS < 1:
        return 0.0
    level = (photos + 1) * FALSE_REFUSALS / photos
    return float(np.quantile(in_scope, level, method="interpolated_inverted_cdf"))


def _conformal_thresholds(probabilities: np.ndarray, targets: np.ndarray, repeats: int) -> tuple[float, ...]:
    """Class-conditional split conformal prediction with the score 1 - p(true type) (Sadinle, Lei & Wasserman 2019).

    Per type, the (n + 1) * coverage-th smallest score of its n photos; with too few photos, everything is plausible.
    Where that is no whole number the score is interpolated between its neighbours: rounding up, as the paper does,
    guarantees the coverage, and with thirty photos a type makes 93 % of 90.
    """
    thresholds = []
    for index in range(len(SCAR_TYPES)):
        scores = 1.0 - probabilities[targets == index, index]
        photos = len(scores) // repeats
        rank = (photos + 1) * COVERAGE
        level = rank / photos if photos else math.inf
        enough = level <= 1.0
        quantile = float(np.quantile(scores, level, method="interpolated_inverted_cdf")) if enough else 1.0
        thresholds.append(1.0 - quantile)
    return tuple(thresholds)
