"""Every setting of a training run, in one frozen dataclass, each with its reason."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import yaml

from ..datasets.errors import ScarlensError
from ..datasets.transform import IMAGENET_MEAN, IMAGENET_STD


class ConfigError(ScarlensError, ValueError):
    """A setting is unknown or has the wrong type or range; the message says which and what would do."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training run; the resolved values go into the run folder and the checkpoint."""

    trunk: str = "mobilenet_v2"
    """torchvision name. Small: a few dozen photos a type cannot feed more, and it ships in 9 MB."""

    weights: str | None = "DEFAULT"
    """Pretrained weights: torchvision's name (downloaded) or a local .safetensors file. None starts from nothing."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Per-channel mean, RGB on 0..1, that the pretrained weights expect. torchvision's all expect ImageNet's."""

    std: tuple[float, float, float] = IMAGENET_STD
    """Per-channel standard deviation, RGB on 0..1, that the pretrained weights expect."""

    size: int = 384
    """Side of the square input in pixels: at 224 a scar is smaller than a position of the map."""

    epochs: int = 20
    """Passes over the photos at most; the learning rate falls to zero over them."""

    per_type: int = 64
    """Photos of each type that an epoch shows; `loader.BalancedBatches` says how many of the others."""

    batch_size: int = 32
    """Photos a step over all processes together, so that their number does not change what a step learns from."""

    learning_rate: float = 2e-4
    """Peak for the trunk: low, because its features are good already."""

    head_learning_rate: float = 2e-3
    """Peak for the head, which starts from zero."""

    weight_decay: float = 0.05
    """AdamW's. Few photos: decay keeps the trunk close to simple."""

    dropout: float = 0.2
    """On what the heads read; half of it drops whole channels in front of the neck."""

    label_smoothing: float = 0.05
    """Raters agree on half of the scars: no label deserves full belief."""

    frozen_stages: int | None = None
    """First children of the trunk that stay as pretrained; what they make of a view is computed once.

    None: up to the first map that the heads read, where there are pretrained weights.
    """

    views: int = 48
    """Augmented views of each photo with scars, made before training; a sixth of it of the others."""

    freeze_batchnorm: bool = True
    """Keep the pretrained batch statistics: small mixed batches estimate worse ones. Not without pretraining."""

    average_decay: float = 0.98
    """Per step, of the running average of weights that is evaluated and kept: steadier than the last step's."""

    validation_fraction: float = 0.2
    """Share of photos, whole subjects, for early stopping and calibration. 0 trains on everything, to the end."""

    patience: int = 8
    """Epochs without a better validation loss before training stops."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 runs the network in mixed precision: twice as fast where the processor knows it."""

    workers: int = 2
    """Processes that read and augment photos; the results do not depend on their number."""

    seed: int = 0
    """Of weights, split, order and dropout."""

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        positive = (
            "size",
            "epochs",
            "batch_size",
            "per_type",
            "views",
            "learning_rate",
            "head_learning_rate",
            "patience",
        )
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("dropout", "label_smoothing", "average_decay", "validation_fraction"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} must lie in 0..1, below 1, got {getattr(self, name)}")
        if not 32 <= self.size <= 4096:
            raise ConfigError(f"size must lie in 32..4096, got {self.size}")
        if min(self.std) <= 0:
            raise ConfigError(f"std must be above 0, got {self.std}")
        if self.validation_fraction > 0.5:
            raise ConfigError(f"validation_fraction must be at most 0.5, got {self.validation_fraction}")
        for name in ("frozen_stages", "workers", "seed", "weight_decay"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")

    @property
    def in_bfloat16(self) -> bool:
        """Whether the network runs in mixed precision."""
        return self.precision == "bfloat16"

    @classmethod
    def from_yaml(cls, path: Path) -> Self:
        """Read settings from a YAML file; what it does not name keeps its default.

        Raises:
            ConfigError: no such file, unknown key, wrong type or value out of range.
        """
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: expected a readable YAML file, found: {error}") from error
        if not isinstance(raw, dict):
            raise ConfigError(f"{path}: expected one `name: value` a line, found {type(raw).__name__}")
        return cls().with_settings(**{str(name): value for name, value in raw.items()})

    def with_settings(self, **settings: Any) -> Self:
        """Return a copy with some settings changed.

        Raises:
            ConfigError: unknown name, wrong type or value out of range.
        """
        hints = typing.get_type_hints(type(self))
        unknown = sorted(set(settings) - set(hints))
        if unknown:
            raise ConfigError(f"unknown settings: {', '.join(unknown)}; known are {', '.join(hints)}")
        return replace(self, **{name: _converted(name, value, hints[name]) for name, value in settings.items()})

    def with_texts(self, settings: Iterable[str]) -> Self:
        """Return a copy with some settings changed, each given as a text "NAME=VALUE" with the value in YAML.

        Raises:
            ConfigError: as `with_settings`, or no "=".
        """
        changes = {}
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals:
                raise ConfigError(f'expected NAME=VALUE, found "{setting}"')
            changes[name] = yaml.safe_load(value)
        return self.with_settings(**changes)

    def to_yaml(self) -> str:
        """Return all settings as YAML, which `from_yaml` reads back to an equal configuration."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return yaml.safe_dump(plain, sort_keys=False)


def _converted(name: str, value: Any, hint: Any) -> Any:
    if typing.get_origin(hint) is Literal and value in typing.get_args(hint):
        return value
    if (
        typing.get_origin(hint) is tuple
        and isinstance(value, list | tuple)
        and len(value) == len(typing.get_args(hint))
    ):
        return tuple(_converted(name, part, float) for part in value)
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if float in allowed and isinstance(value, int | str) and not isinstance(value, bool):
        with suppress(ValueError):  # YAML takes 1e-3 for a text
            return float(value)
    if type(value) in allowed:
        return value
    raise ConfigError(f"{name} must be {getattr(hint, '__name__', hint)}, got {value!r}")
