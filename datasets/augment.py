"""The training augmentation. Only training imports this module."""

import string
from typing import Final, NamedTuple

import cv2
import numpy as np

from .annotations.scar_map import NOT_SKIN, ScarMap, places_over
from .offline import stay_offline
from .transform import frame, placed, shrunk

_BOXED: Final = 0.3
"""Share of views with a pasted box: every type gets them, so that a box says nothing about the type."""

_BORDERED: Final = 0.2
_LETTERED: Final = 0.3

_WEB_SIDES: Final = (160, 512)
"""Range of long sides in pixels to which larger photos are shrunk, so that resolution cannot reveal the source."""


class View(NamedTuple):
    """A view of a photo.

    Attributes:
        square: RGB uint8 [S, S, 3].
        places: uint8 [S, S], as in `scar_map.ScarMap`.
    """

    square: np.ndarray
    places: np.ndarray


class Augmentation:
    """Random views of a photo. The seed of a call decides the view.

    albumentations keeps one random state per process, so forked DataLoader workers would draw the same augmentations
    every epoch. With a seed for each call, views differ between photos and epochs, and a resumed run repeats them
    exactly, with any number of workers.
    """

    size: int

    def __init__(self, size: int) -> None:
        """Build the augmentation for squares of `size` pixels."""
        stay_offline()
        import albumentations as A  # noqa: N812

        self.size = size
        # Before framing: light, compression and marks, as photo files have them. None of it may reveal the type or the
        # source, and framing has to cope with it as it does in prediction.
        self._filed = A.Compose(
            [
                A.RandomBrightnessContrast(brightness_limit=0.0, contrast_limit=(-0.25, 0.25), p=0.5),
                A.MultiplicativeNoise(multiplier=(0.75, 1.25), p=0.5),
                A.ImageCompression(quality_range=(30, 95), p=0.6),
            ]
        )
        self._framed = A.Compose(
            [
                A.RandomResizedCrop((size, size), scale=(0.5, 1.0), ratio=(0.85, 1.18), p=1.0),
                A.D4(p=1.0),  # the canonical orientation is often nearly a tie, so all eight must work
                A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.7),
                A.HueSaturationValue(hue_shift_limit=8, sat_shift_limit=25, val_shift_limit=0, p=0.5),
                A.ToGray(p=0.1),  # the types are shapes: colour alone must not decide
                A.OneOf([A.GaussianBlur(blur_limit=(3, 5)), A.GaussNoise(std_range=(0.01, 0.05))], p=0.3),
            ]
        )

    def __call__(self, image: np.ndarray, scar_map: ScarMap, *, seed: int) -> View:
        """Return a random view of an RGB uint8 [H, W, 3] photo and its scar map."""
        # One seed each: with a shared seed, the same random numbers would choose both crop and contrast.
        filed, framed, marks = np.random.SeedSequence(seed).generate_state(3).tolist()
        self._filed.set_random_seed(filed)
        self._framed.set_random_seed(framed)
        random = np.random.default_rng(marks)
        small = shrunk(image, int(random.integers(*_WEB_SIDES)))
        photo, places = with_marks(small, places_over(scar_map, *small.shape[:2]), random)
        # A little larger than the network's input, so that a crop rarely has to be enlarged.
        side = self.size * 8 // 7
        square, placement, *_ = frame(self._filed(image=photo)["image"], side)
        view = self._framed(image=square, mask=placed(places, placement, side))
        return View(view["image"], view["mask"])


def with_marks(image: np.ndarray, places: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Paste a box, a border or letters onto copies of a photo and its places, at random, as web photos have them.

    Args:
        image: RGB uint8 [H, W, 3].
        places: uint8 [H, W], as in `scar_map.ScarMap`; pasted areas become "no skin".
        random: source of randomness.
    """
    box, border, letters = random.random(3) < (_BOXED, _BORDERED, _LETTERED)
    marked, places = image.copy(), places.copy()
    if box:
        _paste_box(marked, places, random)
    if border:
        marked, places = _bordered(marked, places, random)
    if letters:
        _write_letters(marked, random)
    return marked, places


def _paste_box(image: np.ndarray, places: np.ndarray, random: np.random.Generator) -> None:
    height, width = image.shape[:2]
    tall, wide = round(height * random.uniform(0.1, 0.3)), round(width * random.uniform(0.2, 0.5))
    top, left = random.integers(height - tall + 1), random.integers(width - wide + 1)
    image[top : top + tall, left : left + wide] = _colour(random)
    places[top : top + tall, left : left + wide] = NOT_SKIN


def _bordered(image: np.ndarray, places: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    thickness = round(max(image.shape[:2]) * random.uniform(0.02, 0.1))
    top, bottom, left, right = np.where(random.random(4) < 0.6, thickness, 0).tolist()
    padded = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=_colour(random))
    beside = cv2.copyMakeBorder(places, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(NOT_SKIN,))
    return padded, beside


def _write_letters(image: np.ndarray, random: np.random.Generator) -> None:
    height, width = image.shape[:2]
    text = "".join(random.choice(list(string.ascii_letters), random.integers(1, 9)))
    position = (round(width * random.uniform(0.0, 0.7)), round(height * random.uniform(0.08, 0.98)))
    font = int(random.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX]))
    scale = height / 300 * random.uniform(0.5, 1.5)
    thickness = max(1, round(height / 150 * random.uniform(0.5, 2.0)))
    cv2.putText(image, text, position, font, scale, _colour(random), thickness, cv2.LINE_AA)


def _colour(random: np.random.Generator) -> tuple[int, int, int]:
    """Draw a colour: black or white in 80 % of cases."""
    if random.random() < 0.8:
        return (255, 255, 255) if random.random() < 0.5 else (0, 0, 0)
    red, green, blue = random.integers(256, size=3).tolist()
    return red, green, blue
