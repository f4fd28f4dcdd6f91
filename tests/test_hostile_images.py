"""A batch over a folder of odd and broken files from the test suites of image libraries.

The folder is not part of the project: SCARLENS_HOSTILE_IMAGES names it. Its `manifest.csv` has the columns `file`
(relative to it) and `expect` ("classify", "error" or "either").
"""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    "SCARLENS_HOSTILE_IMAGES" not in os.environ, reason="SCARLENS_HOSTILE_IMAGES does not name a folder"
)

MAX_MEMORY_BYTES = 512_000_000

WHOLE_FIRST_PICTURE = {
    "broken/pillow__sugarshack_bad_mpo_header.jpg": "only the index of further pictures is damaged; it is not read",
    "broken/pillow__decompression_bomb_extents.gif": "only the second frame is huge; it is not read",
}
"""Files that the manifest calls errors and whose first picture is undamaged, with the reason."""

BATCH = """
import resource, sys, scarlens
from pathlib import Path
from scarlens.datasets.reading.reader import ImageReadError, read_image
from scarlens.inference.batch import reading
reading.LONGEST_READ = 20.0
scarlens.predict_folder(sys.argv[1], sys.argv[2])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
for path in sorted(Path(sys.argv[1]).rglob("*")):
    try:
        read_image(path)
    except ImageReadError:
        pass
status = Path("/proc/self/status").read_text()  # ru_maxrss would count what started this process, too
print(status.split("VmHWM:")[1].split()[0])
"""
"""Classify the files as a batch, then read each whole; print the most memory of both, in kilobytes (on Linux)."""


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    """What a sane reader does with each file."""
    with Path(os.environ["SCARLENS_HOSTILE_IMAGES"], "manifest.csv").open(newline="", encoding="utf-8") as file:
        return {row["file"]: row["expect"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict], int]:
    """The row of each file, and the most memory of a reading process in bytes."""
    table = tmp_path_factory.mktemp("hostile") / "table.jsonl"
    command = [sys.executable, "-W", "error", "-c", BATCH, os.environ["SCARLENS_HOSTILE_IMAGES"], str(table)]
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    rows = map(json.loads, table.read_text(encoding="utf-8").splitlines())
    return {row["path"]: row for row in rows}, 1024 * max(map(int, printed.split()))


@pytest.fixture(scope="module")
def rows(batch: tuple[dict[str, dict], int], expected: dict[str, str]) -> dict[str, dict]:
    return {name: batch[0][name] for name in expected}


def test_nothing_crashes_or_hangs(rows: dict[str, dict]) -> None:
    reasons = {name: row["reason"] for name, row in rows.items() if row["status"] == "error"}
    assert reasons
    assert {name: why for name, why in reasons.items() if re.search("crashes the decoder|within .* s", why)} == {}


def test_memory_stays_bounded(batch: tuple[dict[str, dict], int]) -> None:
    assert 0 < batch[1] <= MAX_MEMORY_BYTES


def test_readable_files_are_read(rows: dict[str, dict], expected: dict[str, str]) -> None:
    found = {name: row for name, row in rows.items() if expected[name] == "classify"}
    refused = {name: row["reason"] for name, row in found.items() if row["status"] == "error"}
    assert len(refused) <= 0.02 * len(found), refused


def test_broken_files_are_refused(rows: dict[str, dict], expected: dict[str, str]) -> None:
    read = {name for name, row in rows.items() if expected[name] == "error" and row["status"] != "error"}
    assert read <= set(WHOLE_FIRST_PICTURE)


def test_orientations_of_one_scene_have_one_size(rows: dict[str, dict]) -> None:
    sizes: dict[str, set[tuple[int, int]]] = {}
    for name, row in rows.items():
        if scene := re.match(r"(.+(?:Landscape|Portrait|orientation))_[1-8]\.", name):
            sizes.setdefault(scene[1], set()).add((row["height"], row["width"]))
    assert sizes
    assert {scene: found for scene, found in sizes.items() if len(found) > 1 or (None, None) in found} == {}
