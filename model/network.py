"""The network: a torchvision trunk, scores per position from its last map and its mid-level texture, and the mean."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from ..datasets.errors import ScarlensError
from ..datasets.labels import SCAR_TYPES
from .relief import RELIEF_TRUNK, TAPS, ReliefHead, stages_of

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


_PROBE_SIDE: Final = 128
"""Side in pixels of the empty photo that shows the shapes of a trunk's maps."""


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
        type_logits: [N, 3], the mean of `class_map` over positions, as far as the sides of its two parts divide.
        scope_logit: [N], above 0 when the photo rather shows one of the three types.
        relief: [N, 6, S / 4, S / 4], as `relief.Relief.planes` describes it, or None without a relief head.
    """

    class_map: Tensor
    type_logits: Tensor
    scope_logit: Tensor
    relief: Tensor | None = None


class TextureHead(nn.Module):
    """Linear scores of mid-level texture at every position.

    The features are the maps' values and how far each lies from the photo's mean, so that pooling them gives the mean
    and the mean absolute deviation of every channel: the statistics by which textures are told apart (Portilla &
    Simoncelli, IJCV 40:49, 2000). They are standardised by the photos that the head was
    fitted to, and when it is carried over from renderings to photographs by those instead, because the two differ in
    colour, noise and sharpness ("adaptive batch normalisation", Li et al., Pattern Recognition 80:109, 2018).
    """

    mean: Tensor
    std: Tensor
    share: Tensor

    def __init__(self, channels: int) -> None:
        """Start with a share of 0 in the network's score, until `training.texture` has fitted the head."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(2 * channels))
        self.register_buffer("std", torch.ones(2 * channels))
        self.register_buffer("share", torch.zeros(()))
        self.scores = nn.Conv2d(2 * channels, len(SCAR_TYPES), kernel_size=1)
        self.requires_grad_(False)  # a convex problem, solved at once rather than step by step
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, maps: Tensor) -> Tensor:
        """Score the features of `texture_of`, [N, T, h, w], as [N, 3, h, w]."""
        return self.scores((maps - self.mean[:, None, None]) / self.std[:, None, None])


def texture_of(maps: Tensor) -> Tensor:
    """Return maps [N, C, h, w] and how far each value lies from its photo's mean: [N, 2 C, h, w]."""
    return torch.cat([maps, (maps - maps.mean(dim=(2, 3), keepdim=True)).abs()], dim=1)


class ScarNetwork(nn.Module):
    """A trunk and two heads that score every position: one reads its last map, one its mid-level texture.

    The mean of per-position linear scores equals a linear layer on pooled features, and gives a map of where each type
    is seen at no cost ("class activation mapping", Zhou et al., CVPR 2016).

    Scars are small in a photo of a cheek: on the maps a 16th of the photo's side they still have a shape, on the last
    map, a 32nd, hardly. The texture head reads the former.
    """

    def __init__(self, trunk: str, *, dropout: float = 0.0, relief: bool = False) -> None:
        """Build the network with random weights.

        Args:
            trunk: a model name of torchvision.
            dropout: of what the first head reads.
            relief: whether a third head measures scars. It is trained by itself, on renderings (`training.relief`).

        Raises:
            TrunkError: when the trunk is unknown, or not the one that a relief head can read.
        """
        super().__init__()
        if relief and trunk != RELIEF_TRUNK:
            raise TrunkError(f'a relief head can read the trunk "{RELIEF_TRUNK}" only, not "{trunk}"')
        self.trunk = _build_trunk(trunk)
        shapes = _map_shapes(self.trunk)
        self.texture_stages = _texture_stages(shapes)
        self.texture = TextureHead(sum(shapes[stage][0] for stage in self.texture_stages))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(shapes[-1][0], len(SCAR_TYPES) + 1, kernel_size=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)
        self.relief = ReliefHead().requires_grad_(False) if relief else None

    @property
    def mid_level(self) -> int:
        """How many stages of the trunk lead to the texture head."""
        return self.texture_stages[-1] + 1

    def forward(self, photos: Tensor) -> NetworkOutput:
        """Score photos given as float32 [N, 3, S, S], normalised by `datasets.preprocess`.

        In training mode the texture and the relief head are silent: what the first head learns should not depend on
        them.
        """
        stages = stages_of(self.trunk, photos, {*self.texture_stages, *(TAPS if self.relief else ())})
        scores = self.head(self.dropout(self.trunk[self.mid_level :](stages[self.mid_level - 1])))  # [N, 4, h, w]
        pooled = scores.mean(dim=(2, 3))  # [N, 4]
        class_map, type_logits = scores[:, :-1], pooled[:, :-1]
        if not self.training:
            share, texture = self.texture.share, self.texture(self._texture(stages))  # [N, 3, H, W]
            wide = functional.interpolate(class_map, size=texture.shape[2:], mode="nearest")
            class_map = (1 - share) * wide + share * texture
            type_logits = (1 - share) * type_logits + share * texture.mean(dim=(2, 3))
        relief = None
        if self.relief is not None and not self.training:
            relief = self.relief(photos, stages).planes()
        return NetworkOutput(class_map, type_logits, pooled[:, -1], relief)

    def mid_level_maps(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last mid-level map of photos [N, 3, S, S], and the texture of all of them, [N, T, H, W]."""
        stages = stages_of(self.trunk, photos, self.texture_stages)
        return stages[self.mid_level - 1], self._texture(stages)

    def _texture(self, stages: Mapping[int, Tensor]) -> Tensor:
        return texture_of(torch.cat([stages[number] for number in self.texture_stages], dim=1))


def load_trunk_weights(network: ScarNetwork, trunk: str, weights: str) -> None:
    """Start the trunk from pretrained weights; from a checkpoint of this project, its texture head as well.

    Args:
        network: the network whose trunk is overwritten.
        trunk: the torchvision name the network was built with.
        weights: path of a local `.safetensors` file, also a checkpoint of this project, or a torchvision weights name
            such as "DEFAULT" or "IMAGENET1K_V2", which torchvision downloads.

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
    texture = {name: tensor for name, tensor in state.items() if name.startswith("texture.")}
    network.load_state_dict(texture, strict=False)  # a checkpoint of this project has learned of texture as well


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
    for prefix in ("features.", "trunk.", ""):  # a torchvision model, a checkpoint of this project, a bare trunk
        if f"{prefix}{name}" in state:
            return state[f"{prefix}{name}"]
    return None


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


def _map_shapes(trunk: nn.Sequential) -> list[tuple[int, int]]:
    """Return the channels and the side in pixels of every stage's map, for a photo of `_PROBE_SIDE` pixels."""
    training, shapes = trunk.training, []
    features = torch.zeros(1, 3, _PROBE_SIDE, _PROBE_SIDE)
    trunk.eval()
    with torch.no_grad():
        for stage in trunk:
            features = stage(features)
            shapes.append((features.shape[1], features.shape[2]))
    trunk.train(training)
    return shapes


def _texture_stages(shapes: list[tuple[int, int]]) -> tuple[int, ...]:
    """Return the stages whose map is a 16th of the photo's side: the last ones of each number of channels."""
    mid_level = [stage for stage, (_, side) in enumerate(shapes) if round(math.log2(_PROBE_SIDE / side)) == 4]
    return tuple(stage for stage in mid_level if stage + 1 not in mid_level or shapes[stage + 1][0] != shapes[stage][0])
