"""Shortcuts: can a photo's label be guessed without seeing a scar, from file size or padding for example?

A network learns whatever gives the label away. If all photos of a type come from one web site, 300 pixels wide and with
the site's logo, it learns the site and not the scar, and its accuracy means nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import cv2
import numpy as np
from PIL.Image import Image
from PIL.JpegImagePlugin import JpegImageFile

from ..reading.containers import open_jpeg, open_png
from ..reading.opened import OpenedPicture
from ..splits import SplitError, grouped_folds

CONTENT_FAMILIES: Final = ("border colour", "sharpness")
"""Families of features that can depend on the skin itself, such as body site and distance."""

MIN_SUBJECTS: Final = 5
"""Minimum number of subjects of each class: one for each fold."""

_SPLITS: Final = 4  # ways to part the photos into folds: one alone moves a small set's accuracy by a tenth
_PERMUTATIONS: Final = 199
_MOST: Final = 800  # photos that are tested; the time grows with their cube
_QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
_RIDGE: Final = 1  # with the kernel, the best of six on the photos at hand, level with a forest of 300 trees
_REPEATS: Final = 5  # shufflings of a column, for its importance

_STANDARD_QUANTISATION: Final = 3688  # sum of the luminance table of ITU-T T.81, annex K.1, which is quality 50
_FLAT: Final = 3.0  # grey levels of deviation that JPEG leaves in a flat strip
_CELL: Final = 8
_WHITE, _BLACK = 250, 5
_STROKE_CONTRAST: Final = 120  # grey levels between a letter and what is beside it
_STROKES: Final = 60  # strokes of letters are at most this part of the photo's side wide

Row = Mapping[str, float]
"""Features of one photo: finite numbers by "family: feature"."""


@dataclass(frozen=True)
class FamilyScore:
    """How well one set of features tells the classes apart.

    Attributes:
        balanced_accuracy: balanced accuracy on photos of held-out subjects.
        p: p-value: probability of at least this balanced accuracy if labels were shuffled among subjects.
    """

    balanced_accuracy: float
    p: float


@dataclass(frozen=True)
class ShortcutTest:
    """How well the class of a photo can be guessed without looking at its skin.

    Attributes:
        counts: number of photos of each class.
        chance: balanced accuracy of guessing: one over the number of classes.
        everything: score of all features together.
        bare: score without the features of `CONTENT_FAMILIES`.
        families: score of each family of features alone.
        auroc: AUROC of each class against the others, with all features; 0.5 is chance.
        features: permutation importance of each feature: loss of balanced accuracy, largest first.
    """

    counts: dict[str, int]
    chance: float
    everything: FamilyScore
    bare: FamilyScore
    families: dict[str, FamilyScore]
    auroc: dict[str, float]
    features: dict[str, float]


def file_features(data: bytes, image: np.ndarray) -> dict[str, float]:
    """Measure properties of the file other than its pixels.

    Args:
        data: the content of a file that `read_image` reads.
        image: what it read, RGB uint8 [H, W, 3].
    """
    opened = _opened(data)
    mode = opened.image.mode if opened else ""
    jpeg = opened.image if opened and isinstance(opened.image, JpegImageFile) else None
    return {
        "file size: bytes (log)": math.log2(len(data)),
        "file size: bytes per pixel (log)": math.log2(len(data) / (image.shape[0] * image.shape[1])),
        "file size: JPEG quality": _jpeg_quality(jpeg) if jpeg else 0.0,
        "format and mode: JPEG": float(jpeg is not None),
        "format and mode: PNG": float(opened is not None and jpeg is None),
        "format and mode: grey": float(mode.startswith(("L", "1", "I"))),
        "format and mode: palette": float(mode == "P"),
        "format and mode: alpha channel": float(mode in ("RGBA", "LA")),
        "format and mode: alpha used": float(mode in ("RGBA", "LA") and _is_see_through(opened)),
        "format and mode: EXIF": float(any(mark in data for mark in (b"Exif\0\0", b"eXIf"))),
    }


def _opened(data: bytes) -> OpenedPicture | None:
    """Read the header of the two formats that nearly all photos have."""
    if data.startswith(b"\xff\xd8\xff"):
        return open_jpeg(data)
    return open_png(data) if data.startswith(b"\x89PNG") else None


def _is_see_through(opened: OpenedPicture | None) -> bool:
    image = opened.image if opened else None
    return isinstance(image, Image) and np.asarray(image.getchannel("A")).min() < 255


def _jpeg_quality(jpeg: JpegImageFile) -> float:
    """Return the quality, 1 to 100, for which the IJG's library would write this luminance table (jcparam.c)."""
    scale = 100 * sum(jpeg.quantization[0]) / _STANDARD_QUANTISATION
    return 100 - scale / 2 if scale <= 100 else 5000 / scale


