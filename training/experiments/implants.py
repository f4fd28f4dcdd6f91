"""Rendered scars in photographs of real clear skin: relief shades the photo, which keeps its own skin and light.

The photos are out-of-scope ones of the kind "skin", of all folds: they carry no label of the three types. The pictures
are made anew where they are needed; only what the frozen trunk sees of them is kept, in the study's folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import cv2
import numpy as np
from torch import Tensor

from scarlens.datasets.labels import OUT_OF_SCOPE, SCAR_TYPES
from scarlens.datasets.photos import LabelledPhoto
from scarlens.datasets.preprocess import frame
from scarlens.datasets.reader import read_image
from scarlens.datasets.rendering.cheek import draw_cheek
from scarlens.datasets.rendering.fields import log_uniform
from scarlens.datasets.rendering.photo import LABELS, PATCH_MM
from scarlens.datasets.rendering.relief import soft_relief
from scarlens.datasets.rendering.scars import dig, draw_scars
from scarlens.datasets.rendering.shading import draw_light, draw_sheen, shade
from scarlens.datasets.rendering.skin import Pigment, albedo_map, draw_tone
from scarlens.model.network import ScarNetwork
from scarlens.training import texture

from .linear import (
    TEXTURE,
    TEXTURE_LAYERS,
    Prior,
    joined,
    linear,
    measured,
    photo_features,
    prior_of,
    zero_shot,
)
from .study import Row, Study, StudyError, layer_statistics, read_squares, remembered

COUNT: Final = 2400
"""A quarter of each type and a quarter of clear skin, as the renderings are."""

SIZE: Final = 256
"""Side of the pictures in pixels, as that of the renderings."""

CROP: Final = (0.35, 0.8)
"""Least and greatest side of a crop, as a share of the photo's shorter side: most photos show far more than skin."""

CROPS: Final = 12
"""Places to look at for the one with the most skin."""

RATIO: Final = (0.15, 2.5)
"""Least and greatest factor on the photo's light."""

_SKIN: Final = ((0, 133, 77), (255, 173, 127))
# Y, Cr and Cb of skin: Chai & Ngan, "Face segmentation using skin-color map in videophone applications", IEEE Trans
# Circuits Syst Video Technol 9:551, 1999.


@dataclass(frozen=True)
class Implant:
    """A picture to be made.

    Attributes:
        photo: the clear-skin photo, with the type that it gets as label and kind.
        seed: decides crop and scars.
    """

    photo: LabelledPhoto
    seed: int


