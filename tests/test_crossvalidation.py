"""Cross-validation: the report it writes, and what a second start scores again."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from scarlens.cli import app
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.photos import LabelledPhoto
from scarlens.model.checkpoint import load_checkpoint
from scarlens.training import crossvalidate as module
from scarlens.training.config import TrainConfig
from scarlens.training.crossvalidate import crossvalidate, other_folds_calibrations
from scarlens.training.measure.calibrate import CHANGES_FILE, HeldOut, calibrated, read_held_out
from scarlens.training.measure.scores import ScoredPhotos, changes_csv, read_changes
from scarlens.training.measure.stress import ALL_CHANGES, score_changes


def run(command: str, data: Path, *arguments: object) -> str:
    """Run a command on labelled photos in this process, and return what it printed."""
    words = [command, "--data", data / "manifest.csv", "--out-of-scope", "out_of_scope", *arguments]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def config(tiny_config: TrainConfig) -> TrainConfig:
    return replace(tiny_config, epochs=1)


@pytest.fixture(scope="module")
def finished(rendered_folder: Path, config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished cross-validation, with what it printed."""
    out = tmp_path_factory.mktemp("cv")
    (out / "settings.yaml").write_text(config.to_yaml())
    settings = ("--config", out / "settings.yaml", "--folds", 2, "--repeats", 2)
    (out / "printed.txt").write_text(run("crossvalidate", rendered_folder, "--out", out, *settings, "--json"))
    return out


def test_the_command_prints_grouped_figures_and_train_calibrates_on_its_scores(
    finished: Path, rendered_folder: Path, tmp_path: Path
) -> None:
    figures = json.loads((finished / "printed.txt").read_text().splitlines()[-1])
    assert figures == json.loads((finished / "metrics.json").read_text())
    accuracy = figures["types"]["accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert set(figures["scope_auroc"]) == {"out_of_scope"}
    out, scores = tmp_path / "run", finished / "predictions.csv"
    run("train", rendered_folder, "--out", out, "--config", finished / "settings.yaml", "--calibrate-on", scores)
    assert load_checkpoint(out / "model.safetensors")[1].calibration.fitted_on == "cross-validation: 48 scores"


def test_report_holds_what_the_folds_measured(finished: Path, rendered_photos: list[LabelledPhoto]) -> None:
    figures = json.loads((finished / "metrics.json").read_text())
    assert (figures["folds"], figures["repeats"], figures["photos"]) == (2, 2, len(rendered_photos))
    assert sum(map(sum, figures["confusion"])) == 2 * 18  # each photo of a type once a repeat
    assert figures["stressed_photos"] == 18
    assert {"invariance", "corruptions", "scope_equalised", "skin_tone"} <= set(figures)
    page = (finished / "report.html").read_text()
    assert "2 folds, shuffled 2 times" in " ".join(page.split())
    listed = [entry for name in ("worst", "missed", "falsely_refused") for entry in figures[name]]
    assert page.count("scars outlined by type") == len(listed)


def test_each_fold_keeps_the_scores_of_its_changed_photos(finished: Path) -> None:
    scored = ScoredPhotos.read(finished / "predictions.csv")
    files = sorted(finished.glob(f"repeat_*_fold_*/{CHANGES_FILE}"))
    assert len(files) == 4
    changed = [read_changes(file) for file in files]
    assert all(tuple(part) == ALL_CHANGES for part in changed)
    equalised = [photo.path for part in changed for photo in part["equalised"].photos]
    assert equalised == [photo.path for photo in scored.photos]
    tried = [photo.path for part in changed for photo in part["caption"].photos]
    assert tried == [photo.path for photo in scored.photos if photo.label in SCAR_TYPES]


def test_second_start_scores_changed_photos_only_where_something_changed(
    finished: Path, rendered_photos: list[LabelledPhoto], config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((finished / "metrics.json").read_text())
    stale = finished / "repeat_0_fold_1" / CHANGES_FILE
    changed = read_changes(stale)
    original = changed["original"]
    moved = ScoredPhotos.of_numbers(original.photos, original.numbers + 0.1)
    stale.write_bytes(changes_csv({**changed, "original": moved}))
    calls: list[int] = []

    def counted(*arguments, **keywords):
        calls.append(1)
        return score_changes(*arguments, **keywords)

    monkeypatch.setattr(module, "score_changes", counted)
    after = crossvalidate(rendered_photos, config, finished, folds=2, repeats=2, resume=True)
    assert calls == [1]
    assert after["invariance"] == before["invariance"]
    assert after["corruptions"] == before["corruptions"]
    assert after["types"] == before["types"]


def test_a_fold_is_decided_by_the_scores_of_the_others(finished: Path) -> None:
    everything = ScoredPhotos.read(finished / "predictions.csv")
    count = len(everything.photos) // 4
    folds = [HeldOut(everything.taken(range(start, start + count))) for start in (0, count)]
    first, second = other_folds_calibrations(folds)
    spoiled = HeldOut(ScoredPhotos.of_numbers(folds[0].scored.photos, 3 * folds[0].scored.numbers))
    again = other_folds_calibrations([spoiled, folds[1]])
    assert again[0] == first and again[1] != second


def test_held_out_changes_give_the_quality_its_limits(finished: Path, config: TrainConfig) -> None:
    held_out = read_held_out(finished / "predictions.csv", config)
    assert set(held_out.changed) > {"original", "blur_5", "darkness_1"}
    plain = calibrated(HeldOut(held_out.scored, retakes=held_out.retakes), fitted_on="a test")
    limited = calibrated(held_out, fitted_on="a test")
    assert plain.min_brightness == plain.min_sharpness == 0.0
    assert replace(limited, min_brightness=0.0, min_sharpness=0.0) == plain
    right = {
        name: replace_logits(scored, right=not name.startswith("blur")) for name, scored in held_out.changed.items()
    }
    sharp = calibrated(HeldOut(held_out.scored, right), fitted_on="a test")
    assert sharp.min_sharpness > 0.0
    assert sharp.min_brightness == 0.0  # darkness never misled these answers


def replace_logits(scored: ScoredPhotos, *, right: bool) -> ScoredPhotos:
    logits = np.eye(3)[(scored.type_indices + (not right)) % 3]
    return replace(scored, type_logits=logits)
