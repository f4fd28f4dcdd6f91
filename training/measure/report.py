"""Plots and reports of a run: learning curve, confusion matrix, and a self-contained HTML report."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ...datasets.labels import DISPLAY_NAMES, SCAR_TYPES
from ...datasets.skin_tone import TONES
from ...datasets.writing.atomic import write_atomically
from ...datasets.writing.template import filled
from ...inference.prediction import Prediction
from ...inference.reasons import NOTICE
from ...inference.regions import hex_colour, overlay
from .metrics import Estimate

_INK: Final = "#010203"
"""Placeholder for the colour of the page's text, which differs between light and dark pages."""

_BLUE: Final = "#3b82c4"
_THUMBNAIL: Final = 240  # pixels, long side


def draw_learning_curve(history: Sequence[dict[str, float]], best_epoch: int, path: Path) -> None:
    """Draw training and validation loss per epoch as a PNG; `history` is that of `training.run.Run`."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    epochs = [row["epoch"] for row in history]
    axes.plot(epochs, [row["loss"] for row in history], marker=".", label="training (augmented, mixed)")
    if "validation_loss" in history[0]:
        axes.plot(epochs, [row["validation_loss"] for row in history], marker=".", label="validation (other subjects)")
    axes.axvline(best_epoch, color="0.6", linestyle="--", linewidth=1, label=f"kept: epoch {best_epoch}")
    axes.set(xlabel="epoch", ylabel="loss: type + scope, nats")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def draw_confusion(counts: np.ndarray, path: Path) -> None:
    """Draw a confusion matrix, int [3, 3] with the true type by row, as a PNG with counts and row shares."""
    figure = Figure(figsize=(5, 4.4), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.55 else "black"
        text = f"{count}\n{100 * shares[row, column]:.0f} %"
        axes.text(column, row, text, ha="center", va="center", color=colour)
    names = [DISPLAY_NAMES[name] for name in SCAR_TYPES]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="most probable type", ylabel="label of the photo")
    _save(figure, path)


def report_page(
    figures: Mapping[str, Any],
    photo_of: Callable[[int], np.ndarray],
    seen_in: Callable[[int], Prediction] | None = None,
) -> str:
    """Return a report as one self-contained HTML page.

    Args:
        figures: those of `evaluate.measure`, and of `evaluate.measure_trust` where they were computed.
        photo_of: returns the upright photo for a row of the scores, RGB uint8 [H, W, 3].
        seen_in: returns the prediction for it; if missing, there are no overlays.
    """
    charts = {"reliability": _reliability_chart(figures), "risk_coverage": _risk_coverage_chart(figures)}
    if "map" in figures:
        charts["roc"] = _roc_chart(figures["map"])
    if "corruptions" in figures:
        charts["corruptions"] = _corruption_chart(figures["corruptions"])
    values = {
        "figures": figures,
        "charts": charts,
        "pictures": _pictures(figures, photo_of, seen_in),
        "types": SCAR_TYPES,
        "names": DISPLAY_NAMES,
        "colours": {name: hex_colour(name) for name in SCAR_TYPES},
        "tones": TONES,
        "notice": NOTICE,
    }
    filters = {"share": _share, "number": _number, "plain": _plain}
    return filled(Path(__file__).with_name("report.html.j2"), values, filters)


def _share(estimate: Mapping[str, Any] | None) -> str:
    """Format a share in percent with its interval: `69 % (61-77)`."""
    if estimate is None or estimate["value"] is None:
        return "not measured"
    value, low, high = (f"{100 * estimate[key]:.1f}".removesuffix(".0") for key in ("value", "low", "high"))
    return f"{value} % ({low} to {high})"


def _number(estimate: Mapping[str, Any] | None) -> str:
    return "not measured" if estimate is None else str(Estimate(**estimate))


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _pictures(
    figures: Mapping[str, Any],
    photo_of: Callable[[int], np.ndarray],
    seen_in: Callable[[int], Prediction] | None,
) -> dict[int, dict[str, str]]:
    """Return the `photo` and, if known, the `overlay` of each row of the scores, as data URLs."""
    pictures: dict[int, dict[str, str]] = {}
    maps = figures.get("map", {})
    listed = [*maps.get("best_photos", ()), *maps.get("worst_photos", ()), *figures["worst"], *figures["missed"]]
    for row in {entry["row"] for entry in [*listed, *figures["falsely_refused"]]}:
        small = _thumbnail(photo_of(row))
        pictures[row] = {"photo": _address(small)}
        if seen_in is not None:
            found = seen_in(row)
            outlined = overlay(small, found.regions, found.scar_threshold)
            pictures[row]["overlay"] = _address(outlined[: small.shape[0]])  # the page has the legend
    return pictures


def _thumbnail(photo: np.ndarray) -> np.ndarray:
    scale = min(1.0, _THUMBNAIL / max(photo.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in photo.shape[:2])
    return cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)


def _address(picture: np.ndarray) -> str:
    """Return an RGB picture as the data URL of a JPEG."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 80])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()


