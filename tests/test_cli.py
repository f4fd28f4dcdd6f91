"""The command line: what it prints, its exit statuses, and what it says when something is wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from scarlens.cli import app
from scarlens.datasets.errors import ScarlensError
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.inference.prediction import NOTICE
from scarlens.model.checkpoint import load_checkpoint

EXAMPLES = Path(__file__).parents[1] / "datasets" / "rendering" / "examples"


def scarlens(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scarlens", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


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
        (["predict", "x.jpg", "--checkpoint", "none.onnx"], "none.onnx: expected a checkpoint file"),
        (["batch", "nowhere", "-o", "out.csv"], "nowhere"),
        (["batch", ".", "-o", "out.xlsx"], "out.xlsx"),
        (["train", "--data", "nowhere", "--out", "run"], "expected a folder with one sub-folder per class"),
        (["train", "--data", ".", "--out", "run", "--set", "epoch=3"], "unknown settings: epoch"),
        (["treatments", "keloid"], "unknown scar type 'keloid'"),
    ],
)
def test_user_errors_take_one_line_and_status_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = scarlens(*arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


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
    small = ["trunk=squeezenet1_1", "weights=null", "size=64", "epochs=1", "workers=0", "validation_fraction=0"]
    settings = [part for setting in small for part in ("--set", setting)]
    out = tmp_path / "run"
    result = scarlens("train", "--data", data, "--out-of-scope", "out_of_scope", "--out", out, *settings)
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    bad = next(i for i, line in enumerate(lines) if "left out" in line and "broken.jpg" in line)
    assert bad < next(i for i, line in enumerate(lines) if line.startswith("epoch 1"))
    assert (out / "model.safetensors").is_file()


def test_crossvalidate_and_evaluate_report_grouped_figures(
    rendered_folder: Path, tiny_run: Path, tmp_path: Path
) -> None:
    data = ["--data", rendered_folder / "manifest.csv", "--out-of-scope", "out_of_scope"]
    small = ["trunk=squeezenet1_1", "weights=null", "size=64", "epochs=1", "workers=0", "validation_fraction=0"]
    settings = [part for setting in small for part in ("--set", setting)]
    result = scarlens("crossvalidate", *data, "--out", tmp_path / "cv", *settings, "--folds", 3, "--json")
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
    settings = ["epochs=1", "size=64", "workers=0", "validation_fraction=0.34"]
    arguments = ["train", "--out", tmp_path / "run", *(part for text in settings for part in ("--set", text))]
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
    assert isinstance(result.exception, ScarlensError) and "begin anew" in str(result.exception)
