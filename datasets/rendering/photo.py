"""Render a photo of scarred skin, with its ground truth, from a label and a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..labels import OUT_OF_SCOPE, SCAR_TYPES
from .camera import decode_jpeg, draw_camera, encode_jpeg, expose
from .cheek import Cheek, draw_cheek
from .fields import log_uniform
from .overlays import Overlays, draw_overlays, put_over
from .shading import Light, draw_light, draw_sheen, shade
from .surface.distractors import Hair, draw_background, draw_blemishes, draw_comedones, draw_hair
from .surface.features import Features, draw_features, eyebrow, feature_colour, feature_relief
from .surface.relief import creases, skin_texture, soft_relief
from .surface.scars import Hollows, Scar, dig, draw_scars, type_shares
from .surface.skin import Pigment, Tone, albedo_map, draw_pigment, draw_tone, reflectance

LABELS: Final = (*SCAR_TYPES, OUT_OF_SCOPE)
"""Labels of `render_photo`; out of scope is clear skin."""

PATCH_MM: Final = (25.0, 140.0)
"""Minimum and maximum side of the patch of skin, from a close-up to a whole cheek. Its distribution is the same for
every label, so that the scale does not reveal the label."""

PUS: Final = np.array([0.75, 0.60, 0.33], np.float32)
"""Colour of the tip of a pustule, linear RGB: our own choice, by eye."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RenderedPhoto:
    """A rendered photo with its ground truth.

    Attributes:
        image: uint8 RGB [S, S, 3], decoded from `jpeg`.
        jpeg: bytes of the camera's JPEG file.
        label: the dominant scar type, a name of `SCAR_TYPES` with at least `scars.DOMINANT_SHARE` of the scars, or
            "out_of_scope" for clear skin.
        type_map: uint8 [S, S], 0 on skin and behind boxes, and 1 + i inside a scar of `SCAR_TYPES[i]`.
        scars: all scars, widest first; empty for clear skin.
        shares: share of every type, from `scars.type_shares`; all 0 for clear skin.
        mm_per_pixel: scale of the picture where the skin faces the camera.
        seed: random seed of the photo.
        ita_degrees: individual typology angle of the bare skin under white light: 55 and more is very light, below
            -30 is dark (Chardon, Cretois & Hourseau, Int J Cosmet Sci 13:191, 1991).
        light: lamps and ambient light.
        overlays: boxes and captions over the picture; no scar is centred under a box.
    """

    image: np.ndarray
    jpeg: bytes
    label: str
    type_map: np.ndarray
    scars: tuple[Scar, ...]
    shares: dict[str, float]
    mm_per_pixel: float
    seed: int
    ita_degrees: float
    light: Light
    overlays: Overlays


