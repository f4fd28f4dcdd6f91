"""What `scarlens train` learns from when it is given no photos: rendered scars, with the trunk that ships.

A newcomer sees the whole pipeline at work in minutes, offline and on two cores. The trunk that ships has learned from
the public photos: what is trained from it must not be measured on them. Train on photographs for anything that matters.
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
"""Rendered photos: a quarter each of the three types and of clear skin."""

EPOCHS: Final = 6
"""Enough for renderings, which agree with their labels."""


VIEWS: Final = 3
PER_TYPE: Final = 32


def embedded_config() -> TrainConfig:
    """Return settings that start from the trunk of the checkpoint that ships: no download, and a short training."""
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
    """Render photos into `out`, unless an earlier start of the same run has, and return their manifest."""
    manifest = out / "manifest.csv"
    return manifest if manifest.exists() else write_photos(out, count=COUNT, seed=seed, advance=advance)
