"""Classify 1,000 and 10,000 small photos with `scarlens batch`; print the most memory of both, beside the target.

    python tests/benchmarks/memory.py [--files FEW MANY] [--picture FILE.png] [--csv FILE.csv]

The photos are hard links of 20 rendered ones of 96 pixels. Every 50 ms the resident memory of the command and of the
processes that it started is added up, which counts the libraries that they share once for each. Runs on Linux, from
/proc. The picture shows memory against files done, as far as rows are on disk; the CSV file holds its samples.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from scarlens.datasets.rendering import render_photo
from scarlens.datasets.rendering.photo import LABELS
from scarlens.inference.batch.journal import SUFFIX

FILES: Final = (1_000, 10_000)
PHOTOS: Final = 20
SIZE: Final = 96
TARGET_MB: Final = 50

INTERVAL_S: Final = 0.05
COUNT_S: Final = 1.0
"""Seconds after which the rows on disk are counted again."""


class Sample(NamedTuple):
    """Memory at one moment, in MB."""

    seconds: float
    done: int
    main: float
    all: float


def make_folder(folder: Path, count: int) -> None:
    """Fill a folder with so many links to a few photos."""
    folder.mkdir()
    photos = []
    for number in range(min(PHOTOS, count)):
        photos.append(folder / f"{number:06d}.jpg")
        photos[-1].write_bytes(render_photo(LABELS[number % len(LABELS)], seed=number, size=SIZE).jpeg)
    for number in range(len(photos), count):
        (folder / f"{number:06d}.jpg").hardlink_to(photos[number % len(photos)])


def measure(folder: Path, table: Path) -> list[Sample]:
    """Run the command over a folder; return a sample for each interval."""
    journal = table.with_name(table.name + SUFFIX)
    command = [sys.executable, "-m", "scarlens", "batch", str(folder), "-o", str(table)]
    samples: list[Sample] = []
    start, counted, done = time.monotonic(), 0.0, 0
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            now = time.monotonic() - start
            if now - counted > COUNT_S:
                counted, done = now, max(done, _rows(journal))
            main, *others = (_resident(number) for number in _tree(process.pid))
            if main:  # else it has ended since
                samples.append(Sample(now, done, main, main + sum(others)))
            time.sleep(INTERVAL_S)
        said = process.stderr.read() if process.stderr else ""
    if process.returncode:
        raise ValueError(f"scarlens batch ended with status {process.returncode}: {said}")
    return samples


def _tree(process: int) -> Iterator[int]:
    """Yield a process and all below it: they are in sessions of their own, so their group does not tell."""
    yield process
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in _read(children).split():
            yield from _tree(int(child))


def _resident(process: int) -> float:
    pages = _read(Path(f"/proc/{process}/statm")).split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6 if pages else 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # the process has ended
        return ""


def _rows(journal: Path) -> int:
    """Count the rows on disk, in a copy because the command locks the file; 0 where that fails."""
    try:
        with tempfile.TemporaryDirectory() as copy:
            for file in journal.parent.glob(f"{journal.name}*"):
                shutil.copy(file, copy)
            with closing(sqlite3.connect(Path(copy) / journal.name)) as database:
                database.execute("PRAGMA synchronous = OFF")
                return database.execute("SELECT COUNT(*) FROM rows").fetchone()[0]
    except (OSError, sqlite3.Error):  # not begun, complete, or copied while it was written
        return 0


def draw(picture: Path, runs: dict[int, list[Sample]]) -> None:
    """Draw memory against files done: the most until the next count."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="files done", ylabel="resident memory, MB", title="scarlens batch")
    for count, samples in runs.items():
        everything: dict[int, float] = defaultdict(float)
        itself: dict[int, float] = defaultdict(float)
        for sample in samples:
            everything[sample.done] = max(everything[sample.done], sample.all)
            itself[sample.done] = max(itself[sample.done], sample.main)
        (line,) = axes.plot(*zip(*everything.items(), strict=True), label=f"{count:,} files, all processes")
        command = {"color": line.get_color(), "linestyle": ":", "label": f"{count:,} files, the command itself"}
        axes.plot(*zip(*itself.items(), strict=True), **command)
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right")
    figure.savefig(picture, dpi=120)


def main() -> None:
    """Print the most memory of each run, and by how much they differ."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--files", type=int, nargs=2, default=FILES, metavar=("FEW", "MANY"))
    arguments.add_argument("--picture", type=Path)
    arguments.add_argument("--csv", type=Path)
    options = arguments.parse_args()
    if sys.platform != "linux":
        sys.exit("memory.py reads /proc, which only Linux has")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'files':>8}{'most MB':>10}{'the command itself':>20}{'seconds':>10}")
    runs: dict[int, list[Sample]] = {}
    for count in sorted(set(options.files)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve() / "photos"
            make_folder(folder, count)
            runs[count] = samples = measure(folder, folder.with_name("table.csv"))
        most, mine = max(sample.all for sample in samples), max(sample.main for sample in samples)
        print(f"{count:8,}{most:10.1f}{mine:20.1f}{samples[-1].seconds:10.1f}", flush=True)
    for few, many in pairwise(max(sample.all for sample in samples) for samples in runs.values()):
        print(f"difference {many - few:.1f} MB, target at most {TARGET_MB} MB")
    if options.picture is not None:
        draw(options.picture, runs)
    if options.csv is not None:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("files", *Sample._fields))
            rows.writerows((count, *sample) for count, samples in runs.items() for sample in samples)


if __name__ == "__main__":
    main()
