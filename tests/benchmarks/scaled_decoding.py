"""Classify large JPEGs decoded whole and decoded at the scale they are reduced to; print how far probabilities part.

    python tests/benchmarks/scaled_decoding.py MANIFEST [--photos N]

MANIFEST is a CSV file with photos in its column `file`, such as `scarlens render` writes. Each is enlarged to the
sides below, with the noise of a camera, and saved as a JPEG of quality 92 with colour at half the sides (4:2:0), as
phones do; JPEGs that are large already are taken as they are too.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import scarlens
from scarlens.datasets.reading.reader import read_image, read_reduced
from scarlens.datasets.reading.reduction import reduction_factor

SIDES = (3000, 3264, 4032)
"""Long sides in pixels: the least that is reduced, and those of photos of 8 and 12 megapixels."""

NOISE = 3.0
"""Standard deviation in levels of 255."""

BOUND = 0.01


def photos(manifest: Path, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and JPEGs: photos of the manifest enlarged, and the large ones as they are."""
    with manifest.open(newline="", encoding="utf-8") as file:
        paths = [manifest.parent / row["file"] for row in csv.DictReader(file)]
    random = np.random.default_rng(0)
    for path in paths[:: max(1, len(paths) // count)]:
        image = read_image(path)
        data = path.read_bytes()
        if reduction_factor(*image.shape[:2]) > 1 and data.startswith(b"\xff\xd8"):
            yield "as it is", data
        for side in SIDES:
            yield f"{side} px", enlarged(image, side, random)


def enlarged(image: np.ndarray, side: int, random: np.random.Generator) -> bytes:
    """Return a JPEG of the photo with this long side."""
    scale = side / max(image.shape[:2])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    large = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    large += NOISE * random.standard_normal((*large.shape[:2], 1), dtype=np.float32)
    file = io.BytesIO()
    Image.fromarray(np.clip(large, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


def main() -> None:
    """Print one line for each size."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("manifest", type=Path)
    arguments.add_argument("--photos", type=int, default=20)
    options = arguments.parse_args()
    classifier = scarlens.load()
    parted: dict[str, list[float]] = defaultdict(list)
    tops: dict[str, int] = defaultdict(int)
    for name, data in photos(options.manifest, options.photos):
        whole, scaled = (classifier.predict(source) for source in (read_image(data), data))
        factor = read_reduced(data).factor
        key = f"{name}, 1/{factor}"
        differences = [abs(whole.probabilities[each] - scaled.probabilities[each]) for each in whole.probabilities]
        parted[key].append(max(*differences, abs(whole.in_scope - scaled.in_scope)))
        tops[key] += whole.plausible[0] != scaled.plausible[0]
    for key, values in parted.items():
        print(
            f"{key}: {len(values)} photos, largest difference {max(values):.4f}, median {np.median(values):.5f}, "
            f"above {BOUND}: {sum(value > BOUND for value in values)}, another first type: {tops[key]}"
        )


if __name__ == "__main__":
    main()
