"""The result types: what scarlens says about one photo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..datasets.labels import DISPLAY_NAMES, SCAR_TYPES
from .wording import NOTICE, REASONS, Reason, percent

if TYPE_CHECKING:
    import numpy as np

    from .treatments.plan import TreatmentPlan

MOSTLY_SKIN: Final = 0.5
"""Share of skin from which on a photo that is out of scope is called skin without such scars."""

LEAST_TOLD: Final = 0.005
"""Extent from which on a type is named beside the one that is seen most."""

_BAR_WIDTH: Final = 30  # characters


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What the classifier says about one photo: information, not a diagnosis.

    Attributes:
        label: the scar type, a name of `SCAR_TYPES`, or None when the classifier abstains.
        probabilities: calibrated probability of each scar type given that the photo shows one of them; the keys are
            `SCAR_TYPES` in order, the values sum to 1. Given in every case, also when the classifier abstains.
        in_scope: probability, 0 to 1, that the photo shows one of the three types at all.
        plausible: the types of the conformal prediction set, most probable first; never empty.
        reason: why the classifier abstains, a key of `REASONS`, or None when there is a label.
        regions: float32 [3, h, w], each value 0 to 1: the probability that a scar of this type is seen at this
            place of the photo, types in the order of `SCAR_TYPES`; the rest to 1 is "no such scar". Row 0 is the
            photo's top, column 0 its left side.
        scar_threshold: a scar is seen where the sum of `regions` over the types is at least this, 0 to 1.
        extent: the share of the visible skin, 0 to 1, that each type takes, as `regions.extent_of` counts it; the keys
            are `SCAR_TYPES` in order.
        skin: the share of the photo that is skin, 0 to 1.
        treatment: what the documents say about the label, or about the plausible types side by side when the
            reason is "ambiguous"; None for a photo that is refused.
        model_id: the digest that names the checkpoint which answered.
        width: width of the upright photo in pixels.
        height: height of the upright photo in pixels.
        preview: the upright photo as a JPEG without metadata, at most 480 pixels long, for a notebook to show, whose
            file then holds it; None from `predict_many` and folders.

    Raises:
        ValueError: when the fields contradict one another.
    """

    label: str | None
    probabilities: dict[str, float]
    in_scope: float
    plausible: tuple[str, ...]
    reason: Reason | None
    regions: np.ndarray
    scar_threshold: float
    extent: dict[str, float]
    skin: float
    treatment: TreatmentPlan | None
    model_id: str
    width: int
    height: int
    preview: bytes | None = None

    def __post_init__(self) -> None:
        """Refuse a result that contradicts itself."""
        if tuple(self.probabilities) != SCAR_TYPES:
            raise ValueError(f"probabilities must have the keys {SCAR_TYPES} in order, got {tuple(self.probabilities)}")
        total = sum(self.probabilities.values())
        if not math.isclose(total, 1.0, abs_tol=1e-5):
            raise ValueError(f"probabilities must sum to 1, got {total}")
        if not 0.0 <= self.in_scope <= 1.0:
            raise ValueError(f"in_scope must lie in 0..1, got {self.in_scope}")
        if (self.label is None) == (self.reason is None):
            raise ValueError(f"exactly one of label and reason must be given, got {self.label!r} and {self.reason!r}")
        if self.label is not None and self.label not in SCAR_TYPES:
            raise ValueError(f"label must be one of {SCAR_TYPES}, got {self.label!r}")
        if self.reason is not None and self.reason not in REASONS:
            raise ValueError(f"reason must be one of {tuple(REASONS)}, got {self.reason!r}")
        if not self.plausible or not set(self.plausible) <= set(SCAR_TYPES):
            raise ValueError(f"plausible must be a non-empty choice of {SCAR_TYPES}, got {self.plausible}")
        if self.regions.ndim != 3 or len(self.regions) != len(SCAR_TYPES):
            raise ValueError(f"regions must have shape [{len(SCAR_TYPES)}, h, w], got {self.regions.shape}")
        if self.treatment is not None and self.reason in ("out_of_scope", "low_quality"):
            raise ValueError(f"a photo refused as {self.reason} must not carry a treatment")
        if tuple(self.extent) != SCAR_TYPES or not all(0.0 <= share <= 1.0 for share in self.extent.values()):
            raise ValueError(f"extent must have the keys {SCAR_TYPES} in order and values in 0..1, got {self.extent}")
        if not 0.0 <= self.skin <= 1.0:
            raise ValueError(f"skin must lie in 0..1, got {self.skin}")

    @property
    def most_seen(self) -> str | None:
        """The type that the map shows on the largest share of the skin; None where it shows no scar."""
        largest = max(self.extent, key=self.extent.__getitem__)
        return largest if self.extent[largest] > 0.0 else None

    @property
    def contradiction(self) -> str | None:
        """How the photo's type and the map's disagree, as a sentence; None where they agree or there is no label."""
        if self.label is None or self.most_seen == self.label:
            return None
        seen = f"sees most {DISPLAY_NAMES[self.most_seen]} scars" if self.most_seen else "shows no place with a scar"
        return f"The photo as a whole looks like {DISPLAY_NAMES[self.label]}, but the map {seen}: trust neither alone."

    @property
    def extent_text(self) -> str:
        """What is seen on how much of the skin, in words."""
        if self.most_seen is None:
            return "no place with a scar"
        told = (name for name in SCAR_TYPES if self.extent[name] >= LEAST_TOLD or name == self.most_seen)
        seen = sorted(told, key=lambda name: -self.extent[name])
        return ", ".join(f"{DISPLAY_NAMES[name]} on {percent(self.extent[name])}" for name in seen) + " of the skin"

    def to_dict(self) -> dict[str, Any]:
        """Return the prediction as plain JSON types; `regions` becomes nested lists rounded to three digits."""
        return {
            "headline": self.headline,
            "label": self.label,
            "probabilities": dict(self.probabilities),
            "in_scope": self.in_scope,
            "plausible": list(self.plausible),
            "reason": self.reason,
            "regions": [[[round(float(value), 3) for value in row] for row in plane] for plane in self.regions],
            "scar_threshold": self.scar_threshold,
            "extent": dict(self.extent),
            "skin": self.skin,
            "most_seen": self.most_seen,
            "contradiction": self.contradiction,
            "treatment": None if self.treatment is None else self.treatment.to_dict(),
            "model_id": self.model_id,
            "width": self.width,
            "height": self.height,
            "notice": NOTICE,
        }

    def to_text(self) -> str:
        """Return the prediction as a reader wants it in a terminal, with what the documents say about treatment."""
        lines = [self.headline, *([self.contradiction] if self.contradiction else []), ""]
        for name, probability in sorted(self.probabilities.items(), key=lambda item: -item[1]):
            bar = "█" * round(_BAR_WIDTH * probability)
            lines.append(f"  {DISPLAY_NAMES[name]:<9} {100 * probability:5.1f} %  {bar}")
        plausible = ", ".join(DISPLAY_NAMES[name] for name in self.plausible)
        lines += ["", f"  plausible: {plausible} (such a set is meant to hold the true type in 90 % of cases)"]
        lines += [f"  shows one of the three types: {percent(self.in_scope)}"]
        lines += [f"  seen: {self.extent_text}", ""]
        lines.append(NOTICE if self.treatment is None else self.treatment.to_text())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the prediction as a notebook shows it: the photo with the regions, bars, and the documents' text."""
        from .notebook_view import html

        return html(self)

    @property
    def headline(self) -> str:
        """The answer in one line, or why there is none."""
        if self.label is not None:
            return f"Most probable: {DISPLAY_NAMES[self.label]} scars"
        assert self.reason is not None  # __post_init__ saw to it
        if self.reason == "out_of_scope" and self.skin >= MOSTLY_SKIN:
            return "No ice pick, boxcar or rolling scars seen (out_of_scope)"
        return f"Can't tell: {REASONS[self.reason]} ({self.reason})"
