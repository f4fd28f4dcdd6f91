"""Whatever stops a batch costs nothing that was done, through the public interface and the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import scarlens
from scarlens.inference.batch import reading
from scarlens.inference.batch.journal import Journal, JournalError
from scarlens.inference.classifier import Classifier
from scarlens.inference.engine import Scores
from scarlens.model.calibration import Calibration
from scarlens.model.checkpoint import Card

COMMAND = (sys.executable, "-m", "scarlens", "batch")


class BrightnessEngine:
    """Scores that depend on the photo's brightness alone."""

    def __init__(self, model_id: str = "test") -> None:
        self.card = Card(
            trunk="squeezenet1_1",
            size=64,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            calibration=Calibration(),
            model_id=model_id,
        )
        self.seen = 0

    def __call__(self, photos: np.ndarray) -> Scores:
        self.seen += len(photos)
        level = photos.mean(axis=(1, 2, 3))
        logits = np.stack([level, -level, 0 * level], axis=1)
        return Scores(np.zeros((len(photos), 5, 2, 2), np.float32), 3 * logits, 10 + level)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return photos(tmp_path / "photos", 40)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "t.jsonl"


def photos(folder: Path, count: int) -> Path:
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        pixels = random.integers(6 * number, 6 * number + 9, (70, 70, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04}.png")
    return folder


def stop_after(rows: int) -> Callable[[int, int], None]:
    def progress(done: int, _: int) -> None:
        if done == rows:
            raise KeyboardInterrupt

    return progress


def interrupted(folder: Path, table: Path, *, after: int = 10, model_id: str = "test") -> None:
    classifier = Classifier(BrightnessEngine(model_id))
    progress = stop_after(after)
    with pytest.raises(KeyboardInterrupt):  # one worker reads files in their order
        scarlens.predict_folder(folder, table, classifier=classifier, batch_size=2, workers=1, progress=progress)


def rows_of(table: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in table.read_text("utf-8").splitlines()]


def classifier() -> Classifier:
    return Classifier(BrightnessEngine())


def test_a_resumed_run_makes_the_table_of_an_uninterrupted_one(folder: Path, table: Path) -> None:
    whole = table.with_name("whole.jsonl")
    scarlens.predict_folder(folder, whole, classifier=classifier())
    interrupted(folder, table)
    assert not table.exists()
    engine = BrightnessEngine()
    with pytest.raises(KeyboardInterrupt):  # interrupted again
        scarlens.predict_folder(
            folder, table, classifier=Classifier(engine), resume=True, batch_size=2, progress=stop_after(25)
        )
    summary = scarlens.predict_folder(folder, table, classifier=Classifier(engine), resume=True)
    assert table.read_bytes() == whole.read_bytes()
    assert engine.seen <= 40 - 10, "what was done is not done again"
    assert (summary.total, summary.errors) == (40, 0)
    assert sorted(path.name for path in table.parent.iterdir()) == ["t.jsonl", "whole.jsonl"]


def test_progress_continues_from_the_saved_rows(folder: Path, table: Path) -> None:
    interrupted(folder, table)
    steps: list[tuple[int, int]] = []
    scarlens.predict_folder(
        folder, table, classifier=classifier(), resume=True, progress=lambda *step: steps.append(step)
    )
    assert steps[0][0] > 10 and steps[-1] == (40, 40)
    assert [done for done, _ in steps] == [*range(steps[0][0], 41)]


def test_an_interrupted_run_is_not_thrown_away_unasked(folder: Path, table: Path) -> None:
    interrupted(folder, table)
    with pytest.raises(JournalError, match=r"t\.jsonl\.partial: an interrupted run .*--resume"):
        scarlens.predict_folder(folder, table, classifier=classifier())
    table.with_name("t.jsonl.partial").unlink()
    assert scarlens.predict_folder(folder, table, classifier=classifier()).total == 40


def test_a_run_that_made_no_row_is_no_hindrance(folder: Path, table: Path) -> None:
    Journal(table, {"folder": "f", "model": "m"}, resume=False).__exit__(None, None, None)
    assert scarlens.predict_folder(folder, table, classifier=classifier()).total == 40


def test_resuming_without_an_interrupted_run_begins_one(folder: Path, table: Path) -> None:
    assert scarlens.predict_folder(folder, table, classifier=classifier(), resume=True).total == 40


def test_another_model_or_folder_may_not_go_on(folder: Path, table: Path, tmp_path: Path) -> None:
    interrupted(folder, table)
    with pytest.raises(JournalError, match="used the model test, this one another"):
        scarlens.predict_folder(folder, table, classifier=Classifier(BrightnessEngine("another")), resume=True)
    with pytest.raises(JournalError, match=r"used the folder .*photos, this one .*others"):
        scarlens.predict_folder(photos(tmp_path / "others", 1), table, classifier=classifier(), resume=True)
    assert scarlens.predict_folder(folder, table, classifier=classifier(), resume=True).total == 40


def test_files_added_and_deleted_between_two_runs(folder: Path, table: Path) -> None:
    (folder / "0000.png").rename(folder / "9999.png")
    interrupted(folder, table, after=30)
    (folder / "0001.png").unlink()
    (folder / "9999.png").rename(folder / "0000.png")
    scarlens.predict_folder(folder, table, classifier=classifier(), resume=True)
    paths = [row["path"] for row in rows_of(table)]
    assert paths == sorted({*paths}) and {f"{number:04}.png" for number in range(40)} <= {*paths}
    assert all(row["status"] != "error" for row in rows_of(table))


def test_a_file_that_vanishes_after_it_was_listed_costs_one_row(folder: Path, table: Path) -> None:
    def vanish(done: int, _: int) -> None:
        if done == 1:
            (folder / "0039.png").unlink()

    summary = scarlens.predict_folder(folder, table, classifier=classifier(), batch_size=1, workers=1, progress=vanish)
    assert (summary.total, summary.errors) == (40, 1)
    assert all(row["status"] != "error" for row in rows_of(table) if row["path"] != "0039.png")


def test_two_runs_may_not_write_one_table(folder: Path, table: Path) -> None:
    with (
        Journal(table, {"folder": "f", "model": "m"}, resume=False),
        pytest.raises(JournalError, match="another run is writing this table"),
    ):
        scarlens.predict_folder(folder, table, classifier=classifier(), resume=True)


def test_what_is_no_journal_is_left_alone(folder: Path, table: Path) -> None:
    other = table.with_name("t.jsonl.partial")
    other.write_text("not a database" * 100)
    with pytest.raises(JournalError, match="not a database"):
        scarlens.predict_folder(folder, table, classifier=classifier(), resume=True)
    assert other.read_text() == "not a database" * 100


CRASHING = """
import ctypes, hashlib, time
import os, pathlib, signal
sha256 = hashlib.sha256
def checked(content=b""):
    if content == b"crash":
        ctypes.string_at(0)
    once = pathlib.Path(__file__).with_name("killed")
    if len(content) > 100 and not once.exists():
        once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if content == b"hang":
        time.sleep(600)
    if content == b"print":
        print("print" * 10_000, flush=True)
    return sha256(content)
hashlib.sha256 = checked
"""


@pytest.fixture
def crashing_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the reading processes crash, hang or print at files with such contents; the first one is killed besides."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(CRASHING)
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.mark.usefixtures("crashing_decoder")
def test_a_decoder_that_crashes_costs_one_row_each_time(folder: Path, table: Path) -> None:
    for number in (3, 4, 20, 39):
        (folder / f"{number:04}.png").write_bytes(b"crash")
    (folder / "0030.png").write_bytes(b"print")
    summary = scarlens.predict_folder(folder, table, classifier=classifier())
    rows = {row["path"]: row for row in rows_of(table)}
    assert (summary.total, summary.errors) == (40, 5)
    for number in (3, 4, 20, 39):
        reason = rows[f"{number:04}.png"]["reason"]
        assert reason == "expected a file that can be decoded, found one that crashes the decoder (Segmentation fault)"
    assert str(rows["0030.png"]["reason"]).startswith("expected a JPEG, PNG")


@pytest.mark.usefixtures("crashing_decoder")
def test_a_decoder_that_hangs_costs_one_row(folder: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST_READ", 3.0)
    (folder / "0007.png").write_bytes(b"hang")
    summary = scarlens.predict_folder(folder, table, classifier=classifier())
    assert (summary.total, summary.errors) == (40, 1)
    assert "within 3 s" in str(rows_of(table)[7]["reason"])


def test_modules_in_the_current_folder_are_not_run(folder: Path, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cv2.py", "json.py", "numpy.py"):
        (folder / name).write_text("raise SystemExit('run')")
    monkeypatch.chdir(folder)
    summary = scarlens.predict_folder(folder, table, classifier=classifier())
    assert (summary.total, summary.ok + summary.abstained) == (43, 40)


def test_a_process_may_print_while_it_starts(
    folder: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text("print('hello')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert scarlens.predict_folder(folder, table, classifier=classifier()).errors == 0


def test_what_could_not_be_read_at_all_is_tried_again(folder: Path, table: Path) -> None:
    (folder / "0000.png").rename(folder.parent / "away.png")
    (folder / "0000.png").symlink_to("nowhere.png")
    interrupted(folder, table)
    (folder / "0000.png").unlink()
    (folder.parent / "away.png").rename(folder / "0000.png")
    summary = scarlens.predict_folder(folder, table, classifier=classifier(), resume=True)
    assert (summary.total, summary.errors) == (40, 0)


def test_processes_that_cannot_start_are_no_fault_of_the_photos(
    folder: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(reading.ReadingError, match="ends with status 1"):
        scarlens.predict_folder(folder, table, classifier=classifier())
    monkeypatch.undo()
    assert scarlens.predict_folder(folder, table, classifier=classifier(), resume=True).errors == 0


def test_a_script_without_a_main_guard_runs_once(folder: Path, table: Path) -> None:
    script = table.with_name("script.py")
    script.write_text(f"import scarlens\nprint(scarlens.predict_folder({str(folder)!r}, {str(table)!r}).total)\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "40\n" and done.stderr == ""


def started(folder: Path, table: Path, *options: str, limit: int | None = None) -> subprocess.Popen[str]:
    import resource

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [*COMMAND, str(folder), "-o", str(table), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=limited)


def written(table: Path) -> int:
    """Return what the journal and its log have had written to them, as far as it shows, in bytes."""
    total = 0
    for file in table.parent.glob(f"{table.name}.partial*"):
        with suppress(FileNotFoundError):  # SQLite deletes files of its own at any time
            total += file.stat().st_size
    return total


def wait_for_rows(process: subprocess.Popen[str], table: Path, *, beyond: int = 0) -> None:
    """Wait until the process has written some rows."""
    while written(table) < beyond + 36_000:
        assert process.poll() is None, "it ended before it was stopped"
        time.sleep(0.01)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = photos(tmp_path / "many", 20)
    for number in range(20, 300):
        os.link(folder / f"{number % 20:04}.png", folder / f"{number:04}.png")
    return folder


def test_a_run_killed_repeatedly_ends_with_the_same_table(many: Path, table: Path) -> None:
    whole = table.with_name("whole.jsonl")
    scarlens.predict_folder(many, whole)
    for _ in range(2):
        before = written(table)
        process = started(many, table, "--resume", "--workers", "1")
        wait_for_rows(process, table, beyond=before)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL and not table.exists()
    process = started(many, table, "--resume")
    process.communicate()
    assert process.returncode == 0
    assert table.read_bytes() == whole.read_bytes()


def test_a_stopped_run_says_how_to_resume(many: Path, table: Path) -> None:
    process = started(many, table)
    wait_for_rows(process, table)
    process.terminate()
    _, messages = process.communicate()
    assert (process.returncode, messages) == (
        130,
        "scarlens: interrupted; run the same command with --resume to go on\n",
    )
    process = started(many, table, "--resume")
    process.communicate()
    assert process.returncode == 0 and len(rows_of(table)) == 300


def test_a_full_disk_keeps_what_was_done(many: Path, table: Path) -> None:
    process = started(many, table, limit=60_000)  # a file may not grow beyond: the disk is full
    _, messages = process.communicate()
    assert process.returncode == 2 and len(messages.splitlines()) == 1
    assert "cannot save rows there" in messages and "--resume" in messages
    process = started(many, table, "--resume")
    process.communicate()
    assert process.returncode == 0 and len(rows_of(table)) == 300
