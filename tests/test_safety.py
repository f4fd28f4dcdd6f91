"""Cautions beside the treatments: for every combination of what can be told, on every line that names a treatment."""

import io
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import scarlens
from scarlens.cli import app
from scarlens.datasets.errors import ScarlensError
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.inference.classifier import Classifier
from scarlens.inference.engine import Scores
from scarlens.inference.treatments import cautions as safety
from scarlens.inference.treatments.catalogue import catalogue
from scarlens.inference.treatments.cautions import CAUTIONS_HEADING, REASONS, Context, advise, read_skin_type, rules
from scarlens.inference.treatments.plan import everything, plan
from scarlens.inference.treatments.tables import print_tables
from scarlens.model.calibration import Calibration
from scarlens.model.checkpoint import Card

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

# What must be avoided, written down a second time: a rule that is lost or weakened in safety.toml fails against it.
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
REASON_SETS = [
    Context(
        skin_type=5 if skin else None,
        pregnant=True if pregnant else None,
        isotretinoin_months=0 if isotretinoin else None,
        active_acne=True if acne else None,
        keloid_history=True if keloid else None,
    )
    for skin, pregnant, isotretinoin, acne, keloid in product((False, True), repeat=5)
]
"""Every set of reasons once: contexts that call for the same cautions give the same text but for what was not told."""

PLANS = [*((name, ()) for name in SCAR_TYPES), (None, SCAR_TYPES)]


def representative(context: Context) -> Context:
    """Return the context of `REASON_SETS` that calls for the same warnings."""
    held = reasons(context)
    return next(found for found in REASON_SETS if reasons(found) == held)


@cache
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
def expected(context: Context, treatment: str) -> Counter[tuple[str, str]]:
    held = reasons(context)
    avoid = [("avoid", reason) for reason in held if treatment in AVOID[reason]]
    return Counter(avoid + [("caution", reason) for reason in held if treatment in CAUTION[reason]])


def avoided(context: Context) -> set[str]:
    return {name for reason in reasons(context) for name in AVOID[reason]}


def check_marks(text: str, context: Context) -> None:
    """Every physical line that names what must be avoided says so."""
    names = avoided(context)
    words = [re.escape(NAMES[name]) for name in names] + [WORDS[name] for name in names if name in WORDS]
    if not words:
        assert "AVOID" not in text
        return
    pattern = re.compile("|".join(words), re.IGNORECASE)
    for line in text.splitlines():
        assert not pattern.search(line) or "AVOID" in line, line


@cache  # most contexts give the same lines as another one
def check_lines(text: str, context: Context) -> None:
    """Every physical line that names what must be avoided says so, and each label holds exactly its reasons."""
    check_marks(text, context)
    lines = [line for line in text.splitlines() if "[AVOID: " in line or "[CAUTION: " in line]
    for treatment, name in NAMES.items():
        for line in (line for line in lines if f"{name} [AVOID: " in line or f"{name} [CAUTION: " in line):
            warning = line[line.index(f"{name} [") + len(name) + 2 :].split("]")[0]
            found = [
                (level.lower(), reason)
                for level, listed in re.findall(r"(AVOID|CAUTION): ([^;]+)", warning)
                for reason in re.findall(r"([a-z ]+?) \(\d+\)", listed)
            ]
            assert Counter((level, reason.strip()) for level, reason in found) == expected(context, treatment), line


# --- every combination -----------------------------------------------------------------------------------------------


def test_every_combination_has_its_cautions() -> None:
    for context in CONTEXTS:
        advice = advise(context)
        told = advice.all_cautions()
        for treatment in NAMES:
            cautions = advice.cautions(treatment)
            assert Counter((c.level, c.reason) for c in cautions) == expected(representative(context), treatment)
            assert [c.level for c in cautions] == sorted(c.level for c in cautions)  # "avoid" stands first
            assert all(told[c.number - 1].says == c.says for c in cautions)


@pytest.mark.parametrize(("label", "plausible"), PLANS)
def test_a_plan_carries_what_was_told_and_says_the_same_of_the_documents(
    label: str | None, plausible: tuple[str, ...]
) -> None:
    bare = plan(label, plausible)
    for context in CONTEXTS:
        chosen = plan(label, plausible, context)
        assert (chosen.types, chosen.general, chosen.context) == (bare.types, bare.general, context)


