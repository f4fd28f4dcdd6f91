"""Two photos of one place: they are laid over one another, and a change is named only beyond what chance explains."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import scarlens
from scarlens.datasets.reading.reader import ImageReadError
from scarlens.datasets.rendering.photo import render_photo
from scarlens.inference.classifier import BUNDLED_CHECKPOINT, Classifier
from scarlens.inference.compare.alignment import align
from scarlens.inference.engine import open_engine
from scarlens.training.evaluate import judge

SCARRED = render_photo("ice_pick", seed=3, size=480).image
CLEAR = render_photo("out_of_scope", seed=3, size=480).image
"""The same skin without scars."""


NOISE = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)


def with_limits(same_light: float, any_light: float) -> Classifier:
    engine = open_engine(BUNDLED_CHECKPOINT)
    limits = {"repeatability": (same_light,) * 4, "repeatability_any_light": (any_light,) * 4}
    return judge(engine, replace(engine.card.calibration, **limits))


def turned(photo: np.ndarray, degrees: float, zoom: float) -> np.ndarray:
    height, width = photo.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom)
    return cv2.warpAffine(photo, matrix, (width, height))


@pytest.mark.parametrize(("degrees", "zoom"), [(0, 1.0), (10, 1.0), (-30, 1.3), (0, 1.6), (180, 1.0)])
def test_a_turned_and_zoomed_photo_is_laid_over_the_original(degrees: float, zoom: float) -> None:
    found = align(SCARRED, turned(SCARRED, degrees, zoom))
    assert found is not None
    before, after = (cv2.GaussianBlur(picture, (0, 0), 2).astype(int) for picture in found)
    assert before.shape == after.shape
    assert np.median(np.abs(before - after)) <= 2


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_detail_alone_makes_no_difference(factor: float) -> None:
    resized = cv2.resize(SCARRED, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    found = align(SCARRED, resized)
    assert found is not None
    assert min(found.before.shape[:2]) >= 0.95 * min(480, resized.shape[0])
    assert np.median(np.abs(found.before.astype(int) - found.after)) <= 3


def test_only_what_both_show_is_compared() -> None:
    found = align(SCARRED[:, :360], SCARRED[:, 120:])
    assert found is not None
    assert abs(found.before.shape[1] - 240) <= 3
    assert np.median(np.abs(found.before.astype(int) - found.after)) <= 2


@pytest.mark.parametrize(
    "other",
    [
        render_photo("ice_pick", seed=4, size=480).image,
        np.full((300, 300, 3), 128, np.uint8),
        NOISE,
        SCARRED[:40, :40],
    ],
)  # fmt: skip
def test_other_places_are_not_compared(other: np.ndarray) -> None:
    result = scarlens.compare(SCARRED, other)
    assert (result.obstacle, result.changes) == ("other_place", {})
    assert "do not seem to show the same place" in result.headline


def test_one_logo_on_two_photos_is_no_place() -> None:
    logo = np.random.default_rng(1).integers(0, 256, (12, 12, 3), np.uint8)
    stamp = cv2.resize(logo, (96, 96), interpolation=cv2.INTER_CUBIC)
    photos = [SCARRED.copy(), render_photo("rolling", seed=8, size=480).image.copy()]
    for photo in photos:
        photo[8:104, 8:104] = stamp
    assert align(photos[0], photos[1]) is None


def test_the_same_photo_has_not_changed() -> None:
    result = scarlens.compare(SCARRED, SCARRED, classifier=with_limits(0.05, 0.1))
    assert result.headline == "No change that brightness, zoom and compression could not explain."
    assert {change.more_than for change in result.changes.values()} == {"nothing"}


@pytest.mark.parametrize(
    ("limits", "cause", "words"),
    [
        ((0.01, 0.02), "any_light", "and more than most changes of light do."),
        ((0.01, 0.99), "same_light", "but light from another side could."),
        ((0.99, 0.99), "nothing", "No change that"),
    ],
)
def test_a_change_counts_by_what_cannot_explain_it(limits: tuple[float, float], cause: str, words: str) -> None:
    result = scarlens.compare(SCARRED, CLEAR, classifier=with_limits(*limits))
    assert result.changes["ice_pick"].more_than == cause
    assert words in result.headline
    if cause != "nothing":
        assert result.headline.startswith("Less ice pick scarring (")
    whole = sum(result.changes[name].before for name in ("ice_pick", "boxcar", "rolling"))
    assert result.changes["all"].before == pytest.approx(whole)


def test_more_scars_are_more() -> None:
    assert "More ice pick scarring" in scarlens.compare(CLEAR, SCARRED, classifier=with_limits(0.01, 0.02)).headline


def test_pictures_without_scars_and_dark_photos_are_not_compared() -> None:
    assert scarlens.compare(NOISE, NOISE).obstacle == "no_scar"
    assert scarlens.compare(SCARRED, (SCARRED * 0.1).astype(np.uint8)).obstacle == "low_quality"


def test_a_checkpoint_without_repeatability_names_no_change() -> None:
    engine = open_engine(BUNDLED_CHECKPOINT)
    unmeasured = judge(engine, replace(engine.card.calibration, repeatability=None))
    result = scarlens.compare(SCARRED, CLEAR, classifier=unmeasured)
    assert result.obstacle is None and result.headline.startswith("Can't tell whether anything changed")
    assert {change.more_than for change in result.changes.values()} == {None}


def test_json_text_and_picture_carry_the_notice_and_no_treatment() -> None:
    result = scarlens.compare(SCARRED, CLEAR)
    content = json.loads(json.dumps(result.to_dict()))
    assert content["notice"] in result.to_text()
    assert "nothing about healing" in result.to_text()
    assert not {"treatment", "preview"} & content["after"].keys()
    assert content["changes"]["ice_pick"].keys() == {"before", "after", "more_than"}
    picture = result.picture()
    assert picture.dtype == np.uint8
    assert picture.shape[1] > 2 * result.pictures[0].shape[1]


def test_an_unreadable_photo_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageReadError, match=r"bad\.jpg"):
        scarlens.compare(SCARRED, tmp_path / "bad.jpg")


def test_a_photo_keeps_its_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(SCARRED)).save(tmp_path / "turned.png", exif=exif)
    assert scarlens.compare(SCARRED, tmp_path / "turned.png").obstacle is None
