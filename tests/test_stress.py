"""Changes of photos: what each does, and flips counted right with a network that answers by colour alone."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.photos import LabelledPhoto
from scarlens.datasets.rendering import render_photo
from scarlens.inference.engine import Scores
from scarlens.model.calibration import Calibration
from scarlens.model.checkpoint import Card
from scarlens.training.measure.robustness import COMPARED, FEWEST, stress_figures, tone_figures
from scarlens.training.measure.scores import Decisions, ScoredPhotos, changes_csv, decide, read_changes
from scarlens.training.measure.stress import (
    ALL_CHANGES,
    CHANGES,
    PHOTOS_A_TYPE,
    STRENGTHS,
    equalised,
    score_changes,
    tried_photos,
)


class ByColour:
    """Answers by the mean of red, green and blue: the strongest decides the type."""

    def __init__(self) -> None:
        self.card = Card(trunk="none", size=64, mean=(0, 0, 0), std=(1, 1, 1), calibration=Calibration())
        self.passes = 0

    def __call__(self, photos: np.ndarray) -> Scores:
        self.passes += len(photos)
        logits = 40.0 * photos.mean(axis=(2, 3))
        class_map = np.pad(40.0 * photos[:, :, ::32, ::32], ((0, 0), (0, 2), (0, 0), (0, 0)))  # skin, and none: 0
        return Scores(class_map, logits, logits.sum(axis=1))


def target(inner: int, outer: int, share: float, *, side: int = 200) -> np.ndarray:
    """Noise in the colour of a channel, and a centred square of `share` of the area in the colour of another one."""
    picture = np.random.default_rng(0).integers(20, 50, (side, side, 3)).astype(np.uint8)
    picture[..., outer] += 120
    width = round(side * share**0.5)
    middle = slice((side - width) // 2, (side + width) // 2)
    picture[middle, middle, outer] -= 120
    picture[middle, middle, inner] += 120
    return picture


def saved(folder: Path, name: str, picture: np.ndarray, kind: str) -> LabelledPhoto:
    cv2.imwrite(str(folder / f"{name}.png"), picture[..., ::-1])
    return LabelledPhoto(folder / f"{name}.png", kind, kind, name)


def decisions(chosen: list[int], answered: list[bool]) -> Decisions:
    count = len(chosen)
    flags = np.zeros(count, dtype=bool)
    probabilities = 0.1 + 0.7 * np.eye(3)[chosen]
    return Decisions(probabilities, np.ones(count), np.ones((count, 3), dtype=bool), flags, flags, np.array(answered))


@pytest.fixture(scope="module")
def skin() -> np.ndarray:
    return render_photo("boxcar", seed=4, size=160).image


def test_every_change_gives_a_photo_and_the_same_one_each_time(skin: np.ndarray) -> None:
    before = skin.copy()
    for name, change in CHANGES.items():
        changed = change(skin)
        assert changed.dtype == np.uint8 and changed.shape[2] == 3 and min(changed.shape[:2]) > 64, name
        np.testing.assert_array_equal(changed, change(skin), err_msg=name)
        assert name in ("original", "shrunk") or changed.shape != skin.shape or (changed != skin).any(), name
    np.testing.assert_array_equal(skin, before)


def test_the_orientations_are_eight_different_ones(skin: np.ndarray) -> None:
    views = {CHANGES[name](skin).tobytes() for name in ("original", *(f"turned_{turn}" for turn in range(1, 8)))}
    assert len(views) == 8


def test_zoom_invents_no_pixel(skin: np.ndarray) -> None:
    reference, closer = CHANGES["zoom_reference"](skin), CHANGES["zoom_in"](skin)
    assert reference.shape[:2] == (145, 145) and closer.shape[:2] == (132, 132)
    np.testing.assert_array_equal(reference, skin[7:152, 7:152])
    np.testing.assert_array_equal(closer, skin[14:146, 14:146])


def test_light_scales_and_clips(skin: np.ndarray) -> None:
    np.testing.assert_array_equal(CHANGES["lighter"](skin), np.minimum(np.rint(skin * 1.2), 255))
    np.testing.assert_array_equal(CHANGES["darker"](skin), np.rint(skin * 0.8))


def test_pasted_things_cover_what_they_should(skin: np.ndarray) -> None:
    box = (CHANGES["white_box"](skin) != skin).any(axis=2)
    assert box.mean() == pytest.approx(0.45 * 0.20, abs=0.005)
    border = CHANGES["black_border"](skin)
    assert border.shape == (180, 180, 3) and not border[:10].any() and not border[:, -10:].any()
    np.testing.assert_array_equal(border[10:-10, 10:-10], skin)
    words = (CHANGES["caption"](skin) != skin).any(axis=2)
    assert 0.01 < words.mean() < 0.2 and not words[:100].any()


@pytest.mark.parametrize("name", STRENGTHS)
def test_a_stronger_corruption_changes_more(name: str, skin: np.ndarray) -> None:
    apart = [np.abs(CHANGES[f"{name}_{level}"](skin) - skin.astype(float)).mean() for level in range(1, 6)]
    assert apart == sorted(apart) and apart[0] > 0.2


def test_corruptions_work_at_one_scale() -> None:
    large = np.zeros((400, 800, 3), dtype=np.uint8)
    assert CHANGES["blur_3"](large).shape == CHANGES["shrunk"](large).shape == (112, 224, 3)


@pytest.mark.parametrize("shape", [(100, 300), (900, 700), (64, 64)])
def test_equalised_files_are_alike(shape: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    assert equalised(photo).shape == (256, 256, 3)


def test_flips_are_counted_where_they_happen(tmp_path: Path) -> None:
    # Closer than the reference the middle fills 56 % of the picture, in the reference 46 %.
    photos = [
        saved(tmp_path, "steady", target(0, 0, 0.4), "ice_pick"),
        saved(tmp_path, "flips", target(0, 1, 0.38), "boxcar"),
        saved(tmp_path, "other", target(1, 1, 0.4), "boxcar"),
        saved(tmp_path, "third", target(2, 2, 0.4), "rolling"),
    ]
    engine = ByColour()
    scores = score_changes(engine, photos, everything=photos[:2])
    assert tuple(scores) == ALL_CHANGES
    assert engine.passes == len(photos) * (len(ALL_CHANGES) - 1) + 2
    assert [len(part.photos) for part in scores.values()] == [4] * (len(ALL_CHANGES) - 1) + [2]
    decided = {name: decide(part, engine.card.calibration) for name, part in scores.items()}
    assert decided["original"].chosen.tolist() == [0, 1, 1, 2]
    figures = stress_figures(photos, decided)
    flipped = {name: row["type"]["value"] for name, row in figures["invariance"].items()}
    assert flipped.pop("zoom_in") == 0.25
    assert flipped == dict.fromkeys(flipped, 0.0)
    assert figures["corruptions"]["noise"][0]["accuracy"]["value"] == 1.0


def test_three_ways_to_flip() -> None:
    photos = [LabelledPhoto(Path(str(i)), "boxcar", "boxcar", str(i)) for i in range(5)]
    before = decisions([0, 0, 0, 0, 0], [True, True, False, False, True])
    after = decisions([1, 0, 1, 0, 0], [True, False, False, True, True])
    decided = dict.fromkeys(ALL_CHANGES, before) | {"caption": after}
    row = stress_figures(photos, decided)["invariance"]["caption"]
    assert (row["type"]["value"], row["answer"]["value"], row["changed"]["value"]) == (0.4, 0.2, 0.6)
    assert row["target"] == COMPARED["caption"][2] == 0.02


def test_scores_of_changes_survive_the_file(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    photos = [LabelledPhoto(Path(f'odd, "name"\n{i}.jpg'), name, name, str(i)) for i, name in enumerate(SCAR_TYPES)]
    scores: Mapping[str, ScoredPhotos] = {
        name: ScoredPhotos.of_numbers(photos, random.normal(size=(3, 7)).astype(np.float32))
        for name in ("original", "caption")
    }
    (tmp_path / "changes.csv").write_bytes(changes_csv(scores))
    again = read_changes(tmp_path / "changes.csv")
    assert list(again) == list(scores)
    for name, scored in scores.items():
        assert again[name].photos == photos
        np.testing.assert_array_equal(again[name].numbers.astype(np.float32), scored.numbers)


def test_large_sets_are_tried_by_lot() -> None:
    photos = [
        LabelledPhoto(Path(f"{name}{i}"), label, name, str(i))
        for name, label in (("boxcar", "boxcar"), ("rolling", "rolling"), ("keloid", "out_of_scope"))
        for i in range(PHOTOS_A_TYPE + 50 if name == "boxcar" else 10)
    ]
    chosen = tried_photos(photos)
    assert [photo.class_name for photo in chosen] == ["boxcar"] * PHOTOS_A_TYPE + ["rolling"] * 10
    assert chosen == tried_photos(photos) and len(set(chosen)) == len(chosen)


def test_tones_are_measured_apart_and_small_groups_not_at_all() -> None:
    photos = [LabelledPhoto(Path(str(i)), "boxcar", "boxcar", str(i)) for i in range(2 * FEWEST + 3)]
    angles: dict[LabelledPhoto, float | None] = dict.fromkeys(photos[:FEWEST], 60.0)
    angles |= dict.fromkeys(photos[FEWEST : 2 * FEWEST], -40.0) | dict.fromkeys(photos[2 * FEWEST :], None)
    photos.append(LabelledPhoto(Path("hand"), "out_of_scope", "skin", "hand"))
    chosen = [1] * FEWEST + [0] * FEWEST + [1] * 4
    figures = tone_figures(photos, decisions(chosen, [True] * len(chosen)), angles)
    assert figures["very_light"]["accuracy"]["value"] == 1.0
    assert figures["dark"]["accuracy"]["value"] == 0.0
    assert figures["dark"]["photos"] == figures["dark"]["subjects"] == FEWEST
    assert figures["no_skin_found"] == {**figures["tan"], "photos": 3, "subjects": 3}
    assert figures["tan"]["accuracy"] is None and figures["tan"]["photos"] == 0
