"""Reasons for abstaining, and text shared by all answers: the notice, percentages."""

from functools import cache
from importlib import metadata
from typing import Final, Literal

NOTICE: Final = (
    "Information, not a diagnosis: this is a research tool, not a medical device. "
    "Ask a dermatologist before any treatment."
)
"""Appears on everything a user sees."""

Reason = Literal["out_of_scope", "ambiguous", "low_quality"]

REASONS: Final[dict[str, str]] = {
    "out_of_scope": "the photo does not seem to show an ice pick, boxcar or rolling scar",
    "ambiguous": "no scar type is probable enough to be named alone",
    "low_quality": "the photo is too small, too narrow, too dark or too blurred to judge",
}
"""Every reason for abstaining, with the sentence a user reads."""


@cache  # every row of a batch has it, and looking it up reads files
def package_version() -> str:
    """Return the version of scarlens."""
    return metadata.version("scarlens")


def percent(share: float) -> str:
    """Return a share, 0 to 1, in whole percent; a share that is not quite 0 or 1 is never rounded to it."""
    return "<1 %" if 0.0 < share < 0.005 else ">99 %" if 0.995 <= share < 1.0 else f"{100 * share:.0f} %"
