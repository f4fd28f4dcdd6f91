"""Shade a height field: normals, shadows, ambient occlusion, gloss and subsurface scattering.

The camera looks straight down on the patch, so one height per pixel describes the surface. Light is linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from .fields import blur

SCATTERING_PROFILE: Final = (
    # variance in mm^2, weights of red, green and blue
    (0.0064, (0.233, 0.455, 0.649)),
    (0.0484, (0.100, 0.336, 0.344)),
    (0.187, (0.118, 0.198, 0.000)),
    (0.567, (0.113, 0.007, 0.007)),
    (1.99, (0.358, 0.004, 0.000)),
    (7.41, (0.078, 0.000, 0.000)),
)
"""Diffusion of light in skin as a sum of Gaussians: d'Eon & Luebke, GPU Gems 3 (2007), chapter 14."""

FRESNEL_NORMAL: Final = 0.028
"""Share of light that skin reflects at normal incidence, index about 1.4 (d'Eon & Luebke 2007)."""


@dataclass(frozen=True, kw_only=True)
class Lamp:
    """One distant lamp, window or flash.

    Attributes:
        azimuth_degrees: direction in the picture, counter-clockwise from the right; 90 is above.
        elevation_degrees: angle above the picture plane; 90 is frontal, like a ring flash.
        strength: irradiance of a surface that faces the lamp; 1 for the strongest lamp.
        colour: colour relative to the ambient light, linear RGB.
        breadth_degrees: angular size seen from the skin: small is a bulb with hard shadows, large is a window.
    """

    azimuth_degrees: float
    elevation_degrees: float
    strength: float
    colour: tuple[float, float, float]
    breadth_degrees: float

    @property
    def direction(self) -> np.ndarray:
        """Unit vector from the skin to the lamp (x right, y down, z towards the camera), float32 [3]."""
        azimuth, elevation = math.radians(self.azimuth_degrees), math.radians(self.elevation_degrees)
        flat = math.cos(elevation)
        return np.array([flat * math.cos(azimuth), -flat * math.sin(azimuth), math.sin(elevation)], np.float32)


@dataclass(frozen=True, kw_only=True)
class Light:
    """All light on the skin.

    Attributes:
        lamps: one to three lamps, the strongest first.
        ambient: strength of the ambient light.
        ambient_from_degrees: azimuth of the side whose ambient light is twice as strong as that of the opposite side.
    """

    lamps: tuple[Lamp, ...]
    ambient: float
    ambient_from_degrees: float

    @property
    def key_elevation_degrees(self) -> float:
        """Elevation of the strongest lamp: low (raking) light shows relief, frontal light (90) hides it."""
        return self.lamps[0].elevation_degrees


@dataclass(frozen=True, kw_only=True)
class Sheen:
    """Reflection properties of skin, apart from its colour.

    Attributes:
        roughness: roughness of the oily film, 0 to 1; small is glossy.
        gloss: strength of the film's reflection; 1 is plain skin.
        translucency: how far light travels beneath the surface, in units of `SCATTERING_PROFILE`.
    """

    roughness: float
    gloss: float
    translucency: float


def draw_light(*, rng: np.random.Generator) -> Light:
    """Draw random light: a raking lamp in most pictures, a frontal one like a flash in about a fifth."""
    low, high = ((15.0, 42.0), (42.0, 65.0), (65.0, 89.0))[rng.choice(3, p=(0.58, 0.24, 0.18))]
    key = _draw_lamp(rng, elevation=rng.uniform(low, high), strength=1.0)
    number = int(rng.choice(3, p=(0.55, 0.3, 0.15)))
    others = [_draw_lamp(rng, elevation=rng.uniform(15.0, 85.0), strength=rng.uniform(0.1, 0.6)) for _ in range(number)]
    return Light(
        lamps=(key, *sorted(others, key=lambda lamp: -lamp.strength)),
        ambient=float(rng.uniform(0.04, 0.30)),
        ambient_from_degrees=float(rng.normal(90.0, 50.0)),
    )


def _draw_lamp(rng: np.random.Generator, *, elevation: float, strength: float) -> Lamp:
    above = rng.random() < 0.8  # ceiling lamps and the sky
    warmth = rng.normal(0.0, 0.06)
    return Lamp(
        azimuth_degrees=float(rng.uniform(-15.0, 195.0) if above else rng.uniform(195.0, 345.0)),
        elevation_degrees=float(elevation),
        strength=float(strength),
        colour=(1.0 + warmth, 1.0, 1.0 - warmth),
        breadth_degrees=float(rng.uniform(3.0, 40.0)),
    )


