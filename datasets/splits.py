"""Stratified folds that never split a subject, built on scikit-learn."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from .errors import ScarlensError
from .photos import LabelledPhoto

_SHUFFLES: Final = 50
_NAMED: Final = 10  # split groups listed in a message
_SEED_STEP: Final = 10_000  # users try seeds 0, 1, 2...: their shuffles must not coincide


class SplitError(ScarlensError, ValueError):
    """The photos cannot be split as asked; the message says why."""


def grouped_folds(class_names: Sequence[str], subjects: Sequence[str], *, folds: int, seed: int) -> np.ndarray:
    """Shuffle photos into stratified folds. All photos of a subject go into the same fold.

    Args:
        class_names: the class of each photo; folds have similar shares of each.
        subjects: the subject of each photo.
        folds: number of folds, at least 2.
        seed: seed of the shuffle.

    Returns:
        The fold of each photo, int [N], 0 to folds - 1.

    Raises:
        SplitError: a class would be missing from a fold.
    """
    class_array, subject_array = np.asarray(class_names), np.asarray(subjects)
    for class_name in np.unique(class_array):
        count = len(np.unique(subject_array[class_array == class_name]))
        if count < folds:  # scikit-learn would leave the class out of a fold without a word
            raise SplitError(
                f'"{class_name}" has {count} subjects, but {folds} folds need at least {folds}: '
                "add photos, use fewer folds, or train with validation_fraction=0"
            )
    # A subject may have photos of several classes, so a shuffle can leave a fold without a class: then shuffle again.
    for number in range(_SHUFFLES):
        fold_of_photo = _shuffled(class_array, subject_array, folds, seed + number * _SEED_STEP)
        if all(set(class_array[fold_of_photo == fold]) == set(class_names) for fold in range(folds)):
            return fold_of_photo
    raise SplitError(f"none of {_SHUFFLES} shuffles puts every class into each of {folds} folds: use fewer folds")


def refuse_parted(photos: Sequence[LabelledPhoto], parts: Sequence[int] | np.ndarray) -> None:
    """Refuse a split that separates near-duplicates.

    Args:
        photos: photos that `photos.readable_photos` has compared; others cannot be checked.
        parts: the split that each photo belongs to.

    Raises:
        SplitError: near-duplicates are in different splits; the message names them.
    """
    seen: dict[int, tuple[LabelledPhoto, int]] = {}
    parted: dict[int, str] = {}
    for photo, part in zip(photos, parts, strict=True):
        if photo.duplicate_group is not None:
            first, its_part = seen.setdefault(photo.duplicate_group, (photo, int(part)))
            if its_part != part:
                names = f"{first.path} (subject {first.subject}) and {photo.path} (subject {photo.subject})"
                parted.setdefault(photo.duplicate_group, names)
    if parted:
        shown = "; ".join(list(parted.values())[:_NAMED])
        more = f"; and {len(parted) - _NAMED} more" if len(parted) > _NAMED else ""
        raise SplitError(
            f"the split separates {len(parted)} groups of near-duplicates, so pictures would be both trained on and "
            f"evaluated: {shown}{more}. Give each group one subject in the manifest, or use --copies merge; "
            "--copies allow accepts inflated figures. `scarlens audit` shows them side by side"
        )


def _shuffled(class_names: np.ndarray, subjects: np.ndarray, folds: int, seed: int) -> np.ndarray:
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    fold_of_photo = np.full(len(class_names), -1)
    for fold, (_, held_out) in enumerate(splitter.split(class_names, class_names, subjects)):
        fold_of_photo[held_out] = fold
    return fold_of_photo


def grouped_holdout(class_names: Sequence[str], subjects: Sequence[str], *, fraction: float, seed: int) -> np.ndarray:
    """Hold out about `fraction` of the photos, at most half: whole subjects only, all classes alike.

    Returns:
        bool [N], True for a held-out photo.

    Raises:
        SplitError: a class has too few subjects.
    """
    return grouped_folds(class_names, subjects, folds=max(2, round(1 / fraction)), seed=seed) == 0
