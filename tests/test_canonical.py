"""The canonical photo: what gives a label away without showing a scar is taken out, and nothing else."""

import itertools

import cv2
import numpy as np
import pytest

from scarlens.datasets.canonical import (
    ORIENTATIONS,
    canonical_orientation,
    content_window,
    filled,
    flat_areas,
    mean_luma,
    sharpness,
    turned,
    turned_back,
    with_even_light,
)
from scarlens.datasets.reading.reader import read_image
from scarlens.datasets.rendering import render_photo
from scarlens.datasets.transform import frame

SIZE = 96


@pytest.fixture(scope="module", params=["ice_pick", "boxcar", "rolling"])
def photo(request: pytest.FixtureRequest) -> np.ndarray:
    """A close-up with nothing over it and grain everywhere: nothing to trim, and nothing flat."""
    photos = (render_photo(request.param, seed=seed, size=256) for seed in itertools.count())
    plain = (photo for photo in photos if not photo.overlays.boxes and not photo.overlays.captions)
    return next(p.image for p in plain if p.mm_per_pixel * 256 < 45 and least_grain(p.image) > 2)


def least_grain(image: np.ndarray) -> float:
    """Return the standard deviation of fine detail in the smoothest part, 16 by 16 pixels, in levels of 255."""
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    squared = (luma - cv2.blur(luma, (5, 5))) ** 2
    return float(np.sqrt(cv2.resize(squared, (16, 16), interpolation=cv2.INTER_AREA).min()))


def noise(height: int, width: int, *, low: int = 0, high: int = 256) -> np.ndarray:
    random = np.random.default_rng(height * 1000 + width)
    return random.integers(low, high, (height, width, 3), dtype=np.uint8)


def saved_as_jpeg(image: np.ndarray, quality: int = 85) -> np.ndarray:
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return read_image(data.tobytes())


# Orientation


def test_there_are_eight_orientations_and_each_can_be_undone() -> None:
    image = noise(30, 50)
    views = [turned(image, number) for number in ORIENTATIONS]
    assert len({(view.shape, view.tobytes()) for view in views}) == 8
    assert all(np.array_equal(turned_back(view, number), image) for number, view in enumerate(views))


@pytest.mark.parametrize("shape", [(256, 256), (200, 256), (255, 131)])
def test_all_orientations_of_a_photo_come_to_the_same_square(photo: np.ndarray, shape: tuple[int, int]) -> None:
    image = photo[: shape[0], : shape[1]]
    squares = [frame(np.ascontiguousarray(turned(image, number)), SIZE).square for number in ORIENTATIONS]
    assert all(np.array_equal(square, squares[0]) for square in squares)


def test_the_light_comes_from_the_top_left() -> None:
    light = np.linspace(60, 160, 64)[:, None] * 0.5 + np.linspace(60, 200, 64)[None] * 0.5
    image = np.repeat(light[..., None], 3, axis=2).astype(np.uint8)  # brightest at the bottom right
    square = frame(image, 64).square.mean(axis=2)
    assert square[:32, :32].mean() > max(square[:32, 32:].mean(), square[32:, :32].mean(), square[32:, 32:].mean())
    assert square[:32, 32:].mean() > square[32:, :32].mean()


def test_an_even_photo_is_left_as_it_is() -> None:
    assert canonical_orientation(np.full((20, 30, 3), 99, dtype=np.uint8)) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (2000, 3)])
def test_odd_shapes_are_framed(shape: tuple[int, int]) -> None:
    for image in (noise(*shape), np.full((*shape, 3), 7, dtype=np.uint8)):
        framed = frame(image, SIZE)
        assert framed.square.shape == (SIZE, SIZE, 3)
        assert np.isfinite([framed.brightness, framed.sharpness]).all()


def test_framing_leaves_the_photo_alone(photo: np.ndarray) -> None:
    image = photo.copy()
    image[20:60, 20:200] = 255
    before = image.copy()
    frame(image, SIZE)
    assert np.array_equal(image, before)


# Padding


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (20, 60, 200)])
@pytest.mark.parametrize("sides", [(30, 0, 0, 0), (0, 0, 25, 25), (40, 12, 20, 33)])
def test_padding_is_trimmed(photo: np.ndarray, colour: tuple[int, int, int], sides: tuple[int, ...]) -> None:
    top, bottom, left, right = sides
    padded = cv2.copyMakeBorder(photo, top, bottom, left, right, cv2.BORDER_CONSTANT, value=colour)
    for image in (padded, saved_as_jpeg(padded)):
        found = content_window(image)
        expected = (top, top + photo.shape[0], left, left + photo.shape[1])
        assert np.abs(np.subtract(found, expected)).max() <= 10  # JPEG blends colours in blocks of 16
        kept = [side == 0 for side in sides]
        exact = (0, image.shape[0], 0, image.shape[1])
        assert all(found[i] == exact[i] for i in range(4) if kept[i])


