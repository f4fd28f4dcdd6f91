"""The settings of a training run in one frozen dataclass, each with its reason."""

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
    """A setting is unknown or has the wrong type or range; the message names it and says what is valid."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training run. The resolved values are saved in the run folder and the checkpoint."""

    trunk: str = "mobilenet_v2"
    """torchvision name. Small, because a few dozen photos per type cannot train a larger one."""

    weights: str | None = "DEFAULT"
    """Pretrained weights: a torchvision name (downloaded) or a local .safetensors file. None: random weights."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Per-channel mean, RGB on 0..1, that the pretrained weights expect: ImageNet's for torchvision's weights."""

    std: tuple[float, float, float] = IMAGENET_STD
    """Per-channel standard deviation, RGB on 0..1, that the pretrained weights expect."""

    size: int = 384
    """Side of the square input in pixels. At 224, a scar is smaller than a position of the map."""

    epochs: int = 20
    """Maximum number of epochs. The learning rate falls to zero over them."""

    per_type: int = 64
    """Photos of each type per epoch; `batches.loader.BalancedBatches` says how many of the others."""

    batch_size: int = 32
    """Photos per step over all processes, so results do not depend on the number of processes."""

    learning_rate: float = 2e-4
    """Peak learning rate of the trunk. Low, because its features are good already."""

    head_learning_rate: float = 2e-3
    """Peak learning rate of the neck and the heads, which are trained from scratch."""

    weight_decay: float = 0.05
    """AdamW's weight decay, against overfitting on few photos."""

    dropout: float = 0.2
    """Dropout rate of the heads' input. Half of it drops whole channels before the neck."""

    label_smoothing: float = 0.05
    """Labels are noisy: expert raters agree on about half of the scars."""

    frozen_stages: int | None = None
    """Number of leading trunk stages that stay as pretrained. Their output is computed once per view.

    None: all stages up to the first map that the heads read, if there are pretrained weights.
    """

    views: int = 48
    """Augmented views of each photo with scars, computed before training. Other photos get a sixth of them."""

    freeze_batchnorm: bool = True
    """Keep the pretrained batch statistics: small batches estimate worse ones. Ignored without pretraining."""

    average_decay: float = 0.98
    """Decay per step of the running average of the weights, which is evaluated and saved."""

    validation_fraction: float = 0.2
    """Share of photos, in whole subjects, for early stopping and calibration. 0: train on all, to the last epoch."""

    patience: int = 8
    """Epochs without a better validation loss before training stops early."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 uses mixed precision: twice as fast on processors that support it."""

    workers: int = 2
    """Processes that read and augment photos. Results do not depend on their number."""

    seed: int = 0
    """Seed of weights, split, order and dropout."""

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
        """Read settings from a YAML file. Missing settings keep their defaults.

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
        """Return a copy with some settings changed, each given as "NAME=VALUE" with the value in YAML.

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
        """Return all settings as YAML that `from_yaml` reads back."""
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
