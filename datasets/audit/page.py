"""The audit as one self-contained HTML page, with suspicious photos side by side."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image

from ..errors import printable
from ..reading.reader import ImageReadError, read_image
from ..writing.atomic import write_atomically
from ..writing.template import filled
from .audit import Audit, is_shortcut
from .near_duplicates import LookAlike

_MOST_PAIRS: Final = 80  # of a section: more make the page too large for a phone
_MOST_FILES: Final = 200
_MOST_FEATURES: Final = 8
_SIDE: Final = 240  # of a thumbnail, in pixels
_SHORTCUTS: Final = {
    "types": "the three scar types, by their files",
    "classes": "all classes, by their files",
    "framed types": "the three scar types, as the network sees them",
    "framed classes": "all classes, as the network sees them",
}
_HOW: Final = {"same file": "the same file", "same pixels": "the same pixels", "hash": "alike by hash"}


def write_audit(out: Path, audit: Audit, *, notice: str) -> Path:
    """Write `audit.json` and `audit.html`, which shows `notice`, to a folder (created if missing); return the page."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "audit.json", json.dumps(audit.to_dict(), indent=2).encode())
    page = out / "audit.html"
    write_atomically(page, audit_page(audit, notice=notice).encode())
    return page


def audit_page(audit: Audit, *, notice: str) -> str:
    """Render the audit as one HTML page. Thumbnails are made from decoded pixels and carry no metadata.

    Args:
        audit: what was found.
        notice: notice for the foot of the page.
    """
    values = {
        "verdict": audit.verdict,
        "warnings": audit.warnings,
        "photos": audit.to_dict()["photos"],
        "sections": [_section(audit, *content) for content in _sections(audit)],
        "shortcuts": [_shortcut(audit, name) for name in audit.shortcuts],
        "unreadable": [str(error) for error in audit.unreadable[:_MOST_FILES]],
        "unreadable_left_out": max(0, len(audit.unreadable) - _MOST_FILES),
        "notice": notice,
    }
    return filled(Path(__file__).with_name("page.html.j2"), values)


def _sections(audit: Audit) -> list[tuple[str, str, Sequence[LookAlike]]]:
    """Return name, meaning and pairs of each section. A pair is in the first section that fits."""
    contradictions = audit.contradictions
    shown = set(contradictions)
    leaks = [pair for pair in audit.leaks if pair not in shown]
    shown.update(leaks)
    rest = [pair for pair in audit.copies if pair not in shown]
    return [
        ("One photo, two labels", "Near-duplicates with different labels: at most one label is right.", contradictions),
        ("Near-duplicates across subjects", "A split may train on one and test on the other.", leaks),
        ("Near-duplicates within a subject", "Harmless to a split that keeps subjects together.", rest),
        ("To check", "Weaker evidence: perhaps one person, perhaps only the same room or logo.", audit.candidates),
    ]


def _section(audit: Audit, title: str, meaning: str, pairs: Sequence[LookAlike]) -> dict[str, Any]:
    return {
        "title": title,
        "meaning": meaning,
        "count": len(pairs),
        "pairs": [_pair(audit, pair) for pair in pairs[:_MOST_PAIRS]],
        "left_out": max(0, len(pairs) - _MOST_PAIRS),
    }


def _pair(audit: Audit, pair: LookAlike) -> dict[str, Any]:
    found = _HOW.get(pair.how) or f"{pair.points} keypoints in the same place"
    details = [found, *(["mirrored"] if pair.mirrored else []), f"the pictures agree to {pair.agreement:.2f}"]
    return {"found": ", ".join(details), "photos": [_photo(audit, end) for end in (pair.first, pair.second)]}


def _photo(audit: Audit, number: int) -> dict[str, str]:
    photo = audit.photos[number]
    return {
        "thumbnail": _thumbnail(photo.path),
        "file": printable(f"{photo.path.parent.name}/{photo.path.name}"),
        "class_name": printable(photo.class_name),
        "subject": printable(photo.subject or "not named"),
    }


def _thumbnail(path: Path) -> str:
    """Return a small JPEG as a data URL; "" if the photo has disappeared."""
    try:
        picture = Image.fromarray(read_image(path))
    except ImageReadError:
        return ""
    picture.thumbnail((_SIDE, _SIDE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _shortcut(audit: Audit, name: str) -> dict[str, Any]:
    test = audit.shortcuts[name]
    scores = {"all features": test.everything, "all that shows no skin": test.bare, **test.families}
    return {
        "title": _SHORTCUTS[name],
        "is_shortcut": is_shortcut(test),
        "chance": test.chance,
        "counts": test.counts,
        "scores": [{"name": label, **vars(score)} for label, score in scores.items()],
        "auroc": test.auroc,
        "features": [(label, loss) for label, loss in list(test.features.items())[:_MOST_FEATURES] if loss > 0],
    }
