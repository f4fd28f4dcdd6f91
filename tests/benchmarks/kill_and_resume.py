"""Kill a batch of many small files at random moments, resume it each time, and compare with an uninterrupted run.

    python tests/benchmarks/kill_and_resume.py [--files 10000] [--kills 20] [--seed 0]

Prints for each kill how long the run had lasted and how many rows were made and kept; at the end how many rows the
table has, how many are distinct, whether they are those of the uninterrupted run, and how many files were done twice.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

RUN = """
import os, sys
from scarlens import predict_folder
made = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
predict_folder(sys.argv[1], sys.argv[2], resume=True, progress=lambda done, total: os.write(made, b"."))
"""
"""Writes a byte for each row made, at once, so that a kill leaves the count."""


def small_files(folder: Path, count: int) -> None:
    """Write small JPEGs, each with its own content."""
    pixels = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        colour = pixels.integers(60, 200, 3)
        noise = pixels.integers(-20, 20, (64, 80, 3))
        Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(folder / f"{number:06}.jpg")


def start(folder: Path, table: Path, made: Path) -> subprocess.Popen[bytes]:
    """Start a run, or go on with one."""
    return subprocess.Popen([sys.executable, "-c", RUN, str(folder), str(table), str(made)])


def kept(table: Path) -> int:
    """Return the number of rows on disk, counted in a copy: to open the journal would mend what the kill left."""
    with tempfile.TemporaryDirectory() as folder:
        for file in table.parent.glob(f"{table.name}.partial*"):
            shutil.copy(file, folder)
        database = sqlite3.connect(Path(folder, f"{table.name}.partial"))
        try:
            return database.execute("SELECT COUNT(*) FROM rows").fetchone()[0]
        except sqlite3.Error:  # killed before there was a table
            return 0
        finally:
            database.close()


def main() -> None:
    """Run the test and print its log."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--files", type=int, default=10_000)
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        folder, whole, table, made = root / "photos", root / "whole.csv", root / "killed.csv", root / "made"
        small_files(folder, options.files)
        started = time.monotonic()
        if start(folder, whole, root / "whole.made").wait() != 0:
            sys.exit("the uninterrupted run failed")
        seconds = time.monotonic() - started
        print(f"uninterrupted: {seconds:.1f} s, {options.files / seconds:.0f} files a second")
        twice, most, before = 0, 0, 0
        for number in range(1, options.kills + 1):
            process = start(folder, table, made)
            lasted = moments.uniform(0.5, 0.5 + 1.5 * seconds / options.kills)
            time.sleep(lasted)
            process.kill()
            if process.wait() == 0:
                print(f"kill {number}: too late, the table was complete")
                break
            rows = made.stat().st_size - before if made.exists() else 0
            now = kept(table)
            lost = rows + before - twice - now
            twice, most, before = twice + lost, max(most, lost), before + rows
            print(f"kill {number}: after {lasted:.2f} s, {rows} rows made, {now} kept, {lost} lost; {table.exists()=}")
        if start(folder, table, made).wait() != 0:
            sys.exit("the last run failed")
        lines, expected = table.read_text().splitlines(), whole.read_text().splitlines()
        print(f"rows {len(lines) - 1}, distinct {len({*lines}) - 1}")
        print(f"same rows as uninterrupted, sorted: {sorted(lines) == sorted(expected)}")
        print(f"files done twice: {made.stat().st_size - options.files} in all, at most {most} a kill (target: 256)")


if __name__ == "__main__":
    main()
