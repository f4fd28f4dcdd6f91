"""Stratified folds that never part a subject, on scikit-learn's splitter."""

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from .errors import ScarlensError


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
        SplitError: when a class has fewer subjects than there are folds, so that a fold would miss it.
    """
    kind_array, subject_array = np.asarray(kinds), np.asarray(subjects)
    for kind in np.unique(kind_array):
        count = len(np.unique(subject_array[kind_array == kind]))
        if count < folds:  # scikit-learn would leave the class out of a fold without a word
            raise SplitError(
                f'"{kind}" has {count} subjects; {folds} folds need at least {folds}: add photos or ask for fewer folds'
            )
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    fold_of_photo = np.full(len(kind_array), -1)
    for fold, (_, held_out) in enumerate(splitter.split(kind_array, kind_array, subject_array)):
        fold_of_photo[held_out] = fold
    return fold_of_photo


def grouped_holdout(kinds: Sequence[str], subjects: Sequence[str], *, fraction: float, seed: int) -> np.ndarray:
    """Choose about `fraction` of the photos, whole subjects only and all classes alike, as a held-out part.

    Returns:
        bool [N], True for a held-out photo.

    Raises:
        SplitError: when a class has too few subjects.
    """
    return grouped_folds(kinds, subjects, folds=max(2, round(1 / fraction)), seed=seed) == 0
