"""The classifier: load a checkpoint once, predict many photos."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from ..datasets.labels import SCAR_TYPES
from ..datasets.reading.reader import ImageReadError, Source
from ..datasets.transform import Framed, FramedPhoto, Placement, normalise, photo_window, read_framed
from ..model.calibration import MIN_SIDE
from ..model.checkpoint import Card
from .engine import Engine, Scores, open_engine
from .prediction import Prediction
from .reasons import Reason
from .regions import extent_of, most_scar, photo_map, skin_share
from .treatments.cautions import Context
from .treatments.plan import plan

BUNDLED_CHECKPOINT: Final = Path(__file__).parent.parent / "model" / "weights" / "scarlens.onnx"
"""The bundled checkpoint. Its safetensors form is in the same folder."""

NARROWEST: Final = 1 / 8
"""Smallest share of the network's square that a photo must fill. A narrower strip would be a few pixels wide."""


PREVIEW_SIDE: Final = 480
"""Longest side in pixels of `Prediction.preview`: about 30 kB, so that many predictions fit in memory."""


class Classifier:
    """Classifies acne scars with one checkpoint. Its answers are information, not a diagnosis."""

    def __init__(self, engine: Engine) -> None:
        """Wrap an engine. Use `load` to open a checkpoint file."""
        self._engine = engine

    @property
    def card(self) -> Card:
        """The checkpoint's card."""
        return self._engine.card

    @property
    def model_id(self) -> str:
        """Digest that identifies the model."""
        return self._engine.card.model_id

    def predict(self, image: Source, *, context: Context | None = None) -> Prediction:
        """Classify one photo: a path, an open file, bytes, an array, a `PIL.Image` or a torch tensor.

        Args:
            image: the photo; see `sources.Source` for shapes, types and ranges.
            context: what the user says about the person. It adds cautions to treatments and changes no probability.

        Raises:
            ImageReadError: when it is no photo that can be read.
        """
        photo = read_framed(image, self.card.size, preview=PREVIEW_SIDE)
        return self.predict_framed([photo], context=context)[0]

    def predict_many(self, images: Iterable[Source], batch_size: int = 32) -> Iterator[Prediction | ImageReadError]:
        """Classify many photos lazily and in order. An unreadable photo yields its error.

        Args:
            images: photos as for `predict`; any iterable, even an infinite one.
            batch_size: number of photos per call of the network.

        Raises:
            ValueError: the batch size is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        return self._stream(iter(images), batch_size)

    def _stream(self, images: Iterator[Source], batch_size: int) -> Iterator[Prediction | ImageReadError]:
        while batch := [self._framed_or_error(image) for image in islice(images, batch_size)]:
            answers = iter(self.predict_framed([photo for photo in batch if isinstance(photo, FramedPhoto)]))
            for photo in batch:
                yield next(answers) if isinstance(photo, FramedPhoto) else photo

    def _framed_or_error(self, image: Source) -> FramedPhoto | ImageReadError:
        try:
            return read_framed(image, self.card.size)
        except ImageReadError as error:
            return error

    def predict_framed(self, photos: Sequence[FramedPhoto], *, context: Context | None = None) -> list[Prediction]:
        """Classify photos that are already framed, in one batch. Otherwise like `predict`."""
        if not photos:
            return []
        card = self.card
        arrays = [normalise(photo.framed.square, mean=card.mean, std=card.std) for photo in photos]
        scores = self._engine(np.stack(arrays))
        return [self._answer(photo, scores.of(i), context) for i, photo in enumerate(photos)]

    def _answer(self, photo: FramedPhoto, scores: Scores, context: Context | None) -> Prediction:
        calibration, placement = self.card.calibration, photo.framed.placement
        probabilities = calibration.probabilities(scores.type_logits)
        in_scope = float(calibration.in_scope(scores.scope_logit))
        plausible = calibration.plausible(probabilities)
        shown = photo_map(scores.class_map, placement=placement, size=self.card.size)
        sees_scar = most_scar(shown) >= calibration.scar_threshold
        fault = self._fault(photo.framed)
        reason = "low_quality" if fault else self._reason(in_scope, sees_scar, float(probabilities.max()))
        label = None if reason else plausible[0]
        return Prediction(
            label=label,
            probabilities=dict(zip(SCAR_TYPES, probabilities.tolist(), strict=True)),
            in_scope=in_scope,
            plausible=plausible,
            reason=reason,
            fault=fault,
            regions=shown[: len(SCAR_TYPES)],
            scar_threshold=calibration.scar_threshold,
            extent=extent_of(shown, calibration.scar_threshold),
            skin=skin_share(shown),
            treatment=plan(label, plausible, context) if reason in (None, "ambiguous") else None,
            model_id=self.model_id,
            width=photo.width,
            height=photo.height,
            preview=photo.preview,
        )

    def _fault(self, photo: Framed) -> str | None:
        """Return what makes a photo impossible to judge, in words."""
        calibration = self.card.calibration
        if _is_small(photo.placement, self.card.size):
            return "too small or too narrow"
        if photo.brightness < calibration.min_brightness:
            return "too dark"
        return "too blurred" if photo.sharpness < calibration.min_sharpness else None

    def _reason(self, in_scope: float, sees_scar: bool, best_probability: float) -> Reason | None:
        calibration = self.card.calibration
        if in_scope < calibration.scope_threshold or not sees_scar:
            return "out_of_scope"
        return "ambiguous" if best_probability < calibration.answer_threshold else None


def _is_small(placement: Placement, size: int) -> bool:
    """Return whether the photo inside its padding is too small or too narrow to judge."""
    top, bottom, left, right = placement.window
    height, width = bottom - top, right - left
    above, below, before, beyond = photo_window(height, width, size)
    return placement.factor * min(height, width) < MIN_SIDE or min(below - above, beyond - before) < NARROWEST * size


def load(checkpoint: str | os.PathLike[str] = BUNDLED_CHECKPOINT, *, device: str = "cpu") -> Classifier:
    """Load a checkpoint, `.safetensors` or `.onnx`; by default the bundled one.

    Args:
        checkpoint: checkpoint file.
        device: "cpu", or a torch device such as "cuda" for a `.safetensors` file.

    Raises:
        CheckpointError: the file is not a usable checkpoint.
    """
    return Classifier(open_engine(Path(checkpoint), device=device))


def predict(image: Source, *, context: Context | None = None) -> Prediction:
    """Classify one photo with the bundled checkpoint, which is loaded once; see `Classifier.predict`.

    Raises:
        ImageReadError: when it is no photo that can be read.
    """
    return bundled().predict(image, context=context)


@cache
def bundled() -> Classifier:
    """Return the classifier of the bundled checkpoint, loaded once."""
    return load()
