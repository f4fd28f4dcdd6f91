"""Smooth random fields over a patch of skin.

Everything is drawn on lattices and at points measured in millimetres, never in pixels, so that the same seed gives the
same patch of skin at every picture size.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np

SPREAD: Final = 1.17
"""Undoes what cubic interpolation takes from the standard deviation of a lattice of normal numbers (measured)."""


def pixel_grid(patch_mm: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y in mm of every pixel centre, float32 [size, size], from the picture's upper left corner."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * (patch_mm / size)).astype(np.float32)
    return np.meshgrid(axis, axis)


def noise(
    *, rng: np.random.Generator, patch_mm: float, size: int, feature_mm: float, stretch: float = 1.0, angle: float = 0.0
) -> np.ndarray:
    """Return smooth value noise with mean about 0 and standard deviation 1, float32 [size, size].

    Normal numbers on a square lattice of pitch `feature_mm`, cubically interpolated. `stretch` (1 or more) lengthens
    the features along the direction `angle` (radians, x towards y). Features smaller than a pixel are left out: the
    camera could not see them, and sampling them would alias.
    """
    nodes = math.ceil(math.sqrt(2.0) * patch_mm / feature_mm) + 6
    lattice = rng.standard_normal((nodes, nodes), dtype=np.float32)
    pitch_px = feature_mm * size / patch_mm
    if pitch_px < 1.0:
        return np.zeros((size, size), np.float32)
    cosine, sine = math.cos(angle) / pitch_px, math.sin(angle) / pitch_px
    turn = np.array([[cosine / stretch, sine / stretch], [-sine, cosine]])  # picture px -> lattice nodes
    shift = (nodes - 1) / 2 - turn @ np.full(2, (size - 1) / 2)
    field = cv2.warpAffine(
        lattice,
        np.column_stack([turn, shift]),
        (size, size),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return field * np.float32(SPREAD)


def blur(field: np.ndarray, sigma_px: float) -> np.ndarray:
    """Return the field under a Gaussian of `sigma_px`; wide ones are applied to a reduced picture, which is faster."""
    if sigma_px < 0.3:
        return field
    size = field.shape[0]
    step = int(min(max(sigma_px // 2.5, 1), 8))
    if step == 1:
        return cv2.GaussianBlur(field, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101)
    small = cv2.resize(field, (math.ceil(size / step),) * 2, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma_px / step, borderType=cv2.BORDER_REFLECT_101)
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)


def smoothstep(low: float, high: float, value: np.ndarray) -> np.ndarray:
    """Return 0 below `low`, 1 above `high` and the cubic 3t^2 - 2t^3 between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
