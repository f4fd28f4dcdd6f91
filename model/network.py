"""The network: a torchvision trunk, a neck that compares neighbouring positions, and three heads.

*Where* classifies each position of the photo: a scar of one of the types, other skin, or no skin. *What* classifies the
photo's type from the features at scarred positions. *Whether* decides scope from the most scarred positions.
"""

import math
from collections import OrderedDict
from pathlib import Path
from typing import Final, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models
from torchvision.ops import Conv2dNormActivation

from ..datasets.errors import ScarlensError
from ..datasets.labels import MAP_CLASSES, SCAR_TYPES

TRUNKS: Final = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "resnet18",
    "squeezenet1_1",
    "convnext_tiny",
)
"""Trunks covered by tests. Any other torchvision model with `features` or `layer1` to `layer4` works too."""


_NECK: Final = 96
"""Channels of the neck. Few, because photos are few."""

_DILATIONS: Final = (1, 2)
"""Dilations of the neck's two 3 x 3 layers. A scar is recognised by its rim, some positions away."""

_EVERYWHERE: Final = 0.02
"""Added to the scar probabilities when pooling features, so that the mean is defined for a photo without scars too."""

_HIGHEST: Final = 0.02
"""Share of positions, those with the highest scar probability, that decide the scope."""

_PROBE_SIDE: Final = 128
"""Side in pixels of the empty photo for probing the shapes of a trunk's maps."""


class TrunkError(ScarlensError, ValueError):
    """The trunk is unknown or its pretrained weights do not fit; the message says what is valid."""


class DeviceError(ScarlensError, ValueError):
    """The device cannot be used here."""


