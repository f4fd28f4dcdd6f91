"""What the documents say about each scar type and its treatment, and the plan in a prediction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

from ...datasets.errors import ScarlensError
from ...datasets.labels import DISPLAY_NAMES, known_spellings, normalise_label
from ..reasons import NOTICE
from .catalogue import GENERAL, PROCEDURE, Claim, Disagreement, Treatment, catalogue
from .cautions import Advice, Context, SafetyCaution, advise
from .text import overview, summary


class ScarTypeError(ScarlensError, ValueError):
    """A scar type is missing or unknown; the message lists the known ones."""


@dataclass(frozen=True)
class TypePlan:
    """What the documents say about one scar type, or about acne scars in general.

    Attributes:
        scar_type: one of `SCAR_TYPES`, or None for statements about no particular type.
        facts: shape, causes, risk factors, limits and so on.
        treatments: the treatments named for it, with only the claims about it and about the procedure itself.
        disagreements: where the documents disagree about it.
    """

    scar_type: str | None
    facts: tuple[Claim, ...]
    treatments: tuple[Treatment, ...]
    disagreements: tuple[Disagreement, ...]

    @property
    def title(self) -> str:
        """Display heading."""
        return (
            "Acne scars in general" if self.scar_type is None else f"{DISPLAY_NAMES[self.scar_type].capitalize()} scars"
        )

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Every claim of the plan: the facts, then those of the treatments."""
        return self.facts + tuple(claim for treatment in self.treatments for claim in treatment.claims)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON types."""
        return {
            "scar_type": self.scar_type,
            "title": self.title,
            "facts": [fact.to_dict() for fact in self.facts],
            "treatments": [treatment.to_dict() for treatment in self.treatments],
            "disagreements": [disagreement.to_dict() for disagreement in self.disagreements],
        }


@dataclass(frozen=True)
class TreatmentPlan:
    """What the documents say about the scar types a photo may show: information, not advice.

    Attributes:
        label: the scar type of the plan, or None if the classifier did not decide.
        types: the plan of the label first, then of the other plausible types.
        general: what the documents say about acne scars in general.
        context: what the user said about the person. Its cautions come from the literature, not the documents.
    """

    label: str | None
    types: tuple[TypePlan, ...]
    general: TypePlan
    context: Context | None = None

    @property
    def undecided(self) -> bool:
        """Whether there are several plausible types and no label."""
        return self.label is None and len(self.types) > 1

    @property
    def notice(self) -> str:
        """The notice for everything a user sees."""
        return NOTICE

    def cautions(self, treatment: Treatment) -> tuple[SafetyCaution, ...]:
        """Return the cautions for a treatment in this context, the most serious first."""
        return advise(self.context).cautions(treatment.id)

    def to_dict(self) -> dict[str, Any]:
        """Return the whole plan as plain JSON types."""
        advice = advise(self.context)
        types, general = [part.to_dict() for part in self.types], self.general.to_dict()
        for part in (*types, general):
            _add_cautions(part["treatments"], advice)
        return {
            "label": self.label,
            "undecided": self.undecided,
            "types": types,
            "general": general,
            **advice.to_dict(),
            "documents": [asdict(document) for document in catalogue().documents],
            "notice": self.notice,
        }

    def to_text(self, width: int = 100) -> str:
        """Return an overview as plain text; `to_dict` has everything.

        A treatment's name and its cautions stay on one line, even if it exceeds the width in columns.
        """
        lead = "Undecided: the plausible types side by side.\n\n" if self.undecided else ""
        return lead + overview(self, width)

    def summary(self, width: int = 80) -> str:
        """Return the documents' figures as plain text that fits a screen together with an answer."""
        return summary(self, width)


def plan(label: str | None, plausible: Sequence[str], context: Context | None = None) -> TreatmentPlan:
    """Return what the documents say about a label, then about the other plausible types.

    Args:
        label: the scar type of a prediction, or None if it is undecided.
        plausible: the plausible types, most probable first; the label may be among them.
        context: what the user says about the person, for cautions from the literature.

    Raises:
        ScarTypeError: unknown type, or neither a label nor a plausible type.
        ContextError: not a context.
    """
    if isinstance(plausible, str) or not isinstance(plausible, Iterable):
        raise ScarTypeError(f"plausible must be a list of scar types: {known_spellings()}; got {plausible!r}")
    names = tuple(dict.fromkeys(map(_scar_type, plausible if label is None else (label, *plausible))))
    if not names:
        raise ScarTypeError(f"a plan needs a label or at least one plausible type: {known_spellings()}; got neither")
    checked = advise(context).context
    return TreatmentPlan(None if label is None else names[0], tuple(map(_type_plan, names)), general(), checked)


def general() -> TypePlan:
    """Return what the documents say about acne scars, acne and skin in general."""
    return _type_plan(None)


def everything(context: Context | None = None) -> dict[str, Any]:
    """Return all documents, facts, treatments and disagreements as plain JSON types, with the cautions for a context.

    Raises:
        ContextError: not a context.
    """
    data, advice = catalogue(), advise(context)
    treatments = [treatment.to_dict() for treatment in data.treatments]
    _add_cautions(treatments, advice)
    return {
        "notice": NOTICE,
        "documents": [asdict(document) for document in data.documents],
        "facts": [fact.to_dict() for fact in data.facts],
        "treatments": treatments,
        "disagreements": [disagreement.to_dict() for disagreement in data.disagreements],
        **advice.to_dict(),
    }


def _add_cautions(treatments: list[dict[str, Any]], advice: Advice) -> None:
    """Add the cautions to each treatment's JSON."""
    for treatment in treatments:
        treatment["cautions"] = [caution.to_dict() for caution in advice.cautions(treatment["id"])]


def _scar_type(spelling: str) -> str:
    """Return the canonical name of a scar type."""
    name = normalise_label(spelling) if isinstance(spelling, str) else None
    if name is None:
        raise ScarTypeError(f"unknown scar type {spelling!r}; known are {known_spellings()}")
    return name


@cache  # a batch asks for the same three types again and again
def _type_plan(scar_type: str | None) -> TypePlan:
    """Collect what is said about a scar type, or about no particular one.

    A treatment of a scar type includes the claims about how the procedure works in general.
    """
    data = catalogue()
    subjects = set(GENERAL) if scar_type is None else {scar_type}
    wanted = subjects if scar_type is None else {scar_type, PROCEDURE}
    treatments = tuple(
        replace(treatment, claims=tuple(claim for claim in treatment.claims if wanted.intersection(claim.about)))
        for treatment in data.treatments
        if any(subjects.intersection(claim.about) for claim in treatment.claims)
    )
    disputed = {name for treatment in treatments for claim in treatment.claims for name in claim.disputed}
    return TypePlan(
        scar_type,
        facts=tuple(fact for fact in data.facts if subjects.intersection(fact.about)),
        treatments=treatments,
        disagreements=tuple(
            found
            for found in data.disagreements
            if subjects.intersection(found.about) or (wanted.intersection(found.about) and found.id in disputed)
        ),
    )
