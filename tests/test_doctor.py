"""The doctor: what it finds in a good installation and in a damaged one, and how to fix it."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scarlens.cli import app
from scarlens.inference.classifier import BUNDLED_CHECKPOINT, load
from scarlens.inference.doctor import examine

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
REQUIRED = [re.split(r"[<>=]", line)[0] for line in PROJECT["dependencies"]]


def doctor(path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else None
    command = [sys.executable, "-m", "scarlens", "doctor"]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def in_this_process(*arguments: object) -> tuple[int, str]:
    """Return the doctor's exit status and what it prints; a new process would import torch for seconds."""
    result = CliRunner().invoke(app, ["doctor", *map(str, arguments)])
    assert result.stderr == ""
    return result.exit_code, result.stdout


def problems(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("problem")]


def test_a_good_installation_has_no_problem() -> None:
    result = doctor()
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (0, "")
    assert all(line.startswith("ok ") for line in lines)
    parts = ("Python 3.", "extra serve", "extra ray", "usable", "telemetry: off", "CPUExecutionProvider", "CUDA")
    assert all(part in result.stdout for part in (*REQUIRED, *parts))
    megabytes = round(BUNDLED_CHECKPOINT.stat().st_size / 1e6, 1)
    assert f"{BUNDLED_CHECKPOINT.name}, {megabytes} MB, model {load().model_id}, digest verified" in result.stdout
    assert "boxcar for the bundled boxcar.jpg" in result.stdout and " ms per photo" in result.stdout


def test_json_says_the_same() -> None:
    status, printed = in_this_process("--json")
    found = json.loads(printed)
    assert status == 0 and found["ok"] is True
    assert all(found[name]["ok"] and found[name]["remedy"] is None for name in found if name != "ok")
    assert found["checkpoint"]["model_id"] == load().model_id
    assert Path(found["checkpoint"]["path"]).expanduser().samefile(BUNDLED_CHECKPOINT)
    assert found["answer"]["label"] == "boxcar" and found["answer"]["photo_ms"] > 0
    assert found["numpy"]["versions"]["numpy"]


@pytest.mark.parametrize(
    ("home", "shown"),
    [("{folder}", "~/model.onnx"), ("{folder}/m", "{folder}/model.onnx"), ("/", "{folder}/model.onnx")],
)
def test_only_the_home_folder_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str, shown: str) -> None:
    monkeypatch.setenv("HOME", home.format(folder=tmp_path))
    missing = examine(tmp_path / "model.onnx").to_dict()["checkpoint"]
    assert missing["found"].startswith(shown.format(folder=tmp_path) + ": ")
    (tmp_path / "model.onnx").write_bytes(BUNDLED_CHECKPOINT.read_bytes())
    there = examine(tmp_path / "model.onnx").to_dict()["checkpoint"]
    assert there["path"] == shown.format(folder=tmp_path) and there["found"].startswith(f"{there['path']}, ")


def test_another_checkpoint_need_not_give_the_bundled_ones_answer(tiny_run: Path) -> None:
    status, printed = in_this_process("--checkpoint", tiny_run / "model.onnx")
    assert status == 0, printed
    assert str(tiny_run / "model.onnx") in printed and "for the bundled boxcar.jpg" in printed


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_checkpoint_that_is_missing_or_damaged_is_a_problem_with_a_remedy(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "m.onnx"
    if damage == "flipped":
        data = bytearray(BUNDLED_CHECKPOINT.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    status, printed = in_this_process("--checkpoint", path)
    assert status == 1
    (line,) = problems(printed)
    assert line.startswith(f"problem  checkpoint: {path}: ") and "give a file that scarlens train" in line


def installed(folder: Path, name: str, version: str, **files: str) -> None:
    """Make what an installer leaves of a package beside its modules."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for file, content in files.items():
        (info / f"{file}.txt").write_text(content)


def test_wrong_packages_are_named_and_what_a_failed_removal_left_is_ignored(tmp_path: Path) -> None:
    installed(tmp_path, "opencv-python", "4.10.0", top_level="cv2\n")
    installed(tmp_path, "imagehash", "4.1", top_level="imagehash\n")
    (tmp_path / "numpy-1.0.dist-info").mkdir()
    (tmp_path / "numpy-1.0.dist-info" / "top_level.txt").write_text("numpy\n")
    result = doctor(tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    two, old = problems(result.stdout)
    assert "opencv-python and opencv-python-headless are both installed" in two
    assert "pip uninstall -y opencv-python opencv-python-headless, then pip install 'opencv-python-headless>=" in two
    assert re.fullmatch(r"problem  imagehash: 4\.1, but (>=\S+) is needed; pip install 'imagehash\1'", old)


def test_missing_packages_are_named() -> None:
    missing = {"pyarrow": "pyarrow", "sklearn": "scikit-learn", "yaml": "pyyaml", "imagehash": "imagehash"}
    program = f"import sys; sys.modules.update(dict.fromkeys({list(missing)})); "
    program += "from scarlens.cli import main; main('doctor')"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    for name in missing.values():
        assert any(line.startswith(f"problem  {name}: ") and f"'{name}" in line for line in problems(result.stdout))


@pytest.mark.parametrize(
    ("module", "subjects"),
    [("cv2", {"checkpoint"}), ("onnxruntime", {"ONNX Runtime", "checkpoint"}), ("torch", {"CUDA"})],
)
def test_a_package_that_cannot_be_imported_is_a_problem_and_hides_no_other(
    tmp_path: Path, module: str, subjects: set[str]
) -> None:
    (tmp_path / f"{module}.py").write_text("raise ImportError('a library is missing')")
    result = doctor(tmp_path)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    found = problems(result.stdout)
    assert {line.split(":")[0].removeprefix("problem").strip() for line in found} == subjects
    assert all("a library is missing" in line and "install scarlens again" in line for line in found)
    assert "numpy" in result.stdout
