"""Calibration: raw scores become calibrated probabilities, plausible sets and decisions to abstain.

Everything is fitted in NumPy on scores of held-out photos, and stored in the checkpoint's card.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..datasets.labels import SCAR_TYPES

COVERAGE: Final = 0.90
"""Share of photos whose plausible set should include the true type."""

FALSE_REFUSALS: Final = 0.10
"""Share of photos of the three types that the scope threshold is set to refuse.

Refusing a scar loses an answer; answering about a pore may suggest needling it. In cross-validation, 4 % refused left
treatments on 46 % of photos of blackheads, 9 % on 20 % (`training/EXPERIMENTS.md` has the curve).
"""

UNCHANGED: Final = 0.95
"""Share of pairs of photos of unchanged skin in which no change may be named."""

MAX_QUALITY_REFUSALS: Final = 0.01
"""Maximum share of the original photos that a quality threshold may refuse."""

COST_OF_SILENCE: Final = 0.45
"""Cost of abstaining, if a wrong type costs 1 and the right type 0.

The expected cost is least if the classifier answers only with a probability of at least 1 - 0.45 (Chow, "On optimum
recognition error and reject tradeoff", IEEE Transactions on Information Theory, 1970). Abstaining is cheap here,
because the plausible types are still shown. At 0.5, small changes of a photo (`training.measure.stress`) changed the
label in up to 4 % of photos, at 0.45 in up to 1.4 %.
"""

TEMPERATURE_SPREAD: Final = 0.1
"""Prior standard deviation of the logarithm of the temperature.

Without a prior, a temperature fitted on some eighty photos raised the log loss of other photos by 0.002 and 0.006 nats
in two cross-validations; with it, the log loss was unchanged. A thousand photos outweigh the prior.
"""

_LEAST_TEMPERATURE: Final = 1e-6  # below, logits over it would be too large to tell apart

MIN_SIDE: Final = 64
"""Shortest side in pixels of a photo that can be judged. Below it, a 2 mm scar on a cheek is a pixel or two wide."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The numbers that turn scores into an answer.

    Attributes:
        temperature: type logits are divided by it before the softmax (temperature scaling, Guo et al., ICML 2017).
        scope_slope: the scope logit is multiplied by it and
        scope_offset: shifted by this before the sigmoid (Platt scaling, Platt 1999).
        plausible_thresholds: minimum probability of each of `SCAR_TYPES` to be plausible.
        scope_threshold: photos with a lower scope probability are refused as out of scope.
        answer_threshold: if no type reaches this probability, the answer is "ambiguous".
        scar_threshold: minimum probability of a scar for a position of the map to count as scarred.
        min_brightness: photos with a lower mean luma, 0 to 255, are too dark to judge.
        min_sharpness: photos with a lower `canonical.sharpness` are too blurred to judge.
        repeatability: how far the square roots of a type's extents in two photos of unchanged skin differ, for each of
            `SCAR_TYPES` and for all together, if brightness, zoom and compression differ: in 95 % of pairs, none of the
            four differs by more. None: not measured.
        repeatability_any_light: the same if the light may also come from another side.
        fitted_on: description of the data it was fitted on.
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
    repeatability: tuple[float, ...] | None = None
    repeatability_any_light: tuple[float, ...] | None = None
    fitted_on: str = "nothing: raw scores"

    def __post_init__(self) -> None:
        """Refuse invalid numbers."""
        numbers = (self.temperature, self.scope_slope, self.scope_offset, self.scope_threshold, self.answer_threshold)
        numbers += (self.scar_threshold, self.min_brightness, self.min_sharpness)
        limits = [*filter(None, (self.repeatability, self.repeatability_any_light))]
        numbers += (*self.plausible_thresholds, *itertools.chain(*limits))
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError("every number of a calibration must be finite")
        if self.temperature < _LEAST_TEMPERATURE or self.scope_slope <= 0:
            raise ValueError(
                f"temperature must be at least {_LEAST_TEMPERATURE} and scope_slope positive, "
                f"got {self.temperature}, {self.scope_slope}"
            )
        if len(self.plausible_thresholds) != len(SCAR_TYPES):
            raise ValueError(f"expected {len(SCAR_TYPES)} plausible_thresholds, got {len(self.plausible_thresholds)}")
        if any(len(limit) != len(SCAR_TYPES) + 1 for limit in limits):
            raise ValueError(f"expected {len(SCAR_TYPES) + 1} numbers of repeatability, got {limits}")

    def probabilities(self, type_logits: np.ndarray) -> np.ndarray:
        """Turn type logits [..., 3] into probabilities [..., 3] that sum to 1 along the last axis."""
        return softmax(np.asarray(type_logits, dtype=np.float64) / self.temperature)

    def in_scope(self, scope_logit: np.ndarray) -> np.ndarray:
        """Turn scope logits [...] into the probability that a photo shows one of the three types."""
        return sigmoid(self.scope_slope * np.asarray(scope_logit, dtype=np.float64) + self.scope_offset)

    def judgeable(self, brightness: np.ndarray | float, sharpness: np.ndarray | float) -> np.ndarray:
        """Return whether photos are bright and sharp enough to judge; bool [...]."""
        return (np.asarray(brightness) >= self.min_brightness) & (np.asarray(sharpness) >= self.min_sharpness)

    def plausible(self, probabilities: np.ndarray) -> tuple[str, ...]:
        """Return the types of the conformal prediction set of one photo, most probable first.

        It always includes the most probable type, because an empty set would be no answer.
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
    """Fit a calibration to the scores of held-out photos.

    Args:
        type_logits: [N, 3].
        scope_logits: [N].
        type_indices: int [N], index into `SCAR_TYPES`, or -1 if there is no type or it is unknown. At least one photo
            of each type.
        in_scope: bool [N], whether a photo shows one of the types. If all do, the scope stays uncalibrated and nothing
            is refused. The threshold is set on photos of known type.
        fitted_on: description of the data.
        repeats: number of scores per photo. Only photos are independent.
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
    """Return the logistic function, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits))


def _fit_temperature(logits: np.ndarray, targets: np.ndarray, repeats: int) -> float:
    """Minimise the log loss, with a prior that keeps the temperature near 1 if photos are few."""
    from scipy.optimize import minimize_scalar  # fitting only: prediction does not load it

    photos = len(targets) / repeats

    def log_posterior(log_temperature: float) -> float:
        probabilities = softmax(logits / math.exp(log_temperature))
        log_loss = float(-np.log(probabilities[np.arange(len(targets)), targets] + 1e-12).mean())
        return photos * log_loss + 0.5 * (log_temperature / TEMPERATURE_SPREAD) ** 2

    return math.exp(minimize_scalar(log_posterior, bounds=(-4.0, 4.0), method="bounded").x)


def _fit_platt(logits: np.ndarray, shown: np.ndarray) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression

    # Both sides get equal weight: how often users send other pictures is unknown, and differs from the training data.
    model = LogisticRegression(C=1.0, class_weight="balanced").fit(logits[:, None], shown)
    return max(float(model.coef_[0, 0]), 1e-3), float(model.intercept_[0])


def least_judgeable(measure: np.ndarray, right: np.ndarray, unchanged: np.ndarray) -> float:
    """Return the quality above which answering pays off at `COST_OF_SILENCE`: where 55 % of answers are right.

    The share of right answers is fitted as a logistic function of the logarithm of the quality.

    Args:
        measure: float [N], brightness or sharpness of photos and of increasingly degraded versions of them.
        right: bool [N], whether the most probable type was the label.
        unchanged: bool [N], True for the original photos, of which at most `MAX_QUALITY_REFUSALS` may be refused.

    Returns:
        The threshold; 0, which refuses nothing, if answers do not improve with quality.
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


def fit_repeatability(changes: np.ndarray) -> tuple[float, ...]:
    """Return the `Calibration.repeatability` of pairs of photos of unchanged skin.

    The four limits are in proportion to the 95 % quantiles, and just wide enough that all four hold in 95 % of pairs.

    Args:
        changes: float [N, 4], absolute differences of the square roots of extents.
    """
    scale = np.maximum(np.quantile(changes, UNCHANGED, axis=0), 1e-6)
    return tuple((scale * np.quantile((changes / scale).max(axis=1), UNCHANGED)).tolist())


def _refusal_threshold(in_scope: np.ndarray, repeats: int) -> float:
    """Return the score below which a new photo of the three types falls with probability `FALSE_REFUSALS`.

    By exchangeability this is the (n + 1) * share-th smallest of n scores, interpolated. With fewer than
    9 photos even the lowest score would refuse more, so nothing is refused.
    """
    photos = len(in_scope) // repeats
    if (photos + 1) * FALSE_REFUSALS < 1:
        return 0.0
    level = (photos + 1) * FALSE_REFUSALS / photos
    return float(np.quantile(in_scope, level, method="interpolated_inverted_cdf"))


def _conformal_thresholds(probabilities: np.ndarray, targets: np.ndarray, repeats: int) -> tuple[float, ...]:
    """Class-conditional split conformal prediction with the score 1 - p(true type) (Sadinle, Lei & Wasserman 2019).

    Per type, the (n + 1) * coverage-th smallest score of its n photos; with too few photos, every type is plausible. A
    fractional rank is interpolated. Rounding up, as in the paper, would guarantee the coverage, but with thirty photos
    per type it yields 93 % instead of 90 %.
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
