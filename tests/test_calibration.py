"""Calibration: probabilities that mean what they say, sets that hold the truth, and when nothing may be refused."""

import dataclasses

import numpy as np
import pytest
from crepes import ConformalClassifier

from scarlens.datasets.labels import SCAR_TYPES
from scarlens.model.calibration import (
    COVERAGE,
    FALSE_REFUSALS,
    MAX_QUALITY_REFUSALS,
    Calibration,
    fit_calibration,
    fit_repeatability,
    least_judgeable,
    sigmoid,
    softmax,
)


def drawn(
    count: int, *, seed: int, temperature: float = 1.0, prior: tuple[float, ...] = (0.5, 0.3, 0.2)
) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits [N, 3] and types that follow softmax(logits / temperature) exactly."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=1.5, size=(count, 3)) + np.log(prior)
    chances = softmax(logits)
    types = (random.random((count, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    return logits * temperature, types


def fitted(type_logits: np.ndarray, type_indices: np.ndarray) -> Calibration:
    return fit_calibration(
        type_logits=type_logits,
        scope_logits=np.zeros(len(type_indices)),
        type_indices=type_indices,
        in_scope=np.ones(len(type_indices), dtype=bool),
        fitted_on="photos made in a test",
    )


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 6.0])
def test_temperature_is_recovered(temperature: float) -> None:
    calibration = fitted(*drawn(40_000, seed=1, temperature=temperature))
    assert calibration.temperature == pytest.approx(temperature, rel=0.06)


def test_few_photos_leave_the_temperature_near_one_and_lose_less_for_it() -> None:
    losses: list[list[float]] = []
    for seed in range(60):
        calibration = fitted(*drawn(84, seed=seed))
        assert 0.75 < calibration.temperature < 1.33
        logits, types = drawn(2000, seed=1000 + seed)
        chances = [calibration.probabilities(logits), Calibration().probabilities(logits)]
        losses.append([float(-np.log(chance[np.arange(2000), types]).mean()) for chance in chances])
    fitted_loss, raw_loss = np.mean(losses, axis=0)
    assert fitted_loss < raw_loss + 0.001  # logits that need no temperature


def test_temperature_makes_confidence_equal_accuracy() -> None:
    calibration = fitted(*drawn(4000, seed=1, temperature=5.0))
    logits, types = drawn(4000, seed=2, temperature=5.0)
    raw, mended = Calibration().probabilities(logits), calibration.probabilities(logits)
    right = (logits.argmax(axis=1) == types).mean()
    assert raw.max(axis=1).mean() > right + 0.15
    assert mended.max(axis=1).mean() == pytest.approx(right, abs=0.03)


def test_temperature_does_not_change_the_order() -> None:
    logits, _ = drawn(200, seed=3)
    raw, mended = Calibration().probabilities(logits), Calibration(temperature=3.0).probabilities(logits)
    assert np.array_equal(raw.argsort(axis=1), mended.argsort(axis=1))
    assert (mended.max(axis=1) < raw.max(axis=1)).all()


def test_a_separable_set_gives_a_finite_calibration() -> None:
    types = np.arange(30) % 3
    calibration = fitted(np.eye(3)[types] * 20.0, types)
    assert np.isfinite(calibration.temperature)
    assert calibration.probabilities(np.array([20.0, 0.0, 0.0])).argmax() == 0


@pytest.mark.parametrize("shape", [(3,), (7, 3), (2, 5, 3)])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e-6])
def test_probabilities_sum_to_one(shape: tuple[int, ...], scale: float) -> None:
    logits = np.random.default_rng(0).normal(size=shape).astype(np.float32) * np.float32(scale)
    probabilities = Calibration(temperature=0.7).probabilities(logits)
    assert probabilities.shape == shape
    assert np.allclose(probabilities.sum(axis=-1), 1.0, atol=1e-12)
    assert (probabilities >= 0).all()


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
    assert sigmoid(np.array(np.log(3.0))) == pytest.approx(0.75)


# Scope


