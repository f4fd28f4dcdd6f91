"""Run the reader over a folder of odd and broken image files; print what became of them.

    python tests/benchmarks/hostile_images.py FOLDER

FOLDER holds a `manifest.csv` with the columns `file` (relative to it) and `expect` ("classify", "error" or "either").
One process reads file after file and is replaced when a file kills or hangs it.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Literal, NamedTuple

TIMEOUT_S = 20.0
"""A file that takes longer counts as hung."""


class Outcome(NamedTuple):
    """What became of one file; an exception other than ImageReadError counts as a crash."""

    verdict: Literal["read", "refused", "crashed", "hung"]
    seconds: float
    peak_bytes: int  # of the whole process; where the system cannot reset it, the largest so far
    shape: tuple[int, ...] | None
    detail: str


def read_manifest(folder: Path) -> dict[Path, str]:
    """Return what the manifest expects of each file."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return {folder / row["file"]: row["expect"] for row in csv.DictReader(file)}


def measure(paths: Iterable[Path]) -> Iterator[Outcome]:
    """Read each file in a worker process; yield the outcomes in order."""
    worker = None
    try:
        for path in paths:
            worker = worker or _start_worker()
            outcome = _ask(worker, path)
            if outcome.verdict == "hung" or worker.poll() is not None:
                _stop(worker)
                worker = None
            yield outcome
    finally:
        if worker is not None:
            _stop(worker)


def _start_worker() -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", __file__, "--worker"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    _stream(worker.stdout).readline()  # imports are done
    return worker


def _stop(worker: subprocess.Popen[str]) -> None:
    with worker:
        worker.kill()


def _stream(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("the worker must be started with pipes")
    return stream


def _ask(worker: subprocess.Popen[str], path: Path) -> Outcome:
    start, hung = time.perf_counter(), threading.Event()

    def give_up() -> None:
        hung.set()
        worker.kill()

    timer = threading.Timer(TIMEOUT_S, give_up)
    timer.start()
    stdin, stdout = _stream(worker.stdin), _stream(worker.stdout)
    stdin.write(json.dumps(str(path)) + "\n")
    stdin.flush()
    answer = stdout.readline()
    timer.cancel()
    timer.join()
    if answer:
        verdict, seconds, peak, shape, detail = json.loads(answer)
        return Outcome(verdict, seconds, peak, shape and tuple(shape), detail)
    seconds = time.perf_counter() - start
    if hung.is_set():
        return Outcome("hung", seconds, 0, None, f"no answer in {TIMEOUT_S} s")
    return Outcome("crashed", seconds, 0, None, f"the process ended with status {worker.wait()}")


def _work() -> None:
    """Answer each path on standard input with one line of JSON on standard output."""
    from scarlens.datasets.reading.reader import ImageReadError, read_image

    print("ready", flush=True)
    for line in sys.stdin:
        path = json.loads(line)
        _reset_peak()
        start, shape = time.perf_counter(), None
        try:
            shape = read_image(path).shape
            verdict, detail = "read", ""
        except ImageReadError as error:
            verdict, detail = "refused", str(error)
        except BaseException as error:
            verdict, detail = "crashed", repr(error)
        print(json.dumps([verdict, time.perf_counter() - start, _peak_bytes(), shape, detail]), flush=True)


def _reset_peak() -> None:
    if sys.platform == "linux" and os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(folder: Path) -> None:
    """Print the table, the slowest and the largest file, and each file that went against its expectation."""
    expected = read_manifest(folder)
    outcomes = dict(zip(expected, measure(expected), strict=True))
    verdicts = ("read", "refused", "crashed", "hung")
    print(f"{'expected':10}{'files':>7}" + "".join(f"{verdict:>9}" for verdict in verdicts))
    for expect in ("classify", "error", "either"):
        found = [outcome.verdict for path, outcome in outcomes.items() if expected[path] == expect]
        print(f"{expect:10}{len(found):7}" + "".join(f"{found.count(verdict):9}" for verdict in verdicts))
    slowest = max(outcomes, key=lambda path: outcomes[path].seconds)
    largest = max(outcomes, key=lambda path: outcomes[path].peak_bytes)
    print(f"slowest: {outcomes[slowest].seconds:.2f} s, {slowest.relative_to(folder)}")
    print(f"largest: {outcomes[largest].peak_bytes / 1e6:.0f} MB, {largest.relative_to(folder)}")
    against = {("classify", "refused"), ("error", "read")}
    for path, outcome in outcomes.items():
        if (expected[path], outcome.verdict) in against or outcome.verdict in ("crashed", "hung"):
            print(f"{expected[path]} but {outcome.verdict}: {path.relative_to(folder)} {outcome.detail}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        _work()
    elif len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        sys.exit("usage: python tests/benchmarks/hostile_images.py FOLDER")
