"""Where each type is seen: the network's map becomes regions of the photo, their extent, and an overlay picture."""

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from ..datasets.canonical import turned_back
from ..datasets.labels import DISPLAY_NAMES, MAP_CLASSES, SCAR_TYPES
from ..datasets.transform import Placement, photo_window
from ..datasets.writing.atomic import write_atomically
from ..model.calibration import softmax

COLOURS: Final = {"ice_pick": (213, 94, 0), "boxcar": (0, 114, 178), "rolling": (0, 158, 115)}
"""RGB of each type: colours that colour-blind readers tell apart (Okabe & Ito, "Color Universal Design", 2008)."""


def hex_colour(name: str) -> str:
    """Return the colour of a type in HTML notation, such as "#d55e00"."""
    return "#{:02x}{:02x}{:02x}".format(*COLOURS[name])


DASHES: Final = {"ice_pick": 0, "boxcar": 7, "rolling": 2}
"""Dash length of each type's outline, in line widths; 0 is a solid line. Dashes tell types apart in grey."""

_FILL: Final = 0.12
"""Opacity of the colour over a scar."""

_SPECK: Final = 0.0005
"""Smallest share of a photo's area that is outlined."""

_NO_SKIN: Final = np.eye(len(MAP_CLASSES), dtype=np.float32)[MAP_CLASSES.index("no_skin")]
_LEGEND_HEIGHT: Final = 44  # pixels
_LEGEND_WIDTH: Final = 320  # below this the text shrinks
_GREY: Final = (40, 40, 40)


def photo_map(class_map: np.ndarray, *, placement: Placement, size: int) -> np.ndarray:
    """Transform the network's map into probabilities over the upright photo.

    Args:
        class_map: float [5, h, w], logits of `MAP_CLASSES` over the network's square input.
        placement: how the photo was placed in the square.
        size: side of the network's square input in pixels.

    Returns:
        float32 [5, rows, columns] over the upright photo, row 0 at its top: the probability of each of `MAP_CLASSES` at
        each position; they sum to 1. Trimmed padding is no skin.
    """
    upright = turned_back(np.moveaxis(class_map, 0, -1), placement.second)
    top, bottom, left, right = placement.window
    inside = photo_window(bottom - top, right - left, size)
    ys, rows_hit = _lookups(placement.height, (top, bottom), inside[:2], size, class_map.shape[1])
    xs, columns_hit = _lookups(placement.width, (left, right), inside[2:], size, class_map.shape[2])
    columns, rows = np.meshgrid(xs, ys)
    source = np.ascontiguousarray(upright, dtype=np.float32)
    logits = cv2.remap(source, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # [rows, columns, 5]
    shown = softmax(logits.astype(np.float64)).astype(np.float32)
    shown[~np.outer(rows_hit, columns_hit)] = _NO_SKIN
    return np.ascontiguousarray(np.moveaxis(turned_back(shown, placement.first), -1, 0))


def most_scar(shown: np.ndarray) -> float:
    """Return the highest probability of a scar, 0 to 1, at any place of a `photo_map`."""
    return float(shown[: len(SCAR_TYPES)].sum(axis=0).max())


def extent_of(shown: np.ndarray, scar_threshold: float) -> dict[str, float]:
    """Return the expected share of the visible skin, 0 to 1, that each type covers.

    Places are weighted by their probabilities, which is less sensitive to light and compression than counting the
    places inside the outlines. Places below half the threshold do not count, and without any outline the extent is 0.

    Args:
        shown: `photo_map`, float32 [5, h, w].
        scar_threshold: minimum probability of a scar for it to count as seen.
    """
    regions = shown[: len(SCAR_TYPES)]
    scar = regions.sum(axis=0)
    if most_scar(shown) < scar_threshold:
        return dict.fromkeys(SCAR_TYPES, 0.0)
    counted = (regions * (scar >= scar_threshold / 2)).sum(axis=(1, 2), dtype=np.float64)
    skin = float((1.0 - shown[MAP_CLASSES.index("no_skin")]).sum())
    return {name: min(float(share / max(skin, 1.0)), 1.0) for name, share in zip(SCAR_TYPES, counted, strict=True)}


def skin_share(shown: np.ndarray) -> float:
    """Return the share of a photo, 0 to 1, that is skin; `shown` is its `photo_map`."""
    return float(1.0 - shown[MAP_CLASSES.index("no_skin")].mean())


def scars_seen(regions: np.ndarray, scar_threshold: float) -> np.ndarray:
    """Return the type seen at each place as an index into `SCAR_TYPES`, or -1 for none; int [h, w].

    Args:
        regions: `Prediction.regions`, float32 [3, h, w].
        scar_threshold: minimum probability of a scar for it to count as seen.
    """
    return np.where(regions.sum(axis=0) >= scar_threshold, regions.argmax(axis=0), -1)


def _enlarged(planes: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in planes])


