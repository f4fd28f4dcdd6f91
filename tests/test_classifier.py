"""Prediction: the bundled checkpoint, single photos, streams, abstention, and the result type."""

import io
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scarlens
from scarlens.datasets.labels import MAP_CLASSES, SCAR_TYPES
from scarlens.datasets.reading.reader import ImageReadError
from scarlens.datasets.rendering import render_photo
from scarlens.inference.classifier import Classifier
from scarlens.inference.engine import Scores
from scarlens.inference.prediction import Prediction
from scarlens.inference.reasons import NOTICE
from scarlens.model.calibration import Calibration
from scarlens.model.checkpoint import Card


class FixedEngine:
    """An engine that gives every photo the same scores."""

    def __init__(
        self,
        type_logits: tuple[float, float, float],
        scope_logit: float,
        calibration: Calibration,
        skin: tuple[float, float] = (0.0, -9.0),
    ) -> None:
        half = (0.5, 0.5, 0.5)
        self.card = Card(trunk="none", size=64, mean=half, std=half, calibration=calibration, model_id="fixed")
        self._types, self._scope = np.array(type_logits, dtype=np.float32), np.float32(scope_logit)
        self._skin = np.array(skin, dtype=np.float32)
        self.batches: list[int] = []

    def __call__(self, photos: np.ndarray) -> Scores:
        number = len(photos)
        self.batches.append(number)
        shown = np.concatenate([self._types, self._skin])
        class_map = np.broadcast_to(shown[None, :, None, None], (number, len(MAP_CLASSES), 2, 2))
        return Scores(class_map, np.tile(self._types, (number, 1)), np.full(number, self._scope))


CALIBRATION = Calibration(plausible_thresholds=(0.2, 0.2, 0.2), scope_threshold=0.4, answer_threshold=0.5)


def classifier(types: tuple[float, float, float] = (3.0, 0.0, 0.0), scope: float = 3.0) -> Classifier:
    return Classifier(FixedEngine(types, scope, CALIBRATION))


def photo(height: int = 100, width: int = 120) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)


def test_bundled_checkpoint_answers_path_bytes_and_array_alike(tmp_path: Path) -> None:
    image = render_photo("boxcar", seed=5).image
    path = tmp_path / "boxcar.png"
    Image.fromarray(image).save(path)
    answers = [scarlens.predict(source) for source in (path, str(path), path.read_bytes(), image)]
    for answer in answers:
        assert tuple(answer.probabilities) == SCAR_TYPES
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert answer.probabilities == answers[0].probabilities
        assert (answer.height, answer.width) == image.shape[:2]
        assert answer.regions.dtype == np.float32
        assert answer.regions.min() >= 0.0 and answer.regions.sum(axis=0).max() <= 1.0 + 1e-6


def test_exif_orientation_does_not_change_the_answer() -> None:
    image = render_photo("rolling", seed=6).image
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise when shown
    Image.fromarray(np.rot90(image).copy()).save(turned, "PNG", exif=exif)
    assert scarlens.predict(turned.getvalue()).probabilities == scarlens.predict(image).probabilities


def test_clear_answer_carries_its_plan_first() -> None:
    answer = classifier((2.0, 1.5, -3.0)).predict(photo())
    assert answer.label == "ice_pick" and answer.reason is None
    assert answer.plausible == ("ice_pick", "boxcar")
    assert answer.treatment is not None and not answer.treatment.undecided
    assert [part.scar_type for part in answer.treatment.types] == ["ice_pick", "boxcar"]


def test_ambiguous_answer_sets_plans_side_by_side() -> None:
    answer = classifier((0.1, 0.0, 0.05)).predict(photo())
    assert answer.label is None and answer.reason == "ambiguous"
    assert answer.plausible == ("ice_pick", "rolling", "boxcar")
    assert answer.treatment is not None and answer.treatment.undecided
    assert {part.scar_type for part in answer.treatment.types} == set(SCAR_TYPES)


@pytest.mark.parametrize(
    ("image", "scope", "reason", "fault"),
    [
        (photo(), -3.0, "out_of_scope", None),
        (photo(40, 200), 3.0, "low_quality", "too small or too narrow"),
        (photo(64, 2000), 3.0, "low_quality", "too small or too narrow"),
    ],
)
def test_refused_photo_gets_no_treatment(image: np.ndarray, scope: float, reason: str, fault: str | None) -> None:
    answer = classifier(scope=scope).predict(image)
    assert answer.label is None and (answer.reason, answer.fault) == (reason, fault)
    assert answer.treatment is None
    assert sum(answer.probabilities.values()) == pytest.approx(1)
    assert (fault or "scars seen") in answer.headline and NOTICE in answer.to_text()


@pytest.mark.parametrize(("limits", "fault"), [((200.0, 0.0), "too dark"), ((0.0, 99.0), "too blurred")])
def test_what_is_wrong_with_a_photo_is_named(limits: tuple[float, float], fault: str) -> None:
    calibration = replace(CALIBRATION, min_brightness=limits[0], min_sharpness=limits[1])
    answer = Classifier(FixedEngine((2.0, -3.0, -3.0), 3.0, calibration)).predict(photo())
    assert (answer.reason, answer.fault) == ("low_quality", fault)
    assert answer.headline == f"Can't tell: the photo is {fault} to judge" and answer.treatment is None


@pytest.mark.parametrize(
    ("logits", "says"),
    [
        ((2.0, 1.5, -3.0), "Mostly ice pick scars, some boxcar: 62 % sure"),
        ((0.1, 0.0, 0.05), "Can't tell which type: ice pick 35 %, rolling 33 %, boxcar 32 %"),
    ],
)
def test_the_answer_is_one_sentence(logits: tuple[float, float, float], says: str) -> None:
    assert classifier(logits).predict(photo()).headline == says


