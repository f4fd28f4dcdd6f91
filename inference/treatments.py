"""What five documents say about each scar type and its treatment, and the plan a prediction carries.

The data stand in `treatments.toml`. Every claim names the document it comes from; nothing is added to what the
documents say, and where they disagree both claims stand.
"""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Final

from ..datasets.labels import DISPLAY_NAMES, SCAR_TYPES, known_spellings, normalise_label
from .prediction import NOTICE

KINDS: Final = {
    "non_surgical": "Non-surgical procedures",
    "unspecified": "Professional treatment",
    "surgical": "Surgical procedures",
    "combination": "Combinations",
    "topical": "Topical products",
    "prevention": "Prevention",
    "after_care": "After-care",
}
"""The kinds of treatment with their headings, in the order they are shown."""

HABITS: Final = ("prevention", "after_care")
"""The kinds that are no treatment of a scar."""

FACT_TOPICS: Final = {
    "morphology": "Shape and depth",
    "site": "Where",
    "cause": "Causes",
    "mechanism": "How they form",
    "risk": "Risk factors",
    "prevalence": "How common",
    "burden": "Burden",
    "treatability": "How treatable",
    "choice": "Choosing a treatment",
    "expectation": "What to expect",
}
"""The topics of a fact with their headings, in the order they are shown."""

CLAIM_TOPICS: Final = {
    "effect": "effect",
    "ideal_for": "ideal for",
    "caution": "caution",
    "named": "named",
    "method": "method",
}
"""The topics of a treatment's claim, in the order they are shown."""

GENERAL: Final = {"acne_scars": "acne scars", "acne": "acne", "skin": "skin"}
"""What a claim may be about when it is about no scar type in particular."""

PROCEDURE: Final = "procedure"
"""A claim about how a treatment works, whatever the scar: it goes along with the treatment, under every type."""

SUBJECTS: Final = {**DISPLAY_NAMES, **GENERAL, PROCEDURE: "method"}
"""Everything a claim may be about, with the name a user reads."""

FIGURES: Final = {
    "improvement_percent": ("improvement", "%"),
    "sessions": ("sessions", ""),
    "downtime_days": ("downtime", "days"),
    "recovery_days": ("recovery", "days"),
    "lasts_months": ("lasts", "months"),
    "width_mm": ("width", "mm"),
    "depth_mm": ("depth", "mm"),
    "prevalence_percent": ("share", "%"),
    "spf": ("SPF", ""),
    "every_hours": ("every", "hours"),
    "times_a_day": ("", "times a day"),
    "visits": ("visits", ""),
    "over_months": ("over", "months"),
}
"""The quantities a claim may give a figure for: what a user reads before it, and its unit."""

NATURES: Final = {
    "contradiction": "contradiction",
    "figures": "the figures differ",
    "emphasis": "difference of emphasis",
    "terms": "difference of terms",
}
"""How two statements can disagree, the gravest first."""


@dataclass(frozen=True)
class Document:
    """A source document: the number its file name begins with, the file name, its subject and the kind of text."""

    number: str
    file: str
    title: str
    kind: str

    def to_dict(self) -> dict[str, Any]:
        """Return the document as plain JSON types."""
        return {"number": self.number, "file": self.file, "title": self.title, "kind": self.kind}


@dataclass(frozen=True)
class Figure:
    """A quantity as a document gives it.

    Attributes:
        quantity: a key of `FIGURES`; it names the unit.
        low: the lower bound, or None when the document gives none.
        high: the upper bound, or None when the document gives none.
        exclusive: whether the one bound is itself left out ("more than 60", "less than 2").
        words: the document's judgement where it gives no number ("minimal"), else None.
    """

    quantity: str
    low: float | None = None
    high: float | None = None
    exclusive: bool = False
    words: str | None = None

    @property
    def value(self) -> str:
        """The value with its unit, as a user reads it: "30-60 %", "more than 60 %", "minimal"."""
        unit = FIGURES[self.quantity][1]
        if self.words is not None:
            return self.words
        if self.high is None:
            text = f"{'more than' if self.exclusive else 'at least'} {self.low:g}"
        elif self.low is None:
            text = f"{'less than' if self.exclusive else 'at most'} {self.high:g}"
        else:
            text = f"{self.low:g}" if self.low == self.high else f"{self.low:g}-{self.high:g}"
        return f"{text} {unit}".rstrip()

    def __str__(self) -> str:
        """Return the value with the name of its quantity: "improvement 30-60 %"."""
        return f"{FIGURES[self.quantity][0]} {self.value}".lstrip()

    def to_dict(self) -> dict[str, Any]:
        """Return the figure as plain JSON types."""
        return {"low": self.low, "high": self.high, "exclusive": self.exclusive, "text": self.value}


