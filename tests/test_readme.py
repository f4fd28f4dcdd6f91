"""The documents: every command and code block of the READMEs runs, their figures are the measured ones."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from scarlens.cli import app
from scarlens.datasets.rendering import write_photos
from scarlens.training.measure.metrics import Estimate
from scarlens.training.measure.model_card import model_card, shipped_card

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "inference/README.md", "training/README.md")
README, *OTHERS = ((ROOT / name).read_text(encoding="utf-8") for name in READMES)
GUIDES = "\n".join([README, *OTHERS])
CARD = (ROOT / "model" / "weights" / "MODEL_CARD.md").read_text(encoding="utf-8")
DATASHEET = (ROOT / "datasets" / "DATASHEET.md").read_text(encoding="utf-8")
ARCHIVES = (ROOT / "inference" / "batch" / "ARCHIVES.md").read_text(encoding="utf-8")
MEASURED = json.loads((ROOT / "model" / "weights" / "evaluation.json").read_text(encoding="utf-8"))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(block: str) -> list[str]:
    """Return the commands of a shell block, without comments, long ones joined."""
    lines = block.replace("\\\n", " ").splitlines()
    return [command for line in lines if (command := re.split(r"(?:^|\s)#", line)[0].strip())]


def test_python_blocks_run(tmp_path: Path) -> None:
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    assert blocks(GUIDES, "python")
    for block in blocks(GUIDES, "python"):
        result = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


QUICK = "--set size=64 --set workers=0 --set views=1 --set per_type=2 --set epochs=1 --set validation_fraction=0"
SMALL = f"{QUICK} --set trunk=squeezenet1_1 --set weights=null"
SHORTENED = {
    "scarlens crossvalidate": f"{SMALL} --folds 2",
    "scarlens train --data": SMALL,
    "scarlens train --out": QUICK,
    "scarlens render": "--count 8",
}
"""What the test adds to commands that take minutes."""

LEFT_OUT = {
    'pip install ".[test]" && python -m pytest': "runs this very test",
}
STATUSES = {"scarlens audit": (0, 3)}
"""Exit statuses that mean success, where 0 is not the only one: an audit that found something."""

SCARLENS = f"#!{sys.executable}\nfrom scarlens.cli import main\n\nmain()\n"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with everything that the README's commands need, and a `pip` that does nothing."""
    write_photos(tmp_path / "rendered", count=12, seed=1, size=64)
    folders = {"ice_pick": "ice pick", "boxcar": "boxcar", "rolling": "rolling", "out_of_scope": "keloid"}
    for label, folder in folders.items():
        shutil.copytree(tmp_path / "rendered" / label, tmp_path / "photos" / folder)
        if label != "out_of_scope":
            shutil.copytree(tmp_path / "rendered" / label, tmp_path / "other_people" / folder)
    shutil.copytree(tmp_path / "photos", tmp_path / "archive")
    for name in ("cheek", "before", "after"):
        shutil.copy(ROOT / "datasets" / "rendering" / "examples" / "boxcar.jpg", tmp_path / f"{name}.jpg")
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    (tmp_path / "bin").mkdir()
    for name, program in (("scarlens", SCARLENS), ("pip", "#!/bin/sh\nexit 0\n")):
        (tmp_path / "bin" / name).write_text(program)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setattr("scarlens.training.embedded.COUNT", 12)  # photos that are rendered where none are given
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")


def run(command: str) -> tuple[int, str, str]:
    """Run a command; return its exit status, output and messages. A new process would import torch for seconds."""
    words = shlex.split(command)
    if words[0] == "scarlens" and not {"<", ">", "|", "&&"} & {*words}:
        result = CliRunner().invoke(app, words[1:])
        return result.exit_code, result.output, repr(result.exception)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


