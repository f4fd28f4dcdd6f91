"""Write rendered photos to files: pictures, per-pixel maps, tables of ground truth and a contact sheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from ..labels import OUT_OF_SCOPE, SCAR_TYPES
from ..writing.atomic import write_atomically
from .camera import decode_jpeg, encode_jpeg
from .photo import LABELS, RenderedPhoto, render_photo

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


def write_photos(
    out: str | Path,
    *,
    count: int,
    seed: int,
    size: int = 256,
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
        advance: called after each photo, for a progress bar.

    Raises:
        ValueError: `count` is below 1.
        NotADirectoryError: a file has the folder's name.
        OSError: files cannot be written.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    out = Path(out)
    _make_folders(out)
    seeds = np.random.SeedSequence(seed).generate_state(count, np.uint64) >> np.uint64(11)  # 53 bits: exact in JSON
    photos, scars = [], []
    for number, photo_seed in enumerate(seeds.tolist()):
        label = LABELS[number % len(LABELS)]
        photo = render_photo(label, seed=photo_seed, size=size)
        file = f"{label}/{label}_{number:06d}.jpg"
        _write_photo(photo, out, file)
        photos.append(_photo_row(photo, file))
        scars += _scar_rows(photo, file)
        advance()
    _write_table(out / "scars.csv", SCAR_COLUMNS, scars)
    write_atomically(out / "contact_sheet.jpg", encode_jpeg(_contact_sheet(out, photos), quality=88))
    manifest = out / "manifest.csv"
    _write_table(manifest, PHOTO_COLUMNS, photos)
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


def _write_photo(photo: RenderedPhoto, out: Path, file: str) -> None:
    """Write a picture and its type map."""
    (out / file).write_bytes(photo.jpeg)
    done, data = cv2.imencode(".png", photo.type_map)
    if not done:
        raise ValueError(f"OpenCV could not encode the type map of {file}")
    (out / "type_maps" / Path(file).name).with_suffix(".png").write_bytes(data.tobytes())


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


def _contact_sheet(out: Path, photos: list[dict[str, Any]]) -> np.ndarray:
    """Return a sheet of the first photos of every label, one labelled row per label, RGB uint8 [H, W, 3]."""
    rows = []
    for label in LABELS:
        row = np.full((SHEET_PX, SHEET_PX * (SHEET_COLUMNS + 1), 3), 255, np.uint8)
        cv2.putText(row, label, (6, SHEET_PX // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
        files = [photo["file"] for photo in photos if photo["label"] == label][:SHEET_COLUMNS]
        for column, file in enumerate(files, start=1):
            picture = decode_jpeg((out / file).read_bytes())
            small = cv2.resize(picture, (SHEET_PX, SHEET_PX), interpolation=cv2.INTER_AREA)
            row[:, column * SHEET_PX : (column + 1) * SHEET_PX] = small
        rows.append(row)
    return np.vstack(rows)
