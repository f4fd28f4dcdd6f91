"""Classify folders of JPEGs as scarlens does and as is usual; print photos per second, beside the targets.

    python tests/benchmarks/batch.py [--photos N] [--runs R]
    python tests/benchmarks/batch.py --make FOLDER [--photos N]

makes N photos of 12 megapixels and five times as many of 640 pixels in a temporary folder, and measures each peer in
turn, R times, on two cores, every time in a fresh process; the second form only makes the photos. The files were just
written, so they come from memory, not from the disk.

a. The usual script: Pillow, torchvision's transforms, one photo at a time through the same network in eager torch.
b. A DataLoader with two workers and batches of 32, the same transforms and network.
c. The floors: reading alone, in the reading processes of `predict_folder`, and the network alone, on arrays made
   before.
d. `scarlens.predict_folder` as it comes, into CSV.

Of a, b and c the steady work is timed: imports, the start of processes and a first answer come before. Of d all is
timed, from `import scarlens` on; its modules are compiled before, as after an installation. Both its stages share the
cores, so it can reach at most 1 / (1 / reading + 1 / network).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

# Other modules are imported where they are used: each peer's process should hold its own alone.

CORES: Final = 2
BATCH: Final = 32
SCENES: Final = 24
SCENE_PX: Final = 640
NOISE: Final = 6.0
"""Standard deviation in levels of 255: files of 12 megapixels then have the 4 MB of a phone's."""


class Size(NamedTuple):
    """Photos of one size, and how many there are for each of `--photos`."""

    folder: str
    width: int
    height: int
    times: int


SIZES: Final = (Size("12_megapixels", 4032, 3024, times=1), Size("640_pixels", 640, 480, times=5))

TARGET_LOADER: Final = 3.0
TARGET_SHARED: Final = 0.85


class Measured(NamedTuple):
    """What one peer did in one run."""

    photos: int
    seconds: float


def make_photos(folder: Path, count: int) -> None:
    """Write the JPEGs of all sizes: rendered skin, enlarged, each with other noise."""
    with get_context("spawn").Pool(CORES) as pool:
        scenes = pool.map(_scene, range(min(count, SCENES)), chunksize=1)
        for size in SIZES:
            (folder / size.folder).mkdir(parents=True)
            numbers = range(count * size.times)
            files = [folder / size.folder / f"{number:05d}.jpg" for number in numbers]
            shown = [scenes[number % len(scenes)] for number in numbers]
            pool.starmap(_write_photo, zip(files, shown, [size] * len(files), numbers, strict=True), chunksize=1)


def _scene(number: int) -> NDArray[np.uint8]:
    from scarlens.datasets.rendering import render_photo
    from scarlens.datasets.rendering.photo import LABELS

    return render_photo(LABELS[number % len(LABELS)], seed=number, size=SCENE_PX).image


