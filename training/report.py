"""Pictures of a run: learning curve and confusion matrix."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..datasets.atomic import write_atomically
from ..datasets.labels import DISPLAY_NAMES, SCAR_TYPES


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


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=130, metadata={"Software": None})
    write_atomically(path, picture.getvalue())
