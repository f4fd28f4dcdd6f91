"""Training: what a run leaves behind, resuming after a kill, divergence, and several processes."""

import csv
import json
import math
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.photos import LabelledPhoto, PhotoSetError
from scarlens.datasets.splits import SplitError
from scarlens.model.checkpoint import load_checkpoint
from scarlens.model.network import DeviceError, usable_device
from scarlens.training.config import ConfigError, TrainConfig
from scarlens.training.crossvalidate import crossvalidate
from scarlens.training.measure.calibrate import read_held_out
from scarlens.training.measure.scores import ScoresError
from scarlens.training.run import TrainingError
from scarlens.training.train import fit, train, with_validation

ROOT = Path(__file__).parents[1]


def weights(checkpoint: Path) -> dict[str, np.ndarray]:
    return load_checkpoint(checkpoint)[0]


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name], err_msg=name)


def test_run_folder_holds_what_a_researcher_needs(tiny_run: Path, tiny_config: TrainConfig) -> None:
    files = {path.name for path in tiny_run.iterdir()}
    wanted = {"model.safetensors", "model.onnx", "config.yaml", "photos.csv", "log.csv", "learning_curve.png"}
    assert wanted | {"tensorboard", "validation", "state.pt"} == files
    assert any((tiny_run / "tensorboard").iterdir())
    assert TrainConfig.from_yaml(tiny_run / "config.yaml") == tiny_config
    with (tiny_run / "log.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row["validation_loss"]) > 0 for row in rows)
    for picture in (tiny_run / "learning_curve.png", tiny_run / "validation" / "confusion.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 300


def test_validation_part_shares_no_subject_with_training_part(tiny_run: Path) -> None:
    with (tiny_run / "photos.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    subjects = {part: {row["subject"] for row in rows if row["part"] == part} for part in ("training", "validation")}
    assert subjects["training"] and subjects["validation"]
    assert not subjects["training"] & subjects["validation"]


def test_checkpoint_is_calibrated_on_the_validation_part(tiny_run: Path) -> None:
    card = load_checkpoint(tiny_run / "model.safetensors")[1]
    assert card.calibration.fitted_on.startswith("the validation part")
    assert card.training["photos"] == {"boxcar": 6, "ice_pick": 6, "out_of_scope": 6, "rolling": 6}
    figures = json.loads((tiny_run / "validation" / "metrics.json").read_text())
    assert np.array(figures["confusion"]).sum() == sum(figures["photos_by_class"][name] for name in SCAR_TYPES)


def test_same_seed_gives_the_same_weights_and_another_seed_others(
    rendered_photos: list[LabelledPhoto], tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = replace(tiny_config, epochs=1)
    one = fit(rendered_photos, [], config, tmp_path / "one")
    two = fit(rendered_photos, [], replace(config, workers=2), tmp_path / "two")
    other = fit(rendered_photos, [], replace(config, seed=1), tmp_path / "other")
    assert_same_weights(one, two)
    assert any((tensor != weights(other)[name]).any() for name, tensor in weights(one).items())


def test_training_learns(rendered_photos: list[LabelledPhoto], tiny_config: TrainConfig, tmp_path: Path) -> None:
    config = replace(tiny_config, epochs=8, label_smoothing=0.0, dropout=0.0, learning_rate=1e-3)
    fit(rendered_photos, [], config, tmp_path / "run")
    with (tmp_path / "run" / "log.csv").open() as stream:
        losses = [float(row["loss"]) for row in csv.DictReader(stream)]
    assert losses[-1] < 0.7 * losses[0]


def test_killed_run_resumes_to_the_same_weights(
    rendered_folder: Path, rendered_photos: list[LabelledPhoto], tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = replace(tiny_config, epochs=4, validation_fraction=0.0)
    undisturbed = fit(rendered_photos, [], config, tmp_path / "undisturbed")
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    out = tmp_path / "killed"
    data = ["--data", str(rendered_folder / "manifest.csv"), "--out-of-scope", "out_of_scope"]
    command = [sys.executable, str(ROOT / "training" / "train.py"), *data, "--out", str(out)]
    command += ["--config", str(tmp_path / "config.yaml")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while not (out / "state.pt").exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.01)
    time.sleep(0.2)  # into a later epoch's steps
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    finished = len((out / "log.csv").read_text().splitlines()) - 1
    assert 1 <= finished < config.epochs
    assert_same_weights(undisturbed, fit(rendered_photos, [], config, out, resume=True))


def test_existing_run_is_not_overwritten_without_being_asked(
    rendered_photos: list[LabelledPhoto], tiny_config: TrainConfig, tiny_run: Path
) -> None:
    before = (tiny_run / "model.safetensors").read_bytes()
    with pytest.raises(TrainingError, match="--resume"):
        fit(rendered_photos, [], tiny_config, tiny_run)
    with pytest.raises(TrainingError, match="other settings"):
        fit(rendered_photos, [], replace(tiny_config, epochs=3), tiny_run, resume=True)
    with pytest.raises(TrainingError, match="other photos, subjects or folds"):
        fit(rendered_photos[1:], [], tiny_config, tiny_run, resume=True)
    assert (tiny_run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("healthy", "message"),
    [(0.5, r"loss became nan in epoch 2, step 2: lower"), (0.9, "is no longer finite after epoch 2: lower")],
)
def test_divergence_stops_training_and_keeps_the_checkpoint(
    rendered_photos: list[LabelledPhoto],
    tiny_config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    healthy: float,
    message: str,
) -> None:
    """The rate becomes infinite in the first step of the second epoch, or only in the very last step."""
    from scarlens.training import train as train_module

    def sabotaged(optimizer: torch.optim.Optimizer, progress: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = math.inf if progress > healthy else 1e-4

    monkeypatch.setattr(train_module, "set_learning_rates", sabotaged)
    with pytest.raises(TrainingError, match=message):
        fit(rendered_photos, [], tiny_config, tmp_path / "run")
    assert all(np.isfinite(tensor).all() for tensor in weights(tmp_path / "run" / "model.safetensors").values())


def test_early_stopping_keeps_the_best_epoch(
    rendered_photos: list[LabelledPhoto], tiny_config: TrainConfig, tmp_path: Path
) -> None:
    # So high a rate makes the validation loss rise after the first epochs.
    config = replace(tiny_config, epochs=30, patience=2, learning_rate=0.05, average_decay=0.0)
    fit(rendered_photos[::2], rendered_photos[1::2], config, tmp_path / "run")
    with (tmp_path / "run" / "log.csv").open() as stream:
        losses = [float(row["validation_loss"]) for row in csv.DictReader(stream)]
    best = 1 + int(np.argmin(losses))
    assert len(losses) == best + config.patience < config.epochs
    assert load_checkpoint(tmp_path / "run" / "model.safetensors")[1].training["best_epoch"] == best


GRADIENTS = """
import os, sys, numpy as np, torch
from pathlib import Path
from torch.nn.parallel import DistributedDataParallel
from scarlens.datasets.photos import load_photos
from scarlens.training.config import TrainConfig
from scarlens.training.batches.lessons import lessons_of
from scarlens.training.batches.loader import BalancedBatches, training_batches
from scarlens.training.batches.views import FrozenViews
from scarlens.training.run import Run, Team
from scarlens.training.train import loss_of, set_training_mode

def main():
    photos = load_photos(Path(sys.argv[1]), out_of_scope=["out_of_scope"])
    config = TrainConfig.from_yaml(Path(sys.argv[2]))
    team = Team.joined("cpu")
    run = Run(config, "", team.device)
    with torch.no_grad():
        for parameter in run.network.head_parameters():  # a head of zeros would pass no gradient on to the trunk
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    learner = DistributedDataParallel(run.network) if team.processes > 1 else run.network
    set_training_mode(learner, config)
    batches = BalancedBatches(photos, config, rank=team.rank, processes=team.processes)
    lessons = lessons_of(photos, {})
    views = FrozenViews(photos, lessons, run.network, config, Path(f"{sys.argv[3]}_views_{team.rank}"), frozen=0)
    views.prepare(range(len(photos)))
    set_training_mode(learner, config)
    batch = next(iter(training_batches(views, lessons, batches)))
    loss_of(learner(batch.maps), batch, label_smoothing=config.label_smoothing).backward()
    gradients = {name: p.grad.numpy() for name, p in run.network.named_parameters() if p.requires_grad}
    np.savez(f"{sys.argv[3]}_{team.rank}.npz", **gradients)

main()
if len(sys.argv) > 4:  # go on as `scarlens train`: starting two processes takes longer than what they do
    from scarlens.cli import main as command

    sys.argv[1:] = sys.argv[4:]
    command("train")
"""


def test_two_processes_average_to_the_gradients_of_one_and_train_one_checkpoint(
    rendered_folder: Path, tiny_config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gradients.py").write_text(GRADIENTS)
    config = tmp_path / "config.yaml"
    config.write_text(replace(tiny_config, dropout=0.0, epochs=1).to_yaml())
    manifest, script = str(rendered_folder / "manifest.csv"), str(tmp_path / "gradients.py")
    monkeypatch.setattr(sys, "argv", [script, manifest, str(config), str(tmp_path / "one")])
    runpy.run_path(script)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    train = ["--data", manifest, "--out-of-scope", "out_of_scope", "--config", config, "--out", tmp_path / "run"]
    command = [*torchrun, script, manifest, str(config), str(tmp_path / "two"), *map(str, train)]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "model.onnx").is_file()
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 2
    one = np.load(tmp_path / "one_0.npz")
    for rank in (0, 1):
        two = np.load(tmp_path / f"two_{rank}.npz")
        for name in one.files:
            scale = np.abs(one[name]).max()
            assert scale > 0, name
            np.testing.assert_allclose(two[name], one[name], atol=1e-5 * scale, rtol=1e-4, err_msg=name)


def test_config_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    for text, message in (
        ("epoch: 3", "unknown settings: epoch; known are trunk"),
        ("epochs: many", "epochs must be int, got 'many'"),
        ("epochs: 0", "epochs must be above 0"),
        ("mean: [0.5, 0.5]", "mean must be"),
        ("precision: float16", "precision must be"),
        ("- epochs", "expected one `name: value` a line"),
        ("epochs: [", "expected a readable YAML file"),
    ):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(ConfigError, match=re.escape(message)):
            TrainConfig.from_yaml(tmp_path / "config.yaml")


def test_config_survives_the_round_trip(tmp_path: Path) -> None:
    config = TrainConfig().with_settings(epochs=3, learning_rate=1, weights=None, mean=[0.5, 0.5, 0.5])
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert TrainConfig.from_yaml(tmp_path / "config.yaml") == config
    assert config.learning_rate == 1.0 and config.mean == (0.5, 0.5, 0.5)


def test_settings_in_scientific_notation_are_numbers() -> None:
    assert TrainConfig().with_settings(learning_rate="1e-3").learning_rate == 1e-3


def test_extra_photos_are_learned_from_and_never_measured_with(
    rendered_photos: list[LabelledPhoto], tiny_config: TrainConfig
) -> None:
    extra = [replace(photo, subject=f"extra {photo.subject}", extra=True) for photo in rendered_photos]
    training, validation = with_validation([*rendered_photos, *extra], tiny_config)
    assert set(extra) <= set(training)
    assert validation and not any(photo.extra for photo in validation)


def test_extra_photo_of_a_measured_subject_is_refused(
    rendered_photos: list[LabelledPhoto], tiny_config: TrainConfig
) -> None:
    leak = replace(rendered_photos[0], extra=True)
    with pytest.raises(PhotoSetError, match="1 of the --extra photos show a subject of --data"):
        with_validation([*rendered_photos, leak], tiny_config)


def test_calibration_from_other_settings_is_refused(tiny_run: Path, tiny_config: TrainConfig, tmp_path: Path) -> None:
    for name in ("config.yaml", "validation/predictions.csv"):
        (tmp_path / Path(name).name).write_bytes((tiny_run / name).read_bytes())
    scores = tmp_path / "predictions.csv"
    assert read_held_out(scores, replace(tiny_config, seed=5)).scored.photos
    with pytest.raises(ScoresError, match="other settings"):
        read_held_out(scores, replace(tiny_config, epochs=5))
    with pytest.raises(ScoresError, match=r"expected the predictions\.csv"):
        read_held_out(tmp_path / "config.yaml", tiny_config)


def test_device_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceError, match='device "nonsense" cannot be used here'):
        usable_device("nonsense")


# The gate


def with_copies(photos: list[LabelledPhoto]) -> list[LabelledPhoto]:
    """Say of every photo that it shows the same picture as the next one of its kind, which has another subject."""
    kinds = sorted({photo.class_name for photo in photos})
    of_kind = {kind: [photo for photo in photos if photo.class_name == kind] for kind in kinds}
    number = {photo.path: (k, i // 2) for k, kind in enumerate(kinds) for i, photo in enumerate(of_kind[kind])}
    groups = {pair: group for group, pair in enumerate(sorted(set(number.values())))}
    return [replace(photo, duplicate_group=groups[number[photo.path]]) for photo in photos]


def test_training_refuses_a_split_that_separates_near_duplicates_unless_allowed(
    rendered_photos: list[LabelledPhoto], tiny_config: TrainConfig, tmp_path: Path
) -> None:
    photos = with_copies(rendered_photos)
    with pytest.raises(SplitError, match="near-duplicates"):
        train(photos, tiny_config, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    settings = tiny_config.with_settings(epochs=1)
    assert train(photos, settings, tmp_path / "allowed", allow_parted=True).is_file()


def test_cross_validation_refuses_folds_that_separate_near_duplicates_unless_allowed(
    rendered_photos: list[LabelledPhoto], tiny_config: TrainConfig, tmp_path: Path
) -> None:
    settings = tiny_config.with_settings(epochs=1, validation_fraction=0.0)
    with pytest.raises(SplitError, match="near-duplicates"):
        crossvalidate(with_copies(rendered_photos), settings, tmp_path / "refused", folds=2)
    assert not list((tmp_path / "refused").glob("repeat*"))
