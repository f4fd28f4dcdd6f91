"""Held-out scores go in, a checkpoint's calibration comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from ...datasets.annotations.readings import read_readings
from ...model.calibration import Calibration, fit_calibration, least_judgeable
from ..config import TrainConfig
from .map_figures import CELLS_FILE, RETAKES_FILE, Cells, fit_scar_threshold, read_arrays, repeatability
from .scores import ScoredPhotos, ScoresError, read_changes
from .stress import ORIGINAL, STRENGTHS, corruption_name

CHANGES_FILE: Final = "changes.csv"
"""File of a cross-validation with raw scores under every change of `stress`."""


@dataclass(frozen=True)
class HeldOut:
    """Scores of photos that the network did not see.

    Attributes:
        scored: scores of the unchanged photos.
        changed: scores of photos of the three types under the changes of `stress`, by name; may be empty.
        cells: the map's cells of photos with readings; may be empty.
        retakes: extents in pairs of photos of unchanged skin, see `retaken_extents`; may be empty.
    """

    scored: ScoredPhotos
    changed: Mapping[str, ScoredPhotos] = field(default_factory=dict)
    cells: Cells = field(default_factory=dict)
    retakes: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Sequence[HeldOut]) -> HeldOut:
        """Concatenate several sets."""
        names = parts[0].changed
        changed = {name: ScoredPhotos.joined([part.changed[name] for part in parts]) for name in names}
        cells = {digest: found for part in parts for digest, found in part.cells.items()}
        return cls(ScoredPhotos.joined([part.scored for part in parts]), changed, cells)


def calibrated(held_out: HeldOut, *, fitted_on: str) -> Calibration:
    """Fit a calibration. `fitted_on` describes the data. Without changed photos there are no quality limits."""
    scored = held_out.scored
    calibration = fit_calibration(
        type_logits=scored.type_logits,
        scope_logits=scored.scope_logits,
        type_indices=scored.type_indices,
        in_scope=scored.in_scope,
        repeats=scored.repeats,
        fitted_on=fitted_on,
    )
    threshold = fit_scar_threshold(held_out.cells, read_readings())
    calibration = replace(calibration, scar_threshold=threshold, **repeatability(held_out.retakes))
    if not held_out.changed:
        return calibration
    return replace(
        calibration,
        min_brightness=_least(held_out.changed, "darkness", "brightness"),
        min_sharpness=_least(held_out.changed, "blur", "sharpness"),
    )


def _least(changed: Mapping[str, ScoredPhotos], corruption: str, measure: str) -> float:
    """Fit a quality limit on unchanged photos and on all levels of a corruption."""
    names = [ORIGINAL, *(corruption_name(corruption, level + 1) for level in range(len(STRENGTHS[corruption])))]
    parts = [changed[name] for name in names]
    right = [part.type_logits.argmax(axis=1) == part.type_indices for part in parts]
    unchanged = np.arange(sum(map(len, right))) < len(right[0])
    return least_judgeable(np.concatenate([getattr(part, measure) for part in parts]), np.concatenate(right), unchanged)


def read_held_out(predictions: Path, config: TrainConfig) -> HeldOut:
    """Read the scores of a cross-validation, to calibrate a checkpoint trained with the same settings.

    Args:
        predictions: `predictions.csv` of the cross-validation, with `config.yaml` in the same folder. `changes.csv`
            there, if it exists, sets the quality limits.
        config: the settings of the training.

    Raises:
        ScoresError: the file is not a `predictions.csv`, or settings other than seed and workers differ.
    """
    scored = ScoredPhotos.read(predictions)
    used = TrainConfig.from_yaml(predictions.with_name("config.yaml"))
    if used.with_settings(seed=config.seed, workers=config.workers) != config:
        raise ScoresError(
            f"{predictions} was scored with other settings than this training: compare config.yaml in the same folder"
        )
    changes = predictions.with_name(CHANGES_FILE)
    changed = read_changes(changes) if changes.is_file() else {}
    cells, retakes = (read_arrays(predictions.with_name(name)) for name in (CELLS_FILE, RETAKES_FILE))
    return HeldOut(scored, changed, cells, retakes)
