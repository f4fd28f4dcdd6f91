"""From a safetensors checkpoint to one ONNX file that carries the same card."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..datasets.atomic import write_atomically
from .calibration import ReliefLimits
from .checkpoint import BLANK_SEAL, Card, CheckpointError, load_checkpoint, save_checkpoint, seal
from .network import NetworkOutput, ScarNetwork, TrunkError
from .relief import RELIEF_TRUNK, ReliefHead, trunk_digest


def network_of(path: Path) -> tuple[ScarNetwork, Card]:
    """Build the network of a safetensors checkpoint, ready to evaluate.

    Raises:
        CheckpointError: when the file cannot be read, or names or shapes do not fit the trunk that its card names.
    """
    tensors, card = load_checkpoint(path)
    found = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    try:
        with torch.device("meta"):  # shapes without numbers: a stranger's card may name a trunk of gigabytes
            wanted = ScarNetwork(card.trunk, relief=card.relief is not None).state_dict()
    except TrunkError as error:
        raise CheckpointError(f"{path}: {error}") from error
    _check_fit(path, found, wanted, card.trunk)
    network = ScarNetwork(card.trunk, relief=card.relief is not None)
    network.load_state_dict(found)
    return network.eval(), card


def _check_fit(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], trunk: str) -> None:
    if set(wanted) != set(found):
        odd = sorted(set(wanted) ^ set(found))
        raise CheckpointError(f"{path}: {len(odd)} tensors do not fit {trunk}, such as {odd[0]}")
    for name, tensor in found.items():
        if (tensor.shape, tensor.dtype) != (wanted[name].shape, wanted[name].dtype):
            raise CheckpointError(
                f"{path}: {name} is {tensor.dtype} {tuple(tensor.shape)}, "
                f"expected {wanted[name].dtype} {tuple(wanted[name].shape)} for {trunk}"
            )


def attach_relief(checkpoint: Path, relief_file: Path) -> Card:
    """Put a relief head into a checkpoint, in place of an earlier one, and write its ONNX form beside it.

    Args:
        checkpoint: the safetensors file, which is replaced.
        relief_file: what `training.relief` wrote.

    Returns:
        The card as it was written.

    Raises:
        CheckpointError: when a file cannot be read, or the head was trained on another trunk or another input.
    """
    tensors, card = load_checkpoint(checkpoint)
    head, made_for = _relief_file(relief_file)
    if card.trunk != RELIEF_TRUNK:
        raise CheckpointError(f"{checkpoint}: expected the trunk {RELIEF_TRUNK} for a relief head, found {card.trunk}")
    digest = trunk_digest({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    found = {"trunk": digest, "size": card.size, "mean": list(card.mean), "std": list(card.std)}
    for name, value in found.items():
        if made_for[name] != value:
            raise CheckpointError(
                f"{relief_file}: expected a head made for the {name} {value} of {checkpoint}, found {made_for[name]}"
            )
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("relief.")}
    tensors |= {f"relief.{name}": tensor for name, tensor in head.items()}
    card = save_checkpoint(checkpoint, tensors, replace(card, relief=ReliefLimits(**made_for["limits"])))
    export_onnx(checkpoint, checkpoint.with_suffix(".onnx"))
    return card


def _relief_file(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a relief head's weights, and what it was made for."""
    try:
        with safe_open(path, framework="numpy") as file:
            made_for = json.loads(file.metadata()["relief"])
            head = {name: file.get_tensor(name) for name in ReliefHead().state_dict()}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: expected a relief head as training/relief.py writes it: {error}") from error
    return head, made_for


def export_onnx(checkpoint: Path, onnx_file: Path) -> Card:
    """Write the ONNX form of a safetensors checkpoint, with its card in the metadata.

    The input is `photos`, float32 [N, 3, S, S]; the outputs are those of `NetworkOutput`.

    Raises:
        CheckpointError: when the checkpoint cannot be read.
    """
    import onnx

    network, card = network_of(checkpoint)
    photos = torch.zeros(2, 3, card.size, card.size)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            _Outputs(network),
            (photos,),
            str(file),
            input_names=["photos"],
            output_names=[name for name in NetworkOutput._fields if name != "relief" or card.relief],
            dynamic_shapes={"photos": {0: torch.export.Dim("N")}},
            external_data=False,
            verbose=False,
        )
        model = onnx.load(str(file))
    for node in model.graph.node:  # the exporter writes stack traces with paths of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.helper.set_model_props(model, {"card": card.to_json(), "seal": BLANK_SEAL})
    write_atomically(onnx_file, seal(model.SerializeToString()))
    return card


class _Outputs(torch.nn.Module):
    """The network with a plain tuple as output, which the exporter names."""

    def __init__(self, network: ScarNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        return tuple(part for part in self.network(photos) if part is not None)
