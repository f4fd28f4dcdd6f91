"""What the documents say about treatment: the figures, the sources, the disagreements, and a prediction's plan."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from scarlens.datasets.errors import ScarlensError
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.inference.reasons import NOTICE
from scarlens.inference.treatments import catalogue as catalogue_module
from scarlens.inference.treatments.catalogue import (
    CLAIM_TOPICS,
    FACT_TOPICS,
    GENERAL,
    KINDS,
    NATURES,
    PROCEDURE,
    SUBJECTS,
    catalogue,
)
from scarlens.inference.treatments.catalogue import FIGURES as QUANTITIES
from scarlens.inference.treatments.plan import everything, plan
from scarlens.inference.treatments.text import every_claim

DOCUMENTS_TOML = Path(catalogue_module.__file__).with_name("documents.toml")

FILES = {
    "000": "000_a7f373fef24d8bec.txt",
    "001": "001_e862a3ef3df4edb4.txt",
    "002": "002_c01006068fed94c6.txt",
    "003": "003_a987b77342a1f779.txt",
    "004": "004_5b5eb9a8ed46a338.txt",
}
NAMES = {file: number for number, file in FILES.items()}

# What the documents say, written down a second time: treatment or topic, quantity, figure, document.
FIGURES = [
    ("tca_cross", "improvement_percent", "30-60 %", "003"),
    ("tca_cross", "sessions", "3-4", "003"),
    ("fractional_laser", "improvement_percent", "40-70 %", "003"),
    ("fractional_laser", "downtime_days", "7-14 days", "003"),
    ("fractional_laser", "downtime_days", "limited", "003"),
    ("microneedling_rf", "improvement_percent", "25-50 %", "003"),
    ("microneedling_rf", "downtime_days", "minimal", "003"),
    ("fillers", "improvement_percent", "immediate lift", "003"),
    ("fillers", "lasts_months", "6-12 months", "003"),
    ("punch_excision", "improvement_percent", "70-90 %", "003"),
    ("punch_excision", "recovery_days", "7-10 days", "003"),
    ("subcision", "improvement_percent", "40-60 %", "003"),
    ("subcision", "recovery_days", "5-7 days", "003"),
    ("dermal_grafting", "improvement_percent", "80-95 %", "003"),
    ("dermal_grafting", "recovery_days", "14-21 days", "003"),
    ("unspecified", "improvement_percent", "more than 60 %", "004"),
    ("unspecified", "sessions", "3-4", "004"),
    ("unspecified", "sessions", "5-6", "004"),
    ("sunscreen", "spf", "at least 30", "003"),
    ("sunscreen", "every_hours", "2 hours", "003"),
    ("moisturiser", "times_a_day", "2 times a day", "003"),
    ("follow_up", "visits", "3-6", "003"),
    ("follow_up", "over_months", "6 months", "003"),
    ("morphology", "width_mm", "less than 2 mm", "002"),
    ("morphology", "width_mm", "less than 2 mm", "003"),
    ("morphology", "depth_mm", "several mm at times", "003"),
    ("morphology", "depth_mm", "2-3 mm", "004"),
    ("prevalence", "prevalence_percent", "more than 20 %", "003"),
]

NAMED = {
    "ice_pick": {
        "tca_cross": {"002", "003", "004"},
        "laser": {"000", "001", "002", "003"},
        "co2_laser": {"001"},
        "fractional_laser": {"003"},
        "microneedling": {"000", "001"},
        "microneedling_rf": {"003"},
        "fillers": {"000", "001", "002", "003"},
        "chemical_peel": {"000", "002"},
        "dermabrasion": {"001"},
        "punch_excision": {"001", "002", "003"},
        "punch_grafting": {"002"},
        "subcision": {"001", "003"},
        "dermal_grafting": {"003"},
        "staged": {"003"},
        "combined_non_surgical": {"003"},
        "fillers_with_subcision": {"001", "003"},
        "benzoyl_peroxide": {"002"},
        "salicylic_acid": {"002"},
        "topical_retinoid": {"002"},
        "home_products": {"001"},
        "unspecified": {"004"},
    },
    "boxcar": {"subcision": {"003"}, "fillers": {"003"}, "chemical_peel": {"003"}},
    "rolling": {"subcision": {"003"}, "microneedling": {"003"}, "laser": {"003"}},
}

HABITS = {
    "prevention": {
        *("treat_acne_early", "see_dermatologist", "hands_off", "do_not_scrub", "mild_cleanser", "touch_less"),
        *("avoid_sun", "no_tight_headwear", "non_comedogenic", "daily_prevention"),
    },
    "after_care": {
        *("after_care", "sunscreen", "prescription_retinoid", "moisturiser", "healing_agents", "hands_off_treated"),
        "follow_up",
    },
}


def all_claims():
    data = catalogue()
    return [*data.facts, *(claim for treatment in data.treatments for claim in treatment.claims)]


# --- the claims ------------------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_documents_and_no_others():
    data = catalogue()
    claims = [(treatment.id, claim) for treatment in data.treatments for claim in treatment.claims]
    claims += [(fact.topic, fact) for fact in data.facts]
    found = [
        (subject, figure.quantity, figure.value, NAMES[claim.document])
        for subject, claim in claims
        for figure in claim.figures
    ]
    assert sorted(found) == sorted(FIGURES)


def test_every_claim_names_a_document_and_every_document_contributes():
    assert [document.file for document in catalogue().documents] == list(FILES.values())
    assert {claim.document for claim in all_claims()} == set(FILES.values())


@pytest.mark.parametrize("scar_type", SCAR_TYPES)
def test_a_type_has_the_treatments_its_documents_name_and_no_others(scar_type):
    found = {
        treatment.id: {NAMES[claim.document] for claim in treatment.claims if scar_type in claim.about}
        for treatment in plan(scar_type, []).types[0].treatments
        if treatment.kind not in HABITS
    }
    assert found == NAMED[scar_type]


@pytest.mark.parametrize("kind", HABITS)
def test_every_habit_of_the_documents_is_there(kind):
    assert {treatment.id for treatment in catalogue().treatments if treatment.kind == kind} == HABITS[kind]


@pytest.mark.parametrize("scar_type", SCAR_TYPES)
def test_a_plan_holds_only_claims_about_its_type_and_its_procedures(scar_type):
    chosen = plan(scar_type, [scar_type])
    assert all(scar_type in claim.about or claim.about == (PROCEDURE,) for claim in chosen.types[0].claims)
    assert any(claim.about == (PROCEDURE,) for claim in chosen.types[0].claims)
    assert all(set(claim.about) & set(GENERAL) for claim in chosen.general.claims)


@pytest.mark.parametrize("scar_type", ["boxcar", "rolling"])
def test_no_figure_is_given_for_boxcar_or_rolling(scar_type):
    (part,) = plan(scar_type, [scar_type]).types
    assert not any(claim.figures for claim in part.claims)
    assert {fact.document for fact in part.facts} == {FILES["003"]}


@pytest.mark.parametrize(
    ("scar_type", "shape"), [("ice_pick", "V-shaped"), ("boxcar", "rectangular"), ("rolling", "wave-like")]
)
def test_each_type_has_its_shape(scar_type, shape):
    (part,) = plan(scar_type, []).types
    assert any(shape in fact.says for fact in part.facts if fact.topic == "morphology")


# --- the disagreements -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nature", "sides"),
    [
        ("collagen", "contradiction", [{"000", "001", "002"}, {"003"}]),
        ("topicals", "contradiction", [{"002"}, {"001", "003"}, {"004"}]),
        ("elimination", "contradiction", [{"000"}, {"001"}, {"002"}, {"004"}]),
        ("subcision_for_ice_pick", "contradiction", [{"001"}, {"003"}, {"003"}]),
        ("filler_depth", "contradiction", [{"001"}, {"003"}]),
        ("punch_scar", "contradiction", [{"001"}, {"003"}]),
        ("improvement", "figures", [{"003"}, {"004"}]),
        ("sessions", "figures", [{"003"}, {"004"}]),
        ("laser_downtime", "emphasis", [{"003"}, {"003"}]),
    ],
)
def test_disagreement_has_its_sides_and_its_claims(name, nature, sides):
    (found,) = (disagreement for disagreement in catalogue().disagreements if disagreement.id == name)
    assert found.nature == nature
    assert [{NAMES[file] for file in side.documents} for side in found.sides] == sides
    assert found.within_document == (name == "laser_downtime")
    assert any(name in claim.disputed for claim in all_claims())


def test_a_plan_carries_the_disagreements_about_its_type():
    assert {"collagen", "improvement"} <= {found.id for found in plan("ice_pick", []).types[0].disagreements}
    assert not {"collagen", "improvement"} & {found.id for found in plan("boxcar", []).types[0].disagreements}


# --- the plan --------------------------------------------------------------------------------------------------------


def test_the_label_comes_first_then_the_other_plausible_types():
    chosen = plan("rolling", ["boxcar", "rolling", "ice_pick"])
    assert (chosen.label, chosen.undecided) == ("rolling", False)
    assert [part.scar_type for part in chosen.types] == ["rolling", "boxcar", "ice_pick"]
    assert "Also plausible: boxcar scars" in chosen.to_text()


def test_undecided_types_stand_side_by_side():
    chosen = plan(None, ["boxcar", "rolling"])
    assert (chosen.label, chosen.undecided) == (None, True)
    assert [part.scar_type for part in chosen.types] == ["boxcar", "rolling"]
    assert chosen.to_text().startswith("Undecided")
    assert not plan(None, ["boxcar"]).undecided


def test_spellings_are_understood():
    assert plan("Ice Pick", ["ice-pick", "Boxcar Scars"]) == plan("ice_pick", ["boxcar"])


@pytest.mark.parametrize(
    ("label", "plausible", "message"),
    [
        ("keloid", [], "unknown scar type 'keloid'"),
        (None, ["keloid"], "unknown scar type 'keloid'"),
        (None, [2], "unknown scar type 2"),
        ("boxcar", "rolling", "plausible must be a list"),
        ("boxcar", None, "plausible must be a list"),
        (None, [], "at least one plausible type"),
    ],
)
def test_bad_types_are_refused_with_the_known_ones(label, plausible, message):
    with pytest.raises(ScarlensError, match=f'{message}.*"ice pick", "boxcar", "rolling"') as caught:
        plan(label, plausible)
    assert isinstance(caught.value, ValueError)


def test_json_holds_every_claim_and_the_notice():
    value = everything()
    for content in (value, plan("ice_pick", ["boxcar"]).to_dict()):
        assert json.loads(json.dumps(content)) == content
        assert content["notice"] == NOTICE
        assert [document["file"] for document in content["documents"]] == list(FILES.values())
    claims = [*value["facts"], *(claim for treatment in value["treatments"] for claim in treatment["claims"])]
    assert len(claims) == len(all_claims())
    assert all(claim["document"] in NAMES for claim in claims)
    tca = next(treatment for treatment in value["treatments"] if treatment["id"] == "tca_cross")
    assert tca["scar_types"] == ["ice_pick"]
    figures = [claim["figures"] for claim in tca["claims"] if claim["figures"]]
    assert figures[0]["improvement_percent"] == {"low": 30, "high": 60, "exclusive": False, "text": "30-60 %"}


@pytest.mark.parametrize("scar_type", SCAR_TYPES)
@pytest.mark.parametrize("width", [80, 100])
def test_an_overview_has_the_figures_and_the_documents_in_sixty_lines(scar_type, width):
    text = plan(scar_type, [scar_type]).to_text(width)
    assert NOTICE in " ".join(text.split()) and text.isascii()
    assert all(f"[{number}] {file}" in text for number, file in FILES.items())
    assert len(text.splitlines()) <= 60
    assert max(map(len, text.splitlines())) <= width
    for treatment in plan(scar_type, []).types[0].treatments:
        assert treatment.kind in HABITS or treatment.name.partition(" (")[0] in " ".join(text.split())
        assert all(figure.value in text for claim in treatment.claims for figure in claim.figures)
    treatments = plan(scar_type, []).types[0].treatments
    assert all(
        found.name.partition(" (")[0] in " ".join(text.split()) for found in treatments if found.kind not in HABITS
    )


@pytest.mark.parametrize("scar_type", SCAR_TYPES)
@pytest.mark.parametrize("width", [80, 100])
def test_a_summary_leaves_room_for_an_answer_on_a_screen(scar_type, width):
    assert len(plan(scar_type, []).summary(width).splitlines()) <= 17
    chosen = plan(scar_type, SCAR_TYPES)
    text = chosen.summary(width)
    assert len(text.splitlines()) <= 21 and max(map(len, text.splitlines())) <= width
    assert " ".join(text.split()).endswith(NOTICE)
    assert all(part.title in text for part in chosen.types)
    assert all(value in text for _, quantity, value, _ in FIGURES if quantity == "improvement_percent")


def test_every_claim_and_every_side_of_a_disagreement_is_printed_with_its_document():
    printed = " ".join(every_claim(plan(None, SCAR_TYPES), 100).split())
    for claim in all_claims():
        assert re.search(rf"{re.escape(claim.text)} \[{NAMES[claim.document]}\]", printed), claim
    for found in catalogue().disagreements:
        for side in found.sides:
            assert f"{side.says} [{', '.join(sorted(NAMES[file] for file in side.documents))}]" in printed


# --- the data file ---------------------------------------------------------------------------------------------------


def test_documents_toml_uses_only_known_keys_and_names():
    data = tomllib.loads(DOCUMENTS_TOML.read_text(encoding="utf-8"))
    claims = [(claim, FACT_TOPICS) for claim in data["fact"]]
    for treatment in data["treatment"]:
        assert treatment.keys() == {"id", "name", "kind", "claim"} and treatment["kind"] in KINDS
        claims += [(claim, CLAIM_TOPICS) for claim in treatment["claim"]]
    for claim, topics in claims:
        assert {"topic", "about", "source", "says"} <= claim.keys()
        assert claim.keys() <= {"topic", "about", "source", "says", "disputed", *QUANTITIES}
        assert claim["topic"] in topics and claim["about"] and set(claim["about"]) <= set(SUBJECTS)
        assert claim["source"] in data["documents"] and claim["says"].strip()
    for figure in (claim[name] for claim, _ in claims for name in QUANTITIES if name in claim):
        bounds = figure if isinstance(figure, list) else [figure]
        assert bounds == sorted(bounds) and (len(bounds) == 2 or not isinstance(figure, list))
        assert not isinstance(figure, dict) or figure.keys() < {"at_least", "more_than", "at_most", "less_than"}


def test_disagreements_and_their_disputed_claims_name_the_same_documents():
    data = catalogue()
    claims = all_claims()
    ids = [found.id for found in data.disagreements]
    assert len(set(ids)) == len(ids) and {name for claim in claims for name in claim.disputed} == set(ids)
    for found in data.disagreements:
        assert len(found.sides) >= 2 and found.nature in NATURES and set(found.about) <= set(SUBJECTS)
        disputed = {claim.document for claim in claims if found.id in claim.disputed}
        assert {file for side in found.sides for file in side.documents} == disputed


def test_treatment_ids_are_unique_and_files_carry_their_number():
    ids = [treatment.id for treatment in catalogue().treatments]
    assert len(set(ids)) == len(ids)
    assert all(document.file.startswith(f"{document.number}_") for document in catalogue().documents)
