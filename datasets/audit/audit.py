"""The audit of labelled photos: find what would spoil training or inflate its figures, before training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from ..errors import printable
from ..labels import DISPLAY_NAMES, SCAR_TYPES
from ..photos import LabelledPhoto, each_readable, with_subjects
from ..reading.reader import ImageReadError
from ..splits import SplitError
from ..transform import frame
from .near_duplicates import Fingerprint, LookAlike, find_look_alikes, fingerprint, linked_groups
from .shortcuts import (
    CONTENT_FAMILIES,
    MIN_SUBJECTS,
    Row,
    ShortcutTest,
    file_features,
    picture_features,
    shortcut_test,
)

SHORTCUT_P: Final = 0.01
"""A shortcut counts if chance alone would reach its accuracy at most this often,"""

SHORTCUT_GAIN: Final = 0.1
"""and if it gains at least this much balanced accuracy: with many photos, even tiny effects are significant."""

_FRAMED_SIDE: Final = 224  # pixels, of the square in which the shipped network sees a photo
_DIGITS: Final = 4


@dataclass(frozen=True)
class Audit:
    """What was found among labelled photos.

    Attributes:
        photos: the readable photos, which the indices of look-alikes refer to, with the source's subjects.
        unreadable: errors of the other photos.
        look_alikes: pairs that show the same picture, and pairs that deserve a look.
        shortcuts: how well classes can be told apart without looking at skin. "types" and "classes" (all classes) use
            the files; "framed types" and "framed classes" use what remains in the network's square
            (`transform.frame`). A test with too few subjects is missing.
    """

    photos: tuple[LabelledPhoto, ...]
    unreadable: tuple[ImageReadError, ...]
    look_alikes: tuple[LookAlike, ...]
    shortcuts: dict[str, ShortcutTest]

    @property
    def copies(self) -> list[LookAlike]:
        """Pairs of near-duplicates."""
        return [pair for pair in self.look_alikes if pair.copy]

    @property
    def contradictions(self) -> list[LookAlike]:
        """Near-duplicates of different classes."""
        return [
            pair for pair in self.copies if self.photos[pair.first].class_name != self.photos[pair.second].class_name
        ]

    @property
    def leaks(self) -> list[LookAlike]:
        """Near-duplicates that a split may separate, because their group has several subjects."""
        parted = {number for group in self.groups if len(self._names(group)) > 1 for number in group}
        return [pair for pair in self.copies if pair.first in parted and not self._one_name(pair)]

    @property
    def candidates(self) -> list[LookAlike]:
        """Pairs that may show one person but have different subjects."""
        return [pair for pair in self.look_alikes if not pair.copy and not self._one_name(pair)]

    @property
    def groups(self) -> list[list[int]]:
        """Groups of near-duplicates as indices, the largest group first."""
        return _groups(len(self.photos), self.copies)

    @property
    def subjects(self) -> list[str]:
        """The subject of each photo after near-duplicates are joined, as a split should use it."""
        return [photo.subject or "" for photo in _joined(self.photos, self.look_alikes)]

    @property
    def verdict(self) -> list[str]:
        """Reasons not to train yet, one sentence each; empty if there are none."""
        return [*self._label_reasons(), *self._subject_reasons(), *self._shortcut_reasons()]

    @property
    def warnings(self) -> list[str]:
        """What the user should know before training, one sentence each."""
        return list(self._warnings())

    def _names(self, numbers: Sequence[int]) -> set[str]:
        return {subject for number in numbers if (subject := self.photos[number].subject)}

    def _one_name(self, pair: LookAlike) -> bool:
        first, second = self.photos[pair.first].subject, self.photos[pair.second].subject
        return first is not None and first == second

    def _label_reasons(self) -> Iterator[str]:
        against = [pair for pair in self.contradictions if self._labels_differ(pair)]
        if against:
            yield f"{_count(against, 'pair')} of near-duplicates with different labels: decide which label is right."
        if self.leaks:
            yield (
                f"{_count(self.leaks, 'pair')} of near-duplicates with different subjects, so a photo may be trained "
                "on and evaluated: give them one subject in the manifest, or remove one."
            )

    def _labels_differ(self, pair: LookAlike) -> bool:
        return self.photos[pair.first].label != self.photos[pair.second].label

    def _subject_reasons(self) -> Iterator[str]:
        of_type = {name: set[str]() for name in SCAR_TYPES}
        for photo, subject in zip(self.photos, self.subjects, strict=True):
            of_type.get(photo.label, set()).add(subject)
        for name, subjects in of_type.items():
            if len(subjects) < MIN_SUBJECTS:
                yield (
                    f"{_count(subjects, 'subject')} of {DISPLAY_NAMES[name]}: five folds that never split a subject "
                    f"need {MIN_SUBJECTS}."
                )

    def _shortcut_reasons(self) -> Iterator[str]:
        test = self.shortcuts.get("types")
        if test and is_shortcut(test):
            yield f"The scar type can be guessed without seeing skin: {_how_well(test)}."

    def _warnings(self) -> Iterator[str]:
        if self.unreadable:
            yield f"{_count(self.unreadable, 'file')} cannot be read and would be left out."
        if harmless := [pair for pair in self.contradictions if not self._labels_differ(pair)]:
            yield f"{_count(harmless, 'pair')} of near-duplicates in different out-of-scope folders."
        if self.candidates:
            yield f"{_count(self.candidates, 'pair')} may show one person: check them."
        class_names = self.shortcuts.get("classes")
        if class_names and is_shortcut(class_names):
            yield (
                f"All classes can be guessed without seeing skin: {_how_well(class_names)}. "
                "The scope score may learn where a photo came from."
            )

    def summary_lines(self) -> list[str]:
        """Return the verdict and the counts, one line each."""
        verdict = "Do not train yet." if self.verdict else "Nothing found that should stop training."
        counts = (
            f"{_count(self.photos, 'readable photo')} of {_count(set(self.subjects), 'subject')}, "
            f"{len(self.unreadable)} unreadable; {_count(self.copies, 'pair')} of near-duplicates, "
            f"{len(self.contradictions)} with different classes, {len(self.leaks)} with different subjects"
        )
        return [counts, verdict, *(f"- {reason}" for reason in self.verdict), *(f"- note: {n}" for n in self.warnings)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; files are named as in the source."""
        class_names = Counter(printable(photo.class_name) for photo in self.photos)
        contradictions, leaks = set(self.contradictions), set(self.leaks)
        return {
            "version": version("scarlens"),
            "verdict": self.verdict,
            "warnings": self.warnings,
            "photos": {"readable": len(self.photos), "subjects": len(set(self.subjects)), "classes": dict(class_names)},
            "unreadable": [{"file": printable(error.name), "error": str(error)} for error in self.unreadable],
            "look_alikes": [
                {**self._pair_to_dict(pair), "contradiction": pair in contradictions, "leak": pair in leaks}
                for pair in self.look_alikes
            ],
            "groups": [[printable(str(self.photos[i].path)) for i in group] for group in self.groups],
            "shortcuts": {
                name: {**_rounded(asdict(test)), "is_shortcut": is_shortcut(test)}
                for name, test in self.shortcuts.items()
            },
        }

    def _pair_to_dict(self, pair: LookAlike) -> dict[str, Any]:
        first, second = self.photos[pair.first], self.photos[pair.second]
        return {
            "files": [printable(str(photo.path)) for photo in (first, second)],
            "classes": [printable(first.class_name), printable(second.class_name)],
            "subjects": [first.subject, second.subject],
            "how": pair.how,
            "copy": pair.copy,
            "mirrored": pair.mirrored,
            "agreement": round(pair.agreement, _DIGITS),
            "points": pair.points,
        }


