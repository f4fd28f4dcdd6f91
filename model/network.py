"""The network: a torchvision trunk, scores per position, and their mean over positions."""

from collections import OrderedDict
from pathlib import Path
from typing import Final, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from ..datasets.errors import ScarlensError
from ..datasets.labels import SCAR_TYPES

TRUNKS: Final = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "resnet18",
    "squeezenet1_1",
    "convnext_tiny",
)
"""Trunks that the tests run. Any other torchvision model with `features` or `layer1` to `layer4` fits as well."""


class TrunkError(ScarlensError, ValueError):
    """The trunk is unknown or its pretrained weights do not fit; the message says what would."""


class DeviceError(ScarlensError, ValueError):
    """The device cannot be used here."""


def usable_device(device: str) -> str:
    """Return the name of a torch device when it works here.

    Raises:
        DeviceError: unknown name, or no such device in this machine.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f'device "{device}" cannot be used here, "cpu" always can: {reason}') from error
    return device


class NetworkOutput(NamedTuple):
    """What the network says about a batch of N photos, as raw scores.

    Attributes:
        class_map: [N, 3, h, w], a score per type and position, types in the order of `SCAR_TYPES`.
        type_logits: [N, 3], the mean of `class_map` over positions.
        scope_logit: [N], above 0 when the photo rather shows one of the three types.
    """

    class_map: Tensor
    type_logits: Tensor
    scope_logit: Tensor


class ScarNetwork(nn.Module):
    """Trunk, a 1x1 convolution that scores each position, and the mean over positions.

    The mean of per-position linear scores equals a linear layer on pooled features, and gives a map of where each type
    is seen at no cost ("class activation mapping", Zhou et al., CVPR 2016).
    """

    def __init__(self, trunk: str, *, dropout: float = 0.0) -> None:
        """Build the network with random weights; `trunk` is a model name of torchvision."""
        super().__init__()
        self.trunk = _build_trunk(trunk)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(_channels(self.trunk), len(SCAR_TYPES) + 1, kernel_size=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, photos: Tensor) -> NetworkOutput:
        """Score photos given as float32 [N, 3, S, S], normalised by `datasets.preprocess`."""
        features = self.trunk(photos)  # [N, C, h, w]
        scores = self.head(self.dropout(features))  # [N, 4, h, w]
        pooled = scores.mean(dim=(2, 3))  # [N, 4]
        return NetworkOutput(scores[:, :-1], pooled[:, :-1], pooled[:, -1])


def load_trunk_weights(network: ScarNetwork, trunk: str, weights: str) -> None:
    """Start the trunk from pretrained weights.

    Args:
        network: the network whose trunk is overwritten.
        trunk: the torchvision name the network was built with.
        weights: path of a local `.safetensors` file, or a torchvision weights name such as "DEFAULT" or
            "IMAGENET1K_V2", which torchvision downloads.

    Raises:
        TrunkError: unknown weights, an unreadable file, or tensors that do not fit the trunk.
    """
    state = _read_weights(trunk, weights)
    wanted = network.trunk.state_dict()
    # A whole classification model is welcome: what does not belong to the trunk (its classifier) is left out.
    fitting = {name: tensor for name in wanted if (tensor := _find(state, name)) is not None}
    missing = sorted(name for name in wanted if name not in fitting and not name.endswith("num_batches_tracked"))
    if missing:
        raise TrunkError(f"{weights} does not fit {trunk}: {len(missing)} tensors are missing, such as {missing[0]}")
    for name, tensor in fitting.items():
        if tensor.shape != wanted[name].shape:
            raise TrunkError(
                f"{weights} does not fit {trunk}: {name} has shape {tuple(tensor.shape)}, "
                f"expected {tuple(wanted[name].shape)}"
            )
    network.trunk.load_state_dict(fitting, strict=False)


def _read_weights(trunk: str, weights: str) -> dict[str, Tensor]:
    if weights.endswith(".safetensors"):
        try:
            return load_file(Path(weights))
        except (OSError, SafetensorError) as error:
            raise TrunkError(f"{weights}: expected a readable safetensors file, found: {error}") from error
    known = models.get_model_weights(trunk)
    if weights not in known.__members__:
        names = ", ".join(known.__members__)
        raise TrunkError(f'"{weights}" is neither a .safetensors file nor weights of {trunk}: {names}')
    try:
        return dict(known[weights].get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:  # no network, or a damaged download
        raise TrunkError(
            f'the weights "{weights}" of {trunk} cannot be downloaded ({error}); '
            "give a local file, --set weights=FILE.safetensors, or start from nothing, --set weights=null"
        ) from error


def _find(state: dict[str, Tensor], name: str) -> Tensor | None:
    return state.get(f"features.{name}", state.get(name))


def _build_trunk(name: str) -> nn.Sequential:
    if name not in models.list_models(module=models):
        raise TrunkError(f'"{name}" is no classification model of torchvision; try one of {", ".join(TRUNKS)}')
    model = models.get_model(name, weights=None)
    if isinstance(features := getattr(model, "features", None), nn.Sequential):
        return features
    if hasattr(model, "layer4"):  # the ResNet family: everything before the pooling
        parts = [(part, layer) for part, layer in model.named_children() if part not in ("avgpool", "fc")]
        return nn.Sequential(OrderedDict(parts))
    raise TrunkError(f'"{name}" has neither "features" nor "layer4" and cannot be a trunk; try {", ".join(TRUNKS)}')


def _channels(trunk: nn.Sequential) -> int:
    training = trunk.training
    with torch.no_grad():
        channels = trunk.eval()(torch.zeros(1, 3, 64, 64)).shape[1]
    trunk.train(training)
    return channels
