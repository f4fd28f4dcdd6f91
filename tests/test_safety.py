"""Cautions beside the treatments: for every combination of facts, on every line that names a treatment."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import scarlens
from scarlens.cli import app
from scarlens.datasets.errors import ScarlensError
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.inference.treatments import cautions as safety
from scarlens.inference.treatments.catalogue import HABITS, catalogue
from scarlens.inference.treatments.cautions import CAUTIONS_HEADING, REASONS, Context, advise, read_skin_type, rules
from scarlens.inference.treatments.plan import TreatmentPlan, everything, plan
from scarlens.inference.treatments.text import every_claim, summary

EXAMPLE = Path(__file__).parents[1] / "datasets" / "rendering" / "examples" / "ice_pick.jpg"
DATA = tomllib.loads(Path(safety.__file__).with_name("safety.toml").read_text())
NAMES = {treatment.id: treatment.name for treatment in catalogue().treatments}
PROCEDURES = {
    treatment.id
    for treatment in catalogue().treatments
    if treatment.kind in ("non_surgical", "surgical", "combination", "unspecified")
}
WOUNDING = {
    *("tca_cross", "chemical_peel", "laser", "co2_laser", "fractional_laser", "microneedling", "microneedling_rf"),
    *("dermabrasion", "punch_excision", "punch_grafting", "subcision", "dermal_grafting"),
}

# The rules a second time, so that one that is lost or weakened in safety.toml fails here.
AVOID = {
    "pregnancy": {"topical_retinoid", "prescription_retinoid", "tca_cross", "chemical_peel", "staged"},
    "isotretinoin": {"dermabrasion", "laser", "co2_laser", "staged"},
    "active acne": PROCEDURES,
    "keloid history": WOUNDING | {"staged", "fillers_with_subcision"},
    "skin type": set(),
}
CAUTION = {
    "pregnancy": PROCEDURES - AVOID["pregnancy"] | {"salicylic_acid", "home_products"},
    "isotretinoin": PROCEDURES - AVOID["isotretinoin"] - {"fillers"},
    "active acne": set(),
    "keloid history": {"fillers", "combined_non_surgical", "unspecified"},
    "skin type": WOUNDING - {"subcision"} | {"staged", "combined_non_surgical", "unspecified"},
}
WORDS = {
    "tca_cross": r"TCA CROSS|trichloroacetic",
    "chemical_peel": r"\bpeels?\b",
    "laser": r"(?<!fractional )(?<!ablative )\blasers?\b",
    "microneedling": r"microneedling",
    "fillers": r"\bfillers?\b",
    "dermabrasion": r"dermabrasion",
    "punch_excision": r"punch excision",
    "punch_grafting": r"punch grafting",
    "subcision": r"\bsubcision\b",
    "dermal_grafting": r"dermal grafting",
    "topical_retinoid": r"retinoid|\btretinoin",
}
"""Words that name a treatment in running text."""

CONTEXTS = [
    Context(skin_type=skin, pregnant=pregnant, isotretinoin_months=months, active_acne=acne, keloid_history=keloid)
    for skin, pregnant, months, acne, keloid in product(
        (None, 1, 2, 3, 4, 5, 6), (None, False, True), (None, 0, 3, 6, 12), (None, False, True), (None, False, True)
    )
]
CASES = list({str(advise(context).rules): context for context in reversed(CONTEXTS)}.values())
"""One context for every set of rules that can apply together."""

PLANS = [*((name, ()) for name in SCAR_TYPES), (None, SCAR_TYPES)]


def reasons(context: Context) -> frozenset[str]:
    months = context.isotretinoin_months
    held = {
        "pregnancy": context.pregnant is True,
        "isotretinoin": months is not None and months < 6,
        "active acne": context.active_acne is True,
        "keloid history": context.keloid_history is True,
        "skin type": context.skin_type is not None and context.skin_type >= 4,
    }
    return frozenset(reason for reason, holds in held.items() if holds)


@cache
def expected(held: frozenset[str], treatment: str) -> Counter[tuple[str, str]]:
    """Count the cautions that a treatment must have, as level and reason."""
    avoid = [("avoid", reason) for reason in held if treatment in AVOID[reason]]
    return Counter(avoid + [("caution", reason) for reason in held if treatment in CAUTION[reason]])


def check_marks(text: str, context: Context) -> None:
    """Every line of output that names a treatment to avoid says so."""
    names = {name for reason in reasons(context) for name in AVOID[reason]}
    if not names:
        assert "AVOID" not in text
        return
    words = [re.escape(NAMES[name]) for name in names] + [WORDS[name] for name in names if name in WORDS]
    pattern = re.compile("|".join(words), re.IGNORECASE)
    for line in text.splitlines():
        assert not pattern.search(line) or "AVOID" in line, line


def check_labels(text: str, context: Context) -> None:
    """Every label in brackets behind a treatment's name holds exactly its reasons."""
    lines = [line for line in text.splitlines() if "[AVOID: " in line or "[CAUTION: " in line]
    for treatment, name in NAMES.items():
        for line in lines:
            label = re.search(rf"{re.escape(name)} \[((?:AVOID|CAUTION): [^]]+)\]", line)
            if label:
                found = [
                    (level.lower(), reason.strip())
                    for level, listed in re.findall(r"(AVOID|CAUTION): ([^;]+)", label[1])
                    for reason in re.findall(r"([a-z ]+?) \(\d+\)", listed)
                ]
                assert Counter(found) == expected(reasons(context), treatment), line


