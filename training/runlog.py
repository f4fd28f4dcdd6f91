"""What a run leaves behind while it trains: a CSV row and TensorBoard scalars per epoch, and a bar on a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from torch.utils.tensorboard import SummaryWriter

from ..datasets.atomic import write_atomically
from ..inference.terminal import ON_TERMINAL


class RunLog:
    """The log of one run; silent and without files in processes that do not lead."""

    def __init__(self, out: Path, *, enabled: bool) -> None:
        """Open the log in the run folder `out`."""
        self._out, self._enabled = out, enabled
        self._console = Console(stderr=True, quiet=not enabled)
        self._board: SummaryWriter | None = None

    def steps(self, batches: Iterable[Any], *, epoch: int, total: int) -> Iterator[Any]:
        """Pass the batches of an epoch on, moving a bar where standard error is a terminal."""
        hidden = not (self._enabled and ON_TERMINAL)
        yield from track(batches, f"epoch {epoch}", total=total, console=self._console, disable=hidden, transient=True)

    def epoch(self, history: Sequence[dict[str, float]], *, best_epoch: int) -> None:
        """Write down the last row of `history`; the CSV always holds the whole of it, also after a resume."""
        if not self._enabled:
            return
        if self._board is None:
            # Rows of an epoch that was cut off and is done again are dropped, so that curves have no double points.
            self._board = SummaryWriter(str(self._out / "tensorboard"), purge_step=int(history[-1]["epoch"]))
        row = history[-1]
        for name, value in row.items():
            self._board.add_scalar(name, value, int(row["epoch"]))
        self._board.flush()
        write_atomically(self._out / "log.csv", _as_csv(history))
        figures = "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.items() if name != "epoch")
        best = "  (best so far)" if best_epoch == row["epoch"] else ""
        self._console.print(f"epoch {int(row['epoch'])}  {figures}{best}", highlight=False)

    def close(self) -> None:
        """Close the TensorBoard file."""
        if self._board is not None:
            self._board.close()


def _as_csv(history: Sequence[dict[str, float]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue().encode()
