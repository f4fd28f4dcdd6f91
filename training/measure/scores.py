"""Raw scores of labelled photos, the decisions that follow from a calibration, and their CSV files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np

from ...datasets.errors import ScarlensError
from ...datasets.labels import OUT_OF_SCOPE, SCAR_TYPES, UNTYPED
from ...datasets.photos import LabelledPhoto
from ...datasets.reading.reader import read_image
from ...datasets.transform import Framed, frame, normalise
from ...inference.engine import Engine
from ...inference.regions import most_scar, photo_map
from ...model.calibration import Calibration

Change = Callable[[np.ndarray], np.ndarray]
"""Changes a photo; both are RGB uint8 [H, W, 3], of any size."""

RAW_COLUMNS: Final = (*(f"logit_{name}" for name in SCAR_TYPES), "logit_scope", "most_scar", "brightness", "sharpness")
"""Columns of raw scores in a CSV file."""

_PHOTO_COLUMNS: Final = ("file", "class", "subject")


class ScoresError(ScarlensError, ValueError):
    """A file of scores cannot be used; the message says why."""


@dataclass(frozen=True)
class ScoredPhotos:
    """Raw scores of labelled photos.

    Attributes:
        photos: N photos.
        type_logits: float [N, 3].
        scope_logits: float [N].
        most_scar: float [N], the highest probability of a scar on each photo's map.
        brightness: float [N], mean luma of each photo, 0 to 255.
        sharpness: float [N], `canonical.sharpness` of each photo.
    """

    photos: Sequence[LabelledPhoto]
    type_logits: np.ndarray
    scope_logits: np.ndarray
    most_scar: np.ndarray
    brightness: np.ndarray
    sharpness: np.ndarray

    @property
    def type_indices(self) -> np.ndarray:
        """Index into `SCAR_TYPES` of each photo; -1 for out of scope or unknown type; int [N]."""
        return np.array([photo.type_index for photo in self.photos])

    @property
    def in_scope(self) -> np.ndarray:
        """Whether each photo shows a scar of the three types; bool [N]."""
        return np.array([photo.in_scope for photo in self.photos], dtype=bool)

    @property
    def repeats(self) -> int:
        """Number of scores per photo: more than 1 after a repeated cross-validation."""
        return round(len(self.photos) / max(1, len({photo.path for photo in self.photos})))

    @property
    def numbers(self) -> np.ndarray:
        """All numbers as float [N, 7], in the order of `RAW_COLUMNS`."""
        return np.column_stack([self.type_logits, self.scope_logits, self.most_scar, self.brightness, self.sharpness])

    @classmethod
    def of_numbers(cls, photos: Sequence[LabelledPhoto], numbers: np.ndarray) -> ScoredPhotos:
        """Undo `numbers`, float [N, 7]."""
        types = len(SCAR_TYPES)
        return cls(list(photos), numbers[:, :types], *numbers[:, types:].T)

    @classmethod
    def joined(cls, parts: Sequence[ScoredPhotos]) -> ScoredPhotos:
        """Concatenate several sets."""
        photos = [photo for part in parts for photo in part.photos]
        return cls.of_numbers(photos, np.concatenate([np.zeros((0, len(RAW_COLUMNS))), *(p.numbers for p in parts)]))

    def taken(self, rows: Iterable[int]) -> ScoredPhotos:
        """Return the photos with these indices."""
        chosen = list(rows)
        return ScoredPhotos.of_numbers([self.photos[i] for i in chosen], self.numbers[chosen])

    @classmethod
    def read(cls, path: Path) -> ScoredPhotos:
        """Read scores back from the `predictions.csv` of a cross-validation or an evaluation.

        Raises:
            ScoresError: when it is no such file.
        """
        scored = cls.of_rows(read_rows(path), path)
        if not set(SCAR_TYPES) <= {photo.label for photo in scored.photos}:
            raise ScoresError(f"{path}: expected scores of photos of each of {SCAR_TYPES}")
        return scored

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, str]], path: Path) -> ScoredPhotos:
        """Undo `rows`.

        Args:
            rows: rows of a CSV file.
            path: the file, for the message of an error.

        Raises:
            ScoresError: when a column is missing or holds no number.
        """
        try:
            numbers = np.array([[float(row[name]) for name in RAW_COLUMNS] for row in rows])
            labels = [row["class"] if row["class"] in (*SCAR_TYPES, UNTYPED) else OUT_OF_SCOPE for row in rows]
            photos = [
                LabelledPhoto(Path(row["file"]), label, row["class"], row["subject"])
                for row, label in zip(rows, labels, strict=True)
            ]
        except (KeyError, ValueError, TypeError) as error:
            raise _unexpected(path, error) from error
        return cls.of_numbers(photos, numbers.reshape(-1, len(RAW_COLUMNS)))

    def rows(self) -> list[list[str]]:
        """Return a row per photo for a CSV file: file, class, subject, then `RAW_COLUMNS`."""
        return [
            [str(photo.path), photo.class_name, photo.subject or "", *map(_digits, numbers)]
            for photo, numbers in zip(self.photos, self.numbers, strict=True)
        ]


@dataclass(frozen=True)
class Decisions:
    """The classifier's decisions for N photos.

    Attributes:
        probabilities: float [N, 3].
        in_scope: float [N], probability.
        plausible: bool [N, 3], the members of each plausible set.
        low_quality: bool [N], too dark or too blurred to judge.
        refused: bool [N], refused as out of scope.
        answered: bool [N], given a label.
    """

    probabilities: np.ndarray
    in_scope: np.ndarray
    plausible: np.ndarray
    low_quality: np.ndarray
    refused: np.ndarray
    answered: np.ndarray

    @property
    def chosen(self) -> np.ndarray:
        """Index into `SCAR_TYPES` of the most probable type, int [N]."""
        return self.probabilities.argmax(axis=1)

    @property
    def answers(self) -> np.ndarray:
        """Index into `SCAR_TYPES` of the answer; -1 for abstaining; int [N]."""
        return np.where(self.answered, self.chosen, -1)

    @classmethod
    def joined(cls, parts: Sequence[Decisions]) -> Decisions:
        """Concatenate several sets."""
        names = [entry.name for entry in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def score_photos(
    engine: Engine,
    photos: Sequence[LabelledPhoto],
    *,
    batch_size: int = 32,
    change: Change = lambda image: image,
    advance: Callable[[], None] = lambda: None,
) -> ScoredPhotos:
    """Score photos with the evaluation transform.

    Args:
        engine: runs the network.
        photos: readable photos.
        batch_size: number of photos per call of the network.
        change: applied to each photo first.
        advance: called after each photo.
    """
    parts = []
    for start in range(0, len(photos), batch_size):
        batch = photos[start : start + batch_size]
        framed = []
        for photo in batch:
            framed.append(frame(change(read_image(photo.path)), engine.card.size))
            advance()
        parts.append(score_framed(engine, batch, framed))
    return ScoredPhotos.joined(parts)


def score_framed(engine: Engine, photos: Sequence[LabelledPhoto], framed: Sequence[Framed]) -> ScoredPhotos:
    """Score framed photos in one pass."""
    card = engine.card
    scores = engine(np.stack([normalise(one.square, mean=card.mean, std=card.std) for one in framed]))
    maps = [
        photo_map(class_map, placement=one.placement, size=card.size)
        for class_map, one in zip(scores.class_map, framed, strict=True)
    ]
    return ScoredPhotos(
        photos=list(photos),
        type_logits=scores.type_logits,
        scope_logits=scores.scope_logit,
        most_scar=np.array([most_scar(shown) for shown in maps]),
        brightness=np.array([one.brightness for one in framed]),
        sharpness=np.array([one.sharpness for one in framed]),
    )


def decide(scored: ScoredPhotos, calibration: Calibration) -> Decisions:
    """Apply a calibration to raw scores, as the classifier does to photos that are large enough.

    The first reason to abstain hides the others: quality, then scope, then ambiguity. A photo is out of scope by its
    scope probability, or because its map shows no scar.
    """
    probabilities = calibration.probabilities(scored.type_logits)
    in_scope = calibration.in_scope(scored.scope_logits)
    sets = [calibration.plausible(row) for row in probabilities]
    plausible = np.array([[name in members for name in SCAR_TYPES] for members in sets], dtype=bool)
    low_quality = ~calibration.judgeable(scored.brightness, scored.sharpness)
    no_scar = scored.most_scar < calibration.scar_threshold
    refused = ~low_quality & ((in_scope < calibration.scope_threshold) | no_scar)
    confident = probabilities.max(axis=1) >= calibration.answer_threshold
    answered = ~low_quality & ~refused & confident
    return Decisions(probabilities, in_scope, plausible.reshape(-1, len(SCAR_TYPES)), low_quality, refused, answered)


def predictions_csv(scored: ScoredPhotos, decisions: Decisions) -> bytes:
    """Return scores and decisions as the bytes of a CSV file that `ScoredPhotos.read` reads back."""
    decided = [*(f"p_{name}" for name in SCAR_TYPES), "in_scope", "low_quality", "refused", "answered"]
    flags = np.column_stack([decisions.low_quality, decisions.refused, decisions.answered]).astype(int)
    numbers = np.column_stack([decisions.probabilities, decisions.in_scope])
    rows = [
        [*row, *map(_digits, number), *flag] for row, number, flag in zip(scored.rows(), numbers, flags, strict=True)
    ]
    return _csv([*_PHOTO_COLUMNS, *RAW_COLUMNS, *decided], rows)


def changes_csv(scores: Mapping[str, ScoredPhotos]) -> bytes:
    """Return scores of changed photos, by the name of the change, as the bytes of a CSV file."""
    rows = [[name, *row] for name, scored in scores.items() for row in scored.rows()]
    return _csv(["change", *_PHOTO_COLUMNS, *RAW_COLUMNS], rows)


def read_changes(path: Path) -> dict[str, ScoredPhotos]:
    """Read the output of `changes_csv`.

    Raises:
        ScoresError: when it is no such file.
    """
    by_name: dict[str, list[dict[str, str]]] = {}
    for row in read_rows(path):
        by_name.setdefault(row.get("change") or "", []).append(row)
    return {name: ScoredPhotos.of_rows(rows, path) for name, rows in by_name.items()}


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file of scores as text.

    Raises:
        ScoresError: when it cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            return list(csv.DictReader(stream))
    except (OSError, csv.Error) as error:
        raise _unexpected(path, error) from error


def _unexpected(path: Path, error: Exception) -> ScoresError:
    return ScoresError(f"{path}: expected the predictions.csv of a cross-validation, found: {error!r}")


def _digits(number: float) -> str:
    return f"{number:.9g}"  # a float32 survives it


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode(errors="surrogateescape")
