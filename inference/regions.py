"""Where each type is seen: from the network's class map to regions of the photo, and to an overlay picture."""

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from ..datasets.atomic import write_atomically
from ..datasets.labels import DISPLAY_NAMES, SCAR_TYPES
from ..datasets.preprocess import photo_window
from ..model.calibration import Calibration

COLOURS: Final = {"ice_pick": (213, 94, 0), "boxcar": (0, 114, 178), "rolling": (0, 158, 115)}
"""RGB of each type: colours that colour-blind readers tell apart (Okabe & Ito, "Color Universal Design", 2008)."""

_OPACITY: Final = 0.45
_LEGEND_HEIGHT: Final = 44  # pixels
_LEGEND_WIDTH: Final = 320  # below this the text shrinks
_GREY: Final = (40, 40, 40)


def photo_regions(class_map: np.ndarray, calibration: Calibration, *, height: int, width: int, size: int) -> np.ndarray:
    """Cut the photo out of the class map and turn scores into shares.

    Args:
        class_map: float [3, h, w], scores over the network's square input.
        calibration: whose temperature the scores are divided by.
        height: of the photo in pixels.
        width: of the photo in pixels.
        size: side of the network's square input in pixels.

    Returns:
        float32 [3, rows, columns] that covers the photo alone, without the reflected border: at each position the
        probability of each type judged there; the three sum to 1.
    """
    top, bottom, left, right = photo_window(height, width, size)
    ys = _centres(top, bottom, size, class_map.shape[1])
    xs = _centres(left, right, size, class_map.shape[2])
    columns, rows = np.meshgrid(xs.astype(np.float32), ys.astype(np.float32))
    scores = np.stack(
        [cv2.remap(plane, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for plane in class_map]
    )
    return np.moveaxis(calibration.probabilities(np.moveaxis(scores, 0, -1)), -1, 0).astype(np.float32)


def _centres(start: int, stop: int, size: int, cells: int) -> np.ndarray:
    """Return where the centres of the photo's cells lie, in cells of the class map."""
    cell = size / cells
    count = max(1, round((stop - start) / cell))
    pixels = start + (np.arange(count) + 0.5) * (stop - start) / count
    return pixels / cell - 0.5


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
