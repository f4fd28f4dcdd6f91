"""The doctor: what it finds of a good installation and of a damaged one, and how it says so."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scarlens.inference.classifier import BUNDLED_CHECKPOINT, load
from scarlens.inference.doctor import _shown

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
REQUIRED = [re.split(r"[<>=]", line)[0] for line in PROJECT["dependencies"]]


def doctor(*arguments: object, path: Path | None = None, home: object = None) -> subprocess.CompletedProcess[str]:
    changes = {"PYTHONPATH": path, "HOME": home}
    environment = {**os.environ, **{name: str(value) for name, value in changes.items() if value is not None}}
    command = [sys.executable, "-m", "scarlens", "doctor", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def problems(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in result.stdout.splitlines() if line.startswith("problem")]


def test_a_good_installation_has_no_problem() -> None:
    result = doctor()
    lines = result.stdout.splitlines()
    assert (result.returncode, result.stderr) == (0, "")
    assert all(line.startswith("ok ") for line in lines)
    for part in (
        "Python 3.",
        *REQUIRED,
        "extra serve",
        "extra ray",
        "usable",
        "telemetry: off",
        "CPUExecutionProvider",
        "CUDA",
    ):
        assert part in result.stdout, part
    megabytes = round(BUNDLED_CHECKPOINT.stat().st_size / 1e6, 1)
    assert f"{BUNDLED_CHECKPOINT.name}, {megabytes} MB, model {load().model_id}, its seal holds" in result.stdout
    assert "boxcar for boxcar.jpg" in result.stdout and " ms a photo" in result.stdout


def test_json_says_the_same_for_machines() -> None:
    result = doctor("--json")
    found = json.loads(result.stdout)
    assert result.returncode == 0 and found["ok"] is True
    assert all(found[name]["ok"] and found[name]["remedy"] is None for name in found if name != "ok")
    assert found["checkpoint"]["model_id"] == load().model_id
    assert Path(found["checkpoint"]["path"]).expanduser().samefile(BUNDLED_CHECKPOINT)
    assert found["answer"]["label"] == "boxcar" and found["answer"]["photo_ms"] > 0
    assert found["numpy"]["versions"]["numpy"]


@pytest.mark.parametrize("there", [True, False])
def test_what_is_shown_to_helpers_does_not_name_the_home_folder(tmp_path: Path, there: bool) -> None:
    checkpoint = tmp_path / "model.onnx"
    if there:
        shutil.copyfile(BUNDLED_CHECKPOINT, checkpoint)
    for form in ([], ["--json"]):
        result = doctor("--checkpoint", checkpoint, *form, home=tmp_path)
        assert "~/model.onnx" in result.stdout and str(tmp_path) not in result.stdout
        assert result.returncode == (0 if there else 1)


@pytest.mark.parametrize("home", ["", "/", "/a"])
def test_only_whole_paths_below_a_home_folder_are_shortened(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", home)
    text = "/a/b: expected /data/a/b, found /ab"
    assert _shown(text) == (text.replace("/a/b:", "~/b:") if home == "/a" else text)


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


def installed(folder: Path, name: str, version: str, **files: str) -> None:
    """Make what an installer leaves of a package beside its modules."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    for file, content in files.items():
        (info / f"{file}.txt").write_text(content)


def test_two_packages_that_overwrite_each_other_are_named(tmp_path: Path) -> None:
    installed(tmp_path, "opencv-python", "4.10.0", top_level="cv2\n")
    result = doctor(path=tmp_path)
    assert result.returncode == 1
    (line,) = problems(result)
    assert "opencv-python and opencv-python-headless are both installed" in line
    assert "pip uninstall -y opencv-python opencv-python-headless, then pip install 'opencv-python-headless>=" in line


def test_what_a_failed_removal_left_is_passed_over(tmp_path: Path) -> None:
    for name in ("numpy", "opencv_python"):
        left = tmp_path / f"{name}-1.0.dist-info"
        left.mkdir()
        (left / "top_level.txt").write_text("cv2\nnumpy\n")
    result = doctor(path=tmp_path)
    assert (result.returncode, result.stderr, problems(result)) == (0, "", [])


def test_a_package_that_is_too_old_is_named_with_the_version_to_install(tmp_path: Path) -> None:
    installed(tmp_path, "imagehash", "4.1", top_level="imagehash\n")
    (line,) = problems(doctor(path=tmp_path))
    assert re.fullmatch(r"problem  imagehash: 4\.1, where (>=\S+) is needed; pip install 'imagehash\1'", line)


@pytest.mark.parametrize("module", ["pyarrow", "sklearn", "yaml", "imagehash"])
def test_a_package_that_is_not_there_is_named(module: str) -> None:
    program = f"import sys; sys.modules[{module!r}] = None; from scarlens.cli import main; main('doctor')"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    name = {"sklearn": "scikit-learn", "yaml": "pyyaml"}.get(module, module)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert any(line.startswith(f"problem  {name}: ") and f"'{name}" in line for line in problems(result))


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