@dataclass(frozen=True)
class Claim:
    """One statement of one document.

    Attributes:
        topic: a key of `FACT_TOPICS` or, in a treatment, of `CLAIM_TOPICS`.
        about: what the document says it of, keys of `SUBJECTS`.
        says: the statement, in our words.
        document: file name of the document.
        figures: the quantities the statement gives.
        disputed: ids of the disagreements it takes part in.
    """

    topic: str
    about: tuple[str, ...]
    says: str
    document: str
    figures: tuple[Figure, ...] = ()
    disputed: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The statement, with its figures before it."""
        return f"{', '.join(map(str, self.figures))}; {self.says}" if self.figures else self.says

    def to_dict(self) -> dict[str, Any]:
        """Return the claim as plain JSON types."""
        return {
            "topic": self.topic,
            "about": list(self.about),
            "says": self.says,
            "figures": {figure.quantity: figure.to_dict() for figure in self.figures},
            "disputed": list(self.disputed),
            "document": self.document,
        }


@dataclass(frozen=True)
class Treatment:
    """A treatment, a habit of prevention or a step of after-care, with what the documents say about it.

    Attributes:
        id: short name, unique.
        name: the name a user reads.
        kind: a key of `KINDS`.
        claims: what the documents say, each with its file name.
    """

    id: str
    name: str
    kind: str
    claims: tuple[Claim, ...]

    @property
    def scar_types(self) -> tuple[str, ...]:
        """The scar types a document speaks of it for, in the order of `SCAR_TYPES`."""
        return tuple(name for name in SCAR_TYPES if any(name in claim.about for claim in self.claims))

    @property
    def documents(self) -> tuple[str, ...]:
        """File names of the documents that speak of it, sorted."""
        return tuple(sorted({claim.document for claim in self.claims}))

    @property
    def direct(self) -> tuple[Claim, ...]:
        """The claims about a type or about acne scars: without those that only say how the procedure works."""
        return tuple(claim for claim in self.claims if claim.about != (PROCEDURE,))

    @property
    def ideal_for(self) -> tuple[Claim, ...]:
        """The claims that say whom or what it suits."""
        return self.on("ideal_for")

    @property
    def cautions(self) -> tuple[Claim, ...]:
        """The claims that name a limit, a side effect or a risk."""
        return self.on("caution")

    def on(self, topic: str) -> tuple[Claim, ...]:
        """Return the claims on one topic."""
        return tuple(claim for claim in self.claims if claim.topic == topic)

    def figures(self, quantity: str) -> tuple[tuple[Figure, Claim], ...]:
        """Return every figure given for a quantity, each with the claim that gives it."""
        return tuple(
            (figure, claim) for claim in self.claims for figure in claim.figures if figure.quantity == quantity
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the treatment as plain JSON types."""
        return {
            "id": self.id,
            "name": self.name,
            "kind": self.kind,
            "scar_types": list(self.scar_types),
            "claims": [claim.to_dict() for claim in self.claims],
        }