def usable_device(device: str) -> str:
    """Return the name of a torch device after checking that it works.

    Raises:
        DeviceError: unknown name, or no such device on this machine.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DeviceError(f'device "{device}" cannot be used here, "cpu" always can: {reason}') from error
    return device


class NetworkOutput(NamedTuple):
    """Raw scores of a batch of N photos.

    Attributes:
        class_map: [N, 5, h, w], logits of `MAP_CLASSES` at each position.
        type_logits: [N, 3], logits of the photo's type, in the order of `SCAR_TYPES`.
        scope_logit: [N], above 0 if the photo more likely shows one of the three types than none.
    """

    class_map: Tensor
    type_logits: Tensor
    scope_logit: Tensor


class NeckBlock(nn.Module):
    """A residual block that compares each position with its neighbours."""

    def __init__(self, channels: int, *, dilation: int) -> None:
        """Build a depthwise 3 x 3 layer and two pointwise ones (as in MobileNets, Howard et al., 2017)."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=dilation, dilation=dilation, groups=channels),
            nn.Conv2d(channels, 2 * channels, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(2 * channels, channels, kernel_size=1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Take and return [N, C, h, w]."""
        return maps + self.layers(maps)


class ScarNetwork(nn.Module):
    """A trunk, a neck and three heads.

    Scars are small in a photo of a cheek. Maps at a 16th of the photo's side (`mid_stages`) still show their shape; the
    last map, at a 32nd, shows their surroundings. The heads read both.
    """

    def __init__(self, trunk: str, *, dropout: float = 0.0) -> None:
        """Build the network with random weights in the trunk and the neck, and zeros in the heads.

        Args:
            trunk: a model name of torchvision.
            dropout: dropout rate of the heads' input.

        Raises:
            TrunkError: when the trunk is unknown.
        """
        super().__init__()
        self.trunk = _build_trunk(trunk)
        shapes = _map_shapes(self.trunk)
        self.mid_stages = _mid_stages(shapes)
        channels = sum(shapes[stage][0] for stage in {*self.mid_stages, len(shapes) - 1})
        self.standardise = nn.BatchNorm2d(channels, affine=False)
        self.neck = nn.Sequential(
            nn.Conv2d(channels, _NECK, kernel_size=1),
            nn.ReLU(),
            *(NeckBlock(_NECK, dilation=dilation) for dilation in _DILATIONS),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(dropout)
        self.channel_dropout = nn.Dropout2d(dropout / 2)
        self.where = nn.Conv2d(_NECK, len(MAP_CLASSES), kernel_size=1)
        self.what = nn.Linear(2 * channels, len(SCAR_TYPES))
        for parameter in (*self.where.parameters(), *self.what.parameters()):
            nn.init.zeros_(parameter)
        self.whether = nn.Parameter(torch.tensor([1.0, 0.0]))  # slope and offset

    def head_parameters(self) -> list[nn.Parameter]:
        """Return all weights but the trunk's."""
        return [parameter for name, parameter in self.named_parameters() if not name.startswith("trunk.")]

    @property
    def most_frozen(self) -> int:
        """Maximum number of frozen trunk stages: up to the first map that the heads read."""
        return self.mid_stages[0] + 1

    def forward(self, photos: Tensor) -> NetworkOutput:
        """Score photos, float32 [N, 3, S, S], normalised by `datasets.transform`."""
        return self.finish(photos, 0)

    def finish(self, maps: Tensor, done: int) -> NetworkOutput:
        """Score photos from the output of the first `done` stages of the trunk; 0: from the photos themselves."""
        features = self.standardise(self.features(maps, done))  # [N, C, h, w]
        class_map = self.where(self.dropout(self.neck(self.channel_dropout(features)))).float()
        scar = class_map.softmax(dim=1)[:, : len(SCAR_TYPES)].sum(dim=1, keepdim=True)  # [N, 1, h, w]
        weight = scar.detach() + _EVERYWHERE  # the types do not decide where scars are
        slope, offset = self.whether
        type_logits = self.what(self.dropout(_texture(features, weight))).float()
        return NetworkOutput(class_map, type_logits, slope * _amount(scar) + offset)

    def features(self, maps: Tensor, done: int) -> Tensor:
        """Return the heads' input maps, [N, C, h, w] at a 16th of the photo's side; arguments as for `finish`."""
        kept = [maps] if done - 1 in self.mid_stages else []
        for number, stage in enumerate(self.trunk[done:], start=done):
            maps = stage(maps)
            if number in self.mid_stages:
                kept.append(maps)
        if len(self.trunk) - 1 not in self.mid_stages:
            kept.append(functional.interpolate(maps, size=kept[0].shape[2:], mode="bilinear", align_corners=False))
        return torch.cat([part.float() for part in kept], dim=1)


def _texture(features: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean and mean absolute deviation of each channel: [N, 2 C] of [N, C, h, w].

    Such statistics tell textures apart (Portilla & Simoncelli, IJCV 40:49, 2000).
    """
    total = weight.sum(dim=(2, 3))  # [N, 1]
    mean = (weight * features).sum(dim=(2, 3)) / total
    deviation = (weight * (features - mean[:, :, None, None]).abs()).sum(dim=(2, 3)) / total
    return torch.cat([mean, deviation], dim=1)


def _amount(scar: Tensor) -> Tensor:
    """Return how much scar is seen, [N]: the mean logit of the highest of the probabilities [N, 1, h, w]."""
    logits = torch.logit(scar.flatten(1), eps=1e-5)
    return logits.topk(max(1, round(_HIGHEST * logits.shape[1])), dim=1).values.mean(dim=1)


def load_trunk_weights(network: ScarNetwork, trunk: str, weights: str) -> None:
    """Load pretrained weights into the trunk.

    Args:
        network: the network whose trunk is overwritten.
        trunk: the torchvision name the network was built with.
        weights: path of a local `.safetensors` file (a checkpoint of this project, for example), or the name of
            torchvision weights such as "DEFAULT" or "IMAGENET1K_V2", which torchvision downloads.

    Raises:
        TrunkError: unknown weights, an unreadable file, or tensors that do not fit the trunk.
    """
    state = _read_weights(trunk, weights)
    wanted = network.trunk.state_dict()
    # A whole classification model is accepted: tensors outside the trunk (its classifier) are ignored.
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
            "give a local file, --set weights=FILE.safetensors, or random weights, --set weights=null"
        ) from error


def _find(state: dict[str, Tensor], name: str) -> Tensor | None:
    for prefix in ("features.", "trunk.", ""):  # a torchvision model, a checkpoint of this project, a bare trunk
        if f"{prefix}{name}" in state:
            return state[f"{prefix}{name}"]
    return None


def _build_trunk(name: str) -> nn.Sequential:
    if name not in models.list_models(module=models):
        raise TrunkError(f'"{name}" is not a torchvision classification model; try one of {", ".join(TRUNKS)}')
    model = models.get_model(name, weights=None)
    if isinstance(features := getattr(model, "features", None), nn.Sequential):
        last = features[-1]
        widens = isinstance(last, Conv2dNormActivation) and next(last.children()).kernel_size == (1, 1)
        # The last layer of MobileNets and EfficientNets widens the map for ImageNet's thousand classes.
        return features[:-1] if widens else features
    if hasattr(model, "layer4"):  # the ResNet family: everything before the pooling
        parts = [(part, layer) for part, layer in model.named_children() if part not in ("avgpool", "fc")]
        return nn.Sequential(OrderedDict(parts))
    raise TrunkError(f'"{name}" has neither "features" nor "layer4" and cannot be a trunk; try {", ".join(TRUNKS)}')


def _map_shapes(trunk: nn.Sequential) -> list[tuple[int, int]]:
    """Return channels and side in pixels of every stage's map, for a photo of `_PROBE_SIDE` pixels."""
    training, shapes = trunk.training, []
    features = torch.zeros(1, 3, _PROBE_SIDE, _PROBE_SIDE)
    trunk.eval()
    with torch.no_grad():
        for stage in trunk:
            features = stage(features)
            shapes.append((features.shape[1], features.shape[2]))
    trunk.train(training)
    return shapes


def _mid_stages(shapes: list[tuple[int, int]]) -> tuple[int, ...]:
    """Return the stages whose map is a 16th of the photo's side: the last one of each number of channels."""
    mid_level = [stage for stage, (_, side) in enumerate(shapes) if round(math.log2(_PROBE_SIDE / side)) == 4]
    return tuple(stage for stage in mid_level if stage + 1 not in mid_level or shapes[stage + 1][0] != shapes[stage][0])
