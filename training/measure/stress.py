"""Changes of a photo that should not change the answer, and the scores of changed photos.

Every change maps an RGB uint8 [H, W, 3] photo to another one and depends on nothing else.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import cv2
import numpy as np

from ...datasets.canonical import ORIENTATIONS, turned
from ...datasets.labels import SCAR_TYPES
from ...datasets.photos import LabelledPhoto
from ...datasets.reading.reader import read_image
from ...datasets.transform import frame, shrunk
from ...inference.engine import Engine
from .scores import Change, ScoredPhotos, score_framed, score_photos

ORIGINAL: Final = "original"
EQUALISED: Final = "equalised"
SHRUNK: Final = "shrunk"

TURNS: Final = tuple(ORIENTATIONS)[1:]
"""The seven non-trivial orientations, for `canonical.turned`."""

PHOTOS_A_TYPE: Final = 100
"""Maximum number of photos of each type. A photo takes fifty forward passes."""

EQUAL_SIDE: Final = 256  # pixels
EQUAL_QUALITY: Final = 75

_ZOOM: Final = 1.1
_BOX: Final = (0.45, 0.20)  # of width and height: what hides a pair of eyes
_BOX_TOP: Final = 0.15  # of the height
_BORDER: Final = 0.06  # of the shorter side
_CAPTION: Final = "before treatment"
_CAPTION_WIDTH: Final = 0.6  # of the photo's width

CORRUPTED_SIDE: Final = 224
"""Long side in pixels of photos to corrupt; the strengths are designed for this size."""

STRENGTHS: Final = {
    "noise": (0.08, 0.12, 0.18, 0.26, 0.38),  # standard deviation, of 0..1
    "blur": (1, 2, 3, 4, 6),  # standard deviation in pixels
    "compression": (25, 18, 15, 10, 7),  # JPEG quality
    "darkness": (0.1, 0.2, 0.3, 0.4, 0.5),  # subtracted from the value of HSV, 0..1
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),  # times the distance from the mean
}
"""Common corruptions at five strengths, as ImageNet-C has them (Hendrycks & Dietterich, ICLR 2019).

Only brightness is reversed, because photos of skin are more often too dark than too bright.
"""

_CHUNK: Final = 32  # photos the network sees at a time
_TIMED: Final = 12  # photos: enough for a mean of the seconds


def zoomed(image: np.ndarray, factor: float) -> np.ndarray:
    """Crop the centre to 1/factor of each side, without interpolation."""
    height, width = (max(1, round(side / factor)) for side in image.shape[:2])
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def lit(image: np.ndarray, factor: float) -> np.ndarray:
    """Multiply all pixel values, and clip."""
    return np.clip(np.rint(image * factor), 0, 255).astype(np.uint8)


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """Compress as JPEG and decompress."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return read_image(data.tobytes())


def with_box(image: np.ndarray) -> np.ndarray:
    """Paste a white box onto the upper middle, as over eyes."""
    height, width = image.shape[:2]
    box_width, box_height = round(_BOX[0] * width), round(_BOX[1] * height)
    top, left = round(_BOX_TOP * height), (width - box_width) // 2
    pasted = image.copy()
    pasted[top : top + box_height, left : left + box_width] = 255
    return pasted


def with_border(image: np.ndarray) -> np.ndarray:
    """Add a black border on all sides."""
    border = max(1, round(_BORDER * min(image.shape[:2])))
    return cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_CONSTANT, value=(0, 0, 0))


def with_caption(image: np.ndarray) -> np.ndarray:
    """Write white words with a dark outline along the lower edge."""
    height, width = image.shape[:2]
    font = cv2.FONT_HERSHEY_SIMPLEX
    scale = _CAPTION_WIDTH * width / cv2.getTextSize(_CAPTION, font, 1.0, 1)[0][0]
    stroke = max(1, round(scale))
    place = (round((1.0 - _CAPTION_WIDTH) / 2 * width), round(0.95 * height))
    written = image.copy()
    cv2.putText(written, _CAPTION, place, font, scale, (30, 30, 30), 3 * stroke, cv2.LINE_AA)
    cv2.putText(written, _CAPTION, place, font, scale, (255, 255, 255), stroke, cv2.LINE_AA)
    return written


def equalised(image: np.ndarray) -> np.ndarray:
    """Make files alike: the largest centred square, 256 px wide, JPEG quality 75.

    Resolution, aspect ratio and side padding then no longer reveal the source.
    """
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = image[top : top + side, left : left + side]
    return compressed(cv2.resize(square, (EQUAL_SIDE, EQUAL_SIDE), interpolation=cv2.INTER_AREA), EQUAL_QUALITY)


