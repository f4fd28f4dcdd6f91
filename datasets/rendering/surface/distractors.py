"""Distractors on skin, independent of scar type: pimples, comedones, moles, hair, stubble and the background."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ..cheek import SUBPIXEL_BITS, Cheek
from ..fields import blur, noise, smoothstep


@dataclass(frozen=True, kw_only=True, eq=False)
class Blemishes:
    """Raised spots; arrays float32 [S, S].

    Attributes:
        height: height in mm, positive outward.
        melanin: natural logarithm of the ratio of melanin to that of the surrounding skin.
        blood: natural logarithm of the ratio of blood to that of the surrounding skin.
        pus: share of the pixel that is the yellow tip of a pustule, 0 to 1.
    """

    height: np.ndarray
    melanin: np.ndarray
    blood: np.ndarray
    pus: np.ndarray


def draw_blemishes(cheek: Cheek, *, rng: np.random.Generator) -> Blemishes:
    """Draw papules, pustules and moles: none in about half of the pictures, dozens in a few.

    Papules are inflamed bumps up to 5 mm across. Pustules have a tip of pus. Moles are brown, flat or domed.
    """
    planes = Blemishes(**{name: _empty(cheek) for name in ("height", "melanin", "blood", "pus")})
    area_cm2 = (cheek.patch_mm / 10.0) ** 2
    pimples = min(rng.poisson(rng.gamma(0.6, 0.5) * area_cm2), 60) if rng.random() < 0.45 else 0
    moles = min(rng.poisson(rng.gamma(0.6, 0.1) * area_cm2), 12) if rng.random() < 0.5 else 0
    for _ in range(pimples):
        width, height, tip = rng.uniform(1.5, 5.0), rng.uniform(0.15, 0.8), rng.random() < 0.2
        window, distance = _around(cheek, rng.uniform(0.0, cheek.patch_mm, size=2), width, reach=1.8)
        dome = np.exp(-2.0 * distance**2)
        planes.height[window] += height * dome
        planes.blood[window] += rng.uniform(0.4, 1.3) * np.exp(-0.9 * distance**2)  # the flush is wider than the bump
        if tip:
            planes.pus[window] = np.maximum(planes.pus[window], 1.0 - smoothstep(0.1, 0.5, distance))
    for _ in range(moles):
        width, height = rng.uniform(0.8, 4.5), rng.uniform(0.0, 0.5)
        window, distance = _around(cheek, rng.uniform(0.0, cheek.patch_mm, size=2), width, reach=1.3)
        planes.height[window] += height * np.clip(1.0 - distance**2, 0.0, 1.0)
        planes.melanin[window] += rng.uniform(0.5, 1.6) * (1.0 - smoothstep(0.3, 1.2, distance))
    return planes


def draw_comedones(cheek: Cheek, *, rng: np.random.Generator) -> Blemishes:
    """Draw blackheads and whiteheads: none in half of the pictures, up to hundreds around one place in the others.

    A blackhead is a pore filled to the rim by a dark plug, with a faint wall; a whitehead is a closed, pale bump. Both
    are dark or bright dots like ice pick scars, but not deep. They occur equally on scarred and on clear skin.
    """
    planes = Blemishes(**{name: _empty(cheek) for name in ("height", "melanin", "blood", "pus")})
    if rng.random() < 0.5:
        return planes
    count = min(rng.poisson(math.exp(rng.uniform(2.0, 4.6)) * (cheek.patch_mm / 10.0) ** 2), 600)
    centre, spread = rng.uniform(0.0, cheek.patch_mm, size=2), rng.uniform(0.2, 1.5) * cheek.patch_mm
    dark, open_share = rng.uniform(1.2, 2.8), rng.uniform(0.6, 1.0)
    for place in rng.normal(centre, spread, size=(count, 2)):
        width, wall, is_open = rng.uniform(0.3, 1.0), rng.uniform(0.01, 0.10), rng.random() < open_share
        if not (place.min() > 0.0 and place.max() < cheek.patch_mm):
            continue
        window, distance = _around(cheek, place, width, reach=2.0)
        planes.height[window] += wall * np.exp(-0.5 * ((distance - 1.1) / 0.35) ** 2 if is_open else -2.0 * distance**2)
        if is_open:
            planes.melanin[window] += dark * rng.uniform(0.5, 1.0) * (1.0 - smoothstep(0.5, 1.1, distance))
        else:
            planes.pus[window] = np.maximum(planes.pus[window], 0.4 * (1.0 - smoothstep(0.1, 0.9, distance)))
    return planes


def _empty(cheek: Cheek) -> np.ndarray:
    return np.zeros((cheek.size, cheek.size), np.float32)


def _around(cheek: Cheek, place: np.ndarray, width: float, *, reach: float) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return a window around a point of the picture in mm, and distances from the point on the skin in radii."""
    first = np.maximum(np.floor((place - reach * width / 2) / cheek.mm_per_pixel), 0).astype(int)
    last = np.ceil((place + reach * width / 2) / cheek.mm_per_pixel).astype(int) + 1
    window = (slice(first[1], last[1]), slice(first[0], last[0]))
    u, v = cheek.on_skin(place[0], place[1])
    return window, np.hypot(*cv2.split(cheek.uv[window] - np.array([u, v], np.float32))) * (2.0 / width)


@dataclass(frozen=True, kw_only=True, eq=False)
class Hair:
    """Hair in front of the skin.

    Attributes:
        cover: share of every pixel covered by hair, float32 [S, S], 0 to 1.
        colour: hair colour, linear RGB float32 [3].
    """

    cover: np.ndarray
    colour: np.ndarray


