"""The command line: what it prints, its exit statuses, and what it says when something is wrong."""

import errno
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from scarlens.cli import app
from scarlens.datasets.errors import ScarlensError
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.rendering.files import MANY
from scarlens.inference.classifier import BUNDLED_CHECKPOINT
from scarlens.inference.reasons import NOTICE
from scarlens.inference.terminal import examples
from scarlens.model.checkpoint import load_checkpoint

EXAMPLES = Path(__file__).parents[1] / "datasets" / "rendering" / "examples"
COMMANDS = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
SMALL = ("trunk=squeezenet1_1", "weights=null", "size=64", "workers=0", "views=2", "per_type=6")


def command_line(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "scarlens", *map(str, arguments)]


def scarlens(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    setting = {**os.environ, **environment}
    return subprocess.run(command_line(*arguments), capture_output=True, text=True, cwd=cwd, env=setting)


def options(*settings: str) -> list[str]:
    """Return the arguments that change settings of a training."""
    return [part for setting in settings for part in ("--set", setting)]


def piped(photo: bytes, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command_line(*arguments), input=photo, capture_output=True, cwd=cwd)


def on_terminal(*arguments: object, **environment: str) -> tuple[int, bytes]:
    """Run a command on a terminal of its own; return its exit status and all that it wrote there."""
    ours, its = pty.openpty()
    setting = {**os.environ, "TERM": "xterm-256color", **environment}
    with subprocess.Popen(command_line(*arguments), stdin=its, stdout=its, stderr=its, env=setting) as process:
        os.close(its)
        written = b""
        try:
            while part := os.read(ours, 65536):
                written += part
        except OSError as error:
            assert error.errno == errno.EIO  # as Linux tells the end of a terminal
        finally:
            os.close(ours)
    return process.returncode, written


def interrupted(*arguments: object, once: Callable[[], bool]) -> tuple[int, str]:
    """Run a command and interrupt it and its workers, as Ctrl-C does; return its exit status and messages."""
    # A shell's background jobs ignore the signal, and with them a test that runs in one.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command_line(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    signal.signal(signal.SIGINT, usual)
    while not once():
        assert process.poll() is None, "it ended before it was interrupted"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    messages = process.communicate()[1]
    return process.returncode, messages


def test_predict_prints_answer_notice_and_documents() -> None:
    result = scarlens("predict", EXAMPLES / "ice_pick.jpg")
    assert result.returncode == 0, result.stderr
    assert NOTICE.split(":")[0] in result.stdout
    for name in ("ice pick", "boxcar", "rolling", "plausible:"):
        assert name in result.stdout


def test_predict_json_is_one_object_a_photo_and_a_bad_file_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a picture")
    result = scarlens("predict", "--json", EXAMPLES / "boxcar.jpg", tmp_path / "notes.jpg", EXAMPLES / "rolling.jpg")
    assert result.returncode == 3
    first, second, third = map(json.loads, result.stdout.splitlines())
    assert list(first["probabilities"]) == list(third["probabilities"]) == list(SCAR_TYPES)
    assert "notes.jpg" in second["error"] and "expected" in second["error"]
    assert "notes.jpg" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("as_json", [True, False])
def test_a_photo_whose_overlay_cannot_be_written_yields_one_error_and_no_answer(tmp_path: Path, as_json: bool) -> None:
    (tmp_path / "boxcar_regions.png").mkdir()
    photos = [EXAMPLES / "boxcar.jpg", EXAMPLES / "rolling.jpg"]
    result = scarlens("predict", *photos, "--overlay", tmp_path, *(["--json"] if as_json else []))
    assert result.returncode == 3 and "Traceback" not in result.stderr
    assert result.stdout.count("boxcar.jpg") == (1 if as_json else 0)
    assert (tmp_path / "rolling_regions.png").is_file()
    if as_json:
        first, second = map(json.loads, result.stdout.splitlines())
        assert set(first) == {"path", "error"} and "boxcar_regions.png" in first["error"]
        assert second["label"] == "rolling"


def test_predict_reads_a_photo_from_standard_input(tmp_path: Path) -> None:
    photo = EXAMPLES / "boxcar.jpg"
    result = piped(photo.read_bytes(), "predict", "-", "--json", "--overlay", tmp_path)
    assert result.returncode == 0, result.stderr
    answer, same = json.loads(result.stdout), json.loads(scarlens("predict", photo, "--json").stdout)
    assert answer.pop("path") == "-" and same.pop("path") == str(photo)
    assert answer == same
    assert [path.name for path in tmp_path.iterdir()] == ["stdin_regions.png"]
    text = piped(photo.read_bytes(), "predict", "-")
    assert text.returncode == 0 and text.stdout.decode().startswith("standard input\n")


@pytest.mark.parametrize(
    ("content", "found"), [(b"", "found nothing"), (b"no picture", "found bytes that begin with b'no picture'")]
)
def test_standard_input_without_a_photo_is_an_error_in_one_line(content: bytes, found: str) -> None:
    result = piped(content, "predict", "-", "--json")
    message = result.stderr.decode()
    assert result.returncode == 3 and len(message.splitlines()) == 1
    assert message.startswith("scarlens: standard input: expected ") and found in message
    assert json.loads(result.stdout)["path"] == "-"


def test_a_terminal_is_not_waited_for_as_a_photo() -> None:
    status, written = on_terminal("predict", "-")
    assert status == 3
    assert written.count(b"\n") == 1 and b"scarlens predict - < cheek.jpg, found a terminal" in written


def test_overlays_of_photos_with_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    for folder, name in (("a", "boxcar.jpg"), ("b", "rolling.jpg")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cheek.jpg").write_bytes((EXAMPLES / name).read_bytes())
    photos = (tmp_path / "a" / "cheek.jpg", tmp_path / "b" / "cheek.jpg")
    for _ in range(2):  # safe to run again
        result = scarlens("predict", *photos, "--overlay", tmp_path / "out")
        assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cheek_2_regions.png", "cheek_regions.png"]
    with Image.open(tmp_path / "out" / "cheek_regions.png") as overlay, Image.open(photos[0]) as photo:
        assert overlay.width == photo.width and overlay.height > photo.height
        assert not overlay.info


def test_predict_uses_the_checkpoint_it_is_given(tiny_run: Path) -> None:
    forms = [tiny_run / "model.safetensors", tiny_run / "model.onnx"]
    answers = []
    for form in forms:
        result = scarlens("predict", "--json", EXAMPLES / "boxcar.jpg", "--checkpoint", form)
        assert result.returncode == 0, result.stderr
        answers.append(json.loads(result.stdout))
    assert answers[0]["model_id"] == answers[1]["model_id"]
    assert answers[0]["probabilities"] == pytest.approx(answers[1]["probabilities"], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "x.jpg", "--checkpoint", "none.onnx"], "none.onnx: no such file"),
        (["batch", "nowhere", "-o", "out.csv"], "nowhere"),
        (["batch", ".", "-o", "out.xlsx"], "out.xlsx"),
        (["train", "--data", "nowhere", "--out", "run"], "expected a folder with one sub-folder per class"),
        (["train", "--data", ".", "--out", "run", "--set", "epoch=3"], "unknown settings: epoch"),
        (["treatments", "keloid"], "unknown scar type 'keloid'"),
        (["predict"], "scarlens: missing argument 'photos"),
        (["predict", "x.jpg", "--jsn"], "no such option: --jsn"),
        (["predict", "x.jpg", "--jsn"], "--json"),
        (["predict", "x.jpg", "--checkpoint"], "; see scarlens predict --help"),
        (["batch", "", "-o", "out.csv"], "expected a folder of photos, found an empty name"),
        (["batch", "", "-o", "out", "--engine", "ray"], "expected a folder of photos, found an empty name"),
        (["predit"], "no such command 'predit'. Did you mean 'predict'? See scarlens --help"),
        (["--nothing\x1b[31m\n"], "no such option: --nothing"),
        (["batch", "photos"], "missing option '--output'"),
        (["batch", "photos", "-o", "out.csv", "--engine", "steam"], "; see scarlens batch --help"),
        (["batch", "photos", "-o", "out.csv", "--workers", "many"], "invalid value for '--workers'"),
        (["treatments", "boxcar", "rolling"], "; see scarlens treatments --help"),
        (["train", "--data", "photos"], "missing option '--out'; see scarlens train --help"),
    ],
)
def test_user_errors_take_one_line_and_status_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = scarlens(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("scarlens: ") and "\x1b" not in result.stderr
    assert not result.stdout


@pytest.mark.parametrize("command", [["predict", EXAMPLES / "boxcar.jpg", "--overlay"], ["render"]])
@pytest.mark.parametrize("name", ["file", "file/inside"])
def test_a_file_where_a_folder_is_to_be_made_is_an_error_in_one_line(
    command: list[object], name: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = scarlens(*command, tmp_path / name)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"scarlens: {tmp_path / name}: expected a folder, found a file\n"


def test_batch_does_not_replace_a_file_that_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("my notes\n")
    result = scarlens("batch", tmp_path, "-o", tmp_path / "notes.csv")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert "notes.csv: expected an earlier table" in result.stderr
    assert (tmp_path / "notes.csv").read_text() == "my notes\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("arguments", [["predict", EXAMPLES / "boxcar.jpg"], ["treatments"], ["predict", "--help"]])
def test_an_encoding_without_bars_ends_nothing(arguments: list[object], encoding: str) -> None:
    result = subprocess.run(
        command_line(*arguments), capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode(encoding)


def test_a_process_that_does_not_lead_still_answers_and_tells_errors(tmp_path: Path) -> None:
    photo = EXAMPLES / "boxcar.jpg"
    assert scarlens("predict", photo, RANK="1").stdout == scarlens("predict", photo).stdout != ""
    for command in (["predict", "missing.jpg"], ["train", "--data", "nowhere", "--out", "run"]):
        result = scarlens(*command, cwd=tmp_path, RANK="1")
        assert result.returncode and result.stderr.startswith("scarlens: ")


def test_results_of_a_training_are_told_by_the_process_that_leads(
    rendered_folder: Path, tiny_run: Path, tmp_path: Path
) -> None:
    data = ["--data", rendered_folder / "manifest.csv", "--out-of-scope", "out_of_scope"]
    for form in ([], ["--json"]):
        result = scarlens("evaluate", tiny_run / "model.safetensors", *data, "--out", tmp_path / "e", *form, RANK="1")
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_version_names_the_package_and_the_model() -> None:
    digest = load_checkpoint(BUNDLED_CHECKPOINT.with_suffix(".safetensors"))[1].model_id
    result = scarlens("--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"scarlens {metadata.version('scarlens')}, model {digest}\n"


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_no_name_in_a_help_text_is_cut_at_80_columns(name: str) -> None:
    result = scarlens(*([name] if name else []), "--help", COLUMNS="80")
    assert result.returncode == 0 and "\u2026" not in result.stdout


def test_a_script_that_is_one_command_names_it_in_its_errors() -> None:
    script = Path(__file__).parents[1] / "training" / "train.py"
    result = subprocess.run([sys.executable, script, "--ouch"], capture_output=True, text=True)
    assert result.returncode == 2
    assert re.fullmatch(r"scarlens: no such option: --ouch.*; see scarlens train --help\n", result.stderr)


def test_help_lists_the_commands_in_two_groups_and_comes_unasked() -> None:
    asked, unasked = scarlens("--help"), scarlens()
    assert (asked.returncode, unasked.returncode) == (0, 2)
    assert asked.stdout.strip() == unasked.stdout.strip() and not asked.stderr and not unasked.stderr
    order = ["Photos in, answers out", "predict", "batch", "serve", "treatments", "doctor"]
    order += ["Train and measure", "audit", "render", "train", "crossvalidate", "evaluate", "export"]
    found = re.findall(rf"^[│╭─ ]+({'|'.join(order)}) ", asked.stdout, flags=re.MULTILINE)
    assert found == order


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_examples_that_parse(name: str) -> None:
    help_text = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80"}).stdout
    plain = re.sub(r"\x1b\[[0-9;]*m", "", help_text)
    tail = [line.strip() for line in plain[plain.index("Examples:") :].splitlines() if line.strip()]
    assert 2 <= len(tail) <= 5
    for line in tail[1:]:
        program, command, *arguments = shlex.split(line.split(" < ")[0])
        assert (program, command) == ("scarlens", name)
        COMMANDS[name].make_context(name, arguments)  # raises for an option, a value or an argument that is not one


def test_examples_show_their_brackets() -> None:
    small = typer.Typer()
    small.command(epilog=examples('pip install ".[ray]"', "scarlens doctor"))(lambda: None)
    lines = [line.strip() for line in CliRunner().invoke(small, ["--help"]).stdout.splitlines()]
    assert 'pip install ".[ray]"' in lines and "scarlens doctor" in lines


# Photos enough that standard output, which is written in blocks, is written before the command ends.
PHOTOS = [str(EXAMPLES / "boxcar.jpg")] * 3


@pytest.mark.parametrize(
    "arguments", [["--help"], ["treatments"], ["treatments", "--json"], ["predict", "--json", *PHOTOS]]
)
def test_output_that_nobody_reads_ends_silently(arguments: list[str]) -> None:
    ours, its = os.pipe()
    os.close(ours)
    result = subprocess.run(command_line(*arguments), stdout=its, stderr=subprocess.PIPE, text=True)
    os.close(its)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk to write to")
@pytest.mark.parametrize("arguments", [["treatments"], ["treatments", "--json"], ["predict", "--json", *PHOTOS]])
def test_output_to_a_full_disk_is_an_error_in_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(command_line(*arguments), stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and "No space left" in result.stderr


def test_an_interrupted_command_ends_with_one_line_and_status_130(tmp_path: Path) -> None:
    out = tmp_path / "photos"
    status = interrupted("render", out, "--count", 20, "--size", 2048, once=lambda: any(out.glob("*/*.jpg")))
    assert status == (130, "scarlens: interrupted\n")


def test_workers_that_just_start_say_nothing_of_an_interruption(tmp_path: Path) -> None:
    def starting() -> bool:
        made = (tmp_path / "photos" / "type_maps").is_dir()
        time.sleep(0.1 * made)  # the workers import for longer
        return made

    status = interrupted("render", tmp_path / "photos", "--count", MANY, "--size", 64, once=starting)
    assert status == (130, "scarlens: interrupted\n")


def test_an_interrupted_training_says_how_to_go_on(rendered_folder: Path, tmp_path: Path) -> None:
    data = ["--data", rendered_folder / "manifest.csv", "--out-of-scope", "out_of_scope"]
    settings = options(*SMALL, "epochs=100000", "patience=100000")
    saved = tmp_path / "run" / "state.pt"
    status, messages = interrupted("train", *data, "--out", tmp_path / "run", *settings, once=saved.exists)
    assert status == 130 and "Traceback" not in messages
    assert messages.splitlines()[-1] == "scarlens: interrupted; run the same command with --resume to go on"


@pytest.mark.parametrize("arguments", [["treatments", "boxcar"], ["predict", "--help"]])
def test_colours_are_for_terminals_whose_user_wants_them(arguments: list[str]) -> None:
    status, coloured = on_terminal(*arguments)
    assert status == 0 and b"\x1b[1" in coloured
    for plain in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        status, written = on_terminal(*arguments, **plain)
        assert status == 0 and b"\x1b" not in written
        assert re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", coloured) == written
    piped_out = subprocess.run(command_line(*arguments), capture_output=True)
    assert b"\x1b" not in piped_out.stdout and not piped_out.stderr


def test_progress_is_shown_on_terminals_that_can_move_back(tmp_path: Path) -> None:
    command = ["render", tmp_path, "--count", 4, "--size", 64]
    status, written = on_terminal(*command)
    assert status == 0 and b"\x1b[2K" in written
    for setting in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        status, written = on_terminal(*command, **setting)
        assert status == 0 and not re.search(rb"\x1b\[[0-9;]*m", written)
    assert written.decode().strip() == f"manifest: {tmp_path / 'manifest.csv'}"
    assert scarlens(*command).stderr == f"manifest: {tmp_path / 'manifest.csv'}\n"


def completed(shell: str, typed: str) -> set[str]:
    """Return what a shell is offered for a command line that was typed up to the cursor."""
    words = typed.split(" ")
    protocol = {"COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1), "_TYPER_COMPLETE_ARGS": typed}
    asked = {"_SCARLENS_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    result = subprocess.run(
        command_line(), capture_output=True, text=True, env={**os.environ, **protocol, **asked}, check=True
    )
    assert not result.stderr
    values = re.findall(r'(?m)(?:\(\(|^)"([^"]+)"', result.stdout) if shell == "zsh" else result.stdout.splitlines()
    return {value.split("\t")[0] for value in values}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_types_and_skin_types(shell: str) -> None:
    assert completed(shell, "scarlens tr") == {"treatments", "train"}
    assert completed(shell, "scarlens treatments ") == set(SCAR_TYPES)
    assert completed(shell, "scarlens treatments r") == {"rolling"}
    assert completed(shell, "scarlens predict x.jpg --skin-type I") == {"I", "II", "III", "IV"}
    assert {"1", "6", "VI"} < completed(shell, "scarlens predict x.jpg --skin-type ")
    script = subprocess.run(
        command_line(), capture_output=True, text=True, env={**os.environ, "_SCARLENS_COMPLETE": f"source_{shell}"}
    )
    assert script.returncode == 0 and f"_SCARLENS_COMPLETE=complete_{shell}" in script.stdout


def test_predict_of_a_missing_file_says_so(tmp_path: Path) -> None:
    result = scarlens("predict", tmp_path / "missing.jpg")
    assert result.returncode == 3
    assert "missing.jpg" in result.stderr and "Traceback" not in result.stderr


def test_treatments_print_tables_and_json() -> None:
    tables = scarlens("treatments", "Ice Pick")
    assert tables.returncode == 0
    assert "TCA CROSS" in tables.stdout and "003_a987b77342a1f779.txt" in tables.stdout
    assert NOTICE.split(":")[0] in tables.stdout
    everything = json.loads(scarlens("treatments", "--json").stdout)
    assert everything["disagreements"] and everything["treatments"]


def test_batch_writes_a_table_and_reports_errors_by_status_3(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("boxcar.jpg", "rolling.jpg"):
        (photos / name).write_bytes((EXAMPLES / name).read_bytes())
    assert scarlens("batch", photos, "-o", tmp_path / "good.csv").returncode == 0
    (photos / "broken.jpg").write_bytes((EXAMPLES / "boxcar.jpg").read_bytes()[:3000])
    result = scarlens("batch", photos, "-o", tmp_path / "mixed.jsonl")
    assert result.returncode == 3
    rows = [json.loads(line) for line in (tmp_path / "mixed.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == ["boxcar.jpg", "broken.jpg", "rolling.jpg"]
    assert rows[1]["status"] == "error"


def test_train_names_bad_files_before_it_starts(rendered_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for folder in rendered_folder.iterdir():
        if folder.is_dir() and folder.name != "type_maps":
            (data / folder.name).mkdir(parents=True)
            for file in folder.iterdir():
                (data / folder.name / file.name).write_bytes(file.read_bytes())
    (data / "boxcar" / "broken.jpg").write_text("no picture")
    settings = options(*SMALL, "epochs=1", "validation_fraction=0")
    out = tmp_path / "run"
    result = scarlens("train", "--data", data, "--out-of-scope", "out_of_scope", "--out", out, *settings)
    assert result.returncode == 0, result.stderr
    assert "only 0 photos of a type to calibrate on, expected at least 10" in result.stderr
    lines = result.stderr.splitlines()
    bad = next(i for i, line in enumerate(lines) if "left out" in line and "broken.jpg" in line)
    assert bad < next(i for i, line in enumerate(lines) if line.startswith("epoch 1"))
    assert (out / "model.safetensors").is_file()


def test_crossvalidate_and_evaluate_report_grouped_figures(
    rendered_folder: Path, tiny_run: Path, tmp_path: Path
) -> None:
    data = ["--data", rendered_folder / "manifest.csv", "--out-of-scope", "out_of_scope"]
    settings = options(*SMALL, "epochs=1", "validation_fraction=0")
    result = scarlens("crossvalidate", *data, "--out", tmp_path / "cv", *settings, "--folds", 2, "--json")
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    assert figures == json.loads((tmp_path / "cv" / "metrics.json").read_text())
    assert np.array(figures["confusion"]).sum() == 18
    accuracy = figures["types"]["accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert set(figures["scope_auroc"]) == {"out_of_scope"}
    scores = tmp_path / "cv" / "predictions.csv"
    trained = scarlens("train", *data, "--out", tmp_path / "run", *settings, "--calibrate-on", scores)
    assert trained.returncode == 0, trained.stderr
    again = scarlens("evaluate", tmp_path / "run" / "model.safetensors", *data, "--out", tmp_path / "evaluation")
    assert again.returncode == 0, again.stderr
    assert "accuracy" in again.stdout and "confusion" in again.stdout
    assert (tmp_path / "evaluation" / "confusion.png").is_file()


def test_render_and_export(tiny_run: Path, tmp_path: Path) -> None:
    assert scarlens("render", tmp_path / "photos", "--count", 4, "--size", 64).returncode == 0
    assert len((tmp_path / "photos" / "manifest.csv").read_text().splitlines()) == 5
    assert scarlens("export", tiny_run / "model.safetensors", "--onnx", tmp_path / "model.onnx").returncode == 0
    assert (tmp_path / "model.onnx").is_file()


def test_no_name_of_a_file_reaches_the_terminal_raw(tmp_path: Path) -> None:
    names = [b"bell\x07.jpg", b"colour\x1b[31m.jpg", b"latin-\xe9.jpg", "\u202egpj.exe".encode()]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes((EXAMPLES / "boxcar.jpg").read_bytes())  # noqa: PTH118
    broken = tmp_path / "broken\x1b.jpg"
    broken.write_text("no picture")
    result = scarlens("predict", *(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)) for name in names), broken)  # noqa: PTH118
    assert result.returncode == 3 and "Traceback" not in result.stderr
    assert result.stdout.count("plausible: ") == len(names)
    assert not set(result.stdout + result.stderr) & set("\x07\x1b\u202e")


def test_train_without_data_renders_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scarlens.training.embedded.COUNT", 24)
    settings = options("epochs=1", "size=64", "workers=0", "views=2", "per_type=6", "validation_fraction=0.34")
    arguments = ["train", "--out", tmp_path / "run", *settings]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"rendered_0", "model.safetensors", "model.onnx", "validation"} <= files
    training = load_checkpoint(tmp_path / "run" / "model.safetensors")[1].training
    assert training["photos"] == {"boxcar": 6, "ice_pick": 6, "out_of_scope": 6, "rolling": 6}
    assert training["config"]["weights"] == "scarlens.safetensors"


def test_batch_refuses_what_its_engine_cannot_do(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["batch", "s3://bucket/photos", "-o", str(tmp_path / "t.csv")])
    assert isinstance(result.exception, ScarlensError) and "--engine ray" in str(result.exception)
    result = CliRunner().invoke(app, ["batch", str(tmp_path), "-o", "s3://bucket/t", "--engine", "ray", "--resume"])
    assert isinstance(result.exception, ScarlensError) and "start again" in str(result.exception)