def implants(study: Study) -> list[Implant]:
    """Return what to make of the clear-skin photos; each photo gets every label equally often.

    Raises:
        StudyError: when there are none.
    """
    clear = [photo for photo in study.photos if photo.kind == "skin"]
    if not clear:
        raise StudyError("implants want photos of clear skin: give --out-of-scope skin")
    orders = []
    for number in range(COUNT):
        photo, label = clear[number // len(LABELS) % len(clear)], LABELS[number % len(LABELS)]
        kind = photo.kind if label == OUT_OF_SCOPE else label
        orders.append(Implant(replace(photo, label=label, kind=kind), number))
    return orders


def picture_of(implant: Implant) -> np.ndarray:
    """Make a picture, RGB uint8 [SIZE, SIZE, 3]."""
    crop, frame_, place, shape, pits, lamps, film, tone, soft = np.random.default_rng(implant.seed).spawn(9)
    skin = skin_crop(read_image(implant.photo.path), rng=crop)
    if implant.photo.label not in SCAR_TYPES:
        return skin
    shown = skin_mask(skin)
    cheek = draw_cheek(rng=place, patch_mm=log_uniform(frame_, *PATCH_MM), size=SIZE)

    def hidden(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        row, column = (np.clip(np.asarray(at) / cheek.mm_per_pixel, 0, SIZE - 1).astype(int) for at in (y, x))
        return shown[row, column] < 0.5

    hollows = dig(draw_scars(implant.photo.label, rng=shape, cheek=cheek, hidden=hidden), rng=pits, cheek=cheek)
    nothing = np.zeros_like(hollows.height)
    colour = partial(albedo_map, draw_tone(rng=tone), pores_mm=nothing, plugs=0.0)
    height = cheek.height + soft_relief(cheek, rng=soft)
    light = partial(shade, light=draw_light(rng=lamps), sheen=draw_sheen(rng=film), mm_per_pixel=cheek.mm_per_pixel)
    clear = light(height, colour(Pigment(melanin=nothing, blood=nothing)))
    scarred = light(height + hollows.height, colour(Pigment(melanin=hollows.browning, blood=hollows.redness)))
    ratio = np.clip(scarred / np.maximum(clear, 1e-3), *RATIO)
    share = (shown * cheek.face)[..., None]
    return relit(skin, 1.0 + share * (ratio - 1.0))


def relit(picture: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Multiply the linear light of a picture, sRGB uint8 [S, S, 3], by a ratio [S, S, 3].

    A ratio of two shadings carries over to another surface: Riklin-Raviv & Shashua, "The quotient image", IEEE PAMI
    23:129, 2001. The transfer curve is that of sRGB (IEC 61966-2-1).
    """
    encoded = np.float32(picture) / 255.0
    linear_light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4) * ratio
    curved = 1.055 * np.maximum(linear_light, 0.0031308) ** (1 / 2.4) - 0.055
    result = np.where(linear_light <= 0.0031308, 12.92 * linear_light, curved)
    return np.rint(np.clip(result, 0.0, 1.0) * 255.0).astype(np.uint8)


def skin_mask(picture: np.ndarray) -> np.ndarray:
    """Return where an RGB uint8 picture [H, W, 3] has the colour of skin, float32 [H, W], 0 to 1 with soft edges."""
    mask = cv2.inRange(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb), *map(np.array, _SKIN))
    return cv2.GaussianBlur(mask.astype(np.float32) / 255.0, (0, 0), picture.shape[0] / 64)


def skin_crop(image: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """Return the square crop with the most skin among some, RGB uint8 [SIZE, SIZE, 3]."""
    skin, best = skin_mask(image), (-1.0, 0, 0, 1)
    for _ in range(CROPS):
        side = round(rng.uniform(*CROP) * min(skin.shape))
        top, left = (int(rng.integers(length - side + 1)) for length in skin.shape)
        share = float(skin[top : top + side, left : left + side].mean())
        best = max(best, (share, top, left, side))
    _, top, left, side = best
    crop = image[top : top + side, left : left + side]
    return cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA if side > SIZE else cv2.INTER_LINEAR)


def implant_views(study: Study) -> dict[str, np.ndarray]:
    """Show the frozen network all implants once: as `linear.rendered_views`."""

    def squares() -> Iterator[np.ndarray]:
        for implant in implants(study):
            yield frame(picture_of(implant), study.config.size).square

    def read(network: ScarNetwork, seen: Tensor) -> dict[str, Tensor]:
        return layer_statistics(network, seen, TEXTURE_LAYERS, keep_maps=True)

    file = study.out / "features" / "implants.safetensors"
    return remembered(file, lambda: read_squares(squares(), study.config, read))


def implant_maps(study: Study) -> list[np.ndarray]:
    """Return the mid-level maps of all implants, as `maps.rendered_maps` those of renderings."""
    return list(implant_views(study)["maps"][:, None])


def with_implants(study: Study) -> list[Row]:
    """Measure linear models of implants on photos: without any label, and as a prior of the texture head."""
    features, prior = photo_features(study), _prior(study)
    own = zero_shot(features, prior, own_moments=True)
    other = zero_shot(features, prior, own_moments=False)
    head = linear(features, study.types, texture.STRENGTHS, prior, texture.PRIOR_WEIGHTS)
    return [
        measured(study, "zero-shot, implants, each domain standardised by itself", own),
        measured(study, "zero-shot, implants, photos standardised as implants", other),
        measured(study, "texture head, prior of implants chosen", head),
    ]


def _prior(study: Study) -> Prior:
    photos = [implant.photo for implant in implants(study)]
    typed = np.flatnonzero([photo.type_index >= 0 for photo in photos])

    def make() -> dict[str, np.ndarray]:
        return prior_of(joined(implant_views(study), TEXTURE_LAYERS, TEXTURE)[typed], [photos[i] for i in typed])

    return Prior(**remembered(study.out / "priors" / "implants.safetensors", make))
