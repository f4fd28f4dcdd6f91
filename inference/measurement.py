"""How wide the scars are and how deep: from the relief head's maps to a width, a depth, or the reason for none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from ..datasets.errors import ScarlensError
from ..datasets.labels import DISPLAY_NAMES, SCAR_TYPES
from ..model.calibration import ReliefLimits

CAVEAT: Final = "learned from renderings only, never checked on real photographs"
"""Stands beside every measurement."""

Withheld = Literal["not_boxcar", "too_far", "frontal_light", "not_seen"]

WITHHELD: Final[dict[Withheld, str]] = {
    "too_far": "a pixel shows too much skin for the margins of single scars; photograph from nearer",
    "not_boxcar": "boxcar scars only: for other types a fixed guess was as good, even on renderings",
    "frontal_light": "no depth: the light seems to come from the front, which hides relief; light the skin from a side",
    "not_seen": "no single scar of this type stands out",
}
"""Every reason why a part is missing, with the sentence a user reads."""

_SEEN: Final = 0.3  # probability of the type from which a position counts


class ScaleError(ScarlensError, ValueError):
    """The scale of a photo is no positive number."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Width and depth of the scars of one type in one photo: learned from renderings only.

    Attributes:
        scar_type: the type that was measured, a name of `SCAR_TYPES`.
        width_mm: median width of these scars; a scar's width is the diameter of the circle of its area on the skin.
        depth_probability: how probably one of these boxcar scars is deep, 0.5 mm and more, on average over them.
        withheld: why width or depth is missing, keys of `WITHHELD`; empty when both are given.
    """

    scar_type: str
    width_mm: float | None = None
    depth_probability: float | None = None
    withheld: tuple[Withheld, ...] = ()

    @property
    def depth(self) -> Literal["shallow", "deep"] | None:
        """What these boxcar scars rather are, or None when that is withheld."""
        if self.depth_probability is None:
            return None
        return "deep" if self.depth_probability >= 0.5 else "shallow"

    def to_dict(self) -> dict[str, Any]:
        """Return the measurement as plain JSON types, with the caveat."""
        return {
            "scar_type": self.scar_type,
            "width_mm": self.width_mm,
            "depth": self.depth,
            "depth_probability": self.depth_probability,
            "withheld": list(self.withheld),
            "caveat": CAVEAT,
        }

    def to_text(self) -> str:
        """Return the measurement as a reader wants it in a terminal."""
        lines = [f"Size of the {DISPLAY_NAMES[self.scar_type]} scars ({CAVEAT}):"]
        if self.width_mm is not None:
            lines.append(f"  width: about {self.width_mm:.1f} mm")
        if self.depth_probability is not None:
            lines.append(f"  depth: rather {self.depth}; deep, 0.5 mm and more, with {self.depth_probability:.0%}")
        return "\n".join([*lines, *(f"  {WITHHELD[reason]}" for reason in self.withheld)])


def measure(
    relief: np.ndarray, *, scar_type: str, limits: ReliefLimits, mm_per_pixel: float, detail_mm: float = 0.0
) -> Measurement:
    """Measure the scars of one type.

    Args:
        relief: float32 [6, h, w], as `model.relief.Relief.planes` describes it, of one photo.
        scar_type: a name of `SCAR_TYPES`.
        limits: what the checkpoint's card says about when to keep silent.
        mm_per_pixel: millimetres of skin that a pixel of the network's square shows.
        detail_mm: likewise of the photo itself: a small photo is enlarged, which adds no detail.
    """
    if reasons := _silent(relief, scar_type, limits, max(mm_per_pixel, detail_mm)):
        return Measurement(scar_type=scar_type, withheld=reasons)
    seen = relief[SCAR_TYPES.index(scar_type)]
    there = seen > _SEEN
    log_width, deep, elevation = relief[len(SCAR_TYPES) :]
    width_px = np.exp(log_width[there])
    weights = seen[there] / np.maximum(width_px, 1.0) ** 2  # so that a scar counts once, however wide
    frontal = not 90.0 * float(elevation[0, 0]) <= limits.highest_elevation_degrees
    return Measurement(
        scar_type=scar_type,
        width_mm=weighted_median(width_px, weights) * mm_per_pixel,
        depth_probability=None if frontal else float(np.average(deep[there], weights=weights)),
        withheld=("frontal_light",) if frontal else (),
    )


def _silent(relief: np.ndarray, scar_type: str, limits: ReliefLimits, mm_per_pixel: float) -> tuple[Withheld, ...]:
    """Return why nothing at all is measured, or nothing."""
    if scar_type != "boxcar":
        return ("not_boxcar",)
    if not mm_per_pixel <= limits.coarsest_mm_per_pixel:
        return ("too_far",)
    return () if (relief[SCAR_TYPES.index(scar_type)] > _SEEN).any() else ("not_seen",)


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the least of `values` [N] up to which at least half of the `weights` [N] lie."""
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])
