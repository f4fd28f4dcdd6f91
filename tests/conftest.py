"""What several test files need: small rendered photos and a small trained checkpoint, made once."""

# ruff: noqa: E402 - some of these are read when a module is imported, so that they must go before
import os

for name in (
    *("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    *("COLUMNS", "LINES", "TERMINAL_WIDTH"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE"),
):
    os.environ.pop(name, None)  # colours, widths and silence are asked for by the tests themselves

from pathlib import Path

import pytest

from scarlens.datasets.photos import LabelledPhoto, load_photos, readable_photos
from scarlens.datasets.rendering import write_photos
from scarlens.training.config import TrainConfig
from scarlens.training.train import train

TINY = TrainConfig(
    trunk="squeezenet1_1",
    weights=None,
    size=64,
    epochs=2,
    batch_size=8,
    workers=0,
    frozen_stages=0,
    validation_fraction=0.34,
)
"""Settings of a training that takes seconds and learns nothing worth knowing."""


@pytest.fixture(scope="session")
def tiny_config() -> TrainConfig:
    return TINY


@pytest.fixture(scope="session")
def rendered_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rendered photos of each type and of clear skin, in one folder a class."""
    folder = tmp_path_factory.mktemp("rendered")
    write_photos(folder, count=24, seed=1, size=96)
    return folder


@pytest.fixture(scope="session")
def rendered_photos(rendered_folder: Path) -> list[LabelledPhoto]:
    photos, errors = readable_photos(load_photos(rendered_folder / "manifest.csv", out_of_scope=["out_of_scope"]))
    assert not errors
    return photos


@pytest.fixture(scope="session")
def tiny_run(rendered_photos: list[LabelledPhoto], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training run."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    train(rendered_photos, TINY, out)
    return out