@dataclass(frozen=True)
class Side:
    """One side of a disagreement: what is said, and the file names of the documents that say it."""

    says: str
    documents: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the side as plain JSON types."""
        return {"says": self.says, "documents": list(self.documents)}


@dataclass(frozen=True)
class Disagreement:
    """Statements that do not go together, of several documents or within one.

    Attributes:
        id: short name, unique; `Claim.disputed` refers to it.
        subject: what the disagreement is about.
        nature: a key of `NATURES`.
        about: what the statements are about, keys of `SUBJECTS`.
        sides: the statements, two or more.
    """

    id: str
    subject: str
    nature: str
    about: tuple[str, ...]
    sides: tuple[Side, ...]

    @property
    def within_document(self) -> bool:
        """Whether one document disagrees with itself, and no other takes part."""
        return len({file for side in self.sides for file in side.documents}) == 1

    def to_dict(self) -> dict[str, Any]:
        """Return the disagreement as plain JSON types."""
        return {
            "id": self.id,
            "subject": self.subject,
            "nature": self.nature,
            "about": list(self.about),
            "within_document": self.within_document,
            "sides": [side.to_dict() for side in self.sides],
        }


@dataclass(frozen=True)
class TypePlan:
    """What the documents say about one scar type, or about acne scars in general.

    Attributes:
        scar_type: a name of `SCAR_TYPES`, or None for what is said of no type in particular.
        facts: shape, causes, risk factors, limits and so on.
        treatments: the treatments named for it; each holds only the claims about it and about the procedure itself.
        disagreements: where the documents disagree about it.
    """

    scar_type: str | None
    facts: tuple[Claim, ...]
    treatments: tuple[Treatment, ...]
    disagreements: tuple[Disagreement, ...]

    @property
    def title(self) -> str:
        """The heading a user reads."""
        return "Acne scars in general" if self.scar_type is None else f"{_display(self.scar_type)} scars"

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Every claim of the plan: the facts, then those of the treatments."""
        return self.facts + tuple(claim for treatment in self.treatments for claim in treatment.claims)

    @property
    def gives_figures(self) -> bool:
        """Whether a document gives a figure for any of the treatments."""
        return any(claim.figures for treatment in self.treatments for claim in treatment.claims)

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
        label: the scar type the plan is for, or None when the classifier did not decide.
        types: the plan of the label first, then of the other plausible types.
        general: what the documents say of acne scars in general; it holds beside every type.
    """

    label: str | None
    types: tuple[TypePlan, ...]
    general: TypePlan

    @property
    def undecided(self) -> bool:
        """Whether several plausible types stand side by side and none is chosen."""
        return self.label is None and len(self.types) > 1

    @property
    def notice(self) -> str:
        """What stands on everything a user sees."""
        return NOTICE

    def to_dict(self) -> dict[str, Any]:
        """Return the whole plan as plain JSON types."""
        return {
            "label": self.label,
            "undecided": self.undecided,
            "types": [part.to_dict() for part in self.types],
            "general": self.general.to_dict(),
            "documents": [document.to_dict() for document in catalogue().documents],
            "notice": self.notice,
        }

    def to_text(self, width: int = 100) -> str:
        """Return the plan in short, as plain text of at most `width` columns; `to_dict` has all of it."""
        lines: list[str] = []
        if self.undecided:
            lines += [*_wrap("Undecided: what the documents say of each plausible type, side by side.", width), ""]
        for part in self.types:
            also = self.label is not None and part.scar_type != self.label
            lines += _part_lines(part, f"Also plausible: {part.title.lower()}" if also else part.title, width)
        lines += _part_lines(self.general, self.general.title, width)
        lines += _habit_lines([*self.types, self.general], width)
        lines += [
            "Documents",
            *(f"  {document.number}  {document.file}  {document.kind}" for document in catalogue().documents),
        ]
        lines += ["", *_wrap("* The documents disagree. The figures are theirs; they cite no study for them.", width)]
        lines += _wrap("Causes, risk factors, methods and every claim: scarlens treatments [TYPE]", width)
        lines += _wrap(self.notice, width)
        return "\n".join(lines)


@dataclass(frozen=True)
class Catalogue:
    """Everything the data file holds."""

    documents: tuple[Document, ...]
    facts: tuple[Claim, ...]
    treatments: tuple[Treatment, ...]
    disagreements: tuple[Disagreement, ...]


def plan(label: str | None, plausible: Sequence[str]) -> TreatmentPlan:
    """Return what the documents say about a label, then about the other plausible types.

    Args:
        label: the scar type of a prediction, or None when it is undecided.
        plausible: the plausible types, most probable first; the label may be among them.

    Raises:
        ValueError: for a type that is not known, or when there is neither a label nor a plausible type.
    """
    chosen = None if label is None else _scar_type(label)
    names = dict.fromkeys(([] if chosen is None else [chosen]) + [_scar_type(name) for name in plausible])
    if not names:
        raise ValueError(f"a plan needs a label or at least one plausible type: {known_spellings()}; got neither")
    return TreatmentPlan(chosen, tuple(_type_plan(name) for name in names), general())


def general() -> TypePlan:
    """Return what the documents say of acne scars, acne and skin in general."""
    return _part(None, tuple(GENERAL))


def treatments_for(scar_type: str) -> tuple[Treatment, ...]:
    """Return the treatments the documents name for a scar type, each with only the claims that concern it.

    Raises:
        ValueError: for a type that is not known.
    """
    return _type_plan(_scar_type(scar_type)).treatments


def everything() -> dict[str, Any]:
    """Return all documents, facts, treatments and disagreements as plain JSON types."""
    data = catalogue()
    return {
        "notice": NOTICE,
        "documents": [document.to_dict() for document in data.documents],
        "facts": [fact.to_dict() for fact in data.facts],
        "treatments": [treatment.to_dict() for treatment in data.treatments],
        "disagreements": [disagreement.to_dict() for disagreement in data.disagreements],
    }


@cache
def catalogue() -> Catalogue:
    """Return the data that ship, read once."""
    return read_catalogue(resources.files(str(__package__)).joinpath("treatments.toml").read_text(encoding="utf-8"))


def _scar_type(spelling: str) -> str:
    """Return the canonical name of a scar type, or refuse it."""
    name = normalise_label(spelling)
    if name is None:
        raise ValueError(f"unknown scar type {spelling!r}; known are {known_spellings()}")
    return name


def _type_plan(scar_type: str) -> TypePlan:
    return _part(scar_type, (scar_type,))


@cache  # a batch asks for the same three types again and again
def _part(scar_type: str | None, subjects: tuple[str, ...]) -> TypePlan:
    """Gather what is about the subjects; how a procedure works comes along with a treatment of a scar type."""
    data = catalogue()
    facts = tuple(fact for fact in data.facts if _meets(fact.about, subjects))
    wanted = subjects if scar_type is None else (*subjects, PROCEDURE)
    treatments = tuple(
        replace(treatment, claims=tuple(claim for claim in treatment.claims if _meets(claim.about, wanted)))
        for treatment in data.treatments
        if any(_meets(claim.about, subjects) for claim in treatment.claims)
    )
    disputed = {name for treatment in treatments for claim in treatment.claims for name in claim.disputed}
    found = tuple(
        disagreement
        for disagreement in data.disagreements
        if _meets(disagreement.about, subjects)
        or (scar_type is not None and PROCEDURE in disagreement.about and disagreement.id in disputed)
    )
    return TypePlan(scar_type, facts, treatments, found)


def _meets(about: Iterable[str], subjects: Collection[str]) -> bool:
    return any(subject in subjects for subject in about)


# --- plain text ------------------------------------------------------------------------------------------------------


def _display(scar_type: str) -> str:
    return DISPLAY_NAMES[scar_type].capitalize()


def _wrap(text: str, width: int, first: str = "", rest: str | None = None) -> list[str]:
    """Break a text into lines that never cut a file name."""
    rest = first if rest is None else rest
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def _part_lines(part: TypePlan, heading: str, width: int) -> list[str]:
    """Return one type's plan in short: shape, figures and cautions of its treatments, and the graver disagreements."""
    shown = {disagreement.id for disagreement in part.disagreements}

    def mark(claims: Iterable[Claim]) -> str:
        claims = tuple(claims)
        disputed = any(shown.intersection(claim.disputed) for claim in claims)
        return _mark({claim.document for claim in claims}, disputed)

    def sentence(claim: Claim) -> str:
        lead = "caution: " if claim.topic == "caution" else "for: " if claim.topic == "ideal_for" else ""
        return f"{lead}{claim.text}{mark([claim])}"

    lines = [heading, "-" * len(heading)]
    if shapes := [fact for fact in part.facts if fact.topic == "morphology"]:
        lines.append(f"  {FACT_TOPICS['morphology']}")
        for fact in shapes:
            lines += _wrap(sentence(fact), width, "    ", "      ")
    for kind, title in KINDS.items():
        if kind in HABITS:
            continue
        treatments = [treatment for treatment in part.treatments if treatment.kind == kind]
        telling = {treatment.id: _telling(treatment) for treatment in treatments}
        if treatments:
            lines.append(f"  {title}")
        for treatment in treatments:
            if claims := telling[treatment.id]:
                lines += _wrap(f"{treatment.name}: {sentence(claims[0])}", width, "    ", "      ")
                for claim in claims[1:]:
                    lines += _wrap(sentence(claim), width, "      ", "        ")
        named = [treatment for treatment in treatments if not telling[treatment.id]]
        if named:
            names = "; ".join(treatment.name + mark(treatment.direct) for treatment in named)
            also = "also named" if any(telling.values()) else "named"
            lines += _wrap(f"{also}: {names}", width, "    ", "      ")
    if part.scar_type is not None and not part.gives_figures:
        lines.append("  No document gives a figure for their treatment.")
    grave = [found for found in part.disagreements if found.nature in ("contradiction", "figures")]
    if grave:
        lines.append("  Where the documents disagree")
    for disagreement in grave:
        sides = " / ".join(side.says + _mark(side.documents) for side in disagreement.sides)
        lines += _wrap(f"{disagreement.subject}: {sides}", width, "    ", "      ")
    if others := [found.subject for found in part.disagreements if found not in grave]:
        lines += _wrap(f"Other differences, of emphasis or terms: {'; '.join(others)}", width, "  ", "    ")
    return [*lines, ""]


