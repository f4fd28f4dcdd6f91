"""Rendered pictures for the relief head: what the network sees of them, and the truth at each position of its maps."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from torch import nn

from ..datasets.atomic import write_atomically
from ..datasets.canonical import turned
from ..datasets.labels import SCAR_TYPES
from ..datasets.preprocess import Placement, frame, normalise, photo_window
from ..datasets.rendering import RenderedPhoto, render_photo
from ..datasets.rendering.scars import DEEP_BOXCAR_MM, Scar
from ..model.relief import TAPS, stages_of

SIZE: Final = 224
MEAN: Final = (0.5, 0.5, 0.5)
STD: Final = (0.5, 0.5, 0.5)
"""The square that the trunk was trained with, and the only one that the head will know."""

PATCH_MM: Final = (12.0, 140.0)
"""Least and greatest side of a picture's patch of skin: from nearer than the renderer's own, for wide scars' sake."""

LABELS: Final = ("ice_pick", "boxcar", "rolling", "boxcar")
"""Take turns: boxcar scars are the only ones whose depth is asked for."""

SHARD: Final = 250
"""Pictures in one file of the cache: 100 MB, or 15 seconds that an interruption costs."""

_CELL: Final = 4  # pixels of the square to a position of the head's maps
_BATCH: Final = 25

Arrays = dict[str, np.ndarray]
"""Pictures and targets by name, as `example_of` and `cached_examples` say; the first axis may count pictures."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A rendered picture in the network's square.

    Attributes:
        square: RGB uint8 [S, S, 3].
        owners: int16 [S, S], as `RenderedPhoto.scar_map`, but of the square.
        scars: every scar of the picture.
        label: the dominant type.
        mm_per_pixel: millimetres of skin to a pixel of the square.
        elevation_degrees: of the strongest lamp.
    """

    square: np.ndarray
    owners: np.ndarray
    scars: Sequence[Scar]
    label: str
    mm_per_pixel: float
    elevation_degrees: float


def pictures(seeds: Iterable[int]) -> Iterator[Picture]:
    """Render a picture of each seed; labels take turns."""
    for seed in seeds:
        yield _framed(render_photo(LABELS[seed % len(LABELS)], seed=seed, patch_mm=PATCH_MM))


def _framed(photo: RenderedPhoto) -> Picture:
    framed = frame(photo.image, SIZE)
    return Picture(
        square=framed.square,
        owners=_placed(photo.scar_map, framed.placement),
        scars=photo.scars,
        label=photo.label,
        mm_per_pixel=photo.mm_per_pixel / framed.placement.scale(SIZE),
        elevation_degrees=photo.light.key_elevation_degrees,
    )


def _placed(owners: np.ndarray, placement: Placement) -> np.ndarray:
    """Bring a map of whole numbers [H, W] over a photo into the square as the photo came there, without blending."""
    top, bottom, left, right = placement.window
    part = np.ascontiguousarray(turned(owners, placement.first)[top:bottom, left:right])
    above, below, before, beyond = photo_window(bottom - top, right - left, SIZE)
    part = cv2.resize(part, (beyond - before, below - above), interpolation=cv2.INTER_NEAREST_EXACT)
    part = cv2.copyMakeBorder(part, above, SIZE - below, before, SIZE - beyond, cv2.BORDER_REFLECT)
    return np.ascontiguousarray(turned(part, placement.second))


def example_of(picture: Picture) -> Arrays:
    """Return a picture with the truth at each of the h x w positions.

    `square`: uint8 [3, S, S]. `types`: float16 [4, h, w], the shares of skin and of each type. `log_width` and
    `log_depth`: float16 [h, w], mean natural logarithms over the scars there, in pixels of the square. `deep`: float16
    [h, w], the share of deep boxcar scars. `elevation`: float32 [], as a share of 90 degrees.
    """
    owners, scars, scale = picture.owners, picture.scars, picture.mm_per_pixel
    # What belongs to no scar has the index -1: the last entry of each table.
    kinds = np.array([*(1 + SCAR_TYPES.index(scar.type) for scar in scars), 0])[owners]
    log_width = np.log([*(scar.width_mm / scale for scar in scars), 1.0])[owners]
    log_depth = np.log([*(scar.depth_mm / scale for scar in scars), 1.0])[owners]
    deep = np.array([*(is_deep(scar) for scar in scars), False])[owners]
    types = np.stack([averaged(kinds == kind) for kind in range(1 + len(SCAR_TYPES))])
    covered = np.maximum(1.0 - types[0], 1.0 / _CELL**2)
    return {
        "square": picture.square.transpose(2, 0, 1),
        "types": types.astype(np.float16),
        "log_width": (averaged(log_width) / covered).astype(np.float16),
        "log_depth": (averaged(log_depth) / covered).astype(np.float16),
        "deep": averaged(deep).astype(np.float16),
        "elevation": np.array(picture.elevation_degrees / 90.0, np.float32),
    }


def is_deep(scar: Scar) -> bool:
    """Return whether a scar is a deep boxcar scar."""
    return scar.type == "boxcar" and scar.depth_mm >= DEEP_BOXCAR_MM


def averaged(values: np.ndarray) -> np.ndarray:
    """Average [S, S] over the pixels of each position."""
    side = SIZE // _CELL
    return values.reshape(side, _CELL, side, _CELL).mean(axis=(1, 3))


def network_input(squares: Iterable[np.ndarray]) -> torch.Tensor:
    """Stack squares, RGB uint8 [S, S, 3], as the network's input, float32 [N, 3, S, S]."""
    return torch.from_numpy(np.stack([normalise(square, mean=MEAN, std=STD) for square in squares]))


def cached_examples(
    folder: Path, trunk: nn.Sequential, *, first_seed: int, count: int, advance: Callable[[], None]
) -> list[Arrays]:
    """Render examples once, with the trunk's stages beside them, into files of `SHARD` pictures; read them after that.

    Args:
        folder: the cache, which is made; it belongs to one trunk and one range of seeds.
        trunk: set to evaluate.
        first_seed: seed of the first picture.
        count: number of pictures.
        advance: called after each picture.

    Returns:
        The arrays of `example_of` with the number of pictures as their first axis, and `stage_<number>`, float16
        [N, C, h, w], for each of `TAPS`; one dictionary a file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for start in range(0, count, SHARD):
        file, length = folder / f"{start:06d}.npz", min(SHARD, count - start)
        if not file.exists():
            buffer = io.BytesIO()
            np.savez(buffer, allow_pickle=False, **_rendered_shard(trunk, first_seed + start, length, advance))
            write_atomically(file, buffer.getvalue())
        with np.load(file) as arrays:
            shards.append(dict(arrays))
    return shards


def _rendered_shard(trunk: nn.Sequential, first_seed: int, length: int, advance: Callable[[], None]) -> Arrays:
    source, parts = pictures(range(first_seed, first_seed + length)), []
    while batch := [*islice(source, _BATCH)]:
        examples = [example_of(picture) for picture in batch]
        part = {name: np.stack([example[name] for example in examples]) for name in examples[0]}
        with torch.inference_mode():
            stages = stages_of(trunk, network_input(picture.square for picture in batch), TAPS)
        part |= {f"stage_{number}": maps.numpy().astype(np.float16) for number, maps in stages.items()}
        parts.append(part)
        for _ in batch:
            advance()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