def draw_hair(cheek: Cheek, *, rng: np.random.Generator, more: np.ndarray) -> Hair:
    """Draw vellus hair, strands of head hair and stubble, or none of them, all of one colour.

    `more`, float32 [S, S], is the coverage of other hair, which is always included.
    """
    darkness = rng.random()
    colour = np.array([0.24, 0.15, 0.07]) * (1.0 - 0.93 * darkness)  # blond to black, by eye
    cover = more
    down, head, beard = rng.spawn(3)
    if rng.random() < 0.3:
        cover = np.maximum(cover, 0.35 * strands(cheek, _vellus(cheek, down), breadth_mm=0.03))
    if rng.random() < 0.18:
        cover = np.maximum(cover, strands(cheek, _locks(cheek, head), breadth_mm=0.09))
    if rng.random() < 0.2:
        stubble = strands(cheek, _stubble(cheek, beard), breadth_mm=0.12)
        cover = np.maximum(cover, beard.uniform(0.4, 0.9) * stubble)
    return Hair(cover=cover, colour=colour.astype(np.float32))


def strands(cheek: Cheek, lines: np.ndarray, *, breadth_mm: float) -> np.ndarray:
    """Return the coverage of polylines [N, P, 2] in mm, float32 [S, S]. Lines thinner than a pixel cover part of it."""
    drawn = np.zeros((cheek.size, cheek.size), np.uint8)
    points = list(cheek.subpixels(lines))
    breadth_px = breadth_mm / cheek.mm_per_pixel
    cv2.polylines(drawn, points, False, 255, max(round(breadth_px), 1), cv2.LINE_AA, SUBPIXEL_BITS)
    return drawn.astype(np.float32) * (min(breadth_px * 1.6, 1.0) / 255.0)


def _vellus(cheek: Cheek, rng: np.random.Generator) -> np.ndarray:
    """Draw short, slightly bent hairs of 1-3 mm everywhere, mostly in one direction."""
    count = min(rng.poisson(rng.uniform(8.0, 40.0) * (cheek.patch_mm / 10.0) ** 2), 1200)
    return _curves(
        cheek, rng, count, length_mm=(1.0, 3.0), heading=rng.uniform(0.0, 2 * math.pi), scatter=0.5, points=4
    )


def _locks(cheek: Cheek, rng: np.random.Generator) -> np.ndarray:
    """Draw long strands of head hair that hang in from one side."""
    count, side = 4 + int(rng.uniform(0.0, 1.5) * cheek.patch_mm), rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 0.65)
    length = (0.5 * cheek.patch_mm, 1.6 * cheek.patch_mm)
    lean = math.pi / 2 + rng.normal(0.0, 0.4)
    lines = _curves(cheek, rng, count, length_mm=length, heading=lean, scatter=0.1, points=12)
    lines[..., 0] += (0.5 + side) * cheek.patch_mm - 0.75 * lines[:, 6:7, 0] - 0.125 * cheek.patch_mm
    return lines


def _stubble(cheek: Cheek, rng: np.random.Generator) -> np.ndarray:
    """Draw shaved hairs of 0.2-1 mm on one side of a soft border, 20-60 per square centimetre."""
    count = min(rng.poisson(rng.uniform(20.0, 60.0) * (cheek.patch_mm / 10.0) ** 2), 3000)
    lines = _curves(
        cheek, rng, count, length_mm=(0.2, 1.0), heading=rng.uniform(0.0, 2 * math.pi), scatter=0.5, points=2
    )
    border = rng.uniform(0.0, 2 * math.pi)
    middle = (lines[:, 0] - cheek.patch_mm / 2) @ np.array([math.cos(border), math.sin(border)])
    inside = middle + rng.normal(0.0, 0.1 * cheek.patch_mm, size=count) > rng.uniform(-0.5, 0.4) * cheek.patch_mm
    return lines[inside]


def _curves(
    cheek: Cheek,
    rng: np.random.Generator,
    count: int,
    *,
    length_mm: tuple[float, float],
    heading: float,
    scatter: float,
    points: int,
) -> np.ndarray:
    """Draw `count` arcs [count, points, 2] in mm; directions have mean `heading` and spread `scatter`, in radians."""
    start = rng.uniform(-0.1, 1.1, size=(2, count, 1)) * cheek.patch_mm
    towards = heading + rng.normal(0.0, scatter, size=(count, 1))
    bend = rng.normal(0.0, 0.25) + rng.normal(0.0, 0.15, size=(count, 1))
    along = np.linspace(-0.5, 0.5, points) * rng.uniform(*length_mm, size=(count, 1))
    direction = towards + bend * np.linspace(-0.5, 0.5, points)
    return np.stack([start[0] + along * np.cos(direction), start[1] + along * np.sin(direction)], axis=-1)


def draw_background(cheek: Cheek, *, rng: np.random.Generator) -> np.ndarray:
    """Draw the background, linear RGB float32 [S, S, 3]: dark, plain or strongly out of focus."""
    shade = 0.01 if rng.random() < 0.4 else rng.uniform(0.02, 0.9)
    tint = np.exp(rng.normal(0.0, 0.25, size=3))
    plain = np.ones((cheek.size, cheek.size, 1), np.float32) * (shade * tint).astype(np.float32)
    clutter = rng.uniform(0.0, 0.6) * noise(cheek, rng=rng, feature_mm=0.3 * cheek.patch_mm)
    return plain * np.exp(blur(clutter, 1.0))[..., None]
