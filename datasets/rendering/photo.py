"""From a label and a seed to a photograph of scarred skin."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from ..labels import OUT_OF_SCOPE, SCAR_TYPES
from .fields import blur, pixel_grid, smoothstep
from .relief import Scar, cheek_relief, draw_scars, scar_relief, skin_relief
from .shading import draw_light, shade
from .skin import albedo_map, draw_tone, reflectance

LABELS: Final = (*SCAR_TYPES, OUT_OF_SCOPE)
"""What `render_photo` can draw; out of scope is clear skin."""

PATCH_MM: Final = (15.0, 40.0)
"""Least and greatest side of the patch of skin; the same for every label, so that the scale of pores tells nothing."""

JPEG_QUALITY: Final = 92

EXAMPLE_SEEDS: Final = {"ice_pick": 11, "boxcar": 6, "rolling": 1}
"""Seeds of the pictures in `examples/`."""

EXAMPLE_SIZE: Final = 384


@dataclass(frozen=True, kw_only=True, eq=False)
class RenderedPhoto:
    """A computed photograph, with the truth about it.

    Attributes:
        image: uint8 RGB [S, S, 3].
        label: the type of every scar in it, a name of `SCAR_TYPES`, or "out_of_scope" for clear skin.
        type_map: uint8 [S, S], 0 on skin and 1 + i inside a scar of `SCAR_TYPES[i]`.
        scars: every scar, largest first; empty for clear skin.
        mm_per_pixel: scale of the picture.
        seed: what it was rendered with.
        ita_degrees: individual typology angle of the bare skin under white light: 55 and more is very light, below
            -30 is dark (Chardon, Cretois & Hourseau, Int J Cosmet Sci 13:191, 1991).
    """

    image: np.ndarray
    label: str
    type_map: np.ndarray
    scars: tuple[Scar, ...]
    mm_per_pixel: float
    seed: int
    ita_degrees: float


def render_photo(label: str, *, seed: int, size: int = 256) -> RenderedPhoto:
    """Render a close-up of skin with several scars of one type, or of clear skin.

    The same label, seed and size give the same picture; the same label and seed at another size give the same scars,
    skin and light, seen by another sensor.

    Args:
        label: a name of `SCAR_TYPES`, or "out_of_scope" for clear skin.
        seed: any non-negative integer.
        size: side of the square picture in pixels, 32 or more.

    Raises:
        ValueError: when the label is unknown or the size too small.
    """
    if label not in LABELS:
        raise ValueError(f"unknown label {label!r}: expected one of {', '.join(map(repr, LABELS))}")
    if size < 32:
        raise ValueError(f"size must be at least 32 pixels, got {size}")
    # Each part has its own stream: what one part draws does not move the others.
    frame, shape, cheek, skin, pigment, lamp, camera = np.random.default_rng(seed).spawn(7)

    patch_mm = float(np.exp(frame.uniform(*np.log(PATCH_MM))))
    mm_per_pixel = patch_mm / size
    scars = () if label == OUT_OF_SCOPE else draw_scars(label, rng=shape, patch_mm=patch_mm)
    hollows, type_map = scar_relief(scars, rng=shape, patch_mm=patch_mm, size=size)
    texture, pores = skin_relief(rng=skin, patch_mm=patch_mm, size=size)
    # A hole or a punched-out base is scar tissue, without pores; the skin of a rolling scar is sound, only tethered.
    worn = 1.0 if label == "rolling" else np.clip(1.0 + hollows / 0.8, 0.4, 1.0)
    height = cheek_relief(rng=cheek, patch_mm=patch_mm, size=size) + hollows + texture * worn

    tone = draw_tone(rng=pigment)
    albedo = albedo_map(tone, hollows, type_map, pores * worn, rng=pigment, patch_mm=patch_mm)
    radiance = shade(height, albedo, draw_light(rng=lamp), mm_per_pixel=mm_per_pixel)
    return RenderedPhoto(
        image=_expose(radiance, rng=camera),
        label=label,
        type_map=type_map,
        scars=scars,
        mm_per_pixel=mm_per_pixel,
        seed=seed,
        ita_degrees=_typology_angle(reflectance(tone)),
    )


def write_photos(out: str | Path, *, count: int, seed: int, size: int = 256) -> Path:
    """Render photos into a folder per label and list them in `manifest.csv`; return the manifest's path.

    Labels take turns, so that they are even. Every picture is its own subject. Columns: file (with "/" between folder
    and name), label, subject, seed, mm_per_pixel, scars, ita_degrees. `render_photo(label, seed=seed)` with a row's
    values gives the picture again, before JPEG. Running again overwrites the same files.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    out = Path(out)
    for label in LABELS:
        (out / label).mkdir(parents=True, exist_ok=True)
    seeds = np.random.SeedSequence(seed).generate_state(count, np.uint64) >> np.uint64(11)  # 53 bits: exact in JSON
    rows = []
    for number, photo_seed in enumerate(seeds.tolist()):
        label = LABELS[number % len(LABELS)]
        photo = render_photo(label, seed=photo_seed, size=size)
        file = f"{label}/{label}_{number:06d}.jpg"
        (out / file).write_bytes(encode_jpeg(photo.image, quality=JPEG_QUALITY))
        rows.append(
            {
                "file": file,
                "label": label,
                "subject": f"rendered_{photo_seed}",
                "seed": photo_seed,
                "mm_per_pixel": f"{photo.mm_per_pixel:.6f}",
                "scars": len(photo.scars),
                "ita_degrees": f"{photo.ita_degrees:.1f}",
            }
        )
    manifest = out / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def write_examples(out: str | Path) -> None:
    """Render the pictures of `examples/` into a folder: one of each scar type, from `EXAMPLE_SEEDS`."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for label, seed in EXAMPLE_SEEDS.items():
        photo = render_photo(label, seed=seed, size=EXAMPLE_SIZE)
        (out / f"{label}.jpg").write_bytes(encode_jpeg(photo.image, quality=JPEG_QUALITY))


def encode_jpeg(image: np.ndarray, *, quality: int) -> bytes:
    """Return an RGB uint8 [H, W, 3] picture as the bytes of a JPEG file without metadata."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {image.shape} and type {image.dtype}")
    return data.tobytes()


