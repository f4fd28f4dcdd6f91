"""Regions, extents and overlays: probabilities that lie where the photo lies, outlined without hiding it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from scarlens.datasets.canonical import ORIENTATIONS, turned
from scarlens.datasets.labels import MAP_CLASSES, SCAR_TYPES
from scarlens.datasets.transform import Placement, photo_window
from scarlens.inference.regions import (
    COLOURS,
    extent_of,
    overlay,
    photo_map,
    scars_seen,
    skin_share,
    write_picture,
)
from scarlens.model.calibration import softmax

SIZE = 96
CLASSES = len(MAP_CLASSES)


def map_of(class_map: np.ndarray, height: int, width: int) -> np.ndarray:
    placement = Placement(0, height, width, (0, height, 0, width), 0)
    return photo_map(class_map.astype(np.float32), placement=placement, size=SIZE)


def random_map(cells: int) -> np.ndarray:
    return np.random.default_rng(cells).normal(scale=2.0, size=(CLASSES, cells, cells))


def map_showing(cells: int, shown: str, where: tuple[slice, slice] = (slice(None), slice(None))) -> np.ndarray:
    """Return a map that shows a class somewhere and other skin elsewhere."""
    class_map = np.zeros((CLASSES, cells, cells))
    class_map[MAP_CLASSES.index("skin")] = 9.0
    class_map[MAP_CLASSES.index(shown)][where] = 18.0
    return class_map


def grey(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (100, 300), (300, 100), (1000, 70), (1, 500), (64, 65)])
@pytest.mark.parametrize("cells", [1, 2, 3, 7, 12])
def test_the_map_holds_probabilities_that_sum_to_one(height: int, width: int, cells: int) -> None:
    regions = map_of(random_map(cells), height, width)
    assert regions.dtype == np.float32
    assert regions.ndim == 3
    assert len(regions) == CLASSES
    assert min(regions.shape[1:]) >= 1
    assert np.allclose(regions.sum(axis=0), 1.0, atol=1e-5)
    assert regions.min() >= 0.0


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [(200, 200, (12, 12)), (100, 200, (6, 12)), (200, 100, (12, 6)), (100, 400, (3, 12)), (10, 1000, (1, 12))],
)
def test_regions_cover_the_photo_alone(height: int, width: int, shape: tuple[int, int]) -> None:
    assert map_of(random_map(12), height, width).shape[1:] == shape


def test_the_reflected_border_does_not_count() -> None:
    # A wide photo stands in the middle rows of the square; what is seen above and below is its mirror image.
    class_map = np.zeros((CLASSES, 12, 12))
    class_map[1, :2] = class_map[1, -2:] = 20.0
    assert np.allclose(map_of(class_map, 100, 200), 1 / CLASSES, atol=1e-5)
    assert map_of(class_map, 200, 200)[1, 0].min() > 0.99


def test_a_square_photo_keeps_every_cell() -> None:
    class_map = random_map(6)
    assert np.allclose(map_of(class_map, 300, 300), softmax(class_map.T).T, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(100, 300), (300, 100), (96, 96), (123, 311), (500, 333)])
@pytest.mark.parametrize("cells", [6, 7, 12])
def test_each_cell_of_the_map_covers_its_part_of_the_photo(height: int, width: int, cells: int) -> None:
    # Scores that grow evenly across the square say in each cell of the photo where in the square it was looked up.
    cell = SIZE / cells
    centres = (np.arange(cells) + 0.5) * cell
    class_map = np.zeros((CLASSES, cells, cells))
    class_map[0] = centres / 10
    class_map[1] = centres[:, None] / 10
    regions = map_of(class_map, height, width).astype(np.float64)
    top, bottom, left, right = photo_window(height, width, SIZE)
    rows, columns = regions.shape[1:]
    x = left + (np.arange(columns) + 0.5) * (right - left) / columns
    y = top + (np.arange(rows) + 0.5) * (bottom - top) / rows
    found_x, found_y = 10 * np.log(regions[:2] / regions[2])
    assert np.allclose(found_x, np.clip(x, centres[0], centres[-1]), atol=0.3)
    assert np.allclose(found_y, np.clip(y, centres[0], centres[-1])[:, None], atol=0.3)


@pytest.mark.parametrize("first", ORIENTATIONS)
@pytest.mark.parametrize("second", ORIENTATIONS)
def test_regions_lie_upright_however_the_network_saw_the_photo(first: int, second: int) -> None:
    upright = random_map(6)
    seen = np.stack([turned(turned(plane, first), second) for plane in upright])
    placement = Placement(first, 300, 300, (0, 300, 0, 300), second)
    regions = photo_map(seen.astype(np.float32), placement=placement, size=SIZE)
    assert np.allclose(regions, map_of(upright, 300, 300), atol=1e-5)


def test_trimmed_padding_is_no_skin() -> None:
    class_map = map_showing(6, "ice_pick").astype(np.float32)
    placement = Placement(0, 200, 100, (100, 200, 0, 100), 0)  # the upper half is padding
    shown = photo_map(class_map, placement=placement, size=SIZE)
    assert shown.shape == (CLASSES, 12, 6)
    assert (shown[MAP_CLASSES.index("no_skin"), :6] == 1.0).all()
    assert shown[0, 6:].min() > 0.99


# Extent


@pytest.mark.parametrize("name", SCAR_TYPES)
def test_extent_is_the_share_of_the_skin_not_of_the_photo(name: str) -> None:
    class_map = map_showing(12, name, (slice(0, 6), slice(0, 6)))
    whole = map_of(class_map, 240, 240)
    assert extent_of(whole, 0.5)[name] == pytest.approx(0.25, abs=0.02)
    class_map[:, :, 6:] = map_showing(12, "no_skin")[:, :, 6:]  # the right half is hair
    half = map_of(class_map, 240, 240)
    assert extent_of(half, 0.5)[name] == pytest.approx(0.5, abs=0.04)
    assert skin_share(whole) == pytest.approx(1.0, abs=0.01)
    assert skin_share(half) == pytest.approx(0.5, abs=0.01)
    assert [other for other, share in extent_of(whole, 0.5).items() if share > 0.001] == [name]


def test_without_an_outline_there_is_no_extent() -> None:
    shown = np.zeros((CLASSES, 4, 4), np.float32)
    shown[0], shown[MAP_CLASSES.index("skin")] = 0.3, 0.7
    assert extent_of(shown, 0.4) == dict.fromkeys(SCAR_TYPES, 0.0)
    shown[0, 0, 0] = 0.4
    assert extent_of(shown, 0.4)["ice_pick"] == pytest.approx(0.3, abs=0.01)
    assert extent_of(shown, 0.4)["boxcar"] == 0.0


def test_a_photo_without_skin_has_no_extent() -> None:
    shown = map_of(map_showing(6, "no_skin"), 96, 96)
    assert extent_of(shown, 0.5) == dict.fromkeys(SCAR_TYPES, 0.0)


def test_a_place_counts_for_its_most_probable_type_where_the_threshold_is_reached() -> None:
    regions = np.array([[[0.30, 0.10]], [[0.25, 0.10]], [[0.0, 0.20]]], dtype=np.float32)
    assert scars_seen(regions, 0.5).tolist() == [[0, -1]]
    assert scars_seen(regions, 0.4).tolist() == [[0, 2]]


# Overlays


@pytest.mark.parametrize(("height", "width"), [(100, 200), (200, 100), (64, 64), (37, 5), (1, 90)])
def test_an_overlay_is_the_photo_with_a_legend_below(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    before = image.copy()
    picture = overlay(image, map_of(random_map(6), height, width)[:3], 0.5)
    assert picture.dtype == np.uint8
    assert picture.shape[0] > height
    assert picture.shape[1:] == (width, 3)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("shown", ["skin", "no_skin"])
def test_where_no_scar_is_seen_nothing_is_drawn(shown: str) -> None:
    image = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    assert np.array_equal(overlay(image, map_of(map_showing(6, shown), 90, 120)[:3], 0.5)[:90], image)


@pytest.mark.parametrize("skin", [20, 128, 235])
@pytest.mark.parametrize("name", SCAR_TYPES)
def test_scars_are_outlined_in_the_colour_of_their_type_and_stay_visible(name: str, skin: int) -> None:
    regions = map_of(map_showing(12, name, (slice(3, 9), slice(0, 6))), 240, 240)[:3]
    picture = overlay(np.full((240, 240, 3), skin, np.uint8), regions, 0.5).astype(int)[:240]
    assert (picture[:, 170:] == skin).all() and (picture[:20] == skin).all()
    line = (picture == COLOURS[name]).all(axis=2)
    assert line.any() and line.mean() < 0.1
    middle = picture[110:130, 40:60]
    assert (abs(middle - skin) < 40).all() and (middle != skin).any()  # a light fill: the scar shines through
    grey_levels = picture.mean(axis=2)
    assert np.ptp(grey_levels[50:190, 100:140]) > 60  # white beside the colour: legible on any skin


def test_outlines_differ_in_grey_too() -> None:
    drawn = []
    for name in SCAR_TYPES:
        regions = map_of(map_showing(12, name, (slice(3, 9), slice(3, 9))), 240, 240)[:3]
        picture = overlay(grey(240, 240), regions, 0.5)[:240]
        drawn.append(int((picture == COLOURS[name]).all(axis=2).sum()))
    assert len(set(drawn)) == 3  # unbroken, long dashes, short dashes


def test_the_legend_shows_every_colour() -> None:
    legend = overlay(grey(60, 300), map_of(map_showing(6, "skin"), 60, 300)[:3], 0.5)[60:]
    for colour in COLOURS.values():
        assert (legend == colour).all(axis=2).any()
    assert len(set(COLOURS.values())) == 3
    assert tuple(COLOURS) == SCAR_TYPES


def test_a_written_overlay_is_the_same_picture_without_metadata(tmp_path: Path) -> None:
    image = cv2.resize(np.random.default_rng(2).integers(0, 256, (9, 12, 3), dtype=np.uint8), (160, 120))
    regions = map_of(random_map(6), 120, 160)[:3]
    path = tmp_path / "overlay.png"
    write_picture(path, overlay(image, regions, 0.5))
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.mode == "RGB"
        assert not picture.getexif()
        assert np.array_equal(np.asarray(picture), overlay(image, regions, 0.5))
    data, position, chunks = path.read_bytes(), 8, []
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        chunks.append(data[position + 4 : position + 8])
        position += length + 12
    assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}
