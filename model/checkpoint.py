"""Self-describing checkpoints: weights, and a JSON card with everything that prediction needs.

The card is in the header of a safetensors file or the metadata of an ONNX file. Both contain a seal, the SHA-256 of the
whole file with the seal blanked out, which reveals any flipped bit. Opening an untrusted checkpoint runs no code,
because there is no pickle in it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..datasets.errors import ScarlensError, printable
from ..datasets.labels import SCAR_TYPES
from ..datasets.writing.atomic import write_atomically
from .calibration import Calibration

FORMAT: Final = 6
"""Version of the card, the evaluation transform and the network. Readers refuse any other version."""

MAX_BYTES: Final = 250_000_000
"""Size limit of a checkpoint file in bytes."""

_LONGEST_MESSAGE: Final = 5000  # characters: no path is longer
_LARGEST: Final = 1e6  # of a mean, and of one over a deviation: float32 holds what they make of a photo

_SEAL_PREFIX: Final = b"scarlens-sha256:"
BLANK_SEAL: Final = _SEAL_PREFIX.decode() + "0" * 64
"""Placeholder in the metadata, which `seal` replaces by the digest."""
_SEAL: Final = re.compile(re.escape(_SEAL_PREFIX) + rb"([0-9a-f]{64})")


class CheckpointError(ScarlensError, ValueError):
    """The file is not a usable checkpoint; the message says what was expected and what was found."""

    def __str__(self) -> str:
        """Return one line, with content from the untrusted file escaped and truncated."""
        text = printable(super().__str__())
        return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything that prediction needs to know about the weights.

    Attributes:
        trunk: torchvision name of the trunk.
        size: side of the network's square input in pixels.
        mean: per-channel mean of the input, RGB on 0..1.
        std: per-channel standard deviation of the input, RGB on 0..1.
        calibration: turns scores into an answer.
        model_id: digest of weights and card, the same in both file forms. `save_checkpoint` computes it.
        scar_types: order of the type axis; must be `SCAR_TYPES`.
        training: the resolved configuration and a summary of the data, for information.
        format: version of this card.
    """

    trunk: str
    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    calibration: Calibration
    model_id: str = ""
    scar_types: tuple[str, ...] = SCAR_TYPES
    training: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> str:
        """Return the card as one line of JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read a card.

        Raises:
            CheckpointError: unknown version, missing or unknown fields, or values out of range.
        """
        try:
            raw = json.loads(text)
            if raw.get("format") != FORMAT:
                raise CheckpointError(f"expected a card of format {FORMAT}, found {raw.get('format')!r}")
            unknown = set(raw) - {entry.name for entry in fields(cls)}
            if unknown:
                raise CheckpointError(f"the card has unknown fields: {sorted(unknown)}")
            calibration = raw["calibration"]
            for name in ("plausible_thresholds", "repeatability", "repeatability_any_light"):
                calibration[name] = None if calibration[name] is None else tuple(calibration[name])
            raw["calibration"] = Calibration(**calibration)
            for name in ("mean", "std", "scar_types"):
                raw[name] = tuple(raw[name])
            card = cls(**raw)
            card._check()
            card.to_json().encode()  # must be encodable, because the model id is a digest of it
        except (TypeError, KeyError, AttributeError, ValueError, OverflowError, RecursionError) as error:
            raise (
                error if isinstance(error, CheckpointError) else CheckpointError(f"the card is malformed: {error}")
            ) from error
        return card

    def _check(self) -> None:
        if self.scar_types != SCAR_TYPES:
            raise CheckpointError(f"expected the types {SCAR_TYPES} in this order, found {self.scar_types}")
        if not isinstance(self.size, int) or not 32 <= self.size <= 4096:
            raise CheckpointError(f"expected an input size of 32 to 4096 pixels, found {self.size!r}")
        if not isinstance(self.trunk, str) or not isinstance(self.model_id, str):
            raise CheckpointError(f"expected names of trunk and model, found {self.trunk!r} and {self.model_id!r}")
        means, deviations = np.abs(self.mean), np.array(self.std)
        fit = means.shape == deviations.shape == (3,) and means.max() <= _LARGEST and deviations.max() <= _LARGEST
        if not fit or not deviations.min() >= 1 / _LARGEST:
            raise CheckpointError(f"expected three finite means and positive deviations, found {self.mean}, {self.std}")


def save_checkpoint(path: Path, tensors: Mapping[str, np.ndarray], card: Card) -> Card:
    """Write weights and card as one safetensors file, atomically.

    Args:
        path: the file to write. An existing file is replaced once the new one is safely on disk.
        tensors: the network's state by name.
        card: the card; its `model_id` is computed here.

    Returns:
        The card as written.
    """
    from safetensors.numpy import save

    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    card = replace(card, model_id=_model_id(contiguous, card))
    write_atomically(path, seal(save(contiguous, {"card": card.to_json(), "seal": BLANK_SEAL})))
    return card


def _model_id(tensors: Mapping[str, np.ndarray], card: Card) -> str:
    digest = hashlib.sha256(replace(card, model_id="").to_json().encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"|{name}|{tensor.dtype.str}|{tensor.shape}|".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()[:16]


def load_checkpoint(path: Path) -> tuple[dict[str, np.ndarray], Card]:
    """Read the weights and the card of a safetensors checkpoint.

    Raises:
        CheckpointError: not a checkpoint, damaged, of another version, or with a value that is not finite.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = read_sealed(path)
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: expected a safetensors file, found: {error}") from error
    card = card_of(path, (header.get("__metadata__") or {}).get("card"))
    for name, tensor in tensors.items():
        if np.issubdtype(tensor.dtype, np.floating) and not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} holds values that are not finite; the training diverged")
    if (model_id := _model_id(tensors, card)) != card.model_id:
        raise CheckpointError(f"{path}: the card names the model {card.model_id}, but its contents are {model_id}")
    return tensors, card


def card_of(path: Path, text: str | None) -> Card:
    """Parse the card in a file's metadata. Errors name the file."""
    if text is None:
        raise CheckpointError(f"{path}: expected a card in the file's metadata, found none; was it made by scarlens?")
    try:
        return Card.from_json(text)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def seal(data: bytes) -> bytes:
    """Replace the blank seal by the file's digest."""
    digest = hashlib.sha256(data).hexdigest().encode()
    return data.replace(BLANK_SEAL.encode(), _SEAL_PREFIX + digest, 1)


def read_sealed(path: Path) -> bytes:
    """Read a checkpoint file of either form and verify its seal.

    Raises:
        CheckpointError: missing, too large, without a seal, or changed since it was written.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise CheckpointError(f"{path}: expected at most {MAX_BYTES} bytes, found {size}")
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    found = _SEAL.search(data)
    if found is None:
        raise CheckpointError(
            f"{path}: expected a checkpoint that scarlens sealed (.safetensors or .onnx), found no seal"
        )
    view, digest = memoryview(data), hashlib.sha256()  # no copy: a file may be large
    for part in (view[: found.start()], BLANK_SEAL.encode(), view[found.end() :]):
        digest.update(part)
    if digest.hexdigest().encode() != found[1]:
        raise CheckpointError(f"{path}: the file was damaged or changed after it was written; copy or train it again")
    return data
