"""Augmented views of every photo after the frozen stages of the network, computed once.

The output of frozen stages never changes during training, and computing it takes most of the time: 40 of 60 ms per view
at 384 px. It is cached in one file per photo, which a resumed run and the other folds of a cross-validation reuse.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ...datasets.annotations.readings import digest_of
from ...datasets.annotations.scar_map import places_over
from ...datasets.augment import Augmentation, View
from ...datasets.photos import LabelledPhoto
from ...datasets.reading.reader import read_image
from ...datasets.transform import frame, normalise, placed
from ...datasets.writing.atomic import write_atomically
from ...model.network import ScarNetwork
from ..config import TrainConfig
from .lessons import Lesson

SAMPLES: Final = 4
"""Samples of the places along each side of a position; `scar_map.targets` averages them."""

_SHARE_OF_OTHERS: Final = 6
"""Photos out of scope and renderings are many and each is used less often, so they get a sixth of the views."""


class FrozenView(NamedTuple):
    """One view.

    Attributes:
        maps: float32 [C, h, w], the output of the frozen stages; without frozen stages the normalised view, [3, S, S].
        places: uint8, as in `scar_map.ScarMap`, `SAMPLES` along each side of a position of the network's map.
    """

    maps: np.ndarray
    places: np.ndarray


class FrozenViews:
    """The views of a list of photos."""

    def __init__(
        self,
        photos: Sequence[LabelledPhoto],
        lessons: Sequence[Lesson],
        network: ScarNetwork,
        config: TrainConfig,
        folder: Path,
        *,
        frozen: int,
    ) -> None:
        """Plan the views; `prepare` computes them.

        Args:
            photos: N photos.
            lessons: their targets.
            network: the network whose first `frozen` stages are applied, on its device.
            config: the settings.
            folder: folder of the cached files; created if missing.
            frozen: number of frozen stages.
        """
        self._photos, self._lessons, self._network, self._config = photos, lessons, network, config
        self._folder, self._frozen = folder, frozen
        settings = [config.size, config.mean, config.std, config.views, frozen, _digest(network.trunk[:frozen])]
        self._key = repr(settings)
        with torch.no_grad():
            device = next(network.parameters()).device
            empty = torch.zeros(1, 3, config.size, config.size, device=device)
            self.side: int = network.eval()(empty).class_map.shape[-1]

    def count(self, photo: int) -> int:
        """Return the number of views of a photo. The first is the unaugmented photo."""
        rare = self._lessons[photo].in_scope and not self._photos[photo].extra
        return self._config.views if rare else max(1, self._config.views // _SHARE_OF_OTHERS)

    def prepare(self, numbers: Sequence[int], *, advance: Callable[[], None] = lambda: None) -> None:
        """Compute the views of some photos, unless they are cached."""
        self._folder.mkdir(parents=True, exist_ok=True)
        missing = [number for number in numbers if not self._file(number).exists()]
        for _ in range(len(numbers) - len(missing)):
            advance()
        squares = _Squares(self._photos, self._lessons, self._config.size, [(n, self.count(n)) for n in missing])
        loader = DataLoader(squares, batch_size=None, num_workers=self._config.workers, collate_fn=list)
        for number, views in zip(missing, loader, strict=True):
            side = SAMPLES * self.side
            places = [cv2.resize(v.places, (side, side), interpolation=cv2.INTER_NEAREST_EXACT) for v in views]
            buffer = io.BytesIO()
            np.savez(buffer, maps=self._seen([view.square for view in views]), places=np.stack(places))
            write_atomically(self._file(number), buffer.getvalue())
            advance()

    def __call__(self, photo: int, view: int) -> FrozenView:
        """Return a prepared view."""
        with np.load(self._file(photo)) as arrays:
            maps, places = arrays["maps"][view], arrays["places"][view]
        if not self._frozen:
            maps = normalise(maps, mean=self._config.mean, std=self._config.std)
        return FrozenView(maps.astype(np.float32), places)

    def _seen(self, squares: Sequence[np.ndarray]) -> np.ndarray:
        """Apply the frozen stages to views: float16 [V, C, h, w]; without frozen stages return the views, uint8."""
        if not self._frozen:
            return np.stack(squares)
        config, device = self._config, next(self._network.parameters()).device
        photos = np.stack([normalise(square, mean=config.mean, std=config.std) for square in squares])
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=config.in_bfloat16):
            batch = torch.from_numpy(photos).to(device).contiguous(memory_format=torch.channels_last)
            return self._network.trunk[: self._frozen](batch).float().cpu().numpy().astype(np.float16)

    @cache  # noqa: B019 - it lives as long as the training
    def _file(self, photo: int) -> Path:
        """Return the cache file. Its name is a digest of everything that determines the views."""
        path, places = self._photos[photo].path, self._lessons[photo].scar_map.places
        content = f"{path.name} {digest_of(path)} {self.count(photo)} {places.shape} {self._key} "
        name = hashlib.sha256(content.encode(errors="surrogateescape") + places.tobytes()).hexdigest()
        return self._folder / f"{name[:32]}.npz"


class _Squares(Dataset[list[View]]):
    """The views of photos as squares, computed by the loader's worker processes."""

    def __init__(
        self, photos: Sequence[LabelledPhoto], lessons: Sequence[Lesson], size: int, wanted: Sequence[tuple[int, int]]
    ) -> None:
        self._photos, self._lessons, self._size, self._wanted = photos, lessons, size, wanted
        self._augment = Augmentation(size)

    def __len__(self) -> int:
        return len(self._wanted)

    def __getitem__(self, index: int) -> list[View]:
        number, count = self._wanted[index]
        path, scar_map = self._photos[number].path, self._lessons[number].scar_map
        image = read_image(path)
        framed = frame(image, self._size)
        places = placed(places_over(scar_map, *image.shape[:2]), framed.placement, self._size)
        seeds = np.random.SeedSequence(list(path.name.encode(errors="surrogateescape"))).generate_state(count)
        return [
            View(framed.square, places),
            *(self._augment(image, scar_map, seed=seed) for seed in seeds[1:].tolist()),
        ]


def _digest(stages: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(stages.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
