"""What the experiments share: photos, how they are dealt, what a frozen trunk sees in them, and rows of a table."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from safetensors.numpy import load_file, save
from sklearn.metrics import confusion_matrix, log_loss
from torch import Tensor

from scarlens.datasets.atomic import write_atomically
from scarlens.datasets.augment import Augmentation
from scarlens.datasets.errors import ScarlensError
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.photos import LabelledPhoto, load_photos, readable_photos
from scarlens.datasets.preprocess import normalise
from scarlens.datasets.splits import grouped_folds
from scarlens.model.network import ScarNetwork, load_trunk_weights
from scarlens.training import texture
from scarlens.training.config import TrainConfig

LAYERS: Final = (6, 10, 13, 16, 17, 18)
"""Stages of MobileNetV2 to read: the last one of each number of channels, from an 8th of the photo's side on."""

STATISTICS: Final = ("mean", "mad", "std", "max")
"""Over the positions of a map; "mad" is the mean absolute deviation from the mean."""

_BATCH: Final = 16

Setting = tuple[float, ...]


class StudyError(ScarlensError, ValueError):
    """The experiment cannot be made as asked; the message says what would do."""


class Held(NamedTuple):
    """What the folds of one deal say about the photos they hold out.

    Attributes:
        scores: float [N, 3], raw scores of each photo by a model that has not seen its subject.
        chosen: for each fold the setting that its training part chose; empty where there is nothing to choose.
    """

    scores: np.ndarray
    chosen: Sequence[Setting] = ()


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        what: the configuration.
        scores: float [D, N, 3], held-out scores in each deal.
        types: int [N].
        chosen: the settings that the folds of all deals chose.
        seconds: on one core, cached features not counted.
    """

    what: str
    scores: np.ndarray
    types: np.ndarray
    chosen: Sequence[Setting]
    seconds: float

    @property
    def accuracies(self) -> np.ndarray:
        """Share of photos whose first type is right, in each deal: float [D]."""
        return (self.scores.argmax(axis=2) == self.types).mean(axis=1)

    @property
    def log_loss(self) -> float:
        """Mean over deals and photos."""
        return log_loss_of(self.scores.reshape(-1, 3), np.tile(self.types, len(self.scores)))

    def __str__(self) -> str:
        """Write the row in Markdown: what, accuracy, that of each deal, log loss, the commonest choice, seconds."""
        each = " ".join(f"{accuracy:.3f}" for accuracy in self.accuracies)
        return (
            f"| {self.what} | {self.accuracies.mean():.3f} | {each} | {self.log_loss:.3f} "
            f"| {_commonest(self.chosen)} | {self.seconds:.0f} |"
        )


def errors_of(rows: Sequence[Row]) -> str:
    """Say who is taken for whom in the last row, and how many photos every row and deal gets right or wrong."""
    last = rows[-1]
    counts = confusion_matrix(np.tile(last.types, len(last.scores)), last.scores.argmax(axis=2).ravel())
    right = np.concatenate([row.scores.argmax(axis=2) == row.types for row in rows])  # [rows times deals, N]
    lines = "; ".join(f"{name}: {' '.join(map(str, row))}" for name, row in zip(SCAR_TYPES, counts, strict=True))
    return (
        f"{last.what}, label and how often each type comes first: {lines}. Of {right.shape[1]} photos "
        f"{right.all(axis=0).sum()} are right and {(~right).all(axis=0).sum()} wrong in all {len(right)} deals above."
    )


HEADER: Final = "| what | accuracy | each deal | log loss | chosen most often | s |\n|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Study:
    """Real photos to measure with, rendered ones to learn from, and a folder for all that is computed.

    Attributes:
        photos: real photos, those out of scope among them, each with a subject.
        rendered: rendered photos.
        config: trunk, pretrained weights, size, and the settings of fine-tuning.
        out: the folder.
        deals: how often the photos are dealt into folds; deal d has seed d, as in `scarlens crossvalidate`.
        folds: how many folds.
    """

    photos: Sequence[LabelledPhoto]
    rendered: Sequence[LabelledPhoto]
    config: TrainConfig
    out: Path
    deals: int = 3
    folds: int = 5

    @cached_property
    def shown(self) -> np.ndarray:
        """Indices of the photos of the three types among all, int [N]."""
        return np.flatnonzero([photo.type_index >= 0 for photo in self.photos])

    @cached_property
    def typed(self) -> list[LabelledPhoto]:
        """The N photos of the three types."""
        return [self.photos[i] for i in self.shown]

    @cached_property
    def types(self) -> np.ndarray:
        """Their types, int [N]."""
        return types_of(self.typed)

    def fold_of(self, deal: int) -> np.ndarray:
        """Return the fold of each real photo, out-of-scope ones among them."""
        kinds = [photo.kind for photo in self.photos]
        return grouped_folds(kinds, [photo.subject or "" for photo in self.photos], folds=self.folds, seed=deal)

    def measure(self, what: str, held_out: Callable[[int], Held]) -> Row:
        """Measure a configuration, print its row, and keep the scores: the next call reads them.

        Args:
            what: its name, which also names its file.
            held_out: given a deal, returns what the folds say about the photos of the three types.
        """

        found = [self._remembered(what, held_out, deal) for deal in range(self.deals)]
        chosen = [tuple(setting) for part in found for setting in part["chosen"].tolist()]
        seconds = sum(float(part["seconds"][0]) for part in found)
        row = Row(what, np.stack([part["scores"] for part in found]), self.types, chosen, seconds)
        print(row, flush=True)
        return row

    def _remembered(self, what: str, held_out: Callable[[int], Held], deal: int) -> dict[str, np.ndarray]:
        def make() -> dict[str, np.ndarray]:
            started = time.process_time()
            held = held_out(deal)
            seconds = time.process_time() - started
            return {"scores": held.scores, "chosen": np.array(held.chosen, dtype=float), "seconds": np.array([seconds])}

        return remembered(self.out / "rows" / f"{_slug(what)}_deal_{deal}.safetensors", make)


def open_study(
    data: Sequence[Path],
    out_of_scope: Sequence[str],
    rendered: Path,
    config: TrainConfig,
    out: Path,
    *,
    deals: int = 3,
) -> Study:
    """Load the photos, merging subjects that share a picture, or read the list that an earlier experiment left.

    Raises:
        StudyError: when `out` holds experiments on other photos or with other settings.
    """
    inputs = f"data: {[*map(str, data)]}\nout of scope: {[*out_of_scope]}\nrendered: {rendered}\n{config.to_yaml()}"
    out.mkdir(parents=True, exist_ok=True)
    claim = out / "inputs.txt"
    if claim.exists() and claim.read_text(encoding="utf-8") != inputs:
        raise StudyError(f"{out} holds experiments with other inputs, see {claim}: give another --out")
    if config.trunk != "mobilenet_v2":
        raise StudyError(f"the layers to read are MobileNetV2's, and the trunk is {config.trunk}")
    write_atomically(claim, inputs.encode())
    listed = out / "photos.json"
    if not listed.exists():
        photos, errors = readable_photos(load_photos(data, out_of_scope=out_of_scope), merge=True)
        if errors:
            raise StudyError(f"{len(errors)} photos cannot be read, the first: {errors[0]}")
        write_atomically(listed, json.dumps([asdict(photo) for photo in photos], default=str).encode())
    photos = [LabelledPhoto(**{**row, "path": Path(row["path"])}) for row in json.loads(listed.read_text())]
    return Study(photos, load_photos(rendered), config, out, deals)


def types_of(photos: Sequence[LabelledPhoto]) -> np.ndarray:
    """Return the types of photos, int [N], -1 for out of scope."""
    return np.array([photo.type_index for photo in photos])


def log_loss_of(scores: np.ndarray, types: np.ndarray) -> float:
    """Return the mean log loss of raw scores [N, 3]."""
    probabilities = torch.from_numpy(scores).double().softmax(dim=1).numpy()
    return float(log_loss(types, probabilities, labels=range(scores.shape[1])))


def remembered(file: Path, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Read the arrays of a `.safetensors` file, which is made first where it is not there."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, save({name: np.ascontiguousarray(array) for name, array in make().items()}))
    return load_file(file)


def frozen_network(config: TrainConfig) -> ScarNetwork:
    """Build the network with its pretrained trunk, for reading only."""
    network = ScarNetwork(config.trunk)
    if config.weights:
        load_trunk_weights(network, config.trunk, config.weights)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return network.eval()


def read_views(
    photos: Sequence[LabelledPhoto],
    views: Sequence[int],
    config: TrainConfig,
    read: Callable[[ScarNetwork, Tensor], dict[str, Tensor]],
) -> dict[str, np.ndarray]:
    """Show views of photos to the frozen network: each photo as it is, then augmented, one photo after the other.

    Args:
        photos: the photos.
        views: how many of each.
        config: the trunk, its weights and its input.
        read: given the network and normalised views [B, 3, S, S], returns tensors [B, ...] by name.

    Returns:
        What was read, arrays [sum of views, ...] by name.
    """
    return read_squares(_squares(photos, views, config), config, read)


def read_squares(
    squares: Iterator[np.ndarray], config: TrainConfig, read: Callable[[ScarNetwork, Tensor], dict[str, Tensor]]
) -> dict[str, np.ndarray]:
    """Show squares, RGB uint8 [S, S, 3], to the frozen network; otherwise as `read_views`."""
    network, parts = frozen_network(config), []
    while batch := [normalise(square, mean=config.mean, std=config.std) for square in islice(squares, _BATCH)]:
        seen = torch.from_numpy(np.stack(batch)).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            parts.append(read(network, seen))
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def _squares(photos: Sequence[LabelledPhoto], views: Sequence[int], config: TrainConfig) -> Iterator[np.ndarray]:
    augment = Augmentation(config.size)
    for number, (photo, count) in enumerate(zip(photos, views, strict=True)):
        yield from texture.squares_of(photo, config, augment, views=count, number=number)


def layer_statistics(
    network: ScarNetwork, photos: Tensor, layers: Sequence[int], *, keep_maps: bool = False
) -> dict[str, Tensor]:
    """Return `STATISTICS` of the maps of stages, float32 [B, 4, C] by the stage's number.

    Args:
        network: whose trunk is read.
        photos: normalised photos, float32 [B, 3, S, S].
        layers: numbers of the stages.
        keep_maps: whether to return the maps of the last of them as well, as "maps", float16 [B, C, h, w].
    """
    maps, found = photos, {}
    for number, stage in enumerate(network.trunk[: max(layers) + 1]):
        maps = stage(maps)
        if number in layers:
            mean = maps.mean(dim=(2, 3))
            deviation = (maps - mean[:, :, None, None]).abs().mean(dim=(2, 3))
            found[str(number)] = torch.stack([mean, deviation, maps.std(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
    return found | ({"maps": maps.half()} if keep_maps else {})


def _commonest(chosen: Sequence[Setting]) -> str:
    if not chosen:
        return ""
    setting, times = Counter(chosen).most_common(1)[0]
    return f"{', '.join(f'{value:g}' for value in setting)} ({times} of {len(chosen)})"


def _slug(what: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", what.casefold()).strip("-")
