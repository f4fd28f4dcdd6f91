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
from scarlens.training.model_card import model_card, shipped_card

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CARD = (ROOT / "model" / "weights" / "MODEL_CARD.md").read_text()
MEASURED = json.loads((ROOT / "model" / "weights" / "evaluation.json").read_text())


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


def test_card_is_what_the_measured_figures_and_the_checkpoint_make_of_it() -> None:
    card, megabytes = shipped_card()
    assert model_card(MEASURED, card, megabytes=megabytes) == CARD
    assert card.model_id in CARD
    assert megabytes < 20


def test_another_figure_makes_another_card() -> None:
    card, megabytes = shipped_card()
    for name, change in (("types", {"accuracy": {"value": 0.925, "low": 0.9, "high": 0.95}}), ("confusion", None)):
        other = {**MEASURED, name: {**MEASURED[name], **change} if change else [[1, 2, 3]] * 3}
        assert model_card(other, card, megabytes=megabytes) != CARD


def test_no_name_of_a_photo_is_published() -> None:
    assert not {"worst", "missed", "falsely_refused"} & set(MEASURED)
