"""Metrics, each with an interval from a bootstrap over subjects."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.stats import rankdata

from ...datasets.labels import SCAR_TYPES, UNTYPED

RESAMPLES: Final = 2000

SIMULATIONS: Final = 1000
"""Number of draws of the outcomes of a perfectly calibrated model."""

_BINS: Final = 10  # of equal width
_MASS_BINS: Final = 5  # of equal numbers: a hundred photos leave twenty in each


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval.

    Attributes:
        value: the figure on all photos; None if it is undefined, such as accuracy when nothing was answered.
        low: 2.5th percentile over the resamples of subjects for which the figure is defined.
        high: 97.5th percentile.
    """

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Format the figure as `0.653 (0.560-0.742)`."""
        if self.value is None:
            return "not defined"
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


def bootstrap(
    figure: Callable[[np.ndarray], float], subjects: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Estimate a figure with a percentile interval over resampled subjects (Efron & Tibshirani 1993, chapter 13).

    Photos of one subject are not independent, so subjects are drawn with replacement, each with all of its photos.

    Args:
        figure: maps an int array of photo indices, with repeats, to the figure; NaN if it is undefined.
        subjects: the subject of each photo.
        resamples: number of draws.
        seed: seed of the draws.
    """
    _, group = np.unique(np.asarray(subjects), return_inverse=True)
    members = [np.flatnonzero(group == number) for number in range(group.max() + 1)]
    random = np.random.default_rng(seed)
    draws = random.integers(len(members), size=(resamples, len(members)))
    value = figure(np.arange(len(group)))
    if np.isnan(value):
        return Estimate(None, None, None)
    values = [figure(np.concatenate([members[number] for number in draw])) for draw in draws]
    low, high = np.nanpercentile([value, *values], [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def bootstrap_mean(
    values: np.ndarray,
    subjects: Sequence[str],
    *,
    weights: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Estimate a mean like `bootstrap`, with the same draws, but faster.

    Args:
        values: float or bool [N].
        subjects: the subject of each photo.
        weights: float or bool [N]. If all are 0, the mean is undefined.
        resamples: number of draws.
        seed: seed of the draws.
    """
    _, group = np.unique(np.asarray(subjects), return_inverse=True)
    weights = np.ones(len(values)) if weights is None else weights.astype(np.float64)
    sums, totals = np.bincount(group, weights * values), np.bincount(group, weights)
    if not totals.any():
        return Estimate(None, None, None)
    draws = np.random.default_rng(seed).integers(len(totals), size=(resamples, len(totals)))
    drawn = totals[draws].sum(axis=1)
    value = float(sums.sum() / totals.sum())
    means = sums[draws].sum(axis=1)[drawn > 0] / drawn[drawn > 0]
    low, high = np.percentile([value, *means], [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def type_figures(
    probabilities: np.ndarray, type_indices: np.ndarray, subjects: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Compute the metrics of the choice between the three types.

    Args:
        probabilities: [N, 3], each row sums to 1.
        type_indices: int [N], the true type of each photo, all in 0..2.
        subjects: the subject of each photo.
        resamples: of the bootstrap.
    """
    chosen = probabilities.argmax(axis=1)
    of_truth = probabilities[np.arange(len(type_indices)), type_indices]
    confidence, right = probabilities.max(axis=1), chosen == type_indices
    brier = ((probabilities - np.eye(len(SCAR_TYPES))[type_indices]) ** 2).sum(axis=1)

    def macro_f1(i: np.ndarray) -> float:
        counts = confusion(type_indices[i], chosen[i])
        return float((2 * counts.diagonal() / np.maximum(counts.sum(axis=0) + counts.sum(axis=1), 1)).mean())

    def kappa(i: np.ndarray) -> float:
        counts = confusion(type_indices[i], chosen[i]) / len(i)
        by_chance = counts.sum(axis=0) @ counts.sum(axis=1)
        return float((counts.trace() - by_chance) / (1.0 - by_chance)) if by_chance < 1.0 else float("nan")

    def recall_mean(i: np.ndarray) -> float:
        recalls = [(chosen[i] == k)[type_indices[i] == k].mean() for k in np.unique(type_indices[i])]
        return float(np.mean(recalls))

    figures: Mapping[str, Callable[[np.ndarray], float]] = {
        "balanced_accuracy": recall_mean,
        "macro_f1": macro_f1,
        "kappa": kappa,
        "expected_calibration_error": lambda i: calibration_error(probabilities[i], type_indices[i]),
        "calibration_error_equal_mass": lambda i: calibration_error_equal_mass(probabilities[i], type_indices[i]),
        "risk_coverage_area": lambda i: risk_coverage_area(confidence[i], right[i]),
        "accuracy_at_coverage_80": lambda i: accuracy_at(0.8, confidence[i], right[i]),
        "accuracy_at_coverage_50": lambda i: accuracy_at(0.5, confidence[i], right[i]),
    }
    log_loss = -np.log(np.maximum(of_truth, 1e-12))
    means = {"accuracy": right, "log_loss": log_loss, "brier_score": brier}
    return {
        **{name: bootstrap_mean(values, subjects, resamples=resamples) for name, values in means.items()},
        **{name: bootstrap(figure, subjects, resamples=resamples) for name, figure in figures.items()},
    }


def calibration_error(probabilities: np.ndarray, type_indices: np.ndarray, *, bins: int = _BINS) -> float:
    """Return the expected calibration error of the top choice over bins of equal width (Naeini et al., AAAI 2015)."""
    return _gap(probabilities, type_indices, _bin_of(probabilities.max(axis=1), bins))


def calibration_error_equal_mass(
    probabilities: np.ndarray, type_indices: np.ndarray, *, bins: int = _MASS_BINS
) -> float:
    """Return the expected calibration error of the top choice over bins of equal numbers (Roelofs et al. 2022)."""
    rank = np.argsort(np.argsort(probabilities.max(axis=1), kind="stable"), kind="stable")
    return _gap(probabilities, type_indices, rank * bins // len(rank))


def _bin_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    return np.minimum((confidence * bins).astype(int), bins - 1)


def expected_gap(probabilities: np.ndarray, chance_right: np.ndarray, *, bins: int = _BINS) -> float:
    """Return the expected calibration error of the top choice, if each is right with a known probability, float [N]."""
    confidence = probabilities.max(axis=1)
    return float(np.abs(np.bincount(_bin_of(confidence, bins), chance_right - confidence)).sum() / len(confidence))


def _gap(probabilities: np.ndarray, type_indices: np.ndarray, bin_of: np.ndarray) -> float:
    """Return the mean over photos of the gap between confidence and accuracy in their bin."""
    surplus = (probabilities.argmax(axis=1) == type_indices) - probabilities.max(axis=1)
    return float(np.abs(np.bincount(bin_of, surplus)).sum() / len(surplus))


def perfect_outcomes(
    probabilities: np.ndarray, photos: Sequence[str], *, simulations: int = SIMULATIONS, seed: int = 0
) -> Iterator[np.ndarray]:
    """Draw true types as if the probabilities were perfectly calibrated.

    All scores of a photo, as in a repeated cross-validation, share one outcome: each maps the same uniform random
    number to a type with its own cumulative distribution.

    Args:
        probabilities: [N, 3].
        photos: names the photo of each score.
        simulations: number of draws.
        seed: seed of the draws.

    Yields:
        int [N], index into `SCAR_TYPES`.
    """
    _, photo = np.unique(np.asarray(photos), return_inverse=True)
    edges = probabilities.cumsum(axis=1)[:, :-1]
    random = np.random.default_rng(seed)
    for _ in range(simulations):
        yield (random.random(photo.max() + 1)[photo, None] >= edges).sum(axis=1)


def calibration_error_by_chance(
    probabilities: np.ndarray,
    photos: Sequence[str],
    *,
    error: Callable[[np.ndarray, np.ndarray], float] = calibration_error,
    simulations: int = SIMULATIONS,
) -> Estimate:
    """Estimate the calibration error of a perfectly calibrated model with these probabilities.

    With few photos in a bin, accuracy differs from confidence by chance, and every gap counts as error, so the measured
    error is biased upwards (Roelofs et al., "Mitigating bias in calibration error estimation", AISTATS 2022).

    Args:
        probabilities: [N, 3].
        photos: names the photo of each score, as for `perfect_outcomes`.
        error: the calibration error, a function of probabilities and types.
        simulations: number of draws.

    Returns:
        The mean, and the range of 95 % of the draws.
    """
    errors = [error(probabilities, types) for types in perfect_outcomes(probabilities, photos, simulations=simulations)]
    low, high = np.percentile(errors, [2.5, 97.5])
    return Estimate(float(np.mean(errors)), float(low), float(high))


def reliability(
    probabilities: np.ndarray, type_indices: np.ndarray, photos: Sequence[str], *, bins: int = _BINS
) -> list[dict[str, Any]]:
    """Compare confidence and accuracy of the top choice in bins of equal width.

    Args:
        probabilities: [N, 3].
        type_indices: int [N].
        photos: names the photo of each score, as for `perfect_outcomes`.
        bins: number of bins between 0 and 1.

    Returns:
        A row per bin with scores in it: its limits `from` and `to`, the number of `scores`, mean `confidence`,
        `accuracy`, and `chance_low` and `chance_high`, between which 95 % of perfectly calibrated models lie.
    """
    confidence, chosen = probabilities.max(axis=1), probabilities.argmax(axis=1)
    bin_of = _bin_of(confidence, bins)
    counts = np.bincount(bin_of, minlength=bins)

    def means(values: np.ndarray) -> np.ndarray:
        return np.bincount(bin_of, values, minlength=bins) / np.maximum(counts, 1)

    perfect = [means(types == chosen) for types in perfect_outcomes(probabilities, photos)]
    low, high = np.percentile(perfect, [2.5, 97.5], axis=0)
    mean, accuracy = means(confidence), means(chosen == type_indices)
    return [
        {
            "from": number / bins,
            "to": (number + 1) / bins,
            "scores": int(counts[number]),
            "confidence": float(mean[number]),
            "accuracy": float(accuracy[number]),
            "chance_low": float(low[number]),
            "chance_high": float(high[number]),
        }
        for number in np.flatnonzero(counts)
    ]


def accuracy_by_coverage(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the accuracy of the k most confident answers for k = 1..N, float [N].

    One minus this is the risk-coverage curve (El-Yaniv & Wiener, JMLR 2010). Answers of equal confidence each count as
    their mean, because their order is arbitrary.

    Args:
        confidence: float [N].
        right: bool [N].
    """
    _, level = np.unique(confidence, return_inverse=True)
    share = (np.bincount(level, right) / np.bincount(level))[level]
    ordered = share[np.argsort(-confidence, kind="stable")]
    return ordered.cumsum() / np.arange(1, len(ordered) + 1)


def accuracy_at(coverage: float, confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the accuracy at a coverage, 0 to 1: that of the most confident answers."""
    return float(accuracy_by_coverage(confidence, right)[max(1, round(coverage * len(right))) - 1])


def risk_coverage_area(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the area under the risk-coverage curve: the mean risk over all coverages; lower is better."""
    return float(1.0 - accuracy_by_coverage(confidence, right).mean())


def confusion(type_indices: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Count photos as int [3, 3]: rows are the true type, columns the chosen one, in the order of `SCAR_TYPES`."""
    types = len(SCAR_TYPES)
    return np.bincount(types * type_indices + chosen, minlength=types**2).reshape(types, types)


def scope_figures(
    scope: np.ndarray, class_names: Sequence[str], subjects: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Compute the AUROC of the scope score for each out-of-scope class against photos of the three types.

    Args:
        scope: [N], higher for photos that are more likely to show one of the types.
        class_names: the class of each photo: a scar type, `UNTYPED`, or the name of an out-of-scope class.
        subjects: the subject of each photo.
        resamples: of the bootstrap.
    """
    class_array = np.asarray(class_names)
    shown: np.ndarray = np.isin(class_array, SCAR_TYPES)
    result = {}
    for class_name in sorted(set(class_names) - {*SCAR_TYPES, UNTYPED}):
        chosen = np.flatnonzero(shown | (class_array == class_name))
        truth, score = shown[chosen], scope[chosen]
        who = [subjects[int(i)] for i in chosen]

        def area(i: np.ndarray, truth: np.ndarray = truth, score: np.ndarray = score) -> float:
            return auroc(truth[i], score[i])

        result[class_name] = bootstrap(area, who, resamples=resamples)
    return result


def auroc(truth: np.ndarray, score: np.ndarray) -> float:
    """Return the area under the ROC curve from ranks (Hanley & McNeil, Radiology 1982); NaN if one side is empty.

    Ten times as fast as scikit-learn's, which matters for a bootstrap.

    Args:
        truth: bool [N].
        score: float [N], higher where true is more likely.
    """
    positives, negatives = truth.sum(), (~truth).sum()
    if not positives or not negatives:
        return float("nan")
    above = rankdata(score)[truth].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))