def corrupted(image: np.ndarray, name: str, strength: float) -> np.ndarray:
    """Apply the corruption `name` of `STRENGTHS` to a shrunk photo."""
    return _CORRUPTIONS[name](shrunk(image, CORRUPTED_SIDE), strength)


def _noise(image: np.ndarray, deviation: float) -> np.ndarray:
    random = np.random.default_rng(zlib.crc32(image.tobytes()))  # each photo has its own noise, always the same
    return _clipped(image + 255.0 * deviation * random.standard_normal(image.shape))


def _blur(image: np.ndarray, deviation: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), deviation)


def _compression(image: np.ndarray, quality: float) -> np.ndarray:
    return compressed(image, round(quality))


def _darkness(image: np.ndarray, less: float) -> np.ndarray:
    # Scaling all channels by the same factor as the largest (the value) keeps hue and saturation.
    value = np.maximum(image.max(axis=2, keepdims=True), 1).astype(np.float32)
    return _clipped(image * np.maximum(value - 255.0 * less, 0.0) / value)


def _contrast(image: np.ndarray, factor: float) -> np.ndarray:
    mean = image.mean(axis=(0, 1), keepdims=True)
    return _clipped(mean + factor * (image - mean))


def _clipped(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


_CORRUPTIONS: Final[Mapping[str, Callable[[np.ndarray, float], np.ndarray]]] = {
    "noise": _noise,
    "blur": _blur,
    "compression": _compression,
    "darkness": _darkness,
    "contrast": _contrast,
}


def turn_name(turn: int) -> str:
    """Return the name of the photo in another orientation, an argument of `canonical.turned`."""
    return f"turned_{turn}"


def corruption_name(name: str, level: int) -> str:
    """Return the name of a corruption at a level, 1 to 5."""
    return f"{name}_{level}"


def _turned_photo(image: np.ndarray, turn: int) -> np.ndarray:
    return np.ascontiguousarray(turned(image, turn))


def _changes() -> Iterator[tuple[str, Change]]:
    yield ORIGINAL, lambda image: image
    for turn in TURNS:
        yield turn_name(turn), partial(_turned_photo, turn=turn)
    yield "lighter", partial(lit, factor=1.2)
    yield "darker", partial(lit, factor=0.8)
    yield "zoom_reference", partial(zoomed, factor=_ZOOM)
    yield "zoom_in", partial(zoomed, factor=_ZOOM**2)
    yield "jpeg_50", partial(compressed, quality=50)
    yield "white_box", with_box
    yield "black_border", with_border
    yield "caption", with_caption
    yield SHRUNK, partial(shrunk, side=CORRUPTED_SIDE)
    for name, strengths in STRENGTHS.items():
        for level, strength in enumerate(strengths, start=1):
            yield corruption_name(name, level), partial(corrupted, name=name, strength=strength)


CHANGES: Final[Mapping[str, Change]] = dict(_changes())
"""Every change of a photo by name. A zoom by -10 % has no entry: it is the step from "zoom_reference" to the photo."""

ALL_CHANGES: Final = (*CHANGES, EQUALISED)
"""Names of the scores from `score_changes`, in order."""


def tried_photos(photos: Sequence[LabelledPhoto], *, seed: int = 0) -> list[LabelledPhoto]:
    """Choose the photos to change: of the three types, at most `PHOTOS_A_TYPE` each, at random."""
    random = np.random.default_rng(seed)
    chosen: list[LabelledPhoto] = []
    for name in SCAR_TYPES:
        of_type = [photo for photo in photos if photo.label == name]
        drawn = random.permutation(len(of_type))[:PHOTOS_A_TYPE]
        chosen += [of_type[i] for i in sorted(drawn)]
    return chosen


def score_changes(
    engine: Engine, photos: Sequence[LabelledPhoto], *, everything: Sequence[LabelledPhoto] = ()
) -> dict[str, ScoredPhotos]:
    """Score photos under every change, one photo at a time.

    Args:
        engine: runs the network.
        photos: photos of the three types, to which every change is applied.
        everything: photos of all classes, scored "equalised".

    Returns:
        Scores by name: the `CHANGES`, and "equalised".
    """
    names = ALL_CHANGES[:-1]
    rows = ScoredPhotos.joined([part for photo in photos for part in _scored_views(engine, photo)])
    scores = {name: rows.taken(range(i, len(rows.photos), len(names))) for i, name in enumerate(names)}
    return {**scores, EQUALISED: score_photos(engine, everything, change=equalised)}


def _scored_views(engine: Engine, photo: LabelledPhoto) -> Iterator[ScoredPhotos]:
    image = read_image(photo.path)
    views = [frame(change(image), engine.card.size) for change in CHANGES.values()]
    for start in range(0, len(views), _CHUNK):
        chunk = views[start : start + _CHUNK]
        yield score_framed(engine, [photo] * len(chunk), chunk)
