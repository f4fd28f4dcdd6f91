"""The three types, their order, and the spellings that are understood."""

import pytest

from scarlens.datasets.labels import DISPLAY_NAMES, OUT_OF_SCOPE, SCAR_TYPES, known_spellings, normalise_label


def test_order_is_fixed() -> None:
    # Every checkpoint that was ever written has its type axis in this order.
    assert SCAR_TYPES == ("ice_pick", "boxcar", "rolling")
    assert tuple(DISPLAY_NAMES) == SCAR_TYPES
    assert OUT_OF_SCOPE not in SCAR_TYPES


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("ice_pick", "ice_pick"),
        ("Ice Pick", "ice_pick"),
        ("icepick", "ice_pick"),
        ("ice-pick", "ice_pick"),
        ("Ice_Pick_Scars", "ice_pick"),
        (" ICE PICK scar ", "ice_pick"),
        ("Boxcar", "boxcar"),
        ("box-car", "boxcar"),
        ("boxcars", "boxcar"),
        ("rolling", "rolling"),
        ("rolling scars", "rolling"),
        ("Rolling_Scar", "rolling"),
    ],
)
def test_spellings(spelling: str, name: str) -> None:
    assert normalise_label(spelling) == name


@pytest.mark.parametrize(
    "spelling", ["keloid", "", "scars", "ice", "rollings roll", "0", "box car rolling", "out_of_scope"]
)
def test_unknown_spellings(spelling: str) -> None:
    assert normalise_label(spelling) is None


def test_display_names_are_understood_and_listed() -> None:
    for name, shown in DISPLAY_NAMES.items():
        assert normalise_label(shown) == name
        assert f'"{shown}"' in known_spellings()
