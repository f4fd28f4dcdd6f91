"""The classifier: load a checkpoint once, predict many photos."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ..datasets.labels import SCAR_TYPES
from ..datasets.preprocess import photo_window, preprocess
from ..datasets.reader import ImageReadError, read_image
from ..model.calibration import MIN_SIDE
from ..model.checkpoint import Card
from .engine import Engine, Scores, open_engine
from .prediction import Prediction, Reason
from .regions import photo_regions
from .treatments import plan

BUNDLED_CHECKPOINT: Final = Path(__file__).parent.parent / "model" / "weights" / "scarlens.onnx"
"""The checkpoint that ships; its safetensors form lies beside it."""

NARROWEST: Final = 1 / 8
"""Least share of the network's square that a photo must fill: a longer strip would be a few pixels wide there."""

Image = str | os.PathLike[str] | bytes | np.ndarray
"""A path, the bytes of an image file, or RGB uint8 [H, W, 3]."""


class _Prepared(NamedTuple):
    """A photo as the network wants it, float32 [3, S, S], and the size it had in pixels."""

    array: np.ndarray
    height: int
    width: int


class Classifier:
    """Tells acne scar types apart with one checkpoint. Answers are information, not a diagnosis."""

    def __init__(self, engine: Engine) -> None:
        """Wrap an engine; `load` makes one from a checkpoint file."""
        self._engine = engine

    @property
    def card(self) -> Card:
        """What the checkpoint says about itself."""
        return self._engine.card

    @property
    def model_id(self) -> str:
        """The digest that names the model."""
        return self._engine.card.model_id

    def predict(self, image: Image) -> Prediction:
        """Classify one photo: a path, the bytes of an image file, or RGB uint8 [H, W, 3].

        Raises:
            ImageReadError: when it is no photo that can be read.
        """
        return self._answers([self._prepared(image)])[0]

    def predict_many(self, images: Iterable[Image], batch_size: int = 32) -> Iterator[Prediction | ImageReadError]:
        """Classify many photos, in order and as they are consumed; an unreadable one yields its error.

        Args:
            images: photos as for `predict`; any iterable, also an endless one.
            batch_size: how many photos the network sees at a time.

        Raises:
            ValueError: when the batch size is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        return self._stream(iter(images), batch_size)

    def _stream(self, images: Iterator[Image], batch_size: int) -> Iterator[Prediction | ImageReadError]:
        while batch := [self._prepared_or_error(image) for image in islice(images, batch_size)]:
            answers = iter(self._answers([photo for photo in batch if isinstance(photo, _Prepared)]))
            for photo in batch:
                yield next(answers) if isinstance(photo, _Prepared) else photo

    def _prepared_or_error(self, image: Image) -> _Prepared | ImageReadError:
        try:
            return self._prepared(image)
        except ImageReadError as error:
            return error

    def _prepared(self, image: Image) -> _Prepared:
        photo, card = read_image(image), self.card
        array = preprocess(photo, size=card.size, mean=card.mean, std=card.std)
        return _Prepared(array, photo.shape[0], photo.shape[1])

    def _answers(self, photos: Sequence[_Prepared]) -> list[Prediction]:
        if not photos:
            return []
        scores = self._engine(np.stack([photo.array for photo in photos]))
        return [self._answer(photo, Scores(*(part[i] for part in scores))) for i, photo in enumerate(photos)]

    def _answer(self, photo: _Prepared, scores: Scores) -> Prediction:
        calibration, height, width = self.card.calibration, photo.height, photo.width
        probabilities = calibration.probabilities(scores.type_logits)
        in_scope = float(calibration.in_scope(scores.scope_logit))
        plausible = calibration.plausible(probabilities)
        reason = self._reason(height, width, in_scope, float(probabilities.max()))
        label = None if reason else plausible[0]
        return Prediction(
            label=label,
            probabilities=dict(zip(SCAR_TYPES, probabilities.tolist(), strict=True)),
            in_scope=in_scope,
            plausible=plausible,
            reason=reason,
            regions=photo_regions(scores.class_map, calibration, height=height, width=width, size=self.card.size),
            treatment=plan(label, plausible) if reason in (None, "ambiguous") else None,
            model_id=self.model_id,
            width=width,
            height=height,
        )

    def _reason(self, height: int, width: int, in_scope: float, best_probability: float) -> Reason | None:
        top, bottom, left, right = photo_window(height, width, self.card.size)
        if min(height, width) < MIN_SIDE or min(bottom - top, right - left) < NARROWEST * self.card.size:
            return "low_quality"
        if in_scope < self.card.calibration.scope_threshold:
            return "out_of_scope"
        if best_probability < self.card.calibration.answer_threshold:
            return "ambiguous"
        return None


def load(checkpoint: str | os.PathLike[str] = BUNDLED_CHECKPOINT, *, device: str = "cpu") -> Classifier:
    """Load a checkpoint, `.safetensors` or `.onnx`; by default the one that ships.

    Args:
        checkpoint: the file.
        device: "cpu", or a torch device such as "cuda" for a `.safetensors` file.

    Raises:
        CheckpointError: when the file is no usable checkpoint.
    """
    return Classifier(open_engine(Path(checkpoint), device=device))


def predict(image: Image) -> Prediction:
    """Classify one photo with the checkpoint that ships, which is loaded once; see `Classifier.predict`.

    Raises:
        ImageReadError: when it is no photo that can be read.
    """
    return _bundled().predict(image)


@cache
def _bundled() -> Classifier:
    return load()
