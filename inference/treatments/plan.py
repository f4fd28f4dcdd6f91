"""What the documents say about each scar type and its treatment, and the plan in a prediction."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, Final

from ...datasets.errors import ScarlensError
from ...datasets.labels import DISPLAY_NAMES, known_spellings, normalise_label
from ..reasons import NOTICE
from .catalogue import FACT_TOPICS, GENERAL, KINDS, PROCEDURE, Claim, Disagreement, Treatment, catalogue
from .cautions import ASK_FOR_CAUTIONS, CAUTIONS_HEADING, Advice, Context, SafetyCaution, advise

HABITS: Final = ("prevention", "after_care")
"""The kinds that are not treatments of scars."""

_JOIN: Final = "\N{NO-BREAK SPACE}"  # stands for a space until the lines are broken


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
        """Return a summary as plain text of at most `width` columns; `to_dict` has everything.

        A treatment's name and its cautions stay on one line, even if it exceeds the width.
        """
        advice = advise(self.context)
        lines: list[str] = []
        if self.undecided:
            lines += [*_wrap("Undecided: what the documents say of each plausible type, side by side.", width), ""]
        for part in self.types:
            also = self.label is not None and part.scar_type != self.label
            heading = f"Also plausible: {part.title.lower()}" if also else part.title
            lines += _part_lines(part, heading, advice, width)
        lines += _part_lines(self.general, self.general.title, advice, width)
        lines += _habit_lines([*self.types, self.general], advice, width)
        lines += _safety_lines(advice, width)
        lines += [
            "Documents",
            *(f"  {found.number}  {found.file}  {advice.marked(found.kind)}" for found in catalogue().documents),
        ]
        lines += ["", *_wrap("* The documents disagree. The figures are theirs; they cite no study for them.", width)]
        lines += _wrap("Causes, risk factors, methods and every claim: scarlens treatments [TYPE]", width)
        lines += _wrap(self.notice, width)
        return "\n".join(lines)


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


# --- plain text ------------------------------------------------------------------------------------------------------


def _part_lines(part: TypePlan, heading: str, advice: Advice, width: int) -> list[str]:
    """Summarise one type's plan: shape, figures and cautions of its treatments, and the serious disagreements."""
    lines = [heading, "-" * len(heading)]
    if shapes := [fact for fact in part.facts if fact.topic == "morphology"]:
        lines.append(f"  {FACT_TOPICS['morphology']}")
        for fact in shapes:
            lines += _wrap(_sentence(fact, part, advice), width, "    ", "      ")
    for kind in KINDS:
        if kind not in HABITS:
            lines += _kind_lines(part, kind, advice, width)
    if part.scar_type is not None and not any(claim.figures for found in part.treatments for claim in found.claims):
        lines.append("  No document gives a figure for their treatment.")
    grave = [found for found in part.disagreements if found.nature in ("contradiction", "figures")]
    if grave:
        lines.append("  Where the documents disagree")
    for disagreement in grave:
        sides = " / ".join(side.says + _numbers(side.documents) for side in disagreement.sides)
        lines += _wrap(advice.marked(f"{disagreement.subject}: {sides}"), width, "    ", "      ")
    if others := [advice.marked(found.subject) for found in part.disagreements if found not in grave]:
        lines += _wrap(f"Other differences, of emphasis or terms: {'; '.join(others)}", width, "  ", "    ")
    return [*lines, ""]


def _kind_lines(part: TypePlan, kind: str, advice: Advice, width: int) -> list[str]:
    """List the treatments of one kind with their important claims, or only the name if there are none."""
    treatments = [treatment for treatment in part.treatments if treatment.kind == kind]
    lines = [f"  {KINDS[kind]}"] if treatments else []
    named = []
    for treatment in treatments:
        name = _label(treatment, advice)
        if claims := _telling(treatment):
            first, *others = (_sentence(claim, part, advice) for claim in claims)
            lines += _wrap(f"{name}: {first}", width, "    ", "      ")
            for other in others:
                lines += _wrap(other, width, "      ", "        ")
        else:
            named.append(name + _mark(_direct(treatment), part))
    if named:
        also = "also named" if len(named) < len(treatments) else "named"
        lines += _wrap(f"{also}: {'; '.join(named)}", width, "    ", "      ")
    return lines


def _telling(treatment: Treatment) -> list[Claim]:
    """Return the claims that a summary must include: figures, indications, cautions."""
    kept = [claim for claim in treatment.claims if claim.figures or claim.topic in ("ideal_for", "caution")]
    return sorted(kept, key=lambda claim: (not claim.figures, claim.topic == "caution"))


def _direct(treatment: Treatment) -> list[Claim]:
    """Return the claims about scars, without those that only describe the procedure."""
    return [claim for claim in treatment.claims if claim.about != (PROCEDURE,)]


def _habit_lines(parts: Iterable[TypePlan], advice: Advice, width: int) -> list[str]:
    """Return prevention and after-care in one line each, from all parts of a plan."""
    lines: list[str] = []
    for kind in HABITS:
        items: dict[str, str] = {}
        sources: dict[str, set[str]] = {}
        for treatment in (treatment for part in parts for treatment in part.treatments if treatment.kind == kind):
            figures = ", ".join(str(figure) for claim in treatment.claims for figure in claim.figures)
            name = _label(treatment, advice)
            items[treatment.id] = f"{name} ({figures})" if figures else name
            sources.setdefault(treatment.id, set()).update(claim.document for claim in _direct(treatment))
        text = "; ".join(item + _numbers(sources[name]) for name, item in items.items())
        lines += _wrap(f"{KINDS[kind]}: {text}", width, "", "  ")
    return [*lines, ""]


def _safety_lines(advice: Advice, width: int) -> list[str]:
    """Return the cautions for the context, or how to ask for them if there is none."""
    if advice.context is None:
        return [*_wrap(ASK_FOR_CAUTIONS, width, "", "  "), ""]
    lines = [CAUTIONS_HEADING]
    for sentence in advice.sentences():
        lines += _wrap(sentence, width, "  ", "    ")
    return [*lines, ""]


def _label(treatment: Treatment, advice: Advice) -> str:
    """Return a treatment's name and its cautions, joined so that `_wrap` never breaks them."""
    label = advice.label(treatment.id, treatment.name)
    return label if label == treatment.name else label.replace(" ", _JOIN)


def _sentence(claim: Claim, part: TypePlan, advice: Advice) -> str:
    """Return a claim with its document and, if it matters, the kind of claim."""
    lead = {"caution": "caution: ", "ideal_for": "for: "}.get(claim.topic, "")
    return lead + advice.marked(claim.text) + _mark([claim], part)


def _mark(claims: Sequence[Claim], part: TypePlan) -> str:
    """Return the numbers of the claims' documents, with a star if a claim is disputed."""
    shown = {disagreement.id for disagreement in part.disagreements}
    disputed = any(shown.intersection(claim.disputed) for claim in claims)
    return _numbers({claim.document for claim in claims}) + "*" * disputed


def _numbers(files: Iterable[str]) -> str:
    """Return the numbers of documents in brackets."""
    numbers = {document.file: document.number for document in catalogue().documents}
    return f" [{', '.join(sorted(numbers[file] for file in files))}]"


def _wrap(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """Wrap text without breaking file names or labels."""
    lines = textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(_JOIN, " ") for line in lines]
