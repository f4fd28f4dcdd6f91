"""Folds: no subject parted, no class missing, the same again for the same seed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from scarlens.datasets.photos import LabelledPhoto
from scarlens.datasets.splits import SplitError, grouped_folds, grouped_holdout, refuse_parted


def one_photo_each() -> tuple[list[str], list[str]]:
    kinds = ["ice_pick"] * 40 + ["boxcar"] * 25 + ["rolling"] * 30
    return kinds, [f"s{i}" for i in range(len(kinds))]


def many_photos_each() -> tuple[list[str], list[str]]:
    random = np.random.default_rng(1)
    kinds, subjects = [], []
    for kind in ("ice_pick", "boxcar", "rolling", "keloid"):
        for number in range(12):
            count = int(random.integers(1, 7))
            kinds += [kind] * count
            subjects += [f"{kind} {number}"] * count
    return kinds, subjects


def several_types_each() -> tuple[list[str], list[str]]:
    random = np.random.default_rng(2)
    subjects = [f"person {number}" for number in range(30) for _ in range(5)]
    return [str(kind) for kind in random.choice(["ice_pick", "boxcar", "rolling"], size=len(subjects))], subjects


def one_large_subject() -> tuple[list[str], list[str]]:
    kinds, subjects = one_photo_each()
    return kinds + ["boxcar"] * 30, subjects + ["large"] * 30


STRUCTURES = [one_photo_each, many_photos_each, several_types_each, one_large_subject]
SEEDS = range(6)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("folds", [2, 5])
def test_no_subject_is_split_and_every_photo_has_a_fold(
    structure: Callable[[], tuple[list[str], list[str]]], seed: int, folds: int
) -> None:
    kinds, subjects = structure()
    fold = grouped_folds(kinds, subjects, folds=folds, seed=seed)
    assert fold.shape == (len(kinds),)
    assert set(fold.tolist()) == set(range(folds))
    for subject in set(subjects):
        assert len(set(fold[np.array(subjects) == subject].tolist())) == 1


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("folds", [2, 5])
def test_every_class_is_in_every_fold(
    structure: Callable[[], tuple[list[str], list[str]]], seed: int, folds: int
) -> None:
    kinds, subjects = structure()
    fold = grouped_folds(kinds, subjects, folds=folds, seed=seed)
    for number in range(folds):
        assert set(np.array(kinds)[fold == number].tolist()) == set(kinds)


@pytest.mark.parametrize("seed", range(20))
def test_every_class_is_in_every_fold_when_subjects_are_just_enough(seed: int) -> None:
    # As many subjects as folds: the error promises that fewer are refused, so that these must do.
    kinds = ["ice_pick"] * 20 + ["boxcar"] * 5 + ["rolling"] * 9
    subjects = [f"a{i // 2}" for i in range(20)] + [f"b{i}" for i in range(5)] + [f"c{i % 5}" for i in range(9)]
    fold = grouped_folds(kinds, subjects, folds=5, seed=seed)
    for number in range(5):
        assert set(np.array(kinds)[fold == number].tolist()) == set(kinds)


@pytest.mark.parametrize("seed", range(20))
def test_no_fold_misses_a_class_without_a_word_when_people_have_several_types(seed: int) -> None:
    # Most people with acne scars have more than one type. scikit-learn drops a class from a fold without a word.
    random = np.random.default_rng(seed)
    kinds, subjects = [], []
    for kind in ("ice_pick", "boxcar", "rolling"):
        for person in range(int(random.integers(5, 11))):
            count = int(random.choice([1, 2, 3, 10]))
            kinds += [kind] * count
            subjects += [f"person {person}"] * count
    try:
        fold = grouped_folds(kinds, subjects, folds=5, seed=0)
    except SplitError:
        return
    for number in range(5):
        assert set(np.array(kinds)[fold == number].tolist()) == set(kinds)


def test_folds_have_about_the_same_mix() -> None:
    kinds, subjects = one_photo_each()
    fold = grouped_folds(kinds, subjects, folds=5, seed=0)
    for kind in set(kinds):
        counts = np.bincount(fold[np.array(kinds) == kind], minlength=5)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_seed_decides(structure: Callable[[], tuple[list[str], list[str]]]) -> None:
    kinds, subjects = structure()
    first, again, other = (grouped_folds(kinds, subjects, folds=5, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_too_few_subjects_name_the_class() -> None:
    kinds = ["ice_pick"] * 10 + ["rolling"] * 10
    subjects = [f"s{i}" for i in range(10)] + [f"t{i % 3}" for i in range(10)]  # ten photos, three people
    with pytest.raises(SplitError, match=r'"rolling" has 3 subjects, but 5 folds need at least 5'):
        grouped_folds(kinds, subjects, folds=5, seed=0)
    assert len(grouped_folds(kinds, subjects, folds=3, seed=0)) == 20


@pytest.mark.parametrize("structure", STRUCTURES[:3])
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_holdout_is_about_the_fraction_asked_for(
    structure: Callable[[], tuple[list[str], list[str]]], fraction: float
) -> None:
    kinds, subjects = structure()
    for seed in SEEDS:
        apart = grouped_holdout(kinds, subjects, fraction=fraction, seed=seed)
        assert apart.dtype == bool
        assert apart.mean() == pytest.approx(fraction, abs=0.06)
        assert not set(np.array(subjects)[apart].tolist()) & set(np.array(subjects)[~apart].tolist())
        assert set(np.array(kinds)[apart].tolist()) == set(kinds)
        assert set(np.array(kinds)[~apart].tolist()) == set(kinds)


def test_holdout_repeats_and_names_the_class_that_is_too_small() -> None:
    kinds, subjects = one_photo_each()
    first, again, other = (grouped_holdout(kinds, subjects, fraction=0.2, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    with pytest.raises(SplitError, match='"keloid" has 1 subjects'):
        grouped_holdout([*kinds, "keloid"], [*subjects, "one"], fraction=0.2, seed=0)


# Copies


def compared(*copies: int | None) -> list[LabelledPhoto]:
    return [
        LabelledPhoto(Path(f"{number}.png"), "boxcar", "boxcar", f"s{number}", duplicate_group=group)
        for number, group in enumerate(copies)
    ]


def test_a_split_that_separates_near_duplicates_is_refused_and_names_them() -> None:
    with pytest.raises(SplitError) as refusal:
        refuse_parted(compared(0, 1, 0, 2, 1), [0, 0, 1, 1, 0])
    message = str(refusal.value)
    assert "separates 1 groups" in message
    assert "0.png (subject s0) and 2.png (subject s2)" in message
    assert "1.png" not in message and "--copies merge" in message


def test_near_duplicates_on_one_side_and_uncompared_photos_are_fine() -> None:
    refuse_parted(compared(0, 0, 1, 2), [1, 1, 0, 1])
    refuse_parted(compared(None, None), [0, 1])


def test_only_some_of_many_separated_groups_are_named() -> None:
    groups = [*range(30), *range(30)]
    with pytest.raises(SplitError, match="separates 30 groups") as refusal:
        refuse_parted(compared(*groups), [0] * 30 + [1] * 30)
    assert "and 20 more" in str(refusal.value)
