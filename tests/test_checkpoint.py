"""Checkpoints: the same again after a round trip, whole or not at all, and nothing damaged or foreign is let in."""

import json
import os
import pickle
import re
import site
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

import scarlens
from scarlens.cli import main
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.transform import IMAGENET_MEAN, IMAGENET_STD
from scarlens.inference.engine import OnnxEngine, open_engine
from scarlens.model.calibration import Calibration
from scarlens.model.checkpoint import (
    BLANK_SEAL,
    FORMAT,
    MAX_BYTES,
    Card,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    seal,
)
from scarlens.model.export import export_onnx, network_of
from scarlens.model.network import ScarNetwork

CARD = Card(
    trunk="squeezenet1_1",
    size=64,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    calibration=Calibration(temperature=1.7, plausible_thresholds=(0.1, 0.2, 0.3), fitted_on="a test"),
    training={"data": {"photos": {"boxcar": 3}}, "note": "Größe ✓"},
)
FORMS = ["model.safetensors", "model.onnx"]


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    return {name: tensor.numpy() for name, tensor in ScarNetwork("squeezenet1_1").state_dict().items()}


@pytest.fixture(scope="module")
def folder(tensors: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one checkpoint in both forms; tests only read it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(folder / "model.safetensors", tensors, CARD)
    export_onnx(folder / "model.safetensors", folder / "model.onnx")
    return folder


def small() -> dict[str, np.ndarray]:
    return {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "count": np.array(7)}


def opened(path: Path) -> Card:
    """Open a checkpoint of either form by its own reader."""
    return OnnxEngine(path).card if path.suffix == ".onnx" else load_checkpoint(path)[1]


def sealed(tensors: dict[str, np.ndarray], card: str) -> bytes:
    """Return a properly sealed file around any text as a card, as an attacker could make it."""
    return seal(save(tensors, {"card": card, "seal": BLANK_SEAL}))


def with_header(header: str | dict[str, Any], body: bytes = b"", length: int | None = None) -> bytes:
    """Return a properly sealed safetensors file with any header, which may lie about its own length."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return seal((len(text) if length is None else length).to_bytes(8, "little") + text + body)


def refusal(path: Path) -> str:
    """Return in what words a file is refused: one line that names it."""
    with pytest.raises(CheckpointError) as caught:
        scarlens.load(path)
    assert path.name in str(caught.value)
    assert str(caught.value).isprintable()
    return str(caught.value)


# Round trip


def test_round_trip(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    written = save_checkpoint(tmp_path / "m.safetensors", tensors, CARD)
    found, card = load_checkpoint(tmp_path / "m.safetensors")
    assert card == written == replace(CARD, model_id=card.model_id)
    assert len(card.model_id) == 16
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert np.array_equal(found[name], tensor)


def test_network_comes_back(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    network, card = network_of(folder / "model.safetensors")
    assert not network.training
    assert card.trunk == "squeezenet1_1"
    assert all(np.array_equal(tensor.numpy(), tensors[name]) for name, tensor in network.state_dict().items())


def test_both_forms_carry_the_same_card(folder: Path) -> None:
    assert opened(folder / "model.onnx") == opened(folder / "model.safetensors")


def test_layout_in_memory_does_not_matter(tmp_path: Path) -> None:
    weight = np.arange(6, dtype=np.float32).reshape(3, 2).T
    one = save_checkpoint(tmp_path / "a.safetensors", {"weight": weight}, CARD)
    other = save_checkpoint(tmp_path / "b.safetensors", {"weight": np.ascontiguousarray(weight)}, CARD)
    assert one == other
    assert np.array_equal(load_checkpoint(tmp_path / "a.safetensors")[0]["weight"], weight)


def test_the_name_of_a_model_changes_with_all_that_decides_its_answers(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    other = small()
    other["weight"][0, 0] += 1e-3
    reshaped = {**small(), "weight": small()["weight"].reshape(3, 2)}
    names = [
        save_checkpoint(path, small(), CARD).model_id,
        save_checkpoint(path, other, CARD).model_id,
        save_checkpoint(path, reshaped, CARD).model_id,
        save_checkpoint(path, small(), replace(CARD, calibration=Calibration(temperature=1.71))).model_id,
        save_checkpoint(path, small(), replace(CARD, size=96)).model_id,
        save_checkpoint(path, small(), replace(CARD, mean=(0.5, 0.5, 0.5))).model_id,
    ]
    assert len(set(names)) == len(names)
    assert save_checkpoint(path, small(), replace(CARD, model_id="whatever")).model_id == names[0]


def test_no_file_contains_a_path_of_this_machine(folder: Path) -> None:
    places = [str(folder), str(Path(__file__).parents[1]), str(Path.home()), *site.getsitepackages()]
    for form in FORMS:
        data = (folder / form).read_bytes()
        for place in ("/work", "/home/", "/tmp", "site-packages", ".py", *places):
            assert place.encode() not in data, place


# Whole or not at all


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.safetensors"
    first = save_checkpoint(path, small(), CARD)

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space"):
            save_checkpoint(path, {**small(), "weight": np.zeros((2, 3), np.float32)}, CARD)
    assert load_checkpoint(path)[1] == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]
    second = save_checkpoint(path, small(), replace(CARD, size=96))
    assert load_checkpoint(path)[1] == second != first


# Damage


@pytest.mark.parametrize("form", FORMS)
def test_any_flipped_byte_is_refused(folder: Path, tmp_path: Path, form: str) -> None:
    original = (folder / form).read_bytes()
    random = np.random.default_rng(4)
    path = tmp_path / form
    path.write_bytes(original)
    for position in random.integers(len(original), size=1000).tolist():
        flipped = original[position] ^ int(random.integers(1, 256))
        with path.open("r+b") as file:
            file.seek(position)
            file.write(bytes([flipped]))
        with pytest.raises(CheckpointError, match=form):
            opened(path)
        with path.open("r+b") as file:
            file.seek(position)
            file.write(original[position : position + 1])
    assert opened(path) == opened(folder / form)


def test_every_bit_of_a_small_checkpoint_counts(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    card = save_checkpoint(path, small(), CARD)
    data = bytearray(path.read_bytes())
    for position in range(len(data)):
        data[position] ^= 1 << position % 8
        path.write_bytes(data)
        with pytest.raises(CheckpointError):
            load_checkpoint(path)
        data[position] ^= 1 << position % 8
    path.write_bytes(data)
    assert load_checkpoint(path)[1] == card


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(folder: Path, tmp_path: Path, form: str, share: float) -> None:
    data = (folder / form).read_bytes()
    (tmp_path / form).write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=form):
        opened(tmp_path / form)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_with_something_appended_is_refused(folder: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / form).write_bytes((folder / form).read_bytes() + b"\0")
    with pytest.raises(CheckpointError, match="damaged or changed"):
        opened(tmp_path / form)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_there_is_named(tmp_path: Path, form: str) -> None:
    with pytest.raises(CheckpointError, match=rf"{form}: no such file"):
        open_engine(tmp_path / form)
    (tmp_path / form).mkdir()
    with pytest.raises(CheckpointError, match=rf"{form}: not a regular file"):
        open_engine(tmp_path / form)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    def read(path: Path) -> bytes:
        raise AssertionError(f"{path} was read")

    with (tmp_path / form).open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    monkeypatch.setattr(Path, "read_bytes", read)
    assert f"expected at most {MAX_BYTES} bytes, found {MAX_BYTES + 1}" in refusal(tmp_path / form)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("form", FORMS)
def test_only_regular_files_are_opened(tmp_path: Path, form: str) -> None:
    os.mkfifo(tmp_path / f"fifo {form}")
    for device in ("zero", "tty"):
        (tmp_path / f"{device} {form}").symlink_to(f"/dev/{device}")
    for name in ("fifo", "zero", "tty", "nul\0"):
        with pytest.raises(CheckpointError, match=r"no such file|not a regular file"):
            scarlens.load(tmp_path / f"{name} {form}")


# Strangers' files


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("content", [b"", b"\0", np.random.default_rng(1).bytes(100_000)], ids=len)
def test_junk_is_refused_with_and_without_a_seal(tmp_path: Path, form: str, content: bytes) -> None:
    (tmp_path / form).write_bytes(content)
    assert "found no seal" in refusal(tmp_path / form)
    (tmp_path / form).write_bytes(seal(content + BLANK_SEAL.encode()))
    assert "expected a safetensors file" in (line := refusal(tmp_path / form)) or "expected an ONNX model" in line


METADATA = {"card": CARD.to_json(), "seal": BLANK_SEAL}
FLOATS = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "data",
    [
        with_header({"__metadata__": METADATA}, length=1 << 40),
        with_header({"__metadata__": METADATA}, length=(1 << 64) - 1),
        with_header({"__metadata__": METADATA}, length=10),
        with_header({"__metadata__": METADATA, "a": FLOATS}),
        with_header({"__metadata__": METADATA, "a": FLOATS, "b": {**FLOATS, "data_offsets": [4, 12]}}, bytes(12)),
        with_header({"__metadata__": METADATA, "a": {**FLOATS, "data_offsets": [8, 0]}}, bytes(8)),
        with_header({"__metadata__": METADATA, "a": {**FLOATS, "shape": [1 << 62, 1 << 10]}}, bytes(8)),
        with_header({"__metadata__": METADATA, "a": {**FLOATS, "shape": [1 << 62, 0], "data_offsets": [0, 0]}}),
        with_header({"__metadata__": METADATA, "a": {**FLOATS, "shape": [2] + [1] * 99}}, bytes(8)),
        with_header({"__metadata__": METADATA, "a": {**FLOATS, "dtype": "BF16", "shape": [4]}}, bytes(8)),
        with_header({"__metadata__": METADATA, "a": {**FLOATS, "dtype": "F8_E4M3", "shape": [8]}}, bytes(8)),
        with_header({"__metadata__": METADATA, "a": {**FLOATS, "dtype": "OBJECT", "shape": [1]}}, bytes(8)),
        with_header("[" * 100_000 + BLANK_SEAL),
        with_header('{"a": ' * 100_000 + BLANK_SEAL),
        with_header('{"__metadata__": null, "__metadata__": ' + json.dumps(METADATA) + "}"),
    ],
    ids=range(15),
)
def test_a_sealed_file_with_a_lying_header_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.safetensors").write_bytes(data)
    assert "expected a safetensors file, found: " in refusal(tmp_path / "m.safetensors")


def test_a_sealed_file_without_metadata_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(with_header({"__metadata__": None, BLANK_SEAL: FLOATS}, bytes(8)))
    assert "expected a card" in refusal(tmp_path / "m.safetensors")


@pytest.mark.parametrize("depth", [900, 100_000])
def test_a_card_nested_too_deeply_is_refused(tmp_path: Path, depth: int) -> None:
    card = CARD.to_json().replace('"training": {', '"training": {"deep": ' + "[" * depth + "]" * depth + ", ")
    (tmp_path / "m.safetensors").write_bytes(sealed(small(), card))
    assert re.search("recursion|overflow|names the model", refusal(tmp_path / "m.safetensors"))


def test_untrusted_text_is_shown_in_one_short_line(tmp_path: Path) -> None:
    odd = {**json.loads(CARD.to_json()), "a\n\x1b[31mb\u202e": 1, "x" * 1_000_000: 2}
    (tmp_path / "m.safetensors").write_bytes(sealed(small(), json.dumps(odd)))
    assert len(line := refusal(tmp_path / "m.safetensors")) < 10_000
    assert "unknown fields: ['a" in line


@pytest.mark.parametrize("form", FORMS)
def test_the_command_line_refuses_in_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], form: str
) -> None:
    (tmp_path / form).write_bytes(seal(pickle.dumps((Bomb(tmp_path / "it ran"), BLANK_SEAL))))
    photo = Path(__file__).parents[1] / "datasets" / "rendering" / "examples" / "boxcar.jpg"
    monkeypatch.setattr(sys, "argv", ["scarlens", "predict", str(photo), "--checkpoint", str(tmp_path / form)])
    with pytest.raises(SystemExit) as status:
        main()
    out, err = capfd.readouterr()
    assert (status.value.code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert f"{form}: expected " in err
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("form", [*FORMS, "model.pt"])
@pytest.mark.parametrize("with_seal", [False, True])
def test_a_pickle_is_refused_and_not_run(tmp_path: Path, form: str, with_seal: bool) -> None:
    trace = tmp_path / "it ran"
    data = pickle.dumps((Bomb(trace), BLANK_SEAL))
    (tmp_path / form).write_bytes(seal(data) if with_seal else data)
    with pytest.raises(CheckpointError, match=form):
        open_engine(tmp_path / form)
    assert not trace.exists()
    pickle.loads(data)
    assert trace.exists()  # the bomb was live


def test_a_file_of_torch_save_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2), "bomb": Bomb(tmp_path / "it ran")}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="found no seal"):
        open_engine(tmp_path / "model.safetensors")
    assert not (tmp_path / "it ran").exists()


def test_a_safetensors_file_of_someone_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(save(small()))
    with pytest.raises(CheckpointError, match="found no seal"):
        load_checkpoint(tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(seal(save(small(), {"seal": BLANK_SEAL})))
    with pytest.raises(CheckpointError, match="expected a card"):
        load_checkpoint(tmp_path / "b.safetensors")


def test_weights_swapped_under_a_card_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    card = save_checkpoint(path, small(), CARD)
    path.write_bytes(sealed({**small(), "count": np.array(8)}, card.to_json()))
    with pytest.raises(CheckpointError, match=f"names the model {card.model_id}"):
        load_checkpoint(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    tensors = small()
    tensors["weight"][1, 2] = value
    save_checkpoint(tmp_path / "m.safetensors", tensors, CARD)
    with pytest.raises(CheckpointError, match="weight holds values that are not finite"):
        load_checkpoint(tmp_path / "m.safetensors")


def _without(tensors: dict[str, np.ndarray]) -> None:
    del tensors["where.bias"]


def _more(tensors: dict[str, np.ndarray]) -> None:
    tensors["extra"] = np.zeros(1, np.float32)


def _reshaped(tensors: dict[str, np.ndarray]) -> None:
    tensors["where.bias"] = np.zeros(3, np.float32)


def _doubled(tensors: dict[str, np.ndarray]) -> None:
    tensors["where.bias"] = np.zeros(5, np.float64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without, r"1 tensors do not fit squeezenet1_1, such as where\.bias"),
        (_more, "1 tensors do not fit squeezenet1_1, such as extra"),
        (_reshaped, r"where\.bias is torch\.float32 \(3,\), expected torch\.float32 \(5,\)"),
        (_doubled, r"where\.bias is torch\.float64 \(5,\), expected torch\.float32 \(5,\)"),
    ],
)
def test_weights_that_do_not_fit_the_trunk_are_refused(
    tmp_path: Path,
    tensors: dict[str, np.ndarray],
    change: Callable[[dict[str, np.ndarray]], None],
    message: str,
) -> None:
    changed = dict(tensors)
    change(changed)
    save_checkpoint(tmp_path / "m.safetensors", changed, CARD)
    with pytest.raises(CheckpointError, match=message):
        network_of(tmp_path / "m.safetensors")


@pytest.mark.parametrize("trunk", ["resnet18", "no_such_net"])
def test_a_card_that_names_another_trunk_is_refused(tmp_path: Path, tensors: dict[str, np.ndarray], trunk: str) -> None:
    save_checkpoint(tmp_path / "m.safetensors", tensors, replace(CARD, trunk=trunk))
    with pytest.raises(CheckpointError, match=f"m.safetensors: .*{trunk}"):
        network_of(tmp_path / "m.safetensors")


# Cards


def test_card_round_trip() -> None:
    assert Card.from_json(CARD.to_json()) == CARD
    assert "\n" not in CARD.to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": FORMAT + 1}, f"expected a card of format {FORMAT}, found {FORMAT + 1}"),
        ({"format": None}, f"expected a card of format {FORMAT}"),
        ({"licence": "none"}, r"unknown fields: \['licence'\]"),
        ({"scar_types": SCAR_TYPES[::-1]}, "in this order"),
        ({"scar_types": ["a", "b"]}, "in this order"),
        ({"size": 16}, "32 to 4096"),
        ({"size": 5000}, "32 to 4096"),
        ({"size": 64.0}, "32 to 4096"),
        ({"size": "64"}, "32 to 4096"),
        ({"trunk": 7}, "expected names of trunk and model"),
        ({"trunk": "\ud800"}, "malformed.*surrogate"),
        ({"model_id": None}, "expected names of trunk and model"),
        ({"relief": None}, "unknown fields"),  # as cards of format 3 had it
        ({"mean": [1e300, 0.5, 0.5]}, "three finite means"),
        ({"mean": [0.5, 0.5]}, "three finite means"),
        ({"mean": [0.5, 0.5, float("nan")]}, "three finite means"),
        ({"mean": ["a", "b", "c"]}, ""),
        ({"mean": [[0.5], [0.5], [0.5]]}, ""),
        ({"mean": 0.5}, "malformed"),
        ({"std": [0.2, 0.2, 0.0]}, "positive deviations"),
        ({"std": [0.2, 0.2, float("inf")]}, "positive deviations"),
        ({"std": [0.2, 0.2, None]}, ""),
        ({"std": [0.2, 0.2, 1e-300]}, "positive deviations"),
        ({"calibration": {}}, "malformed"),
        ({"calibration": None}, "malformed"),
        ({"calibration": {**asdict(CARD.calibration), "bias": 1}}, "malformed.*bias"),
        ({"calibration": {**asdict(CARD.calibration), "temperature": 0}}, "malformed.*positive"),
        ({"calibration": {**asdict(CARD.calibration), "temperature": "1"}}, "malformed"),
        ({"calibration": {**asdict(CARD.calibration), "temperature": 10**400}}, "malformed.*too large"),
        ({"calibration": {**asdict(CARD.calibration), "plausible_thresholds": [0.5]}}, "malformed.*expected 3"),
    ],
)
def test_cards_out_of_order_are_refused_and_the_file_named(tmp_path: Path, change: dict, message: str) -> None:
    card = json.dumps({**json.loads(CARD.to_json()), **change})
    (tmp_path / "m.safetensors").write_bytes(sealed(small(), card))
    with pytest.raises(CheckpointError, match=f"(?s)m.safetensors: .*{message}"):
        load_checkpoint(tmp_path / "m.safetensors")


@pytest.mark.parametrize("missing", ["trunk", "size", "calibration", "format"])
def test_cards_with_a_missing_field_are_refused(missing: str) -> None:
    card = json.loads(CARD.to_json())
    del card[missing]
    with pytest.raises(CheckpointError):
        Card.from_json(json.dumps(card))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"card"', "[" * 100_000], ids=lambda text: text[:9])
def test_text_that_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError):
        Card.from_json(text)


def test_the_files_of_a_checkpoint_hold_nothing_but_tensors_card_and_seal(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert set(header.pop("__metadata__")) == {"card", "seal"}
    assert set(header) == set(load(data))
