"""How well a map agrees with readers: figures that are known for maps made up in the tests."""

from pathlib import Path

import numpy as np
import pytest

from scarlens.datasets.annotations.readings import Reading, digest_of
from scarlens.datasets.annotations.scar_map import CELL_MARKS, GRID
from scarlens.datasets.labels import MAP_CLASSES
from scarlens.datasets.photos import LabelledPhoto
from scarlens.training.measure.map_figures import (
    fit_scar_threshold,
    map_figures,
    npz,
    read_arrays,
)

LEFT_ICE_PICK = ("ii....xx",) * GRID
LEFT_BOXCAR = ("bb....xx",) * GRID
WIDER = ("iii...xx",) * GRID


@pytest.fixture
def photos(tmp_path: Path) -> list[LabelledPhoto]:
    found = []
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        found.append(LabelledPhoto(tmp_path / name, "ice_pick", "ice_pick", name))
    return found


def read_as(photos: list[LabelledPhoto], first: tuple[str, ...], second: tuple[str, ...]) -> dict[str, Reading]:
    return {digest_of(photo.path): Reading({"reader1": first, "reader2": second}, {}) for photo in photos}


def cells_like(rows: tuple[str, ...], *, sure: float = 0.9) -> np.ndarray:
    """Return a map that is as sure of a reading, float32 [5, 8, 8]."""
    marks = np.array([[CELL_MARKS.index(mark) for mark in row] for row in rows])
    rest = (1.0 - sure) / (len(MAP_CLASSES) - 1)
    return np.moveaxis(rest + (sure - rest) * np.eye(len(MAP_CLASSES))[marks], -1, 0).astype(np.float32)


def figures(photos: list[LabelledPhoto], shown: np.ndarray, readings: dict[str, Reading]) -> dict:
    digests = [digest_of(photo.path) for photo in photos]
    return map_figures(photos, dict.fromkeys(digests, shown), dict.fromkeys(digests, 0.5), readings)


def test_a_map_like_the_readers_is_perfect(photos: list[LabelledPhoto]) -> None:
    found = figures(photos, cells_like(LEFT_ICE_PICK), read_as(photos, LEFT_ICE_PICK, LEFT_ICE_PICK))
    perfect = ("auroc_reader1", "auroc_reader2", "auroc_alike", "auroc_within_photos", "kappa_reader1", "type_right")
    assert all(found[name]["value"] == 1.0 for name in (*perfect, "kappa_readers"))
    assert found["photos"] == found["photos_of_both"] == 2
    assert found["readers_point"] == [0.0, 1.0]
    assert [0.0, 1.0] in found["roc"]


def test_a_map_that_is_alike_everywhere_knows_nothing(photos: list[LabelledPhoto]) -> None:
    shown = np.full((len(MAP_CLASSES), GRID, GRID), 0.2, np.float32)
    found = figures(photos, shown, read_as(photos, LEFT_ICE_PICK, LEFT_ICE_PICK))
    assert found["auroc_reader1"]["value"] == found["auroc_within_photos"]["value"] == 0.5
    assert found["kappa_reader1"]["value"] == 0.0
    assert found["scar_off_skin"]["value"] == pytest.approx(2 / 8)


def test_where_readers_differ_each_has_his_own_figures(photos: list[LabelledPhoto]) -> None:
    found = figures(photos, cells_like(LEFT_ICE_PICK), read_as(photos, LEFT_ICE_PICK, WIDER))
    assert found["auroc_reader1"]["value"] == found["auroc_alike"]["value"] == 1.0
    assert found["auroc_reader2"]["value"] < 1.0
    assert found["kappa_reader2"]["value"] == pytest.approx(found["kappa_readers"]["value"])


def test_the_type_counts_only_where_both_see_the_same(photos: list[LabelledPhoto]) -> None:
    same = figures(photos, cells_like(LEFT_BOXCAR), read_as(photos, LEFT_ICE_PICK, LEFT_ICE_PICK))
    assert same["type_right"]["value"] == 0.0
    other = figures(photos, cells_like(LEFT_BOXCAR), read_as(photos, LEFT_ICE_PICK, LEFT_BOXCAR))
    assert other["type_right"]["value"] is None


def test_photos_without_readings_do_not_count(photos: list[LabelledPhoto]) -> None:
    read = read_as(photos[:1], LEFT_ICE_PICK, LEFT_ICE_PICK)
    digest = digest_of(photos[0].path)
    found = map_figures(photos, {digest: cells_like(LEFT_ICE_PICK)}, {digest: 0.5}, read)
    assert found["photos"] == 1
    assert map_figures(photos, {}, {}, read) == {}


def test_the_threshold_is_where_the_map_agrees_best(photos: list[LabelledPhoto]) -> None:
    read = read_as(photos, LEFT_ICE_PICK, LEFT_ICE_PICK)
    shown = cells_like(LEFT_ICE_PICK, sure=0.5)
    shown[0, :, 2:] = 0.28  # below, the other cells would count as well
    shown[1:3] = 0.0
    threshold = fit_scar_threshold(dict.fromkeys(read, shown), read)
    assert 0.28 < threshold <= 0.5
    assert fit_scar_threshold({}, read) == 0.5


def test_cells_survive_a_file(photos: list[LabelledPhoto], tmp_path: Path) -> None:
    cells = {"ab": cells_like(LEFT_ICE_PICK)}
    (tmp_path / "cells.npz").write_bytes(npz(cells))
    assert np.array_equal(read_arrays(tmp_path / "cells.npz")["ab"], cells["ab"])
    assert read_arrays(tmp_path / "none.npz") == {}
