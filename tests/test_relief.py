"""Width and depth: the relief head, its training on renderings, its way into a checkpoint, and what a user is told."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from scarlens.cli import app as command_line
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.rendering import render_photo
from scarlens.datasets.rendering.photo import PATCH_MM, light_of
from scarlens.inference.classifier import Classifier
from scarlens.inference.engine import OnnxEngine, Scores, TorchEngine
from scarlens.inference.measurement import CAVEAT, WITHHELD, Measurement, ScaleError, measure
from scarlens.model.calibration import Calibration, ReliefLimits
from scarlens.model.checkpoint import Card, CheckpointError, load_checkpoint, save_checkpoint
from scarlens.model.export import attach_relief, network_of
from scarlens.model.network import ScarNetwork, TrunkError
from scarlens.training import relief as training
from scarlens.training.relief_figures import photo_row, relief_figures, scar_rows, summary_lines
from scarlens.training.relief_pictures import LABELS, MEAN, SIZE, STD, example_of, pictures
from scarlens.training.run import TrainingError

TINY = training.Effort(training=6, steps=3, frontal=2, test=8)
LIMITS = ReliefLimits(highest_elevation_degrees=45.0, coarsest_mm_per_pixel=0.25)
SIDE = 56


@pytest.fixture(scope="module")
def network() -> ScarNetwork:
    torch.manual_seed(0)
    return ScarNetwork("mobilenet_v2").eval()


@pytest.fixture(scope="module")
def weights(network: ScarNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint of random weights; tests only read it."""
    file = tmp_path_factory.mktemp("weights") / "model.safetensors"
    card = Card(trunk="mobilenet_v2", size=SIZE, mean=MEAN, std=STD, calibration=Calibration())
    save_checkpoint(file, {name: tensor.numpy() for name, tensor in network.state_dict().items()}, card)
    return file


