"""What a program may give as a photo: a path, an open file, bytes, an array, a Pillow image or a torch tensor."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeAlias

import numpy as np
from PIL import Image

from .opened import BadFileError

if TYPE_CHECKING:
    import torch

Source: TypeAlias = (
    "str | os.PathLike[str] | BinaryIO | bytes | bytearray | memoryview | np.ndarray | Image.Image | torch.Tensor"
)
"""A photo as a program may hold it:

- a path of an image file, a file opened in binary mode, or the bytes of one;
- a NumPy array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (grey, RGB, RGBA), uint8, or float with values 0 to 1;
- a torch tensor [1, H, W], [3, H, W] or [4, H, W] of the same types, on any device;
- a `PIL.Image.Image`. Its EXIF orientation and its colour profile are applied.
"""

_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]+://|(https?|ftp|s3|gs):/", re.IGNORECASE)  # a `Path` keeps one slash
_COLOURS: Final = (1, 3, 4)

_LEFTOVERS: Final = ("__macosx", "thumbs.db", "desktop.ini", "@eadir")


def is_leftover(name: str) -> bool:
    """Return whether a file or folder is no photo by its name: hidden (".name"), or left by macOS, Windows or a NAS."""
    return name.startswith(".") or name.casefold() in _LEFTOVERS


def name_of(source: Source) -> str:
    """Return the name of a source in errors: its path, or its type in angle brackets."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return "<array>" if isinstance(source, np.ndarray) else f"<{type(source).__name__}>"


def is_tensor(source: object) -> bool:
    """Return whether this is a torch tensor, without importing torch."""
    return type(source).__module__.partition(".")[0] == "torch" and hasattr(source, "detach")


def array_of_tensor(tensor: Any) -> np.ndarray:
    """Return a tensor [C, H, W] as an array [H, W, C]."""
    array = tensor.detach().cpu().numpy()
    if array.ndim != 3 or array.shape[0] not in _COLOURS:
        raise BadFileError("a tensor [3, H, W] of one photo", str(list(array.shape)))
    return np.moveaxis(array, 0, 2)


def rgb_of_array(array: np.ndarray) -> np.ndarray:
    """Return a grey, RGB or RGBA array as uint8 RGB [H, W, 3]. One of this form is returned itself.

    Raises:
        BadFileError: another shape, another type, or floats outside 0..1.
    """
    planes = array[..., None] if array.ndim == 2 else array
    if planes.ndim != 3 or planes.shape[2] not in _COLOURS:
        first = array.ndim == 3 and array.shape[0] in _COLOURS
        fix = "put colours last: np.moveaxis(array, 0, 2)" if first else "one photo at a time"
        raise BadFileError(f"an array [H, W], [H, W, 3] or [H, W, 4] ({fix})", str(list(array.shape)))
    if np.issubdtype(planes.dtype, np.floating):
        planes = _scaled(planes)
    if planes.dtype != np.uint8:
        raise BadFileError("a uint8 array, or floats in 0..1 (scale it)", f"{planes.dtype}")
    if planes.shape[2] == 1:
        planes = np.repeat(planes, 3, axis=2)
    return over_white(planes[..., :3], planes[..., 3:]) if planes.shape[2] == 4 else planes


def _scaled(values: np.ndarray) -> np.ndarray:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not (low >= 0.0 and high <= 1.0):  # also where one is not a number
        raise BadFileError("floats in 0..1 (divide by 255, or undo the normalisation)", f"{low:g} to {high:g}")
    return np.rint(255 * values).astype(np.uint8)


def over_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composite uint8 [H, W, 3] with alpha, uint8 [H, W, 1], over white."""
    alpha = alpha.astype(np.uint16)
    return ((colours * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def require_no_address(name: str) -> None:
    """Refuse a web address. Nothing here fetches anything."""
    if _ADDRESS.match(name):
        raise BadFileError("a file of this machine", "a web address; download it first")