def test_a_caption_on_padding_is_trimmed_with_it(photo: np.ndarray) -> None:
    image = cv2.copyMakeBorder(photo, 0, 40, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    cv2.putText(image, "Before", (8, photo.shape[0] + 28), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    assert abs(content_window(image)[1] - photo.shape[0]) <= 8


def test_padding_of_a_large_photo_is_trimmed_to_the_pixel_it_steps_over() -> None:
    photo = cv2.resize(noise(150, 200), (2000, 1500))
    image = cv2.copyMakeBorder(photo, 100, 100, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    top, bottom, left, right = content_window(image)
    assert 100 <= top <= 130 and 1570 <= bottom <= 1600 and (left, right) == (0, 2000)


def test_a_photo_without_padding_is_kept_whole(photo: np.ndarray) -> None:
    assert content_window(photo) == (0, photo.shape[0], 0, photo.shape[1])


@pytest.mark.parametrize("level", [0, 128, 255])
def test_what_is_flat_all_over_is_kept_whole(level: int) -> None:
    assert content_window(np.full((50, 70, 3), level, dtype=np.uint8)) == (0, 50, 0, 70)


def test_a_border_changes_the_square_little(photo: np.ndarray) -> None:
    padded = cv2.copyMakeBorder(photo, 16, 16, 16, 16, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    difference = frame(padded, SIZE).square.astype(int) - frame(photo, SIZE).square
    assert np.abs(difference).mean() < 12  # two pixels of the photo go with the border, so the scale differs a little


# Pasted boxes


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (200, 30, 30)])
def test_a_pasted_box_is_found_and_little_else(photo: np.ndarray, colour: tuple[int, int, int]) -> None:
    image = photo.copy()
    image[30:80, 40:180] = colour
    for picture in (image, saved_as_jpeg(image)):
        mask = flat_areas(picture)
        assert mask.shape == picture.shape[:2]
        assert mask[34:76, 44:176].all()
        assert mask.sum() < 2.2 * 50 * 140


def test_skin_is_not_taken_for_a_box(photo: np.ndarray) -> None:
    assert flat_areas(photo).mean() < 0.02


def test_a_filled_box_looks_like_its_surroundings() -> None:
    image = noise(120, 120, low=90, high=110)
    image[40:80, 30:90] = 255
    mask = flat_areas(image)
    result = filled(image, mask)
    assert result.dtype == np.uint8
    assert abs(result[40:80, 30:90].mean() - 100) < 5
    assert np.array_equal(result[mask == 0], image[mask == 0])


def test_a_fill_follows_a_gradient() -> None:
    ramp = np.repeat(np.tile(np.linspace(40, 200, 100), (100, 1))[..., None], 3, axis=2).astype(np.uint8)
    mask = np.zeros((100, 100), dtype=np.uint8)
    mask[40:60, 30:70] = 1
    assert np.abs(filled(ramp, mask).astype(int) - ramp).max() < 30


def test_nothing_known_or_nothing_to_fill_leaves_the_image() -> None:
    image = noise(20, 20)
    for mask in (np.zeros((20, 20), dtype=np.uint8), np.ones((20, 20), dtype=np.uint8)):
        assert np.array_equal(filled(image, mask), image)


def test_a_white_box_no_longer_shines_in_the_square(photo: np.ndarray) -> None:
    image = photo.copy()
    image[20:70, 30:150] = 255
    plain, boxed = frame(photo, SIZE).square.astype(int), frame(image, SIZE).square.astype(int)
    assert abs(plain.mean() - boxed.mean()) < 6
    assert boxed.max() <= plain.max() + 25


# Light and sharpness


@pytest.mark.parametrize("gain", [0.6, 0.8, 1.2])
def test_light_is_evened_out(photo: np.ndarray, gain: float) -> None:
    dim = cv2.convertScaleAbs(photo, alpha=0.7)  # so that nothing clips
    changed = cv2.convertScaleAbs(dim, alpha=gain)
    difference = frame(changed, SIZE).square.astype(int) - frame(dim, SIZE).square
    assert np.abs(difference).max() <= 8  # a rounded level of a dark photo becomes several of an evened one


def test_even_light_has_its_limits() -> None:
    black = np.full((10, 10, 3), 2, dtype=np.uint8)
    assert with_even_light(black).max() <= 5


def test_brightness_is_that_of_the_photo_and_not_of_its_padding() -> None:
    photo = noise(100, 100, low=140, high=161)
    padded = cv2.copyMakeBorder(photo, 30, 30, 30, 30, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    assert frame(padded, SIZE).brightness == pytest.approx(150, abs=3)
    assert mean_luma(photo) == pytest.approx(150, abs=1)


def test_blur_lowers_sharpness_and_light_does_not(photo: np.ndarray) -> None:
    values = [sharpness(cv2.GaussianBlur(photo, (0, 0), sigma)) for sigma in (0.5, 1, 2, 4)]
    assert sharpness(photo) > values[0] > values[1] > values[2] > values[3] > 0
    assert sharpness(cv2.convertScaleAbs(photo, alpha=0.6)) == pytest.approx(sharpness(photo), rel=0.15)


def test_a_flat_photo_is_not_sharp() -> None:
    assert sharpness(np.full((20, 20, 3), 80, dtype=np.uint8)) == 0.0