def draw_sheen(*, rng: np.random.Generator) -> Sheen:
    """Draw the sheen of random skin, from matt to oily."""
    return Sheen(
        roughness=float(rng.uniform(0.46, 0.70)),
        gloss=float(math.exp(np.clip(rng.normal(-0.15, 0.5), -1.4, 0.7))),
        translucency=float(rng.uniform(0.3, 0.85)),
    )


def normals(height_mm: np.ndarray, *, mm_per_pixel: float) -> np.ndarray:
    """Return unit surface normals (x right, y down, z towards the camera), float32 [S, S, 3]."""
    dx = cv2.Scharr(height_mm, cv2.CV_32F, 1, 0, scale=1 / (32 * mm_per_pixel), borderType=cv2.BORDER_REPLICATE)
    dy = cv2.Scharr(height_mm, cv2.CV_32F, 0, 1, scale=1 / (32 * mm_per_pixel), borderType=cv2.BORDER_REPLICATE)
    upright = 1.0 / np.sqrt(1.0 + dx * dx + dy * dy)
    return cv2.merge([-dx * upright, -dy * upright, upright])


def lit_share(height_mm: np.ndarray, lamp: Lamp, *, mm_per_pixel: float) -> np.ndarray:
    """Return the share of the lamp that reaches each pixel, float32 [S, S], 0 to 1.

    The horizon towards the lamp is sampled at distances from 0.15 mm to 6 mm (horizon mapping: Max, "Horizon mapping:
    shadows for bump-mapped surfaces", 1988). The lamp's angular size softens the shadow edge.
    """
    size = height_mm.shape[0]
    step_x, step_y = lamp.direction[0], lamp.direction[1]
    flat = math.hypot(step_x, step_y)
    horizon = np.full_like(height_mm, -1.0)  # tangent of the horizon's elevation
    for distance in np.geomspace(max(0.15, mm_per_pixel), 6.0, 8):
        step = distance / mm_per_pixel / max(flat, 1e-3)
        shift = np.array([[1.0, 0.0, step * step_x], [0.0, 1.0, step * step_y]])
        there = cv2.warpAffine(
            height_mm,
            shift,
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        np.maximum(horizon, (there - height_mm) * (1.0 / distance), out=horizon)
    penumbra = math.radians(lamp.breadth_degrees + 3.0)
    return np.clip((math.radians(lamp.elevation_degrees) - np.arctan(horizon)) / penumbra + 0.5, 0.0, 1.0)


def ambient_occlusion(height_mm: np.ndarray, *, mm_per_pixel: float) -> np.ndarray:
    """Return the share of the surroundings that each pixel sees, float32 [S, S], 0 to 1.

    A pixel below its neighbourhood sees less. The measure is its depth below a blurred height field, divided by the
    blur radius ("unsharp masking the depth buffer", Luft, Colditz & Deussen, SIGGRAPH 2006).
    """
    hidden = np.zeros_like(height_mm)
    for radius_mm in (0.4, 1.0, 2.5):
        below = np.maximum(blur(height_mm, radius_mm / mm_per_pixel) - height_mm, 0.0)
        hidden += below / radius_mm
    return 1.0 / (1.0 + 0.08 * hidden * hidden)  # 0.08: our own choice, by eye


def interreflect(occlusion: np.ndarray, albedo: np.ndarray) -> np.ndarray:
    """Return ambient occlusion per colour channel, brightened by light that bounces inside a hollow, [S, S, 3].

    Uses the cubic fit of Jimenez, Wu, Pesce & Jarabo, "Practical real-time strategies for accurate indirect
    occlusion", SIGGRAPH 2016 course. It makes the bottom of a pit red rather than grey.
    """
    planes = []
    for channel in albedo.tolist():
        a, b, c = 2.0404 * channel - 0.3324, -4.7951 * channel + 0.6417, 2.7552 * channel + 0.6903
        planes.append(np.maximum(occlusion, ((occlusion * a + b) * occlusion + c) * occlusion))
    return cv2.merge(planes)


def scatter(irradiance: np.ndarray, *, translucency: float, mm_per_pixel: float) -> np.ndarray:
    """Apply subsurface scattering to `irradiance` [S, S, 3]: `SCATTERING_PROFILE` per channel.

    This is an approximation: it assumes flat skin over the few millimetres that light travels, and the same profile for
    every skin tone.
    """
    result = []
    for channel, plane in enumerate(cv2.split(irradiance)):
        spread = np.zeros_like(plane)
        for variance, weights in SCATTERING_PROFILE:
            if weights[channel]:
                spread += weights[channel] * blur(plane, translucency * math.sqrt(variance) / mm_per_pixel)
        result.append(spread)
    return cv2.merge(result)


def along(normal: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return the dot product of every normal with one direction [3], float32 [S, S]."""
    return cv2.transform(normal, direction[None].astype(np.float32))


def lambert(normal: np.ndarray, lamp: Lamp) -> np.ndarray:
    """Return the cosine of incidence, float32 [S, S], 0 to 1. The lamp's angular size softens the terminator."""
    cosine = along(normal, lamp.direction)
    soft = 0.35 * math.sin(math.radians(lamp.breadth_degrees) / 2)  # 0.35: our own choice, by eye
    return 0.5 * (cosine + np.sqrt(cosine * cosine + soft * soft)) if soft > 0.01 else np.maximum(cosine, 0.0)


def specular(normal: np.ndarray, lamp: Lamp, *, roughness: float) -> np.ndarray:
    """Return the specular reflection of the oily film times the cosine of incidence, float32 [S, S].

    Trowbridge-Reitz facets (Walter et al., "Microfacet models for refraction through rough surfaces", EGSR 2007) with
    Schlick's Fresnel term (1994) and the visibility of Kelemen & Szirmay-Kalos (2001): 1 / (4 (l.h)^2).
    """
    half = lamp.direction + np.array([0.0, 0.0, 1.0], np.float32)
    half /= np.linalg.norm(half)
    cosine = float(lamp.direction @ half)
    n_h = np.maximum(along(normal, half), 0.0)
    n_l = np.maximum(along(normal, lamp.direction), 0.0)
    # A broad lamp is reflected by more facets, as if the skin were rougher (Karis, SIGGRAPH 2013 course).
    alpha = min(roughness**2 + math.radians(lamp.breadth_degrees) / 8, 1.0)
    facets = alpha**2 / (math.pi * ((alpha**2 - 1.0) * n_h**2 + 1.0) ** 2)
    fresnel = FRESNEL_NORMAL + (1.0 - FRESNEL_NORMAL) * (1.0 - cosine) ** 5
    return facets * (fresnel / (4.0 * cosine**2)) * n_l


def shade(height_mm: np.ndarray, albedo: np.ndarray, light: Light, sheen: Sheen, *, mm_per_pixel: float) -> np.ndarray:
    """Return the light from skin to camera, linear RGB float32 [S, S, 3]; a lit, flat, white surface is about 1.

    Args:
        height_mm: height field, float32 [S, S], positive towards the camera.
        albedo: skin colour, linear RGB float32 [S, S, 3].
        light: lamps and ambient light.
        sheen: gloss and translucency.
        mm_per_pixel: scale of the picture.
    """
    normal = normals(height_mm, mm_per_pixel=mm_per_pixel)
    occlusion = ambient_occlusion(height_mm, mm_per_pixel=mm_per_pixel)
    side = math.radians(light.ambient_from_degrees)
    one_sided = 1.0 + along(normal, np.array([math.cos(side) / 3, -math.sin(side) / 3, 0.0]))
    irradiance = interreflect(occlusion, albedo.mean(axis=(0, 1))) * (light.ambient * one_sided)[..., None]
    gloss = cv2.merge([occlusion * np.float32(FRESNEL_NORMAL * light.ambient)] * 3)
    for lamp in light.lamps:
        colour = lamp.strength * np.array(lamp.colour, np.float32)
        lit = lit_share(height_mm, lamp, mm_per_pixel=mm_per_pixel)
        irradiance += (lambert(normal, lamp) * lit)[..., None] * colour
        gloss += (specular(normal, lamp, roughness=sheen.roughness) * lit)[..., None] * (math.pi * colour)
    travelled = scatter(irradiance, translucency=sheen.translucency, mm_per_pixel=mm_per_pixel)
    # In a pit, light travels further through tissue than in the flat skin of the profile.
    return albedo * travelled * np.sqrt(occlusion)[..., None] + sheen.gloss * gloss
