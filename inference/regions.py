"""Where each type is seen: from the network's class map to regions of the photo, and to an overlay picture."""

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from ..datasets.atomic import write_atomically
from ..datasets.canonical import turned_back
from ..datasets.labels import DISPLAY_NAMES, SCAR_TYPES
from ..datasets.preprocess import Placement, photo_window
from ..model.calibration import Calibration

COLOURS: Final = {"ice_pick": (213, 94, 0), "boxcar": (0, 114, 178), "rolling": (0, 158, 115)}
"""RGB of each type: colours that colour-blind readers tell apart (Okabe & Ito, "Color Universal Design", 2008)."""


def hex_colour(name: str) -> str:
    """Return the colour of a type as a page writes it, such as "#d55e00"."""
    return "#{:02x}{:02x}{:02x}".format(*COLOURS[name])


_OPACITY: Final = 0.45
_LEGEND_HEIGHT: Final = 44  # pixels
_LEGEND_WIDTH: Final = 320  # below this the text shrinks
_GREY: Final = (40, 40, 40)


def photo_regions(class_map: np.ndarray, calibration: Calibration, *, placement: Placement, size: int) -> np.ndarray:
    """Lay the class map over the upright photo and turn scores into shares.

    Args:
        class_map: float [3, h, w], scores over the network's square input.
        calibration: whose temperature the scores are divided by.
        placement: how the photo came into the square.
        size: side of the network's square input in pixels.

    Returns:
        float32 [3, rows, columns] over the upright photo, row 0 at its top: at each position the probability of each
        type judged there; the three sum to 1. Trimmed padding shows nothing: each type gets 1/3 there.
    """
    upright = np.stack([turned_back(plane, placement.second) for plane in class_map])
    top, bottom, left, right = placement.window
    inside = photo_window(bottom - top, right - left, size)
    ys, rows_hit = _lookups(placement.height, (top, bottom), inside[:2], size, class_map.shape[1])
    xs, columns_hit = _lookups(placement.width, (left, right), inside[2:], size, class_map.shape[2])
    columns, rows = np.meshgrid(xs, ys)
    scores = np.stack(
        [cv2.remap(plane, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for plane in upright]
    )
    scores *= np.outer(rows_hit, columns_hit)  # equal scores, so equal shares, where padding was
    shares = np.moveaxis(calibration.probabilities(np.moveaxis(scores, 0, -1)), -1, 0)
    return np.stack([turned_back(plane, placement.first) for plane in shares]).astype(np.float32)


def _lookups(
    length: int, window: tuple[int, int], inside: tuple[int, int], size: int, cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the centres of the photo's cells lie in cells of the class map, and whether the window holds them.

    Args:
        length: of the photo's side in pixels.
        window: first and last pixel of what padding left over.
        inside: where that lies in the network's square, in pixels.
        size: side of the square in pixels.
        cells: of the class map along this side.
    """
    cell = size / cells
    scale = (inside[1] - inside[0]) / (window[1] - window[0])
    count = max(1, round(length * scale / cell))
    centres = (np.arange(count) + 0.5) * length / count
    squares = inside[0] + (centres - window[0]) * scale
    return (squares / cell - 0.5).astype(np.float32), (centres >= window[0]) & (centres <= window[1])


def overlay(image: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Paint the regions over a photo, one colour a type, stronger where a type stands out; legend and notice below.

    Args:
        image: the upright photo, RGB uint8 [H, W, 3].
        regions: `Prediction.regions`, float32 [3, h, w].

    Returns:
        RGB uint8 [H + legend, W, 3].
    """
    height, width = image.shape[:2]
    fine = np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in regions])
    best = fine.argmax(axis=0)
    chance = 1.0 / len(SCAR_TYPES)
    certainty = np.clip((fine.max(axis=0) - chance) / (1.0 - chance), 0.0, 1.0)[..., None]
    colour = np.array([COLOURS[name] for name in SCAR_TYPES], dtype=np.float32)[best]
    opacity = _OPACITY * certainty
    painted = np.rint(image * (1.0 - opacity) + colour * opacity).astype(np.uint8)
    return np.vstack([painted, _legend(width)])


def _legend(width: int) -> np.ndarray:
    legend = np.full((_LEGEND_HEIGHT, width, 3), 255, dtype=np.uint8)
    scale = 0.5 * min(1.0, width / _LEGEND_WIDTH)
    left = 6
    for name in SCAR_TYPES:
        cv2.rectangle(legend, (left, 9), (left + 10, 19), COLOURS[name], thickness=-1)
        left = _write(legend, DISPLAY_NAMES[name], (left + 15, 19), scale) + 15
    _write(legend, "Information, not a diagnosis", (6, 38), scale)
    return legend


def _write(picture: np.ndarray, text: str, position: tuple[int, int], scale: float) -> int:
    """Write a text from its lower left corner on; return where it ends."""
    cv2.putText(picture, text, position, cv2.FONT_HERSHEY_SIMPLEX, scale, _GREY, 1, cv2.LINE_AA)
    return position[0] + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]


def write_overlay(path: Path, image: np.ndarray, regions: np.ndarray) -> None:
    """Write the overlay of a photo as a PNG without metadata; arguments as for `overlay`."""
    picture = cv2.cvtColor(overlay(image, regions), cv2.COLOR_RGB2BGR)
    write_atomically(path, cv2.imencode(".png", picture)[1].tobytes())


def overlay_files(folder: Path, photos: Sequence[Path]) -> list[Path]:
    """Name an overlay in a folder, which is made, after each photo; a further photo of the same name gets a number.

    Raises:
        NotADirectoryError: a file has the folder's name.
        OSError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotADirectoryError(f"{folder}: expected a folder, found a file") from error
    stems: list[str] = []
    for photo in photos:
        numbered = (f"{photo.stem}_{number}" for number in count(2))
        stems.append(next(stem for stem in chain([photo.stem], numbered) if stem not in stems))
    return [folder / f"{stem}_regions.png" for stem in stems]
