"""The engines: ONNX Runtime answers what torch answers, and stands in for it only where it is the same model."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.preprocess import IMAGENET_MEAN, IMAGENET_STD, preprocess
from scarlens.datasets.rendering import render_photo
from scarlens.inference.engine import OnnxEngine, Scores, TorchEngine, open_engine
from scarlens.model.calibration import Calibration
from scarlens.model.checkpoint import BLANK_SEAL, Card, CheckpointError, load_checkpoint, save_checkpoint, seal
from scarlens.model.export import export_onnx, network_of
from scarlens.model.network import DeviceError, ScarNetwork

CARD = Card(trunk="mobilenet_v2", size=96, mean=IMAGENET_MEAN, std=IMAGENET_STD, calibration=Calibration())


@pytest.fixture(scope="module")
def photos() -> np.ndarray:
    """Return 30 rendered photos as the network wants them, of several shapes."""
    images = [render_photo(SCAR_TYPES[seed % 3], seed=seed, size=128).image for seed in range(30)]
    images = [image[: 128 - 3 * i] for i, image in enumerate(images)]
    return np.stack([preprocess(image, size=96, mean=IMAGENET_MEAN, std=IMAGENET_STD) for image in images])


@pytest.fixture(scope="module")
def folder(photos: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one checkpoint of random weights in both forms; tests only read it."""
    torch.manual_seed(0)
    network = ScarNetwork("mobilenet_v2")
    bias = network.head.bias
    assert bias is not None
    torch.nn.init.normal_(network.head.weight, std=0.02)  # scores of the size that training gives
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # random weights need the statistics of some batch, or every photo scores alike
    with torch.no_grad():
        pooled = network.train()(torch.from_numpy(photos)).type_logits.mean(dim=0)
        bias[:3] -= pooled  # so that no type wins for every photo
    folder = tmp_path_factory.mktemp("engine")
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    save_checkpoint(folder / "model.safetensors", tensors, CARD)
    export_onnx(folder / "model.safetensors", folder / "model.onnx")
    return folder


def assert_same_scores(found: Scores, expected: Scores) -> None:
    """Check that two engines agree to 1e-4 of the largest score, or to 1e-4 where that is below 1."""
    for name, one, other in zip(Scores._fields, found, expected, strict=True):
        if other is None:
            assert one is None, name
            continue
        assert one is not None, name
        assert one.shape == other.shape, name
        assert one.dtype == other.dtype == np.float32, name
        assert np.abs(one - other).max() < 1e-4 * max(1.0, np.abs(other).max()), name


def test_onnx_runtime_agrees_with_torch(folder: Path, photos: np.ndarray) -> None:
    fast = OnnxEngine(folder / "model.onnx", threads=1)(photos)
    reference = TorchEngine(*network_of(folder / "model.safetensors"))(photos)
    assert_same_scores(fast, reference)
    top = reference.type_logits.argmax(axis=1)
    assert np.array_equal(fast.type_logits.argmax(axis=1), top)
    assert set(top.tolist()) == {0, 1, 2}  # else agreement would say little
    assert reference.class_map.shape == (30, 3, 6, 6)
    assert reference.scope_logit.shape == (30,)


@pytest.mark.parametrize("form", ["model.onnx", "model.safetensors"])
def test_scores_do_not_depend_on_the_batch(folder: Path, photos: np.ndarray, form: str) -> None:
    engine = open_engine(folder / form)
    whole = engine(photos[:5])
    for index in range(5):
        assert_same_scores(engine(photos[index : index + 1]), Scores(*(part[index : index + 1] for part in whole[:3])))


def test_a_safetensors_file_runs_on_its_onnx_twin(folder: Path) -> None:
    engine = open_engine(folder / "model.safetensors")
    assert isinstance(engine, OnnxEngine)
    assert engine.card == load_checkpoint(folder / "model.safetensors")[1]


def test_without_a_twin_torch_answers_the_same(folder: Path, photos: np.ndarray, tmp_path: Path) -> None:
    shutil.copy(folder / "model.safetensors", tmp_path)
    engine = open_engine(tmp_path / "model.safetensors")
    assert isinstance(engine, TorchEngine)
    other = open_engine(folder / "model.onnx")
    assert engine.card == other.card
    assert_same_scores(engine(photos[:3]), other(photos[:3]))


def test_a_twin_of_another_model_is_ignored(folder: Path, tmp_path: Path) -> None:
    # The same weights with another calibration are another model: its probabilities differ.
    tensors, card = load_checkpoint(folder / "model.safetensors")
    renewed = replace(card, calibration=Calibration(temperature=2.0))
    renewed = save_checkpoint(tmp_path / "model.safetensors", tensors, renewed)
    shutil.copy(folder / "model.onnx", tmp_path)
    engine = open_engine(tmp_path / "model.safetensors")
    assert isinstance(engine, TorchEngine)
    assert engine.card == renewed


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "junk"])
def test_a_damaged_twin_is_ignored(folder: Path, tmp_path: Path, damage: str) -> None:
    shutil.copy(folder / "model.safetensors", tmp_path)
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    wrong = {"flipped": data, "cut": data[: len(data) // 2], "empty": b"", "junk": b"junk" * 100}[damage]
    (tmp_path / "model.onnx").write_bytes(wrong)
    assert isinstance(open_engine(tmp_path / "model.safetensors"), TorchEngine)
    with pytest.raises(CheckpointError, match=r"model\.onnx"):
        open_engine(tmp_path / "model.onnx")


def test_a_damaged_checkpoint_is_not_excused_by_its_twin(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "model.onnx", tmp_path)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        open_engine(tmp_path / "model.safetensors")


def test_other_devices_run_the_safetensors_form(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match='device "nonsense" cannot be used here, "cpu" always can'):
        open_engine(folder / "model.onnx", device="nonsense")
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    with pytest.raises(CheckpointError, match=r"model\.safetensors: expected a checkpoint file"):
        open_engine(tmp_path / "model.onnx", device="meta")


def test_a_sealed_model_that_is_no_scar_network_is_refused(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    model.graph.input[0].name = "pictures"
    for node in model.graph.node:
        node.input[:] = ["pictures" if name == "photos" else name for name in node.input]
    for entry in model.metadata_props:
        if entry.key == "seal":
            entry.value = BLANK_SEAL
    (tmp_path / "model.onnx").write_bytes(seal(model.SerializeToString()))
    with pytest.raises(CheckpointError, match="expected a scarlens network"):
        open_engine(tmp_path / "model.onnx")