@pytest.fixture(scope="module")
def run(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished training; tests only read it."""
    out = tmp_path_factory.mktemp("relief") / "run"
    training.train(str(weights), out, effort=TINY)
    return out


def changed(weights: Path, file: Path, *, stage: int | None = None, **card: Any) -> Path:
    """Copy a checkpoint with another card, and with one stage of its trunk changed."""
    tensors, old = load_checkpoint(weights)
    if stage is not None:
        name = next(name for name in tensors if name.startswith(f"trunk.{stage}.") and name.endswith(".weight"))
        tensors[name] = tensors[name] * 1.5
    save_checkpoint(file, tensors, replace(old, **card))
    return file


# --- the renderer's truth --------------------------------------------------------------------------------------------


def test_scar_map_says_which_scar_covers_a_pixel() -> None:
    photo = render_photo("boxcar", seed=7)
    kinds = np.array([*(1 + SCAR_TYPES.index(scar.type) for scar in photo.scars), 0])
    assert np.array_equal(kinds[photo.scar_map], photo.type_map)
    assert len(np.unique(photo.scar_map)) > 2
    assert photo.light == light_of(7)
    assert render_photo("boxcar", seed=7, patch_mm=PATCH_MM).jpeg == photo.jpeg
    assert 12 <= 256 * render_photo("boxcar", seed=7, patch_mm=(12.0, 13.0)).mm_per_pixel <= 13


def test_truth_put_through_the_figures_has_no_error() -> None:
    scars, photos = [], []
    for picture in pictures(range(16)):
        truth = example_of(picture)
        assert np.allclose(truth["types"].sum(axis=0), 1.0)
        planes = np.stack(
            [
                *truth["types"][1:],
                truth["log_width"],
                truth["deep"] / np.maximum(truth["types"][2], 1e-3),
                np.full((SIDE, SIDE), truth["elevation"]),
            ]
        ).astype(np.float32)
        scars += [row for row in scar_rows(picture, planes) if row.width_mm > 8 * row.mm_per_pixel]
        photos += [row for row in [photo_row(picture, planes, LIMITS)] if row]
    figures = relief_figures(scars, photos, LIMITS)
    assert figures["scar_width"]["all"]["error"] < 0.01
    assert figures["photo_width"]["boxcar"]["error"] < 0.1  # a median over positions, not over scars
    assert figures["photo_width"]["rolling"]["number"] == 0
    assert figures["scar_depth"]["raking"]["auc"] > 0.98
    assert figures["photo_depth_withheld"]["frontal"]["share"] == 1.0
    assert figures["photo_depth_withheld"]["raking"]["share"] == 0.0
    assert any("photo, frontal" in line and "100.0 %" in line for line in summary_lines(figures))


# --- the head and its training ---------------------------------------------------------------------------------------


def test_head_maps_probabilities_and_one_lamp_and_is_silent_while_the_others_train() -> None:
    network = ScarNetwork("mobilenet_v2", relief=True)
    photos = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert network.relief is not None
    assert not any(parameter.requires_grad for parameter in network.relief.parameters())
    assert network.train()(photos).relief is None
    with torch.inference_mode():
        relief = network.eval()(photos).relief
    assert relief.shape == (2, 6, 16, 16)
    seen, _, deep, elevation = relief.split([3, 1, 1, 1], dim=1)
    assert seen.min() >= 0 and seen.sum(dim=1).max() <= 1 and 0 <= deep.min() <= deep.max() <= 1
    assert (elevation == elevation[:, :, :1, :1]).all()


def test_head_fits_one_trunk_only() -> None:
    with pytest.raises(TrunkError, match='the trunk "mobilenet_v2" only, not "resnet18"'):
        ScarNetwork("resnet18", relief=True)


def test_run_writes_head_and_figures_and_a_second_one_is_refused(run: Path, weights: Path) -> None:
    figures = json.loads((run / "relief.json").read_text())
    assert figures["effort"]["steps"] == TINY.steps
    assert sum(figures["photo_width"][name]["number"] for name in SCAR_TYPES) <= TINY.test
    assert LABELS.count("boxcar") == 2
    with pytest.raises(TrainingError, match="holds a run already"):
        training.train(str(weights), run, effort=TINY)
    with pytest.raises(TrainingError, match="another trunk or effort"):
        training.train(str(weights), run, effort=replace(TINY, steps=4), resume=True)


def test_interrupted_run_ends_with_the_same_head(
    run: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, calls = training.relief_losses, []

    def interrupted(*arguments: Any) -> dict[str, torch.Tensor]:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return losses(*arguments)

    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    monkeypatch.setattr(training, "relief_losses", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(str(weights), tmp_path / "run", effort=TINY)
    training.train(str(weights), tmp_path / "run", effort=TINY, resume=True)
    assert len(calls) == TINY.steps + 1
    head = "relief.safetensors"
    assert (tmp_path / "run" / head).read_bytes() == (run / head).read_bytes()


# --- into a checkpoint -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def attached(run: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint with a head, whose trunk differs where the head does not read it; tests only read it."""
    file = changed(weights, tmp_path_factory.mktemp("attached") / "model.safetensors", stage=17)
    result = CliRunner().invoke(training.app, ["attach", str(file), str(run / "relief.safetensors")])
    assert result.exit_code == 0, result.output
    return file


def test_attached_head_leaves_the_rest_alone(attached: Path, weights: Path) -> None:
    (before, old), (after, card) = load_checkpoint(weights), load_checkpoint(attached)
    assert old.relief is None and card.relief is not None
    assert card.model_id != old.model_id
    others = [name for name in before if not name.startswith("trunk.17.")]
    assert all(np.array_equal(after[name], before[name]) for name in others)
    assert {name.split(".")[0] for name in set(after) - set(before)} == {"relief"}


def test_attached_head_answers_alike_in_both_forms(attached: Path) -> None:
    squares = np.random.default_rng(0).normal(0.0, 0.5, size=(3, 3, SIZE, SIZE)).astype(np.float32)
    fast = OnnxEngine(attached.with_suffix(".onnx"), threads=1)(squares)
    reference = TorchEngine(*network_of(attached))(squares)
    assert fast.relief is not None and reference.relief is not None
    assert fast.relief.shape == (3, 6, SIDE, SIDE)
    assert np.abs(fast.relief - reference.relief).max() < 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": 13}, "made for the trunk"),
        ({"size": 192}, "made for the size 192"),
        ({"mean": (0.4, 0.5, 0.5)}, "made for the mean"),
        ({"trunk": "squeezenet1_1"}, "expected the trunk mobilenet_v2"),
    ],
)
def test_head_of_another_trunk_or_input_is_refused(
    run: Path, weights: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    file = changed(weights, tmp_path / "model.safetensors", **change)
    content = file.read_bytes()
    with pytest.raises(CheckpointError, match=message):
        attach_relief(file, run / "relief.safetensors")
    assert file.read_bytes() == content
    assert not file.with_suffix(".onnx").exists()


def test_file_that_is_no_head_is_refused(weights: Path, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    for name in ("other", "junk", "missing"):
        with pytest.raises(CheckpointError, match="expected a relief head"):
            attach_relief(weights, tmp_path / f"{name}.safetensors")


# --- what a user is told ---------------------------------------------------------------------------------------------


def relief_map(scar_type: str, *, width_px: float = 8.0, deep: float = 0.9, elevation: float = 20.0) -> np.ndarray:
    """Return the maps of a photo in which one type is seen in the middle."""
    planes = np.zeros((6, SIDE, SIDE), dtype=np.float32)
    planes[SCAR_TYPES.index(scar_type), 20:30, 20:30] = 0.9
    planes[3], planes[4], planes[5] = math.log(width_px), deep, elevation / 90.0
    return planes


class ReliefEngine:
    """An engine with a relief head that gives every photo the same scores."""

    def __init__(self, relief: np.ndarray | None, scar_type: str, *, sure: float = 5.0, scope: float = 5.0) -> None:
        half = (0.5, 0.5, 0.5)
        limits = None if relief is None else LIMITS
        self.card = Card(trunk="none", size=SIZE, mean=half, std=half, calibration=Calibration(), relief=limits)
        logits = np.array([sure * (name == scar_type) for name in SCAR_TYPES], dtype=np.float32)
        class_map = np.broadcast_to(logits[:, None, None], (3, 2, 2))
        parts = [class_map, logits, np.float32(scope), relief]
        self._scores = [np.asarray(part)[None] for part in parts if part is not None]

    def __call__(self, photos: np.ndarray) -> Scores:
        assert len(photos) == 1
        return Scores(*self._scores)


def skin(height: int = SIZE, width: int = SIZE) -> np.ndarray:
    return cv2.resize(render_photo("boxcar", seed=3).image, (width, height))


def told(relief: np.ndarray | None, scar_type: str, mm_per_pixel: float | None = None) -> Measurement | None:
    return Classifier(ReliefEngine(relief, scar_type)).predict(skin(), mm_per_pixel=mm_per_pixel).measurement


def test_boxcar_scars_have_width_and_depth() -> None:
    found = told(relief_map("boxcar"), "boxcar", 0.2)
    assert found is not None
    assert found.width_mm == pytest.approx(1.6, rel=1e-4)
    assert (found.depth, found.withheld) == ("deep", ())
    assert found.depth_probability == pytest.approx(0.9)
    shallow = told(relief_map("boxcar", deep=0.2), "boxcar", 0.2)
    assert shallow is not None and shallow.depth == "shallow"


def test_width_follows_the_scale_and_not_the_size_of_the_file() -> None:
    classifier = Classifier(ReliefEngine(relief_map("boxcar"), "boxcar"))
    once, twice = (classifier.predict(skin(), mm_per_pixel=scale).measurement for scale in (0.1, 0.2))
    large = classifier.predict(skin(2 * SIZE, 2 * SIZE), mm_per_pixel=0.05).measurement
    assert once is not None and twice is not None and large is not None and once.width_mm is not None
    assert twice.width_mm == pytest.approx(2 * once.width_mm)
    assert large.width_mm == pytest.approx(once.width_mm)


@pytest.mark.parametrize(
    ("relief", "scar_type", "scale", "withheld"),
    [
        (relief_map("boxcar"), "boxcar", 0.26, ("too_far",)),
        (relief_map("boxcar", elevation=46.0), "boxcar", 0.2, ("frontal_light",)),
        (relief_map("ice_pick"), "ice_pick", 0.2, ("not_boxcar",)),
        (relief_map("rolling"), "rolling", 0.2, ("not_boxcar",)),
        (relief_map("rolling"), "boxcar", 0.2, ("not_seen",)),
    ],
)
def test_what_cannot_be_measured_is_withheld_with_its_reason(
    relief: np.ndarray, scar_type: str, scale: float, withheld: tuple[str, ...]
) -> None:
    found = told(relief, scar_type, scale)
    assert found is not None
    assert found.withheld == withheld
    assert (found.width_mm is None) == bool({"too_far", "not_boxcar", "not_seen"} & {*withheld})
    assert (found.depth is None) == bool({"too_far", "not_boxcar", "frontal_light", "not_seen"} & {*withheld})
    assert all(WITHHELD[reason] in found.to_text() for reason in found.withheld)


def test_wide_scars_do_not_outvote_many_narrow_ones() -> None:
    planes = relief_map("boxcar", width_px=8.0)
    planes[1, 40:55, 20:50], planes[3, 40:55] = 0.9, math.log(40.0)  # more positions, fewer scars
    assert measure(planes, scar_type="boxcar", limits=LIMITS, mm_per_pixel=0.1).width_mm == pytest.approx(0.8)


def test_enlarging_a_coarse_photo_adds_no_detail() -> None:
    found = Classifier(ReliefEngine(relief_map("boxcar"), "boxcar")).predict(skin(80, 80), mm_per_pixel=0.4).measurement
    assert found is not None and found.withheld == ("too_far",)


def test_no_scale_no_answer_or_no_head_means_no_measurement() -> None:
    assert told(None, "boxcar", 0.2) is None
    assert told(relief_map("boxcar"), "boxcar") is None
    for refusal in ({"sure": 0.1}, {"scope": -5.0}):
        engine = ReliefEngine(relief_map("boxcar"), "boxcar", **refusal)
        answer = Classifier(engine).predict(skin(), mm_per_pixel=0.2)
        assert answer.label is None and answer.measurement is None
        assert answer.to_dict()["measurement"] is None


@pytest.mark.parametrize("scale", [0.0, -0.1, math.nan, math.inf])
def test_scale_that_is_no_positive_number_is_refused(scale: float) -> None:
    with pytest.raises(ScaleError, match="mm_per_pixel must be a positive number"):
        told(relief_map("boxcar"), "boxcar", scale)


def test_prediction_tells_the_measurement_with_its_caveat() -> None:
    classifier = Classifier(ReliefEngine(relief_map("boxcar"), "boxcar"))
    answer = classifier.predict(skin(), mm_per_pixel=0.2)
    plain = json.loads(json.dumps(answer.to_dict()))["measurement"]
    assert plain["width_mm"] == pytest.approx(1.6, rel=1e-4)
    assert (plain["depth"], plain["withheld"], plain["caveat"]) == ("deep", [], CAVEAT)
    assert "about 1.6 mm" in answer.to_text() and CAVEAT in answer.to_text()
    with pytest.raises(ValueError, match="expected a measurement of the label 'boxcar'"):
        replace(answer, measurement=Measurement(scar_type="rolling"))


def test_command_line_takes_the_scale(attached: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "photo.png"), skin())
    arguments = ["predict", str(tmp_path / "photo.png"), "--checkpoint", str(attached), "--json", "--mm-per-pixel"]
    result = CliRunner().invoke(command_line, [*arguments, "0.2"])
    assert result.exit_code == 0, result.output
    assert "measurement" in json.loads(result.stdout)
    assert CliRunner().invoke(command_line, [*arguments, "-1"]).exit_code == 2
