"""The README and the model card: their code runs, their commands exist, their figures are the measured ones."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scarlens.cli import app
from scarlens.training.metrics import Estimate

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CARD = (ROOT / "model" / "weights" / "MODEL_CARD.md").read_text()
MEASURED = json.loads((ROOT / "model" / "weights" / "cross_validation.json").read_text())


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_python_blocks_run(tmp_path: Path) -> None:
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    assert blocks(README, "python")
    for block in blocks(README, "python"):
        result = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


def commands() -> list[list[str]]:
    lines = [line.split("#")[0] for text in (README, CARD) for block in blocks(text, "bash") for line in joined(block)]
    return [line[line.index("scarlens ") :].split()[1:] for line in lines if "scarlens " in line]


def joined(block: str) -> list[str]:
    return block.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_shell_blocks_name_commands_and_options_that_exist(command: list[str]) -> None:
    help_text = CliRunner().invoke(app, [command[0], "--help"], env={"COLUMNS": "200"}).stdout
    assert "Usage" in help_text, command
    for option in (word for word in command if word.startswith("-")):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", help_text), option


def test_first_command_answers_on_what_ships() -> None:
    example = ROOT / "datasets" / "rendering" / "examples" / "boxcar.jpg"
    assert str(example.relative_to(ROOT)) in README
    result = CliRunner().invoke(app, ["predict", str(example)])
    assert result.exit_code == 0
    assert "plausible: " in result.stdout


@pytest.mark.parametrize("text", [README, CARD], ids=["README", "MODEL_CARD"])
@pytest.mark.parametrize("figure", ["accuracy", "macro_f1", "kappa", "expected_calibration_error"])
def test_figures_are_the_measured_ones(text: str, figure: str) -> None:
    assert str(Estimate(**MEASURED["types"][figure])) in text


def test_card_states_confusion_scope_and_model() -> None:
    for row in MEASURED["confusion"]:
        assert re.search(r" \| ".join(map(str, row)), CARD)
    for kind, estimate in MEASURED["scope_auroc"].items():
        assert kind in CARD and str(Estimate(**estimate)) in CARD
