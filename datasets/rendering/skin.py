"""The colour of skin from its pigments: melanin in the epidermis, blood in the dermis.

Optics: S. L. Jacques, "Skin optics", Oregon Medical Laser Center News, January 1998 (absorption of melanosomes and of
bloodless skin, reduced scattering of the dermis), and S. Prahl, "Tabulated molar extinction coefficient for hemoglobin
in water", Oregon Medical Laser Center (blood).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from .fields import blur, noise, smoothstep

WAVELENGTHS_NM: Final = np.array([[590.0, 610.0, 630.0], [530.0, 550.0, 570.0], [450.0, 470.0, 490.0]])
"""Three wavelengths for each of red, green and blue stand in for the camera's filters."""

_OXYGENATED: Final = np.array([[14400.8, 1506.0, 610.0], [39956.8, 43016.0, 44496.0], [62816.0, 33209.2, 23684.4]])
_DEOXYGENATED: Final = np.array([[28324.4, 9443.6, 5148.8], [39036.4, 53412.0, 45072.0], [103292.0, 16156.4, 16684.0]])
# Prahl's table at WAVELENGTHS_NM, in 1/cm per mol/l.

EPIDERMIS_CM: Final = 0.006
"""Thickness of the epidermis: 60 um (Jacques 1998)."""


YELLOW_PER_CM: Final = np.array([[0.0], [0.1], [1.4]])
"""Absorption of carotene and bilirubin in the dermis, in 1/cm: our own choice, by eye (else pale skin is purple)."""


@dataclass(frozen=True, kw_only=True)
class Tone:
    """The pigments of one person's skin.

    Attributes:
        melanosomes: volume fraction of melanosomes in the epidermis; 0.013-0.063 in light, 0.11-0.16 in moderately
            pigmented and 0.18-0.43 in dark skin (Jacques 1998).
        blood: volume fraction of blood in the dermis, 0.002 on average over the body (Jacques 1998), more in a cheek.
        oxygenation: fraction of the haemoglobin that carries oxygen.
    """

    melanosomes: float
    blood: float
    oxygenation: float


def draw_tone(*, rng: np.random.Generator) -> Tone:
    """Return the skin of a random person, even over the whole range of tones (in the logarithm of melanin)."""
    return Tone(
        melanosomes=float(np.exp(rng.uniform(math.log(0.02), math.log(0.43)))),
        blood=float(np.exp(rng.uniform(math.log(0.003), math.log(0.012)))),
        oxygenation=float(rng.uniform(0.6, 0.9)),
    )


def reflectance(tone: Tone) -> np.ndarray:
    """Return the share of light that skin sends back, linear RGB float64 [3], 0 to 1.

    The light crosses the epidermis twice (Beer-Lambert) and is sent
    back by a half-infinite dermis: the diffuse reflectance of Jensen, Marschner, Levoy & Hanrahan, "A practical model
    for subsurface light transport", SIGGRAPH 2001, in the form of Jensen & Buhler, SIGGRAPH 2002.
    """
    nm = WAVELENGTHS_NM
    bloodless = 0.244 + 85.3 * np.exp(-(nm - 154.0) / 66.2)  # 1/cm
    melanosome = 6.6e11 * nm**-3.33  # 1/cm
    epidermis = tone.melanosomes * melanosome + (1.0 - tone.melanosomes) * bloodless
    haemoglobin = tone.oxygenation * _OXYGENATED + (1.0 - tone.oxygenation) * _DEOXYGENATED
    whole_blood = math.log(10.0) * haemoglobin * 150.0 / 64500.0  # 1/cm at 150 g/l and 64 500 g/mol
    dermis = tone.blood * whole_blood + (1.0 - tone.blood) * bloodless + YELLOW_PER_CM
    scattering = 2e5 * nm**-1.5 + 2e12 * nm**-4.0  # 1/cm, reduced: Mie and Rayleigh
    albedo = scattering / (scattering + dermis)
    internal = -1.440 / 1.4**2 + 0.710 / 1.4 + 0.668 + 0.0636 * 1.4  # diffuse Fresnel reflectance, index 1.4
    boundary = (1.0 + internal) / (1.0 - internal)
    root = np.sqrt(3.0 * (1.0 - albedo))
    returned = 0.5 * albedo * (1.0 + np.exp(-4.0 / 3.0 * boundary * root)) * np.exp(-root)
    return (np.exp(-2.0 * epidermis * EPIDERMIS_CM) * returned).mean(axis=1)