def _write_photo(file: Path, scene: NDArray[np.uint8], size: Size, number: int) -> None:
    import cv2
    import numpy as np
    from PIL import Image

    rows = SCENE_PX * size.height // size.width
    large = cv2.resize(scene[:rows], (size.width, size.height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    random = np.random.default_rng(number)
    large += NOISE * random.standard_normal((size.height, size.width, 1), dtype=np.float32)
    photo = Image.fromarray(np.clip(large, 0, 255).astype(np.uint8))
    photo.save(file, "JPEG", quality=92, subsampling="4:2:0")


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jpg"))


def _network() -> Callable[[torch.Tensor], Any]:
    from scarlens.inference.classifier import BUNDLED_CHECKPOINT
    from scarlens.model.export import network_of

    return network_of(BUNDLED_CHECKPOINT.with_suffix(".safetensors"))[0]


def _opener() -> Callable[[Path], torch.Tensor]:
    """Return what makes a tensor of a file, as training scripts of this field do."""
    from PIL import Image
    from torchvision import transforms

    transform = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )

    def opened(file: Path) -> Any:
        with Image.open(file) as image:
            return transform(image.convert("RGB"))

    return opened


def usual_script(folder: Path) -> Measured:
    """Classify one photo after the other."""
    import torch

    network, opened, files = _network(), _opener(), _files(folder)

    def classify(file: Path) -> int:
        return int(network(opened(file)[None]).type_logits.argmax())

    with torch.no_grad():
        for file in files[:3]:
            classify(file)
        start = time.perf_counter()
        answers = [classify(file) for file in files]
        return Measured(len(answers), time.perf_counter() - start)


def data_loader(folder: Path) -> Measured:
    """Classify batches that two workers read; the first pass, over a few photos, starts them."""
    import torch
    from torch.utils.data import DataLoader, Dataset

    network, opened, files = _network(), _opener(), _files(folder)

    class Photos(Dataset[torch.Tensor]):
        def __getitem__(self, index: int) -> torch.Tensor:
            return opened(files[index])

    order = list(range(min(4, len(files))))
    loader = DataLoader(Photos(), batch_size=BATCH, sampler=order, num_workers=2, persistent_workers=True)

    def classify() -> list[int]:
        return [answer for batch in loader for answer in network(batch).type_logits.argmax(dim=1).tolist()]

    with torch.no_grad():
        network(torch.zeros(BATCH, 3, 224, 224))
        classify()
        order[:] = range(len(files))
        start = time.perf_counter()
        answers = classify()
        return Measured(len(answers), time.perf_counter() - start)


def reading(folder: Path) -> Measured:
    """Read photos in the processes of `predict_folder`, timed from when the first are ready."""
    from scarlens.inference.batch.folder import find_files
    from scarlens.inference.batch.reading import FileToRead, read_photos
    from scarlens.inference.classifier import load
    from scarlens.inference.engine import usable_cores

    folder, workers = folder.resolve(), usable_cores()
    files = [FileToRead(path, problem=problem) for path, problem in find_files(folder)]
    done, before, start = 0, 0, 0.0
    for photos in read_photos(files, folder, load().card.size, workers=workers, ahead=BATCH + 2 * workers):
        if problems := [photo.problem for photo in photos if photo.photo is None]:
            raise ValueError(f"photos could not be read: {problems}")
        done += len(photos)
        if not before and done >= min(2 * workers, len(files) // 2):
            before, start = done, time.perf_counter()
    return Measured(done - before, time.perf_counter() - start)


def inference(folder: Path) -> Measured:
    """Score batches of arrays that are ready."""
    import numpy as np

    from scarlens.datasets.reading.reader import read_reduced
    from scarlens.datasets.transform import frame, normalise
    from scarlens.inference.classifier import BUNDLED_CHECKPOINT
    from scarlens.inference.engine import open_engine

    engine = open_engine(BUNDLED_CHECKPOINT)
    card, files = engine.card, _files(folder)
    squares = [frame(read_reduced(file), card.size).square for file in files[:BATCH]]
    batch = np.stack([normalise(square, mean=card.mean, std=card.std) for square in squares])
    rounds = -(-len(files) // len(batch))
    engine(batch)
    start = time.perf_counter()
    for _ in range(rounds):
        engine(batch)
    return Measured(rounds * len(batch), time.perf_counter() - start)


def whole_folder(folder: Path) -> Measured:
    """Classify the folder into a table, imports and the start of processes included."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        import scarlens

        summary = scarlens.predict_folder(folder, Path(out) / "table.csv")
        seconds = time.perf_counter() - start
    if summary.errors:
        raise ValueError(f"{summary.errors} of {summary.total} photos could not be classified")
    return Measured(summary.total, seconds)


def start_up(folder: Path) -> Measured:
    """Classify a folder of one photo."""
    with tempfile.TemporaryDirectory() as one:
        (Path(one) / "photo.jpg").write_bytes(_files(folder)[0].read_bytes())
        return whole_folder(Path(one))


PEERS: Final[dict[str, Callable[[Path], Measured]]] = {
    "a  Pillow, torchvision, torch": usual_script,
    "b  DataLoader, 2 workers, torch": data_loader,
    "c  reading alone": reading,
    "   network alone": inference,
    "d  scarlens.predict_folder": whole_folder,
    "   the same over one photo": start_up,
}
SCRIPT, LOADER, READING, NETWORK, SCARLENS, START = PEERS


def measure(peer: str, folder: Path, compiled: Path) -> Measured:
    """Run a peer in a fresh process, with the threads that it takes of itself and compiled modules kept apart."""
    changed = ("OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if name not in changed}
    environment["PYTHONPYCACHEPREFIX"] = str(compiled)
    command = [sys.executable, __file__, "--peer", peer, str(folder)]
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Measured(*json.loads(answer))


def report(runs: dict[str, list[Measured]]) -> None:
    """Print the table of one size."""
    rates = {peer: [run.photos / run.seconds for run in found] for peer, found in runs.items()}
    print(f"{'photos/s':34}{'median':>9}{'min':>9}{'max':>9}")
    for peer, found in rates.items():
        if peer != START:
            print(f"{peer:34}{statistics.median(found):9.2f}{min(found):9.2f}{max(found):9.2f}")
    bounds = [1 / (1 / one + 1 / other) for one, other in zip(rates[READING], rates[NETWORK], strict=True)]
    for name, others, target in (
        ("d / a", rates[SCRIPT], ""),
        ("d / b", rates[LOADER], f"target {TARGET_LOADER}"),
        ("d / what sharing the cores allows", bounds, f"target {TARGET_SHARED}"),
    ):
        ratios = [one / other for one, other in zip(rates[SCARLENS], others, strict=True)]
        print(f"{name:34}{statistics.median(ratios):9.2f}{min(ratios):9.2f}{max(ratios):9.2f}   {target}")
    start = statistics.median(run.seconds for run in runs[START])
    steady = [
        (run.photos - 1) / (run.seconds - one.seconds) for run, one in zip(runs[SCARLENS], runs[START], strict=True)
    ]
    print(f"of d, {start:.2f} s are the start and one photo; the others: {statistics.median(steady):.2f} photos/s\n")


def main() -> None:
    """Print a table for each size."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--photos", type=int, default=192, help="a multiple of 64 gives b's workers equal shares")
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--make", type=Path, metavar="FOLDER", help="make the photos there, and measure nothing")
    options = arguments.parse_args()
    if options.photos < 8 or options.runs < 1:
        arguments.error("expected at least 8 photos and 1 run")
    if hasattr(os, "sched_setaffinity"):  # what is started here stays on these cores too
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    if options.make is not None:
        make_photos(options.make, options.photos)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_photos(Path(folder), options.photos)
        compiled = Path(folder) / "compiled"
        for size in SIZES:
            photos = Path(folder) / size.folder
            measure(START, photos, compiled)  # compiles the modules
            megabytes = statistics.mean(file.stat().st_size for file in _files(photos)) / 1e6
            print(
                f"{len(_files(photos))} JPEGs of {size.width} x {size.height} pixels and {megabytes:.2f} MB, ", end=""
            )
            print(f"{options.runs} runs, {_cores()}, load {os.getloadavg()[0]:.1f}", flush=True)
            runs: dict[str, list[Measured]] = {peer: [] for peer in PEERS}
            for _ in range(options.runs):
                for peer, found in runs.items():
                    found.append(measure(peer, photos, compiled))
            report(runs)


def _cores() -> str:
    from scarlens.inference.engine import usable_cores

    return f"{usable_cores()} cores"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        print(json.dumps(PEERS[sys.argv[2]](Path(sys.argv[3]))))
    else:
        main()