# --- every combination -----------------------------------------------------------------------------------------------


def test_every_combination_has_its_cautions() -> None:
    for context in CONTEXTS:
        advice = advise(context)
        numbered = advice.all_cautions()
        for treatment in NAMES:
            cautions = advice.cautions(treatment)
            assert Counter((c.level, c.reason) for c in cautions) == expected(reasons(context), treatment)
            assert [c.level for c in cautions] == sorted(c.level for c in cautions)  # "avoid" comes first
            assert all(numbered[c.number - 1].says == c.says for c in cautions)


@pytest.mark.parametrize(("label", "plausible"), PLANS)
def test_json_of_a_plan_carries_cautions_and_leaves_the_documents_claims_alone(
    label: str | None, plausible: tuple[str, ...]
) -> None:
    bare = plan(label, plausible)
    for context in CASES:
        chosen = plan(label, plausible, context)
        assert (chosen.types, chosen.general, chosen.context) == (bare.types, bare.general, context)
        value = chosen.to_dict()
        assert json.loads(json.dumps(value)) == value
        for part in (*value["types"], value["general"]):
            for treatment in part["treatments"]:
                found = Counter((caution["level"], caution["reason"]) for caution in treatment["cautions"])
                assert found == expected(reasons(context), treatment["id"])
        assert value["context"] == context.to_dict() and value["not_told"] == list(context.not_told)
        assert [caution["number"] for caution in value["cautions"]] == list(range(1, len(value["cautions"]) + 1))


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize(("label", "plausible"), PLANS)
def test_every_line_of_a_text_that_names_a_treatment_to_avoid_says_so(
    label: str | None, plausible: tuple[str, ...], width: int
) -> None:
    for context in CASES:
        chosen, advice = plan(label, plausible, context), advise(context)
        text = chosen.to_text(width)
        assert text.isascii()
        body, rest = text.split(CAUTIONS_HEADING)
        section, _ = rest.split("\n[000] ")
        check_marks(body, context)
        check_labels(body, context)
        treatments = [treatment for part in chosen.types for treatment in part.treatments]
        for treatment in treatments:
            label_text = advice.label(treatment.id, treatment.name)
            assert treatment.kind in HABITS or label_text == treatment.name or label_text in body, label_text
        for reason in reasons(context):
            assert f") {reason}: " in section
        not_told = [name for field, name in REASONS.items() if getattr(context, field) is None]
        assert ", ".join(not_told) in " ".join(section.split()) and ("Not given" in section) == bool(not_told)


