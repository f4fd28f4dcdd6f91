"""The photo's type against blind readers: clear photos, the rest, and who agrees with whom."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from scarlens.datasets.annotations.readings import Reading, ReadingsError, digest_of, read_readings
from scarlens.datasets.labels import UNTYPED
from scarlens.datasets.photos import LabelledPhoto
from scarlens.training.measure.readers import reader_figures, untyped_figures

ICE_PICK, BOXCAR, ROLLING = (tuple(0.1 + 0.7 * row) for row in np.eye(3))


def photos_with(
    folder: Path, label: str, *opinions: Mapping[str, tuple[float, ...]]
) -> tuple[list[LabelledPhoto], dict[str, Reading]]:
    """Write a file for each photo, and return the photos with what each reader thinks of them."""
    photos, readings = [], {}
    for number, opinion in enumerate(opinions):
        file = folder / f"{label}_{number}.jpg"
        file.write_text(file.name)
        photos.append(LabelledPhoto(file, label, label, file.name))
        readings[digest_of(file)] = Reading({}, {reader: np.array(types) for reader, types in opinion.items()})
    return photos, readings


def test_a_photo_is_clear_if_the_label_and_every_reader_agree(tmp_path: Path):
    photos, readings = photos_with(
        tmp_path,
        "boxcar",
        {"one": BOXCAR, "two": BOXCAR},
        {"one": BOXCAR, "two": BOXCAR},
        {"one": BOXCAR, "two": ROLLING},
        {"one": ROLLING, "two": ROLLING},  # they agree, but not with the label
        {"one": ICE_PICK},  # one reader is too few
    )
    found = reader_figures(photos, np.array([BOXCAR, ROLLING, ROLLING, ROLLING, ICE_PICK]), readings)
    assert (found["photos"], found["clear"]["photos"], found["rest"]["photos"]) == (4, 2, 2)
    assert found["clear"]["accuracy"]["value"] == 0.5 and found["rest"]["accuracy"]["value"] == 0.0
    assert found["clear"]["log_loss"]["value"] == pytest.approx(-np.log([0.8, 0.1]).mean())
    assert found["clear"]["recall"]["boxcar"]["value"] == 0.5 and found["clear"]["recall"]["rolling"]["value"] is None
    assert found["clear"]["confusion"] == [[0, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert found["readers_agree"]["value"] == 0.75


def test_each_reader_is_compared_with_label_and_model(tmp_path: Path):
    photos, readings = photos_with(tmp_path, "boxcar", {"one": BOXCAR, "two": ROLLING}, {"one": BOXCAR, "two": BOXCAR})
    found = reader_figures(photos, np.array([ROLLING, ROLLING]), readings)["readers"]
    assert [found[name]["with_label"]["value"] for name in ("one", "two")] == [1.0, 0.5]
    assert [found[name]["with_model"]["value"] for name in ("one", "two")] == [0.0, 0.5]
    assert found["one"]["log_loss"]["value"] == pytest.approx(-np.log(0.8))


def test_without_readings_there_are_no_figures(tmp_path: Path):
    photos, _ = photos_with(tmp_path, "boxcar", {})
    assert reader_figures(photos, np.array([BOXCAR]), {}) == {}
    assert untyped_figures(photos, np.array([BOXCAR]), {}) == {"photos": 0}


def test_unlabelled_photos_are_measured_against_the_readers(tmp_path: Path):
    photos, readings = photos_with(tmp_path, UNTYPED, {"one": BOXCAR, "two": BOXCAR}, {"one": BOXCAR, "two": ROLLING})
    found = untyped_figures(photos, np.array([BOXCAR, BOXCAR]), readings)
    assert (found["photos"], found["judged"], found["accuracy"]["value"]) == (1, 2, 1.0)
    # Confidence 0.8 twice; the readers give boxcar 0.8 and 0.45.
    assert found["calibration_error"] == pytest.approx(0.8 - (0.8 + 0.45) / 2)


def test_readings_of_a_user_are_added_to_the_bundled_ones(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(b"photo")
    (tmp_path / "readings.csv").write_text("\ufefffile,reader,ice_pick,boxcar,rolling\na.jpg,me,0.2,0.5,0.3\n")
    found = read_readings(tmp_path / "readings.csv")
    assert found[digest_of(tmp_path / "a.jpg")].types["me"].tolist() == [0.2, 0.5, 0.3]
    assert len(found) == len(read_readings()) + 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,reader,ice_pick,boxcar,rolling\na.jpg,me,0.9,0.5,0.3\n", "line 2: expected probabilities that sum to 1"),
        ("file,reader,ice_pick,boxcar,rolling\nb.jpg,me,0.2,0.5,0.3\n", "expected a CSV file with the columns"),
        ("file,reader,ice_pick,boxcar\na.jpg,me,0.5,0.5\n", "columns file,reader,ice_pick,boxcar,rolling, found"),
        ("file,reader,ice_pick,boxcar,rolling\na.jpg,me,x,0.5,0.3\n", "could not convert"),
    ],
    ids=["sum", "no photo", "no column", "no number"],
)
def test_readings_that_cannot_be_used_are_an_error_with_its_place(tmp_path: Path, text: str, message: str):
    (tmp_path / "a.jpg").write_bytes(b"photo")
    (tmp_path / "readings.csv").write_text(text)
    with pytest.raises(ReadingsError, match=message):
        read_readings(tmp_path / "readings.csv")
