"""Light on a relief: normals, shadow, ambient occlusion, gloss, and light that travels beneath the surface.

The camera looks straight down on the patch, so that one height for each pixel is all there is to see. Light is linear.
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
class Light:
    """The lamp, the room and the skin's gloss.

    Attributes:
        azimuth: where the lamp stands, radians from the picture's right side, counter-clockwise (pi / 2 is above).
        elevation: height of the lamp over the skin in radians; pi / 2 is frontal.
        key: strength of the lamp.
        ambient: strength of the light from all around, the same on every side.
        colour: colour of the lamp against the ambient light, linear RGB.
        roughness: of the oily film, 0 to 1; small is glossy.
        gloss: strength of the film's reflection; 1 is plain skin.
        translucency: how far light travels in this skin, in units of `SCATTERING_PROFILE`.
    """

    azimuth: float
    elevation: float
    key: float
    ambient: float
    colour: tuple[float, float, float]
    roughness: float
    gloss: float
    translucency: float


def draw_light(*, rng: np.random.Generator) -> Light:
    """Return a random light: mostly raking, from the side or above, sometimes frontal as a flash is."""
    raking = rng.random() < 0.75
    elevation = rng.uniform(18.0, 45.0) if raking else rng.uniform(45.0, 80.0)
    above = rng.random() < 0.85
    warmth = rng.normal(0.0, 0.05)
    return Light(
        azimuth=math.radians(rng.uniform(-10.0, 190.0) if above else rng.uniform(190.0, 350.0)),
        elevation=math.radians(elevation),
        key=1.0,
        ambient=float(rng.uniform(0.10, 0.32)),
        colour=(1.0 + warmth, 1.0, 1.0 - warmth),
        roughness=float(rng.uniform(0.40, 0.66)),
        gloss=float(np.exp(np.clip(rng.normal(0.0, 0.5), -1.2, 0.8))),
        translucency=float(rng.uniform(0.25, 0.6)),
    )


def normals(height_mm: np.ndarray, *, mm_per_pixel: float) -> np.ndarray:
    """Return unit surface normals (x right, y down, z towards the camera), float32 [S, S, 3]."""
    dx = cv2.Scharr(height_mm, cv2.CV_32F, 1, 0, scale=1 / (32 * mm_per_pixel), borderType=cv2.BORDER_REPLICATE)
    dy = cv2.Scharr(height_mm, cv2.CV_32F, 0, 1, scale=1 / (32 * mm_per_pixel), borderType=cv2.BORDER_REPLICATE)
    length = np.sqrt(1.0 + dx * dx + dy * dy)
    return np.dstack([-dx / length, -dy / length, 1.0 / length])


def cast_shadow(height_mm: np.ndarray, light: Light, *, mm_per_pixel: float) -> np.ndarray:
    """Return the share of the lamp that reaches each pixel, float32 [S, S], 0 to 1.

    The horizon towards the lamp is sampled at distances that grow from 0.15 mm to 4 mm (horizon mapping, Max, "Horizon
    mapping: shadows for bump-mapped surfaces", 1988); a lamp of some breadth softens the edge.
    """
    size = height_mm.shape[0]
    horizon = np.full_like(height_mm, -1.0)  # tangent of the horizon's elevation
    for distance in np.geomspace(max(0.15, mm_per_pixel), 4.0, 9):
        step = distance / mm_per_pixel
        shift = np.array([[1.0, 0.0, step * math.cos(light.azimuth)], [0.0, 1.0, -step * math.sin(light.azimuth)]])
        there = cv2.warpAffine(
            height_mm,
            shift,
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        np.maximum(horizon, (there - height_mm) / distance, out=horizon)
    penumbra = math.radians(14.0)  # breadth of the lamp seen from the skin: a window or an umbrella
    return np.clip((light.elevation - np.arctan(horizon)) / penumbra + 0.5, 0.0, 1.0)


def ambient_occlusion(height_mm: np.ndarray, *, mm_per_pixel: float) -> np.ndarray:
    """Return the share of the surroundings that each pixel sees, float32 [S, S], 0 to 1.

    A pixel lower than its neighbourhood sees less. The measure is the depth below a blurred copy of the relief
    ("unsharp masking the depth buffer", Luft, Colditz & Deussen, SIGGRAPH 2006), against the copy's radius.
    """
    hidden = np.zeros_like(height_mm)
    for radius_mm in (0.2, 0.5, 1.2, 3.0):
        below = np.maximum(blur(height_mm, radius_mm / mm_per_pixel) - height_mm, 0.0)
        hidden += below / radius_mm
    return 1.0 / (1.0 + 0.15 * hidden * hidden)  # 0.15: our own choice, by eye


def interreflect(occlusion: np.ndarray, albedo: np.ndarray) -> np.ndarray:
    """Return ambient occlusion per colour channel, brightened by light that bounces inside a hollow, [S, S, 3].

    The cubic fit of Jimenez, Wu, Pesce & Jarabo, "Practical real-time strategies for accurate indirect occlusion",
    SIGGRAPH 2016 course. It makes the depth of a pit red rather than grey.
    """
    planes = []
    for channel in albedo.tolist():
        a, b, c = 2.0404 * channel - 0.3324, -4.7951 * channel + 0.6417, 2.7552 * channel + 0.6903
        planes.append(np.maximum(occlusion, ((occlusion * a + b) * occlusion + c) * occlusion))
    return np.dstack(planes)


def scatter(irradiance: np.ndarray, *, translucency: float, mm_per_pixel: float) -> np.ndarray:
    """Return the light that leaves skin where `irradiance` [S, S, 3] enters it: `SCATTERING_PROFILE` per channel.

    An approximation: skin is taken for flat over the few millimetres that light travels, and for alike in every tone.
    """
    planes = list(cv2.split(irradiance))
    result = []
    for channel, plane in enumerate(planes):
        spread = np.zeros_like(plane)
        for variance, weights in SCATTERING_PROFILE:
            if weights[channel]:
                spread += weights[channel] * blur(plane, translucency * math.sqrt(variance) / mm_per_pixel)
        result.append(spread)
    return np.dstack(result)


def specular(normal: np.ndarray, light: Light, *, roughness: float) -> np.ndarray:
    """Return the lamp's reflection on the skin's oily film times the cosine of incidence, float32 [S, S].

    Trowbridge-Reitz facets (Walter et al., "Microfacet models for refraction through rough surfaces", EGSR 2007) with
    Schlick's Fresnel term (1994) and the visibility of Kelemen & Szirmay-Kalos (2001): 1 / (4 (l.h)^2).
    """
    to_lamp = _direction(light)
    half = to_lamp + np.array([0.0, 0.0, 1.0])
    half /= np.linalg.norm(half)
    cosine = float(to_lamp @ half)
    n_h = np.maximum(normal @ half.astype(np.float32), 0.0)
    n_l = np.maximum(normal @ to_lamp.astype(np.float32), 0.0)
    alpha = roughness**2
    facets = alpha**2 / (math.pi * ((alpha**2 - 1.0) * n_h**2 + 1.0) ** 2)
    fresnel = FRESNEL_NORMAL + (1.0 - FRESNEL_NORMAL) * (1.0 - cosine) ** 5
    return facets * fresnel / (4.0 * cosine**2) * n_l


def shade(height_mm: np.ndarray, albedo: np.ndarray, light: Light, *, mm_per_pixel: float) -> np.ndarray:
    """Return the light that skin sends to the camera, linear RGB float32 [S, S, 3]; lit flat white would be about 1."""
    normal = normals(height_mm, mm_per_pixel=mm_per_pixel)
    shadow = cast_shadow(height_mm, light, mm_per_pixel=mm_per_pixel)
    occlusion = ambient_occlusion(height_mm, mm_per_pixel=mm_per_pixel)
    lambert = np.maximum(normal @ _direction(light).astype(np.float32), 0.0)
    tint = np.array(light.colour, np.float32)
    mean_albedo = albedo.mean(axis=(0, 1))
    lamp = (light.key * lambert * shadow)[..., None] * tint
    irradiance = lamp + light.ambient * interreflect(occlusion, mean_albedo)
    travelled = scatter(irradiance.astype(np.float32), translucency=light.translucency, mm_per_pixel=mm_per_pixel)
    # Down a pit the way through tissue is longer than on the flat skin that the profile was made for.
    diffuse = albedo * travelled * np.sqrt(occlusion)[..., None]
    film = specular(normal, light, roughness=light.roughness) * shadow
    room = FRESNEL_NORMAL * light.ambient * occlusion
    gloss = light.gloss * math.pi * (light.key * film[..., None] * tint + room[..., None] / math.pi)
    return (diffuse + gloss).astype(np.float32)


def _direction(light: Light) -> np.ndarray:
    """Return the unit vector from the skin to the lamp (x right, y down, z towards the camera)."""
    return np.array(
        [
            math.cos(light.elevation) * math.cos(light.azimuth),
            -math.cos(light.elevation) * math.sin(light.azimuth),
            math.sin(light.elevation),
        ]
    )
