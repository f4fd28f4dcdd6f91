"""The three atrophic scar types, their one order, and the folder spellings that are understood.

Every array with a type axis in this project uses the order of `SCAR_TYPES`.
"""

from typing import Final

SCAR_TYPES: Final = ("ice_pick", "boxcar", "rolling")
"""Canonical names in their one order: index i of any type axis is `SCAR_TYPES[i]`."""

MAP_CLASSES: Final = (*SCAR_TYPES, "skin", "no_skin")
"""What a position of a photo can show: a scar of one of the types, other skin, or no skin at all."""

DISPLAY_NAMES: Final = {"ice_pick": "ice pick", "boxcar": "boxcar", "rolling": "rolling"}

OUT_OF_SCOPE: Final = "out_of_scope"
"""Label of photos that show none of the three types; they train the scope score only."""

UNTYPED: Final = "atrophic_scar"
"""Label of photos that show scars of the three types, of which nobody said which: folders such as "pitted_scars"."""

_SPELLINGS: Final = {"icepick": "ice_pick", "boxcar": "boxcar", "rolling": "rolling"}
_SPELLINGS_UNTYPED: Final = ("atrophic", "pitted")


def normalise_label(spelling: str) -> str | None:
    """Return the scar type that a folder name or manifest label means, `UNTYPED`, or None when it is unknown.

    Case, spaces, hyphens, underscores and a trailing "scar" or "scars" do not matter: "Ice Pick", "ice-pick",
    "icepick" and "Ice_Pick_Scars" are all "ice_pick"; "atrophic scars" and "pitted_scars" are `UNTYPED`.
    """
    letters = "".join(character for character in spelling.casefold() if character.isalnum())
    name = letters.removesuffix("s").removesuffix("scar")
    return UNTYPED if name in _SPELLINGS_UNTYPED else _SPELLINGS.get(name)


def known_spellings() -> str:
    """Return a sentence fragment that lists what `normalise_label` understands, for error messages."""
    names = ", ".join(f'"{DISPLAY_NAMES[name]}"' for name in SCAR_TYPES)
    ignored = 'case, spaces, "-", "_" and a trailing "scar" or "scars" do not matter'
    return f'{names}, and "pitted scars" where nobody said which ({ignored})'
