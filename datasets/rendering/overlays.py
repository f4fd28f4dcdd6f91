"""Overlays that editing leaves on a picture, independent of its label: censor bars, borders and captions."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

FONTS: Final = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)


@dataclass(frozen=True, kw_only=True)
class Box:
    """An opaque rectangle. Edges are fractions of the picture's side; grey is 0 to 1."""

    left: float
    top: float
    right: float
    bottom: float
    grey: float

    def covers(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return a mask of the points, in fractions of the picture's side, that lie under the box."""
        return (self.left <= x) & (x <= self.right) & (self.top <= y) & (y <= self.bottom)

    def window(self, size: int) -> tuple[slice, slice]:
        """Return the rows and columns covered by the box."""
        top, bottom, left, right = (round(edge * size) for edge in (self.top, self.bottom, self.left, self.right))
        return slice(top, bottom), slice(left, right)


@dataclass(frozen=True, kw_only=True)
class Caption:
    """A word or letter. Position (left, base line) and height are fractions of the picture's side."""

    text: str
    left: float
    base: float
    height: float
    font: int
    colour: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Overlays:
    """All overlays of one picture."""

    boxes: tuple[Box, ...]
    captions: tuple[Caption, ...]

    def covers(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return a mask of the points, in fractions of the picture's side, that lie under any box."""
        return np.any([np.zeros(x.shape, bool), *(box.covers(x, y) for box in self.boxes)], axis=0)


def draw_overlays(*, rng: np.random.Generator) -> Overlays:
    """Draw random overlays: mostly none, sometimes a censor bar over the eyes, a border or captions."""
    boxes = _borders(rng) if rng.random() < 0.10 else []
    if rng.random() < 0.08:
        boxes.append(_censor(rng))
    captions = [_caption(rng) for _ in range(rng.integers(1, 3))] if rng.random() < 0.10 else []
    return Overlays(boxes=tuple(boxes), captions=tuple(captions))


def _borders(rng: np.random.Generator) -> list[Box]:
    """Draw bars along one side or two opposite sides, like a frame or letterboxing."""
    grey, breadth, first = float(rng.choice([0.0, 1.0])), float(rng.uniform(0.01, 0.1)), int(rng.integers(2))
    near, far = (
        [
            Box(left=0, top=0, right=1, bottom=breadth, grey=grey),
            Box(left=0, top=1 - breadth, right=1, bottom=1, grey=grey),
        ]
        if first
        else [
            Box(left=0, top=0, right=breadth, bottom=1, grey=grey),
            Box(left=1 - breadth, top=0, right=1, bottom=1, grey=grey),
        ]
    )
    return [near, far] if rng.random() < 0.5 else [far]


def _censor(rng: np.random.Generator) -> Box:
    """Draw a censor bar in the upper part, where the eyes would be."""
    width, height = rng.uniform(0.15, 0.55), rng.uniform(0.08, 0.25)
    left, top = rng.uniform(0.0, 1.0 - width), rng.uniform(0.0, 0.25)
    grey = float(rng.choice([0.0, 1.0, rng.random()]))
    return Box(left=float(left), top=float(top), right=float(left + width), bottom=float(top + height), grey=grey)


def _caption(rng: np.random.Generator) -> Caption:
    length = int(rng.choice([1, 2, 6, 12]))
    letters = rng.choice(list(string.ascii_letters + string.digits), size=length)
    grey = float(rng.choice([0.0, 1.0]))
    colour = (grey, grey, grey) if rng.random() < 0.7 else tuple(rng.random(3).tolist())
    return Caption(
        text="".join(letters.tolist()),
        left=float(rng.uniform(0.02, 0.6)),
        base=float(rng.uniform(0.08, 0.98)),
        height=float(rng.uniform(0.03, 0.09)),
        font=int(rng.choice(FONTS)),
        colour=colour,
    )


def put_over(image: np.ndarray, overlays: Overlays) -> None:
    """Draw boxes and captions into an RGB uint8 [S, S, 3] picture, in place."""
    size = image.shape[0]
    for box in overlays.boxes:
        image[box.window(size)] = round(255 * box.grey)
    for caption in overlays.captions:
        scale = cv2.getFontScaleFromHeight(caption.font, max(round(caption.height * size), 4))
        place = (round(caption.left * size), round(caption.base * size))
        thickness = max(round(size / 200), 1)
        colour = [round(255 * channel) for channel in caption.colour]
        cv2.putText(image, caption.text, place, caption.font, scale, colour, thickness, cv2.LINE_AA)