@pytest.mark.parametrize(
    ("skin", "says"), [((0.0, -9.0), "No ice pick, boxcar or rolling scars seen"), ((-9.0, 9.0), "Can't tell")]
)
def test_skin_without_scars_differs_from_no_skin(skin: tuple[float, float], says: str) -> None:
    answer = Classifier(FixedEngine((-9.0, -9.0, -9.0), -3.0, CALIBRATION, skin)).predict(photo())
    assert answer.headline.startswith(says)
    assert answer.treatment is None and answer.most_seen is None
    assert answer.skin == pytest.approx(1.0 if skin[0] > skin[1] else 0.0, abs=0.01)
    assert "no scar" in answer.to_text()


def test_extent_and_regions_say_where_and_how_much() -> None:
    answer = Classifier(FixedEngine((2.0, -3.0, -3.0), 3.0, CALIBRATION, (0.0, -9.0))).predict(photo())
    assert answer.regions.shape[0] == len(SCAR_TYPES)
    assert answer.regions.sum(axis=0).max() < 1.0  # the rest is no such scar
    assert (
        answer.extent["ice_pick"] == pytest.approx(answer.regions[0].mean(), abs=1e-3) and answer.regions[0].min() > 0.8
    )
    assert answer.most_seen == answer.label == "ice_pick" and answer.contradiction is None
    assert f"seen on {100 * answer.extent['ice_pick']:.0f} % of visible skin" in answer.to_text()


def test_a_label_that_contradicts_the_map_is_reported() -> None:
    class Torn(FixedEngine):
        def __call__(self, photos: np.ndarray) -> Scores:
            scores = super().__call__(photos)
            return scores._replace(type_logits=np.ascontiguousarray(scores.type_logits[:, ::-1]))

    answer = Classifier(Torn((4.0, -3.0, -3.0), 3.0, CALIBRATION)).predict(photo())
    assert answer.label == "rolling" and answer.most_seen == "ice_pick"
    assert answer.contradiction and answer.contradiction in answer.to_text()
    assert answer.to_dict()["contradiction"] == answer.contradiction


def test_stream_keeps_order_and_yields_errors_in_place() -> None:
    one = classifier()
    answers = list(
        one.predict_many([photo(), b"no picture", photo(80, 90), np.zeros((5, 5, 2)), photo()], batch_size=2)
    )
    kinds = [type(answer) for answer in answers]
    assert kinds == [Prediction, ImageReadError, Prediction, ImageReadError, Prediction]
    assert isinstance(answers[2], Prediction) and answers[2].width == 90


def test_stream_consumes_no_more_than_a_batch_ahead() -> None:
    taken = count()

    def endless() -> Iterator[np.ndarray]:
        while True:
            next(taken)
            yield photo()

    answers = classifier().predict_many(endless(), batch_size=4)
    assert len(list(islice(answers, 4))) == 4
    assert next(taken) == 4


def test_batches_and_single_photos_agree_on_the_bundled_checkpoint() -> None:
    images = [render_photo(label, seed=seed).image for seed, label in enumerate(SCAR_TYPES * 2)]
    loaded = scarlens.load()
    together = list(loaded.predict_many(images, batch_size=4))
    for image, answer in zip(images, together, strict=True):
        assert isinstance(answer, Prediction)
        alone = loaded.predict(image)
        assert alone.label == answer.label and alone.reason == answer.reason
        assert alone.probabilities == pytest.approx(answer.probabilities, abs=1e-5)


def test_batch_size_below_one_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        classifier().predict_many([], batch_size=0)


def test_to_dict_is_plain_json_with_the_notice() -> None:
    answer = classifier((2.0, 1.5, -3.0)).predict(photo())
    plain = json.loads(json.dumps(answer.to_dict()))
    assert plain["label"] == "ice_pick" and plain["notice"] == NOTICE
    assert list(plain["probabilities"]) == list(SCAR_TYPES)
    assert np.array(plain["regions"]).shape == answer.regions.shape
    more = {"headline", "most_seen", "contradiction", "notice", "version"}
    assert set(plain) == {entry.name for entry in fields(Prediction)} - {"preview"} | more  # no picture in JSON


def test_result_that_contradicts_itself_is_refused() -> None:
    good = classifier().predict(photo())
    values = {entry.name: getattr(good, entry.name) for entry in fields(Prediction)}
    for name, wrong, message in (
        ("probabilities", {"ice_pick": 0.9, "boxcar": 0.9, "rolling": 0.0}, "must sum to 1"),
        ("probabilities", {"boxcar": 0.0, "ice_pick": 1.0, "rolling": 0.0}, "in order"),
        ("label", None, "exactly one of label and reason"),
        ("label", "keloid", "label must be one of"),
        ("plausible", (), "plausible must be a non-empty"),
        ("in_scope", 1.5, "in_scope must lie in 0..1"),
        ("regions", np.zeros((2, 2)), "regions must have shape"),
        ("extent", {"ice_pick": 0.5}, "extent must have the keys"),
        ("extent", dict.fromkeys(SCAR_TYPES, 1.5), "extent must have the keys"),
        ("skin", -0.1, "skin must lie in 0..1"),
    ):
        with pytest.raises(ValueError, match=message):
            Prediction(**{**values, name: wrong})
    with pytest.raises(ValueError, match="must not carry a treatment"):
        Prediction(**{**values, "label": None, "reason": "out_of_scope"})
