"""Geometry of the cheek in the picture: where each pixel lies on the curved skin, and where the face ends.

The projection is orthographic. A millimetre of skin that faces the camera is a millimetre of picture; towards the edge
of the face, skin turns away and is foreshortened, as on a cylinder of the cheek's radius.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

Points = np.ndarray | np.floating | float
"""One coordinate in mm, of one point or of an array of points."""

SUBPIXEL_BITS: Final = 4
"""OpenCV draws with a precision of 1/16 pixel."""

LIMB: Final = 0.985
"""Sine of the largest angle at which skin is drawn; beyond it, one pixel would cover many millimetres of skin."""

RADIUS_MM: Final = (40.0, 180.0)
"""Minimum and maximum radius of the stronger curvature: our own choice, from the size of a head."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cheek:
    """A curved patch of skin under the camera. Arrays are float32 [S, S]; x is right, y down, z towards the camera.

    Attributes:
        patch_mm: side of the picture in mm of skin that faces the camera.
        size: side of the picture in pixels.
        apex_mm: x and y of the point that faces the camera, from the picture's upper left corner; may lie outside.
        turn: direction of the stronger curvature in radians, from x towards y.
        radii_mm: radii of the stronger and the weaker curvature.
        sweep_mm: radius of the ridge, and so of the face's outline, within the picture plane; either sign.
    """

    patch_mm: float
    size: int
    apex_mm: tuple[float, float]
    turn: float
    radii_mm: tuple[float, float]
    sweep_mm: float

    @property
    def mm_per_pixel(self) -> float:
        """Scale of the picture, for skin that faces the camera."""
        return self.patch_mm / self.size

    @cached_property
    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y in mm of every pixel centre."""
        axis = ((np.arange(self.size) + 0.5) * self.mm_per_pixel).astype(np.float32)
        x, y = np.meshgrid(axis, axis)
        return x, y

    @cached_property
    def _across(self) -> tuple[np.ndarray, np.ndarray]:
        return self.across(*self.grid)

    @cached_property
    def uv(self) -> np.ndarray:
        """Skin coordinates of every pixel, in mm along the surface, [S, S, 2]."""
        return np.dstack(self.on_skin(*self.grid)).astype(np.float32)

    @cached_property
    def height(self) -> np.ndarray:
        """z in mm of every pixel, 0 at the apex and negative elsewhere."""
        z = sum(
            np.sqrt(radius**2 - np.minimum(np.abs(a), LIMB * radius) ** 2) - radius
            for a, radius in zip(self._across, self.radii_mm, strict=True)
        )
        return np.asarray(z, np.float32)

    @cached_property
    def face(self) -> np.ndarray:
        """Share of every pixel that is face, not background, 0 to 1."""
        margins = [LIMB * radius - np.abs(a) for a, radius in zip(self._across, self.radii_mm, strict=True)]
        return np.clip(np.minimum(*margins) / self.mm_per_pixel + 0.5, 0.0, 1.0)

    def subpixels(self, places_mm: np.ndarray) -> np.ndarray:
        """Convert positions or lengths in mm to the fixed-point pixels of OpenCV's drawing functions, int32."""
        return np.rint(places_mm / self.mm_per_pixel * 2**SUBPIXEL_BITS).astype(np.int32)

    def across(self, x: Points, y: Points) -> tuple[np.ndarray, np.ndarray]:
        """Return the distances of points, in mm of the picture, from the lines along which skin faces the camera."""
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        x, y = np.asarray(x) - self.apex_mm[0], np.asarray(y) - self.apex_mm[1]
        b = cosine * y - sine * x
        return cosine * x + sine * y + b * b / (2 * self.sweep_mm), b

    def on_skin(self, x: Points, y: Points) -> tuple[np.ndarray, np.ndarray]:
        """Convert picture coordinates to skin coordinates, in mm: arc lengths from the apex."""
        s, t = (
            radius * np.arcsin(np.clip(a / radius, -LIMB, LIMB))
            for a, radius in zip(self.across(x, y), self.radii_mm, strict=True)
        )
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        return self.apex_mm[0] + cosine * s - sine * t, self.apex_mm[1] + sine * s + cosine * t

    def in_picture(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert skin to picture coordinates, in mm: the inverse of `on_skin`. Hidden points lie far outside."""
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        u, v = u - self.apex_mm[0], v - self.apex_mm[1]
        far = 1e6
        a, b = (
            np.where(np.abs(arc) < math.asin(LIMB) * radius, radius * np.sin(arc / radius), far)
            for arc, radius in zip((cosine * u + sine * v, cosine * v - sine * u), self.radii_mm, strict=True)
        )
        a = a - b * b / (2 * self.sweep_mm)
        return self.apex_mm[0] + cosine * a - sine * b, self.apex_mm[1] + sine * a + cosine * b

    def facing(self, x: Points, y: Points) -> np.ndarray:
        """Return the cosine of the angle between skin and camera at points of the picture; 0 off the face."""
        first, second = (
            1.0 - np.minimum(np.abs(a) / radius, 1.0) ** 2
            for a, radius in zip(self.across(x, y), self.radii_mm, strict=True)
        )
        return np.sqrt(np.minimum(first, second))


def draw_cheek(*, rng: np.random.Generator, patch_mm: float, size: int) -> Cheek:
    """Draw a random place on a cheek. In a wide picture, the face may end inside it."""
    radius = max(math.exp(rng.uniform(*np.log(RADIUS_MM))), 0.52 * patch_mm)
    weaker = radius * rng.uniform(1.1, 3.5)
    sweep = math.exp(rng.uniform(math.log(50.0), math.log(400.0)))
    apex = np.clip(rng.normal(0.5, 0.28, size=2), 0.05, 0.95) * patch_mm
    return Cheek(
        patch_mm=patch_mm,
        size=size,
        apex_mm=(float(apex[0]), float(apex[1])),
        turn=float(rng.normal(0.0, 0.5) + (rng.random() < 0.25) * math.pi / 2),  # faces mostly curve from left to right
        radii_mm=(float(radius), float(max(weaker, 0.9 * patch_mm))),
        sweep_mm=float(max(sweep, 1.2 * patch_mm) * rng.choice([-1.0, 1.0])),
    )
