"""Folders to tables, through the public interface, with an engine that answers from the photo's mean colour."""

import csv
import dataclasses
import hashlib
import io
import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import scarlens
from scarlens.inference.batch.folder import COLUMNS, original_path
from scarlens.inference.classifier import Classifier
from scarlens.inference.engine import Scores
from scarlens.model.calibration import Calibration
from scarlens.model.checkpoint import Card

FORMATS = (".csv", ".jsonl", ".parquet")
RED, GREEN, GREY, BLACK, YELLOW = (255, 0, 0), (0, 255, 0), (128, 128, 128), (0, 0, 0), (255, 255, 0)


class ColourEngine:
    """Red is ice pick, green boxcar, blue rolling, grey ambiguous, black out of scope, and yellow makes it fail."""

    card = Card(
        trunk="squeezenet1_1",
        size=64,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        calibration=Calibration(),
        model_id="test",
    )

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, photos: np.ndarray) -> Scores:
        self.batches.append(len(photos))
        colours = photos.mean(axis=(2, 3))
        if ((colours[:, :2].min(axis=1) > 0.0) & (colours[:, 2] < -0.9)).any():
            raise RuntimeError("yellow; =1+1\nfails")
        return Scores(np.zeros((len(photos), 5, 2, 2), np.float32), 3 * colours, 20 * colours.max(axis=1) + 10)


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(ColourEngine())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def save(path: Path, colour: tuple[int, int, int] = RED, size: tuple[int, int] = (80, 70)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        Image.new("RGB", size, colour).save(file, "PNG")
    return path


def read(table: Path) -> list[dict[str, Any]]:
    """Read a table of any format as rows of the same types."""
    if table.suffix == ".parquet":
        return pq.read_table(table).to_pylist()
    if table.suffix == ".jsonl":
        return [json.loads(line) for line in table.read_text("utf-8").splitlines()]
    with table.open(encoding="utf-8", newline="") as file:
        return [{column: typed(column, cell) for column, cell in row.items()} for row in csv.DictReader(file)]


def typed(column: str, cell: str) -> Any:
    if cell == "":
        return None
    if column in ("width", "height"):
        return int(cell)
    if column.startswith(("p_", "extent_")) or column in ("in_scope", "skin"):
        return float(cell)
    return cell.split("|") if column == "plausible" else cell.removeprefix("'")


def by_path(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in rows}


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def hostile_names(folder: Path) -> list[bytes]:
    """Make a photo of each awkward name that this file system takes."""
    names = [
        *("=1+1.png", "+1.png", "-1.png", "@SUM(1).png", "\t=1.png", "\r=1.png", "'=1.png", "\uff1d1.png"),
        *("new\nline.png", 'quo"te.png', "com,ma.png", "semi;=1+1.png", "bar|.png", "back\\slash.png", "\\n.png"),
        *("\u200fright-to-left.png", "\u202egnp.exe", "\u2028line.png", "esc\x1b[31m.png", "space .png", " =1.png"),
        *("\u3000\u5199\u771f.png", "\U0001f469\u200d\U0001f52c.png", "e\u0301.png", "\u00e9.png", "#.png", "%2e.png"),
        *("x" * 251 + ".png", "\\udcff.png", "no_suffix", "\x7f.png", "\x85.png"),
    ]
    encoded = [*(os.fsencode(name) for name in names), b"\xff\xfe.png", b"\xed\xa0\xbd.png", b"\xc3.png", b"\x85=.png"]
    made = []
    for name in encoded:
        try:
            save(folder / os.fsdecode(name))
        except OSError:  # this file system wants UTF-8, or forbids the character
            continue
        made.append(name)
    return made


def test_three_formats_hold_the_same_rows_in_the_same_columns(folder: Path, classifier: Classifier) -> None:
    save(folder / "red.png")
    save(folder / "grey.png", GREY)
    save(folder / "black.png", BLACK)
    save(folder / "tiny.png", RED, (63, 200))
    (folder / "text.jpg").write_text("no photo")
    hostile_names(folder / "odd")
    tables = [folder.parent / f"table{suffix}" for suffix in FORMATS]
    for table in tables:
        scarlens.predict_folder(folder, table, classifier=classifier)
    rows = [read(table) for table in tables]
    assert rows[0] == rows[1] == rows[2]
    assert len(rows[0]) > 20
    assert (
        *("path", "status", "label", "p_ice_pick", "p_boxcar", "p_rolling", "in_scope", "plausible"),
        *("extent_ice_pick", "extent_boxcar", "extent_rolling", "skin"),
        *("reason", "sha256", "width", "height", "model_id", "version"),
    ) == COLUMNS
    assert all(tuple(row) == COLUMNS for table in rows for row in table)


def test_a_row_says_what_the_classifier_says(folder: Path, classifier: Classifier) -> None:
    file = save(folder / "green.png", GREEN)
    scarlens.predict_folder(str(folder), str(folder.parent / "t.jsonl"), classifier=classifier)
    (row,) = read(folder.parent / "t.jsonl")
    answer = classifier.predict(file)
    assert (row["status"], row["label"], row["reason"]) == ("ok", "boxcar", None)
    assert (row["width"], row["height"], row["model_id"]) == (80, 70, "test")
    assert row["plausible"] == list(answer.plausible)
    assert row["in_scope"] == round(answer.in_scope, 6)
    assert [row[f"p_{name}"] for name in answer.probabilities] == [round(p, 6) for p in answer.probabilities.values()]
    assert row["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_statuses_and_the_summary_that_counts_them(folder: Path, classifier: Classifier) -> None:
    save(folder / "red.png")
    save(folder / "grey.png", GREY)
    save(folder / "black.png", BLACK)
    save(folder / "tiny.png", RED, (63, 200))
    (folder / "empty.jpg").touch()
    table = folder.parent / "t.csv"
    summary = scarlens.predict_folder(folder, table, classifier=classifier)
    assert {row["path"]: (row["status"], row["reason"]) for row in read(table) if row["status"] != "error"} == {
        "red.png": ("ok", None),
        "grey.png": ("abstained", "ambiguous"),
        "black.png": ("abstained", "out_of_scope"),
        "tiny.png": ("abstained", "low_quality"),
    }
    assert isinstance(summary, scarlens.BatchSummary)
    assert dataclasses.replace(summary, seconds=0.0) == scarlens.BatchSummary(
        total=5, ok=1, abstained=3, errors=1, output=table, model_id="test", seconds=0.0
    )
    assert summary.seconds > 0


def test_rows_are_sorted_by_the_bytes_of_the_path_at_any_depth(folder: Path, classifier: Classifier) -> None:
    paths = [
        "a/z.png",
        "a.png",
        "a-b/c.png",
        "a/b/c/d.png",
        "B.png",
        "b.png",
        "\u00e9.png",
        "z.png",
        "a/b.png",
        "a0.png",
    ]
    for path in paths:
        save(folder / path)
    (folder / "nothing" / "here").mkdir(parents=True)
    scarlens.predict_folder(folder, folder.parent / "t.parquet", classifier=classifier)
    assert [row["path"] for row in read(folder.parent / "t.parquet")] == sorted(paths, key=str.encode)


def test_a_file_that_is_no_photo_costs_one_row(folder: Path, classifier: Classifier) -> None:
    photo = save(folder / "good.png").read_bytes()
    (folder / "text.jpg").write_text("no photo")
    (folder / "notes.txt").write_text("no photo either")
    (folder / "empty.jpg").touch()
    (folder / "cut.png").write_bytes(photo[: len(photo) // 2])
    save(folder / "directory.jpg" / "inside.png")
    (folder / "broken_link.png").symlink_to("nowhere.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "good_link.png").symlink_to("good.png")
    (folder / "folder_link").symlink_to("directory.jpg", target_is_directory=True)
    outside = save(folder.parent / "outside.png")
    (folder / "outside_link.png").symlink_to(outside)
    good = {"good.png", "good_link.png", "directory.jpg/inside.png"}
    bad = {
        "text.jpg",
        "notes.txt",
        "empty.jpg",
        "cut.png",
        "broken_link.png",
        "loop.png",
        "folder_link",
        "outside_link.png",
    }
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "fifo.png")
        bad.add("fifo.png")
    if hasattr(socket, "AF_UNIX"):
        with socket.socket(socket.AF_UNIX) as server, pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)  # the name of a socket must be short
            server.bind("socket.png")
        bad.add("socket.png")
    summary = scarlens.predict_folder(folder, folder.parent / "t.jsonl", classifier=classifier)
    rows = by_path(read(folder.parent / "t.jsonl"))
    assert {path for path, row in rows.items() if row["status"] == "ok"} == good
    assert {path for path, row in rows.items() if row["status"] == "error"} == bad
    assert (summary.total, summary.errors) == (len(good | bad), len(bad))
    for path in bad:
        assert rows[path]["reason"].startswith("expected "), path
        assert "\n" not in rows[path]["reason"] and path not in rows[path]["reason"]
        assert rows[path]["model_id"] == "test"
        assert all(rows[path][column] is None for column in ("label", "p_boxcar", "in_scope", "plausible", "width"))
    assert rows["text.jpg"]["sha256"] and rows["cut.png"]["sha256"] and rows["empty.jpg"]["sha256"]
    assert rows["broken_link.png"]["sha256"] is rows["outside_link.png"]["sha256"] is None


def test_a_folder_too_deep_to_list_costs_one_row(folder: Path, classifier: Classifier) -> None:
    save(folder / "z.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for _ in range(20):
            Path("d" * 250).mkdir()
            os.chdir("d" * 250)
        save(Path("deep.png"))
    summary = scarlens.predict_folder(folder, folder.parent / "t.jsonl", classifier=classifier)
    deep, last = read(folder.parent / "t.jsonl")
    assert (deep["status"], last["status"], summary.total) == ("error", "ok", 2)
    assert deep["reason"].startswith("expected a folder that can be listed, found ")


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_name_comes_through_and_can_be_turned_back(folder: Path, classifier: Classifier, suffix: str) -> None:
    names = hostile_names(folder)
    table = folder.parent / f"t{suffix}"
    summary = scarlens.predict_folder(folder, table, classifier=classifier)
    assert summary.ok == summary.total == len(names)
    rows = read(table)
    assert [os.fsencode(original_path(row["path"])) for row in rows] == sorted(names)
    assert len(table.read_bytes().splitlines()) == len(rows) + (suffix == ".csv") or suffix == ".parquet"
    for character in "\n\r\t\x1b\x85\u200f\u202e\u2028":
        assert not any(character in row["path"] for row in rows)
    assert "\u3000\u5199\u771f.png" in by_path(rows), "a harmless name stands as it is"


@pytest.mark.parametrize("separator", [",", ";"])
def test_no_cell_of_a_csv_is_a_formula(folder: Path, classifier: Classifier, separator: str) -> None:
    hostile_names(folder)
    (folder / "content.jpg").write_bytes(b";=1+1;@x\n=1")
    save(folder / "yellow.png", YELLOW)
    table = folder.parent / "t.csv"
    scarlens.predict_folder(folder, table, classifier=classifier)
    text = table.read_text("utf-8")
    cells = [cell for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) for cell in row]
    assert len(cells) > 10
    assert not [cell for cell in cells if re.match(r"[\t\r\n]|\s*[-=+@\uff1d]", cell)]
    assert "'=1+1.png" in text and "''=1.png" in text


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_within_the_folder_is_no_row_and_a_second_run_makes_the_same(
    folder: Path, classifier: Classifier, suffix: str
) -> None:
    save(folder / "a.png")
    save(folder / "sub" / "z.png", GREEN)
    save(folder / ".hidden.png")
    save(folder / ".hidden" / "b.png")
    table = folder / "sub" / f"t{suffix}"
    scarlens.predict_folder(folder, table, classifier=classifier)
    first = table.read_bytes()
    assert [row["path"] for row in read(table)] == ["a.png", "sub/z.png"]
    link = folder.parent / "link"
    link.symlink_to(folder, target_is_directory=True)
    scarlens.predict_folder(link, folder / "sub" / ".." / "sub" / f"t{suffix}", classifier=classifier)
    assert table.read_bytes() == first
    assert listing(folder / "sub") == [f"t{suffix}", "z.png"]


def test_a_photo_that_breaks_the_engine_costs_one_row(folder: Path) -> None:
    for number in range(5):
        save(folder / f"{number}.png", YELLOW if number == 2 else RED)
    summary = scarlens.predict_folder(folder, folder.parent / "t.jsonl", classifier=Classifier(ColourEngine()))
    rows = read(folder.parent / "t.jsonl")
    assert [row["status"] for row in rows] == ["ok", "ok", "error", "ok", "ok"]
    assert rows[2]["reason"] == "RuntimeError: yellow, =1+1\\nfails"
    assert (rows[2]["width"], rows[2]["height"], rows[2]["label"]) == (80, 70, None) and rows[2]["sha256"]
    assert summary.errors == 1


def test_never_more_photos_than_asked_for_go_through_the_network_together(folder: Path) -> None:
    for number in range(7):
        save(folder / f"{number}.png")
    (folder / "5.txt").touch()
    engine = ColourEngine()
    scarlens.predict_folder(folder, folder.parent / "t.jsonl", classifier=Classifier(engine), batch_size=3)
    assert max(engine.batches) <= 3 and sum(engine.batches) == 7


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_interrupted_run_leaves_the_earlier_table(folder: Path, classifier: Classifier, suffix: str) -> None:
    for number in range(5):
        save(folder / f"{number}.png")
    table = folder.parent / "out" / f"t{suffix}"
    table.parent.mkdir()
    scarlens.predict_folder(folder, table, classifier=classifier)
    before = table.read_bytes()
    save(folder / "another.png")

    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scarlens.predict_folder(folder, table, classifier=classifier, batch_size=2, progress=interrupt)
    assert table.read_bytes() == before
    assert listing(table.parent) == [table.name, f"{table.name}.partial"]


def test_progress_counts_to_the_number_of_files(folder: Path, classifier: Classifier) -> None:
    for number in range(4):
        save(folder / str(number) / "photo.png")
    (folder / "text").touch()
    seen: list[tuple[int, int]] = []
    scarlens.predict_folder(
        folder, folder / "t.csv", classifier=classifier, batch_size=2, progress=lambda *step: seen.append(step)
    )
    assert seen == [(done, 5) for done in range(1, 6)]


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_folder_makes_an_empty_table(folder: Path, classifier: Classifier, suffix: str) -> None:
    table = folder / f"t{suffix}"
    assert scarlens.predict_folder(folder, table, classifier=classifier).total == 0
    assert read(table) == []
    if suffix == ".csv":
        assert table.read_text() == ",".join(f'"{column}"' for column in COLUMNS) + "\n"
    if suffix == ".parquet":
        assert tuple(pq.read_schema(table).names) == COLUMNS


def test_parquet_has_types(folder: Path, classifier: Classifier) -> None:
    scarlens.predict_folder(folder, folder / "T.PARQUET", classifier=classifier)
    types = {field.name: str(field.type) for field in pq.read_schema(folder / "T.PARQUET")}
    assert types["p_boxcar"] == types["in_scope"] == "double"
    assert types["width"] == types["height"] == "int32"
    assert types["plausible"].startswith("list<") and types["path"] == types["reason"] == "string"


@pytest.mark.parametrize("name", ["t.xlsx", "t", ".csv", "t.csv.gz"])
def test_an_unknown_kind_of_table_is_refused_before_any_work(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"\.csv, \.jsonl, \.parquet"):
        scarlens.predict_folder(folder, folder / name)
    assert listing(folder) == []


def test_impossible_requests_are_refused(folder: Path, classifier: Classifier) -> None:
    photo = save(folder / "photo.png")
    (folder / "folder.csv").mkdir()
    with pytest.raises(NotADirectoryError, match=r"missing: expected a folder of photos, found nothing"):
        scarlens.predict_folder(folder / "missing", folder / "t.csv", classifier=classifier)
    with pytest.raises(NotADirectoryError, match=r"photo\.png: expected a folder of photos, found a file"):
        scarlens.predict_folder(photo, folder / "t.csv", classifier=classifier)
    with pytest.raises(NotADirectoryError, match="expected a folder to write into"):
        scarlens.predict_folder(folder, folder / "missing" / "t.csv", classifier=classifier)
    with pytest.raises(IsADirectoryError, match="expected a file to write"):
        scarlens.predict_folder(folder, folder / "folder.csv", classifier=classifier)
    with pytest.raises(ValueError, match="batch_size"):
        scarlens.predict_folder(folder, folder / "t.csv", classifier=classifier, batch_size=0)
    assert listing(folder) == ["folder.csv", "photo.png"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_is_no_earlier_table_is_never_replaced(
    folder: Path, classifier: Classifier, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"notes{suffix}"
    others = [b"name,age\nAnn,41\n", b'{"path": "a"}\n', b"\xff" * 5000, b"PAR1 and so on PAR1", b"[" * 100_000]
    for content in others:
        target.write_bytes(content)
        with pytest.raises(
            FileExistsError, match=r"notes\.\w+: expected no file or an earlier table.* choose another name"
        ):
            scarlens.predict_folder(folder, target, classifier=classifier)
        assert target.read_bytes() == content
    assert listing(tmp_path) == [target.name, "photos"]
    pq.write_table(pa.table({"age": [41]}), tmp_path / "notes.parquet")
    with pytest.raises(FileExistsError):
        scarlens.predict_folder(folder, tmp_path / "notes.parquet", classifier=classifier)


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_earlier_table_or_an_empty_file_is_replaced(folder: Path, classifier: Classifier, suffix: str) -> None:
    table = folder.parent / f"t{suffix}"
    table.touch()
    for number in range(3):  # replaces an empty file, a table without rows, and one with rows
        scarlens.predict_folder(folder, table, classifier=classifier)
        assert len(read(table)) == number
        save(folder / f"{number}.png")


def test_an_empty_name_is_not_the_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(NotADirectoryError, match="expected a folder of photos, found an empty name"):
        scarlens.predict_folder("", "t.csv")
    assert listing(folder) == []


def test_a_table_may_have_the_longest_name(folder: Path, classifier: Classifier) -> None:
    save(folder / "photo.png")
    table = folder / ("t" * 251 + ".csv")
    scarlens.predict_folder(folder, table, classifier=classifier)
    assert len(read(table)) == 1
