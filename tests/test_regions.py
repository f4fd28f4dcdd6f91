"""Regions and overlays: shares that lie where the photo lies, painted without hiding it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from scarlens.datasets.canonical import ORIENTATIONS, turned
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.preprocess import Placement, photo_window
from scarlens.inference.regions import COLOURS, overlay, photo_regions, write_overlay
from scarlens.model.calibration import Calibration

SIZE = 96
PLAIN = Calibration()


def regions_of(class_map: np.ndarray, height: int, width: int, calibration: Calibration = PLAIN) -> np.ndarray:
    placement = Placement(0, height, width, (0, height, 0, width), 0)
    return photo_regions(class_map.astype(np.float32), calibration, placement=placement, size=SIZE)


def random_map(cells: int) -> np.ndarray:
    return np.random.default_rng(cells).normal(scale=2.0, size=(3, cells, cells))


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (100, 300), (300, 100), (1000, 70), (1, 500), (64, 65)])
@pytest.mark.parametrize("cells", [1, 2, 3, 7, 12])
def test_regions_are_shares_that_sum_to_one(height: int, width: int, cells: int) -> None:
    regions = regions_of(random_map(cells), height, width)
    assert regions.dtype == np.float32
    assert regions.ndim == 3
    assert len(regions) == 3
    assert min(regions.shape[1:]) >= 1
    assert np.allclose(regions.sum(axis=0), 1.0, atol=1e-5)
    assert regions.min() >= 0.0


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [(200, 200, (12, 12)), (100, 200, (6, 12)), (200, 100, (12, 6)), (100, 400, (3, 12)), (10, 1000, (1, 12))],
)
def test_regions_cover_the_photo_alone(height: int, width: int, shape: tuple[int, int]) -> None:
    assert regions_of(random_map(12), height, width).shape[1:] == shape


def test_the_reflected_border_does_not_count() -> None:
    # A wide photo stands in the middle rows of the square; what is seen above and below is its mirror image.
    class_map = np.zeros((3, 12, 12))
    class_map[1, :2] = class_map[1, -2:] = 20.0
    assert np.allclose(regions_of(class_map, 100, 200), 1 / 3, atol=1e-5)
    assert regions_of(class_map, 200, 200)[1, 0].min() > 0.99


def test_a_square_photo_keeps_every_cell() -> None:
    class_map = random_map(6)
    expected = np.moveaxis(PLAIN.probabilities(np.moveaxis(class_map, 0, -1)), -1, 0)
    assert np.allclose(regions_of(class_map, 300, 300), expected, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(100, 300), (300, 100), (96, 96), (123, 311), (500, 333)])
@pytest.mark.parametrize("cells", [6, 7, 12])
def test_each_cell_lies_where_the_photo_lies(height: int, width: int, cells: int) -> None:
    # Scores that grow evenly across the square say in each cell of the photo where in the square it was looked up.
    cell = SIZE / cells
    centres = (np.arange(cells) + 0.5) * cell
    class_map = np.zeros((3, cells, cells))
    class_map[0] = centres / 10
    class_map[1] = centres[:, None] / 10
    regions = regions_of(class_map, height, width).astype(np.float64)
    top, bottom, left, right = photo_window(height, width, SIZE)
    rows, columns = regions.shape[1:]
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
    found_x, found_y = 10 * np.log(regions[:2] / regions[2])
    assert np.allclose(found_x, np.clip(x, centres[0], centres[-1]), atol=0.3)
    assert np.allclose(found_y, np.clip(y, centres[0], centres[-1])[:, None], atol=0.3)


def test_the_temperature_softens_regions() -> None:
    class_map = random_map(6)
    sharp, soft = regions_of(class_map, 96, 96), regions_of(class_map, 96, 96, Calibration(temperature=4.0))
    assert np.array_equal(sharp.argmax(axis=0), soft.argmax(axis=0))
    assert (soft.max(axis=0) < sharp.max(axis=0)).all()


@pytest.mark.parametrize("first", ORIENTATIONS)
@pytest.mark.parametrize("second", ORIENTATIONS)
def test_regions_lie_upright_however_the_network_saw_the_photo(first: int, second: int) -> None:
    upright = random_map(6)
    seen = np.stack([turned(turned(plane, first), second) for plane in upright])
    placement = Placement(first, 300, 300, (0, 300, 0, 300), second)
    regions = photo_regions(seen.astype(np.float32), PLAIN, placement=placement, size=SIZE)
    assert np.allclose(regions, regions_of(upright, 300, 300), atol=1e-5)


def test_trimmed_padding_shows_no_type() -> None:
    class_map = np.zeros((3, 6, 6), dtype=np.float32)
    class_map[0] = 9.0
    placement = Placement(0, 200, 100, (100, 200, 0, 100), 0)  # the upper half is padding
    regions = photo_regions(class_map, PLAIN, placement=placement, size=SIZE)
    assert regions.shape == (3, 12, 6)
    assert np.allclose(regions[:, :6], 1 / 3, atol=1e-6)
    assert regions[0, 6:].min() > 0.99


# Overlays


@pytest.mark.parametrize(("height", "width"), [(100, 200), (200, 100), (64, 64), (37, 5), (1, 90)])
def test_an_overlay_is_the_photo_with_a_legend_below(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = image.copy()
    picture = overlay(image, regions_of(random_map(6), height, width))
    assert picture.dtype == np.uint8
    assert picture.shape[0] > height
    assert picture.shape[1:] == (width, 3)
    assert np.array_equal(image, before)


def test_a_photo_that_says_nothing_is_not_painted() -> None:
    image = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    assert np.array_equal(overlay(image, regions_of(np.zeros((3, 6, 6)), 90, 120))[:90], image)


@pytest.mark.parametrize(("index", "name"), list(enumerate(SCAR_TYPES)))
def test_the_left_half_of_a_wide_photo_is_tinted_in_the_colour_of_its_type(index: int, name: str) -> None:
    class_map = np.zeros((3, 12, 12))
    class_map[index, :, :6] = 9.0
    picture = overlay(grey(100, 240), regions_of(class_map, 100, 240)).astype(int)[:100]
    left, right = picture[:, :105], picture[:, 165:]  # smoothing reaches two cells of 20 pixels
    assert (right == 128).all()
    toward = np.sign(np.array(COLOURS[name]) - 128)
    change = (left - 128) * toward
    assert (change.mean(axis=(0, 1)) > 5).all()
    assert change.min() >= 0
    assert (left != COLOURS[name]).any(axis=2).all()  # the photo still shines through


def test_the_top_of_a_tall_photo_is_tinted() -> None:
    class_map = np.zeros((3, 12, 12))
    class_map[2, :6] = 9.0
    picture = overlay(grey(240, 100), regions_of(class_map, 240, 100)).astype(int)[:240]
    assert (abs(picture[:105] - 128).max(axis=2) > 5).all()
    assert (picture[165:] == 128).all()


def test_a_surer_type_is_painted_stronger() -> None:
    changes = []
    for score in (0.0, 0.5, 1.0, 3.0, 9.0):
        class_map = np.zeros((3, 6, 6))
        class_map[0] = score
        changes.append(abs(overlay(grey(96, 96), regions_of(class_map, 96, 96))[:96].astype(int) - 128).mean())
    assert (np.diff(changes) > 0).all()


def test_the_legend_shows_every_colour() -> None:
    legend = overlay(grey(60, 300), regions_of(np.zeros((3, 6, 6)), 60, 300))[60:]
    for colour in COLOURS.values():
        assert (legend == colour).all(axis=2).any()
    assert len(set(COLOURS.values())) == 3
    assert tuple(COLOURS) == SCAR_TYPES


def test_a_written_overlay_is_the_same_picture_without_metadata(tmp_path: Path) -> None:
    image = cv2.resize(np.random.default_rng(2).integers(0, 256, (9, 12, 3), dtype=np.uint8), (160, 120))
    regions = regions_of(random_map(6), 120, 160)
    path = tmp_path / "overlay.png"
    write_overlay(path, image, regions)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.mode == "RGB"
        assert not picture.getexif()
        assert np.array_equal(np.asarray(picture), overlay(image, regions))
    data, position, chunks = path.read_bytes(), 8, []
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        chunks.append(data[position + 4 : position + 8])
        position += length + 12
    assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}
