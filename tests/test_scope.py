"""The checkpoint that ships refuses what shows no such scar, in pictures drawn here; and extents are steady."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

import scarlens
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.rendering import render_photo
from scarlens.training.measure.stress import compressed, lit, zoomed

SIDE = 480
SKIN = np.array([205, 160, 135])


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def coloured(grey: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return float [H, W] around 1 as a picture of a colour."""
    return np.clip(grey[..., None] * colour, 0, 255).astype(np.uint8)


def smooth(sigma: float, *, stretch: float = 1.0) -> np.ndarray:
    """Return smooth noise of mean 0 and deviation 1, float [SIDE, SIDE]; `stretch` makes it longer than wide."""
    noise = cv2.GaussianBlur(rng().normal(size=(SIDE, SIDE)), (0, 0), sigmaX=sigma, sigmaY=sigma * stretch)
    return (noise - noise.mean()) / noise.std()


def flat() -> np.ndarray:
    return np.full((SIDE, SIDE, 3), SKIN, np.uint8)


def noise() -> np.ndarray:
    return rng().integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def noise_on_skin_colour() -> np.ndarray:
    return coloured(1.0 + 0.12 * rng().normal(size=(SIDE, SIDE)), SKIN)


def gradient() -> np.ndarray:
    return coloured(np.linspace(0.5, 1.2, SIDE)[None].repeat(SIDE, axis=0), SKIN)


def text() -> np.ndarray:
    page = np.full((SIDE, SIDE, 3), 250, np.uint8)
    for row in range(24, SIDE, 22):
        words = "".join(rng().permutation(list("abcdefgh ijklm nopqrs tuvw xyz ")))
        cv2.putText(page, words + words, (10, row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return page


def brick() -> np.ndarray:
    wall = coloured(1.0 + 0.08 * smooth(1.5), np.array([170, 85, 60]))
    for number, top in enumerate(range(0, SIDE, 48)):
        wall[top : top + 6] = 190
        for left in range(-48 * (number % 2), SIDE, 96):
            wall[top : top + 48, max(left, 0) : max(left + 6, 0)] = 190
    return wall


def sand() -> np.ndarray:
    return coloured(1.0 + 0.14 * smooth(1.2) + 0.05 * smooth(4), np.array([215, 185, 140]))


def peel() -> np.ndarray:
    skin = np.ones((SIDE, SIDE))
    for x, y in rng().integers(0, SIDE, (900, 2)).tolist():
        cv2.circle(skin, (x, y), 5, 0.82, -1)
        cv2.circle(skin, (x + 2, y + 2), 3, 1.12, -1)
    return coloured(cv2.GaussianBlur(skin, (0, 0), 1.5), np.array([240, 140, 20]))


def fur() -> np.ndarray:
    return coloured(1.0 + 0.35 * smooth(1.0, stretch=14.0), np.array([120, 85, 55]))


def cloth() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    weave = np.sin(x * 1.1) * np.sin(y * 1.1)
    return coloured(1.0 + 0.15 * weave + 0.05 * smooth(20), np.array([90, 105, 150]))


KNOWN = pytest.mark.xfail(reason="grains of the colour of skin are taken for ice pick scars", strict=True)

DRAWN = (flat, noise, noise_on_skin_colour, gradient, text, brick, pytest.param(sand, marks=KNOWN), peel, fur, cloth)


@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize("side", [SIDE, 224])
def test_what_is_no_scar_is_refused(draw: Callable[[], np.ndarray], side: int) -> None:
    picture = cv2.resize(draw(), (side, side), interpolation=cv2.INTER_AREA)
    answer = scarlens.predict(picture)
    assert answer.label is None and answer.reason in ("out_of_scope", "low_quality")
    assert answer.treatment is None


def test_extent_hardly_changes_with_light_compression_and_zoom() -> None:
    changes = []
    for seed in range(4):
        for label in SCAR_TYPES:
            photo = render_photo(label, seed=seed, size=384).image
            whole = sum(scarlens.predict(photo).extent.values())
            if whole == 0.0:
                continue
            others = [lit(photo, 1.2), lit(photo, 0.8), compressed(photo, 50)]
            changes += [abs(sum(scarlens.predict(other).extent.values()) - whole) / whole for other in others]
            inner, near = (sum(scarlens.predict(zoomed(photo, z)).extent.values()) for z in (1.1, 1.21))
            changes += [abs(near - inner) / inner] if inner else []
    assert len(changes) >= 30
    assert np.median(changes) <= 0.1
