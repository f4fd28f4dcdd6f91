"""The engines: ONNX Runtime answers what torch answers, and stands in for it only where it is the same model."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

from scarlens.datasets.labels import MAP_CLASSES, SCAR_TYPES
from scarlens.datasets.rendering import render_photo
from scarlens.datasets.transform import IMAGENET_MEAN, IMAGENET_STD, preprocess
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
    torch.nn.init.normal_(network.where.weight, std=0.5)  # scores of the size that training gives
    torch.nn.init.normal_(network.what.weight, std=0.1)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None  # random weights need the statistics of some batch, or every photo scores alike
    with torch.no_grad():
        pooled = network.train()(torch.from_numpy(photos)).type_logits.mean(dim=0)
        network.what.bias -= pooled  # so that no type wins for every photo
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
    assert reference.class_map.shape == (30, len(MAP_CLASSES), 6, 6)
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
    with pytest.raises(CheckpointError, match=r"model\.safetensors: no such file"):
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


# Strangers' models


def node(kind: str, *inputs: str, output: str = "x", **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


MEANS = {"sides": [2, 3], "all": [1, 2, 3]}


def model_of(*nodes: NodeProto, kind: int = TensorProto.FLOAT, note: str = "") -> onnx.ModelProto:
    """Return a model of a stranger: nodes that make `x`, which its scores are, of `photos` and the row `w`."""
    means = [("type_logits", "sides"), ("scope_logit", "all")]
    scores = [node("ReduceMean", "x", axes, output=name, keepdims=0) for name, axes in means]
    graph = helper.make_graph(
        [
            *nodes,
            node("Concat", "x", "x", output="six", axis=1),
            node("Slice", "six", "from", "to", "along", output="class_map"),
            *scores,
        ],
        "stranger",
        [helper.make_tensor_value_info("photos", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info(name, kind, None) for name in Scores._fields],
        [
            numpy_helper.from_array(np.array(axes), name)
            for name, axes in {**MEANS, "from": [0], "to": [len(MAP_CLASSES)], "along": [1]}.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    card = replace(CARD, training={"note": note}).to_json()
    helper.set_model_props(model, {"card": card, "seal": BLANK_SEAL})
    return model


def with_row(model: onnx.ModelProto, value: float) -> onnx.ModelProto:
    model.graph.initializer.append(numpy_helper.from_array(np.full(CARD.size, value, np.float32), "w"))
    return model


def written(path: Path, data: bytes) -> Path:
    """Write and seal a file, as an attacker could."""
    path.write_bytes(seal(data))
    return path


def refusal(path: Path) -> str:
    """Return in what words a file is refused: one line that names it."""
    with pytest.raises(CheckpointError) as caught:
        open_engine(path)
    assert path.name in str(caught.value)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_sealed_model_that_behaves_is_opened(tmp_path: Path, photos: np.ndarray) -> None:
    model = with_row(model_of(node("Mul", "photos", "w")), 2.0)
    scores = open_engine(written(tmp_path / "m.onnx", model.SerializeToString()))(photos[:2])
    assert np.array_equal(scores.class_map, 2 * np.concatenate([photos[:2], photos[:2]], axis=1)[:, : len(MAP_CLASSES)])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_sealed_model_of_a_number_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    model = with_row(model_of(node("Add", "photos", "w")), value)
    assert "expected finite scores" in refusal(written(tmp_path / "m.onnx", model.SerializeToString()))


@pytest.mark.parametrize("name", ["network.trunk.0.0.weight", "network.where.weight"])
def test_a_weight_that_is_not_a_number_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0, 0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    for entry in model.metadata_props:
        if entry.key == "seal":
            entry.value = BLANK_SEAL
    assert "expected finite scores" in refusal(written(tmp_path / "m.onnx", model.SerializeToString()))


def test_scores_that_are_not_finite_for_one_photo_alone_are_refused(tmp_path: Path) -> None:
    engine = open_engine(written(tmp_path / "m.onnx", model_of(node("Sqrt", "photos")).SerializeToString()))
    bright = np.ones((2, 3, CARD.size, CARD.size), np.float32)
    assert np.array_equal(engine(bright).type_logits, np.ones((2, 3)))
    with pytest.raises(CheckpointError, match=r"expected finite scores of 2 photos"):
        engine(bright * np.array([1, -1], np.float32).reshape(2, 1, 1, 1))


@pytest.mark.parametrize(
    ("nodes", "kind", "message"),
    [
        (
            [node("Concat", "photos", "photos", axis=1)],
            TensorProto.FLOAT,
            "of 3 types and a map, found float32 .1, 5, 96, 96., float32 .1, 6",
        ),
        ([node("Cast", "photos", to=TensorProto.DOUBLE)], TensorProto.DOUBLE, "found float64"),
        ([node("Cast", "photos", to=TensorProto.INT32)], TensorProto.INT32, "found int32"),
        ([node("ReduceMean", "photos", "all", keepdims=0)], TensorProto.FLOAT, "one that fails"),
        ([node("Tile", "photos", "sides")], TensorProto.FLOAT, "one that fails"),
        ([node("Open", "photos", domain="stranger")], TensorProto.FLOAT, "expected an ONNX model"),
        ([node("Open", "photos")], TensorProto.FLOAT, "expected an ONNX model"),
        ([node("Identity", "nothing")], TensorProto.FLOAT, "expected an ONNX model"),
    ],
)
def test_a_sealed_model_of_other_scores_or_operators_is_refused(
    tmp_path: Path, nodes: Sequence[NodeProto], kind: int, message: str
) -> None:
    model = model_of(*nodes, kind=kind)
    model.opset_import.add(domain="stranger", version=1)
    (tmp_path / "m.onnx").write_bytes(seal(model.SerializeToString()))
    refusal(tmp_path / "m.onnx")
    with pytest.raises(CheckpointError, match=message):
        open_engine(tmp_path / "m.onnx")


@pytest.mark.parametrize("location", ["weights.bin", "./weights.bin", "../weights.bin", "{}/weights.bin", "link"])
def test_weights_in_another_file_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(np.full(CARD.size, 2.0, np.float32).tobytes())
    (tmp_path / "link").symlink_to("weights.bin")
    model = with_row(model_of(node("Mul", "photos", "w")), 2.0)
    tensor = model.graph.initializer[-1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location.format(tmp_path), "offset": "0", "length": str(4 * CARD.size)}.items():
        tensor.external_data.add(key=key, value=value)
    assert "External data path" in refusal(written(tmp_path / "m.onnx", model.SerializeToString()))


def test_the_own_format_of_onnx_runtime_is_refused(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "m.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    model = model_of(node("Identity", "photos"))
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    assert BLANK_SEAL.encode() in (data := (tmp_path / "m.ort").read_bytes())
    assert "expected an ONNX model" in refusal(written(tmp_path / "m.onnx", data))


def test_a_card_that_is_no_text_is_refused(tmp_path: Path) -> None:
    data = model_of(node("Identity", "photos"), note="qqqq").SerializeToString()
    assert data.count(b"qqqq") == 1
    open_engine(written(tmp_path / "m.onnx", data))
    refusal(written(tmp_path / "m.onnx", data.replace(b"qqqq", b"\xff" * 4)))


def test_a_refusal_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    unknown = model_of(node("Open", "photos")).SerializeToString()
    failing = model_of(node("Tile", "photos", "sides")).SerializeToString()
    for data in (failing, unknown, unknown.replace(b"Open", b"\xff" * 4)):
        refusal(written(tmp_path / "m.onnx", data))
    assert capfd.readouterr() == ("", "")
