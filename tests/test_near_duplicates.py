"""Look-alikes: what is found of a photo that was cut, turned, recoloured or pasted over, and what is no alarm."""

import io
import itertools
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import pytest
from PIL import Image

from scarlens.datasets.audit.near_duplicates import (
    Fingerprint,
    LookAlike,
    find_look_alikes,
    fingerprint,
    perceptual_hashes,
)
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.rendering import render_photo

Change = Callable[[np.ndarray], np.ndarray]


@cache
def scene(seed: int) -> np.ndarray:
    """A textured scene: blobs of many sizes under uneven light."""
    side = 256
    random = np.random.default_rng(seed)
    picture = np.zeros((side, side, 3), np.float32)
    for scale in (4, 8, 16, 32, 64):
        noise = random.normal(size=(scale, scale, 3)).astype(np.float32)
        picture += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    low, high = picture.min(), picture.max()
    return (255 * (picture - low) / (high - low)).astype(np.uint8)


@cache
def close_ups() -> tuple[np.ndarray, ...]:
    """Eight rendered photos that skin fills, without captions and boxes of their own, and lit unlike each other.

    A hash sees little but the light: of close-ups lit alike it takes a few in a hundred for near-duplicates once they
    share a box, and says so with `copy=False`.
    """
    chosen: list[np.ndarray] = []
    hashes: list[np.ndarray] = []
    for seed in itertools.count():
        photo = render_photo(SCAR_TYPES[seed % 3], seed=seed, size=192)
        if photo.overlays.boxes or photo.overlays.captions or photo.mm_per_pixel * 192 > 60:
            continue
        views = perceptual_hashes(photo.image)
        if all((views[0] != view).sum() >= 26 for other in hashes for view in other):
            chosen.append(photo.image)
            hashes.append(views)
        if len(chosen) == 8:
            break
    return tuple(chosen)


def skin(number: int) -> np.ndarray:
    return close_ups()[number]


def print_of(image: np.ndarray) -> Fingerprint:
    return fingerprint(image.tobytes(), np.ascontiguousarray(image))


def crop(share: float) -> Change:
    def cut(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        top, left = round(share * height * 0.6), round(share * width * 0.3)
        return image[top : top + round((1 - share) * height), left : left + round((1 - share) * width)]

    return cut


def box(colour: int) -> Change:
    def paste(image: np.ndarray) -> np.ndarray:
        boxed = image.copy()
        height, width = image.shape[:2]
        boxed[: height // 4, width // 5 : width * 4 // 5] = colour
        return boxed

    return paste


def encoded(image: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=40)
    return np.asarray(Image.open(stream))


def recoloured(image: np.ndarray) -> np.ndarray:
    return (255 * (image / 255) ** np.array([0.6, 0.8, 1.1])).astype(np.uint8)


def resized(width: float, height: float) -> Change:
    return lambda image: cv2.resize(image, None, fx=width, fy=height, interpolation=cv2.INTER_AREA)


CHANGES: dict[str, Change] = {
    "cropped by 8 %": crop(0.08),
    "cropped by 20 %": crop(0.2),
    "cropped by 40 %": crop(0.4),
    "mirrored": lambda image: image[:, ::-1],
    "mirrored, cropped": lambda image: crop(0.2)(image[:, ::-1]),
    "recoloured": recoloured,
    "grey": lambda image: np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2),
    "encoded again": encoded,
    "resized": resized(0.6, 0.6),
    "stretched": resized(0.6, 0.9),
    "white box": box(255),
    "black box": box(0),
    "rotated": np.rot90,
    "padded": lambda image: cv2.copyMakeBorder(image, 60, 60, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255)),
}


@pytest.mark.parametrize("picture", [scene, skin])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_nothing_else(picture: Callable[[int], np.ndarray], change: str) -> None:
    photos = [picture(seed) for seed in range(6)]
    photos.append(CHANGES[change](photos[2]))
    (pair,) = find_look_alikes([print_of(photo) for photo in photos])
    assert (pair.first, pair.second, pair.copy) == (2, 6, True)
    assert pair.mirrored == ("mirrored" in change)
    assert pair.agreement > 0.5


