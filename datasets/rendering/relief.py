"""The shape of skin and of scars: height fields in millimetres, outward positive.

The geometry of the scars follows Jacob, Dover & Kaminer, "Acne scarring: a classification system and review of
treatment options", J Am Acad Dermatol 45:109 (2001), as tabulated by Fabbrocini et al., "Acne scars: pathogenesis,
classification and treatment", Dermatol Res Pract 2010:893080.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from ..labels import SCAR_TYPES
from .fields import blur, noise, pixel_grid, smoothstep


@dataclass(frozen=True, kw_only=True)
class Scar:
    """One scar.

    Attributes:
        type: a name of `SCAR_TYPES`.
        x_mm: centre, from the left side of the picture.
        y_mm: centre, from the top of the picture.
        width_mm: diameter of the circle with the scar's area at the surface.
        depth_mm: depth of its deepest point below the skin around it.
        elongation: length over breadth, 1 or more.
        angle: direction of the length in radians, from x towards y.
    """

    type: str
    x_mm: float
    y_mm: float
    width_mm: float
    depth_mm: float
    elongation: float = 1.0
    angle: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Morphology:
    """What one scar type looks like, in numbers.

    Attributes:
        width_mm: least and greatest width. The ambiguous margins of the table (1.5-2 mm, 4-5 mm) are used sparingly.
        depth_mm: least and greatest depth.
        depth_to_width: least and greatest ratio, which ties depth to width.
        per_cm2: least and greatest number of scars on a square centimetre.
        spacing: least distance of two centres, in units of the mean of their widths.
        elongation: greatest length over breadth.
        raggedness_mm: how far the outline strays from an ellipse, as a standard deviation.
        rounding_mm: radius by which skin rounds off edges, as a standard deviation.
    """

    width_mm: tuple[float, float]
    depth_mm: tuple[float, float]
    depth_to_width: tuple[float, float]
    per_cm2: tuple[float, float]
    spacing: float
    elongation: float
    raggedness_mm: float
    rounding_mm: float


MORPHOLOGY: Final = {
    # Widths: the table. Depths of ice pick scars: "to deep dermis or subcutis", cheek dermis being 1-2 mm thick. Depths
    # of boxcar scars: 0.1-0.5 mm shallow, from 0.5 mm deep. Rolling: "shallow"; up to 1 mm. Densities, spacing and
    # outlines are our own choice, by eye.
    "ice_pick": Morphology(
        width_mm=(0.5, 1.8),
        depth_mm=(0.6, 2.4),
        depth_to_width=(1.0, 1.7),
        per_cm2=(1.5, 4.5),
        spacing=1.5,
        elongation=1.9,
        raggedness_mm=0.07,
        rounding_mm=0.03,
    ),
    "boxcar": Morphology(
        width_mm=(1.7, 4.0),
        depth_mm=(0.2, 0.9),
        depth_to_width=(0.10, 0.26),
        per_cm2=(1.0, 3.2),
        spacing=1.0,
        elongation=1.8,
        raggedness_mm=0.16,
        rounding_mm=0.11,
    ),
    "rolling": Morphology(
        width_mm=(4.8, 10.0),
        depth_mm=(0.35, 1.0),
        depth_to_width=(0.07, 0.125),
        per_cm2=(0.9, 2.4),
        spacing=0.8,
        elongation=2.0,
        raggedness_mm=0.40,
        rounding_mm=0.0,
    ),
}

WALL_MM: Final = 0.25
"""Breadth of a boxcar scar's wall: as good as vertical, yet two pixels wide in a usual picture."""


