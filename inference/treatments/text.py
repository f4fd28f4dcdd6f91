"""The documents' claims as plain text: a summary to stand below an answer, an overview, and every claim."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from ..reasons import NOTICE
from .catalogue import CLAIM_TOPICS, FACT_TOPICS, HABITS, KINDS, NATURES, PROCEDURE, SUBJECTS, Claim, catalogue
from .cautions import ASK_FOR_CAUTIONS, CAUTIONS_HEADING, Advice, advise

if TYPE_CHECKING:
    from .catalogue import Treatment
    from .plan import TreatmentPlan, TypePlan

_COLUMNS: Final = (
    ("Improvement", 15, ("improvement_percent",)),
    ("Sessions", 10, ("sessions",)),
    ("Downtime/recovery", 20, ("downtime_days", "recovery_days")),
    ("Source", 7, ()),
)
"""Columns of the table of figures: heading, width, and the quantities in it."""

_GRAVE: Final = ("contradiction", "figures")
"""Natures of the disagreements that are spelled out in an overview."""

_JOIN: Final = "\N{NO-BREAK SPACE}"  # stands for a space until the lines are broken


def summary(chosen: TreatmentPlan, width: int = 80) -> str:
    """Return the figures of a plan, how much the documents disagree, and where to read on."""
    advice = advise(chosen.context)
    lines = [line for part in chosen.types for line in _table(part, advice, width)]
    found = {disagreement for part in chosen.types for disagreement in part.disagreements}
    grave = sum(disagreement.nature in _GRAVE for disagreement in found)
    others = len(found) - grave
    points = [f"contradict each other on {_points(grave)}"] * bool(grave)
    points += [f"differ in emphasis on {others if grave else _points(others)}"] * bool(others)
    lines += _wrap(f"* The documents {' and '.join(points)}.", width, "", "  ") if points else []
    more = "All claims: scarlens treatments --all"
    if chosen.label:
        count = _count([chosen.types[0], chosen.general])
        more = f"All {count} claims: scarlens treatments {chosen.label} --all"
    lines += _wrap(f"The figures are claims; no study is cited. {more}", width)
    return "\n".join([*lines, *_safety_lines(advice, width), *_wrap(NOTICE, width)])


def overview(chosen: TreatmentPlan, width: int = 100) -> str:
    """Return what the documents say of each type of a plan: shape, figures, treatments and contradictions."""
    advice = advise(chosen.context)
    lines: list[str] = []
    for part in chosen.types:
        also = chosen.label is not None and part.scar_type != chosen.label
        shape = next(fact for fact in part.facts if fact.topic == "morphology")
        kind = f"Also plausible: {part.title.lower()}" if also else part.title
        lines += [""] * (part is not chosen.types[0])
        lines += _wrap(f"{kind}: {_sentence(shape, part, advice)}", width)
        lines += [*_table(part, advice, width), *_named(part, advice, width), *_grave(part, advice, width)]
    count = _count([*chosen.types, chosen.general])
    lines += _wrap(f"Shape, causes, prevention, after-care and all {count} claims: --all", width)
    return "\n".join([*lines, *_ending(advice, width)])


def every_claim(chosen: TreatmentPlan, width: int = 100) -> str:
    """Return every claim of a plan, grouped by subject, and every disagreement with its sides."""
    advice = advise(chosen.context)
    lines: list[str] = []
    for part in (*chosen.types, chosen.general):
        lines += _heading(part.title)
        for topic, heading in FACT_TOPICS.items():
            facts = [fact for fact in part.facts if fact.topic == topic]
            lines += _group(heading, [_sentence(fact, part, advice) for fact in facts], width)
        for kind, heading in KINDS.items():
            treatments = [treatment for treatment in part.treatments if treatment.kind == kind]
            lines += [heading] if treatments else []
            for treatment in treatments:
                claims = sorted(treatment.claims, key=lambda claim: CLAIM_TOPICS.index(claim.topic))
                sentences = [_sentence(claim, part, advice) for claim in claims]
                lines += _group(f"  {_label(treatment, advice)}", sentences, width)
        for found in part.disagreements:
            within = ", within one document" if found.within_document else ""
            sides = [advice.marked(side.says) + _numbers(side.documents) for side in found.sides]
            lines += _group(f"* {advice.marked(found.subject)} ({NATURES[found.nature]}{within})", sides, width)
        lines.append("")
    return "\n".join([*lines, *_ending(advice, width)])


def _points(count: int) -> str:
    return f"{count} {'point' if count == 1 else 'points'}"


def _count(parts: Iterable[TypePlan]) -> int:
    """Return how many different claims `every_claim` prints of these parts."""
    return len({claim for part in parts for claim in part.claims})


def _table(part: TypePlan, advice: Advice, width: int) -> list[str]:
    """Return the figures of a type's treatments, one line each; if there are none, the treatments' names."""
    treatments = [treatment for treatment in part.treatments if treatment.kind not in HABITS]
    rows = [treatment for treatment in treatments if any(claim.figures for claim in treatment.claims)]
    if not rows:
        names = "; ".join(_label(treatment, advice) for treatment in treatments)
        sources = _mark((claim for treatment in treatments for claim in _direct(treatment)), part)
        return _wrap(f"{part.title}, named without figures{sources}: {names}", width, "", "  ")
    first = max(width - sum(size for _, size, _ in _COLUMNS), 20)
    lines = [_row(part.title, [heading for heading, _, _ in _COLUMNS], first)]
    for treatment in rows:
        claims = [claim for claim in treatment.claims if claim.figures]
        cells = [*(_values(claims, quantities) for _, _, quantities in _COLUMNS[:-1]), _mark(claims, part).strip()]
        warned = bool(advice.warning(treatment.id))
        name = advice.label(treatment.id, treatment.name) if warned else treatment.name.partition(" (")[0]
        lasting = _values(claims, ("lasts_months",))
        name = f"  {name}{f' (lasts {lasting})' if lasting else ''}"
        lines += [_row(name, cells, first)] if len(name) < first else [name, _row("", cells, first)]
    return lines


def _row(name: str, cells: Sequence[str], first: int) -> str:
    sizes = [size for _, size, _ in _COLUMNS]
    return (name.ljust(first) + "".join(cell.ljust(size) for cell, size in zip(cells, sizes, strict=True))).rstrip()


def _direct(treatment: Treatment) -> list[Claim]:
    """Return the claims about scars, without those that only describe the procedure."""
    return [claim for claim in treatment.claims if claim.about != (PROCEDURE,)]


def _values(claims: Iterable[Claim], quantities: Sequence[str]) -> str:
    figures = [figure for claim in claims for figure in claim.figures if figure.quantity in quantities]
    return " / ".join(figure.value for figure in figures)


def _named(part: TypePlan, advice: Advice, width: int) -> list[str]:
    """Return the treatments that have no figures but stand beside some that have."""
    treatments = [treatment for treatment in part.treatments if treatment.kind not in HABITS]
    bare = [treatment for treatment in treatments if not any(claim.figures for claim in treatment.claims)]
    if len(bare) == len(treatments):
        return []
    names = "; ".join(_label(treatment, advice) + _mark(_direct(treatment), part) for treatment in bare)
    warned = [found for found in treatments if any(claim.topic == "caution" for claim in found.claims)]
    cautions = advice.marked("; ".join(treatment.name for treatment in warned))
    return [
        *_wrap(f"Without figures: {names}", width, "  ", "    "),
        *_wrap(f"With cautions in the documents (--all): {cautions}", width, "  ", "    "),
    ]


def _grave(part: TypePlan, advice: Advice, width: int) -> list[str]:
    """Return the contradictions with their sides, and the number of lesser differences."""
    grave = [found for found in part.disagreements if found.nature in _GRAVE]
    sentences = [
        advice.marked(f"{found.subject}: {' / '.join(side.says + _numbers(side.documents) for side in found.sides)}")
        for found in grave
    ]
    if others := len(part.disagreements) - len(grave):
        sentences.append(f"{_points(others)} of emphasis or terms: --all")
    return _group("Where the documents disagree (*)", sentences, width)


def _safety_lines(advice: Advice, width: int) -> list[str]:
    """Return the cautions for the context, or how to ask for them if there is none."""
    if advice.context is None:
        return _wrap(ASK_FOR_CAUTIONS, width)
    return _group(CAUTIONS_HEADING, advice.sentences(), width)


def _ending(advice: Advice, width: int) -> list[str]:
    """Return the cautions, the list of documents and the notice."""
    documents = (f"[{found.number}] {found.file}: {found.kind}" for found in catalogue().documents)
    lines = [line for document in documents for line in _wrap(document, width, "", "  ")]
    figures = "The figures are the documents' claims; they cite no study."
    return [*_safety_lines(advice, width), *lines, *_wrap(f"{figures} {NOTICE}", width)]


def _heading(title: str) -> list[str]:
    return [title, "-" * len(title)]


def _group(heading: str, sentences: Sequence[str], width: int) -> list[str]:
    """Return a heading and its sentences, indented; nothing if there are none."""
    inner = " " * (len(heading) - len(heading.lstrip()) + 2)
    lines = _wrap(heading.lstrip(), width, inner[2:], inner) if sentences else []
    return [*lines, *(line for text in sentences for line in _wrap(text, width, inner, f"{inner}  "))]


def _label(treatment: Treatment, advice: Advice) -> str:
    """Return a treatment's name and its cautions, joined so that `_wrap` never breaks them."""
    label = advice.label(treatment.id, treatment.name)
    return label if label == treatment.name else label.replace(" ", _JOIN)


def _sentence(claim: Claim, part: TypePlan, advice: Advice) -> str:
    """Return a claim with its document and, if they are not obvious, its subject and topic."""
    lead = ""
    if (part.scar_type or "acne_scars") not in claim.about and claim.about != (PROCEDURE,):
        lead = f"{', '.join(SUBJECTS[subject] for subject in claim.about)}: "
    elif claim.topic in ("caution", "ideal_for", "method"):
        lead = f"{claim.topic.replace('_', ' ')}: "
    return lead + advice.marked(claim.text) + _mark([claim], part)


def _mark(claims: Iterable[Claim], part: TypePlan) -> str:
    """Return the numbers of the claims' documents, with a star if a claim is disputed."""
    claims = [*claims]
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
