"""Arrays go in, scores come out. ONNX Runtime is the default, torch the reference.

No other module knows which of the two is used.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from ..datasets.labels import MAP_CLASSES, SCAR_TYPES
from ..datasets.offline import stay_offline
from ..model.checkpoint import Card, CheckpointError, card_of, load_checkpoint, read_sealed

if TYPE_CHECKING:
    from ..model.network import ScarNetwork


class Scores(NamedTuple):
    """Raw scores of N photos as float32 arrays; see `model.network.NetworkOutput`.

    Attributes:
        class_map: [N, 5, h, w].
        type_logits: [N, 3].
        scope_logit: [N].
    """

    class_map: np.ndarray
    type_logits: np.ndarray
    scope_logit: np.ndarray

    def of(self, index: int) -> Scores:
        """Return the scores of one photo, without the first axis."""
        return Scores(*(part[index] for part in self))


class Engine(Protocol):
    """Runs the network.

    Attributes:
        card: the checkpoint's card.
    """

    card: Card

    def __call__(self, photos: np.ndarray) -> Scores:
        """Score photos, float32 [N, 3, S, S] as `datasets.transform` makes them."""
        ...


class OnnxEngine:
    """ONNX Runtime on the CPU, with one photo per thread.

    A photo alone takes less CPU time than in a batch (6.8 against 8.6 ms in a batch of 32, with an earlier network),
    and its scores cannot depend on other photos.
    """

    card: Card

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        """Load an `.onnx` checkpoint. `threads` is the number of cores to use; default: all usable ones."""
        stay_offline()
        import onnxruntime

        data = read_sealed(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised; no need to print them too
        options.add_session_config_entry(
            "session.load_model_format", "ONNX"
        )  # its own format could contain more than ONNX
        # The seal does not cover weights in further files: look for them where there can be none.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        try:
            # Its fallback would print, and try the same again.
            self._session = onnxruntime.InferenceSession(
                data, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            metadata = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # ONNX Runtime has no common base class for its errors
            raise CheckpointError(f"{path}: expected an ONNX model, found: {error}") from error
        self._threads = threads or usable_cores()
        self.card = card_of(path, metadata.get("card"))
        self._check(path)

    def _check(self, path: Path) -> None:
        """Run the model on an empty photo to check that it is a network of this project."""
        photo = np.zeros((1, 3, self.card.size, self.card.size), dtype=np.float32)
        try:
            scores = self(photo)
        except Exception as error:  # wrong names, shapes or types, or scores that are not finite
            raise CheckpointError(f"{path}: expected a scarlens network, found one that fails: {error}") from error
        types, shapes = len(SCAR_TYPES), [part.shape for part in scores]
        fits = all(part.dtype == np.float32 and part.size for part in scores)
        fits = fits and shapes[1:] == [(1, types), (1,)]
        fits = fits and len(shapes[0]) == 4 and shapes[0][:2] == (1, len(MAP_CLASSES))
        if not fits:
            found = ", ".join(f"{part.dtype} {list(part.shape)}" for part in scores)
            raise CheckpointError(f"{path}: expected float32 scores of {types} types and a map, found {found}")

    def __call__(self, photos: np.ndarray) -> Scores:
        """Score photos, float32 [N, 3, S, S] as `datasets.transform` makes them.

        Raises:
            CheckpointError: a score is not finite, or the scores are not those of N photos.
        """
        scores = [self._run(photos)] if len(photos) == 1 else self._run_each(np.split(photos, len(photos)))
        parts = [np.concatenate(part) for part in zip(*scores, strict=True)]
        if not all(len(part) == len(photos) and np.isfinite(part).all() for part in parts):
            raise CheckpointError(f"expected finite scores of {len(photos)} photos from the model {self.card.model_id}")
        return Scores(*parts)

    def _run_each(self, photos: list[np.ndarray]) -> list[list[np.ndarray]]:
        # A pool for each call: threads do not survive a fork.
        with ThreadPoolExecutor(self._threads, thread_name_prefix="scoring") as threads:
            return [*threads.map(self._run, photos)]

    def _run(self, photo: np.ndarray) -> list[np.ndarray]:
        return [np.asarray(part) for part in self._session.run(Scores._fields, {"photos": photo})]


class TorchEngine:
    """torch on any device: the reference, for GPUs and for evaluation during training."""

    card: Card

    def __init__(self, network: ScarNetwork, card: Card, *, device: str = "cpu") -> None:
        """Wrap a network: move it to a device such as "cpu" or "cuda:1" and switch it to evaluation."""
        import torch

        self._torch = torch
        self._device = torch.device(device)
        self._network = network.to(self._device).eval()
        self.card = card

    def __call__(self, photos: np.ndarray) -> Scores:
        """Score photos, float32 [N, 3, S, S] as `datasets.transform` makes them."""
        with self._torch.inference_mode():
            output = self._network(self._torch.from_numpy(photos).to(self._device))
        return Scores(*(part.float().cpu().numpy() for part in output))


def open_engine(checkpoint: Path, *, device: str = "cpu") -> Engine:
    """Choose the engine for a checkpoint.

    On the CPU, ONNX Runtime runs an `.onnx` file, or the ONNX form next to a `.safetensors` file if it has the same
    name and model. Otherwise torch runs the `.safetensors` file.

    Raises:
        CheckpointError: unreadable checkpoint, or only an ONNX file for a device other than the CPU.
        DeviceError: the device cannot be used here.
    """
    if checkpoint.suffix == ".onnx":
        if device == "cpu":
            return OnnxEngine(checkpoint)
        checkpoint = checkpoint.with_suffix(".safetensors")  # ONNX Runtime is used on the CPU only
    if device == "cpu" and (engine := _onnx_twin(checkpoint)) is not None:
        return engine
    # Imported here, because loading torch takes seconds.
    from ..model.export import network_of
    from ..model.network import usable_device

    device = usable_device(device)
    return TorchEngine(*network_of(checkpoint), device=device)


def _onnx_twin(checkpoint: Path) -> OnnxEngine | None:
    """Return the ONNX form next to a safetensors checkpoint; None if it is missing, damaged or of another model."""
    twin = checkpoint.with_suffix(".onnx")
    if not twin.is_file():
        return None
    model_id = load_checkpoint(checkpoint)[1].model_id
    try:
        engine = OnnxEngine(twin)
    except CheckpointError:
        return None
    return engine if engine.card.model_id == model_id else None


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the number of cores that this process may use: its affinity, limited by a container's CPU quota.

    Args:
        cgroup: where the control groups are mounted, of version 1 or 2.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((cgroup / file).read_text() for file in files).split()
            if int(quota) > 0:
                cores = min(cores, max(1, -(-int(quota) // int(period))))
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
    return cores