def albedo_map(
    tone: Tone,
    scar_relief_mm: np.ndarray,
    type_map: np.ndarray,
    pores_mm: np.ndarray,
    *,
    rng: np.random.Generator,
    patch_mm: float,
) -> np.ndarray:
    """Return the skin's colour at every pixel, linear RGB float32 [S, S, 3].

    Pigments vary in place and the logarithm of the colour follows them linearly, as Tsumura et al. find ("Image-based
    skin color and texture analysis/synthesis by extracting hemoglobin and melanin information in the skin", SIGGRAPH
    2003). Blotches of redness and brown spots lie on scarred and on clear skin alike: colour alone tells no type.
    """
    size = type_map.shape[0]
    base = reflectance(tone)
    more_melanin = Tone(melanosomes=tone.melanosomes * 1.1, blood=tone.blood, oxygenation=tone.oxygenation)
    more_blood = Tone(melanosomes=tone.melanosomes, blood=tone.blood * 1.1, oxygenation=tone.oxygenation)
    by_melanin = np.log(reflectance(more_melanin) / base) / math.log(1.1)  # d log colour / d log melanin
    by_blood = np.log(reflectance(more_blood) / base) / math.log(1.1)

    def mottle(feature_mm: float) -> np.ndarray:
        return noise(rng=rng, patch_mm=patch_mm, size=size, feature_mm=feature_mm)

    melanin = rng.uniform(0.03, 0.10) * mottle(4.0) + rng.uniform(0.04, 0.10) * mottle(0.9)
    melanin += rng.uniform(0.02, 0.06) * mottle(0.3)
    blood = rng.uniform(0.05, 0.20) * mottle(5.0) + rng.uniform(0.05, 0.16) * mottle(1.4)
    blood += rng.uniform(0.03, 0.10) * mottle(0.35)

    # Freckles, and brown and red spots left by former spots of acne; few in most people.
    px = size / patch_mm
    for pigment, per_cm2, radius_mm, strength in (
        (melanin, rng.gamma(0.5, 1.2), (0.25, 0.7), 0.6),
        (melanin, rng.gamma(0.5, 0.5), (0.8, 2.2), 0.4),
        (blood, rng.gamma(0.6, 0.8), (0.5, 2.6), 0.8),
    ):
        spots = np.zeros((size, size), np.float32)
        for _ in range(min(rng.poisson(per_cm2 * (patch_mm / 10.0) ** 2), 60)):
            centre = rng.uniform(0.0, size, size=2).astype(int).tolist()
            radius = max(round(rng.uniform(*radius_mm) * px), 1)
            axes = (radius, max(round(radius * rng.uniform(0.6, 1.0)), 1))
            cv2.ellipse(spots, centre, axes, rng.uniform(0, 180), 0, 360, rng.uniform(0.2, 1.0), -1)
        pigment += strength * blur(spots, 0.35 * radius_mm[0] * px + 0.3) * (1.0 + 0.35 * mottle(0.6))

    # A scar may be red, brown or pale inside; its margin is soft.
    inside = blur((type_map > 0).astype(np.float32), 0.35 * px)
    relative_depth = np.clip(-scar_relief_mm / max(float(-scar_relief_mm.min()), 1e-6), 0.0, 1.0)
    tint = inside * (0.5 + 0.5 * blur(relative_depth, 0.3 * px)) * np.clip(0.7 + 0.5 * mottle(1.2), 0.0, 1.5)
    blood += tint * np.clip(rng.normal(0.15, 0.3), -0.25, 0.8)
    melanin += tint * np.clip(rng.normal(0.06, 0.15), -0.2, 0.5)

    # Pores hold a plug of sebum and keratin, a little darker than skin.
    melanin += rng.uniform(0.0, 0.7) * smoothstep(0.0, 0.12, pores_mm)

    density = melanin[..., None] * by_melanin + blood[..., None] * by_blood
    return (base * np.exp(density)).astype(np.float32)
