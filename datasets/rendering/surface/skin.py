"""Compute the colour of skin from its pigments: melanin in the epidermis, blood in the dermis.

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

from ..cheek import SUBPIXEL_BITS, Cheek
from ..fields import blur, noise, smoothstep

WAVELENGTHS_NM: Final = np.array([[590.0, 610.0, 630.0], [530.0, 550.0, 570.0], [440.0, 460.0, 480.0]])
"""Three wavelengths for each of red, green and blue, as an approximation of the camera's filters."""

_OXYGENATED: Final = np.array([[14400.8, 1506.0, 610.0], [39956.8, 43016.0, 44496.0], [102580.0, 44480.0, 26629.2]])
_DEOXYGENATED: Final = np.array([[28324.4, 9443.6, 5148.8], [39036.4, 53412.0, 45072.0], [413280.0, 23388.8, 14550.0]])
# Prahl's table at WAVELENGTHS_NM, in 1/cm per mol/l.

EPIDERMIS_CM: Final = 0.006
"""Thickness of the epidermis: 60 um (Jacques 1998)."""

HORNY_LAYER: Final = 0.012
"""Share of light that the horny layer scatters back before it reaches melanin: our own choice, by eye (otherwise dark
skin is orange)."""

YELLOW_PER_CM: Final = np.array([[0.0], [0.2], [1.8]])
"""Absorption of carotene and bilirubin in the dermis, in 1/cm: our own choice, by eye (otherwise pale skin is
purple)."""


@dataclass(frozen=True, kw_only=True)
class Tone:
    """Pigments of one person's skin.

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
    """Draw the skin tone of a random person, uniform in the logarithm of melanin over the whole range of tones."""
    return Tone(
        melanosomes=float(np.exp(rng.uniform(math.log(0.013), math.log(0.43)))),
        blood=float(np.exp(rng.uniform(math.log(0.003), math.log(0.012)))),
        oxygenation=float(rng.uniform(0.6, 0.9)),
    )


def reflectance(tone: Tone) -> np.ndarray:
    """Return the share of light that skin reflects, linear RGB float64 [3], 0 to 1.

    The light crosses the epidermis twice (Beer-Lambert) and is reflected by a semi-infinite dermis: the diffuse
    reflectance of Jensen, Marschner, Levoy & Hanrahan, "A practical model for subsurface light transport", SIGGRAPH
    2001, in the form of Jensen & Buhler, SIGGRAPH 2002.
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
    return HORNY_LAYER + (np.exp(-2.0 * epidermis * EPIDERMIS_CM) * returned).mean(axis=1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pigment:
    """Change of the pigments of every pixel from the bare skin; arrays float32 [S, S].

    Attributes:
        melanin: natural logarithm of the ratio of melanosomes.
        blood: natural logarithm of the ratio of blood.
    """

    melanin: np.ndarray
    blood: np.ndarray


def draw_pigment(cheek: Cheek, *, rng: np.random.Generator) -> Pigment:
    """Draw mottling, a flush, freckles, and the brown and red marks of former acne.

    They occur equally on scarred and on clear skin, so that colour alone does not reveal the type.
    """

    def mottle(feature_mm: float) -> np.ndarray:
        return noise(cheek, rng=rng, feature_mm=feature_mm)

    melanin = rng.uniform(0.02, 0.07) * mottle(5.0) + rng.uniform(0.03, 0.09) * mottle(0.9)
    melanin += rng.uniform(0.02, 0.06) * mottle(0.3) + rng.uniform(0.0, 0.14) * mottle(30.0)
    blood = rng.uniform(0.03, 0.25) * mottle(5.0) + rng.uniform(0.04, 0.18) * mottle(1.4)
    blood += rng.uniform(0.02, 0.08) * mottle(0.35) + rng.uniform(0.0, 0.4) * mottle(30.0)
    patchy = 1.0 + 0.35 * mottle(0.7)
    freckles, brown_marks, red_marks = rng.spawn(3)
    for stream, pigment, per_cm2, radius_mm, strength in (
        (freckles, melanin, rng.gamma(0.35, 1.4), (0.3, 0.9), 0.5),
        (brown_marks, melanin, rng.gamma(0.4, 0.5), (0.8, 2.6), 0.45),
        (red_marks, blood, rng.gamma(0.5, 0.8), (0.6, 2.8), 0.8),
    ):
        pigment += patchy * (strength * _spots(cheek, rng=stream, per_cm2=per_cm2, radius_mm=radius_mm))
    return Pigment(melanin=melanin, blood=blood)


def _spots(cheek: Cheek, *, rng: np.random.Generator, per_cm2: float, radius_mm: tuple[float, float]) -> np.ndarray:
    """Draw soft oval spots of random strength, float32 [S, S], 0 to 1."""
    spots = np.zeros((cheek.size, cheek.size), np.float32)
    for _ in range(min(rng.poisson(per_cm2 * (cheek.patch_mm / 10.0) ** 2), 120)):
        place, strength = rng.uniform(0.0, cheek.patch_mm, size=2), rng.uniform(0.2, 1.0)
        radius, flattening, turn = rng.uniform(*radius_mm), rng.uniform(0.6, 1.0), rng.uniform(0.0, 180.0)
        centre = cheek.subpixels(place).tolist()
        axes = cheek.subpixels(radius * np.array([1.0, flattening])).tolist()
        cv2.ellipse(spots, centre, axes, turn, 0.0, 360.0, strength, cv2.FILLED, cv2.LINE_8, SUBPIXEL_BITS)
    return blur(spots, 0.35 * radius_mm[0] / cheek.mm_per_pixel)


def albedo_map(tone: Tone, pigment: Pigment, *, pores_mm: np.ndarray, plugs: float) -> np.ndarray:
    """Return the skin's colour at every pixel, linear RGB float32 [S, S, 3].

    The logarithm of the colour is linear in the pigments, as found by Tsumura et al. ("Image-based skin color and
    texture analysis/synthesis by extracting hemoglobin and melanin information in the skin", SIGGRAPH 2003).

    Args:
        tone: pigments of the bare skin.
        pigment: change of the pigments of each pixel.
        pores_mm: depth of the pores, float32 [S, S]; they contain a plug of sebum and keratin, darker than skin.
        plugs: darkness of the plugs, as the logarithm of the ratio of melanin, 0 to 0.7.
    """
    base = reflectance(tone)
    more_melanin = Tone(melanosomes=tone.melanosomes * 1.1, blood=tone.blood, oxygenation=tone.oxygenation)
    more_blood = Tone(melanosomes=tone.melanosomes, blood=tone.blood * 1.1, oxygenation=tone.oxygenation)
    by_melanin = np.log(reflectance(more_melanin) / base) / math.log(1.1)  # d log colour / d log melanin
    by_blood = np.log(reflectance(more_blood) / base) / math.log(1.1)
    melanin = pigment.melanin + plugs * smoothstep(0.0, 0.12, pores_mm)
    planes = [
        cv2.exp(melanin * np.float32(m) + pigment.blood * np.float32(b)) * np.float32(colour)
        for m, b, colour in zip(by_melanin, by_blood, base, strict=True)
    ]
    return np.minimum(cv2.merge(planes), 0.95)
