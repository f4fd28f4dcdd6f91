"""Figures of merit, each with an interval from a bootstrap over subjects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn import metrics

from ..datasets.labels import SCAR_TYPES

RESAMPLES: Final = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval.

    Attributes:
        value: the figure on all photos; None where it is not defined, as accuracy is without a single answer.
        low: 2.5th percentile over those resamples of subjects where the figure is defined.
        high: 97.5th percentile.
    """

    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Return the figure as a reader wants it: `0.653 (0.560-0.742)`."""
        if self.value is None:
            return "not defined"
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


def bootstrap(
    figure: Callable[[np.ndarray], float], subjects: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Estimate a figure with a percentile interval over resampled subjects (Efron & Tibshirani 1993, chapter 13).

    Photos of one subject are not independent, so subjects are drawn with replacement, each with all of its photos.

    Args:
        figure: maps an int array of photo indices, with repeats, to the figure; NaN where it is not defined.
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


def type_figures(
    probabilities: np.ndarray, type_indices: np.ndarray, subjects: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Measure the choice between the three types.

    Args:
        probabilities: [N, 3], each row sums to 1.
        type_indices: int [N], the true type of each photo, all in 0..2.
        subjects: the subject of each photo.
        resamples: of the bootstrap.
    """
    chosen = probabilities.argmax(axis=1)
    of_truth = probabilities[np.arange(len(type_indices)), type_indices]
    labels = list(range(len(SCAR_TYPES)))

    def macro_f1(i: np.ndarray) -> float:
        # scikit-learn takes 0 here, its annotation says str
        score = metrics.f1_score(type_indices[i], chosen[i], average="macro", labels=labels, zero_division=0)  # pyright: ignore[reportArgumentType]
        return float(score)

    def kappa(i: np.ndarray) -> float:
        if len(np.union1d(type_indices[i], chosen[i])) < 2:
            return float("nan")
        return float(metrics.cohen_kappa_score(type_indices[i], chosen[i], labels=labels))

    def recall_mean(i: np.ndarray) -> float:
        recalls = [(chosen[i] == k)[type_indices[i] == k].mean() for k in np.unique(type_indices[i])]
        return float(np.mean(recalls))

    figures: Mapping[str, Callable[[np.ndarray], float]] = {
        "accuracy": lambda i: float((chosen[i] == type_indices[i]).mean()),
        "balanced_accuracy": recall_mean,
        "macro_f1": macro_f1,
        "kappa": kappa,
        "log_loss": lambda i: float(-np.log(np.maximum(of_truth[i], 1e-12)).mean()),
        "expected_calibration_error": lambda i: calibration_error(probabilities[i], type_indices[i]),
    }
    return {name: bootstrap(figure, subjects, resamples=resamples) for name, figure in figures.items()}


def calibration_error(probabilities: np.ndarray, type_indices: np.ndarray, *, bins: int = 10) -> float:
    """Return the expected calibration error of the top choice over bins of equal width (Naeini et al., AAAI 2015)."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == type_indices
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(right[bin_of == number].mean() - confidence[bin_of == number].mean()) * (bin_of == number).mean()
        for number in np.unique(bin_of)
    ]
    return float(np.sum(gaps))


def confusion(type_indices: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Count photos as int [3, 3]: rows are the true type, columns the chosen one, in the order of `SCAR_TYPES`."""
    return metrics.confusion_matrix(type_indices, chosen, labels=list(range(len(SCAR_TYPES))))


def scope_figures(
    scope: np.ndarray, kinds: Sequence[str], subjects: Sequence[str], *, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Measure, per kind of out-of-scope photo, the AUROC of the scope score against photos of the three types.

    Args:
        scope: [N], higher for photos that rather show one of the types.
        kinds: the kind of each photo: a scar type, or the name of an out-of-scope kind.
        subjects: the subject of each photo.
        resamples: of the bootstrap.
    """
    kind_array = np.asarray(kinds)
    shown: np.ndarray = np.isin(kind_array, SCAR_TYPES)
    result = {}
    for kind in sorted(set(kinds) - set(SCAR_TYPES)):
        chosen = np.flatnonzero(shown | (kind_array == kind))
        truth, score = shown[chosen], scope[chosen]
        who = [subjects[int(i)] for i in chosen]

        def area(i: np.ndarray, truth: np.ndarray = truth, score: np.ndarray = score) -> float:
            return float(metrics.roc_auc_score(truth[i], score[i])) if len(np.unique(truth[i])) == 2 else float("nan")

        result[kind] = bootstrap(area, who, resamples=resamples)
    return result