def scoped(*, seed: int, count: int = 3000, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Draw scope logits around 3 for photos of the three types and around 1 for others, and the types."""
    random = np.random.default_rng(seed)
    types = np.where(random.random(count) < share, random.integers(3, size=count), -1)
    return np.where(types >= 0, 3.0, 1.0) + random.normal(size=count), types


def scope_fitted(scope_logits: np.ndarray, type_indices: np.ndarray) -> Calibration:
    type_logits = np.random.default_rng(5).normal(size=(len(type_indices), 3))
    return fit_calibration(
        type_logits=type_logits,
        scope_logits=scope_logits,
        type_indices=type_indices,
        in_scope=type_indices >= 0,
        fitted_on="a test",
    )


def test_platt_scaling_is_recovered() -> None:
    # Two normal distributions of variance 1 around 1 and 3: the log-odds are 2 * (x - 2) exactly.
    calibration = scope_fitted(*scoped(seed=1))
    assert calibration.scope_slope == pytest.approx(2.0, rel=0.1)
    assert calibration.scope_offset == pytest.approx(-4.0, rel=0.1)
    assert calibration.in_scope(np.array([2.0])) == pytest.approx(0.5, abs=0.05)


def test_both_sides_of_the_scope_weigh_the_same() -> None:
    rare = scope_fitted(*scoped(seed=2, count=8000, share=0.9))
    assert rare.in_scope(np.array([2.0])) == pytest.approx(0.5, abs=0.08)


def test_a_higher_scope_logit_never_lowers_the_probability() -> None:
    logits, types = scoped(seed=3)
    backwards = scope_fitted(-logits, types)
    chances = backwards.in_scope(np.linspace(-5, 5, 50))
    assert (np.diff(chances) > 0).all()


def test_few_photos_of_the_three_types_are_refused() -> None:
    calibration = scope_fitted(*scoped(seed=4))
    logits, types = scoped(seed=5, count=20000)
    refused = calibration.in_scope(logits) < calibration.scope_threshold
    assert refused[types >= 0].mean() == pytest.approx(FALSE_REFUSALS, abs=0.015)
    assert refused[types < 0].mean() > 0.5


@pytest.mark.parametrize(("count", "refuses"), [(8, False), (9, True), (60, True)])
def test_too_few_photos_of_the_three_types_refuse_nothing(count: int, refuses: bool) -> None:
    # The lowest of 8 scores already refuses one photo in 9.
    types = np.array([*[-1] * count, *(number % 3 for number in range(count))])
    calibration = scope_fitted(np.linspace(-1, 3, 2 * count), types)
    assert (calibration.scope_threshold > 0.0) is refuses


def test_without_out_of_scope_photos_nothing_is_refused() -> None:
    logits, types = scoped(seed=6, share=1.0)
    calibration = scope_fitted(logits, types)
    assert calibration.scope_threshold == 0.0
    assert (calibration.scope_slope, calibration.scope_offset) == (1.0, 0.0)
    assert not (calibration.in_scope(np.array([-1e4, -50.0, 0.0])) < calibration.scope_threshold).any()


def test_out_of_scope_photos_do_not_touch_the_types() -> None:
    logits, types = drawn(600, seed=7)
    alone = fitted(logits, types)
    odd = np.full((300, 3), (50.0, -50.0, 0.0))
    both = fitted(np.concatenate([logits, odd]), np.concatenate([types, np.full(300, -1)]))
    assert both.temperature == alone.temperature
    assert both.plausible_thresholds == alone.plausible_thresholds


# Plausible sets


def test_plausible_sets_hold_the_true_type_as_often_as_promised() -> None:
    held: list[np.ndarray] = []
    for seed in range(60):
        logits, types = drawn(1100, seed=100 + seed)
        calibration = fitted(logits[:300], types[:300])
        probabilities = calibration.probabilities(logits[300:])
        sets = [calibration.plausible(row) for row in probabilities]
        inside = np.array([SCAR_TYPES[i] in names for i, names in zip(types[300:], sets, strict=True)])
        held.append(np.array([inside[types[300:] == i].mean() for i in range(3)]))
    for share in np.mean(held, axis=0):
        assert 0.88 <= share <= 0.93


def test_thresholds_alone_have_the_coverage_of_each_type() -> None:
    # Without the rule that the best type always belongs: the guarantee itself, tight from both sides.
    held: list[list[float]] = []
    for seed in range(200):
        logits, types = drawn(700, seed=500 + seed)
        calibration = fitted(logits[:300], types[:300])
        true = calibration.probabilities(logits[300:])[np.arange(400), types[300:]]
        kept = true >= np.array(calibration.plausible_thresholds)[types[300:]]
        held.append([float(kept[types[300:] == i].mean()) for i in range(3)])
    for index, share in enumerate(np.mean(held, axis=0)):
        assert COVERAGE - 0.01 <= share <= COVERAGE + 0.025, SCAR_TYPES[index]


@pytest.mark.parametrize(("count", "everything"), [(1, True), (8, True), (9, False), (30, False)])
def test_with_too_few_photos_of_a_type_it_is_always_plausible(count: int, everything: bool) -> None:
    # ceil((n + 1) * 0.9) exceeds n below 9 photos: no threshold could promise 90 %.
    logits, types = drawn(3000, seed=8)
    chosen = np.concatenate([np.flatnonzero(types == 0)[:200], np.flatnonzero(types == 1)[:200]])
    chosen = np.concatenate([chosen, np.flatnonzero(types == 2)[:count]])
    thresholds = fitted(logits[chosen], types[chosen]).plausible_thresholds
    assert (thresholds[2] == 0.0) is everything
    assert min(thresholds[:2]) > 0.0


def test_thresholds_are_those_of_a_library_for_conformal_prediction() -> None:
    # 89 photos a type: (89 + 1) * 0.9 is a whole number, so that nothing is interpolated.
    logits, types = drawn(3000, seed=11)
    chosen = np.concatenate([np.flatnonzero(types == index)[:89] for index in range(3)])
    others = np.setdiff1d(np.arange(3000), chosen)
    calibration = fitted(logits[chosen], types[chosen])
    scores = 1.0 - calibration.probabilities(logits)
    reference = ConformalClassifier()
    reference.fit(scores[chosen, types[chosen]], bins=types[chosen])
    almost = COVERAGE - 1e-9  # the library keeps a p-value of exactly 0.1, the definition asks for more than 0.1
    for index in range(3):
        bins = np.full(len(others), index)
        expected = np.asarray(
            reference.predict_set(scores[others][:, [index]], bins=bins, confidence=almost, smoothing=False)
        )
        found = 1.0 - scores[others, index] >= calibration.plausible_thresholds[index]
        assert np.array_equal(found, expected[:, 0].astype(bool))


@pytest.mark.parametrize("photos", [20, 28, 35, 60])
def test_coverage_is_neither_below_nor_far_above_its_aim_with_few_photos(photos: int) -> None:
    held: list[float] = []
    for seed in range(150):
        logits, types = drawn(1500, seed=2000 + seed)
        chosen = np.concatenate([np.flatnonzero(types == index)[:photos] for index in range(3)])
        others = np.setdiff1d(np.arange(1500), chosen)
        calibration = fitted(logits[chosen], types[chosen])
        true = calibration.probabilities(logits[others])[np.arange(len(others)), types[others]]
        held.append(float((true >= np.array(calibration.plausible_thresholds)[types[others]]).mean()))
    assert np.mean(held) == pytest.approx(COVERAGE, abs=0.012)


def test_plausible_sets_are_never_empty_and_ordered() -> None:
    strict = Calibration(plausible_thresholds=(0.99, 0.99, 0.99))
    loose = Calibration()
    for probabilities in np.random.default_rng(9).dirichlet((1, 1, 1), size=100):
        best = SCAR_TYPES[int(probabilities.argmax())]
        assert strict.plausible(probabilities)[0] == best
        found = loose.plausible(probabilities)
        assert sorted(found) == sorted(SCAR_TYPES)
        assert found[0] == best
        assert np.all(np.diff([probabilities[SCAR_TYPES.index(name)] for name in found]) <= 0)


def test_each_type_has_its_own_threshold() -> None:
    calibration = Calibration(plausible_thresholds=(0.5, 0.3, 0.1))
    assert calibration.plausible(np.array([0.49, 0.29, 0.22])) == ("ice_pick", "rolling")
    assert calibration.plausible(np.array([0.2, 0.7, 0.1])) == ("boxcar", "rolling")
    assert calibration.plausible(np.array([0.05, 0.86, 0.09])) == ("boxcar",)


# Quality


def spoilt(*, worst: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sharpness, right and unchanged of 200 photos and four ever poorer copies of each."""
    random = np.random.default_rng(3)
    sharpness = np.concatenate([random.normal(centre, 0.3, 200) for centre in (5, 4, 3, 2, 1)])
    share = np.interp(sharpness, [1, 5], [worst, 0.9])
    return sharpness, random.random(1000) < share, np.arange(1000) < 200


def test_a_photo_is_too_poor_where_answers_are_wrong_more_often_than_right() -> None:
    sharpness, right, unchanged = spoilt(worst=0.1)
    threshold = least_judgeable(sharpness, right, unchanged)
    assert 2.3 < threshold < 3.7  # half the answers are right at 3
    assert (sharpness[unchanged] < threshold).mean() <= MAX_QUALITY_REFUSALS


def test_nothing_is_too_poor_where_answers_stay_right() -> None:
    sharpness, right, unchanged = spoilt(worst=0.75)
    assert least_judgeable(sharpness, right, unchanged) < sharpness.min() + 0.1
    assert least_judgeable(sharpness, np.ones_like(right), unchanged) == 0.0
    assert least_judgeable(sharpness, sharpness < 3, unchanged) == 0.0  # better when blurred: blur is not to blame


def test_few_photos_are_refused_for_quality_whatever_the_answers() -> None:
    sharpness, right, unchanged = spoilt(worst=0.1)
    threshold = least_judgeable(sharpness, np.zeros_like(right), unchanged)
    assert 0.0 < (sharpness[unchanged] < threshold).mean() <= MAX_QUALITY_REFUSALS


def test_judgeable_needs_both_light_and_sharpness() -> None:
    calibration = Calibration(min_brightness=30.0, min_sharpness=0.1)
    found = calibration.judgeable(np.array([29.0, 30.0, 99.0]), np.array([0.5, 0.1, 0.09]))
    assert found.tolist() == [False, True, False]
    assert bool(Calibration().judgeable(0.0, 0.0))


# The record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "positive"),
        ({"temperature": -1.0}, "positive"),
        ({"temperature": float("nan")}, "finite"),
        ({"scope_slope": 0.0}, "positive"),
        ({"scope_offset": float("inf")}, "finite"),
        ({"scope_threshold": float("nan")}, "finite"),
        ({"answer_threshold": float("-inf")}, "finite"),
        ({"min_sharpness": float("nan")}, "finite"),
        ({"plausible_thresholds": (0.1, 0.2)}, "expected 3 plausible_thresholds, got 2"),
        ({"plausible_thresholds": (0.1, 0.2, float("nan"))}, "finite"),
    ],
)
def test_numbers_that_are_no_calibration_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Calibration(**change)


def test_a_calibration_cannot_be_changed_and_says_where_it_comes_from() -> None:
    calibration = fitted(*drawn(100, seed=1))
    assert calibration.fitted_on == "photos made in a test"
    with pytest.raises(dataclasses.FrozenInstanceError):
        calibration.temperature = 2.0  # type: ignore[misc]


def test_a_quality_limit_refuses_hardly_any_photo_as_it_is() -> None:
    quality = np.linspace(1.0, 100.0, 200)
    limit = least_judgeable(quality, quality > 50.0, np.ones(200, bool))
    assert 0.0 < (quality < limit).mean() <= MAX_QUALITY_REFUSALS + 1 / 200


def test_in_95_percent_of_unchanged_pairs_no_limit_is_exceeded() -> None:
    changes = np.abs(np.random.default_rng(7).normal(size=(4000, 4))) * [0.01, 0.05, 0.1, 0.2]
    limits = np.array(fit_repeatability(changes))
    assert (changes > limits).any(axis=1).mean() == pytest.approx(0.05, abs=0.002)
    assert limits / limits[0] == pytest.approx([1, 5, 10, 20], rel=0.1)  # in proportion to the spreads
