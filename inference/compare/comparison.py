"""Two photos of one place go in, what changed comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import cv2
import numpy as np

from ...datasets.labels import DISPLAY_NAMES, SCAR_TYPES
from ...datasets.reading.reader import Source, read_reduced
from ...model.calibration import Calibration
from ..classifier import Classifier, bundled
from ..prediction import Prediction
from ..reasons import NOTICE, package_version, percent
from ..regions import overlay
from .alignment import align

Obstacle = Literal["other_place", "low_quality", "no_scar"]

Cause = Literal["nothing", "same_light", "any_light"]

_NO_CAUSE: Final[dict[str | None, str]] = {
    "any_light": "more than brightness, zoom and compression explain, and more than most changes of light do",
    "same_light": "more than brightness, zoom and compression explain, but light from another side could",
}

OBSTACLES: Final[dict[str, str]] = {
    "other_place": "the two photos do not seem to show the same place",
    "low_quality": "one of the photos is too small, too dark or too blurred to judge",
    "no_scar": "neither photo seems to show an ice pick, boxcar or rolling scar",
}
"""Every reason for not comparing two photos, with the sentence a user reads."""

LIMITS: Final = "This says nothing about healing. Use the same light: light from another side can hide every scar."

ALL_TYPES: Final = "all"
"""Name of the change of all three types together."""

_GAP: Final = 12  # pixels between two photos side by side


class Change(NamedTuple):
    """How far a type extends in two photos of one place.

    Attributes:
        before: share of the visible skin in the first photo, 0 to 1.
        after: share of the visible skin in the second photo.
        more_than: what cannot explain the change: "same_light" (brightness, zoom and compression), "any_light" (those,
            and most light from other sides), or "nothing"; None if the checkpoint's repeatability was not measured.
    """

    before: float
    after: float
    more_than: Cause | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """What changed between two photos of one place. It says nothing about healing.

    Attributes:
        before: prediction for the first photo: for the part that both show, or for the whole photo if there is none.
        after: prediction for the second photo.
        obstacle: why the two are not compared, a key of `OBSTACLES`; else None.
        changes: by type, and of "all" three together; empty if there is an obstacle.
        pictures: the two pictures that were compared, RGB uint8 [H, W, 3]; pixel on pixel if there is no obstacle.
    """

    before: Prediction
    after: Prediction
    obstacle: Obstacle | None
    changes: dict[str, Change]
    pictures: tuple[np.ndarray, np.ndarray]

    @property
    def headline(self) -> str:
        """The answer in one sentence."""
        if self.obstacle:
            return f"Not compared: {OBSTACLES[self.obstacle]}."
        if self.changes[ALL_TYPES].more_than is None:
            return "Can't tell whether anything changed: how well extents repeat was not measured for this checkpoint."
        for cause, words in _NO_CAUSE.items():
            found = [name for name, change in self.changes.items() if change.more_than == cause]
            if found:
                named = [name for name in found if name != ALL_TYPES] or found
                return f"{', '.join(map(self._told, named))}: {words}."
        return "No change that brightness, zoom and compression could not explain."

    def _told(self, name: str) -> str:
        before, after, _ = self.changes[name]
        kind = "scarring" if name == ALL_TYPES else f"{DISPLAY_NAMES[name]} scarring"
        return f"{'Less' if after < before else 'More'} {kind} ({percent(before)} -> {percent(after)} of the skin)"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, without pictures and treatments."""
        before, after = (prediction.to_dict() for prediction in (self.before, self.after))
        return {
            "headline": self.headline,
            "obstacle": self.obstacle,
            "changes": {name: change._asdict() for name, change in self.changes.items()},
            "before": {name: value for name, value in before.items() if name != "treatment"},
            "after": {name: value for name, value in after.items() if name != "treatment"},
            "model_id": self.before.model_id,
            "version": package_version(),
            "notice": NOTICE,
        }

    def to_text(self) -> str:
        """Return the comparison for a terminal."""
        lines = [self.headline]
        for name in SCAR_TYPES:
            before, after = (percent(photo.extent[name]) for photo in (self.before, self.after))
            cause = self.changes[name].more_than if self.changes else None
            mark = f"; {_NO_CAUSE[cause]}" if cause in _NO_CAUSE else ""
            lines.append(f"  {DISPLAY_NAMES[name]:<9} {before:>5} -> {after:>5} of the visible skin{mark}")
        lines += [f"  before: {self.before.headline}", f"  after:  {self.after.headline}", "", LIMITS, NOTICE]
        return "\n".join(lines)

    def picture(self) -> np.ndarray:
        """Return both photos side by side with the scars outlined, RGB uint8 [H, W, 3]."""
        halves = [
            overlay(picture, prediction.regions, prediction.scar_threshold)
            for picture, prediction in zip(self.pictures, (self.before, self.after), strict=True)
        ]
        height = max(half.shape[0] for half in halves)
        first, second = (
            cv2.copyMakeBorder(half, 0, height - half.shape[0], 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
            for half in halves
        )
        return np.hstack([first, np.full((height, _GAP, 3), 255, np.uint8), second])


def compare(before: Source, after: Source, *, classifier: Classifier | None = None) -> Comparison:
    """Compare two photos of one place, such as a cheek before and after some months.

    Both are cut to the place they share and brought to one scale, because extent depends on what a photo shows. A
    change counts if the square roots of the extents differ by more than those of two photos of unchanged skin
    (`Calibration.repeatability`).

    Args:
        before: the earlier photo; see `sources.Source`.
        after: the later photo.
        classifier: by default that of the bundled checkpoint.

    Raises:
        ImageReadError: a photo cannot be read.
    """
    classifier = classifier or bundled()
    photos = read_reduced(before).pixels, read_reduced(after).pixels
    aligned = align(*photos)
    pictures = (aligned.before, aligned.after) if aligned else photos
    first, second = (classifier.predict(picture) for picture in pictures)
    obstacle = _obstacle(first, second) if aligned else "other_place"
    changes = {} if obstacle else _changes(first, second, classifier.card.calibration)
    return Comparison(before=first, after=second, obstacle=obstacle, changes=changes, pictures=pictures)


def _obstacle(before: Prediction, after: Prediction) -> Obstacle | None:
    reasons = before.reason, after.reason
    if "low_quality" in reasons:
        return "low_quality"
    return "no_scar" if reasons == ("out_of_scope", "out_of_scope") else None


def _changes(before: Prediction, after: Prediction, calibration: Calibration) -> dict[str, Change]:
    pairs = extent_pairs(before, after)
    levels: tuple[Cause, ...] = ("nothing", "same_light", "any_light")
    explained: list[Cause | None] = [None] * pairs.shape[1]
    if calibration.repeatability and calibration.repeatability_any_light:
        found = root_changes(pairs)
        beyond = (found > calibration.repeatability) * (1 + (found > calibration.repeatability_any_light))
        explained = [levels[level] for level in beyond]
    names = (*SCAR_TYPES, ALL_TYPES)
    return {
        name: Change(before=share[0], after=share[1], more_than=more_than)
        for name, share, more_than in zip(names, pairs.T.tolist(), explained, strict=True)
    }


def extent_pairs(before: Prediction, after: Prediction) -> np.ndarray:
    """Return the extents, float64 [2, 4], of each of `SCAR_TYPES` and of all together in two photos."""
    extents = np.array([[photo.extent[name] for name in SCAR_TYPES] for photo in (before, after)])
    return np.column_stack([extents, extents.sum(axis=1)])


def root_changes(pairs: np.ndarray) -> np.ndarray:
    """Return the absolute difference of the square roots of extents, [..., 4] of [..., 2, 4].

    The square root of a share varies about equally wherever the share lies, like that of a count (Bartlett, J R Stat
    Soc Suppl 3:68, 1936).
    """
    roots = np.sqrt(pairs)
    return np.abs(roots[..., 1, :] - roots[..., 0, :])
