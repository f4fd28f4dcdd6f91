"""Export a safetensors checkpoint to one ONNX file with the same card."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..datasets.writing.atomic import write_atomically
from .checkpoint import BLANK_SEAL, Card, CheckpointError, load_checkpoint, seal
from .network import NetworkOutput, ScarNetwork, TrunkError


def network_of(path: Path) -> tuple[ScarNetwork, Card]:
    """Build the network of a safetensors checkpoint, ready to evaluate.

    Raises:
        CheckpointError: when the file cannot be read, or names or shapes do not fit the trunk that its card names.
    """
    tensors, card = load_checkpoint(path)
    found = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    try:
        with torch.device("meta"):  # shapes without numbers: a stranger's card may name a trunk of gigabytes
            wanted = ScarNetwork(card.trunk).state_dict()
    except TrunkError as error:
        raise CheckpointError(f"{path}: {error}") from error
    _check_fit(path, found, wanted, card.trunk)
    network = ScarNetwork(card.trunk)
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
            output_names=list(NetworkOutput._fields),
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
    """The network with a plain tuple as output, as the exporter needs."""

    def __init__(self, network: ScarNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(photos))
