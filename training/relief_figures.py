"""How well the relief head measures: width and depth of single scars and of photos, and when it keeps silent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from ..datasets.labels import SCAR_TYPES
from ..inference.measurement import measure, weighted_median
from ..model.calibration import ReliefLimits
from ..model.relief import TAPS, ReliefHead, stages_of
from .relief_pictures import Picture, averaged, is_deep, network_input

FRONTAL_DEGREES: Final = 70.0
"""Light is frontal when its strongest lamp stands higher over the skin."""

LIGHTS: Final = {"raking": (0.0, 35.0), "oblique": (35.0, FRONTAL_DEGREES), "frontal": (FRONTAL_DEGREES, 90.0)}
"""Elevation of the strongest lamp in degrees: above the first number, up to the second."""

WIDTHS_PX: Final = (0, 3, 4, 6, 12, 24, 224)
SCALES_MM: Final = (0.0, 0.1, 0.2, 0.3, 0.7)
"""Borders of the groups by width in pixels of the square and by millimetres to such a pixel."""

_BATCH: Final = 25
_UNLIMITED: Final = ReliefLimits(highest_elevation_degrees=math.inf, coarsest_mm_per_pixel=math.inf)


class ScarRow(NamedTuple):
    """One scar, and what the head says of it where it truly is; NaN stands for nothing."""

    type: str
    width_mm: float
    mm_per_pixel: float
    deep: bool
    elevation: float
    found_mm: float
    found_deep: float


class PhotoRow(NamedTuple):
    """The medians of a photo's scars of its type, and what a user would be told; NaN stands for nothing.

    `found_deep` is what would be told in any light, `told_deep` what is told in this one.
    """

    type: str
    width_mm: float
    mm_per_pixel: float
    deep: bool
    elevation: float
    found_mm: float
    found_deep: float
    told_deep: float


def relief_of(
    trunk: nn.Sequential, head: ReliefHead, source: Iterable[Picture]
) -> Iterator[tuple[Picture, np.ndarray]]:
    """Yield pictures with their maps, float32 [6, h, w], as `Relief.planes` describes them."""
    source = iter(source)
    while batch := [*islice(source, _BATCH)]:
        squares = network_input(picture.square for picture in batch)
        with torch.inference_mode():
            planes = head(squares, stages_of(trunk, squares, TAPS)).planes()
        yield from zip(batch, planes.numpy(), strict=True)


def scar_rows(picture: Picture, planes: np.ndarray) -> Iterator[ScarRow]:
    """Yield a row for each scar of which a pixel shows."""
    log_width, deep, _ = planes[len(SCAR_TYPES) :]
    for number, scar in enumerate(picture.scars):
        share = averaged(picture.owners == number)
        if (own := share > 0).any():
            found_px = np.exp(weighted_median(log_width[own], share[own]))
            yield ScarRow(
                type=scar.type,
                width_mm=scar.width_mm,
                mm_per_pixel=picture.mm_per_pixel,
                deep=is_deep(scar),
                elevation=picture.elevation_degrees,
                found_mm=float(found_px * picture.mm_per_pixel),
                found_deep=float(np.average(deep[own], weights=share[own])),
            )


def photo_row(picture: Picture, planes: np.ndarray, limits: ReliefLimits) -> PhotoRow | None:
    """Measure a photo, whose type is taken as known, as `inference` does; None where no scar of the type shows."""
    shown = np.unique(picture.owners)
    scars = [scar for n, scar in enumerate(picture.scars) if n in shown and scar.type == picture.label]
    if not scars:
        return None
    by_light = replace(limits, coarsest_mm_per_pixel=math.inf)  # what the scale withholds is counted apart
    found, lit, unlimited = (
        measure(planes, scar_type=picture.label, mm_per_pixel=picture.mm_per_pixel, limits=each)
        for each in (limits, by_light, _UNLIMITED)
    )
    return PhotoRow(
        type=picture.label,
        width_mm=float(np.median([scar.width_mm for scar in scars])),
        mm_per_pixel=picture.mm_per_pixel,
        deep=bool(np.mean([is_deep(scar) for scar in scars]) >= 0.5),
        elevation=picture.elevation_degrees,
        found_mm=_number(found.width_mm),
        found_deep=_number(unlimited.depth_probability),
        told_deep=_number(lit.depth_probability),
    )


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def relief_figures(scars: Sequence[ScarRow], photos: Sequence[PhotoRow], limits: ReliefLimits) -> dict[str, Any]:
    """Compute all figures as plain JSON types.

    The error of a width is the median of |found - true| / true. Beside it stands that of a fixed guess: the median
    width of the type in these very pictures, which no measurement can know.
    """
    scar, photo = (
        {name: np.array([getattr(row, name) for row in rows]) for name in rows[0]._fields} for rows in (scars, photos)
    )
    boxcar_scar, boxcar_photo = scar["type"] == "boxcar", photo["type"] == "boxcar"
    return {
        "scar_width": _width_errors(scar, _scar_groups(scar, limits)),
        "photo_width": _width_errors(photo, _type_groups(photo)),
        "scar_depth": {name: _auc(scar, group & boxcar_scar) for name, group in _lights(scar, limits).items()},
        "photo_depth": {name: _auc(photo, group & boxcar_photo) for name, group in _lights(photo, limits).items()},
        "photo_depth_withheld": {
            name: {
                "share": _mean(np.isnan(photo["told_deep"][group & boxcar_photo])),
                "number": int((group & boxcar_photo).sum()),
            }
            for name, group in _lights(photo, limits).items()
        },
    }


Columns = Mapping[str, np.ndarray]
"""Rows as arrays by the names of their fields."""


def _type_groups(rows: Columns) -> dict[str, np.ndarray]:
    return {"all": rows["type"] != "", **{name: rows["type"] == name for name in SCAR_TYPES}}


def _scar_groups(rows: Columns, limits: ReliefLimits) -> dict[str, np.ndarray]:
    scale = rows["mm_per_pixel"]
    width_px = rows["width_mm"] / scale
    sharp = rows["type"] != "rolling"
    groups = _type_groups(rows)
    groups["no rolling, near enough"] = sharp & (scale <= limits.coarsest_mm_per_pixel)
    for low, high in pairwise(WIDTHS_PX):
        groups[f"no rolling, {low}-{high} px"] = sharp & (width_px >= low) & (width_px < high)
    for low, high in pairwise(SCALES_MM):
        groups[f"no rolling, {low}-{high} mm/px"] = sharp & (scale >= low) & (scale < high)
    return groups


def _lights(rows: Columns, limits: ReliefLimits) -> dict[str, np.ndarray]:
    near = rows["mm_per_pixel"] <= limits.coarsest_mm_per_pixel
    lights = {name: (rows["elevation"] > low) & (rows["elevation"] <= high) for name, (low, high) in LIGHTS.items()}
    return {**lights, **{f"{name}, near enough": group & near for name, group in lights.items()}}


def _width_errors(rows: Columns, groups: Columns) -> dict[str, Any]:
    guess = np.zeros(len(rows["type"]))
    for name in set(rows["type"]):
        guess[rows["type"] == name] = np.median(rows["width_mm"][rows["type"] == name])
    figures = {}
    for name, group in groups.items():
        told = group & ~np.isnan(rows["found_mm"])
        true = rows["width_mm"][told]
        figures[name] = {
            "error": _median(np.abs(rows["found_mm"][told] / true - 1.0)),
            "fixed_guess": _median(np.abs(guess[told] / true - 1.0)),
            "number": int(told.sum()),
        }
    return figures


def _auc(rows: Columns, group: np.ndarray) -> dict[str, Any]:
    """Return the area under the ROC curve of deep against shallow, or None where one of them is missing."""
    told = group & ~np.isnan(rows["found_deep"])
    truth, scores = rows["deep"][told], rows["found_deep"][told]
    auc = float(roc_auc_score(truth, scores)) if 0 < truth.sum() < len(truth) else None
    return {"auc": auc, "number": len(truth), "deep": int(truth.sum())}


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if values.size else None


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def summary_lines(figures: Mapping[str, Any]) -> list[str]:
    """Return the figures as lines to print."""
    lines = [f"{'median error of the width':<36}{'found':>9}{'fixed guess':>13}{'number':>8}"]
    for kind in ("scar", "photo"):
        for name, row in figures[f"{kind}_width"].items():
            errors = f"{_percent(row['error']):>9}{_percent(row['fixed_guess']):>13}"
            lines.append(f"  {kind + ', ' + name:<34}{errors}{row['number']:>8}")
    lines.append(f"{'deep against shallow boxcar scars':<36}{'AUC':>9}{'':>13}{'number':>8}")
    for kind in ("scar", "photo"):
        for name, row in figures[f"{kind}_depth"].items():
            auc = "-" if row["auc"] is None else f"{row['auc']:.3f}"
            lines.append(f"  {kind + ', ' + name:<34}{auc:>9}{'':>13}{row['number']:>8}")
    lines.append("depth withheld")
    for name, row in figures["photo_depth_withheld"].items():
        lines.append(f"  {'photo, ' + name:<34}{_percent(row['share']):>9}{'':>13}{row['number']:>8}")
    return lines


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
