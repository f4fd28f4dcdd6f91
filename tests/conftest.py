"""What several test files need: small rendered photos and a small trained checkpoint, made once."""

# ruff: noqa: E402 - some of these are read when a module is imported, so that they must go before
import os

for name in (
    *("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"),
    *("COLUMNS", "LINES", "TERMINAL_WIDTH"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE"),
):
    os.environ.pop(name, None)  # colours, widths and silence are asked for by the tests themselves

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run in two processes; torch's threads would only compete

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from scarlens.datasets.offline import stay_offline
from scarlens.datasets.photos import LabelledPhoto, load_photos, readable_photos
from scarlens.datasets.rendering import write_photos
from scarlens.training.config import TrainConfig
from scarlens.training.train import train

stay_offline()  # some tests import onnxruntime themselves

TINY = TrainConfig(
    trunk="squeezenet1_1",
    weights=None,
    size=64,
    epochs=2,
    views=2,
    per_type=6,
    batch_size=8,
    workers=0,
    validation_fraction=0.34,
)
"""Settings of a training that takes seconds and learns nothing worth knowing."""


@pytest.fixture
def ask() -> Callable[[int, bytes], dict[str, Any]]:
    """Upload a photo to the page on a port of this machine and return its answer."""

    def ask(port: int, content: bytes) -> dict[str, Any]:
        boundary = uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="photo"; filename="cheek.jpg"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, headers)
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    return ask


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
