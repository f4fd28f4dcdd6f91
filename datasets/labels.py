"""The three atrophic scar types, their order, and the folder names that are recognised.

Every array with a type axis in this project uses the order of `SCAR_TYPES`.
"""

from typing import Final

SCAR_TYPES: Final = ("ice_pick", "boxcar", "rolling")
"""Canonical names in order: index i of any type axis is `SCAR_TYPES[i]`."""

MAP_CLASSES: Final = (*SCAR_TYPES, "skin", "no_skin")
"""What a position of a photo can show: a scar of one of the types, other skin, or no skin at all."""

DISPLAY_NAMES: Final = {"ice_pick": "ice pick", "boxcar": "boxcar", "rolling": "rolling"}

OUT_OF_SCOPE: Final = "out_of_scope"
"""Label of photos that show none of the three types. They teach the map and the scope, not the type."""

UNTYPED: Final = "atrophic_scar"
"""Label of photos with scars of unknown type, such as a folder "pitted_scars"."""

_SPELLINGS: Final = {"icepick": "ice_pick", "boxcar": "boxcar", "rolling": "rolling"}
_SPELLINGS_UNTYPED: Final = ("atrophic", "pitted")


def normalise_label(spelling: str) -> str | None:
    """Return the scar type for a folder name or manifest label, `UNTYPED`, or None if it is unknown.

    Case, spaces, hyphens, underscores and a trailing "scar" or "scars" do not matter: "Ice Pick", "ice-pick",
    "icepick" and "Ice_Pick_Scars" are all "ice_pick"; "atrophic scars" and "pitted_scars" are `UNTYPED`.
    """
    letters = "".join(character for character in spelling.casefold() if character.isalnum())
    name = letters.removesuffix("s").removesuffix("scar")
    return UNTYPED if name in _SPELLINGS_UNTYPED else _SPELLINGS.get(name)


def known_spellings() -> str:
    """Return the list of names that `normalise_label` accepts, as a phrase for error messages."""
    names = ", ".join(f'"{DISPLAY_NAMES[name]}"' for name in SCAR_TYPES)
    ignored = 'case, spaces, "-", "_" and a trailing "scar" or "scars" do not matter'
    return f'{names}, and "pitted scars" if the type is unknown ({ignored})'
