"""Figures of merit: known answers by hand, and the same figures as scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as reference

from scarlens.training.measure.metrics import (
    Estimate,
    accuracy_at,
    accuracy_by_coverage,
    auroc,
    bootstrap,
    bootstrap_mean,
    calibration_error,
    calibration_error_by_chance,
    calibration_error_equal_mass,
    confusion,
    perfect_outcomes,
    reliability,
    risk_coverage_area,
    type_figures,
)


def sure(*confidences: float) -> np.ndarray:
    """Probabilities [N, 3] whose most probable type is the first."""
    return np.array([[c, (1 - c) / 2, (1 - c) / 2] for c in confidences])


def drawn(count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [N, 3] and types that follow them exactly."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([0.7, 0.7, 0.7], size=count)
    return probabilities, (random.random((count, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)


def test_calibration_error_by_hand() -> None:
    probabilities = sure(0.95, 0.95, 0.95, 0.95, 0.55, 0.55)
    types = np.array([0, 0, 0, 1, 0, 0])
    # Upper bin: 0.75 right at 0.95, four of six photos. Lower bin: all right at 0.55.
    assert calibration_error(probabilities, types) == pytest.approx((4 * 0.20 + 2 * 0.45) / 6)


def test_calibration_error_over_equal_numbers_by_hand() -> None:
    probabilities = sure(0.9, 0.4, 0.8, 0.5)
    types = np.array([0, 1, 1, 0])  # by confidence: wrong 0.4, right 0.5 | wrong 0.8, right 0.9
    error = calibration_error_equal_mass(probabilities, types, bins=2)
    assert error == pytest.approx((abs(1 - 0.9) + abs(1 - 1.7)) / 4)


def test_reliability_bins_by_hand() -> None:
    probabilities = sure(0.95, 0.97, 0.55)
    first, last = reliability(probabilities, np.array([0, 1, 0]), ["a", "b", "c"])
    assert (first["from"], first["to"], first["scores"], first["accuracy"]) == (0.5, 0.6, 1, 1.0)
    assert (last["from"], last["to"], last["scores"], last["accuracy"]) == (0.9, 1.0, 2, 0.5)
    assert last["confidence"] == pytest.approx(0.96)
    assert 0 <= last["chance_low"] <= last["chance_high"] == 1.0


def test_perfectly_calibrated_scores_err_as_by_chance_and_overconfident_ones_more() -> None:
    probabilities, types = drawn(150)
    names = [str(i) for i in range(150)]
    chance = calibration_error_by_chance(probabilities, names)
    assert chance.value is not None and chance.low is not None and chance.high is not None
    assert 0.03 < chance.value < 0.12  # a hundred photos: far from 0 although nothing is wrong
    assert chance.low < calibration_error(probabilities, types) < chance.high
    sharpened = probabilities**4 / (probabilities**4).sum(axis=1, keepdims=True)
    assert calibration_error(sharpened, types) > (calibration_error_by_chance(sharpened, names).high or 1)


def test_error_by_chance_shrinks_with_photos_and_not_with_repeats() -> None:
    probabilities, _ = drawn(100)
    names = [str(i) for i in range(100)]
    once = calibration_error_by_chance(probabilities, names, simulations=200).value or 0
    twice = calibration_error_by_chance(np.tile(probabilities, (2, 1)), names * 2, simulations=200).value or 0
    many = calibration_error_by_chance(drawn(2000)[0], [str(i) for i in range(2000)], simulations=200).value or 0
    assert twice == pytest.approx(once)
    assert many < once / 2


def test_perfect_outcomes_follow_the_probabilities() -> None:
    probabilities = np.array([[0.2, 0.5, 0.3]])
    types = np.concatenate(list(perfect_outcomes(probabilities, ["a"], simulations=5000)))
    np.testing.assert_allclose(np.bincount(types, minlength=3) / 5000, [0.2, 0.5, 0.3], atol=0.02)


def test_risk_coverage_by_hand() -> None:
    confidence = np.array([0.5, 0.9, 0.7, 0.6])
    right = np.array([False, True, True, False])
    np.testing.assert_allclose(accuracy_by_coverage(confidence, right), [1, 1, 2 / 3, 1 / 2])
    assert accuracy_at(0.5, confidence, right) == 1.0
    assert accuracy_at(0.8, confidence, right) == pytest.approx(2 / 3)
    assert risk_coverage_area(confidence, right) == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)


def test_answers_of_equal_confidence_come_in_no_order() -> None:
    right = np.array([True, False, False, True])
    np.testing.assert_allclose(accuracy_by_coverage(np.full(4, 0.6), right), [0.5, 0.5, 0.5, 0.5])


def test_figures_agree_with_scikit_learn() -> None:
    probabilities, types = drawn(300, seed=3)
    chosen = probabilities.argmax(axis=1)
    figures = type_figures(probabilities, types, [str(i) for i in range(300)], resamples=5)
    for name, expected in {
        "accuracy": reference.accuracy_score(types, chosen),
        "balanced_accuracy": reference.balanced_accuracy_score(types, chosen),
        "macro_f1": reference.f1_score(types, chosen, average="macro"),
        "kappa": reference.cohen_kappa_score(types, chosen),
        "log_loss": reference.log_loss(types, probabilities),
        "brier_score": ((probabilities - np.eye(3)[types]) ** 2).sum() / 300,
    }.items():
        assert figures[name].value == pytest.approx(expected), name
    np.testing.assert_array_equal(confusion(types, chosen), reference.confusion_matrix(types, chosen))


def test_auroc_agrees_with_scikit_learn_also_with_ties() -> None:
    random = np.random.default_rng(0)
    truth, score = random.random(200) < 0.3, random.integers(0, 6, 200).astype(float)
    assert auroc(truth, score) == pytest.approx(reference.roc_auc_score(truth, score))
    assert np.isnan(auroc(np.ones(3, dtype=bool), np.arange(3.0)))


def test_bootstrap_of_a_mean_is_the_bootstrap() -> None:
    random = np.random.default_rng(1)
    values, subjects = random.random(60), [str(i) for i in random.integers(0, 20, 60)]
    weights = random.random(60) < 0.5
    plain = bootstrap(lambda i: float(values[i].mean()), subjects)
    fast = bootstrap_mean(values, subjects)
    weighted = bootstrap(lambda i: float(values[i][weights[i]].mean()), subjects)
    fast_weighted = bootstrap_mean(values, subjects, weights=weights)
    for one, other in ((plain, fast), (weighted, fast_weighted)):
        assert one.value == pytest.approx(other.value)
        assert (one.low, one.high) == pytest.approx((other.low, other.high))


def test_mean_of_nothing_is_not_defined() -> None:
    nothing = bootstrap_mean(np.ones(3), ["a", "b", "c"], weights=np.zeros(3))
    assert nothing == Estimate(None, None, None)
    assert str(nothing) == "not defined"
