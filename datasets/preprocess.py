"""The one evaluation transform: from an upright photo to the network's input, in OpenCV and NumPy only.

Training, evaluation, prediction, export and folders all go through these functions. The whole photo stays in view: its
long side becomes the network's input size, and the rest of the square is filled by reflecting the photo, because a
centre crop can cut a scar away and stretching would change its shape.
"""

from typing import Final

import cv2
import numpy as np

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


def fit_square(image: np.ndarray, size: int) -> np.ndarray:
    """Scale the long side to `size` and reflect the photo at its borders to fill a square around its centre.

    Args:
        image: uint8 [H, W, 3], any colour order.
        size: side of the square in pixels.

    Returns:
        uint8 [size, size, 3] in the same colour order.
    """
    top, bottom, left, right = photo_window(image.shape[0], image.shape[1], size)
    height, width = bottom - top, right - left
    # Averaging over areas is the only OpenCV interpolation that does not alias when shrinking; it is blocky enlarging.
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return cv2.copyMakeBorder(scaled, top, size - bottom, left, size - right, cv2.BORDER_REFLECT)


def photo_window(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Return where `fit_square` puts a photo: top, bottom, left, right in pixels of the square."""
    scale = size / max(height, width)
    scaled_height, scaled_width = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size - scaled_height) // 2, (size - scaled_width) // 2
    return top, top + scaled_height, left, left + scaled_width


def normalise(square: np.ndarray, *, mean: tuple[float, float, float], std: tuple[float, float, float]) -> np.ndarray:
    """Turn RGB uint8 [S, S, 3] into the network's float32 [3, S, S]: (value / 255 - mean) / std per channel."""
    scale = 1.0 / (255.0 * np.asarray(std, dtype=np.float32))
    offset = np.asarray(mean, dtype=np.float32) / np.asarray(std, dtype=np.float32)
    return np.ascontiguousarray((square * scale - offset).transpose(2, 0, 1), dtype=np.float32)


def preprocess(
    image: np.ndarray, *, size: int, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> np.ndarray:
    """Turn an upright RGB uint8 [H, W, 3] photo into the network's input, float32 [3, size, size]."""
    return normalise(fit_square(image, size), mean=mean, std=std)
