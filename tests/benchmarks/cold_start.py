"""Time `scarlens predict PHOTO` from a cold process, and the same answer through torch; print both beside the targets.

    python tests/benchmarks/cold_start.py [--runs R]

Each starts a fresh process, in turn, R times (7 by default) after one that is not counted: seconds of the wall clock
and the most memory the process held, as the system tells when it ends. The peer loads the bundled checkpoint's
safetensors form, without its ONNX form beside it, and prints what it predicts. Photos are those of `batch.py`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import scarlens

TARGET_RATIO: Final = 1 / 5
TARGET_MB: Final = 250

THROUGH_TORCH: Final = "import sys, scarlens; print(scarlens.load(sys.argv[1]).predict(sys.argv[2]).to_text())"


class Cost(NamedTuple):
    """What one process took, and what it printed."""

    seconds: float
    megabytes: float
    text: str


def measure(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a command to its end.

    The system counts what this process held when it started the other as well, so nothing large is imported here.
    """
    with tempfile.TemporaryFile() as printed:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=printed, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        printed.seek(0)
        text = printed.read().decode()
    return Cost(seconds, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024), text)


def compare(photo: Path, checkpoint: Path, runs: int, environment: Mapping[str, str]) -> None:
    """Print what both took for one photo."""
    commands = {
        "scarlens predict": [sys.executable, "-m", "scarlens", "predict", str(photo)],
        "the same through torch": [sys.executable, "-c", THROUGH_TORCH, str(checkpoint), str(photo)],
    }
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            cost = measure(command, environment)
            if run:  # the first compiles modules and brings files into memory
                costs[name].append(cost)
    print(f"{'':26}{'median s':>10}{'min s':>10}{'most MB':>10}")
    for name, found in costs.items():
        seconds = [cost.seconds for cost in found]
        most = max(cost.megabytes for cost in found)
        print(f"{name:26}{statistics.median(seconds):10.2f}{min(seconds):10.2f}{most:10.0f}")
    ours, torch = costs.values()
    ratio = statistics.median(one.seconds / other.seconds for one, other in zip(ours, torch, strict=True))
    print(f"ratio {ratio:.2f}, target at most {TARGET_RATIO:.2f}; ", end="")
    print(f"{max(cost.megabytes for cost in ours):.0f} MB, target at most {TARGET_MB} MB")
    if torch[0].text.strip() not in ours[0].text:
        print(f"the answers differ:\n{ours[0].text}\n{torch[0].text}")
    print()


def main() -> None:
    """Print a table for each photo."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=7)
    runs = arguments.parse_args().runs
    if runs < 1:
        arguments.error("expected at least 1 run")
    weights = Path(scarlens.__file__).parent / "model" / "weights" / "scarlens.safetensors"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = Path(shutil.copy(weights, folder))
        maker = [sys.executable, str(Path(__file__).with_name("batch.py")), "--make", str(folder), "--photos", "8"]
        subprocess.run(maker, check=True)
        # Modules are compiled once, as an installation does it, but apart from those that lie in the checkout.
        environment = os.environ | {"PYTHONPYCACHEPREFIX": str(folder / "compiled")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for size in ("640_pixels", "12_megapixels"):
            photo = min((folder / size).glob("*.jpg"))
            print(f"{size.replace('_', ' ')}, {photo.stat().st_size / 1e6:.2f} MB, {runs} runs, ", end="")
            print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores", flush=True)
            compare(photo, checkpoint, runs, environment)


if __name__ == "__main__":
    main()