@pytest.mark.parametrize(("label", "plausible"), PLANS)
@pytest.mark.parametrize("context", REASON_SETS)
def test_json_carries_each_treatments_cautions(label: str | None, plausible: tuple[str, ...], context: Context) -> None:
    value = plan(label, plausible, context).to_dict()
    assert json.loads(json.dumps(value)) == value
    for part in (*value["types"], value["general"]):
        for treatment in part["treatments"]:
            found = Counter((caution["level"], caution["reason"]) for caution in treatment["cautions"])
            assert found == expected(context, treatment["id"])
    assert value["context"] == context.to_dict() and value["not_told"] == list(context.not_told)
    assert [caution["number"] for caution in value["cautions"]] == list(range(1, len(value["cautions"]) + 1))


@pytest.mark.parametrize(("label", "plausible"), PLANS)
def test_every_line_of_a_text_that_names_an_avoided_treatment_says_so(
    label: str | None, plausible: tuple[str, ...]
) -> None:
    seen = set()
    for context in CONTEXTS[1:]:
        if (key := (tuple(map(id, advise(context).rules)), context.not_told)) in seen:
            continue  # a text holds nothing of a context but these
        seen.add(key)
        text = plan(label, plausible, context).to_text()
        body, rest = text.split(CAUTIONS_HEADING)
        section, documents = rest.split("\nDocuments\n")
        check_lines(body + documents, representative(context))
        assert text.isascii()
        for reason in reasons(context):
            assert f") {reason}: " in section
        untold = [name for field, name in REASONS.items() if getattr(context, field) is None]
        assert (", ".join(untold) in " ".join(section.split())) and ("Not given" in section) == bool(untold)


@pytest.mark.parametrize("width", [60, 100])
@pytest.mark.parametrize("context", REASON_SETS[1:])
def test_each_listed_treatment_has_its_label_whole_on_one_line(context: Context, width: int) -> None:
    chosen = plan(None, SCAR_TYPES, context)
    lines = chosen.to_text(width).split(CAUTIONS_HEADING)[0].splitlines()
    for treatment in {t.id: t for part in (*chosen.types, chosen.general) for t in part.treatments}.values():
        label = advise(context).label(treatment.id, treatment.name)
        if label != treatment.name:
            assert any(label in line for line in lines), label


ALONE_OR_ALL = [context for context in REASON_SETS if len(reasons(context)) in (1, 5)]


@pytest.mark.parametrize(
    ("context", "scar_type"),
    [
        *((context, "ice_pick") for context in REASON_SETS[1:]),  # the type with the most treatments
        *product(ALONE_OR_ALL, (None, "boxcar", "rolling")),
    ],
)
def test_every_line_of_the_tables_that_names_an_avoided_treatment_says_so(
    context: Context, scar_type: str | None
) -> None:
    console = Console(file=io.StringIO(), width=80, record=True)
    print_tables(console, scar_type, context)
    text = console.export_text()
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    body, rest = text.split(CAUTIONS_HEADING)
    section, documents = rest.split("The documents  ")
    check_marks(body + documents, context)
    assert all(f") {reason}: " in " ".join(section.split()) for reason in reasons(context))


# --- refusals and predictions ----------------------------------------------------------------------------------------


class FixedEngine:
    """An engine that gives every photo the same scores."""

    def __init__(self, types: tuple[float, float, float], scope: float) -> None:
        half = (0.5, 0.5, 0.5)
        rules_of_thumb = Calibration(plausible_thresholds=(0.2, 0.2, 0.2), scope_threshold=0.4, answer_threshold=0.5)
        self.card = Card(trunk="none", size=64, mean=half, std=half, calibration=rules_of_thumb, model_id="fixed")
        self._types, self._scope = np.array([types], dtype=np.float32), np.array([scope], dtype=np.float32)

    def __call__(self, photos: np.ndarray) -> Scores:
        shown = np.concatenate([self._types, np.zeros((1, 2), np.float32)], axis=1)  # and other skin, and no skin
        return Scores(np.tile(shown[:, :, None, None], (1, 1, 2, 2)), self._types, self._scope)


def classifier(types: tuple[float, float, float] = (3.0, 0.0, 0.0), scope: float = 3.0) -> Classifier:
    return Classifier(FixedEngine(types, scope))


def photo(height: int = 100, width: int = 120) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("image", "scope"), [(photo(), -3.0), (photo(40, 200), 3.0)])
def test_a_refused_photo_gets_no_treatment_whatever_is_told(image: np.ndarray, scope: float) -> None:
    refusing = classifier(scope=scope)
    for context in REASON_SETS:
        answer = refusing.predict(image, context=context)
        assert answer.reason in ("out_of_scope", "low_quality")
        assert answer.treatment is None and answer.to_dict()["treatment"] is None
        assert not any(name in answer.to_text() for name in NAMES.values())


