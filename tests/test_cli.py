"""The command line: its output, its exit statuses, and its messages when something is wrong."""

import errno
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from scarlens.cli import app, main
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.inference.classifier import BUNDLED_CHECKPOINT
from scarlens.inference.reasons import NOTICE
from scarlens.model.checkpoint import load_checkpoint

EXAMPLES = Path(__file__).parents[1] / "datasets" / "rendering" / "examples"
BOXCAR = str(EXAMPLES / "boxcar.jpg")
COMMANDS = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
SMALL = ("trunk=squeezenet1_1", "weights=null", "epochs=1", "size=64", "workers=0", "views=2", "per_type=6")
WHOLE = "validation_fraction=0"  # all photos are for training


def command_line(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "scarlens", *map(str, arguments)]


def with_environment(**changes: str) -> dict[str, str]:
    return {**os.environ, **changes}


def scarlens(*arguments: object, **how: Any) -> subprocess.CompletedProcess[str]:
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **how}
    return subprocess.run(command_line(*arguments), **how)


def in_this_process(*arguments: object) -> str:
    """Run a command that needs torch, which a new process would import for seconds; return what it printed."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


def options(*settings: str) -> list[str]:
    """Return the arguments that change settings of a training."""
    return [part for setting in settings for part in ("--set", setting)]


@pytest.fixture(scope="module")
def labelled(rendered_folder: Path) -> list[object]:
    """The arguments that name labelled photos."""
    return ["--data", rendered_folder / "manifest.csv", "--out-of-scope", "out_of_scope"]


def on_terminal(*arguments: object, **environment: str) -> tuple[int, bytes]:
    """Run a command on a terminal of its own; return its exit status and all that it wrote there."""
    ours, its = pty.openpty()
    env = with_environment(**{"TERM": "xterm-256color", **environment})
    with subprocess.Popen(command_line(*arguments), stdin=its, stdout=its, stderr=its, env=env) as process:
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
    time.sleep(0.1)  # workers import for longer than this
    os.killpg(process.pid, signal.SIGINT)
    messages = process.communicate()[1]
    return process.returncode, messages


# --- predict ---------------------------------------------------------------------------------------------------------


def test_predict_prints_the_answer_and_the_notice() -> None:
    result = scarlens("predict", EXAMPLES / "ice_pick.jpg")
    assert result.returncode == 0, result.stderr
    for text in (NOTICE.split(":")[0], "ice pick", "boxcar", "rolling", "plausible", "seen on"):
        assert text in result.stdout
    lines = result.stdout.splitlines()
    assert len(lines) <= 24 and max(len(line) for line in lines[1:]) <= 80  # one screen


def test_predict_json_is_one_object_per_photo_and_a_bad_file_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a picture")
    bad = (tmp_path / "notes.jpg", tmp_path / "missing.jpg")
    result = scarlens("predict", "--json", EXAMPLES / "boxcar.jpg", *bad, EXAMPLES / "rolling.jpg")
    assert result.returncode == 3
    first, *errors, last = map(json.loads, result.stdout.splitlines())
    assert list(first["probabilities"]) == list(last["probabilities"]) == list(SCAR_TYPES)
    for path, answer in zip(bad, errors, strict=True):
        assert path.name in answer["error"] and path.name in result.stderr
    assert "expected" in errors[0]["error"] and "Traceback" not in result.stderr


@pytest.mark.parametrize("as_json", [True, False])
def test_overlay_that_cannot_be_written_gives_one_error_and_no_answer(tmp_path: Path, as_json: bool) -> None:
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


def test_compare_prints_the_comparison_and_writes_the_picture(tmp_path: Path) -> None:
    printed = in_this_process("compare", BOXCAR, BOXCAR, "--picture", tmp_path / "both.png")
    assert " of the visible skin" in printed and "nothing about healing" in printed and NOTICE in printed
    with Image.open(tmp_path / "both.png") as picture:
        assert picture.width > 2 * 384 and not picture.getexif()
    compared = json.loads(in_this_process("compare", BOXCAR, EXAMPLES / "rolling.jpg", "--json"))
    assert compared["obstacle"] == "other_place" and compared["notice"] == NOTICE
    failed = scarlens("compare", BOXCAR, tmp_path / "none.jpg")
    assert failed.returncode == 2 and "none.jpg: no such file" in failed.stderr


def test_predict_reads_a_photo_from_standard_input(tmp_path: Path) -> None:
    photo = EXAMPLES / "boxcar.jpg"
    with photo.open("rb") as file:
        result = scarlens("predict", "-", "--json", "--overlay", tmp_path, stdin=file)
    assert result.returncode == 0, result.stderr
    answer, same = json.loads(result.stdout), json.loads(scarlens("predict", photo, "--json").stdout)
    assert answer.pop("path") == "-" and same.pop("path") == str(photo)
    assert answer == same
    assert [path.name for path in tmp_path.iterdir()] == ["stdin_regions.png"]
    with photo.open("rb") as file:
        assert scarlens("predict", "-", stdin=file).stdout.startswith("standard input\n")


@pytest.mark.parametrize(
    ("content", "found"), [("", "found nothing"), ("no picture", "found bytes that begin with b'no picture'")]
)
def test_standard_input_without_a_photo_is_an_error_in_one_line(content: str, found: str) -> None:
    result = scarlens("predict", "-", "--json", input=content)
    assert result.returncode == 3 and len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("scarlens: standard input: expected ") and found in result.stderr
    assert json.loads(result.stdout)["path"] == "-"


def test_predict_does_not_wait_for_a_photo_from_a_terminal() -> None:
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
    first, second = (
        json.loads(in_this_process("predict", "--json", EXAMPLES / "boxcar.jpg", "--checkpoint", tiny_run / name))
        for name in ("model.safetensors", "model.onnx")
    )
    assert first["model_id"] == second["model_id"] == load_checkpoint(tiny_run / "model.safetensors")[1].model_id
    assert first["probabilities"] == pytest.approx(second["probabilities"], abs=1e-4)


def test_no_name_of_a_file_reaches_the_terminal_raw(tmp_path: Path) -> None:
    names = ["bell\x07.jpg", "colour\x1b[31m.jpg", os.fsdecode(b"latin-\xe9.jpg"), "\u202egpj.exe"]
    for name in names:
        shutil.copy(EXAMPLES / "boxcar.jpg", tmp_path / name)
    (tmp_path / "broken\x1b.jpg").write_text("no picture")
    result = scarlens("predict", *(tmp_path / name for name in names), tmp_path / "broken\x1b.jpg")
    assert result.returncode == 3 and "Traceback" not in result.stderr
    assert result.stdout.count("Shows one of the three: ") == len(names)
    assert not set(result.stdout + result.stderr) & set("\x07\x1b\u202e")


# --- errors ----------------------------------------------------------------------------------------------------------


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
        (["predict", "x.jpg", "--skin-type", "7"], 'a Fitzpatrick skin type, 1 to 6 or I to VI, got "7"'),
        (["treatments", "--isotretinoin-months", "-1"], "isotretinoin_months must be 0 (taken now)"),
        (["render", "notes.csv"], "notes.csv: expected a folder, found a file"),
        (["render", "notes.csv/inside"], "notes.csv/inside: expected a folder, found a file"),
        (["predict", BOXCAR, "--overlay", "notes.csv"], "notes.csv: expected a folder, found a file"),
        (["predict", BOXCAR, "--overlay", "notes.csv/inside"], "notes.csv/inside: expected a folder, found a file"),
        (["batch", ".", "-o", "notes.csv"], "notes.csv: expected no file or an earlier table"),
        (["batch", "s3://bucket/photos", "-o", "t.csv"], "give --engine ray"),
        (["batch", ".", "-o", "s3://bucket/t", "--engine", "ray", "--resume"], "start again in another folder"),
    ],
)
def test_user_errors_take_one_line_and_status_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "notes.csv").write_text("my notes\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["scarlens", *arguments])
    with pytest.raises(SystemExit, match=r"^2$"):
        main()
    printed, said = capsys.readouterr()
    assert message in said and len(said.splitlines()) == 1
    assert said.startswith("scarlens: ") and "\x1b" not in said
    assert not printed
    assert (tmp_path / "notes.csv").read_text() == "my notes\n"


def test_a_script_that_is_one_command_names_it_in_its_errors() -> None:
    script = Path(__file__).parents[1] / "training" / "train.py"
    result = subprocess.run([sys.executable, script, "--ouch"], capture_output=True, text=True)
    assert result.returncode == 2
    assert re.fullmatch(r"scarlens: no such option: --ouch.*; see scarlens train --help\n", result.stderr)


@pytest.mark.parametrize("command", [["predict", "missing.jpg"], ["train", "--data", "nowhere", "--out", "run"]])
def test_a_process_that_does_not_lead_reports_errors(command: list[str], tmp_path: Path) -> None:
    result = scarlens(*command, cwd=tmp_path, env=with_environment(RANK="1"))
    assert result.returncode and result.stderr.startswith("scarlens: ")


def test_a_process_that_does_not_lead_prints_nothing_about_training(
    rendered_folder: Path, tiny_run: Path, tmp_path: Path
) -> None:
    follower = with_environment(RANK="1")
    assert scarlens("predict", BOXCAR, env=follower).stdout == scarlens("predict", BOXCAR).stdout != ""
    photos = [path for path in rendered_folder.glob("*/*_00000?.jpg") if path.parent.name in SCAR_TYPES]
    few = tmp_path / "few.csv"
    few.write_text("file,label\n" + "".join(f"{path},{path.parent.name}\n" for path in photos))
    result = scarlens("evaluate", tiny_run / "model.onnx", "--data", few, "--out", tmp_path / "e", env=follower)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


# --- output ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("arguments", [["predict", BOXCAR], ["treatments"], ["predict", "--help"]])
def test_an_encoding_without_bars_stops_nothing(arguments: list[str], encoding: str) -> None:
    result = scarlens(*arguments, env=with_environment(PYTHONIOENCODING=encoding), encoding=encoding)
    assert (result.returncode, result.stderr) == (0, "") and result.stdout


def test_version_names_the_package_and_the_model() -> None:
    digest = load_checkpoint(BUNDLED_CHECKPOINT.with_suffix(".safetensors"))[1].model_id
    result = scarlens("--version")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"scarlens {metadata.version('scarlens')}, model {digest}\n"


def test_help_lists_the_commands_in_two_groups_and_comes_unasked() -> None:
    asked, unasked = (scarlens(*given, env=with_environment(COLUMNS="80")) for given in (["--help"], []))
    assert (asked.returncode, unasked.returncode) == (0, 2)
    assert asked.stdout.strip() == unasked.stdout.strip() and not asked.stderr and not unasked.stderr
    assert "\u2026" not in asked.stdout  # no name is cut
    order = ["Photos in, answers out", "predict", "batch", "serve", "treatments", "doctor"]
    order += ["Train and measure", "audit", "render", "train", "crossvalidate", "evaluate", "export"]
    found = re.findall(rf"^[│╭─ ]+({'|'.join(order)}) ", asked.stdout, flags=re.MULTILINE)
    assert found == order


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_examples_that_parse(name: str) -> None:
    help_text = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80"}).stdout
    assert "\u2026" not in help_text  # no name is cut
    tail = [line.strip() for line in help_text[help_text.index("Examples:") :].splitlines() if line.strip()]
    assert 2 <= len(tail) <= 5
    for line in tail[1:]:
        program, command, *arguments = shlex.split(line.split(" < ")[0])
        assert (program, command) == ("scarlens", name)
        COMMANDS[name].make_context(name, arguments)  # raises for an option, a value or an argument that is not one


# Photos enough that standard output, which is written in blocks, is written before the command ends.
PRINTING = [["treatments"], ["treatments", "--json"], ["predict", "--json", BOXCAR, BOXCAR, BOXCAR]]


@pytest.mark.parametrize("arguments", [["--help"], *PRINTING])
def test_a_closed_output_ends_the_command_silently(arguments: list[str]) -> None:
    ours, its = os.pipe()
    os.close(ours)
    result = scarlens(*arguments, stdout=its)
    os.close(its)
    assert (result.returncode, result.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk to write to")
@pytest.mark.parametrize("arguments", PRINTING)
def test_output_to_a_full_disk_is_an_error_in_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        result = scarlens(*arguments, stdout=full)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and "No space left" in result.stderr


@pytest.mark.parametrize("arguments", [["treatments", "--help"], ["predict", "--help"]])
def test_colours_are_for_terminals_whose_user_wants_them(arguments: list[str]) -> None:
    status, coloured = on_terminal(*arguments)
    assert status == 0 and b"\x1b[1" in coloured
    for plain in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        status, written = on_terminal(*arguments, **plain)
        assert status == 0 and b"\x1b" not in written
        assert re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", coloured) == written
    piped = scarlens(*arguments)
    assert "\x1b" not in piped.stdout and not piped.stderr


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
    result = scarlens(env=with_environment(**protocol, **asked))
    assert (result.returncode, result.stderr) == (0, "")
    values = re.findall(r'(?m)(?:\(\(|^)"([^"]+)"', result.stdout) if shell == "zsh" else result.stdout.splitlines()
    return {value.split("\t")[0] for value in values}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_types_and_skin_types(shell: str) -> None:
    assert completed(shell, "scarlens tr") == {"treatments", "train"}
    assert completed(shell, "scarlens treatments ") == set(SCAR_TYPES)
    assert completed(shell, "scarlens treatments r") == {"rolling"}
    assert completed(shell, "scarlens predict x.jpg --skin-type I") == {"I", "II", "III", "IV"}
    assert {"1", "6", "VI"} < completed(shell, "scarlens predict x.jpg --skin-type ")
    script = scarlens(env=with_environment(_SCARLENS_COMPLETE=f"source_{shell}"))
    assert script.returncode == 0 and f"_SCARLENS_COMPLETE=complete_{shell}" in script.stdout


# --- the other commands ----------------------------------------------------------------------------------------------


def test_batch_writes_a_table_and_reports_errors_by_status_3(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("boxcar.jpg", "rolling.jpg"):
        shutil.copy(EXAMPLES / name, photos)
    assert scarlens("batch", photos, "-o", tmp_path / "good.csv").returncode == 0
    (photos / "broken.jpg").write_bytes((EXAMPLES / "boxcar.jpg").read_bytes()[:3000])
    result = scarlens("batch", photos, "-o", tmp_path / "mixed.jsonl")
    assert result.returncode == 3
    rows = [json.loads(line) for line in (tmp_path / "mixed.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == ["boxcar.jpg", "broken.jpg", "rolling.jpg"]
    assert rows[1]["status"] == "error"


def test_interrupted_render_ends_with_one_line_and_status_130(tmp_path: Path) -> None:
    out = tmp_path / "photos"
    status = interrupted("render", out, "--count", 20, "--size", 2048, once=lambda: any(out.glob("*/*.jpg")))
    assert status == (130, "scarlens: interrupted\n")


def test_interrupted_train_says_how_to_resume(labelled: list[object], tmp_path: Path) -> None:
    settings = options(*SMALL, "epochs=100000", "patience=100000")
    saved = tmp_path / "run" / "state.pt"
    status, messages = interrupted("train", *labelled, "--out", tmp_path / "run", *settings, once=saved.exists)
    assert status == 130 and "Traceback" not in messages
    assert messages.splitlines()[-1] == "scarlens: interrupted; run the same command with --resume to go on"


def test_train_names_bad_files_before_it_starts(rendered_folder: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(rendered_folder, data, ignore=shutil.ignore_patterns("type_maps", "manifest.csv"))
    (data / "boxcar" / "broken.jpg").write_text("no picture")
    settings = options(*SMALL, WHOLE)
    printed = in_this_process("train", "--data", data, "--out-of-scope", "out_of_scope", "--out", out, *settings)
    assert "only 0 photos of a type to calibrate on, expected at least 10" in printed
    lines = printed.splitlines()
    bad = next(i for i, line in enumerate(lines) if "left out" in line and "broken.jpg" in line)
    assert bad < next(i for i, line in enumerate(lines) if line.startswith("epoch 1"))
    assert (out / "model.safetensors").is_file()


def test_train_without_data_renders_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scarlens.training.embedded.COUNT", 12)
    settings = options("epochs=1", "size=64", "workers=0", "views=2", "per_type=6", "validation_fraction=0.34")
    in_this_process("train", "--out", tmp_path / "run", *settings)
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"rendered_0", "model.safetensors", "model.onnx", "validation"} <= files
    training = load_checkpoint(tmp_path / "run" / "model.safetensors")[1].training
    assert training["photos"] == {"boxcar": 3, "ice_pick": 3, "out_of_scope": 3, "rolling": 3}
    assert training["config"]["weights"] == "scarlens.safetensors"


def test_evaluate_prints_figures_and_draws_them(labelled: list[object], tiny_run: Path, tmp_path: Path) -> None:
    printed = in_this_process("evaluate", tiny_run / "model.safetensors", *labelled, "--out", tmp_path)
    assert "accuracy" in printed and "confusion" in printed
    assert (tmp_path / "confusion.png").is_file()


def test_render_and_export_write_their_files(tiny_run: Path, tmp_path: Path) -> None:
    in_this_process("render", tmp_path / "photos", "--count", 4, "--size", 64)
    assert len((tmp_path / "photos" / "manifest.csv").read_text().splitlines()) == 5
    in_this_process("export", tiny_run / "model.safetensors", "--onnx", tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").is_file()