def draw_scars(label: str, *, rng: np.random.Generator, patch_mm: float) -> tuple[Scar, ...]:
    """Return scars of one type strewn over a square patch, at least one and mostly several; largest first."""
    kind = MORPHOLOGY[label]
    area_cm2 = (patch_mm / 10.0) ** 2
    wanted = max(3, round(area_cm2 * math.exp(rng.uniform(*np.log(kind.per_cm2)))))
    low, high = kind.width_mm[0], min(kind.width_mm[1], 0.45 * patch_mm)  # several must fit
    # Small scars outnumber large ones, and both ends of the range are rare.
    widths = np.sort(low + (high - low) * rng.beta(1.6, 2.2, size=wanted))[::-1]
    middle = rng.uniform(0.3, 0.7, size=2) * patch_mm
    tension = rng.uniform(0.0, math.pi)  # scars lengthen along the lines of tension
    scars: list[Scar] = []
    for width in widths:
        depth = float(np.clip(width * rng.uniform(*kind.depth_to_width), *kind.depth_mm))
        elongation = 1.0 + (kind.elongation - 1.0) * rng.beta(1.3, 2.0)
        angle = tension + rng.normal(0.0, 0.5)
        for _ in range(12):
            spread = rng.normal(middle, 0.3 * patch_mm) if rng.random() < 0.6 else rng.uniform(0.0, patch_mm, size=2)
            x, y = np.clip(spread, 0.0, patch_mm)
            inside = min(x, y, patch_mm - x, patch_mm - y) > 0.3 * width
            if inside and all(
                math.hypot(x - other.x_mm, y - other.y_mm) > kind.spacing * (width + other.width_mm) / 2
                for other in scars
            ):
                scars.append(
                    Scar(
                        type=label,
                        x_mm=float(x),
                        y_mm=float(y),
                        width_mm=float(width),
                        depth_mm=depth,
                        elongation=float(elongation),
                        angle=float(angle),
                    )
                )
                break
    if not scars:  # a patch barely wider than one scar
        x, y = rng.uniform(0.4, 0.6, size=2) * patch_mm
        scars.append(
            Scar(type=label, x_mm=float(x), y_mm=float(y), width_mm=float(widths[0]), depth_mm=float(kind.depth_mm[0]))
        )
    return tuple(scars)


def profile(scar_type: str, rho: np.ndarray, *, width_mm: float) -> np.ndarray:
    """Return the height of a scar of depth 1 at the distance `rho` from its centre, -1 to 0; its margin is at rho = 1.

    Ice pick: a cone with a sharp margin, a V. Boxcar: a flat base and a wall `WALL_MM` broad, a U. Rolling: a raised
    cosine, whose slope vanishes at the margin, so that neighbours join into an M.
    """
    if scar_type == "ice_pick":
        return -np.clip(1.0 - rho, 0.0, 1.0)
    if scar_type == "boxcar":
        wall = min(2.0 * WALL_MM / width_mm, 0.3)
        return smoothstep(1.0 - wall, 1.0, rho) - 1.0
    return -0.5 * (1.0 + np.cos(math.pi * np.clip(rho, 0.0, 1.0)))


