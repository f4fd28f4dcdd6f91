"""The relief head: how wide scars are, how deep, and whether the light shows it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..datasets.labels import SCAR_TYPES

RELIEF_TRUNK: Final = "mobilenet_v2"
"""The only trunk that the head can read."""

TAPS: Final = {3: 24, 6: 32, 10: 64, 13: 96}
"""Stages of the trunk that the head reads, and their channels: 56, 28, 14 and 14 positions a side at 224 pixels."""

_COARSE, _FINE, _STEM = 64, 32, 16  # channels
_PLANES: Final = 1 + len(SCAR_TYPES) + 4
_TYPICAL_LOG_WIDTH: Final = 2.0  # 7 pixels: where training starts from


class Relief(NamedTuple):
    """What the head says about N squares of S pixels; its maps have h = w = S / 4 positions a side.

    Attributes:
        type_logits: [N, 4, h, w], skin and then the types in the order of `SCAR_TYPES`.
        log_width: [N, h, w], natural logarithm of the width in pixels of the square of the scar seen at a position.
        log_spread: [N, h, w], logarithm of the mean error of `log_width` that is to be expected there.
        log_depth: [N, h, w], natural logarithm of the scar's depth in pixels of the square; like `log_spread` it only
            helps training.
        deep_logit: [N, h, w], above 0 where a boxcar scar is rather deep than shallow.
        elevation: [N], of the strongest lamp over the skin as a share of 90 degrees: near 1, light hides relief.
    """

    type_logits: Tensor
    log_width: Tensor
    log_spread: Tensor
    log_depth: Tensor
    deep_logit: Tensor
    elevation: Tensor

    def planes(self) -> Tensor:
        """Return what a measurement needs as one tensor [N, 6, h, w].

        The probability of each of the three types; the logarithm of the width in pixels; the probability that a boxcar
        scar is deep; the lamp's elevation, alike at all positions.
        """
        seen = self.type_logits.softmax(dim=1)[:, 1:]
        elevation = self.elevation[:, None, None].expand_as(self.log_width)
        return torch.cat([seen, torch.stack([self.log_width, self.deep_logit.sigmoid(), elevation], dim=1)], dim=1)


class ReliefHead(nn.Module):
    """Reads relief off the trunk's stages and off the square itself.

    From coarse to fine, as feature pyramids do (Lin et al., CVPR 2017): maps with 14 positions a side see a whole scar
    and the light around it, those with 56 and a small stem on the pixels see where its margins are. The mean over the
    square tells every position what the light is like, without which no shadow tells a depth.
    """

    def __init__(self) -> None:
        """Start from random weights; `training.relief` trains them."""
        super().__init__()
        wide = TAPS[10] + TAPS[13]
        self.stem = nn.Sequential(_conv(3, 12, 3, stride=2), _conv(12, _STEM, 3, stride=2))
        self.top = _conv(wide, _COARSE)
        self.around = nn.Sequential(_conv(_COARSE, _COARSE, 5, groups=_COARSE), _conv(_COARSE, _COARSE))
        self.scene = nn.Linear(wide, _COARSE)
        self.middle = _conv(TAPS[6], _COARSE)
        self.merge_middle = _conv(_COARSE, _COARSE, 3)
        self.narrow = _conv(_COARSE, _FINE)
        self.bottom = _conv(TAPS[3] + _STEM, _FINE)
        self.merge_bottom = _conv(_FINE, _FINE, 3)
        self.out = nn.Sequential(
            _conv(_FINE, _FINE, 5, groups=_FINE), _conv(_FINE, 2 * _FINE), nn.Conv2d(2 * _FINE, _PLANES, 1)
        )
        self.light = nn.Sequential(nn.Linear(3 * _COARSE, 32), nn.ReLU(inplace=True), nn.Linear(32, 1))

    def forward(self, squares: Tensor, stages: Mapping[int, Tensor]) -> Relief:
        """Read relief.

        Args:
            squares: float32 [N, 3, S, S], what the trunk was given.
            stages: the trunk's map after each stage of `TAPS`.
        """
        deep = torch.cat([stages[10], stages[13]], dim=1)
        top = self.top(deep) + self.scene(deep.mean(dim=(2, 3)))[:, :, None, None]
        top = top + self.around(top)
        middle = self.middle(stages[6])
        middle = self.merge_middle(middle + _enlarged(top, middle))
        bottom = self.bottom(torch.cat([stages[3], self.stem(squares)], dim=1))
        maps = self.out(self.merge_bottom(bottom + _enlarged(self.narrow(middle), bottom)))
        scene = torch.cat([top.mean(dim=(2, 3)), middle.mean(dim=(2, 3)), middle.std(dim=(2, 3))], dim=1)
        return Relief(
            type_logits=maps[:, :4],
            log_width=maps[:, 4] + _TYPICAL_LOG_WIDTH,
            log_spread=maps[:, 5].clamp(-4.0, 2.0),
            log_depth=maps[:, 6],
            deep_logit=maps[:, 7],
            elevation=self.light(scene)[:, 0],
        )


def stages_of(trunk: nn.Sequential, photos: Tensor, wanted: Collection[int]) -> dict[int, Tensor]:
    """Return the trunk's map of photos [N, 3, S, S] after each of the stages `wanted`; later stages are not run."""
    stages, maps = {}, photos
    for number, stage in enumerate(trunk[: max(wanted) + 1]):
        maps = stage(maps)
        if number in wanted:
            stages[number] = maps
    return stages


def trunk_digest(state: Mapping[str, Tensor]) -> str:
    """Return a digest of the weights up to the last stage of `TAPS`: a head fits the trunk that it was trained on.

    Args:
        state: the state of a `ScarNetwork` by name.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        part, _, rest = name.partition(".")
        if part == "trunk" and int(rest.split(".")[0]) <= max(TAPS) and not name.endswith("num_batches_tracked"):
            digest.update(f"|{name}|".encode())
            digest.update(state[name].cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _conv(inputs: int, outputs: int, size: int = 1, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _enlarged(maps: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(maps, size=like.shape[2:], mode="bilinear", align_corners=False)
