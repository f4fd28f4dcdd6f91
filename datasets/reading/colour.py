"""Colour profiles: how a file's colours become sRGB.

Profiles are ICC files, or are built here from the primaries that PNG, HEIF and AVIF name without one. LittleCMS
converts with the perceptual intent. A profile that is broken, too large or made for other samples is ignored, as in
viewers.
"""

from __future__ import annotations

import io
import re
import struct
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageCms

MAX_PROFILE_BYTES: Final = 4_000_000
"""Size limit of a profile. Those of printing presses have two megabytes."""

_SAMPLES: Final = {"RGB ": ("RGB", None), "GRAY": ("L", ("1", "L", "LA", "La")), "CMYK": ("CMYK", ("CMYK",))}
"""By colour space of a profile: the mode that it converts from, and the modes it applies to; None: all but CMYK."""

_UNSEEN: Final = 2  # levels of 255: a profile that moves no colour further is sRGB by another name
_GRID: Final = 9  # levels of each colour on which that is tried

_D65: Final = (0.3127, 0.3290)
_BT709: Final = (_D65, (0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_PRIMARIES: Final = {
    1: _BT709,
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    11: ((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # DCI-P3
    12: (_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
"""White, red, green and blue as x, y by the code points of ITU-T H.273, table 2."""

_GAMMAS: Final = {4: 2.2, 5: 2.8, 8: 1.0}
"""Exponents by the code points of H.273, table 3. The others are close to the curve of sRGB, or `_HDR`."""

_HDR: Final = (16, 18)  # PQ and HLG, which are not converted

_SRGB_CURVE: Final = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1, as an ICC parametric curve
_PNG_SRGB_GAMMA: Final = 45455  # what PNG writers state beside sRGB, for readers that know no better
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50: Final = np.array([0.9642, 1.0, 0.8249])
_NCLX: Final = re.compile(rb"colrnclx(.{6})", re.DOTALL)


class ToSrgb(NamedTuple):
    """A conversion to sRGB.

    Attributes:
        mode: Pillow mode that it converts from: "RGB", "L" or "CMYK".
        transform: the conversion by LittleCMS.
    """

    mode: str
    transform: ImageCms.ImageCmsTransform

    def __call__(self, strip: Image.Image) -> Image.Image:
        """Convert a picture of any mode that the profile applies to."""
        converted = ImageCms.applyTransform(strip.convert(self.mode), self.transform)
        assert converted is not None
        return converted


@lru_cache(maxsize=8)
def to_srgb(profile: bytes, mode: str) -> ToSrgb | None:
    """Return the conversion of pictures of a Pillow mode, or None if the profile is sRGB or of no use."""
    if len(profile) > MAX_PROFILE_BYTES:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        source_mode, modes = _SAMPLES[source.profile.xcolor_space]
        if mode not in modes if modes else mode == "CMYK":
            return None
        convert = ToSrgb(
            source_mode,
            ImageCms.buildTransform(
                source, ImageCms.createProfile("sRGB"), source_mode, "RGB", ImageCms.Intent.PERCEPTUAL
            ),
        )
        return convert if source_mode == "CMYK" or _moves_colours(convert) else None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError):
        return None


def _moves_colours(convert: ToSrgb) -> bool:
    levels = np.linspace(0, 255, _GRID).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(_GRID, -1, 3)
    if convert.mode == "L":
        grid = np.repeat(levels[None, :, None], 3, axis=2)
    moved = np.asarray(convert(Image.fromarray(grid))).astype(np.int16) - grid
    return bool(np.abs(moved).max() > _UNSEEN)


def profile_of_code_points(primaries: int, transfer: int) -> bytes | None:
    """Return a profile for code points of H.273 (PNG's cICP, HEIF's and AVIF's nclx), or None if they say nothing."""
    if primaries not in _PRIMARIES or transfer in _HDR:
        return None
    gamma = _GAMMAS.get(transfer)
    return _matrix_profile(_PRIMARIES[primaries], (gamma,) if gamma else _SRGB_CURVE)


def profile_of_nclx(data: bytes) -> bytes | None:
    """Return a profile for the first nclx colour box of a HEIF or AVIF file, or None without one."""
    found = _NCLX.search(data)
    return profile_of_code_points(*struct.unpack(">HH", found[1][:4])) if found else None


def profile_of_png(gamma: int | None, chromaticities: tuple[int, ...] | None) -> bytes | None:
    """Return a profile for a PNG's gAMA and cHRM (white, red, green, blue as x and y), in 1/100,000."""
    if gamma is None or not 1_000 <= gamma <= 1_000_000:
        return None
    points = _BT709
    if chromaticities is not None:
        x, y = chromaticities[::2], chromaticities[1::2]
        points = tuple((a / 1e5, b / 1e5) for a, b in zip(x, y, strict=True))
    curve = _SRGB_CURVE if abs(gamma - _PNG_SRGB_GAMMA) < 100 else (1e5 / gamma,)
    return _matrix_profile(points, curve)


def _matrix_profile(points: tuple[tuple[float, float], ...], curve: tuple[float, ...]) -> bytes | None:
    """Build an ICC profile (ICC.1:2010) of white, red, green and blue and one parametric curve for all three."""
    xyz = np.array([[x / y, 1.0, (1 - x - y) / y] if y > 0 else [0.0, 0.0, 0.0] for x, y in points])
    white, primaries = xyz[0], xyz[1:].T
    if abs(np.linalg.det(primaries)) < 1e-6:
        return None
    cones = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))  # adapted to the profile's white, D50
    adapted = np.linalg.inv(_BRADFORD) @ cones @ _BRADFORD @ (primaries * np.linalg.solve(primaries, white))
    kind = {1: 0, 5: 3}[len(curve)]
    tags = {b"desc": b"mluc" + struct.pack(">4xLL", 0, 12), b"wtpt": _xyz(_D50)}
    for letter, colour in zip((b"r", b"g", b"b"), adapted.T, strict=True):
        tags[letter + b"XYZ"] = _xyz(colour)
        tags[letter + b"TRC"] = b"para" + struct.pack(">4xHH", kind, 0) + _fixed(curve)
    table, body, offset = struct.pack(">L", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sLL", name, offset + len(body), len(content))
        body += content
    header = struct.pack(">L4sL4s4s4s12x4s", offset + len(body), b"", 0x04200000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return header.ljust(68, b"\0") + _fixed(_D50).ljust(60, b"\0") + table + body


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(values)


def _fixed(values: np.ndarray | tuple[float, ...]) -> bytes:
    """Pack numbers as s15Fixed16."""
    return b"".join(struct.pack(">l", round(65536 * float(value))) for value in values)
