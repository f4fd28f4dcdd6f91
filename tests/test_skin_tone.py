"""Skin tone: the angle of known colours, the limits of the groups, and photos without skin."""

import cv2
import numpy as np
import pytest

from scarlens.datasets.labels import OUT_OF_SCOPE
from scarlens.datasets.rendering import render_photo
from scarlens.datasets.skin_tone import TONES, tone_of, typology_angle


def flat(lightness: float, red: float, yellow: float, *, side: int = 64) -> np.ndarray:
    """An RGB uint8 picture of one CIELAB colour."""
    lab = np.full((side, side, 3), (lightness, red, yellow), dtype=np.float32)
    return np.rint(255 * cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)).astype(np.uint8)


@pytest.mark.parametrize(
    ("lightness", "red", "yellow"), [(75, 12, 14), (70, 13, 17), (62, 14, 18), (55, 15, 20), (45, 15, 18), (35, 13, 15)]
)
def test_angle_of_a_known_colour(lightness: float, red: float, yellow: float) -> None:
    expected = np.degrees(np.arctan2(lightness - 50, yellow))
    angle = typology_angle(flat(lightness, red, yellow))
    assert angle == pytest.approx(expected, abs=2.0)  # 8 bits a channel


def test_highlights_shadows_and_background_do_not_count() -> None:
    photo = flat(65, 14, 18, side=100)
    expected = typology_angle(photo)
    photo[:5] = flat(95, 5, 6, side=100)[:5]
    photo[5:10] = flat(25, 12, 14, side=100)[:5]
    photo[60:] = (30, 90, 200)  # blue
    assert typology_angle(photo) == pytest.approx(expected, abs=0.5)


def test_angle_does_not_depend_on_the_size() -> None:
    photo = render_photo(OUT_OF_SCOPE, seed=3, size=128).image
    enlarged = cv2.resize(photo, (600, 600), interpolation=cv2.INTER_CUBIC)
    small, large = typology_angle(photo), typology_angle(enlarged)
    assert small is not None and large == pytest.approx(small, abs=2.0)


@pytest.mark.parametrize("colour", [(30, 90, 200), (128, 128, 128), (255, 255, 255), (20, 120, 40)])
def test_picture_without_skin_has_no_angle(colour: tuple[int, int, int]) -> None:
    picture = np.full((50, 70, 3), colour, dtype=np.uint8)
    picture[:3] = flat(65, 14, 18)[0, 0]  # a little skin is not enough
    assert typology_angle(picture) is None


def test_rendered_dark_skin_is_darker_than_rendered_light_skin() -> None:
    photos = [render_photo(OUT_OF_SCOPE, seed=seed, size=32) for seed in range(320)]
    pairs = [(photo.ita_degrees, typology_angle(photo.image)) for photo in photos]
    found = np.array([(true, angle) for true, angle in pairs if angle is not None])
    assert len(found) > 0.95 * len(photos)
    # Exposure and white balance move the angle of one photo by 15 degrees: it is groups that can be told apart.
    groups = [found[(found[:, 0] > low) & (found[:, 0] <= high)] for low, high in TONES.values()]
    assert min(map(len, groups)) > 20
    true, measured = np.array([group.mean(axis=0) for group in groups]).T
    assert (np.diff(measured) < 0).all()
    assert np.corrcoef(true, measured)[0, 1] > 0.95


@pytest.mark.parametrize(
    ("angle", "tone"),
    [
        (60, "very_light"),
        (55, "light"),
        (41.5, "light"),
        (41, "intermediate"),
        (28, "tan"),
        (10, "brown"),
        (-30, "dark"),
        (-90, "dark"),
    ],
)
def test_limits_of_the_groups(angle: float, tone: str) -> None:
    assert tone_of(angle) == tone


def test_groups_leave_no_gap() -> None:
    limits = list(TONES.values())
    assert [low for low, _ in limits[:-1]] == [high for _, high in limits[1:]]
