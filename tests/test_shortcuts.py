"""Shortcuts: what is measured of files and pictures, and that a label given away by it is noticed and named."""

import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image

from scarlens.datasets.audit import shortcuts
from scarlens.datasets.audit.shortcuts import file_features, picture_features, shortcut_test
from scarlens.datasets.reading.reader import read_image
from scarlens.datasets.splits import SplitError

CLASSES = ("boxcar", "ice_pick", "rolling")


def noise(seed: int, height: int = 96, width: int = 96) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (height, width, 3), dtype=np.uint8)


def written(image: np.ndarray, form: str, **options: int | Image.Exif) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, form, **options)
    return stream.getvalue()


def features_of(data: bytes) -> dict[str, float]:
    return file_features(data, read_image(data))


@pytest.mark.parametrize("quality", [30, 50, 75, 95])
def test_jpeg_quality_is_read_from_the_tables(quality: int) -> None:
    found = features_of(written(noise(0), "JPEG", quality=quality))
    assert found["file size: JPEG quality"] == pytest.approx(quality, abs=1)
    assert found["format and mode: JPEG"] == 1 and found["format and mode: PNG"] == 0


def test_format_and_mode() -> None:
    alpha = np.dstack([noise(0), np.full((96, 96), 255, np.uint8)])
    opaque = features_of(written(alpha, "PNG"))
    alpha[0, 0, 3] = 0
    see_through = features_of(written(alpha, "PNG"))
    grey = features_of(written(noise(0)[..., 0], "PNG"))
    names = [f"format and mode: {name}" for name in ("PNG", "grey", "alpha channel", "alpha used")]
    assert [opaque[name] for name in names] == [1, 0, 1, 0]
    assert [see_through[name] for name in names] == [1, 0, 1, 1]
    assert [grey[name] for name in names] == [1, 1, 0, 0]
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    assert features_of(written(noise(0), "JPEG", exif=exif))["format and mode: EXIF"] == 1
    assert features_of(written(noise(0), "WEBP"))["format and mode: EXIF"] == 0


def test_padding_boxes_and_letters_are_measured() -> None:
    image = noise(0, 100, 200)
    image[:20], image[:, 150:] = 255, 255
    found = picture_features(image)
    assert [found[f"padding: {side}"] for side in ("top", "bottom", "left", "right")] == [0.2, 0, 0, 0.25]
    boxed = noise(0, 96, 96)
    boxed[16:48, 32:80] = 0
    assert picture_features(boxed)["boxes and letters: black boxes"] == pytest.approx(32 * 48 / 96**2)
    skin = np.full((300, 300, 3), 120, np.uint8)
    lettered = cv2.putText(skin.copy(), "BEFORE", (20, 150), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255), 2)
    assert picture_features(skin)["boxes and letters: strokes"] == 0
    assert picture_features(lettered)["boxes and letters: strokes"] > 0.001


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (3, 2), (300, 2)])
def test_tiny_pictures_have_finite_features(shape: tuple[int, int]) -> None:
    assert np.isfinite(list(picture_features(noise(0, *shape)).values())).all()


def rows_of(images: list[np.ndarray], form: str = "PNG") -> list[dict[str, float]]:
    rows = []
    for image in images:
        data = written(image, form)
        rows.append({**file_features(data, image), **picture_features(image)})
    return rows


def classes_and_subjects(count: int) -> tuple[list[str], list[str]]:
    return [CLASSES[number % 3] for number in range(count)], [f"person {number // 6}" for number in range(count)]


def varied(seed: int) -> np.ndarray:
    """A picture whose size and light have nothing to do with its class."""
    random = np.random.default_rng(seed + 1000)
    image = noise(seed, *random.integers(40, 80, 2))
    return (image * random.uniform(0.4, 1)).astype(np.uint8)


