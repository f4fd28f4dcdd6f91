"""Measure a checkpoint on labelled photos that it has never seen.

python training/evaluate.py runs/mine/model.safetensors --data photos/ --out runs/evaluation
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from scarlens.datasets.atomic import write_atomically
from scarlens.datasets.errors import ScarlensError
from scarlens.datasets.labels import OUT_OF_SCOPE, SCAR_TYPES
from scarlens.datasets.photos import LabelledPhoto
from scarlens.datasets.preprocess import preprocess
from scarlens.datasets.reader import read_image
from scarlens.inference.engine import Engine, open_engine
from scarlens.model.calibration import Calibration, softmax
from scarlens.training.metrics import Estimate, bootstrap, confusion, scope_figures, type_figures
from scarlens.training.report import draw_confusion


class ScoresError(ScarlensError, ValueError):
    """A file of scores cannot be used; the message says why."""


@dataclass(frozen=True)
class ScoredPhotos:
    """Raw scores of labelled photos.

    Attributes:
        photos: the photos, N of them.
        type_logits: float [N, 3].
        scope_logits: float [N].
    """

    photos: Sequence[LabelledPhoto]
    type_logits: np.ndarray
    scope_logits: np.ndarray

    @property
    def type_indices(self) -> np.ndarray:
        """Index into `SCAR_TYPES` of each photo, -1 for out of scope; int [N]."""
        return np.array([photo.type_index for photo in self.photos])

    @property
    def repeats(self) -> int:
        """How often each photo was scored, as a repeated cross-validation does."""
        return round(len(self.photos) / max(1, len({photo.path for photo in self.photos})))

    @classmethod
    def joined(cls, parts: Sequence[ScoredPhotos]) -> ScoredPhotos:
        """Put several sets one after the other."""
        photos = [photo for part in parts for photo in part.photos]
        logits = np.concatenate([part.type_logits for part in parts])
        return cls(photos, logits, np.concatenate([part.scope_logits for part in parts]))

    @classmethod
    def read(cls, path: Path) -> ScoredPhotos:
        """Read scores back from the `predictions.csv` of a cross-validation or an evaluation.

        Raises:
            ScoresError: when it is no such file.
        """
        try:
            with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
                rows = list(csv.DictReader(stream))
            logits = np.array([[float(row[f"logit_{name}"]) for name in SCAR_TYPES] for row in rows])
            scopes = np.array([float(row["logit_scope"]) for row in rows])
            labels = [row["kind"] if row["kind"] in SCAR_TYPES else OUT_OF_SCOPE for row in rows]
            files = [
                LabelledPhoto(Path(r["file"]), n, r["kind"], r["subject"]) for r, n in zip(rows, labels, strict=True)
            ]
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise ScoresError(
                f"{path}: expected the predictions.csv of a cross-validation, found: {error!r}"
            ) from error
        if not set(SCAR_TYPES) <= set(labels):
            raise ScoresError(f"{path}: expected scores of photos of each of {SCAR_TYPES}")
        return cls(files, logits, scopes)


@dataclass(frozen=True)
class Decisions:
    """What the classifier would answer for N photos.

    Attributes:
        probabilities: float [N, 3].
        in_scope: float [N], probability.
        plausible: bool [N, 3], the members of each plausible set.
        refused: bool [N], refused as out of scope.
        answered: bool [N], given a label.
    """

    probabilities: np.ndarray
    in_scope: np.ndarray
    plausible: np.ndarray
    refused: np.ndarray
    answered: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Decisions]) -> Decisions:
        """Put several sets one after the other."""
        names = [entry.name for entry in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def score_photos(
    engine: Engine, photos: Sequence[LabelledPhoto], *, batch_size: int = 32, advance: Callable[[], None] = lambda: None
) -> ScoredPhotos:
    """Score photos with the evaluation transform; `advance` is called after each photo."""
    card = engine.card
    types, scopes = [np.zeros((0, len(SCAR_TYPES)))], [np.zeros(0)]
    for start in range(0, len(photos), batch_size):
        batch = []
        for photo in photos[start : start + batch_size]:
            batch.append(preprocess(read_image(photo.path), size=card.size, mean=card.mean, std=card.std))
            advance()
        scores = engine(np.stack(batch))
        types.append(scores.type_logits)
        scopes.append(scores.scope_logit)
    return ScoredPhotos(list(photos), np.concatenate(types), np.concatenate(scopes))


def validation_loss(scored: ScoredPhotos) -> float:
    """Return the log loss of the types over photos that show one, plus that of the scope over all photos."""
    truth = scored.type_indices
    shown = truth >= 0
    of_truth = softmax(scored.type_logits[shown])[np.arange(shown.sum()), truth[shown]]
    signed = np.where(shown, scored.scope_logits, -scored.scope_logits)
    return float(-np.log(np.maximum(of_truth, 1e-12)).mean() + np.logaddexp(0.0, -signed).mean())


def decide(scored: ScoredPhotos, calibration: Calibration) -> Decisions:
    """Apply a calibration to raw scores, as the classifier does to photos that are large enough."""
    probabilities = calibration.probabilities(scored.type_logits)
    in_scope = calibration.in_scope(scored.scope_logits)
    sets = [calibration.plausible(row) for row in probabilities]
    plausible = np.array([[name in members for name in SCAR_TYPES] for members in sets])
    refused = in_scope < calibration.scope_threshold
    answered = ~refused & (probabilities.max(axis=1) >= calibration.answer_threshold)
    return Decisions(probabilities, in_scope, plausible, refused, answered)


def measure(photos: Sequence[LabelledPhoto], decisions: Decisions) -> dict[str, Any]:
    """Compute every figure of a report, as plain JSON types; an interval is `{"value", "low", "high"}`.

    A photo that was decided several times, as in a repeated cross-validation, counts as often in every figure but in
    the numbers of photos.
    """
    truth = np.array([photo.type_index for photo in photos])
    subjects = [photo.subject or "" for photo in photos]
    shown = np.flatnonzero(truth >= 0)
    types, chosen = truth[shown], decisions.probabilities[shown].argmax(axis=1)
    who = [subjects[i] for i in shown]
    right, answered = chosen == types, decisions.answered[shown]
    held = decisions.plausible[shown, types]
    sizes = decisions.plausible[shown].sum(axis=1)

    def accuracy_answered(i: np.ndarray) -> float:
        return float(right[i][answered[i]].mean()) if answered[i].any() else float("nan")

    figures = {
        **type_figures(decisions.probabilities[shown], types, who),
        "plausible_set_coverage": bootstrap(lambda i: float(held[i].mean()), who),
        "plausible_set_size": bootstrap(lambda i: float(sizes[i].mean()), who),
        "share_answered": bootstrap(lambda i: float(answered[i].mean()), who),
        "accuracy_answered": bootstrap(accuracy_answered, who),
        "share_refused": bootstrap(lambda i: float(decisions.refused[shown][i].mean()), who),
    }
    kinds = [photo.kind for photo in photos]
    refused = {}
    for kind in sorted(set(kinds) - set(SCAR_TYPES)):
        rows = np.array([k == kind for k in kinds])
        refused[kind] = float(decisions.refused[rows].mean())
    different = Counter({photo.path: photo.kind for photo in photos}.values())
    return {
        "photos": different.total(),
        "photos_by_kind": dict(sorted(different.items())),
        "subjects": len(set(subjects)),
        "types": {name: asdict(estimate) for name, estimate in figures.items()},
        "coverage_by_type": {
            name: float(held[types == k].mean()) for k, name in enumerate(SCAR_TYPES) if (types == k).any()
        },
        "confusion": confusion(types, chosen).tolist(),
        "scope_auroc": {k: asdict(e) for k, e in scope_figures(decisions.in_scope, kinds, subjects).items()},
        "out_of_scope_refused": refused,
    }


def summary_lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures as lines for a terminal."""
    lines = [f"{figures['photos']} photos of {figures['subjects']} subjects; 95 % intervals over resampled subjects"]
    lines += [f"  {name.replace('_', ' '):<28}{Estimate(**e)}" for name, e in figures["types"].items()]
    lines += [f"  {'scope AUROC, ' + kind:<28}{Estimate(**e)}" for kind, e in figures["scope_auroc"].items()]
    lines += ["  confusion, true type by row: " + "  ".join(SCAR_TYPES)]
    lines += [
        f"    {name:<10}" + "".join(f"{n:>8}" for n in row)
        for name, row in zip(SCAR_TYPES, figures["confusion"], strict=True)
    ]
    return lines