def scar_relief(
    scars: tuple[Scar, ...], *, rng: np.random.Generator, patch_mm: float, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Dig scars, all of one type, into flat skin.

    Returns:
        height: float32 [size, size] in mm, 0 outside scars and negative inside.
        type_map: uint8 [size, size], 0 outside scars and 1 + i inside a scar of `SCAR_TYPES[i]`.
    """
    depth_4 = np.zeros((size, size), np.float32)
    type_map = np.zeros((size, size), np.uint8)
    if not scars:
        return depth_4, type_map
    x, y = pixel_grid(patch_mm, size)
    # One bending of space makes every outline irregular; its grain is under half the mean width, so they wobble.
    kind = MORPHOLOGY[scars[0].type]
    grain = 0.4 * sum(kind.width_mm) / 2
    x = x + kind.raggedness_mm * noise(rng=rng, patch_mm=patch_mm, size=size, feature_mm=grain)
    y = y + kind.raggedness_mm * noise(rng=rng, patch_mm=patch_mm, size=size, feature_mm=grain)
    for scar in scars:
        reach = scar.width_mm / 2 * math.sqrt(scar.elongation) + 4 * kind.raggedness_mm
        left, right = (round((scar.x_mm + side * reach) * size / patch_mm) for side in (-1, 1))
        top, bottom = (round((scar.y_mm + side * reach) * size / patch_mm) for side in (-1, 1))
        window = np.s_[max(top, 0) : bottom + 1, max(left, 0) : right + 1]
        dx, dy = x[window] - scar.x_mm, y[window] - scar.y_mm
        along = dx * math.cos(scar.angle) + dy * math.sin(scar.angle)
        across = dy * math.cos(scar.angle) - dx * math.sin(scar.angle)
        root = math.sqrt(scar.elongation)
        rho = np.hypot(along / root, across * root) / (scar.width_mm / 2)
        depth_4[window] += (scar.depth_mm * profile(scar.type, rho, width_mm=scar.width_mm)) ** 4
        type_map[window][rho < 1.0] = 1 + SCAR_TYPES.index(scar.type)
    # Where scars meet, the fourth root of the sum of fourth powers is nearly the deeper of them, without a crease.
    return -blur(np.sqrt(np.sqrt(depth_4)), kind.rounding_mm * size / patch_mm), type_map


def cheek_relief(*, rng: np.random.Generator, patch_mm: float, size: int) -> np.ndarray:
    """Return the patch's place on the cheek, float32 [size, size] in mm: a dome with a gentle swell."""
    x, y = pixel_grid(patch_mm, size)
    # A cheek bends with a radius of roughly 60-160 mm; the highest point may lie outside the picture.
    apex = rng.normal(0.5, 0.35, size=2) * patch_mm
    radius = rng.uniform(60.0, 160.0, size=2)
    dome = -((x - apex[0]) ** 2) / (2 * radius[0]) - (y - apex[1]) ** 2 / (2 * radius[1])
    swell = noise(rng=rng, patch_mm=patch_mm, size=size, feature_mm=6.0)
    return (dome + rng.uniform(0.01, 0.04) * swell).astype(np.float32)


def skin_relief(*, rng: np.random.Generator, patch_mm: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the fine relief of healthy skin in mm and the pores' depth alone in mm, both float32 [size, size].

    Fields of skin 0.3-0.7 mm across, parted by furrows 10-30 um deep, and pores 0.15-0.4 mm wide: the meso scale of
    Igarashi, Nishino & Nayar, "The appearance of human skin", Columbia University CUCS-024-05 (2005), section 3.2. A
    furrow network is the set of points far from the centres of the fields: a distance transform.
    """
    px = size / patch_mm
    tension, stretch = rng.uniform(0.0, math.pi), rng.uniform(1.1, 1.9)
    cell = rng.uniform(0.3, 0.7)
    nodes = math.ceil(1.5 * patch_mm / cell) + 2
    jitter = rng.uniform(-0.42, 0.42, size=(2, nodes, nodes))
    depth = rng.uniform(0.010, 0.030)
    furrows = np.zeros((size, size), np.float32)
    if cell * px > 2.0:  # else the camera sees none of it
        rows, columns = (np.indices((nodes, nodes)) - nodes / 2 + jitter) * cell * px
        x = columns * math.cos(tension) * stretch - rows * math.sin(tension) + size / 2
        y = columns * math.sin(tension) * stretch + rows * math.cos(tension) + size / 2
        seeds = np.full((size, size), 255, np.uint8)
        seen = (x >= 0) & (x < size) & (y >= 0) & (y < size)
        seeds[y[seen].astype(int), x[seen].astype(int)] = 0
        furrows = cv2.distanceTransform(seeds, cv2.DIST_L2, 5) / (0.6 * cell * px)
        furrows = -depth * blur(np.minimum(furrows, 1.3) ** 2, max(0.05 * px, 0.6))
        furrows *= 1.0 + 0.4 * np.clip(noise(rng=rng, patch_mm=patch_mm, size=size, feature_mm=5.0), -2, 2)

    pores = np.zeros((size, size), np.float32)
    count = rng.poisson(rng.uniform(40.0, 130.0) * (patch_mm / 10.0) ** 2)
    places = rng.uniform(0.0, size, size=(count, 2)).astype(int)
    weights = rng.uniform(0.3, 1.0, size=count).astype(np.float32)
    pore_depth = rng.uniform(0.05, 0.16)
    sizes_mm = (0.08, 0.11, 0.16)  # standard deviations of the pits' Gaussian shape
    sizes = rng.choice(len(sizes_mm), size=count, p=(0.5, 0.4, 0.1))
    for number, radius in enumerate(sizes_mm):
        chosen = sizes == number
        sigma = max(radius * px, 0.6)
        layer = np.zeros((size, size), np.float32)
        layer[places[chosen, 1], places[chosen, 0]] = weights[chosen] * (2 * math.pi * sigma**2)
        # A pore narrower than a pixel looks shallower than it is.
        pores += pore_depth * min(1.0, (radius * px / 0.6) ** 2) * blur(layer, sigma)

    grain = rng.uniform(0.006, 0.014) * noise(rng=rng, patch_mm=patch_mm, size=size, feature_mm=0.22)
    lumps = rng.uniform(0.008, 0.024) * noise(
        rng=rng, patch_mm=patch_mm, size=size, feature_mm=1.1, stretch=stretch, angle=tension
    )
    return (furrows - pores + grain + lumps).astype(np.float32), pores
