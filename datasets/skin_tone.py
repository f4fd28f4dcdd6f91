"""Skin tone of a photo as the individual typology angle (ITA), and the names of its groups.

Camera, white balance and light affect it strongly: the angle describes the photo, not the person. Its only use is to
check whether a model works as well on photos of dark skin as on others.
"""

from typing import Final

import cv2
import numpy as np

from .transform import shrunk

TONES: Final = {
    "very_light": (55.0, 90.0),
    "light": (41.0, 55.0),
    "intermediate": (28.0, 41.0),
    "tan": (10.0, 28.0),
    "brown": (-30.0, 10.0),
    "dark": (-90.0, -30.0),
}
"""Groups from light to dark, each above its first angle and up to its second, in degrees.

Chardon, Cretois & Hourseau, "Skin colour typology and suntanning pathways", International Journal of Cosmetic Science,
1991, with the dark group of Del Bino & Bernerd, British Journal of Dermatology, 2013.
"""

_CR: Final = (133, 173)
"""Red chrominance of skin, 0 to 255 (Chai & Ngan, IEEE Trans. Circuits and Systems for Video Technology, 1999)."""

_CB: Final = (77, 127)
"""Blue chrominance of skin, from the same source."""

_LONGEST: Final = 256  # pixels: the median over a smaller copy is the same, and pores and noise are averaged out
_LEAST_SKIN: Final = 0.1  # of the photo's area: less is more likely wood or hair
_TRIMMED: Final = (10, 90)  # percentiles of lightness: shadows and hairs below, highlights above


def typology_angle(image: np.ndarray) -> float | None:
    """Measure the individual typology angle of a photo's skin, atan2(L* - 50, b*).

    Medians of L* and b* (CIELAB, D65) over pixels of the colour of skin, without the darkest and the brightest tenth.
    Skin is detected by chrominance, which misses skin so dark or dimly lit that little chrominance is left.

    Args:
        image: RGB uint8 [H, W, 3].

    Returns:
        Degrees, -90 to 90 for colours of skin, lower for darker skin; None where less than a tenth of the photo has
        the colour of skin.
    """
    small = shrunk(image, _LONGEST)
    skin = _skin(small)
    if skin.mean() < _LEAST_SKIN:
        return None
    lab = cv2.cvtColor(small.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB)[skin]
    low, high = np.percentile(lab[:, 0], _TRIMMED)
    lightness, _, yellow = np.median(lab[(lab[:, 0] >= low) & (lab[:, 0] <= high)], axis=0)
    return float(np.degrees(np.arctan2(lightness - 50.0, yellow)))


def tone_of(angle: float) -> str:
    """Return the group, a key of `TONES`, of an angle in degrees."""
    return next((name for name, (above, _) in TONES.items() if angle > above), "dark")


def _skin(image: np.ndarray) -> np.ndarray:
    """Find pixels of the colour of skin, bool [H, W]."""
    _, red, blue = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    return (red >= _CR[0]) & (red <= _CR[1]) & (blue >= _CB[0]) & (blue <= _CB[1])