def render_photo(label: str, *, seed: int, size: int = 256, shot: int | None = None) -> RenderedPhoto:
    """Render a piece of cheek with scars mostly of one type, or clear skin.

    The same label, seed and size give the same picture. Another size with the same label and seed gives the same scars,
    skin and light, seen by another sensor. Another label with the same seed gives the same skin, light, camera, hair
    and captions with other scars.

    Args:
        label: a name of `SCAR_TYPES`, or "out_of_scope" for clear skin.
        seed: random seed, 0 or more.
        size: side of the square picture in pixels, 32 or more.
        shot: seed of light and camera, if other than `seed`: the same skin photographed again.

    Raises:
        ValueError: the label is unknown or the size is too small.
    """
    if label not in LABELS:
        raise ValueError(f"unknown label {label!r}: expected one of {', '.join(map(repr, LABELS))}")
    if size < 32:
        raise ValueError(f"size must be at least 32 pixels, got {size}")
    frame, place, lamps, film, skin, cover, lens, grain, strands, behind, parts, shape, pits = _streams(seed)
    if shot is not None:
        _, _, lamps, _, _, _, lens, grain, *_ = _streams(shot)
    cheek = draw_cheek(rng=place, patch_mm=log_uniform(frame, *PATCH_MM), size=size)
    overlays, features = draw_overlays(rng=cover), draw_features(rng=parts, patch_mm=cheek.patch_mm)

    def hidden(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return features.covers(x, y) | overlays.covers(x / cheek.patch_mm, y / cheek.patch_mm)

    scars = () if label == OUT_OF_SCOPE else draw_scars(label, rng=shape, cheek=cheek, hidden=hidden)
    hollows = dig(scars, rng=pits, cheek=cheek)
    light, tone = draw_light(rng=lamps), draw_tone(rng=skin)
    height, albedo = _surface(cheek, hollows, features, tone, rng=skin)
    radiance = shade(height, albedo, light, draw_sheen(rng=film), mm_per_pixel=cheek.mm_per_pixel)
    hair = draw_hair(cheek, rng=strands, more=eyebrow(features, cheek, rng=parts))
    radiance = _behind_hair(radiance, hair)
    if cheek.face.min() < 1.0:
        face = cheek.face[..., None]
        radiance = radiance * face + draw_background(cheek, rng=behind) * (1.0 - face)
    camera = draw_camera(rng=lens)
    picture = np.rint(expose(radiance, cheek.face, camera, rng=grain) * 255.0).astype(np.uint8)
    put_over(picture, overlays)
    jpeg = encode_jpeg(picture, quality=camera.jpeg_quality)
    for box in overlays.boxes:
        hollows.type_map[box.window(size)] = 0
    return RenderedPhoto(
        image=decode_jpeg(jpeg),
        jpeg=jpeg,
        label=label,
        type_map=hollows.type_map,
        scars=scars,
        shares=type_shares(scars),
        mm_per_pixel=cheek.mm_per_pixel,
        seed=seed,
        ita_degrees=_typology_angle(reflectance(tone)),
        light=light,
        overlays=overlays,
    )


def _streams(seed: int) -> list[np.random.Generator]:
    """Return an independent random generator for each part, so that the draws of one do not change the others."""
    return np.random.default_rng(seed).spawn(13)


def _surface(
    cheek: Cheek, hollows: Hollows, features: Features, tone: Tone, *, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the relief in mm, float32 [S, S], and the colour, linear RGB float32 [S, S, 3], of scarred skin."""
    fine, folds, soft, colour, bumps, plugs = rng.spawn(6)
    texture, pores = skin_texture(cheek, rng=fine)
    sound = 1.0 - 0.6 * hollows.tissue  # scar tissue is smoother and lacks pores
    blemishes, comedones = draw_blemishes(cheek, rng=bumps), draw_comedones(cheek, rng=plugs)
    height = cheek.height + hollows.height + texture * sound + blemishes.height + comedones.height
    height += soft_relief(cheek, rng=soft) + creases(cheek, rng=folds) + feature_relief(features, cheek)
    browner, redder = feature_colour(features, cheek)
    pigment = draw_pigment(cheek, rng=colour)
    albedo = albedo_map(
        tone,
        Pigment(
            melanin=pigment.melanin + hollows.browning + blemishes.melanin + comedones.melanin + browner,
            blood=pigment.blood + hollows.redness + blemishes.blood + redder,
        ),
        pores_mm=pores * sound,
        plugs=colour.uniform(0.0, 0.7),
    )
    pus = 0.45 * np.maximum(blemishes.pus, comedones.pus)[..., None]
    albedo += pus * (PUS - albedo)
    return height.astype(np.float32), albedo


def _behind_hair(radiance: np.ndarray, hair: Hair) -> np.ndarray:
    """Draw hair over the skin, with the skin's mean illumination; return RGB float32 [S, S, 3]."""
    if not hair.cover.any():
        return radiance
    shaded = radiance * 0.15 + hair.colour * min(2.0 * float(radiance.mean()) + 0.05, 1.0)
    return radiance + hair.cover[..., None] * (shaded - radiance)


def _typology_angle(linear_rgb: np.ndarray) -> float:
    """Return the individual typology angle in degrees of a linear sRGB colour: atan((L* - 50) / b*)."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    _, y, z = (to_xyz @ linear_rgb / np.array([0.9505, 1.0, 1.089])).tolist()
    y_root, z_root = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (y, z))
    lightness, blue_yellow = 116 * y_root - 16, 200 * (y_root - z_root)
    return math.degrees(math.atan2(lightness - 50, blue_yellow))