def _telling(treatment: Treatment) -> tuple[Claim, ...]:
    """Return the claims that a short text cannot leave out: figures, whom it suits, cautions."""
    kept = [claim for claim in treatment.claims if claim.figures or claim.topic in ("ideal_for", "caution")]
    return tuple(sorted(kept, key=lambda claim: (not claim.figures, claim.topic == "caution")))


def _habit_lines(parts: Iterable[TypePlan], width: int) -> list[str]:
    """Return prevention and after-care in one line each, gathered from all parts of a plan."""
    lines: list[str] = []
    for kind in HABITS:
        items: dict[str, str] = {}
        sources: dict[str, set[str]] = {}
        for treatment in (treatment for part in parts for treatment in part.treatments if treatment.kind == kind):
            figures = ", ".join(str(figure) for claim in treatment.claims for figure in claim.figures)
            items[treatment.id] = f"{treatment.name} ({figures})" if figures else treatment.name
            sources.setdefault(treatment.id, set()).update(claim.document for claim in treatment.direct)
        text = "; ".join(item + _mark(sources[name]) for name, item in items.items())
        lines += _wrap(f"{KINDS[kind]}: {text}", width, "", "  ")
    return [*lines, ""]


def _mark(files: Iterable[str], disputed: bool = False) -> str:
    """Return the numbers of documents in brackets, with a star for a disputed claim."""
    numbers = {document.file: document.number for document in catalogue().documents}
    return f" [{', '.join(sorted(numbers[file] for file in files))}]{'*' if disputed else ''}"


