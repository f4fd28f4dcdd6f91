"""Large photos: reduced as libjpeg reduces them, so that a scaled JPEG gets the answer of one decoded whole."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

import scarlens
from scarlens.datasets.reading.reader import ImageReadError, read_image, read_reduced
from scarlens.datasets.reading.reduction import reduced
from scarlens.datasets.rendering import render_photo
from scarlens.datasets.transform import frame, read_framed


def skin(height: int, width: int, *, seed: int = 0, scar_type: str = "boxcar") -> np.ndarray:
    """A rendered photo enlarged, with the noise of a camera."""
    photo = render_photo(scar_type, seed=seed, size=512).image
    large = cv2.resize(photo, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    large += 3 * np.random.default_rng(seed).standard_normal((height, width, 1), dtype=np.float32)
    return np.clip(large, 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, *, orientation: int = 1) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image).save(file, "JPEG", quality=92, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize(
    ("height", "width", "factor"),
    [(2999, 40, 1), (3000, 40, 2), (40, 3999, 2), (4000, 41, 4), (4032, 3024, 4), (5000, 3, 4)],
)
def test_only_large_photos_are_reduced(height: int, width: int, factor: int) -> None:
    image = np.full((height, width, 3), 100, np.uint8)
    photo = reduced(image)
    assert photo.pixels.shape == (-(-height // factor), -(-width // factor), 3)
    assert photo[1:4] == (factor, height, width) and (photo.pixels == 100).all()
    if factor == 1:
        assert photo.pixels is image


def test_reduction_removes_only_detail_finer_than_its_pixels() -> None:
    across = np.arange(4096)
    fine, coarse = np.cos(np.pi * (across + 0.5)), np.cos(2 * np.pi * (across + 0.5) / 512)
    rows = np.rint(128 + 40 * fine + 60 * coarse).astype(np.uint8)
    photo = reduced(np.broadcast_to(rows[None, :, None], (64, 4096, 3)).copy()).pixels
    expected = 128 + 60 * np.cos(2 * np.pi * (np.arange(1024) + 0.5) / 128)
    assert np.abs(photo - expected[None, :, None]).max() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_scaled_jpeg_is_what_reducing_the_whole_one_gives(orientation: int) -> None:
    file = jpeg(skin(4008, 1000), orientation=orientation)
    whole, scaled = reduced(read_image(file)), read_reduced(file)
    assert scaled[1:4] == whole[1:4] and scaled.pixels.shape == whole.pixels.shape
    assert scaled.factor == 4 and (scaled.height, scaled.width) == ((4008, 1000) if orientation <= 4 else (1000, 4008))
    difference = np.abs(scaled.pixels.astype(int) - whole.pixels)
    assert difference.mean() < 0.8 and np.percentile(difference, 99.9) <= 4


def test_sides_that_are_no_whole_blocks_fit_too() -> None:
    file = jpeg(skin(4003, 1001))
    difference = np.abs(read_reduced(file).pixels.astype(int) - reduced(read_image(file)).pixels)
    assert difference.mean() < 0.8 and np.percentile(difference, 99.9) <= 4


def test_other_formats_and_arrays_get_the_same_pixels() -> None:
    image = skin(3100, 600)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    assert (read_reduced(file.getvalue()).pixels == reduced(image).pixels).all()
    assert (read_reduced(image).pixels == reduced(image).pixels).all()


@pytest.mark.parametrize(("scar_type", "seed"), [("ice_pick", 1), ("boxcar", 2), ("rolling", 3)])
def test_probabilities_of_a_scaled_jpeg_are_those_of_the_whole_one(scar_type: str, seed: int) -> None:
    file = jpeg(skin(4032, 3024, seed=seed, scar_type=scar_type))
    whole, scaled = scarlens.predict(read_image(file)), scarlens.predict(file)
    assert (scaled.width, scaled.height) == (whole.width, whole.height) == (3024, 4032)
    assert scaled.regions.shape == whole.regions.shape
    for name, probability in whole.probabilities.items():
        assert scaled.probabilities[name] == pytest.approx(probability, abs=0.01)
    assert scaled.in_scope == pytest.approx(whole.in_scope, abs=0.01)


def test_a_photo_with_padding_is_decoded_whole() -> None:
    image = skin(4000, 3000)
    image[:400] = 255
    file = jpeg(image)
    whole, photo = frame(read_image(file), 224), read_framed(file, 224)
    assert photo.framed.placement == whole.placement and photo.framed.placement.trimmed
    assert (photo.framed.square == whole.square).all()


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.95])
def test_a_damaged_large_jpeg_is_refused_at_any_scale(cut: float) -> None:
    file = jpeg(skin(4000, 500))
    with pytest.raises(ImageReadError):
        read_reduced(file[: int(cut * len(file))])
