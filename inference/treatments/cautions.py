"""Cautions from the clinical literature for a person described by the user. The five documents play no part."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from ...datasets.errors import ScarlensError

LEVELS: Final = ("avoid", "caution")
"""Caution levels, most serious first."""

SKIN_TYPES: Final = ("I", "II", "III", "IV", "V", "VI")
"""Fitzpatrick skin types 1 to 6 as Roman numerals."""

REASONS: Final = {
    "skin_type": "skin type",
    "pregnant": "pregnancy",
    "isotretinoin_months": "isotretinoin",
    "active_acne": "active acne",
    "keloid_history": "keloid history",
}
"""Display names of the `Context` fields. The reason of a rule is one of these names."""

CAUTIONS_HEADING: Final = "Cautions for this person (from the literature, not from the documents)"
"""Heading above the sentences of an `Advice`."""

ASK_FOR_CAUTIONS: Final = "Cautions not checked: describe the person (--skin-type, --pregnant; see --help)."
"""Shown if nothing is known about the person, so that nobody mistakes the absence of cautions for safety."""


class ContextError(ScarlensError, ValueError):
    """Invalid value in a `Context`; the message gives the expected values."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """Facts about the person in the photo, given by the user. None means not given, which differs from no.

    Attributes:
        skin_type: Fitzpatrick skin type, 1 to 6.
        pregnant: True if the person is pregnant.
        isotretinoin_months: months since the last dose of oral isotretinoin; 0 means taken now.
        active_acne: True if the person has acne as well as scars.
        keloid_history: True if the person ever had a keloid or another scar that grew beyond its wound.

    Raises:
        ContextError: a value is out of range or of the wrong type.
    """

    skin_type: int | None = None
    pregnant: bool | None = None
    isotretinoin_months: float | None = None
    active_acne: bool | None = None
    keloid_history: bool | None = None

    def __post_init__(self) -> None:
        """Raise ContextError for invalid values."""
        kind, months = self.skin_type, self.isotretinoin_months
        if kind is not None and (not _is_number(kind) or kind not in range(1, len(SKIN_TYPES) + 1)):
            raise ContextError(f"skin_type must be a Fitzpatrick skin type, a whole number from 1 to 6, got {kind!r}")
        if months is not None and not (_is_number(months) and 0 <= months < math.inf):
            raise ContextError(
                f"isotretinoin_months must be 0 (taken now) or the months since the last dose, got {months!r}"
            )
        for name in ("pregnant", "active_acne", "keloid_history"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, bool):
                raise ContextError(f"{name} must be True, False or None (not given), got {value!r}")

    @property
    def not_told(self) -> tuple[str, ...]:
        """Display names of the fields that are None."""
        return tuple(name for field, name in REASONS.items() if getattr(self, field) is None)

    def to_dict(self) -> dict[str, Any]:
        """Return the context as plain JSON types; fields that were not given are None."""
        return asdict(self)


@dataclass(frozen=True)
class Source:
    """Source of a caution: the citation, and the URL of the page we read it in, or "REFERENCES.md"."""

    citation: str
    verified: str


@dataclass(frozen=True)
class SafetyCaution:
    """Caution for one treatment, or for the person whatever the treatment.

    Attributes:
        level: "avoid", "caution", or "note" if it concerns no particular treatment.
        reason: fact about the person that triggers the caution, such as "keloid history".
        says: caution as a sentence in our own words.
        sources: literature that supports the caution.
        number: position among the cautions for a context, from 1.
    """

    level: str
    reason: str
    says: str
    sources: tuple[Source, ...]
    number: int

    def to_dict(self) -> dict[str, Any]:
        """Return the caution as plain JSON types."""
        return {**asdict(self), "sources": [asdict(source) for source in self.sources]}


@dataclass(frozen=True)
class Rule:
    """Rule of `safety.toml`: when it applies, the ids of the treatments to which it applies, and why."""

    reason: str
    when: dict[str, Any]
    avoid: tuple[str, ...]
    caution: tuple[str, ...]
    says: str
    sources: tuple[Source, ...]

    def holds(self, context: Context) -> bool:
        """Return True if the context meets every condition of the rule."""
        return all(_holds(context, condition, value) for condition, value in self.when.items())

    def level(self, treatment: str) -> str | None:
        """Return the level of the rule for a treatment id, or None if the rule does not apply to that treatment."""
        return next((level for level in LEVELS if treatment in getattr(self, level)), None)


@dataclass(frozen=True)
class Advice:
    """Cautions for one context, and their display next to treatment names.

    Attributes:
        context: facts about the person, or None.
        rules: rules that apply, in the order of their numbers.
    """

    context: Context | None
    rules: tuple[Rule, ...]

    def cautions(self, treatment: str) -> tuple[SafetyCaution, ...]:
        """Return the cautions for a treatment id, most serious first."""
        found = [(rule.level(treatment), number, rule) for number, rule in enumerate(self.rules, 1)]
        known = [_caution(rule, level, number) for level, number, rule in found if level is not None]
        return tuple(sorted(known, key=lambda caution: LEVELS.index(caution.level)))

    def all_cautions(self) -> tuple[SafetyCaution, ...]:
        """Return all cautions for the context, including those tied to no treatment."""
        return tuple(
            _caution(rule, next((level for level in LEVELS if getattr(rule, level)), "note"), number)
            for number, rule in enumerate(self.rules, 1)
        )

    def warning(self, treatment: str) -> str:
        """Return a short warning for a treatment id, such as "AVOID: keloid history (2)", or an empty string."""
        parts = []
        for level in LEVELS:
            reasons = [f"{c.reason} ({c.number})" for c in self.cautions(treatment) if c.level == level]
            if reasons:
                parts.append(f"{level.upper()}: {', '.join(reasons)}")
        return "; ".join(parts)

    def label(self, treatment: str, name: str) -> str:
        """Return a treatment name followed by its cautions in brackets."""
        warning = self.warning(treatment)
        return f"{name} [{warning}]" if warning else name

    @property
    def avoided(self) -> frozenset[str]:
        """Ids of the treatments to avoid."""
        return frozenset(name for rule in self.rules for name in rule.avoid)

    def marked(self, text: str) -> str:
        """Return text with "[AVOID]" added after each mention of a treatment to avoid."""
        avoided, treatments = self.avoided, mentions()
        if not avoided:
            return text
        pattern = _mentions_pattern()
        return pattern.sub(lambda word: word[0] + "[AVOID]" * (treatments[word[1].lower()] in avoided), text)

    def sentences(self) -> list[str]:
        """Return the cautions as numbered sentences with their sources, then the facts that were not given."""
        if self.context is None:
            return []
        lines = [
            f"({caution.number}) {caution.reason}: {caution.says} [{'; '.join(s.citation for s in caution.sources)}]"
            for caution in self.all_cautions()
        ]
        lines = lines or ["None of our rules applies. That does not make a treatment safe."]
        if self.context.not_told:
            lines.append(f"Not given, so no cautions for: {', '.join(self.context.not_told)}.")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the context and its cautions as plain JSON types."""
        return {
            "context": None if self.context is None else self.context.to_dict(),
            "not_told": [] if self.context is None else list(self.context.not_told),
            "cautions": [caution.to_dict() for caution in self.all_cautions()],
            "avoid": sorted(self.avoided),
        }