def audit(photos: Sequence[LabelledPhoto], *, advance: Callable[[], None] = lambda: None) -> Audit:
    """Find near-duplicates, contradictory labels, leaks between subjects and shortcuts among labelled photos.

    Each file is read once. No picture is kept in memory.

    Args:
        photos: what `load_photos` lists.
        advance: called twice per photo, for a progress bar.
    """
    good: list[LabelledPhoto] = []
    prints: list[Fingerprint] = []
    rows: list[Row] = []
    framed: list[Row] = []
    errors: list[ImageReadError] = []
    for photo, data, image in each_readable(photos, errors, advance=advance):
        good.append(photo)
        prints.append(fingerprint(data, image))
        rows.append({**file_features(data, image), **picture_features(image)})
        framed.append(picture_features(frame(image, _FRAMED_SIDE).square))
    pairs = find_look_alikes(prints, advance=advance)
    joined = _joined(good, pairs)
    return Audit(
        photos=tuple(good),
        unreadable=tuple(errors),
        look_alikes=tuple(pairs),
        shortcuts={**dict(_shortcuts(joined, rows)), **{f"framed {n}": t for n, t in _shortcuts(joined, framed)}},
    )


def _joined(photos: Sequence[LabelledPhoto], pairs: Sequence[LookAlike]) -> list[LabelledPhoto]:
    """Give near-duplicates one subject."""
    return with_subjects(photos, linked_groups(len(photos), [(pair.first, pair.second) for pair in pairs if pair.copy]))


