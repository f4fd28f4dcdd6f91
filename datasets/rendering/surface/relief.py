"""Relief of skin without scars: height fields in millimetres, positive outward.

The meso scale follows Igarashi, Nishino & Nayar, "The appearance of human skin", Columbia University CUCS-024-05
(2005), section 3.2: fields of skin 0.3-0.7 mm across, separated by furrows 10-30 um deep, and pores 0.15-0.4 mm wide.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from ..cheek import SUBPIXEL_BITS, Cheek
from ..fields import blur, noise


def soft_relief(cheek: Cheek, *, rng: np.random.Generator) -> np.ndarray:
    """Draw the unevenness of a cheek in mm, float32 [S, S], from fat and muscle, at the scale of a fingertip."""
    broad = rng.uniform(0.02, 0.25) * noise(cheek, rng=rng, feature_mm=14.0)
    small = rng.uniform(0.005, 0.04) * noise(cheek, rng=rng, feature_mm=5.0)
    return broad + small + rng.uniform(0.0, 0.045) * noise(cheek, rng=rng, feature_mm=2.5)


def skin_texture(cheek: Cheek, *, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the fine relief of sound skin, and the depth of its pores alone, in mm, both float32 [S, S]."""
    tension, stretch = rng.uniform(0.0, math.pi), rng.uniform(1.1, 1.9)
    furrow_stream, pore_stream = rng.spawn(2)
    furrows = _furrows(cheek, rng=furrow_stream, tension=tension, stretch=stretch)
    pores = _pores(cheek, rng=pore_stream)
    grain = rng.uniform(0.006, 0.014) * noise(cheek, rng=rng, feature_mm=0.22)
    lumps = rng.uniform(0.008, 0.030) * noise(cheek, rng=rng, feature_mm=1.1, stretch=stretch, angle=tension)
    return furrows - pores + grain + lumps, pores


def _furrows(cheek: Cheek, *, rng: np.random.Generator, tension: float, stretch: float) -> np.ndarray:
    """Draw the network of furrows in mm, from the distance to the nearest field centre (distance transform)."""
    size, px = cheek.size, 1.0 / cheek.mm_per_pixel
    cell, depth = rng.uniform(0.3, 0.7), rng.uniform(0.010, 0.030)
    furrows = np.zeros((size, size), np.float32)
    if cell * px < 2.0:  # too fine for the camera
        return furrows
    nodes = math.ceil(1.6 * cheek.patch_mm / cell) + 2
    jitter = rng.uniform(-0.42, 0.42, size=(2, nodes, nodes))
    rows, columns = (np.indices((nodes, nodes)) - nodes / 2 + jitter) * cell
    u = columns * math.cos(tension) * stretch - rows * math.sin(tension) + cheek.patch_mm / 2
    v = columns * math.sin(tension) * stretch + rows * math.cos(tension) + cheek.patch_mm / 2
    x, y = (np.floor(place * px).astype(int) for place in cheek.in_picture(u, v))
    seen = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    seeds = np.full((size, size), 255, np.uint8)
    seeds[y[seen], x[seen]] = 0
    furrows = cv2.distanceTransform(seeds, cv2.DIST_L2, 3) / (0.6 * cell * px)
    furrows = -depth * blur(np.minimum(furrows, 1.3) ** 2, max(0.05 * px, 0.6))
    return furrows * (1.0 + 0.4 * np.clip(noise(cheek, rng=rng, feature_mm=5.0), -2, 2))


def _pores(cheek: Cheek, *, rng: np.random.Generator) -> np.ndarray:
    """Draw the depth of the pores in mm: Gaussian pits, dense in some regions and sparse in others."""
    size, px = cheek.size, 1.0 / cheek.mm_per_pixel
    count = rng.poisson(rng.uniform(40.0, 130.0) * (cheek.patch_mm / 10.0) ** 2)
    depth = rng.uniform(0.05, 0.18)
    x, y = np.floor(np.array(cheek.in_picture(*(rng.uniform(-0.2, 1.2, size=(2, count)) * cheek.patch_mm))) * px)
    weights = rng.uniform(0.3, 1.0, size=count).astype(np.float32)
    radii_mm = (0.08, 0.11, 0.16, 0.24)  # standard deviations of the pits; the last are enlarged pores
    kinds = rng.choice(len(radii_mm), size=count, p=(0.47, 0.36, 0.14, 0.03))
    seen = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    pores = np.zeros((size, size), np.float32)
    for number, radius in enumerate(radii_mm):
        chosen = seen & (kinds == number)
        sigma = max(radius * px, 0.6)
        layer = np.zeros((size, size), np.float32)
        layer[y[chosen].astype(int), x[chosen].astype(int)] = weights[chosen] * (2 * math.pi * sigma**2)
        # A pore narrower than a pixel looks shallower than it is.
        pores += depth * min(1.0, (radius * px / 0.6) ** 2) * blur(layer, sigma)
    return pores * np.clip(1.0 + 0.5 * noise(cheek, rng=rng, feature_mm=12.0), 0.0, 2.0)


def creases(cheek: Cheek, *, rng: np.random.Generator) -> np.ndarray:
    """Draw fine lines and wrinkles in mm, float32 [S, S]: mostly none, sometimes a bundle of long, shallow grooves."""
    count = int(rng.integers(1, 9)) if rng.random() < 0.35 else 0
    direction = rng.uniform(0.0, math.pi)
    depth, breadth = rng.uniform(0.03, 0.16), rng.uniform(0.25, 0.8)  # mm
    lines = []
    for _ in range(count):
        middle = rng.uniform(-0.1, 1.1, size=2) * cheek.patch_mm
        heading = direction + rng.normal(0.0, 0.15)
        along = np.linspace(-0.5, 0.5, 12) * rng.uniform(0.2, 1.1) * cheek.patch_mm
        sag = rng.normal(0.0, 0.3) * along**2 / cheek.patch_mm
        x = middle[0] + along * math.cos(heading) - sag * math.sin(heading)
        y = middle[1] + along * math.sin(heading) + sag * math.cos(heading)
        lines.append(np.column_stack([x, y]))
    if not lines:
        return np.zeros((cheek.size, cheek.size), np.float32)
    drawn = np.zeros((cheek.size, cheek.size), np.uint8)
    points = [cheek.subpixels(line) for line in lines]
    cv2.polylines(drawn, points, False, 255, 1, cv2.LINE_AA, SUBPIXEL_BITS)
    sigma = max(breadth / 2 / cheek.mm_per_pixel, 0.6)
    # A one-pixel line, blurred, peaks at 1 / (sqrt(2 pi) sigma).
    groove = blur(drawn.astype(np.float32) / 255.0, sigma) * (math.sqrt(2 * math.pi) * sigma)
    return -depth * min(1.0, breadth / cheek.mm_per_pixel) * np.minimum(groove, 1.2)
