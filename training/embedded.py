"""What `scarlens train` uses without --data: rendered scars and the bundled trunk.

It shows a newcomer the whole pipeline in minutes, offline, on two cores. The bundled trunk was trained on the public
photos, so nothing trained from it may be evaluated on them. For real use, train on photographs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from ..datasets.rendering import write_photos
from ..inference.classifier import BUNDLED_CHECKPOINT
from ..model.checkpoint import load_checkpoint
from .config import TrainConfig

COUNT: Final = 360
"""Number of rendered photos: a quarter each of the three types and of clear skin."""

EPOCHS: Final = 6
"""Enough for renderings, whose labels are exact."""


VIEWS: Final = 3
PER_TYPE: Final = 32


def embedded_config() -> TrainConfig:
    """Return settings for a short training that starts from the bundled trunk and downloads nothing."""
    weights = BUNDLED_CHECKPOINT.with_suffix(".safetensors")
    card = load_checkpoint(weights)[1]
    return TrainConfig(
        trunk=card.trunk,
        weights=str(weights),
        mean=card.mean,
        std=card.std,
        size=card.size,
        epochs=EPOCHS,
        views=VIEWS,
        per_type=PER_TYPE,
    )


def embedded_photos(out: Path, *, seed: int, advance: Callable[[], None]) -> Path:
    """Render photos into `out`, unless an earlier start of this run has done so, and return their manifest."""
    manifest = out / "manifest.csv"
    return manifest if manifest.exists() else write_photos(out, count=COUNT, seed=seed, advance=advance)