def _groups(count: int, pairs: Sequence[LookAlike]) -> list[list[int]]:
    group_of = linked_groups(count, [(pair.first, pair.second) for pair in pairs])
    groups = [np.flatnonzero(group_of == group).tolist() for group in np.flatnonzero(np.bincount(group_of) > 1)]
    return sorted(groups, key=len, reverse=True)


def _shortcuts(photos: Sequence[LabelledPhoto], rows: Sequence[Row]) -> Iterator[tuple[str, ShortcutTest]]:
    """Test the three types, and all classes if there are others. Skip classes with too few subjects."""
    sets = {"types": [i for i, photo in enumerate(photos) if photo.label in SCAR_TYPES]}
    if len(sets["types"]) < len(photos):
        sets["classes"] = list(range(len(photos)))
    for name, chosen in sets.items():
        subjects = Counter(class_name for class_name, _ in {(photos[i].class_name, photos[i].subject) for i in chosen})
        chosen = [i for i in chosen if subjects[photos[i].class_name] >= MIN_SUBJECTS]
        class_names = [printable(photos[i].class_name) for i in chosen]
        if len(set(class_names)) < 2:
            continue
        try:
            yield name, shortcut_test([rows[i] for i in chosen], class_names, [photos[i].subject or "" for i in chosen])
        except SplitError:  # subjects of several class_names can leave too few for each fold
            continue


def is_shortcut(test: ShortcutTest) -> bool:
    """Return whether features that show no skin tell the classes apart better than chance, by enough to matter."""
    return test.bare.p <= SHORTCUT_P and test.bare.balanced_accuracy >= test.chance + SHORTCUT_GAIN


def _how_well(test: ShortcutTest) -> str:
    """Describe how well, and by which families of features, the strongest first."""
    families = {name: score for name, score in test.families.items() if name not in CONTENT_FAMILIES}
    ranked = sorted(families, key=lambda name: -families[name].balanced_accuracy)
    telling = [name for name in ranked if families[name].p <= SHORTCUT_P][:3] or ["several features together"]
    accuracy = f"balanced accuracy {test.bare.balanced_accuracy:.0%} where chance is {test.chance:.0%}"
    return f"{accuracy} (p = {test.bare.p:.3f}), by {', '.join(telling)}"


def _count(things: Sequence[Any] | set[str], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _rounded(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: _rounded(value) for name, value in values.items()}
    return round(values, _DIGITS) if isinstance(values, float) else values