def _expose(radiance: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """Return what a camera makes of linear light: RGB uint8 [S, S, 3].

    In order: lens blur, fall-off to the corners, exposure, white balance, photon and read-out noise, highlights
    rolled off, sRGB.
    """
    size = radiance.shape[0]
    picture = blur(radiance, rng.uniform(0.4, 0.9))  # px
    x, y = pixel_grid(2.0, size)
    off_axis = (x - 1.0) ** 2 + (y - 1.0) ** 2
    picture = picture * (1.0 - rng.uniform(0.0, 0.10) * off_axis)[..., None]
    # The camera's meter pulls the mean towards mid grey, but only part of the way: dark skin stays dark.
    brightness = float(picture.mean())
    exposure = 0.40 / brightness * (brightness / 0.40) ** 0.45 * math.exp(rng.normal(0.0, 0.15))
    warmth, tint = rng.normal(0.04, 0.06), rng.normal(0.0, 0.02)  # cameras like skin warm
    balance = np.exp(np.array([warmth, tint, -1.3 * warmth])).astype(np.float32)
    picture = picture * (exposure * balance)
    photon, readout = rng.uniform(0.004, 0.014), rng.uniform(0.001, 0.004)
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    picture = picture + grain * np.sqrt(photon**2 * np.maximum(picture, 0.0) + readout**2)
    picture = np.maximum(picture, 0.0)
    knee = 0.7  # above it highlights approach 1 without reaching it
    rolled = np.where(picture > knee, 1.0 - (1.0 - knee) * np.exp(-(picture - knee) / (1.0 - knee)), picture)
    encoded = _srgb(rolled)
    contrast = rng.uniform(0.0, 0.6)  # share of an S-curve in the camera's tone curve
    encoded = (1.0 - contrast) * encoded + contrast * smoothstep(0.0, 1.0, encoded)
    return np.rint(encoded * 255.0).astype(np.uint8)


def _srgb(linear: np.ndarray) -> np.ndarray:
    """Return linear values, 0 to 1, under the transfer curve of IEC 61966-2-1."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.power(np.maximum(linear, 1e-6), 1 / 2.4) - 0.055)


def _typology_angle(linear_rgb: np.ndarray) -> float:
    """Return the individual typology angle in degrees of a linear sRGB colour: atan((L* - 50) / b*)."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    _, y, z = (to_xyz @ linear_rgb / np.array([0.9505, 1.0, 1.089])).tolist()
    y_root, z_root = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (y, z))
    lightness, blue_yellow = 116 * y_root - 16, 200 * (y_root - z_root)
    return math.degrees(math.atan2(lightness - 50, blue_yellow))
