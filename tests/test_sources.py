"""What a program may hold: open files, arrays, tensors and Pillow images give the answer of the file they came from."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import scarlens
from scarlens.datasets.reading.reader import ImageReadError, read_image

EXAMPLE = Path(scarlens.__path__[0]) / "datasets" / "rendering" / "examples" / "boxcar.jpg"
PIXELS = read_image(EXAMPLE)
GREY = PIXELS[..., 1]
RGBA = np.dstack([PIXELS, np.full_like(GREY, 128)])
OVER_WHITE = ((PIXELS.astype(int) * 128 + 255 * 127 + 127) // 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (EXAMPLE, PIXELS), (str(EXAMPLE), PIXELS), (EXAMPLE.read_bytes(), PIXELS),
        (bytearray(EXAMPLE.read_bytes()), PIXELS), (memoryview(EXAMPLE.read_bytes()), PIXELS),
        (io.BytesIO(EXAMPLE.read_bytes()), PIXELS), (PIXELS, PIXELS), (PIXELS[::-1][::-1], PIXELS),
        (PIXELS / 255, PIXELS), (PIXELS.astype(np.float32) / 255, PIXELS),
        (GREY, np.dstack([GREY] * 3)), (GREY[..., None], np.dstack([GREY] * 3)), (RGBA, OVER_WHITE),
        (torch.from_numpy(PIXELS).permute(2, 0, 1), PIXELS),
        (torch.from_numpy(PIXELS).permute(2, 0, 1) / 255, PIXELS),
        (torch.from_numpy(GREY)[None].requires_grad_(False), np.dstack([GREY] * 3)),
        (Image.open(EXAMPLE), PIXELS), (Image.fromarray(PIXELS), PIXELS), (Image.fromarray(RGBA), OVER_WHITE),
        (Image.fromarray(GREY), np.dstack([GREY] * 3)),
    ],
)  # fmt: skip
def test_each_source_gives_the_same_pixels(source, expected):
    assert np.array_equal(read_image(source), expected)


def test_an_open_file_is_read_and_stays_open():
    with EXAMPLE.open("rb") as file:
        assert np.array_equal(read_image(file), PIXELS)
        assert not file.closed


def test_the_classifier_takes_them_all():
    sources = [
        EXAMPLE,
        io.BytesIO(EXAMPLE.read_bytes()),
        PIXELS,
        Image.open(EXAMPLE),
        torch.from_numpy(PIXELS).permute(2, 0, 1),
    ]
    answers = list(scarlens.load().predict_many(sources))
    assert len({str(answer.to_dict()) for answer in answers if isinstance(answer, scarlens.Prediction)}) == 1
    assert not any(isinstance(answer, ImageReadError) for answer in answers)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_a_pillow_image_is_applied_once(orientation):
    image, exif = Image.fromarray(PIXELS[:80]), Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    assert np.array_equal(read_image(Image.open(file)), read_image(file.getvalue()))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.moveaxis(PIXELS, 2, 0), r"put colours last: np.moveaxis\(array, 0, 2\)"),
        (PIXELS[None], "one photo at a time"),
        (np.zeros((4, 4, 2), np.uint8), r"found \[4, 4, 2\]"),
        (PIXELS.astype(np.float32), r"floats in 0..1 \(divide by 255, or undo the normalisation\)"),
        (PIXELS / 255 - 0.5, "floats in 0..1"),
        (np.full((4, 4), np.nan), "floats in 0..1"),
        (PIXELS.astype(np.int64), r"a uint8 array, or floats in 0..1 \(scale it\), found int64"),
        (np.zeros((0, 4, 3), np.uint8), "pixels, found 4 x 0"),
        (np.broadcast_to(np.uint8(0), (60_000_000, 1, 3)), "1 to 51,428,571 pixels"),
        (torch.zeros(1, 3, 8, 8), r"a tensor \[3, H, W\] of one photo"),
        (torch.zeros(8, 8, 3), r"a tensor \[3, H, W\] of one photo"),
        (io.StringIO("text"), "a file opened in binary mode"),
        ("https://example.org/cheek.jpg", "a web address; download it first"),
        ("s3://bucket/cheek.jpg", "a web address; download it first"),
        (Path("https://example.org/cheek.jpg"), "a web address; download it first"),
    ],
)  # fmt: skip
def test_what_is_ambiguous_is_an_error_that_says_how_to_fix_it(source, message):
    with pytest.raises(ImageReadError, match=message) as caught:
        read_image(source)
    assert len(str(caught.value).splitlines()) == 1


def test_a_damaged_pillow_image_is_an_error():
    with pytest.raises(ImageReadError, match="an image that Pillow can load"):
        read_image(Image.open(io.BytesIO(EXAMPLE.read_bytes()[:3000])))


def test_other_types_are_a_type_error():
    with pytest.raises(TypeError, match="expected a path, an open file, bytes"):
        read_image(7)  # pyright: ignore[reportArgumentType]
