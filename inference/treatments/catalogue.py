"""Reader and validator of `documents.toml`, in which every claim names its source document."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from ...datasets.labels import DISPLAY_NAMES, SCAR_TYPES

KINDS: Final = {
    "non_surgical": "Non-surgical procedures",
    "unspecified": "Professional treatment",
    "surgical": "Surgical procedures",
    "combination": "Combinations",
    "topical": "Topical products",
    "prevention": "Prevention",
    "after_care": "After-care",
}
"""Treatment kinds and their headings, in display order."""

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
"""Fact topics and their headings, in display order."""

CLAIM_TOPICS: Final = ("effect", "ideal_for", "caution", "named", "method")
"""Topics of treatment claims, in display order."""

GENERAL: Final = {"acne_scars": "acne scars", "acne": "acne", "skin": "skin"}
"""Subjects of claims other than scar types, with display names."""

PROCEDURE: Final = "procedure"
"""Subject of claims about how a treatment works for any scar. Such claims appear under every scar type."""

SUBJECTS: Final = {**DISPLAY_NAMES, **GENERAL, PROCEDURE: "method"}
"""All subjects of claims, with display names."""

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
"""Quantities of figures: the words before the value, and the unit."""

NATURES: Final = {
    "contradiction": "contradiction",
    "figures": "the figures differ",
    "emphasis": "difference of emphasis",
    "terms": "difference of terms",
}
"""Kinds of disagreement, most serious first."""


@dataclass(frozen=True)
class Document:
    """One of the five source documents.

    Attributes:
        number: number at the start of the file name.
        file: file name.
        title: subject.
        kind: kind of text.
    """

    number: str
    file: str
    title: str
    kind: str


@dataclass(frozen=True)
class Figure:
    """Quantity as stated in a document.

    Attributes:
        quantity: key of `FIGURES`, which gives the unit.
        low: lower bound; None if the document gives none.
        high: upper bound; None if the document gives none.
        exclusive: True if the single bound is exclusive ("more than 60", "less than 2").
        words: wording of the document if it gives no number ("minimal"), else None.
    """

    quantity: str
    low: float | None = None
    high: float | None = None
    exclusive: bool = False
    words: str | None = None

    @property
    def value(self) -> str:
        """Value with its unit, for display: "30-60 %", "more than 60 %", "minimal"."""
        if self.words is not None:
            return self.words
        if self.high is None:
            text = f"{'more than' if self.exclusive else 'at least'} {self.low:g}"
        elif self.low is None:
            text = f"{'less than' if self.exclusive else 'at most'} {self.high:g}"
        else:
            text = f"{self.low:g}" if self.low == self.high else f"{self.low:g}-{self.high:g}"
        return f"{text} {FIGURES[self.quantity][1]}".rstrip()

    def __str__(self) -> str:
        """Return the value with the name of its quantity: "improvement 30-60 %"."""
        return f"{FIGURES[self.quantity][0]} {self.value}".lstrip()

    def to_dict(self) -> dict[str, Any]:
        """Return the figure as plain JSON types."""
        return {"low": self.low, "high": self.high, "exclusive": self.exclusive, "text": self.value}


@dataclass(frozen=True)
class Claim:
    """Single statement from a single document.

    Attributes:
        topic: key of `FACT_TOPICS`, or one of `CLAIM_TOPICS` in a treatment.
        about: subjects of the statement, keys of `SUBJECTS`.
        says: statement in our own words.
        document: file name of the document.
        figures: quantities in the statement.
        disputed: ids of the disagreements that involve this claim.
    """

    topic: str
    about: tuple[str, ...]
    says: str
    document: str
    figures: tuple[Figure, ...] = ()
    disputed: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Statement, preceded by its figures."""
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
    """Treatment, preventive habit or after-care step, with the documents' claims about it.

    Attributes:
        id: unique short name.
        name: display name.
        kind: key of `KINDS`.
        claims: claims of the documents, each with its file name.
    """

    id: str
    name: str
    kind: str
    claims: tuple[Claim, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the treatment as plain JSON types."""
        return {
            "id": self.id,
            "name": self.name,
            "kind": self.kind,
            "scar_types": [name for name in SCAR_TYPES if any(name in claim.about for claim in self.claims)],
            "claims": [claim.to_dict() for claim in self.claims],
        }


@dataclass(frozen=True)
class Side:
    """One side of a disagreement: a statement, and the file names of the documents that make it."""

    says: str
    documents: tuple[str, ...]


@dataclass(frozen=True)
class Disagreement:
    """Conflicting statements, from several documents or within one.

    Attributes:
        id: unique short name; `Claim.disputed` refers to it.
        subject: topic of the disagreement.
        nature: kind of disagreement, key of `NATURES`.
        about: subjects of the statements, keys of `SUBJECTS`.
        sides: two or more conflicting statements.
    """

    id: str
    subject: str
    nature: str
    about: tuple[str, ...]
    sides: tuple[Side, ...]

    @property
    def within_document(self) -> bool:
        """True if a single document contradicts itself."""
        return len({file for side in self.sides for file in side.documents}) == 1

    def to_dict(self) -> dict[str, Any]:
        """Return the disagreement as plain JSON types."""
        return {
            "id": self.id,
            "subject": self.subject,
            "nature": self.nature,
            "about": list(self.about),
            "within_document": self.within_document,
            "sides": [{"says": side.says, "documents": list(side.documents)} for side in self.sides],
        }


@dataclass(frozen=True)
class Catalogue:
    """Contents of `documents.toml`."""

    documents: tuple[Document, ...]
    facts: tuple[Claim, ...]
    treatments: tuple[Treatment, ...]
    disagreements: tuple[Disagreement, ...]


@cache
def catalogue() -> Catalogue:
    """Return the bundled catalogue. The file is read once."""
    return read_catalogue(Path(__file__).with_name("documents.toml").read_text(encoding="utf-8"))


def read_catalogue(text: str) -> Catalogue:
    """Parse and validate text in the format of `documents.toml`.

    Raises:
        ValueError: an entry is missing, unknown or inconsistent; the message gives its place.
    """
    data = tomllib.loads(text)
    _check_keys("the file", data, {"documents", "fact", "treatment", "disagreement"})
    documents = tuple(_read_document(number, entry) for number, entry in data["documents"].items())
    files = {document.number: document.file for document in documents}
    facts = _read_claims("fact", data["fact"], FACT_TOPICS, files)
    treatments = tuple(_read_treatment(entry, files) for entry in data["treatment"])
    disagreements = [_read_disagreement(entry, files) for entry in data["disagreement"]]
    disagreements.sort(key=lambda disagreement: list(NATURES).index(disagreement.nature))
    for what, records in (("treatment", treatments), ("disagreement", disagreements)):
        ids = [record.id for record in records]
        if doubled := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"{what} ids must be unique; duplicates: {doubled}")
    _check_disputes([*facts, *(claim for treatment in treatments for claim in treatment.claims)], disagreements)
    return Catalogue(documents, facts, treatments, tuple(disagreements))


def _read_document(number: str, entry: dict[str, Any]) -> Document:
    where = f"document {number!r}"
    _check_keys(where, entry, {"file", "title", "kind"})
    document = Document(number, *(_text(where, entry, key) for key in ("file", "title", "kind")))
    if not document.file.startswith(f"{number}_"):
        raise ValueError(f"{where}: file name must begin with '{number}_', got {document.file!r}")
    return document


def _read_treatment(entry: dict[str, Any], files: dict[str, str]) -> Treatment:
    where = f"treatment {entry.get('id')!r}"
    _check_keys(where, entry, {"id", "name", "kind", "claim"})
    return Treatment(
        id=_text(where, entry, "id"),
        name=_text(where, entry, "name"),
        kind=_known(where, entry, "kind", KINDS),
        claims=_read_claims(f"{where}, claim", entry["claim"], CLAIM_TOPICS, files),
    )


def _read_claims(what: str, entries: list[Any], topics: Collection[str], files: dict[str, str]) -> tuple[Claim, ...]:
    claims = []
    for number, entry in enumerate(entries, 1):
        where = f"{what} {number}"
        _check_keys(where, entry, {"topic", "about", "source", "says"}, {"disputed", *FIGURES})
        claim = Claim(
            topic=_known(where, entry, "topic", topics),
            about=_all_known(where, entry, "about", SUBJECTS),
            says=_text(where, entry, "says"),
            document=files[_known(where, entry, "source", files)],
            figures=tuple(_read_figure(where, key, value) for key, value in entry.items() if key in FIGURES),
            disputed=tuple(entry.get("disputed", ())),
        )
        claims.append(claim)
    return tuple(claims)


def _read_figure(where: str, quantity: str, value: Any) -> Figure:
    """Parse a figure: `[low, high]`, a number, a single bound or words."""

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
        case {"at_least": low} | {"more_than": low} if len(value) == 1:
            return Figure(quantity, low=number(low), exclusive="more_than" in value)
        case {"at_most": high} | {"less_than": high} if len(value) == 1:
            return Figure(quantity, high=number(high), exclusive="less_than" in value)
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


def _check_disputes(claims: Sequence[Claim], disagreements: Sequence[Disagreement]) -> None:
    """Raise ValueError if the sides of a disagreement and its disputed claims come from different documents."""
    known = {found.id for found in disagreements}
    for claim in claims:
        for name in claim.disputed:
            if name not in known:
                raise ValueError(f"claim {claim.says!r}: disputed has unknown disagreement {name!r}")
    for found in disagreements:
        sides = sorted({file for side in found.sides for file in side.documents})
        claimed = sorted({claim.document for claim in claims if found.id in claim.disputed})
        if sides != claimed:
            raise ValueError(
                f"disagreement {found.id!r}: sides cite {sides}, but the claims that refer to it cite {claimed}"
            )


def _check_keys(where: str, entry: object, required: Collection[str], optional: Collection[str] = ()) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: must be a table, got {entry!r}")
    if missing := sorted(set(required) - set(entry)):
        raise ValueError(f"{where}: missing {missing}; got {sorted(entry)}")
    if unknown := sorted(set(entry) - set(required) - set(optional)):
        raise ValueError(f"{where}: unknown {unknown}; known are {sorted({*required, *optional})}")


def _text(where: str, entry: dict[str, Any], key: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{where}: {key} must be a non-empty string, got {value!r}")
    return value


def _known(where: str, entry: dict[str, Any], key: str, known: Collection[str]) -> str:
    value = _text(where, entry, key)
    if value not in known:
        raise ValueError(f"{where}: unknown {key} {value!r}; known are {sorted(known)}")
    return value


def _all_known(where: str, entry: dict[str, Any], key: str, known: Collection[str]) -> tuple[str, ...]:
    values = entry[key]
    if not isinstance(values, list) or not values:
        raise ValueError(f"{where}: {key} must be a non-empty list, got {values!r}")
    return tuple(_known(where, {key: value}, key, known) for value in values)
