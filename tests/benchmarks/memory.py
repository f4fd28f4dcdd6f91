"""Classify 1,000 and 10,000 small photos with `scarlens batch`; print the most memory of both, and their difference.

    python tests/benchmarks/memory.py [FEW MANY]

The photos are hard links of 20 rendered ones of 96 pixels. Every 50 ms the resident memory of the command and of the
processes that it started is added up, which counts the libraries that they share once for each. Runs on Linux, from
/proc.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from scarlens.datasets.rendering import write_photos

PHOTOS: Final = 20
SIZE: Final = 96
TARGET_MB: Final = 50
INTERVAL_S: Final = 0.05


def make_folder(folder: Path, count: int) -> None:
    """Fill a folder with so many links to a few photos."""
    write_photos(folder.with_name("rendered"), count=PHOTOS, seed=0, size=SIZE)
    photos = sorted(folder.with_name("rendered").glob("*/*.jpg"))
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:06d}.jpg").hardlink_to(photos[number % len(photos)])


def most_memory(folder: Path) -> float:
    """Run the command over a folder; return the most memory of all its processes together, in MB."""
    command = [sys.executable, "-m", "scarlens", "batch", str(folder), "-o", str(folder.with_name("table.csv"))]
    most = 0.0
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            most = max(most, sum(map(_resident, _tree(process.pid))))
            time.sleep(INTERVAL_S)
        if process.returncode:
            raise ValueError(f"scarlens batch: {process.stderr.read() if process.stderr else ''}")
    return most


def _tree(process: int) -> Iterator[int]:
    """Yield a process and all below it: they are in sessions of their own, so their group does not tell."""
    yield process
    with suppress(OSError):  # it has ended
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from _tree(int(child))


def _resident(process: int) -> float:
    with suppress(OSError, IndexError):  # it has ended
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return 0.0


def main() -> None:
    """Print the most memory of each run, and by how much they differ."""
    counts = [int(word) for word in sys.argv[1:]] or [1_000, 10_000]
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name).resolve() / "photos"
            make_folder(folder, count)
            found.append(most_memory(folder))
        print(f"{count:,} files: {found[-1]:.1f} MB", flush=True)
    print(f"difference {found[-1] - found[0]:.1f} MB, target at most {TARGET_MB} MB")


if __name__ == "__main__":
    main()
