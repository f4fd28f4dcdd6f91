"""The package: what an import loads, what an install puts where, and the ways in."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import scarlens

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "cv2", "albumentations", "onnxruntime", "sklearn", "matplotlib", "pyarrow", "pandas")


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_import_is_light() -> None:
    assert not loaded_after("import scarlens") & {*HEAVY, "numpy", "PIL"}


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["--help"], {}),
        (["predict", "--help"], {}),
        ([], {"_SCARLENS_COMPLETE": "complete_bash", "COMP_WORDS": "scarlens treatments ", "COMP_CWORD": "2"}),
    ],
    ids=["help", "help of a command", "completion"],
)
def test_help_and_completion_are_light(arguments: list[str], environment: dict[str, str]) -> None:
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
    code += f"sys.argv = ['scarlens', *{arguments!r}]; from scarlens.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    assert result.stdout
    assert not set(result.stderr.split()) & {*HEAVY, "numpy", "PIL"}


def test_prediction_does_not_load_torch() -> None:
    example = ROOT / "datasets" / "rendering" / "examples" / "boxcar.jpg"
    loaded = loaded_after(f"import scarlens; scarlens.predict({str(example)!r}).to_dict()")
    assert "onnxruntime" in loaded
    assert not loaded & {"torch", "torchvision", "albumentations", "sklearn", "scipy", "matplotlib", "pyarrow"}


def test_door_lists_a_handful_of_names() -> None:
    classes = {"BatchSummary", "Classifier", "Context", "Prediction", "TreatmentPlan"}
    names = {"load", "predict", "predict_folder", *classes}
    assert set(dir(scarlens)) == {*names, "__version__"}
    assert scarlens.__version__ == metadata.version("scarlens")
    assert all(getattr(scarlens, name).__name__ == name for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'train'"):
        _ = scarlens.train  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("command", [["-m", "scarlens"], [str(ROOT / "training" / "train.py")]])
def test_ways_in_answer_help(command: list[str]) -> None:
    result = subprocess.run([sys.executable, *command, "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    assert "scarlens" in result.stdout


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
    for part in (
        "cli.py",
        "datasets/rendering/photo.py",
        "model/weights/scarlens.onnx",
        "inference/treatments/documents.toml",
    ):
        assert f"scarlens/{part}" in installed
    assert not any(file.startswith(("scarlens/tests", "scarlens/notebooks")) for file in installed)
