"""Rich tables of the documents' claims for the terminal, printed by `scarlens treatments`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from ...datasets.labels import SCAR_TYPES
from ..reasons import NOTICE
from .catalogue import (
    CLAIM_TOPICS,
    FACT_TOPICS,
    FIGURES,
    KINDS,
    NATURES,
    PROCEDURE,
    SUBJECTS,
    Claim,
    Disagreement,
    Treatment,
    catalogue,
)
from .cautions import ASK_FOR_CAUTIONS, CAUTIONS_HEADING, Advice, Context, advise
from .plan import HABITS, TypePlan, plan

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_FILE = "not bold dim"  # style of a document's file name
_OUTCOMES = ("improvement_percent", "sessions", "downtime_days", "lasts_months")


def print_tables(console: Console, scar_type: str | None = None, context: Context | None = None) -> None:
    """Print what the documents say about one scar type or all three, with the cautions for a context.

    Args:
        console: console to print to; the layout needs 80 columns or more.
        scar_type: scar type in any recognised spelling, or None for all three.
        context: facts about the person, or None.

    Raises:
        ScarTypeError: unknown type.
        ContextError: `context` is neither a `Context` nor None.
    """
    for renderable in tables(scar_type, context):
        console.print(renderable)


def tables(scar_type: str | None = None, context: Context | None = None) -> list[RenderableType]:
    """Return the renderables printed by `print_tables`, in order."""
    advice = advise(context)
    chosen = plan(None, SCAR_TYPES if scar_type is None else [scar_type])
    sections: list[RenderableType] = [_types_table(chosen.types, advice)]
    for part in chosen.types:
        sections += _figure_tables(part, advice)
    if scar_type is None:
        data = catalogue()
        for part in (*chosen.types, chosen.general):
            sections += _facts(part, data.disagreements, advice)
        sections += _claims(None, data.treatments, data.disagreements, advice)
        sections += _disagreements("Where the documents disagree", data.disagreements, advice)
    else:
        for part in (*chosen.types, chosen.general):
            sections += _facts(part, part.disagreements, advice)
            sections += _claims(part, part.treatments, part.disagreements, advice)
            sections += _disagreements(f"{part.title}: where the documents disagree", part.disagreements, advice)
    sections += _safety(advice)
    sections.append(_documents_table(advice))
    return [*sections, Text("The figures are from the documents, which cite no study for them."), Text(NOTICE, "bold")]


def _types_table(types: Sequence[TypePlan], advice: Advice) -> Table:
    """Return a comparison of the scar types, from the documents that describe the shape of all three.

    If there are cautions, treatments are listed below the shape: the third column is too narrow for warnings.
    """
    every = plan(None, SCAR_TYPES).types
    comparing = [document.file for document in catalogue().documents if all(_shapes(p, document.file) for p in every)]
    heads = ["Shape, depth and typical treatments"] if advice.rules else ["Shape and depth", "Typical treatments"]
    table = _table("The scar types compared", "Scar type", *heads)
    for part in types:
        for file in comparing:
            options = [
                _labelled(treatment, advice)
                for treatment in part.treatments
                if treatment.kind != "combination"
                and any(claim.topic == "named" and claim.document == file for claim in treatment.claims)
            ]
            shape = Text("; ".join(claim.text for claim in _shapes(part, file))).append(f"\n{file}", _FILE)
            cells = [[shape, *options]] if advice.rules else [[shape], options]
            table.add_row(Text(part.title, "bold"), *(Text("\n").join(lines) for lines in cells))
            table.add_section()
    return table


def _shapes(part: TypePlan, file: str) -> list[Claim]:
    return [fact for fact in part.facts if fact.topic == "morphology" and fact.document == file]


def _figure_tables(part: TypePlan, advice: Advice) -> list[RenderableType]:
    """Return tables of non-surgical outcomes and surgical procedures; if no figures exist, one line that says so."""
    if advice.rules and any(claim.figures for treatment in part.treatments for claim in treatment.claims):
        return []  # columns are too narrow for warnings; the tables of claims have every figure
    heads = [FIGURES[quantity][0].capitalize() for quantity in _OUTCOMES]
    outcomes = _table(f"{part.title}: outcomes of non-surgical options", "Treatment", *heads)
    procedures = _table(f"{part.title}: surgical procedures", "Procedure", "Ideal for", "Recovery", "Improvement")
    for treatment in part.treatments:
        if treatment.kind in HABITS:
            continue
        for file in dict.fromkeys(claim.document for claim in treatment.claims if claim.figures):
            claims = [claim for claim in treatment.claims if claim.document == file]
            name = Text(treatment.name, "bold").append(f"\n{file}", _FILE)
            if treatment.kind == "surgical":
                ideal = "\n".join(f"- {claim.says}" for claim in claims if claim.topic == "ideal_for")
                figures = (_values(claims, quantity) for quantity in ("recovery_days", "improvement_percent"))
                procedures.add_row(name, ideal, *figures)
                procedures.add_section()
            else:
                outcomes.add_row(name, *(_values(claims, quantity) for quantity in _OUTCOMES))
                outcomes.add_section()
    found: list[RenderableType] = [table for table in (outcomes, procedures) if table.row_count]
    return found or [Text(f"{part.title}: no document gives figures for their treatment.\n", "bold")]


def _values(claims: Iterable[Claim], quantity: str) -> str:
    """Return all values of a quantity in the claims, separated by slashes."""
    return " / ".join(figure.value for claim in claims for figure in claim.figures if figure.quantity == quantity)


def _facts(part: TypePlan, found: Sequence[Disagreement], advice: Advice) -> list[RenderableType]:
    """Return a table of the facts about a type, grouped by topic."""
    table = _table(f"{part.title}: facts")
    for topic, heading in FACT_TOPICS.items():
        claims = [fact for fact in part.facts if fact.topic == topic]
        lines = [_sentence(claim, found, part.scar_type or "acne_scars", advice) for claim in claims]
        _add_group(table, Text(heading, "bold"), lines)
    return [table] if table.row_count else []


def _claims(
    part: TypePlan | None, treatments: Sequence[Treatment], found: Sequence[Disagreement], advice: Advice
) -> list[RenderableType]:
    """Return all claims about the treatments: one table per kind, one row per treatment."""
    subject = None if part is None else part.scar_type or "acne_scars"
    kinds = []
    for kind, heading in KINDS.items():
        table = _table(heading if part is None else f"{part.title}: {heading.lower()}")
        for treatment in treatments:
            if treatment.kind == kind:
                claims = sorted(treatment.claims, key=lambda claim: CLAIM_TOPICS.index(claim.topic))
                warning = advice.warning(treatment.id)
                lines = [Text(warning, _style(warning))] if warning else []
                lines += [_sentence(claim, found, subject, advice) for claim in claims]
                _add_group(table, Text(advice.marked(treatment.name), "bold"), lines)
        kinds.append(table)
    return [table for table in kinds if table.row_count]


def _disagreements(title: str, found: Sequence[Disagreement], advice: Advice) -> list[RenderableType]:
    """Return a table of the disagreements in the given order, each with its sides."""
    table = _table(title)
    for disagreement in found:
        nature = NATURES[disagreement.nature] + (", within one document" if disagreement.within_document else "")
        subject = Text(advice.marked(disagreement.subject), "bold").append(f"\n{nature}", "not bold yellow")
        sides = [
            Text(f"- {advice.marked(side.says)}").append(f"  {', '.join(side.documents)}", _FILE)
            for side in disagreement.sides
        ]
        _add_group(table, subject, sides)
    return [table] if table.row_count else []


def _safety(advice: Advice) -> list[RenderableType]:
    """Return the cautions for the context; without a context, say how to get them."""
    if advice.context is None:
        return [Text(f"{ASK_FOR_CAUTIONS}\n")]
    return [Text(CAUTIONS_HEADING, "bold red"), *(Text(f"{sentence}\n") for sentence in advice.sentences())]


def _labelled(treatment: Treatment, advice: Advice) -> Text:
    """Return a treatment name followed by its cautions in colour."""
    label = Text(advice.label(treatment.id, treatment.name))
    label.stylize(_style(advice.warning(treatment.id)), len(treatment.name))
    return label


def _style(warning: str) -> str:
    return "bold red" if warning.startswith("AVOID") else "yellow"


def _documents_table(advice: Advice) -> Table:
    table = _table("The documents")
    for document in catalogue().documents:
        table.add_row(document.file, advice.marked(f"{document.title}; {document.kind}"))
    return table


def _table(title: str, *heads: str) -> Table:
    """Return an empty table with the given column headings; without headings, a narrow and a wide column."""
    style = {"box": box.SIMPLE_HEAD if heads else box.SIMPLE, "title_justify": "left", "title_style": "bold cyan"}
    table = Table(title=title, show_header=bool(heads), expand=True, padding=(0, 1, 0, 0), pad_edge=False, **style)
    for number, head in enumerate(heads):
        # The first column of figures must hold a whole file name; rich shrinks columns without a fixed width.
        table.add_column(head, width=24 if number == 0 and len(heads) > 3 else None)
    if not heads:
        table.add_column(width=24)
        table.add_column(ratio=1)
    return table


def _add_group(table: Table, name: Text, lines: Sequence[Text]) -> None:
    """Add one row with a name and its lines, followed by a horizontal rule. Adds nothing if there are no lines."""
    if lines:
        table.add_row(name, Text("\n").join(lines))
        table.add_section()


def _sentence(claim: Claim, found: Sequence[Disagreement], subject: str | None, advice: Advice) -> Text:
    """Return a claim as one paragraph: its subject (unless it is `subject`), the statement and the file name."""
    text = Text("- ")
    if subject not in claim.about and (claim.about != (PROCEDURE,) or claim.topic != "caution"):
        text.append(f"{_subjects(claim)}: ", "green")
    if claim.topic in ("caution", "ideal_for"):
        text.append(f"{claim.topic.replace('_', ' ')}: ", "yellow" if claim.topic == "caution" else "green")
    text.append(advice.marked(claim.text))
    if any(disagreement.id in claim.disputed for disagreement in found):
        text.append(" (disputed)", "yellow")
    return text.append(f"  {claim.document}", _FILE)


def _subjects(claim: Claim) -> str:
    return ", ".join(SUBJECTS[subject] for subject in claim.about)