def evaluate(
    checkpoint: Path,
    photos: Sequence[LabelledPhoto],
    out: Path,
    *,
    device: str = "cpu",
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Measure a checkpoint and write `metrics.json`, `predictions.csv` and `confusion.png` into the folder `out`.

    Args:
        checkpoint: `.safetensors` or `.onnx`.
        photos: readable labelled photos with subjects, none of whom the checkpoint was trained on.
        out: the folder, which is made.
        device: "cpu" or a torch device.
        advance: called after each photo.

    Returns:
        The figures that `metrics.json` holds.
    """
    engine = open_engine(checkpoint, device=device)
    scored = score_photos(engine, photos, advance=advance)
    decisions = decide(scored, engine.card.calibration)
    figures = {"model_id": engine.card.model_id, **measure(photos, decisions)}
    write_report(out, figures, scored, decisions)
    return figures


def write_report(out: Path, figures: dict[str, Any], scored: ScoredPhotos, decisions: Decisions) -> None:
    """Write figures, per-photo answers and the confusion matrix into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "metrics.json", json.dumps(figures, indent=2).encode())
    write_atomically(out / "predictions.csv", _as_csv(scored, decisions))
    draw_confusion(np.array(figures["confusion"]), out / "confusion.png")


def _as_csv(scored: ScoredPhotos, decisions: Decisions) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [
        *(f"logit_{name}" for name in SCAR_TYPES),
        "logit_scope",
        *(f"p_{name}" for name in SCAR_TYPES),
        "in_scope",
    ]
    writer.writerow(["file", "kind", "subject", *names, "refused", "answered"])
    for i, photo in enumerate(scored.photos):
        numbers = (*scored.type_logits[i], scored.scope_logits[i], *decisions.probabilities[i], decisions.in_scope[i])
        flags = (int(decisions.refused[i]), int(decisions.answered[i]))
        writer.writerow([photo.path, photo.kind, photo.subject, *(f"{number:.6g}" for number in numbers), *flags])
    return text.getvalue().encode(errors="surrogateescape")


if __name__ == "__main__":
    from scarlens.cli import main

    main("evaluate")
