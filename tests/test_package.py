"""The package: what an import loads, what an install puts where, and the ways in."""

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import scarlens
from scarlens.inference.doctor import TRAINING

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "cv2", "albumentations", "onnxruntime", "sklearn", "matplotlib", "pyarrow", "pandas")


def loaded_by(program: str, **environment: str) -> set[str]:
    """Return the modules that are loaded when a program ends, whose output must not be empty."""
    code = f"import atexit, sys\natexit.register(lambda: print(*sys.modules, file=sys.stderr))\n{program}"
    command, environment = [sys.executable, "-c", code], {**os.environ, **environment}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert result.stdout
    return set(result.stderr.split())


COMMAND = "from scarlens.cli import main; main()"
TREATMENTS = "scarlens.inference.treatments.plan"


@pytest.mark.parametrize(
    ("program", "environment"),
    [
        ("import scarlens; print('done')", {}),
        (f"import {TREATMENTS} as t; print(t.plan('ice_pick', []).to_text(), t.everything())", {}),
        (f"sys.argv[1:] = ['--help']; {COMMAND}", {}),
        (f"sys.argv[1:] = ['predict', '--help']; {COMMAND}", {}),
        (COMMAND, {"_SCARLENS_COMPLETE": "complete_bash", "COMP_WORDS": "scarlens treatments ", "COMP_CWORD": "2"}),
    ],
    ids=["import", "treatments", "help", "help of a command", "completion"],
)
def test_what_needs_no_photo_loads_nothing_heavy(program: str, environment: dict[str, str]) -> None:
    assert not loaded_by(program, **environment) & {*HEAVY, "numpy", "PIL"}


def test_prediction_does_not_load_torch() -> None:
    example = ROOT / "datasets" / "rendering" / "examples" / "boxcar.jpg"
    loaded = loaded_by(f"import scarlens; print(scarlens.predict({str(example)!r}).to_dict())")
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "torchvision", "albumentations", "sklearn", "scipy", "matplotlib", "pyarrow"}


def test_package_offers_these_names_alone() -> None:
    classes = {"BatchSummary", "Classifier", "Comparison", "Context", "Prediction", "TreatmentPlan"}
    names = {"compare", "load", "predict", "predict_folder", *classes}
    assert set(dir(scarlens)) == {*names, "__version__"}
    assert scarlens.__version__ == metadata.version("scarlens")
    assert all(getattr(scarlens, name).__name__ == name for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'train'"):
        _ = scarlens.train  # pyright: ignore[reportAttributeAccessIssue]


def test_every_folder_of_modules_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    tops = ("datasets", "model", "inference", "training")
    folders = {found.parent for top in tops for found in (ROOT / top).rglob("__init__.py")}
    assert {f"scarlens.{'.'.join(folder.relative_to(ROOT).parts)}" for folder in folders} <= set(listed)


def test_install_adds_nothing_but_the_package() -> None:
    # A build leaves an egg-info in the checkout; only an install has a RECORD.
    installs = [found for found in metadata.distributions(name="scarlens") if found.read_text("RECORD")]
    if not installs:
        pytest.skip("scarlens is imported from a checkout without being installed")
    files = installs[0].files or []
    tops = {file.parts[0] for file in files if ".." not in file.parts}
    if any(top.startswith("__editable__") for top in tops):
        pytest.skip("installed in editable mode")
    assert {top for top in tops if not top.endswith(".dist-info")} == {"scarlens"}
    installed = {file.as_posix() for file in files}
    for part in ("cli.py", "model/weights/scarlens.onnx", "inference/treatments/documents.toml"):
        assert f"scarlens/{part}" in installed
    assert not any(file.startswith(("scarlens/tests", "scarlens/notebooks")) for file in installed)


def test_the_light_install_asks_for_the_versions_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "inference" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    light = {line for line in lines if line and not line.startswith("#")}
    assert light and light <= {*project["dependencies"], *project["optional-dependencies"]["serve"]}
    without = {re.split("[><=]", line)[0] for line in project["dependencies"] if line not in light}
    assert without == set(TRAINING)


def needed_by(line: str) -> set[str]:
    """Return the names of the packages that a requirement installs here, its own among them."""
    requirement = Requirement(line)
    if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
        return set()
    names = {requirement.name.lower()}
    return names.union(*map(needed_by, metadata.requires(requirement.name) or ()))


def test_the_light_install_takes_less_than_400_megabytes() -> None:
    lines = (ROOT / "inference" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    packages = set[str]().union(*(needed_by(line) for line in lines if not line.startswith("#")))
    assert "torch" not in packages and {"numpy", "onnxruntime", "starlette"} <= packages
    paths = {Path(str(file.locate())) for name in {*packages, "scarlens"} for file in metadata.files(name) or ()}
    paths = {path for path in paths if path.is_file() and path.suffix != ".pyc"}  # pip install --no-compile
    assert 200e6 < sum(path.stat().st_size for path in paths) < 400e6


def test_without_what_the_light_install_lacks_photos_are_still_classified(tmp_path: Path) -> None:
    missing = ("torch", "torchvision", "albumentations", "sklearn", "scipy", "matplotlib", "pyarrow", "yaml", "onnx")
    missing += ("imagehash", "jinja2", "onnxscript", "tensorboard")
    code = f"import sys; sys.modules.update(dict.fromkeys({missing}))\n{COMMAND}"

    def light(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)

    examples = ROOT / "datasets" / "rendering" / "examples"
    assert "boxcar" in light("predict", examples / "boxcar.jpg").stdout
    assert "boxcar" in light("compare", examples / "boxcar.jpg", examples / "boxcar.jpg").stdout
    assert light("batch", examples, "-o", tmp_path / "table.csv").returncode == 3  # for manifest.csv, which is no photo
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 1 + len([*examples.iterdir()])
    healthy = light("doctor")
    assert healthy.returncode == 0 and "light install: no torch" in healthy.stdout, healthy.stdout
    refused = light("train", "--out", tmp_path / "run")
    assert refused.returncode == 2 and "this command needs" in refused.stderr and "pip install ." in refused.stderr
