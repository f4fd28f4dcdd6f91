"""Stratified folds that never part a subject, on scikit-learn's splitter."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from .errors import ScarlensError

_DEALS: Final = 50
_SEED_STEP: Final = 10_000  # users count seeds up from 0: their deals must not coincide


class SplitError(ScarlensError, ValueError):
    """The photos cannot be split as asked; the message says why."""


def grouped_folds(kinds: Sequence[str], subjects: Sequence[str], *, folds: int, seed: int) -> np.ndarray:
    """Deal photos into folds of similar mix, all photos of a subject into the same one.

    Args:
        kinds: the class of each photo, which the folds are balanced over.
        subjects: the subject of each photo.
        folds: number of folds, at least 2.
        seed: seed of the shuffle.

    Returns:
        The fold of each photo, int [N], 0 to folds - 1.

    Raises:
        SplitError: when some class would be missing from a fold.
    """
    kind_array, subject_array = np.asarray(kinds), np.asarray(subjects)
    for kind in np.unique(kind_array):
        count = len(np.unique(subject_array[kind_array == kind]))
        if count < folds:  # scikit-learn would leave the class out of a fold without a word
            raise SplitError(
                f'"{kind}" has {count} subjects; a split into {folds} parts needs {folds}: '
                "add photos, ask for fewer folds, or train with validation_fraction=0"
            )
    # One subject may bring photos of several classes, so that a deal can miss a class: then the photos are dealt again.
    for deal in range(_DEALS):
        fold_of_photo = _dealt(kind_array, subject_array, folds, seed + deal * _SEED_STEP)
        if all(set(kind_array[fold_of_photo == fold]) == set(kinds) for fold in range(folds)):
            return fold_of_photo
    raise SplitError(f"no deal of {_DEALS} put every class into each of {folds} folds: ask for fewer folds")


def _dealt(kinds: np.ndarray, subjects: np.ndarray, folds: int, seed: int) -> np.ndarray:
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    fold_of_photo = np.full(len(kinds), -1)
    for fold, (_, held_out) in enumerate(splitter.split(kinds, kinds, subjects)):
        fold_of_photo[held_out] = fold
    return fold_of_photo


def grouped_holdout(kinds: Sequence[str], subjects: Sequence[str], *, fraction: float, seed: int) -> np.ndarray:
    """Hold out about `fraction` of the photos, at most half: whole subjects only, all classes alike.

    Returns:
        bool [N], True for a held-out photo.

    Raises:
        SplitError: when a class has too few subjects.
    """
    return grouped_folds(kinds, subjects, folds=max(2, round(1 / fraction)), seed=seed) == 0
