"""The doctor: what it finds of a good installation and of a damaged one, and how it says so."""

import getpass
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scarlens.inference.classifier import BUNDLED_CHECKPOINT, load
from scarlens.inference.doctor import PACKAGES


def doctor(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    command = [sys.executable, "-m", "scarlens", "doctor", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def problems(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in result.stdout.splitlines() if line.startswith("problem")]


def test_a_good_installation_has_no_problem() -> None:
    result = doctor()
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (0, "")
    assert all(line.startswith("ok ") for line in lines)
    for part in ("Python 3.", *PACKAGES.values(), "extra serve", "extra ray", "usable", "CPUExecutionProvider", "CUDA"):
        assert part in result.stdout, part
    megabytes = round(BUNDLED_CHECKPOINT.stat().st_size / 1e6, 1)
    assert f"{BUNDLED_CHECKPOINT.name}, {megabytes} MB, model {load().model_id}, its seal holds" in result.stdout
    assert "boxcar for boxcar.jpg" in result.stdout and " ms a photo" in result.stdout


def test_json_says_the_same_for_machines_and_names_no_machine() -> None:
    result = doctor("--json")
    found = json.loads(result.stdout)
    assert result.returncode == 0 and found["ok"] is True
    assert all(found[name]["ok"] and found[name]["remedy"] is None for name in found if name != "ok")
    assert found["checkpoint"]["model_id"] == load().model_id
    assert Path(found["checkpoint"]["path"]).samefile(BUNDLED_CHECKPOINT)
    assert found["answer"]["label"] == "boxcar" and found["answer"]["photo_ms"] > 0
    assert found["numpy"]["versions"]["numpy"]
    del found["checkpoint"]
    without = json.dumps(found)
    assert socket.gethostname() not in without and str(Path.home()) + os.sep not in without
    assert f"/{getpass.getuser()}/" not in without


def test_another_checkpoint_is_not_asked_for_the_answer_of_the_one_that_ships(tiny_run: Path) -> None:
    result = doctor("--checkpoint", tiny_run / "model.onnx")
    assert result.returncode == 0, result.stdout
    assert str(tiny_run / "model.onnx") in result.stdout and "for boxcar.jpg" in result.stdout


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_checkpoint_that_is_missing_or_damaged_is_a_problem_with_a_remedy(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "m.onnx"
    if damage == "flipped":
        data = bytearray(BUNDLED_CHECKPOINT.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    result = doctor("--checkpoint", path)
    assert result.returncode == 1 and result.stderr == ""
    (line,) = problems(result)
    assert line.startswith(f"problem  checkpoint: {path}: ") and "give a file that scarlens train" in line


def test_two_packages_that_overwrite_each_other_are_named(tmp_path: Path) -> None:
    installed = tmp_path / "opencv_python-4.10.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: opencv-python\nVersion: 4.10.0\n")
    (installed / "RECORD").write_text("cv2/__init__.py,,\n")
    (installed / "top_level.txt").write_text("cv2\n")
    result = doctor(path=tmp_path)
    assert result.returncode == 1
    (line,) = problems(result)
    assert "opencv-python and opencv-python-headless are both installed" in line
    assert "pip uninstall -y opencv-python opencv-python-headless, then pip install opencv-python-headless" in line


@pytest.mark.parametrize(
    ("module", "subjects"),
    [("cv2", {"checkpoint"}), ("onnxruntime", {"ONNX Runtime", "checkpoint"}), ("torch", {"CUDA"})],
)
def test_a_package_that_cannot_be_imported_is_a_problem_and_hides_no_other(
    tmp_path: Path, module: str, subjects: set[str]
) -> None:
    (tmp_path / f"{module}.py").write_text("raise ImportError('a library is missing')")
    result = doctor(path=tmp_path)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    found = problems(result)
    assert {line.split(":")[0].removeprefix("problem").strip() for line in found} == subjects
    assert all("a library is missing" in line and "install scarlens again" in line for line in found)
    assert "numpy" in result.stdout
