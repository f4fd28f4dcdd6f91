"""The reader on a folder of odd and broken files from the test suites of image libraries.

The folder is not part of the project: SCARLENS_HOSTILE_IMAGES names it.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

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


def _load_benchmark() -> ModuleType:
    path = Path(__file__).parent / "benchmarks" / "hostile_images.py"
    spec = importlib.util.spec_from_file_location("hostile_images_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results() -> dict[str, tuple[str, Any]]:
    """Expectation and outcome of each file."""
    benchmark, folder = _load_benchmark(), Path(os.environ["SCARLENS_HOSTILE_IMAGES"])
    expected = benchmark.read_manifest(folder)
    outcomes = benchmark.measure(expected)
    return {
        path.relative_to(folder).as_posix(): (expect, outcome)
        for (path, expect), outcome in zip(expected.items(), outcomes, strict=True)
    }


def test_nothing_crashes_or_hangs(results):
    assert results
    assert {name: outcome for name, (_, outcome) in results.items() if outcome.verdict in ("crashed", "hung")} == {}


def test_memory_stays_bounded(results):
    assert {name: out.peak_bytes for name, (_, out) in results.items() if out.peak_bytes > MAX_MEMORY_BYTES} == {}


def test_readable_files_are_read(results):
    found = {name: outcome for name, (expect, outcome) in results.items() if expect == "classify"}
    refused = {name: outcome.detail for name, outcome in found.items() if outcome.verdict != "read"}
    assert len(refused) <= 0.02 * len(found), refused


def test_broken_files_are_refused(results):
    read = {name for name, (expect, outcome) in results.items() if expect == "error" and outcome.verdict == "read"}
    assert read <= set(WHOLE_FIRST_PICTURE)


def test_orientations_of_one_scene_have_one_size(results):
    shapes: dict[str, set[tuple[int, ...] | None]] = {}
    for name, (_, outcome) in results.items():
        if scene := re.match(r"(.+(?:Landscape|Portrait|orientation))_[1-8]\.", name):
            shapes.setdefault(scene[1], set()).add(outcome.shape)
    assert shapes
    assert {scene: found for scene, found in shapes.items() if len(found) > 1 or None in found} == {}
