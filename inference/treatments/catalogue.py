"""The facts of `documents.toml`, in which every claim names its source document."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
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

HABITS: Final = ("prevention", "after_care")
"""The kinds that are not treatments of scars."""

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
    """Return the bundled catalogue. The file is read once; the tests check that it is consistent."""
    data = tomllib.loads(Path(__file__).with_name("documents.toml").read_text(encoding="utf-8"))
    documents = tuple(Document(number, **entry) for number, entry in data["documents"].items())
    files = {document.number: document.file for document in documents}
    disagreements = [_disagreement(entry, files) for entry in data["disagreement"]]
    return Catalogue(
        documents=documents,
        facts=_claims(data["fact"], files),
        treatments=tuple(
            Treatment(entry["id"], entry["name"], entry["kind"], _claims(entry["claim"], files))
            for entry in data["treatment"]
        ),
        disagreements=tuple(sorted(disagreements, key=lambda found: list(NATURES).index(found.nature))),
    )


def _claims(entries: Sequence[dict[str, Any]], files: dict[str, str]) -> tuple[Claim, ...]:
    return tuple(
        Claim(
            topic=entry["topic"],
            about=tuple(entry["about"]),
            says=entry["says"],
            document=files[entry["source"]],
            figures=tuple(_figure(key, value) for key, value in entry.items() if key in FIGURES),
            disputed=tuple(entry.get("disputed", ())),
        )
        for entry in entries
    )


def _figure(quantity: str, value: Any) -> Figure:
    """Parse a figure: `[low, high]`, a number, a single bound or words."""
    match value:
        case str():
            return Figure(quantity, words=value)
        case [low, high]:
            return Figure(quantity, low, high)
        case {"at_least": low} | {"more_than": low}:
            return Figure(quantity, low=low, exclusive="more_than" in value)
        case {"at_most": high} | {"less_than": high}:
            return Figure(quantity, high=high, exclusive="less_than" in value)
        case _:
            return Figure(quantity, value, value)


def _disagreement(entry: dict[str, Any], files: dict[str, str]) -> Disagreement:
    sides = (Side(side["says"], tuple(files[source] for source in side["sources"])) for side in entry["sides"])
    return Disagreement(entry["id"], entry["subject"], entry["nature"], tuple(entry["about"]), tuple(sides))