def _lookups(
    length: int, window: tuple[int, int], inside: tuple[int, int], size: int, cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the output cells in the class map, and whether they are inside the window.

    Args:
        length: side of the photo in pixels.
        window: first and last pixel inside the padding.
        inside: the window's position in the network's square, in pixels.
        size: side of the square in pixels.
        cells: number of cells of the class map along this side.
    """
    cell = size / cells
    scale = (inside[1] - inside[0]) / (window[1] - window[0])
    count = max(1, round(length * scale / cell))
    centres = (np.arange(count) + 0.5) * length / count
    squares = inside[0] + (centres - window[0]) * scale
    return (squares / cell - 0.5).astype(np.float32), (centres >= window[0]) & (centres <= window[1])


def overlay(image: np.ndarray, regions: np.ndarray, scar_threshold: float) -> np.ndarray:
    """Outline the scars seen in a photo, with a colour and line style for each type, and a legend with the notice.

    If no scar is seen, nothing is drawn. A dark and a light line next to each outline keep it visible on any skin;
    dashes tell the types apart in grey.

    Args:
        image: the upright photo, RGB uint8 [H, W, 3].
        regions: `Prediction.regions`, float32 [3, h, w].
        scar_threshold: `Prediction.scar_threshold`.

    Returns:
        RGB uint8 [H + legend, W, 3].
    """
    height, width = image.shape[:2]
    seen = scars_seen(_enlarged(regions, height, width), scar_threshold)
    painted = image.copy()
    thickness = max(1, round(max(height, width) / 320))
    for index, name in enumerate(SCAR_TYPES):
        area = (seen == index).astype(np.uint8)
        tinted = (1 - _FILL) * painted[area > 0] + _FILL * np.array(COLOURS[name])
        painted[area > 0] = np.rint(tinted).astype(np.uint8)
        found, _ = cv2.findContours(area, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        contours = [contour for contour in found if cv2.contourArea(contour) >= _SPECK * height * width]
        cv2.drawContours(painted, contours, -1, (255, 255, 255), 3 * thickness)
        for contour in contours:
            _draw_dashed(painted, contour[:, 0], COLOURS[name], DASHES[name] * thickness, thickness)
    return np.vstack([painted, _legend(width)])


def _draw_dashed(
    picture: np.ndarray, points: np.ndarray, colour: tuple[int, int, int], dash: int, thickness: int
) -> None:
    """Draw a closed line through int32 points [N, 2]; `dash` is the length of a dash in pixels, 0 for none."""
    closed = np.vstack([points, points[:1]])
    pieces = [closed] if not dash else [closed[i : i + dash + 1] for i in range(0, len(closed), 2 * dash)]
    cv2.polylines(picture, [np.ascontiguousarray(piece) for piece in pieces], False, colour, thickness)


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
    """Write text from its lower left corner; return where it ends."""
    cv2.putText(picture, text, position, cv2.FONT_HERSHEY_SIMPLEX, scale, _GREY, 1, cv2.LINE_AA)
    return position[0] + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0]


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write an RGB uint8 [H, W, 3] picture as a PNG without metadata."""
    write_atomically(path, cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())


def overlay_files(folder: Path, photos: Sequence[Path]) -> list[Path]:
    """Return an overlay file for each photo in a folder (created if missing). Equal names get numbers.

    Raises:
        NotADirectoryError: a file has the folder's name.
        OSError: the folder cannot be created.
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
