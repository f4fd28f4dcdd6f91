"""Smooth random fields over a patch of skin.

All lattices and points are in millimetres, never in pixels, so that a seed gives the same patch of skin at every
picture size.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np

from .cheek import Cheek

SPREAD: Final = 1.17
"""Factor that restores the standard deviation of a normal lattice after cubic interpolation (measured)."""


def noise(
    cheek: Cheek, *, rng: np.random.Generator, feature_mm: float, stretch: float = 1.0, angle: float = 0.0
) -> np.ndarray:
    """Return smooth value noise on the skin with mean about 0 and standard deviation 1, float32 [S, S].

    Normal numbers on a square lattice of pitch `feature_mm` are interpolated cubically. `stretch` (1 or more) lengthens
    the features along the direction `angle` (radians, from x towards y). The result is 0 if features are smaller than
    a pixel: the camera could not see them, and sampling them would alias.
    """
    stream = np.random.default_rng(rng.integers(2**63))  # own stream: omitted fields draw as much as others
    if feature_mm < cheek.mm_per_pixel:
        return np.zeros((cheek.size, cheek.size), np.float32)
    nodes = math.ceil(1.7 * cheek.patch_mm / feature_mm) + 6  # covers the diagonal and skin that curves out of sight
    lattice = stream.standard_normal((nodes, nodes), dtype=np.float32) * np.float32(SPREAD)
    cosine, sine = math.cos(angle) / feature_mm, math.sin(angle) / feature_mm
    turn = np.array([[cosine / stretch, sine / stretch], [-sine, cosine]])  # mm on the skin -> lattice nodes
    shift = (nodes - 1) / 2 - turn @ np.full(2, cheek.patch_mm / 2)  # middle of the picture -> middle of the lattice
    u, v = cv2.split(cv2.transform(cheek.uv, np.column_stack([turn, shift])))
    return cv2.remap(lattice, u, v, interpolation=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def blur(field: np.ndarray, sigma_px: float) -> np.ndarray:
    """Apply a Gaussian blur of `sigma_px`. Wide blurs work on a downscaled field, which is faster."""
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
    """Return 0 below `low`, 1 above `high` and the cubic 3t^2 - 2t^3 in between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number from the log-uniform distribution over `low` to `high`, for scales and densities."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))