def test_clean_photos_have_no_shortcut() -> None:
    classes, subjects = classes_and_subjects(90)
    test = shortcut_test(rows_of([varied(seed) for seed in range(90)]), classes, subjects)
    assert test.bare.p > 0.01
    assert test.bare.balanced_accuracy < test.chance + 0.1
    assert test.counts == dict.fromkeys(CLASSES, 30)


def test_p_values_of_noise_are_not_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcuts, "_importance", lambda *_: {})
    random = np.random.default_rng(0)
    classes = [CLASSES[number % 3] for number in range(60)]
    subjects = [f"person {number}" for number in range(60)]
    found = []
    for _ in range(30):
        rows = [{f"file size: {name}": value for name, value in enumerate(row)} for row in random.normal(size=(60, 3))]
        found.append(shortcut_test(rows, classes, subjects).everything.p)
    assert np.mean(np.array(found) <= 0.1) < 0.24
    assert 0.35 < np.mean(found) < 0.65


def padded(image: np.ndarray) -> np.ndarray:
    return cv2.copyMakeBorder(image, 10, 10, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def captioned(image: np.ndarray) -> np.ndarray:
    return cv2.putText(image.copy(), "BOX", (2, 35), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255, 255, 255), 1)


@pytest.mark.parametrize(("mark", "family"), [(padded, "padding"), (captioned, "boxes and letters")])
def test_a_mark_on_one_kind_is_found_and_named(mark: Callable[[np.ndarray], np.ndarray], family: str) -> None:
    classes, subjects = classes_and_subjects(90)
    images = [varied(seed) for seed in range(90)]
    images = [mark(image) if kind == "boxcar" else image for kind, image in zip(classes, images, strict=True)]
    test = shortcut_test(rows_of(images), classes, subjects)
    assert test.bare.p <= 0.01 and test.bare.balanced_accuracy > test.chance + 0.1
    assert test.families[family].p <= 0.01
    assert test.auroc["boxcar"] > 0.9 > test.auroc["rolling"]
    first = next(iter(test.features))
    assert test.features[first] > 0
    assert list(test.features.values()) == sorted(test.features.values(), reverse=True)


def test_file_size_alone_is_found_and_named() -> None:
    classes, subjects = classes_and_subjects(90)
    rows = []
    for seed, kind in enumerate(classes):
        image = varied(seed)
        data = written(image, "JPEG", quality=90 if kind == "rolling" else 60)
        rows.append({**file_features(data, image), **picture_features(image)})
    test = shortcut_test(rows, classes, subjects)
    assert max(test.families, key=lambda name: test.families[name].balanced_accuracy) == "file size"
    assert test.families["file size"].p <= 0.01 < test.families["format and mode"].p


def test_what_a_subject_alone_gives_away_does_not_count() -> None:
    # Each person has one class and one picture size; a classifier that knew the person would be right every time.
    random = np.random.default_rng(0)
    sizes = random.permutation(30)
    rows = [{"dimensions: width": float(sizes[number // 3])} for number in range(90)]
    classes = [CLASSES[number // 3 % 3] for number in range(90)]
    test = shortcut_test(rows, classes, [f"person {number // 3}" for number in range(90)])
    assert test.everything.p > 0.01


def test_the_test_is_repeatable_and_needs_subjects() -> None:
    classes, subjects = classes_and_subjects(60)
    rows = rows_of([varied(seed) for seed in range(60)])
    assert shortcut_test(rows, classes, subjects) == shortcut_test(rows, classes, subjects)
    with pytest.raises(SplitError, match="subjects"):
        shortcut_test(rows[:12], classes[:12], subjects[:12])


def test_a_label_that_is_a_shortcut_within_every_person_is_found() -> None:
    # Each person has all classes, so that giving one person the labels of another changes nothing.
    classes, subjects = classes_and_subjects(90)
    test = shortcut_test([{"dimensions: width": float(CLASSES.index(kind))} for kind in classes], classes, subjects)
    assert test.bare.balanced_accuracy == 1 and test.bare.p <= 0.01
