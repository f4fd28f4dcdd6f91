"""Where scars are: cells, renderings and whole photos become targets of the map, and readings are found by content."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from scarlens.datasets.annotations.readings import Reading, digest_of, read_readings
from scarlens.datasets.annotations.scar_map import (
    GRID,
    NOT_SKIN,
    TRUTHS,
    ScarMap,
    map_of_cells,
    map_of_rendering,
    map_unknown,
    map_without_scars,
    places_over,
    targets,
)
from scarlens.datasets.labels import OUT_OF_SCOPE, SCAR_TYPES, UNTYPED
from scarlens.datasets.photos import LabelledPhoto, load_photos
from scarlens.datasets.rendering import render_photo, write_photos
from scarlens.datasets.transform import frame, placed
from scarlens.training.batches.lessons import lessons_of

CLEAR = ("........",) * GRID


def truth(scar_map: ScarMap, side: int = GRID) -> np.ndarray:
    """Return the targets of a square photo, float32 [6, side, side]."""
    return targets(places_over(scar_map, 64, 64), scar_map.truth, side)


def test_each_mark_becomes_its_class_in_its_cell() -> None:
    rows = ("ibr.x...", *CLEAR[1:])
    found = truth(map_of_cells([rows]))
    assert found[:, 0, :5].argmax(axis=0).tolist() == [TRUTHS.index(n) for n in (*SCAR_TYPES, "skin", "no_skin")]
    assert (found[TRUTHS.index("skin"), 1:] == 1.0).all()
    assert np.allclose(found.sum(axis=0), 1.0)


def test_where_readers_differ_each_counts_alike() -> None:
    found = truth(map_of_cells([("i.......", *CLEAR[1:]), ("b.......", *CLEAR[1:])]))
    assert found[:, 0, 0].tolist() == [0.5, 0.5, 0, 0, 0, 0]


def test_a_rendering_is_exact_about_scars_and_says_nothing_about_skin() -> None:
    photo = render_photo("boxcar", seed=3, size=64)
    found = targets(photo.type_map, map_of_rendering(photo.type_map).truth, 64)
    for index in range(len(SCAR_TYPES)):
        assert np.array_equal(found[index] == 1.0, photo.type_map == 1 + index)
    assert np.array_equal(found[TRUTHS.index("no_scar")] == 1.0, photo.type_map == 0)


def test_a_photo_without_scars_says_so_everywhere_and_an_unread_one_nothing() -> None:
    assert (truth(map_without_scars())[TRUTHS.index("no_scar")] == 1.0).all()
    assert not truth(map_unknown()).any()


def test_pasted_areas_are_no_skin_in_every_photo() -> None:
    places = places_over(map_without_scars(), 64, 64)
    places[:32] = NOT_SKIN
    found = targets(places, map_without_scars().truth, 4)
    assert (found[TRUTHS.index("no_skin"), :2] == 1.0).all() and (found[TRUTHS.index("no_scar"), 2:] == 1.0).all()


@pytest.mark.parametrize(("height", "width"), [(96, 96), (60, 150), (150, 60)])
@pytest.mark.parametrize("border", [0, 20])
def test_places_come_into_the_square_as_the_photo_does(height: int, width: int, border: int) -> None:
    # Each place has its own grey: wherever the framing turns and shifts the photo, the two go together.
    places = np.add.outer(np.arange(height) * 4 // height, 4 * (np.arange(width) * 4 // width)).astype(np.uint8)
    grain = np.random.default_rng(0).integers(-6, 7, (height, width, 1))
    image = np.repeat(np.clip(20 + 13 * places[..., None] + grain, 0, 255), 3, axis=2).astype(np.uint8)
    image = cv2.copyMakeBorder(image, border, border, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    padded = cv2.copyMakeBorder(places, border, border, 0, 0, cv2.BORDER_CONSTANT, value=99)
    framed = frame(image, 96)
    found = placed(padded, framed.placement, 96)
    levels = [np.median(framed.square[..., 0][found == place]) for place in np.unique(found[found != 99])]
    assert levels == sorted(levels) and len(levels) >= 12
    spread = [np.ptp(np.percentile(framed.square[..., 0][found == place], [20, 80])) for place in np.unique(found)]
    assert np.median(spread) < 20


# Readings


def test_shipped_readings_are_whole_and_hold_no_names() -> None:
    readings = read_readings()
    assert len(readings) >= 175
    assert all(len(digest) == 64 for digest in readings)
    for reading in readings.values():
        assert "reader1" in reading.cells
        for types in reading.types.values():
            assert types.sum() == pytest.approx(1.0, abs=0.02) and types.min() >= 0.0


def test_readings_are_found_by_the_content_of_a_file(tmp_path: Path) -> None:
    photo = tmp_path / "any name.jpg"
    photo.write_bytes(render_photo("rolling", seed=1, size=64).jpeg)
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    assert digest_of(photo) == digest
    (tmp_path / "cells.csv").write_text(f"sha256,reader,A,B,C,D,E,F,G,H\n{digest},me,{'r' * 8},{','.join(CLEAR[1:])}\n")
    (tmp_path / "types.csv").write_text(f"sha256,reader,ice_pick,boxcar,rolling\n{digest},me,0.2,0.0,0.8\n")
    reading = read_readings(folder=tmp_path)[digest]
    assert reading.cells["me"][0] == "rrrrrrrr"
    assert reading.mean_types is not None and reading.mean_types.tolist() == [0.2, 0.0, 0.8]
    lesson = lessons_of([LabelledPhoto(photo, "boxcar", "boxcar")], {digest: reading})[0]
    assert np.allclose(lesson.types, [0.1, 0.5, 0.4])  # half the label, half the readers
    assert truth(lesson.scar_map)[SCAR_TYPES.index("rolling"), 0].min() == 1.0


@pytest.mark.parametrize("row", ["r" * 7, "r" * 9, "rrrrrrr?"])
def test_a_row_that_is_no_reading_is_refused(tmp_path: Path, row: str) -> None:
    (tmp_path / "cells.csv").write_text(f"sha256,reader,A,B,C,D,E,F,G,H\n00,me,{row},{','.join(CLEAR[1:])}\n")
    with pytest.raises(ValueError, match="expected 8 of"):
        read_readings(folder=tmp_path)


# Lessons


def test_photos_of_each_sort_teach_what_is_known_of_them(tmp_path: Path) -> None:
    manifest = write_photos(tmp_path / "rendered", count=8, seed=3, size=64)
    (tmp_path / "real" / "pitted scars").mkdir(parents=True)
    (tmp_path / "real" / "ice pick").mkdir()
    for name in ("pitted scars", "ice pick"):
        (tmp_path / "real" / name / "a.jpg").write_bytes(render_photo("boxcar", seed=9, size=64).jpeg)
    photos = load_photos(tmp_path / "real", extra=[manifest], out_of_scope=["out_of_scope"])
    for photo, lesson in zip(photos, lessons_of(photos, {}), strict=True):
        assert lesson.in_scope == float(photo.label != OUT_OF_SCOPE)
        assert lesson.types.sum() == float(photo.type_index >= 0)
        assert lesson.weight == (0.0 if photo.type_index < 0 else 0.5 if photo.extra else 1.0)
        shown = truth(lesson.scar_map, 64)
        if photo.extra and photo.type_index >= 0:
            assert shown[: len(SCAR_TYPES)].any() and np.allclose(shown.sum(axis=0), 1.0)
        elif photo.label != OUT_OF_SCOPE:
            assert not shown.any()  # nobody said where
    assert [photo.class_name for photo in photos if not photo.extra] == ["ice_pick", UNTYPED]


def test_a_reading_of_a_photo_without_label_teaches_its_type_weakly(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(render_photo("boxcar", seed=9, size=64).jpeg)
    reading = Reading({"me": CLEAR}, {"me": np.array([0.0, 0.7, 0.3])})
    lesson = lessons_of([LabelledPhoto(file, UNTYPED, UNTYPED)], {digest_of(file): reading})[0]
    assert np.allclose(lesson.types, [0.0, 0.7, 0.3]) and 0.0 < lesson.weight < 1.0 and lesson.in_scope == 1.0