def advise(context: Context | None) -> Advice:
    """Return the cautions for a context. None gives no cautions.

    Raises:
        ContextError: `context` is neither a `Context` nor None.
    """
    if context is None:
        return Advice(None, ())
    if not isinstance(context, Context):
        raise ContextError(f"context must be a scarlens.Context or None, got {context!r}")
    return Advice(context, tuple(rule for rule in rules() if rule.holds(context)))


def read_skin_type(spelling: str) -> int:
    """Parse a Fitzpatrick skin type, "1" to "6" or "I" to "VI".

    Raises:
        ContextError: any other spelling.
    """
    name = spelling.strip().upper()
    for number, roman in enumerate(SKIN_TYPES, 1):
        if name in (roman, str(number)):
            return number
    raise ContextError(f'expected a Fitzpatrick skin type, 1 to 6 or I to VI, got "{spelling}"')


def context_of(
    skin_type: str | None, pregnant: bool | None, months: float | None, acne: bool | None, keloids: bool | None
) -> Context | None:
    """Return the context for command-line options, or None if all options are None.

    Raises:
        ContextError: unknown skin type, or months out of range.
    """
    context = Context(
        skin_type=None if skin_type is None else read_skin_type(skin_type),
        pregnant=pregnant,
        isotretinoin_months=months,
        active_acne=acne,
        keloid_history=keloids,
    )
    return None if context == Context() else context


@cache
def rules() -> tuple[Rule, ...]:
    """Return the bundled rules. The file is read once."""
    sources = {name: Source(**entry) for name, entry in _data()["sources"].items()}
    return tuple(
        Rule(
            reason=entry["reason"],
            when=entry["when"],
            avoid=tuple(entry["avoid"]),
            caution=tuple(entry["caution"]),
            says=entry["says"],
            sources=tuple(sources[name] for name in entry["sources"]),
        )
        for entry in _data()["rule"]
    )


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("safety.toml").read_text(encoding="utf-8"))


@cache
def mentions() -> dict[str, str]:
    """Return a map from lower-case mentions of treatments in text to treatment ids, longest mention first."""
    treatments = {word.lower(): name for name, words in _data()["mentions"].items() for word in words}
    return {word: treatments[word] for word in sorted(treatments, key=len, reverse=True)}


@cache
def _mentions_pattern() -> re.Pattern[str]:
    return re.compile(rf"\b({'|'.join(map(re.escape, mentions()))})s?\b", re.IGNORECASE)


def _holds(context: Context, condition: str, value: Any) -> bool:
    match condition:
        case "skin_type_from":
            return context.skin_type is not None and context.skin_type >= value
        case "isotretinoin_months_below":
            return context.isotretinoin_months is not None and context.isotretinoin_months < value
        case _:
            return getattr(context, condition) is value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _caution(rule: Rule, level: str, number: int) -> SafetyCaution:
    return SafetyCaution(level, rule.reason, rule.says, rule.sources, number)
