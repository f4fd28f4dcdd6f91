"""The evaluation transform: the whole photo in a square, and the numbers the network sees."""

import itertools

import numpy as np
import pytest

from scarlens.datasets.transform import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    fit_square,
    frame,
    normalise,
    photo_window,
    preprocess,
)

SHAPES = [(224, 224), (100, 300), (300, 100), (1, 1000), (1000, 1), (1, 1), (37, 53), (1500, 1000), (64, 65), (3000, 5)]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 10_000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("size", [64, 97])
def test_shapes_and_types(height: int, width: int, size: int) -> None:
    square = fit_square(noise(height, width), size)
    assert square.shape == (size, size, 3)
    assert square.dtype == np.uint8
    array = preprocess(noise(height, width), size=size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    assert array.shape == (3, size, size)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("size", [64, 97])
def test_window_fills_the_long_side_of_the_square_and_is_centred(height: int, width: int, size: int) -> None:
    top, bottom, left, right = photo_window(height, width, size)
    assert 0 <= top < bottom <= size
    assert 0 <= left < right <= size
    assert max(bottom - top, right - left) == size
    assert abs(top - (size - bottom)) <= 1
    assert abs(left - (size - right)) <= 1
    scale = size / max(height, width)
    assert bottom - top == pytest.approx(max(1, height * scale), abs=0.5)
    assert right - left == pytest.approx(max(1, width * scale), abs=0.5)


@pytest.mark.parametrize(("height", "width"), [(100, 300), (300, 100), (40, 120), (20, 24), (1000, 999)])
def test_the_whole_photo_stays_in_view(height: int, width: int) -> None:
    # Each corner has a colour of its own: a crop would lose it.
    image = np.full((height, width, 3), 128, dtype=np.uint8)
    h, w = height // 4, width // 4
    corners = {(0, 0): (255, 0, 0), (0, 1): (0, 255, 0), (1, 0): (0, 0, 255), (1, 1): (255, 255, 0)}
    for (below, beside), colour in corners.items():
        image[height - h if below else 0 :, width - w if beside else 0 :][:h, :w] = colour
    square = fit_square(image, 96)
    top, bottom, left, right = photo_window(height, width, 96)
    for (below, beside), colour in corners.items():
        pixel = square[bottom - 1 if below else top, right - 1 if beside else left]
        assert tuple(pixel.tolist()) == colour


@pytest.mark.parametrize(("height", "width"), [(100, 300), (300, 100)])
def test_the_rest_of_the_square_mirrors_the_photo(height: int, width: int) -> None:
    square = fit_square(noise(height, width), 90)
    top, bottom, left, right = photo_window(height, width, 90)
    if height > width:
        square, top, bottom = square.transpose(1, 0, 2), left, right
    assert np.array_equal(square[top - 1 :: -1], square[top : 2 * top])
    assert np.array_equal(square[bottom:], square[bottom - 1 : 2 * bottom - 91 : -1])


def test_a_square_photo_of_the_right_size_is_left_alone() -> None:
    image = noise(64, 64)
    assert np.array_equal(fit_square(image, 64), image)


def test_the_photo_is_not_changed() -> None:
    image = noise(50, 90)
    before = image.copy()
    fit_square(image, 64)
    preprocess(image, size=90, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    assert np.array_equal(image, before)


@pytest.mark.parametrize(("height", "width"), SHAPES)
@pytest.mark.parametrize("grey", [0, 1, 127, 255])
def test_a_constant_photo_stays_constant(height: int, width: int, grey: int) -> None:
    assert (fit_square(np.full((height, width, 3), grey, dtype=np.uint8), 64) == grey).all()


def test_channels_keep_their_order() -> None:
    image = np.empty((30, 50, 3), dtype=np.uint8)
    image[:] = (10, 120, 240)
    assert (fit_square(image, 64) == (10, 120, 240)).all()


@pytest.mark.parametrize(("height", "width"), [(400, 400), (400, 300), (16, 16), (16, 24)])
def test_a_spot_in_the_centre_stays_there_with_its_grey_level(height: int, width: int) -> None:
    image = np.full((height, width, 3), 200, dtype=np.uint8)
    image[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8] = 60
    square = fit_square(image, 80)
    assert abs(int(square[40, 40, 0]) - 60) <= 1
    assert abs(int(square[39, 39, 0]) - 60) <= 1
    assert abs(int(square[4, 40, 0]) - 200) <= 1


@pytest.mark.parametrize(("height", "width"), [(640, 640), (1000, 700), (333, 1200)])
def test_shrinking_averages_and_does_not_alias(height: int, width: int) -> None:
    # A one-pixel checkerboard is a mean grey from afar; picking single pixels would show it black, white or striped.
    image = np.indices((height, width)).sum(axis=0) % 2 * np.uint8(255)
    square = fit_square(np.repeat(image[..., None], 3, axis=2).astype(np.uint8), 64)
    assert abs(square.astype(int) - 128).max() <= 32
    assert square.mean() == pytest.approx(127.5, abs=2)


def test_enlarging_is_smooth() -> None:
    image = np.repeat(np.array([[0, 255]], dtype=np.uint8), 2, axis=0)[..., None].repeat(3, axis=2)
    row = fit_square(image, 64)[32, :, 0].astype(int)
    steps = np.diff(row)
    assert (steps >= 0).all()
    assert steps.max() < 20  # a block-wise enlargement would jump by 255


@pytest.mark.parametrize(
    ("mean", "std"), [(IMAGENET_MEAN, IMAGENET_STD), ((0.5, 0.5, 0.5), (0.5, 0.25, 1.0)), ((0, 0, 0), (1, 1, 1))]
)
def test_normalise_is_its_formula(mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
    square = noise(16, 16)
    found = normalise(square, mean=mean, std=std)
    for row, column, channel in itertools.product((0, 7, 15), (0, 9, 15), range(3)):
        expected = (int(square[row, column, channel]) / 255 - mean[channel]) / std[channel]
        assert found[channel, row, column] == pytest.approx(expected, abs=1e-6)


def test_normalise_uses_the_whole_range() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None].repeat(3, axis=2)
    plane = normalise(ramp, mean=(0, 0, 0), std=(1, 1, 1))[0]
    assert plane.min() == 0.0
    assert plane.max() == pytest.approx(1.0, abs=1e-6)
    assert (np.diff(plane.ravel()) > 0).all()


def test_preprocess_is_frame_and_normalise() -> None:
    image = noise(70, 110)
    expected = normalise(frame(image, 64).square, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    assert np.array_equal(preprocess(image, size=64, mean=IMAGENET_MEAN, std=IMAGENET_STD), expected)