# --- reading the data file -------------------------------------------------------------------------------------------


def read_catalogue(text: str) -> Catalogue:
    """Read and check data in the format of `treatments.toml`.

    Raises:
        ValueError: when something is missing, unknown or contradicts itself; the message says where.
    """
    data = tomllib.loads(text)
    _check_keys("the file", data, {"documents", "fact", "treatment", "disagreement"})
    files = {}
    documents = []
    for key, entry in data["documents"].items():
        where = f"document {key!r}"
        _check_keys(where, entry, {"file", "title", "kind"})
        document = Document(key, *(_text(where, entry, field) for field in ("file", "title", "kind")))
        if not document.file.startswith(f"{key}_"):
            raise ValueError(f"{where}: its file name must begin with '{key}_', got {document.file!r}")
        documents.append(document)
        files[key] = document.file
    facts = tuple(
        _read_claim(f"fact {number}", entry, FACT_TOPICS, files) for number, entry in enumerate(data["fact"], 1)
    )
    treatments = tuple(_read_treatment(entry, files) for entry in data["treatment"])
    found = [_read_disagreement(entry, files) for entry in data["disagreement"]]
    found.sort(key=lambda disagreement: list(NATURES).index(disagreement.nature))
    _check_unique("treatment", [treatment.id for treatment in treatments])
    _check_unique("disagreement", [disagreement.id for disagreement in found])
    _check_disputes([*facts, *(claim for treatment in treatments for claim in treatment.claims)], found)
    return Catalogue(tuple(documents), facts, treatments, tuple(found))


def _read_treatment(entry: dict[str, Any], files: dict[str, str]) -> Treatment:
    where = f"treatment {entry.get('id')!r}"
    _check_keys(where, entry, {"id", "name", "kind", "claim"})
    claims = tuple(
        _read_claim(f"{where}, claim {number}", claim, CLAIM_TOPICS, files)
        for number, claim in enumerate(entry["claim"], 1)
    )
    return Treatment(
        _text(where, entry, "id"), _text(where, entry, "name"), _known(where, entry, "kind", KINDS), claims
    )


def _read_claim(where: str, entry: dict[str, Any], topics: Collection[str], files: dict[str, str]) -> Claim:
    _check_keys(where, entry, {"topic", "about", "source", "says"}, {"disputed", *FIGURES})
    return Claim(
        topic=_known(where, entry, "topic", topics),
        about=_all_known(where, entry, "about", SUBJECTS),
        says=_text(where, entry, "says"),
        document=files[_known(where, entry, "source", files)],
        figures=tuple(_read_figure(where, key, value) for key, value in entry.items() if key in FIGURES),
        disputed=tuple(entry.get("disputed", ())),
    )


