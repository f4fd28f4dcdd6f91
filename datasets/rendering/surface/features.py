"""Coarse facial features of wide pictures: nose, lips and eyebrow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..cheek import Cheek
from ..fields import smoothstep
from .distractors import strands

WIDE_MM: Final = 45.0
"""Side of the picture from which it may show facial features. All sizes here are our own choice, by eye."""


@dataclass(frozen=True, kw_only=True)
class Zone:
    """Area of a feature: an axis-aligned ellipse, in mm from the picture's upper left corner."""

    x: float
    y: float
    half_width: float
    half_height: float

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the distance of points from the centre, normalised to 1 on the ellipse."""
        return np.hypot((x - self.x) / self.half_width, (y - self.y) / self.half_height)


@dataclass(frozen=True, kw_only=True)
class Features:
    """Features in a picture; None for those it does not show."""

    nose: Zone | None = None
    lips: Zone | None = None
    brow: Zone | None = None

    def covers(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return a mask of the points, in mm, that lie on a feature; scars are not placed there."""
        zones = [zone for zone in (self.nose, self.lips, self.brow) if zone]
        return np.any([np.zeros(x.shape, bool), *(zone.distance(x, y) < 1.0 for zone in zones)], axis=0)


def draw_features(*, rng: np.random.Generator, patch_mm: float) -> Features:
    """Draw random features: none in a close-up; in most wide pictures, those around the midline of the face."""
    side, middle = rng.choice([-1.0, 1.0]), rng.uniform(0.38, 0.75) * patch_mm
    x = patch_mm / 2 + side * middle  # midline of the face, mostly near or beyond the picture's edge
    y, scale = rng.uniform(0.1, 0.9) * patch_mm, rng.uniform(0.85, 1.15)
    shown = rng.random(3) < 0.7
    if patch_mm < WIDE_MM or rng.random() < 0.35:
        return Features()
    nose = Zone(x=x, y=y, half_width=17.0 * scale, half_height=26.0 * scale)
    lips = Zone(x=x, y=y + 42.0 * scale, half_width=26.0 * scale, half_height=10.0 * scale)
    brow = Zone(x=x - side * 24.0 * scale, y=y - 45.0 * scale, half_width=24.0 * scale, half_height=5.0 * scale)
    return Features(
        **{name: zone for name, zone, on in zip(("nose", "lips", "brow"), (nose, lips, brow), shown, strict=True) if on}
    )


def feature_relief(features: Features, cheek: Cheek) -> np.ndarray:
    """Return the height of nose and lips above the cheek in mm, float32 [S, S]."""
    x, y = cheek.grid
    height = np.zeros((cheek.size, cheek.size), np.float32)
    if features.nose:
        nose = features.nose
        ridge = Zone(
            x=nose.x, y=nose.y - 0.2 * nose.half_height, half_width=0.6 * nose.half_width, half_height=nose.half_height
        )
        height += 13.0 * np.exp(-(ridge.distance(x, y) ** 2))
        for side in (-1.0, 1.0):
            wing = Zone(
                x=nose.x + side * 0.55 * nose.half_width,
                y=nose.y + 0.5 * nose.half_height,
                half_width=7.0,
                half_height=6.0,
            )
            height += 6.0 * np.exp(-(wing.distance(x, y) ** 4))
    if features.lips:
        lips = features.lips
        for side in (-1.0, 1.0):
            lip = Zone(
                x=lips.x,
                y=lips.y + side * 0.45 * lips.half_height,
                half_width=lips.half_width,
                half_height=0.5 * lips.half_height,
            )
            height += 2.5 * np.exp(-(lip.distance(x, y) ** 4))
    return height.astype(np.float32)


def feature_colour(features: Features, cheek: Cheek) -> tuple[np.ndarray, np.ndarray]:
    """Return log ratios of melanin and of blood in lips and nostrils to those in skin, each float32 [S, S]."""
    x, y = cheek.grid
    melanin, blood = np.zeros((2, cheek.size, cheek.size), np.float32)
    if features.lips:
        lips = features.lips
        blood += 1.5 * (1.0 - smoothstep(0.75, 1.0, lips.distance(x, y)))
        mouth = Zone(x=lips.x, y=lips.y, half_width=lips.half_width, half_height=1.0)
        melanin += 1.5 * (1.0 - smoothstep(0.3, 1.1, mouth.distance(x, y)))
    if features.nose:
        nose = features.nose
        for side in (-1.0, 1.0):
            hole = Zone(
                x=nose.x + side * 0.35 * nose.half_width,
                y=nose.y + 0.75 * nose.half_height,
                half_width=4.0,
                half_height=2.2,
            )
            melanin += 3.0 * (1.0 - smoothstep(0.5, 1.1, hole.distance(x, y)))
    return melanin, blood


def eyebrow(features: Features, cheek: Cheek, *, rng: np.random.Generator) -> np.ndarray:
    """Draw the coverage of the eyebrow's hair, float32 [S, S], 0 to 1."""
    if not features.brow:
        return np.zeros((cheek.size, cheek.size), np.float32)
    brow, count = features.brow, 260
    across = rng.normal(0.0, 0.5, size=(2, count, 1))
    x = brow.x + brow.half_width * np.clip(across[0], -1.0, 1.0)
    y = brow.y + brow.half_height * across[1]
    lean = rng.normal(-0.3, 0.3, size=(count, 1)) + math.pi * (rng.random() < 0.5)
    along = np.linspace(0.0, 1.0, 3) * rng.uniform(4.0, 9.0, size=(count, 1))
    lines = np.stack([x + along * np.cos(lean), y + along * np.sin(lean)], axis=-1)
    return strands(cheek, lines, breadth_mm=0.2)