def picture_features(image: np.ndarray) -> dict[str, float]:
    """Measure properties of a picture other than the skin that it shows.

    Border colour and sharpness can depend on the skin itself, especially if classes show other things than skin.

    Args:
        image: RGB uint8 [H, W, 3].
    """
    height, width = image.shape[:2]
    return {
        "dimensions: width (log)": math.log2(width),
        "dimensions: height (log)": math.log2(height),
        "dimensions: aspect (log)": math.log2(width / height),
        **_padding(image),
        **_border_colour(image),
        **_boxes_and_letters(image),
        **_sharpness(image),
    }


def _padding(image: np.ndarray) -> dict[str, float]:
    views = {"top": image, "bottom": image[::-1], "left": image.swapaxes(0, 1), "right": image.swapaxes(0, 1)[::-1]}
    return {f"padding: {side}": _flat_share(view) for side, view in views.items()}


def _flat_share(rows: np.ndarray) -> float:
    """Return the share of leading rows, uint8 [R, N, 3], that have one flat colour."""
    for number, row in enumerate(rows):
        deviation = np.abs(row - rows[0].mean(axis=0, dtype=np.float32)).mean()
        if deviation > _FLAT:
            return number / len(rows)
    return 1.0


def _border_colour(image: np.ndarray) -> dict[str, float]:
    ring = np.ones(image.shape[:2], dtype=bool)
    edge = max(1, round(0.02 * min(image.shape[:2])))
    ring[edge:-edge, edge:-edge] = False
    pixels = image[ring].astype(np.float32)
    means = dict(zip(("red", "green", "blue"), pixels.mean(axis=0), strict=True))
    colours = {f"border colour: {name}": float(mean) for name, mean in means.items()}
    return {**colours, "border colour: spread": float(pixels.mean(axis=1).std())}