@pytest.mark.parametrize("write", [summary, every_claim])
@pytest.mark.parametrize(("label", "plausible"), PLANS)
def test_the_summary_and_the_list_of_claims_say_so_too(
    label: str | None, plausible: tuple[str, ...], write: Callable[[TreatmentPlan, int], str]
) -> None:
    for context in CASES:
        chosen, advice = plan(label, plausible, context), advise(context)
        body, section = write(chosen, 80).split(CAUTIONS_HEADING)
        check_marks(body, context)
        check_labels(body, context)
        assert all(f") {reason}: " in section for reason in reasons(context))
        if write is every_claim:
            treatments = [treatment for part in (*chosen.types, chosen.general) for treatment in part.treatments]
            assert all(advice.label(treatment.id, treatment.name) in body for treatment in treatments)


def test_without_a_context_it_says_how_to_give_one_and_no_rule_is_no_promise() -> None:
    text = plan("boxcar", ()).to_text()
    assert "Cautions not checked" in text and "--skin-type" in text
    assert "AVOID" not in text and "CAUTION" not in text
    benign = plan("boxcar", (), Context(pregnant=False)).to_text()
    assert "None of our rules applies" in benign
    assert "Not given, so no cautions for: skin type, isotretinoin, active acne, keloid history." in benign
    assert everything()["cautions"] == [] and everything()["context"] is None


# --- predictions -----------------------------------------------------------------------------------------------------


def test_a_refused_photo_gets_no_treatment_whatever_the_context() -> None:
    for context in CASES:
        answer = scarlens.predict(np.zeros((200, 200, 3), np.uint8), context=context)
        assert answer.reason == "low_quality"
        assert answer.treatment is None and answer.to_dict()["treatment"] is None
        assert not any(name in answer.to_text() for name in NAMES.values())


def test_the_context_changes_cautions_but_not_the_answer() -> None:
    context = Context(keloid_history=True, pregnant=True)
    bare, answer = scarlens.predict(EXAMPLE), scarlens.predict(EXAMPLE, context=context)
    assert (answer.label, answer.probabilities, answer.plausible) == (bare.label, bare.probabilities, bare.plausible)
    assert answer.treatment == plan(answer.label, answer.plausible, context)
    check_marks(answer.to_text().split(CAUTIONS_HEADING)[0], context)


# --- the rules -------------------------------------------------------------------------------------------------------


def test_rules_name_known_treatments_and_verified_sources() -> None:
    named = [name for rule in rules() for name in (*rule.avoid, *rule.caution)]
    assert {*named, *DATA["mentions"], *(name for names in DATA["no_caution"].values() for name in names)} <= set(NAMES)
    assert {name for rule in DATA["rule"] for name in rule["sources"]} == set(DATA["sources"])
    for rule in rules():
        assert rule.reason in REASONS.values() and rule.says.endswith((".", "?")) and rule.says.isascii()
        assert rule.sources and rule.when
    for source in DATA["sources"].values():
        assert source["citation"].strip() and source["citation"].isascii()
        assert source["verified"] == "REFERENCES.md" or source["verified"].startswith("http")


@pytest.mark.parametrize("reason", REASONS.values())
def test_every_procedure_is_classified_once_for_every_reason(reason: str) -> None:
    found = Counter(name for rule in rules() if rule.reason == reason for name in (*rule.avoid, *rule.caution))
    found.update(DATA["no_caution"][reason])
    assert set(found) >= PROCEDURES
    assert set(found.values()) == {1}


@pytest.mark.parametrize(
    ("context", "numbers"),
    [
        (Context(pregnant=False, active_acne=False, keloid_history=False, skin_type=3, isotretinoin_months=6), 0),
        (Context(isotretinoin_months=5.99), 2),
        (Context(isotretinoin_months=6), 0),
        (Context(skin_type=3), 0),
        (Context(skin_type=4), 4),
        (Context(pregnant=True, isotretinoin_months=12), 3),
        (Context(pregnant=True, isotretinoin_months=9), 4),
        (Context(pregnant=True, isotretinoin_months=0), 6),
        (Context(active_acne=True), 1),
        (Context(keloid_history=True), 2),
    ],
)
def test_number_of_cautions_at_the_limits(context: Context, numbers: int) -> None:
    assert [caution.number for caution in advise(context).all_cautions()] == list(range(1, numbers + 1))


