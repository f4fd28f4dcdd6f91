"""A second trunk: its scores beside those of the network that ships, and what it costs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scarlens.model.network import ScarNetwork
from scarlens.training import texture

from .linear import measured, with_prior
from .probes import SQUEEZENET_LAYERS, averaged, of_squeezenet
from .stages import measured_recipe
from .study import Row, Study, StudyError


def second_trunk(study: Study, squeezenet: str | None) -> list[Row]:
    """Measure the means of squeezenet1_1's linear model and both heads of the first trunk, and print the cost.

    Raises:
        StudyError: without weights of squeezenet1_1.
    """
    if not squeezenet:
        raise StudyError("the second trunk wants its weights: give --squeezenet FILE.safetensors")
    head = measured(study, "texture head, prior chosen", with_prior(study, texture.PRIOR_WEIGHTS))
    other, stages = of_squeezenet(study, squeezenet), measured_recipe(study, "pretrained on renderings")
    rows = [
        head,
        other,
        stages,
        averaged(study, f"mean of {head.what} and {other.what}", head, other),
        averaged(study, f"mean of {other.what} and {stages.what}", other, stages),
        averaged(study, f"mean of {head.what}, {other.what} and {stages.what}", head, other, stages),
    ]
    size, second = study.config.size, ScarNetwork("squeezenet1_1").trunk[: SQUEEZENET_LAYERS[-1] + 1]
    print(f"\nmultiply-adds at {size} px: squeezenet1_1 up to its last layer above {multiply_adds(second, size):,}, ")
    print(f"the network that ships {multiply_adds(ScarNetwork('mobilenet_v2', relief=True), size):,}")
    return rows


def multiply_adds(network: nn.Module, size: int) -> int:
    """Count the multiplications that the convolutions of a network do for one photo of `size` pixels."""
    counted: list[int] = []

    def count(layer: nn.Conv2d, _: Any, output: Tensor) -> None:
        counted.append(output.numel() * layer.weight[0].numel())

    hooks = [layer.register_forward_hook(count) for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return sum(counted)
