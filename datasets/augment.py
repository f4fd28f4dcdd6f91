"""The training augmentation. Only training imports this module; prediction never does."""

import os

import numpy as np

from .preprocess import fit_square


class Augmentation:
    """Random views of a photo, each decided by the seed of the call alone.

    albumentations keeps a random state per process: forked DataLoader workers draw the same augmentations and repeat
    them each epoch. Seeding each call makes views differ between photos, workers and epochs, and repeat exactly
    when a run is resumed, with any number of workers.
    """

    size: int

    def __init__(self, size: int) -> None:
        """Build the augmentation for squares of `size` pixels."""
        # albumentations looks for updates over the network when it is imported, unless told not to before.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations as A  # noqa: N812

        self.size = size
        self._compose = A.Compose(
            [
                A.RandomResizedCrop((size, size), scale=(0.5, 1.0), ratio=(0.85, 1.18), p=1.0),
                A.D4(p=1.0),  # skin has no upright side: all eight orientations are alike
                A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.7),
                A.HueSaturationValue(hue_shift_limit=8, sat_shift_limit=25, val_shift_limit=0, p=0.5),
                A.ToGray(p=0.1),  # the types are shapes: colour alone must not decide
                A.OneOf([A.GaussianBlur(blur_limit=(3, 5)), A.GaussNoise(std_range=(0.01, 0.05))], p=0.2),
                A.ImageCompression(quality_range=(40, 95), p=0.5),
            ]
        )

    def __call__(self, image: np.ndarray, *, seed: int) -> np.ndarray:
        """Turn an RGB uint8 [H, W, 3] photo into a random RGB uint8 [size, size, 3] view of it."""
        self._compose.set_random_seed(seed)
        # A little larger than the network's input, so that a crop rarely has to be enlarged.
        return self._compose(image=fit_square(image, self.size * 8 // 7))["image"]
