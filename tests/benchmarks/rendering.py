"""Render photos into files with two workers; print pictures per second, beside OpenCV decoding and encoding them.

    python tests/benchmarks/rendering.py [COUNT]

The peer does the least that any maker of JPEG files does: it decodes the same pictures and encodes them again, in one
process. Both are timed in turn, five times; the seconds of CPU, children included, say what other programs took.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2

from scarlens.datasets.rendering import write_photos

SIZE = 256
WORKERS = 2
RUNS = 5


class Cost(NamedTuple):
    """Seconds that one run took."""

    wall: float
    cpu: float


def measure(work: Callable[[], object]) -> Cost:
    """Run `work` once; children count once they have ended."""
    start, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return Cost(time.perf_counter() - start, sum(after[:4]) - sum(before[:4]))


def code_again(files: list[Path]) -> None:
    """Decode and encode each picture at the quality of a telephone, in memory."""
    for file in files:
        picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if picture is None or not cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[0]:
            raise ValueError(f"OpenCV could not decode and encode {file}")


def main(count: int) -> None:
    """Print the medians and the ratio of both, which another machine's speed does not change much."""
    rendered, coded = [], []
    cv2.setNumThreads(1)
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            rendered.append(measure(lambda out=out: write_photos(out, count=count, seed=1, size=SIZE, workers=WORKERS)))
            files = sorted(out.glob("*/*.jpg"))
            coded.append(measure(lambda files=files: code_again(files)))
    print(f"{count} photos of {SIZE} pixels, {RUNS} runs, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    for name, costs in ((f"write_photos, {WORKERS} workers", rendered), ("OpenCV, decode and encode", coded)):
        wall, cpu = (statistics.median(cost) for cost in zip(*costs, strict=True))
        spread = (max(cost.wall for cost in costs) - min(cost.wall for cost in costs)) / wall
        print(f"{name:28}{count / wall:9.1f} photos/s{1000 * cpu / count:9.2f} ms of CPU each, spread {spread:.0%}")
    ratios = [one.cpu / other.cpu for one, other in zip(rendered, coded, strict=True)]
    print(f"a rendered photo costs {statistics.median(ratios):.1f} times the CPU of decoding and encoding it")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) == 2 else 400)