def test_exact_copies_are_reported_as_such() -> None:
    image = scene(0)
    pixels = np.ascontiguousarray(image)
    photos = [fingerprint(name, pixels) for name in (b"one file", b"one file", b"another form of it")]
    pairs = find_look_alikes([print_of(scene(1)), *photos])
    assert [(pair.first, pair.second, pair.how, pair.copy) for pair in pairs] == [
        (1, 2, "same file", True),
        (1, 3, "same pixels", True),
    ]


def test_many_near_duplicates_are_all_linked() -> None:
    changes = ["cropped by 8 %", "cropped by 20 %", "mirrored", "recoloured", "encoded again", "white box", "padded"]
    photos = [scene(0), scene(1), *(CHANGES[change](scene(0)) for change in changes)]
    pairs = find_look_alikes([print_of(photo) for photo in photos])
    assert {pair.second for pair in pairs if pair.first == 0 and pair.copy} == set(range(2, len(photos)))
    assert not any(1 in (pair.first, pair.second) for pair in pairs)


def captioned(image: np.ndarray) -> np.ndarray:
    written = image.copy()
    for line, text in enumerate(("BOXCAR SCARS", "www.clinic.example")):
        place = (8, image.shape[0] - 40 + 28 * line)
        cv2.putText(written, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
    return written


@pytest.mark.parametrize("picture", [scene, skin])
@pytest.mark.parametrize("shared", [captioned, box(255), box(0), CHANGES["padded"]])
def test_a_shared_caption_box_or_padding_is_no_alarm(picture: Callable[[int], np.ndarray], shared: Change) -> None:
    photos = [shared(picture(seed)) for seed in range(8)]
    assert find_look_alikes([print_of(photo) for photo in photos]) == []


def test_a_regular_pattern_in_different_photos_is_no_near_duplicate() -> None:
    stripes = np.where(np.arange(256)[:, None, None] // 8 % 2, 40, 200).astype(np.uint8)
    photos = []
    for seed in range(4):
        photo = scene(seed).copy()
        photo[128:] = np.broadcast_to(stripes, (256, 256, 3))[128:]
        photos.append(photo)
    assert not any(pair.copy for pair in find_look_alikes([print_of(photo) for photo in photos]))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (7, 5), (300, 2)])
def test_pictures_without_keypoints_are_only_hashed(shape: tuple[int, int]) -> None:
    flat = np.full((*shape, 3), 128, np.uint8)
    pairs = find_look_alikes([print_of(flat), print_of(flat), print_of(scene(0))])
    assert [(pair.first, pair.second, pair.how) for pair in pairs] == [(0, 1, "same file")]


@pytest.mark.parametrize("shape", [(50, 2000), (3, 500), (500, 3)])
def test_strips_that_are_alike_stop_nothing(shape: tuple[int, int]) -> None:
    strip = cv2.resize(scene(0), (shape[1], shape[0]))
    other = strip.copy()
    other[0, 0] ^= 1
    for pair in find_look_alikes([print_of(strip), print_of(other)]):
        assert (pair.first, pair.second) == (0, 1)


def test_no_photo_and_one_photo_have_no_pair() -> None:
    assert find_look_alikes([]) == []
    assert find_look_alikes([print_of(scene(0))]) == []


def test_the_result_depends_on_the_photos_alone() -> None:
    photos = [print_of(photo) for photo in (scene(0), crop(0.2)(scene(0)), scene(1), skin(0), skin(0)[:, ::-1])]
    steps: list[int] = []
    cv2.setRNGSeed(5)
    first = find_look_alikes(photos, advance=lambda: steps.append(1))
    drawn = cv2.randShuffle(np.arange(100.0))
    cv2.setRNGSeed(5)
    assert np.array_equal(drawn, cv2.randShuffle(np.arange(100.0)))  # nobody else's state was moved
    assert find_look_alikes(photos) == first
    assert len(steps) == len(photos)
    assert all(isinstance(pair, LookAlike) and pair.first < pair.second for pair in first)