def _boxes_and_letters(image: np.ndarray) -> dict[str, float]:
    red, green, blue = (np.ascontiguousarray(image[..., colour]) for colour in range(3))
    lightest, darkest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    white, black = darkest >= _WHITE, lightest <= _BLACK
    height, width = (length // _CELL * _CELL for length in image.shape[:2])
    cells = image[:height, :width].reshape(height // _CELL, _CELL, width // _CELL, _CELL, 3)
    low, high = cells.min(axis=1).min(axis=2), cells.max(axis=1).max(axis=2)
    flat = (high - low).max(axis=2, initial=0) <= 2
    in_white, in_black = flat & (low.min(axis=2) >= _WHITE), flat & (high.max(axis=2) <= _BLACK)
    shares = {"pure white": white, "pure black": black, "white boxes": in_white, "black boxes": in_black}
    shares |= {"boxes of another colour": flat & ~in_white & ~in_black, "strokes": _strokes(lightest, darkest)}
    return {f"boxes and letters: {name}": float(mask.mean()) if mask.size else 0.0 for name, mask in shares.items()}


def _strokes(lightest: np.ndarray, darkest: np.ndarray) -> np.ndarray:
    """Mark thin, nearly white or black lines on a contrasting background, such as letters; bool [H, W]."""
    side = max(3, min(lightest.shape) // _STROKES) | 1
    kernel = np.ones((side, side), np.uint8)
    light = (darkest > 235) & (cv2.morphologyEx(darkest, cv2.MORPH_TOPHAT, kernel) > _STROKE_CONTRAST)
    dark = (lightest < 20) & (cv2.morphologyEx(lightest, cv2.MORPH_BLACKHAT, kernel) > _STROKE_CONTRAST)
    return light | dark


def _sharpness(image: np.ndarray) -> dict[str, float]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = grey - cv2.GaussianBlur(grey, (5, 5), 0)
    return {
        "sharpness: fine detail (log)": math.log2((float(fine.std()) + 0.1) / (float(grey.std()) + 0.1)),
        "sharpness: JPEG blocks (log)": (_blockiness(grey) + _blockiness(grey.T)) / 2,
    }


def _blockiness(grey: np.ndarray) -> float:
    """Return the log ratio of steps across 8-pixel column borders to steps elsewhere: JPEG blocking."""
    steps = np.abs(np.diff(grey, axis=1)).mean(axis=0)
    at_border = np.arange(1, grey.shape[1]) % 8 == 0
    if not at_border.any():
        return 0.0
    return math.log2((float(steps[at_border].mean()) + 0.1) / (float(steps[~at_border].mean()) + 0.1))


def shortcut_test(
    rows: Sequence[Row], class_names: Sequence[str], subjects: Sequence[str], *, seed: int = 0
) -> ShortcutTest:
    """Test how well features that should carry no information tell classes apart, on held-out subjects.

    Kernel ridge regression on binned features scores each class. Folds never split a subject; accuracy is the mean over
    four shuffles into folds. For the permutation test, labels are shuffled 199 times among subjects with equally many
    photos. The regression is linear in the labels, so one fit serves all permutations. Of more than 800 photos, 800 are
    sampled, evenly over the classes.

    Args:
        rows: the features of each photo, with the same names in each.
        class_names: the class of each photo.
        subjects: the subject of each photo.
        seed: seed of sampling, folds and permutations.

    Raises:
        SplitError: a class has fewer than five subjects.
    """
    chosen = _drawn(np.asarray(class_names), seed)
    names = list(rows[0])
    table = np.array([[rows[number][name] for name in names] for number in chosen])
    class_name = [class_names[number] for number in chosen]
    subject = [subjects[number] for number in chosen]
    classes, truth = np.unique(np.asarray(class_name), return_inverse=True)
    _require_subjects(class_name, subject)
    # Folds that were balanced over the labels would fit the labels better than any permutation of them.
    alike = [""] * len(class_name)
    splits = [grouped_folds(alike, subject, folds=MIN_SUBJECTS, seed=seed + i) for i in range(_SPLITS)]
    permutations = _permuted(truth, subject, seed)
    blocks = {name: _binned(column) for name, column in zip(names, table.T, strict=True)}
    families = list(dict.fromkeys(map(_family, names)))

    def score(chosen_families: Sequence[str]) -> FamilyScore:
        """Score the features of some families together."""
        design = np.concatenate([blocks[name] for name in names if _family(name) in chosen_families], axis=1)
        guesses = (_held_out_scores(design, permutations, folds, len(classes)).argmax(axis=2) for folds in splits)
        accuracies = np.mean([_balanced_accuracy(guess, permutations) for guess in guesses], axis=0)
        return FamilyScore(float(accuracies[0]), float(np.mean(accuracies >= accuracies[0] - 1e-9)))

    design = np.concatenate(list(blocks.values()), axis=1)
    scores = np.mean([_held_out_scores(design, permutations[:1], folds, len(classes))[0] for folds in splits], axis=0)
    return ShortcutTest(
        counts={str(name): int(np.sum(truth == i)) for i, name in enumerate(classes)},
        chance=1 / len(classes),
        everything=score(families),
        bare=score([family for family in families if family not in CONTENT_FAMILIES]),
        families={family: score([family]) for family in families},
        auroc=_aurocs(scores, truth, classes),
        features=_importance(blocks, truth, splits[0], seed),
    )


def _require_subjects(class_names: Sequence[str], subjects: Sequence[str]) -> None:
    for class_name, count in Counter(
        class_name for class_name, _ in set(zip(class_names, subjects, strict=True))
    ).items():
        if count < MIN_SUBJECTS:
            raise SplitError(f'"{class_name}" has {count} subjects, a test for shortcuts needs {MIN_SUBJECTS}')


def _drawn(class_names: np.ndarray, seed: int) -> list[int]:
    """Return the indices of the photos to test, at most _MOST, in order."""
    random = np.random.default_rng(seed)
    names = np.unique(class_names)
    of_class = [random.permutation(np.flatnonzero(class_names == name))[: _MOST // len(names)] for name in names]
    return np.sort(np.concatenate(of_class)).tolist()


def _family(name: str) -> str:
    return name.partition(": ")[0]


def _binned(column: np.ndarray) -> np.ndarray:
    """One-hot encode the bin of a feature, float [N, bins]. A value shared by many photos gets its own bin."""
    edges = np.unique(np.quantile(column, _QUANTILES))
    code = np.searchsorted(edges, column, side="left") + np.searchsorted(edges, column, side="right")
    return (code[:, None] == np.unique(code)).astype(np.float64)


def _permuted(truth: np.ndarray, subjects: Sequence[str], seed: int) -> np.ndarray:
    """Return the labels and their permutations among subjects with equally many photos, int [1 + permutations, N].

    The labels of a subject move together and are shuffled within it, for data in which each subject has all classes.
    """
    random = np.random.default_rng(seed)
    _, subject, sizes = np.unique(np.asarray(subjects), return_inverse=True, return_counts=True)
    order = np.argsort(subject, kind="stable")  # photos, subject by subject
    permutations = np.tile(truth, (1 + _PERMUTATIONS, 1))
    for size in np.unique(sizes):
        photos = order[sizes[subject[order]] == size].reshape(-1, size)  # [subjects, size]
        for permutation in permutations[1:]:
            permutation[photos] = random.permuted(truth[random.permutation(photos)], axis=1)
    return permutations


def _kernel(design: np.ndarray) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the kernel of the regression on binned features: it counts the bins that two photos share."""
    from sklearn.metrics.pairwise import rbf_kernel

    return partial(rbf_kernel, gamma=1 / max(design.var() * design.shape[1], 1e-9))


def _coefficients(kernel: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Fit kernel ridge regression: a kernel among photos, float [N, N], and their targets, float [N, columns]."""
    from scipy.linalg import solve

    return solve(kernel + _RIDGE * np.eye(len(kernel)), targets, assume_a="pos")


def _held_out_scores(design: np.ndarray, permutations: np.ndarray, folds: np.ndarray, classes: int) -> np.ndarray:
    """Return out-of-fold scores of each photo for each class, float [permutations, N, classes].

    A score estimates the probability divided by the class's share, minus 1, so frequent classes are not preferred.
    """
    scores = np.empty((*permutations.shape, classes))
    targets = _targets(permutations, classes)
    kernel = _kernel(design)(design, design)
    for fold in range(MIN_SUBJECTS):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        columns = targets[:, train].swapaxes(0, 1).reshape(len(train), -1)  # [photos, permutations * classes]
        guessed = kernel[np.ix_(test, train)] @ _coefficients(kernel[np.ix_(train, train)], columns)
        scores[:, test] = guessed.reshape(len(test), len(permutations), classes).swapaxes(0, 1)
    return scores


def _targets(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the regression's targets, float [permutations, N, classes], for labels int [permutations, N]."""
    marks = (labels[..., None] == np.arange(classes)).astype(np.float64)
    return marks / marks.mean(axis=1, keepdims=True) - 1


def _balanced_accuracy(guesses: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the balanced accuracy, float [permutations], of guesses and labels, int [permutations, N]."""
    right = guesses == truth
    recalls = [(right & (truth == k)).sum(axis=1) / (truth == k).sum(axis=1) for k in range(truth.max() + 1)]
    return np.mean(recalls, axis=0)


def _aurocs(scores: np.ndarray, truth: np.ndarray, classes: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    return {str(name): float(roc_auc_score(truth == i, scores[:, i])) for i, name in enumerate(classes)}


def _importance(blocks: Mapping[str, np.ndarray], truth: np.ndarray, folds: np.ndarray, seed: int) -> dict[str, float]:
    """Return the loss of balanced accuracy when each feature is shuffled within each held-out fold."""
    random = np.random.default_rng(seed)
    design = np.concatenate(list(blocks.values()), axis=1)
    kernel = _kernel(design)
    starts = np.cumsum([0, *(block.shape[1] for block in blocks.values())])
    targets = _targets(truth[None], int(truth.max()) + 1)[0]
    guesses = np.empty((1 + len(blocks) * _REPEATS, len(truth)), dtype=np.int64)
    for fold in range(MIN_SUBJECTS):
        test = np.flatnonzero(folds == fold)
        train = design[folds != fold]
        coefficients = _coefficients(kernel(train, train), targets[folds != fold])
        changed = np.repeat(design[None, test], len(guesses), axis=0)
        for number in range(1, len(guesses)):
            columns = slice(*starts[(number - 1) // _REPEATS :][:2])
            changed[number, :, columns] = random.permutation(changed[number, :, columns])
        scores = kernel(changed.reshape(-1, design.shape[1]), train) @ coefficients
        guesses[:, test] = scores.argmax(axis=1).reshape(len(guesses), -1)
    accuracies = _balanced_accuracy(guesses, truth[None])
    losses = accuracies[0] - accuracies[1:].reshape(len(blocks), _REPEATS).mean(axis=1)
    names = list(blocks)
    return {names[number]: float(losses[number]) for number in np.argsort(-losses, kind="stable")}