def test_isotretinoin_in_pregnancy_is_an_urgent_note_before_all_cautions() -> None:
    first = advise(Context(pregnant=True, isotretinoin_months=0)).all_cautions()[0]
    assert (first.level, first.number) == ("note", 1)
    assert first.says.startswith("URGENT") and "today" in first.says


# --- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("skin_type", 0, "whole number from 1 to 6, got 0"),
        ("skin_type", 7, "whole number from 1 to 6, got 7"),
        ("skin_type", 2.5, "whole number from 1 to 6, got 2.5"),
        ("skin_type", True, "whole number from 1 to 6, got True"),
        ("skin_type", "IV", "whole number from 1 to 6, got 'IV'"),
        ("isotretinoin_months", -1, r"0 \(taken now\) or the months since the last dose, got -1"),
        ("isotretinoin_months", float("nan"), "got nan"),
        ("isotretinoin_months", float("inf"), "got inf"),
        ("isotretinoin_months", "3", "got '3'"),
        ("isotretinoin_months", False, "got False"),
        ("pregnant", 1, "must be True, False or None"),
        ("active_acne", "yes", "must be True, False or None"),
        ("keloid_history", 0, "must be True, False or None"),
    ],
)
def test_impossible_values_are_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ScarlensError, match=message) as caught:
        Context(**{field: value})  # pyright: ignore[reportArgumentType]
    assert isinstance(caught.value, ValueError) and field in str(caught.value)


@pytest.mark.parametrize("ask", [lambda it: plan("boxcar", (), it), everything, advise])
def test_what_is_no_context_is_refused(ask: object) -> None:
    with pytest.raises(ScarlensError, match=r"must be a scarlens\.Context or None, got \{'pregnant': True\}"):
        ask({"pregnant": True})  # pyright: ignore[reportCallIssue]


def test_skin_types_are_read_in_both_spellings() -> None:
    assert [read_skin_type(text) for text in ("1", "2", "3", "4", "5", "6")] == [1, 2, 3, 4, 5, 6]
    assert [read_skin_type(text) for text in ("I", "ii", " III ", "IV", "v", "VI")] == [1, 2, 3, 4, 5, 6]
    for text in ("0", "7", "VII", "", "4.0", "dark"):
        with pytest.raises(ScarlensError, match="1 to 6 or I to VI"):
            read_skin_type(text)


# --- the command line ------------------------------------------------------------------------------------------------


def printed(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_predict_takes_facts_about_the_person() -> None:
    options = ("--skin-type", "V", "--not-pregnant", "--isotretinoin-months", 2, "--no-active-acne", "--keloid-history")
    context = Context(skin_type=5, pregnant=False, isotretinoin_months=2, active_acne=False, keloid_history=True)
    text = printed("predict", EXAMPLE, *options)
    check_labels(text.split(CAUTIONS_HEADING)[0], context)
    assert "TCA CROSS [AVOID: keloid history (3); CAUTION: isotretinoin (2), skin type (6)]" in text
    value = json.loads(printed("predict", EXAMPLE, "--json", *options))["treatment"]
    assert value["context"] == context.to_dict() and len(value["cautions"]) == 8


def test_treatments_takes_facts_about_the_person() -> None:
    text = printed("treatments", "rolling", "--active-acne")
    assert "Subcision [AVOID: active acne (1)]" in text and "Treat the acne first" in text
    assert "Undecided" not in printed("treatments")
    assert "Sunscreen" in printed("treatments", "rolling", "--all")
    for arguments in (["boxcar"], []):
        value = json.loads(printed("treatments", *arguments, "--json", "--pregnant"))
        assert value["context"] == Context(pregnant=True).to_dict() and value["cautions"]
        assert any(treatment["cautions"] for treatment in value.get("treatments") or value["types"][0]["treatments"])