@pytest.mark.parametrize("types", [(3.0, 0.0, 0.0), (0.1, 0.0, 0.05)])
def test_a_prediction_carries_the_context_and_is_not_moved_by_it(types: tuple[float, float, float]) -> None:
    context = Context(keloid_history=True, pregnant=True)
    bare, answer = classifier(types).predict(photo()), classifier(types).predict(photo(), context=context)
    assert (answer.label, answer.probabilities, answer.plausible) == (bare.label, bare.probabilities, bare.plausible)
    assert answer.treatment == plan(answer.label, answer.plausible, context)
    assert answer.to_dict()["treatment"]["context"] == context.to_dict()
    check_lines(answer.to_text().split(CAUTIONS_HEADING)[0], context)


# --- the rules -------------------------------------------------------------------------------------------------------


def test_rules_name_treatments_that_exist_and_literature_that_was_read() -> None:
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
def test_every_procedure_was_considered_once_for_every_reason(reason: str) -> None:
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
def test_limits(context: Context, numbers: int) -> None:
    assert [caution.number for caution in advise(context).all_cautions()] == list(range(1, numbers + 1))


def test_isotretinoin_in_pregnancy_stands_first_and_concerns_no_treatment() -> None:
    first = advise(Context(pregnant=True, isotretinoin_months=0)).all_cautions()[0]
    assert (first.level, first.number) == ("note", 1)
    assert first.says.startswith("URGENT") and "today" in first.says


def test_nothing_told_says_how_to_ask_and_no_rule_says_so() -> None:
    for text in (plan("boxcar", ()).to_text(), plan("boxcar", (), None).to_text()):
        assert "No personal cautions are shown" in text and "--keloid-history" in text
        assert "AVOID" not in text and "CAUTION" not in text
    benign = plan("boxcar", (), Context(pregnant=False)).to_text()
    assert "None of our rules applies" in benign
    assert "Not given, so no cautions for: skin type, isotretinoin, active acne, keloid history." in benign
    assert everything()["cautions"] == [] and everything()["context"] is None


def test_the_documents_claims_stay_as_they_are() -> None:
    bare, told = (plan("ice_pick", (), context).to_dict() for context in (None, Context(keloid_history=True)))
    for part in (*bare["types"], bare["general"], *told["types"], told["general"]):
        for treatment in part["treatments"]:
            del treatment["cautions"]
    assert (bare["types"], bare["general"]) == (told["types"], told["general"])


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


def test_context_is_at_the_door() -> None:
    assert scarlens.Context is Context
    assert scarlens.Context(skin_type=4).not_told == ("pregnancy", "isotretinoin", "active acne", "keloid history")


# --- the command line ------------------------------------------------------------------------------------------------


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "scarlens", *map(str, arguments)], capture_output=True, text=True)


def test_predict_takes_what_is_told_as_text_and_json() -> None:
    options = ("--skin-type", "V", "--not-pregnant", "--isotretinoin-months", 2, "--no-active-acne", "--keloid-history")
    context = Context(skin_type=5, pregnant=False, isotretinoin_months=2, active_acne=False, keloid_history=True)
    text = command("predict", EXAMPLE, *options)
    assert text.returncode == 0, text.stderr
    check_lines(text.stdout.split(CAUTIONS_HEADING)[0], context)
    assert "Laser treatment [AVOID: isotretinoin (1), keloid history (3); CAUTION: skin type (5)]" in text.stdout
    value = json.loads(command("predict", EXAMPLE, "--json", *options).stdout)["treatment"]
    assert value["context"] == context.to_dict() and len(value["cautions"]) == 8


def test_treatments_take_what_is_told_as_tables_and_json() -> None:
    tables = CliRunner().invoke(app, ["treatments", "rolling", "--active-acne"])
    assert tables.exit_code == 0
    assert "Subcision [AVOID: active acne (1)]" in tables.stdout and "Treat the acne first" in tables.stdout
    for arguments in (["boxcar"], []):
        value = json.loads(CliRunner().invoke(app, ["treatments", *arguments, "--json", "--pregnant"]).stdout)
        assert value["context"] == Context(pregnant=True).to_dict() and value["cautions"]
        assert any(treatment["cautions"] for treatment in value.get("treatments") or value["types"][0]["treatments"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", EXAMPLE, "--skin-type", "7"), 'expected a Fitzpatrick skin type, 1 to 6 or I to VI, got "7"'),
        (("treatments", "--isotretinoin-months", "-1"), "isotretinoin_months must be 0 (taken now)"),
    ],
)
def test_impossible_options_take_one_sentence_and_status_2(arguments: tuple[object, ...], message: str) -> None:
    result = command(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1
