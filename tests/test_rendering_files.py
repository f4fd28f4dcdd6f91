"""Rendered photos as files: what is written beside the pictures, by how many workers, and the examples that ship."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scarlens.datasets.labels import OUT_OF_SCOPE, SCAR_TYPES
from scarlens.datasets.photos import load_photos
from scarlens.datasets.rendering import render_photo, write_examples, write_photos
from scarlens.datasets.rendering.files import EXAMPLE_SEEDS, EXAMPLE_SIZE
from scarlens.datasets.rendering.photo import LABELS

EXAMPLES = Path(__file__).parent.parent / "datasets" / "rendering" / "examples"


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_write_photos_keeps_the_truth_beside_the_pictures(tmp_path: Path) -> None:
    moved: list[None] = []
    manifest = write_photos(tmp_path, count=9, seed=11, size=64, advance=lambda: moved.append(None))
    assert manifest == tmp_path / "manifest.csv"
    assert len(moved) == 9
    rows, scars = rows_of(manifest), rows_of(tmp_path / "scars.csv")
    assert [row["label"] for row in rows] == [LABELS[number % 4] for number in range(9)]
    assert len({row["subject"] for row in rows}) == 9
    assert sorted(row["file"] for row in rows) == sorted(
        p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("*/*.jpg")
    )
    for row in rows:
        file = tmp_path / row["file"]
        photo = render_photo(row["label"], seed=int(row["seed"]), size=64)
        assert file.read_bytes() == photo.jpeg
        with Image.open(file) as picture, Image.open(tmp_path / "type_maps" / f"{file.stem}.png") as type_map:
            assert picture.format == "JPEG"
            assert picture.size == (64, 64)
            assert len(picture.getexif()) == 0
            assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
            assert np.abs(np.asarray(picture, dtype=float) - photo.image).mean() < 2
            assert np.array_equal(np.asarray(type_map), photo.type_map)
        assert float(row["mm_per_pixel"]) == pytest.approx(photo.mm_per_pixel, abs=1e-6)
        assert float(row["key_elevation_degrees"]) == pytest.approx(photo.light.key_elevation_degrees, abs=0.06)
        assert [float(row[f"share_{name}"]) for name in SCAR_TYPES] == pytest.approx([*photo.shares.values()], abs=1e-3)
        listed = [scar for scar in scars if scar["file"] == row["file"]]
        assert int(row["scars"]) == len(listed) == len(photo.scars)
        for written, scar in zip(listed, photo.scars, strict=True):
            assert written["type"] == scar.type
            for name in ("x_mm", "y_mm", "width_mm", "depth_mm", "elongation"):
                assert float(written[name]) == pytest.approx(getattr(scar, name), abs=1e-3)
            assert math.radians(float(written["angle_degrees"])) == pytest.approx(scar.angle, abs=1e-3)
    with Image.open(tmp_path / "contact_sheet.jpg") as sheet:
        assert sheet.width > sheet.height


def test_training_reads_the_manifest(tmp_path: Path) -> None:
    photos = load_photos(write_photos(tmp_path, count=4, seed=2, size=64))
    assert sorted(photo.label for photo in photos) == sorted(LABELS)


def test_write_photos_refuses_nothing_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        write_photos(tmp_path, count=0, seed=0)


def test_the_examples_that_ship_can_be_made_again(tmp_path: Path) -> None:
    rows = rows_of(write_examples(tmp_path))
    assert rows_of(EXAMPLES / "manifest.csv") == rows
    assert {label: len(seeds) for label, seeds in EXAMPLE_SEEDS.items()} == {
        **dict.fromkeys(SCAR_TYPES, 4),
        OUT_OF_SCOPE: 2,
    }
    assert {f"{name}.jpg" for name in SCAR_TYPES} <= {row["file"] for row in rows}
    assert sum(path.stat().st_size for path in EXAMPLES.iterdir()) < 500_000
    for row in rows:
        with Image.open(EXAMPLES / row["file"]) as old, Image.open(tmp_path / row["file"]) as new:
            assert old.size == (EXAMPLE_SIZE, EXAMPLE_SIZE)
            assert len(old.getexif()) == 0
            difference = np.abs(np.asarray(old, dtype=float) - np.asarray(new, dtype=float))
        assert difference.mean() < 2.0


@pytest.mark.parametrize("label", SCAR_TYPES)
def test_the_example_in_the_readme_shows_its_type_and_nothing_else_of_note(label: str) -> None:
    photo = render_photo(label, seed=EXAMPLE_SEEDS[label][0], size=32)
    assert photo.shares[label] > 0.85
    assert not photo.overlays.boxes and not photo.overlays.captions
