"""The model card: a template filled with the figures of a cross-validation.

python training/measure/model_card.py runs/cv/metrics.json runs/audit/audit.json

writes `evaluation.json` and `MODEL_CARD.md` next to the bundled checkpoint, and the picture of the confusion matrix. No
measured figure is typed by hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from scarlens.datasets.labels import DISPLAY_NAMES
from scarlens.datasets.writing.atomic import write_atomically
from scarlens.datasets.writing.template import filled
from scarlens.inference.engine import open_engine
from scarlens.model.checkpoint import Card
from scarlens.training.measure.metrics import Estimate
from scarlens.training.measure.report import draw_confusion

WEIGHTS: Final = Path(__file__).parents[2] / "model" / "weights"
"""Folder of the bundled checkpoint."""

CONFUSION: Final = Path(__file__).parents[2] / "notebooks" / "images" / "confusion.png"
"""Picture in the card and the README."""

_LISTS: Final = ("worst_photos", "best_photos")  # rows of files that are not published

_SHORTCUT: Final = ("chance", "bare", "everything")


def model_card(figures: Mapping[str, Any], card: Card, *, megabytes: float) -> str:
    """Render the model card.

    Args:
        figures: `metrics.json` of a cross-validation.
        card: the checkpoint's card.
        megabytes: total size of both forms of the checkpoint.
    """
    values = {
        "figures": figures,
        "card": card,
        "calibration": card.calibration,
        "megabytes": megabytes,
        "display": DISPLAY_NAMES,
    }
    filters = {"interval": _interval, "percent": _percent}
    return filled(Path(__file__).with_name("model_card.md.j2"), values, filters)


def _interval(estimate: Mapping[str, Any]) -> str:
    return str(Estimate(**estimate))


def _percent(estimate: Mapping[str, Any]) -> str:
    """Format a share as `3.8 % (1.2-7.1)`."""
    if estimate["value"] is None:
        return "not defined"
    value, low, high = (100 * estimate[name] for name in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f}-{high:.1f})"


def shipped_card() -> tuple[Card, float]:
    """Return the card of the bundled checkpoint, and the size of its two forms in megabytes."""
    files = [WEIGHTS / f"scarlens.{form}" for form in ("onnx", "safetensors")]
    return open_engine(files[0]).card, sum(file.stat().st_size for file in files) / 1e6


def main(metrics: Path, audit: Path) -> None:
    """Write the model card and its figures next to the bundled checkpoint."""
    figures = json.loads(metrics.read_text(encoding="utf-8"))
    shortcuts = json.loads(audit.read_text(encoding="utf-8"))["shortcuts"]
    # Names of other people's photo files are not ours to publish.
    published = {name: value for name, value in figures.items() if name not in ("worst", "missed", "falsely_refused")}
    published["shortcuts"] = {name: {part: test[part] for part in _SHORTCUT} for name, test in shortcuts.items()}
    for name in ("map", "map_untyped"):
        published[name] = {key: value for key, value in figures[name].items() if key not in _LISTS}
    card, megabytes = shipped_card()
    write_atomically(WEIGHTS / "evaluation.json", (json.dumps(published, indent=1) + "\n").encode())
    write_atomically(WEIGHTS / "MODEL_CARD.md", model_card(published, card, megabytes=megabytes).encode())
    draw_confusion(np.array(figures["confusion"]), CONFUSION)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
