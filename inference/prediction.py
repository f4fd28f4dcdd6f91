"""The result type: what scarlens says about one photo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..datasets.labels import DISPLAY_NAMES, SCAR_TYPES
from .reasons import NOTICE, REASONS, Reason, package_version, percent

if TYPE_CHECKING:
    import numpy as np

    from .treatments.plan import TreatmentPlan

MOSTLY_SKIN: Final = 0.5
"""Minimum share of skin for an out-of-scope photo to be described as skin without such scars."""

_SOME: Final = 0.02
"""Smallest share of the skin at which a headline names a type beside the label."""

LEAST_NAMED: Final = 0.005
"""Minimum extent for a type to be named besides the most extensive one."""

_BAR_WIDTH: Final = 18  # characters


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What the classifier says about one photo: information, not a diagnosis.

    Attributes:
        label: the scar type, one of `SCAR_TYPES`, or None if the classifier abstains.
        probabilities: calibrated probability of each scar type, given that the photo shows one of them. The keys are
            `SCAR_TYPES` in order, the values sum to 1. Present even if the classifier abstains.
        in_scope: probability, 0 to 1, that the photo shows one of the three types at all.
        plausible: conformal prediction set, most probable type first; never empty.
        reason: why the classifier abstains, a key of `REASONS`, or None if there is a label.
        fault: what is wrong with a photo of low quality: "too small or too narrow", "too dark" or "too blurred".
        regions: float32 [3, h, w], values 0 to 1: the probability that a scar of each of `SCAR_TYPES` is at this place
            of the photo. The remainder to 1 is "no such scar". Row 0 is the photo's top, column 0 its left side.
        scar_threshold: a scar is seen where `regions`, summed over the types, reach this value, 0 to 1.
        extent: share of the visible skin, 0 to 1, that each type covers (`regions.extent_of`). The keys are
            `SCAR_TYPES` in order.
        skin: share of the photo that is skin, 0 to 1.
        treatment: what the documents say about the label, or about all plausible types if the reason is "ambiguous";
            None if the photo is refused.
        model_id: digest of the checkpoint.
        width: width of the upright photo in pixels.
        height: height of the upright photo in pixels.
        preview: the upright photo as a JPEG without metadata, at most 480 pixels long, for notebooks, whose files then
            contain it. None from `predict_many` and for folders.

    Raises:
        ValueError: the fields contradict one another.
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
    fault: str | None = None

    def __post_init__(self) -> None:
        """Refuse contradictory fields."""
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
        """The type that covers most of the skin on the map; None if the map shows no scar."""
        largest = max(self.extent, key=self.extent.__getitem__)
        return largest if self.extent[largest] > 0.0 else None

    @property
    def contradiction(self) -> str | None:
        """How label and map disagree, in one sentence; None if they agree or there is no label."""
        if self.label is None or self.most_seen in (None, self.label):
            return None
        whole, seen = DISPLAY_NAMES[self.label], DISPLAY_NAMES[self.most_seen]
        return (
            f"The whole photo looks like {whole}, but the map shows mostly {seen} scars: do not rely on either alone."
        )

    @property
    def extent_text(self) -> str:
        """The extent in words."""
        if self.most_seen is None:
            return "no scar"
        named = (name for name in SCAR_TYPES if self.extent[name] >= LEAST_NAMED or name == self.most_seen)
        seen = sorted(named, key=lambda name: -self.extent[name])
        return ", ".join(f"{DISPLAY_NAMES[name]} on {percent(self.extent[name])}" for name in seen) + " of the skin"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types. `regions` become nested lists, rounded to three digits."""
        return {
            "headline": self.headline,
            "label": self.label,
            "probabilities": dict(self.probabilities),
            "in_scope": self.in_scope,
            "plausible": list(self.plausible),
            "reason": self.reason,
            "fault": self.fault,
            "regions": [[[round(float(value), 3) for value in row] for row in plane] for plane in self.regions],
            "scar_threshold": self.scar_threshold,
            "extent": dict(self.extent),
            "skin": self.skin,
            "most_seen": self.most_seen,
            "contradiction": self.contradiction,
            "treatment": None if self.treatment is None else self.treatment.to_dict(),
            "model_id": self.model_id,
            "version": package_version(),
            "width": self.width,
            "height": self.height,
            "notice": NOTICE,
        }

    def to_text(self, width: int = 80) -> str:
        """Return the prediction for a terminal, with the documents' figures: one screen at 80 columns."""
        lines = [self.headline, *([self.contradiction] if self.contradiction else [])]
        for name, probability in sorted(self.probabilities.items(), key=lambda item: -item[1]):
            bar = "█" * round(_BAR_WIDTH * probability)
            seen = self.extent[name] >= LEAST_NAMED or name == self.most_seen
            notes = ["plausible"] * (name in self.plausible)
            notes += [f"seen on {percent(self.extent[name])} of visible skin"] * seen
            line = f"  {DISPLAY_NAMES[name]:<9} {100 * probability:5.1f} %  {bar:<{_BAR_WIDTH}}  {', '.join(notes)}"
            lines.append(line.rstrip())
        meaning = "Nine in ten plausible sets hold the true type."
        told = "The map shows no scar." if self.most_seen is None else meaning
        lines += [f"  Shows one of the three: {percent(self.in_scope)}. {told}", ""]
        lines.append(NOTICE if self.treatment is None else self.treatment.summary(width))
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the prediction for a notebook: photo with regions, probabilities, and the documents' text."""
        from .notebook_view import html

        return html(self)

    @property
    def headline(self) -> str:
        """The answer in one sentence, or the reason for abstaining."""
        if self.label is not None:
            others = [name for name in SCAR_TYPES if name != self.label and self.extent[name] >= _SOME]
            some = f", some {' and '.join(DISPLAY_NAMES[name] for name in others)}" if others else ""
            agreed = "" if self.contradiction else some
            return f"Mostly {DISPLAY_NAMES[self.label]} scars{agreed}: {percent(self.probabilities[self.label])} sure"
        if self.reason == "ambiguous":
            return f"Can't tell which type: {self._shares()}"
        if self.reason == "out_of_scope" and self.skin >= MOSTLY_SKIN:
            return "No ice pick, boxcar or rolling scars seen"
        if self.fault:
            return f"Can't tell: the photo is {self.fault} to judge"
        assert self.reason is not None  # __post_init__ saw to it
        return f"Can't tell: {REASONS[self.reason]}"

    def _shares(self) -> str:
        """Return the plausible types with their probabilities, most probable first."""
        return ", ".join(f"{DISPLAY_NAMES[name]} {percent(self.probabilities[name])}" for name in self.plausible)