def _read_figure(where: str, quantity: str, value: object) -> Figure:
    """Read `[low, high]`, a number, an open bound or words."""

    def number(candidate: object) -> float:
        if isinstance(candidate, bool) or not isinstance(candidate, int | float):
            raise ValueError(f"{where}: {quantity} must be a number, got {candidate!r}")
        return candidate

    match value:
        case str() if value.strip():
            return Figure(quantity, words=value)
        case [low, high]:
            if number(low) > number(high):
                raise ValueError(f"{where}: {quantity} must be [low, high], got low {low} above high {high}")
            return Figure(quantity, number(low), number(high))
        case {"more_than": low, **rest} if not rest:
            return Figure(quantity, low=number(low), exclusive=True)
        case {"at_least": low, **rest} if not rest:
            return Figure(quantity, low=number(low))
        case {"less_than": high, **rest} if not rest:
            return Figure(quantity, high=number(high), exclusive=True)
        case {"at_most": high, **rest} if not rest:
            return Figure(quantity, high=number(high))
        case int() | float():
            return Figure(quantity, number(value), number(value))
    raise ValueError(
        f"{where}: {quantity} must be [low, high], a number, words, or one of more_than, at_least, less_than, at_most; "
        f"got {value!r}"
    )


def _read_disagreement(entry: dict[str, Any], files: dict[str, str]) -> Disagreement:
    where = f"disagreement {entry.get('id')!r}"
    _check_keys(where, entry, {"id", "subject", "nature", "about", "sides"})
    sides = []
    for number, side in enumerate(entry["sides"], 1):
        place = f"{where}, side {number}"
        _check_keys(place, side, {"says", "sources"})
        sources = _all_known(place, side, "sources", files)
        sides.append(Side(_text(place, side, "says"), tuple(files[source] for source in sources)))
    if len(sides) < 2:
        raise ValueError(f"{where}: must have at least two sides, got {len(sides)}")
    return Disagreement(
        id=_text(where, entry, "id"),
        subject=_text(where, entry, "subject"),
        nature=_known(where, entry, "nature", NATURES),
        about=_all_known(where, entry, "about", SUBJECTS),
        sides=tuple(sides),
    )


def _check_disputes(claims: Iterable[Claim], found: Iterable[Disagreement]) -> None:
    """Refuse a disagreement whose sides and disputed claims come from different documents."""
    disputing: dict[str, set[str]] = {disagreement.id: set() for disagreement in found}
    for claim in claims:
        for name in claim.disputed:
            if name not in disputing:
                raise ValueError(f"claim {claim.says!r}: disputed names {name!r}, which is no disagreement")
            disputing[name].add(claim.document)
    for disagreement in found:
        sides = {file for side in disagreement.sides for file in side.documents}
        if sides != disputing[disagreement.id]:
            raise ValueError(
                f"disagreement {disagreement.id!r}: its sides are of {sorted(sides)}, "
                f"but the claims that name it are of {sorted(disputing[disagreement.id])}"
            )


def _check_keys(where: str, entry: object, required: Collection[str], optional: Collection[str] = ()) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: must be a table, got {entry!r}")
    if missing := sorted(set(required) - set(entry)):
        raise ValueError(f"{where}: lacks {missing}; it has {sorted(entry)}")
    if unknown := sorted(set(entry) - set(required) - set(optional)):
        raise ValueError(f"{where}: unknown {unknown}; known are {sorted({*required, *optional})}")


def _check_unique(what: str, names: Sequence[str]) -> None:
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{what} ids must be unique, got {doubled} more than once")


def _text(where: str, entry: dict[str, Any], key: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: {key} must be a text that is not empty, got {value!r}")
    return value


def _known(where: str, entry: dict[str, Any], key: str, known: Collection[str]) -> str:
    value = _text(where, entry, key)
    if value not in known:
        raise ValueError(f"{where}: unknown {key} {value!r}; known are {sorted(known)}")
    return value


def _all_known(where: str, entry: dict[str, Any], key: str, known: Collection[str]) -> tuple[str, ...]:
    values = entry[key]
    if not isinstance(values, list) or not values:
        raise ValueError(f"{where}: {key} must be a list that is not empty, got {values!r}")
    return tuple(_known(where, {key: value}, key, known) for value in values)
