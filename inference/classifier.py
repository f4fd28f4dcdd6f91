"""The classifier: load a checkpoint once, predict many photos."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from ..datasets.labels import SCAR_TYPES
from ..datasets.preprocess import preprocess
from ..datasets.reader import ImageReadError, read_image
from ..model.calibration import MIN_SIDE, Calibration
from .engine import Engine, Scores, open_engine
from .prediction import Prediction, Reason
from .regions import photo_regions
from .treatments import plan

BUNDLED_CHECKPOINT: Final = Path(__file__).parent.parent / "model" / "weights" / "scarlens.onnx"
"""The checkpoint that ships; its safetensors form lies beside it."""

Image = str | os.PathLike[str] | bytes | np.ndarray
"""A path, the bytes of an image file, or RGB uint8 [H, W, 3]."""


class Classifier:
    """Tells acne scar types apart with one checkpoint. Answers are information, not a diagnosis."""

    def __init__(self, engine: Engine) -> None:
        """Wrap an engine; `load` makes one from a checkpoint file."""
        self._engine = engine

    @property
    def model_id(self) -> str:
        """The digest that names the model."""
        return self._engine.card.model_id

    def predict(self, image: Image) -> Prediction:
        """Classify one photo: a path, the bytes of an image file, or RGB uint8 [H, W, 3].

        Raises:
            ImageReadError: when it is no photo that can be read.
        """
        photo = read_image(image)
        return self._answers([photo])[0]

    def predict_many(self, images: Iterable[Image], batch_size: int = 32) -> Iterator[Prediction | ImageReadError]:
        """Classify many photos, in order and as they are consumed; an unreadable one yields its error.

        Args:
            images: photos as for `predict`; any iterable, also an endless one.
            batch_size: how many photos the network sees at a time; at most so many are in memory.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        remaining = iter(images)
        while batch := [_read(image) for image in islice(remaining, batch_size)]:
            photos = [photo for photo in batch if not isinstance(photo, ImageReadError)]
            answers = iter(self._answers(photos) if photos else [])
            for photo in batch:
                yield photo if isinstance(photo, ImageReadError) else next(answers)

    def _answers(self, photos: list[np.ndarray]) -> list[Prediction]:
        card = self._engine.card
        scores = self._engine(np.stack([preprocess(p, size=card.size, mean=card.mean, std=card.std) for p in photos]))
        return [self._answer(photo.shape[0], photo.shape[1], Scores(*one)) for photo, one in zip(photos, zip(*scores, strict=True), strict=True)]

    def _answer(self, height: int, width: int, scores: Scores) -> Prediction:
        calibration = self._engine.card.calibration
        probabilities = calibration.probabilities(scores.type_logits)
        in_scope = float(calibration.in_scope(scores.scope_logit))
        best = SCAR_TYPES[int(probabilities.argmax())]
        plausible = calibration.plausible(probabilities)
        reason = _reason(calibration, min(height, width), in_scope, float(probabilities.max()))
        label = None if reason else best
        return Prediction(
            label=label,
            probabilities=dict(zip(SCAR_TYPES, probabilities.tolist(), strict=True)),
            in_scope=in_scope,
            plausible=plausible,
            reason=reason,
            regions=photo_regions(scores.class_map, calibration, height=height, width=width, size=self._engine.card.size),
            treatment=plan(label, plausible) if reason in (None, "ambiguous") else None,
            model_id=self.model_id,
            width=width,
            height=height,
        )


def load(checkpoint: str | os.PathLike[str] = BUNDLED_CHECKPOINT, *, device: str = "cpu") -> Classifier:
    """Load a checkpoint, `.safetensors` or `.onnx`; by default the one that ships.

    Args:
        checkpoint: the file.
        device: "cpu", or a torch device such as "cuda" for a `.safetensors` file.

    Raises:
        CheckpointError: when the file is no usable checkpoint.
    """
    return Classifier(open_engine(Path(checkpoint), device=device))


@cache
def _bundled() -> Classifier:
    return load()


def predict(image: Image) -> Prediction:
    """Classify one photo with the checkpoint that ships, which is loaded once; see `Classifier.predict`."""
    return _bundled().predict(image)


def _read(image: Image) -> np.ndarray | ImageReadError:
    try:
        return read_image(image)
    except ImageReadError as error:
        return error


def _reason(calibration: Calibration, shortest_side: int, in_scope: float, best_probability: float) -> Reason | None:
    if shortest_side < MIN_SIDE:
        return "low_quality"
    if in_scope < calibration.scope_threshold:
        return "out_of_scope"
    if best_probability < calibration.answer_threshold:
        return "ambiguous"
    return None
