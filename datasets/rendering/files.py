"""Write rendered photos to files: pictures, per-pixel maps, tables of ground truth and a contact sheet."""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from ..labels import OUT_OF_SCOPE, SCAR_TYPES
from ..writing.atomic import write_atomically
from .camera import decode_jpeg, encode_jpeg
from .photo import LABELS, RenderedPhoto, render_photo

MANY: Final = 64
"""Number of photos from which a second worker process is worth its start-up time of a second or two."""

SHEET_COLUMNS: Final = 12
SHEET_PX: Final = 128

EXAMPLE_SEEDS: Final = {
    "ice_pick": (7004, 1122, 1170, 7072),
    "boxcar": (2044, 2069, 2051, 2035),
    "rolling": (5159, 3091, 5014, 5259),
    OUT_OF_SCOPE: (4027, 4018),
}
"""Seeds of the pictures in `examples/`: typical, clear pictures, chosen by eye."""

EXAMPLE_SIZE: Final = 384


@dataclass(frozen=True)
class _Order:
    """One photo to render: its name without suffix, its label and its seed."""

    name: str
    label: str
    seed: int


@dataclass(frozen=True)
class _Truth:
    """Table rows of one photo."""

    photo: dict[str, Any]
    scars: list[dict[str, Any]]


def write_photos(
    out: str | Path,
    *,
    count: int,
    seed: int,
    size: int = 256,
    workers: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Path:
    """Render photos and their ground truth into a folder per label; return the path of `manifest.csv`.

    Labels alternate, so that classes are balanced, and every picture is its own subject. A second run overwrites the
    same files. The folder then contains

    - `<label>/<name>.jpg`, the photos;
    - `type_maps/<name>.png`, 8-bit: 0 on skin, 1 + i inside a scar of `SCAR_TYPES[i]`;
    - `manifest.csv`, a row per photo: file (with "/" between folder and name), label, subject, seed, mm_per_pixel,
      scars (number of scars), the share of every type, ita_degrees, lamps, key_elevation_degrees. Training reads it;
    - `scars.csv`, a row per scar: file, type, x_mm, y_mm, width_mm, depth_mm, elongation, angle_degrees;
    - `contact_sheet.jpg`, the first photos of every label.

    `render_photo(label, seed=seed, size=size)` with the values of a row gives the same file.

    Args:
        out: output folder; created if missing.
        count: number of photos, 1 or more.
        seed: random seed of all photos.
        size: side of the pictures in pixels.
        workers: number of worker processes; default: two for 64 photos or more. The files do not depend on it.
        advance: called after each photo, for a progress bar.

    Raises:
        ValueError: `count` or `workers` is below 1.
        NotADirectoryError: a file has the folder's name.
        OSError: files cannot be written.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if workers is None:
        workers = min(2, os.cpu_count() or 1) if count >= MANY else 1
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    out = Path(out)
    _make_folders(out)
    seeds = np.random.SeedSequence(seed).generate_state(count, np.uint64) >> np.uint64(11)  # 53 bits: exact in JSON
    labels = [LABELS[number % len(LABELS)] for number in range(count)]
    orders = [
        _Order(f"{label}_{number:06d}", label, photo_seed)
        for number, (label, photo_seed) in enumerate(zip(labels, seeds.tolist(), strict=True))
    ]
    truths = []
    with _mapper(workers) as each:
        for truth in each(partial(_render_and_write, out=out, size=size), orders):
            truths.append(truth)
            advance()
    _write_table(out / "scars.csv", SCAR_COLUMNS, (scar for truth in truths for scar in truth.scars))
    write_atomically(out / "contact_sheet.jpg", encode_jpeg(_contact_sheet(out, truths), quality=88))
    manifest = out / "manifest.csv"
    _write_table(manifest, PHOTO_COLUMNS, (truth.photo for truth in truths))
    return manifest


def _make_folders(out: Path) -> None:
    for folder in (out, *(out / name for name in (*LABELS, "type_maps"))):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise NotADirectoryError(f"{folder}: expected a folder, found a file") from error


def write_examples(out: str | Path) -> Path:
    """Render the pictures of `examples/` from `EXAMPLE_SEEDS`; return the path of their `manifest.csv`.

    The first picture of each label has no number in its name.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for label, seeds in EXAMPLE_SEEDS.items():
        for number, seed in enumerate(seeds, start=1):
            photo = render_photo(label, seed=seed, size=EXAMPLE_SIZE)
            file = f"{label}.jpg" if number == 1 else f"{label}_{number}.jpg"
            (out / file).write_bytes(photo.jpeg)
            rows.append(_photo_row(photo, file))
    _write_table(out / "manifest.csv", PHOTO_COLUMNS, rows)
    return out / "manifest.csv"


@contextmanager
def _mapper(workers: int) -> Iterator[Callable[..., Iterable[_Truth]]]:
    """Yield a `map` that keeps order, over worker processes if `workers` > 1. They end with the block."""
    if workers == 1:
        yield map
        return
    # spawn: forking a process with threads (torch, OpenCV) may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_work)
    try:
        yield partial(_map_over, pool)
    finally:
        pool.shutdown(cancel_futures=True)


def _map_over(pool: ProcessPoolExecutor, work: Callable[..., _Truth], orders: Iterable[_Order]) -> Iterator[_Truth]:
    """Start the workers with SIGINT blocked, so that Ctrl-C does not reach them even before `_begin_work`."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        return pool.map(work, orders, chunksize=4)
    held_back = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return pool.map(work, orders, chunksize=4)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held_back)


def _begin_work() -> None:
    """Set up a worker: one OpenCV thread, and Ctrl-C ignored, because the parent shuts workers down."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _render_and_write(order: _Order, *, out: Path, size: int) -> _Truth:
    photo = render_photo(order.label, seed=order.seed, size=size)
    file = f"{order.label}/{order.name}.jpg"
    (out / file).write_bytes(photo.jpeg)
    done, data = cv2.imencode(".png", photo.type_map)
    if not done:
        raise ValueError(f"OpenCV could not encode the type map of {file}")
    (out / "type_maps" / f"{order.name}.png").write_bytes(data.tobytes())
    return _Truth(_photo_row(photo, file), _scar_rows(photo, file))


PHOTO_COLUMNS: Final = (
    *("file", "label", "subject", "seed", "mm_per_pixel", "scars"),
    *(f"share_{name}" for name in SCAR_TYPES),
    *("ita_degrees", "lamps", "key_elevation_degrees"),
)

SCAR_COLUMNS: Final = ("file", "type", "x_mm", "y_mm", "width_mm", "depth_mm", "elongation", "angle_degrees")


def _photo_row(photo: RenderedPhoto, file: str) -> dict[str, Any]:
    return {
        "file": file,
        "label": photo.label,
        "subject": f"rendered_{photo.seed}",
        "seed": photo.seed,
        "mm_per_pixel": f"{photo.mm_per_pixel:.6f}",
        "scars": len(photo.scars),
        **{f"share_{name}": f"{share:.3f}" for name, share in photo.shares.items()},
        "ita_degrees": f"{photo.ita_degrees:.1f}",
        "lamps": len(photo.light.lamps),
        "key_elevation_degrees": f"{photo.light.key_elevation_degrees:.1f}",
    }


def _scar_rows(photo: RenderedPhoto, file: str) -> list[dict[str, Any]]:
    return [
        {
            "file": file,
            "type": scar.type,
            **{name: f"{getattr(scar, name):.3f}" for name in SCAR_COLUMNS[2:7]},
            "angle_degrees": f"{np.degrees(scar.angle):.1f}",
        }
        for scar in photo.scars
    ]


def _write_table(path: Path, columns: tuple[str, ...], rows: Iterable[dict[str, Any]]) -> None:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, stream.getvalue().encode())


def _contact_sheet(out: Path, truths: list[_Truth]) -> np.ndarray:
    """Return a sheet of the first photos of every label, one labelled row per label, RGB uint8 [H, W, 3]."""
    rows = []
    for label in LABELS:
        row = np.full((SHEET_PX, SHEET_PX * (SHEET_COLUMNS + 1), 3), 255, np.uint8)
        cv2.putText(row, label, (6, SHEET_PX // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
        files = [truth.photo["file"] for truth in truths if truth.photo["label"] == label][:SHEET_COLUMNS]
        for column, file in enumerate(files, start=1):
            picture = decode_jpeg((out / file).read_bytes())
            small = cv2.resize(picture, (SHEET_PX, SHEET_PX), interpolation=cv2.INTER_AREA)
            row[:, column * SHEET_PX : (column + 1) * SHEET_PX] = small
        rows.append(row)
    return np.vstack(rows)