def _reliability_chart(figures: Mapping[str, Any]) -> Markup:
    """Draw accuracy against confidence, with the range expected of a perfectly calibrated model."""
    figure, axes = _chart("mean probability of the most probable type", "accuracy")
    bins = figures["reliability"]["bins"]
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":")
    for row in bins:
        low, high = row["chance_low"], row["chance_high"]
        axes.bar(row["confidence"], high - low, width=0.05, bottom=low, color=_BLUE, alpha=0.25)
        axes.annotate(str(row["scores"]), (row["confidence"], 0.02), ha="center", color=_INK, fontsize=8)
    axes.plot([row["confidence"] for row in bins], [row["accuracy"] for row in bins], marker="o", color=_BLUE)
    axes.set(xlim=(0.3, 1.0), ylim=(0.0, 1.02))
    return _svg(figure, "reliability")


def _risk_coverage_chart(figures: Mapping[str, Any]) -> Markup:
    """Draw accuracy against coverage, and mark the classifier's own thresholds."""
    figure, axes = _chart("coverage: share of photos answered", "accuracy")
    curve = figures["risk_coverage"]
    axes.plot([point["coverage"] for point in curve], [point["accuracy"] for point in curve], color=_BLUE)
    answered, right = (figures["types"][name]["value"] for name in ("share_answered", "accuracy_answered"))
    if right is not None:
        axes.plot([answered], [right], marker="D", color=_INK, linestyle="", label="the classifier's own thresholds")
        axes.legend(frameon=False, labelcolor=_INK, loc="lower left")
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.02))
    return _svg(figure, "risk_coverage")


def _roc_chart(figures: Mapping[str, Any]) -> Markup:
    """Draw the ROC curve of scarred against other cells."""
    figure, axes = _chart("false positive rate: cells without a scar", "true positive rate: scarred cells")
    axes.plot(*zip(*figures["roc"], strict=True), color=_BLUE)
    axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":")
    axes.plot(*figures["readers_point"], marker="D", color=_INK, linestyle="", label="the second reader")
    axes.legend(frameon=False, labelcolor=_INK, loc="lower right")
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.02))
    return _svg(figure, "roc")


def _corruption_chart(corruptions: Mapping[str, Any]) -> Markup:
    """Draw accuracy against the strength of each corruption."""
    figure, axes = _chart("strength; 0 is the shrunk photo", "accuracy")
    for name, rows in corruptions.items():
        axes.plot([row["level"] for row in rows], [row["accuracy"]["value"] for row in rows], marker="o", label=name)
    axes.axhline(1 / len(SCAR_TYPES), color=_INK, linewidth=0.8, linestyle=":")
    axes.set(ylim=(0.0, 1.02))
    axes.xaxis.set_major_formatter("{x:.0f}")
    figure.legend(frameon=False, labelcolor=_INK, ncols=len(corruptions), loc="outside upper center")
    return _svg(figure, "corruptions")


def _chart(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6, 4), layout="constrained", facecolor="none")
    axes = figure.add_subplot(facecolor="none")
    axes.set_xlabel(xlabel, color=_INK)
    axes.set_ylabel(ylabel, color=_INK)
    axes.tick_params(color=_INK, labelcolor=_INK)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(_INK)
    return figure, axes


def _svg(figure: Figure, name: str) -> Markup:
    """Return a chart as a reproducible SVG element in the page's font and text colour."""
    FigureCanvasAgg(figure)
    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    drawing = text.getvalue()
    nameless = re.sub(r'<g id="[^"]+"', "<g", drawing[drawing.index("<svg") :])  # a page must not use an id twice
    return Markup(nameless.replace(_INK, "currentColor"))


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130, metadata={"Software": None})
    write_atomically(path, picture.getvalue())