@contextmanager
def server(command: str) -> Iterator[str]:
    """Run a server and yield its address. `exec` makes the shell the server itself, which can be stopped."""
    command = command.replace("scarlens serve", "exec scarlens serve --port 0")
    with subprocess.Popen(["bash", "-c", command], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr
        found = re.search(r"http://127\.0\.0\.1:\d+", running.stderr.readline())
        assert found
        try:
            yield found[0]
        finally:
            running.terminate()


def test_every_exception_is_for_a_command_of_the_readme() -> None:
    found = [command for block in blocks(GUIDES, "bash") for command in commands(block)]
    for start in (*SHORTENED, *LEFT_OUT, *STATUSES):
        assert any(command.startswith(start) for command in found), start


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash, which the README's commands are for")
@pytest.mark.parametrize("block", blocks(GUIDES, "bash"), ids=lambda block: " ".join(commands(block)[0].split()[:3]))
@pytest.mark.usefixtures("workspace")
def test_every_command_runs(block: str) -> None:
    for command in commands(block):
        if command.endswith("scarlens serve"):
            with server(command):
                continue
        if any(command.startswith(start) for start in LEFT_OUT):
            continue
        if command.startswith("curl"):
            if shutil.which("curl") is None:
                continue
            with server("scarlens serve") as address:
                assert "http://127.0.0.1:8321" in command
                status, output, messages = run(command.replace("http://127.0.0.1:8321", address))
            assert status == 0 and json.loads(output)["label"] == "boxcar", messages
            continue
        more = "".join(f" {text}" for start, text in SHORTENED.items() if command.startswith(start))
        status, output, messages = run(command + more)
        allowed = next((found for start, found in STATUSES.items() if command.startswith(start)), (0,))
        assert status in allowed, (command, output, messages)


DOCUMENTED = [
    command[command.index("scarlens ") :].split()[1:]
    for block in blocks(CARD + DATASHEET + ARCHIVES, "bash")
    for command in commands(block)
    if "scarlens " in command
]


@pytest.mark.parametrize("command", DOCUMENTED, ids=" ".join)
def test_shell_blocks_name_commands_and_options_that_exist(command: list[str]) -> None:
    help_text = CliRunner().invoke(app, [command[0], "--help"], env={"COLUMNS": "200"}).stdout
    assert "Usage" in help_text, command
    for option in (word for word in command if word.startswith("-")):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", help_text), option


@pytest.mark.parametrize(
    "name", [*READMES, "CHANGELOG.md", "CONTRIBUTING.md", "datasets/DATASHEET.md", "inference/batch/ARCHIVES.md"]
)
def test_links_and_pictures_lead_somewhere(name: str) -> None:
    document = ROOT / name
    text = document.read_text(encoding="utf-8")
    found = re.findall(r"\]\((?!https?://)([^)\s]+)\)", text)
    assert found
    for link in found:
        file, _, fragment = link.partition("#")
        target = document.parent / file if file else document
        assert target.exists(), link
        if fragment:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert fragment in {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_citation_is_that_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["cff-version"] == "1.2.0" and citation["authors"] and citation["message"]
    for name, key in (("title", "name"), ("version", "version"), ("license", "license"), ("keywords", "keywords")):
        assert citation[name] == project[key]
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_figures_of_the_readme_are_the_measured_ones() -> None:
    readers, types, kinds = MEASURED["readers"], MEASURED["types"], MEASURED["out_of_scope_refused"]
    for estimate in (readers["clear"]["accuracy"], types["accuracy"], types["share_refused"]):
        assert str(Estimate(**estimate)) in README
    assert f"the {readers['clear']['photos']} clear photos" in README
    for name, kind in (("blackheads", "blackheads"), ("active acne", "active_acne"), ("everyday pictures", "everyday")):
        assert f"{name} {100 * (1 - kinds[kind]['value']):.0f} %" in README


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_card_is_made_of_the_measured_figures_and_the_checkpoint() -> None:
    card, megabytes = shipped_card()
    assert model_card(MEASURED, card, megabytes=megabytes) == CARD
    assert card.model_id in CARD
    assert megabytes < 20
    accuracy = {**MEASURED["types"], "accuracy": {"value": 0.925, "low": 0.9, "high": 0.95}}
    for change in ({"types": accuracy}, {"confusion": [[1, 2, 3]] * 3}):
        assert model_card({**MEASURED, **change}, card, megabytes=megabytes) != CARD


def test_no_name_of_a_photo_is_published() -> None:
    assert not {"worst", "missed", "falsely_refused"} & set(MEASURED)
