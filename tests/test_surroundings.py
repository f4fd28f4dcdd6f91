"""Where the program runs: containers with a CPU quota, no home, no terminal, an ASCII locale, a typed caller."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scarlens.inference.engine import usable_cores

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "datasets" / "rendering" / "examples" / "boxcar.jpg"
ALL = usable_cores(Path("/nowhere"))


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, min(2, ALL)),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, ALL),
        ({"cpu.max": "nonsense"}, ALL),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, ALL),
        ({}, ALL),
    ],
)
def test_cores_are_limited_by_the_quota_of_a_container(tmp_path: Path, files: dict[str, str], cores: int):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"HOME": "/nonexistent"}, {}],
    ids=["ASCII", "home that is not there", "no home"],
)
def test_predict_and_batch_need_neither_home_nor_terminal_nor_locale(tmp_path: Path, environment: dict[str, str]):
    environment = {"PATH": os.environ["PATH"], **environment}
    (tmp_path / "photos").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "photos" / "Grübchen.jpg")
    command = [sys.executable, "-m", "scarlens"]
    settings = {"cwd": tmp_path, "env": environment, "capture_output": True, "stdin": subprocess.DEVNULL}
    table = tmp_path / "table.jsonl"
    batch = subprocess.run([*command, "batch", str(tmp_path / "photos"), "-o", str(table)], **settings)
    assert batch.returncode == 0, batch.stderr
    assert json.loads(table.read_text(encoding="utf-8"))["label"] == "boxcar"
    predict = subprocess.run([*command, "predict", str(tmp_path / "photos" / "Grübchen.jpg")], **settings)
    assert predict.returncode == 0 and b"boxcar" in predict.stdout, predict.stderr


def test_types_of_the_package_are_known_to_a_type_checker(tmp_path: Path):
    pyright = shutil.which("pyright")
    if pyright is None:
        pytest.skip("needs pyright")
    (tmp_path / "script.py").write_text(
        "import scarlens\n"
        "answer = scarlens.predict('cheek.jpg')\n"
        "reveal_type(answer.label)\n"
        "reveal_type(scarlens.predict_folder('photos', 'table.csv').errors)\n"
        "scarlens.predict('cheek.jpg', context='pregnant')\n"
    )
    run = subprocess.run(
        [pyright, "--pythonpath", sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True
    )
    if "could not be resolved" in run.stdout:
        pytest.skip("pyright cannot follow an editable install")
    assert 'Type of "answer.label" is "str | None"' in run.stdout and '.errors" is "int"' in run.stdout
    assert run.stdout.count("error:") == 1 and '"context"' in run.stdout


def test_the_library_prints_nothing(tmp_path: Path):
    script = (
        "import scarlens\n"
        f"scarlens.predict({str(EXAMPLE)!r})\n"
        f"list(scarlens.load().predict_many([b'no picture', {str(EXAMPLE)!r}]))\n"
        f"scarlens.predict_folder({str(EXAMPLE.parent)!r}, {str(tmp_path / 'table.csv')!r})\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
