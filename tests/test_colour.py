"""Colour: the same picture gives the same pixels, whatever colour space its file is in."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

import scarlens
from scarlens.datasets.reading.colour import MAX_PROFILE_BYTES, profile_of_code_points
from scarlens.datasets.reading.reader import read_image
from scarlens.datasets.rendering import render_photo

# Skin and other colours that every space below can hold.
COLOURS = np.array([[200, 150, 120], [90, 60, 50], [230, 190, 170], [128, 128, 128], [20, 25, 30], [150, 90, 90]])
DISPLAY_P3 = profile_of_code_points(12, 13) or b""
SCENE = np.repeat(np.repeat(COLOURS.astype(np.uint8).reshape(2, 3, 3), 32, axis=0), 32, axis=1)
TO_XYZ = {  # IEC 61966-2-1; SMPTE EG 432-1; ITU-R BT.2020: linear RGB to XYZ with white D65
    1: [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]],
    12: [[0.4866, 0.2657, 0.1982], [0.2290, 0.6917, 0.0793], [0.0000, 0.0451, 1.0439]],
    9: [[0.6370, 0.1446, 0.1689], [0.2627, 0.6780, 0.0593], [0.0000, 0.0281, 1.0610]],
}


def in_space(scene: np.ndarray, primaries: int, gamma: float | None = None) -> np.ndarray:
    """Return sRGB pixels as pixels of another space, by the definitions of the standards."""
    value = scene / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ (np.linalg.inv(TO_XYZ[primaries]) @ TO_XYZ[1]).T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * (srgb if gamma is None else linear ** (1 / gamma))).astype(np.uint8)


def saved(pixels: np.ndarray, form: str, profile: bytes | None = None) -> bytes:
    file = io.BytesIO()
    settings = {"JPEG": {"quality": 100, "subsampling": 0}, "WebP": {"lossless": True}, "AVIF": {"quality": 100}}
    Image.fromarray(pixels).save(file, form, icc_profile=profile, **settings.get(form, {}))
    return file.getvalue()


def png_with(pixels: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    data = saved(pixels, "PNG")
    more = b"".join(
        struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:33] + more + data[33:]  # after IHDR


def close(pixels: np.ndarray, expected: np.ndarray = SCENE, *, levels: int = 3) -> bool:
    """Compare away from the edges, where compression blurs colours."""
    difference = np.abs(pixels.astype(int) - expected)
    return int(difference[12::32, 12::32].max()) <= levels


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WebP", "AVIF"])
@pytest.mark.parametrize("primaries", [12, 9])
def test_an_icc_profile_is_converted_to_srgb(form, primaries):
    pixels = in_space(SCENE, primaries)
    assert not close(pixels)
    assert close(read_image(saved(pixels, form, profile_of_code_points(primaries, 13))))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WebP"])
def test_an_srgb_profile_changes_nothing(form):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(read_image(saved(SCENE, form, srgb)), read_image(saved(SCENE, form)))


def test_png_says_its_colours_without_a_profile():
    display_p3 = in_space(SCENE, 12)
    assert close(read_image(png_with(display_p3, (b"cICP", bytes([12, 13, 0, 1])))))
    chromaticities = struct.pack(">8L", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    gamma = in_space(SCENE, 12, gamma=1.8)
    assert close(read_image(png_with(gamma, (b"gAMA", struct.pack(">L", 55556)), (b"cHRM", chromaticities))))
    assert np.array_equal(read_image(png_with(SCENE, (b"gAMA", struct.pack(">L", 45455)))), SCENE)
    overruled = [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">L", 100_000))]
    assert np.array_equal(read_image(png_with(SCENE, *overruled)), SCENE)


def test_grey_is_converted_too():
    ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None], 64, axis=0)
    linear = png_with(ramp, (b"gAMA", struct.pack(">L", 100_000)))
    value = ramp / 255
    expected = np.rint(255 * np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055))
    assert close(read_image(linear), np.dstack([expected] * 3))


@pytest.mark.parametrize(
    "profile",
    [b"nonsense", b"\0" * 200, DISPLAY_P3[:150], DISPLAY_P3 + bytes(MAX_PROFILE_BYTES)],
    ids=["nonsense", "zeros", "cut", "huge"],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WebP"])
def test_a_profile_that_cannot_be_used_is_ignored(form, profile):
    assert np.array_equal(read_image(saved(SCENE, form, profile)), read_image(saved(SCENE, form)))


def test_a_profile_for_other_samples_is_ignored():
    image, file = Image.fromarray(SCENE).convert("CMYK"), io.BytesIO()
    image.save(file, "TIFF", icc_profile=profile_of_code_points(12, 13))
    plain = io.BytesIO()
    image.save(plain, "TIFF")
    assert np.array_equal(read_image(file.getvalue()), read_image(plain.getvalue()))


def test_transparency_and_colour_go_together():
    pixels = np.dstack([in_space(SCENE, 12), np.full(SCENE.shape[:2], 128, np.uint8)])
    expected = (SCENE.astype(int) * 128 + 255 * 127) // 255
    assert close(read_image(saved(pixels, "PNG", profile_of_code_points(12, 13))), expected)


def test_answers_do_not_depend_on_the_colour_space():
    classifier = scarlens.load()
    for seed in range(6):
        photo = cv2.convertScaleAbs(render_photo("boxcar", seed=seed, size=256).image, alpha=0.9)
        ours = classifier.predict(saved(photo, "PNG"))
        theirs = classifier.predict(saved(in_space(photo, 12), "PNG", profile_of_code_points(12, 13)))
        difference = max(abs(ours.probabilities[name] - theirs.probabilities[name]) for name in ours.probabilities)
        assert difference <= 0.03, (seed, difference)


def test_a_large_jpeg_is_converted_at_reduced_scale():
    large = cv2.resize(render_photo("rolling", seed=3, size=256).image, (4096, 4096), interpolation=cv2.INTER_CUBIC)
    classifier = scarlens.load()
    ours = classifier.predict(saved(large, "JPEG"))
    theirs = classifier.predict(saved(in_space(large, 12), "JPEG", profile_of_code_points(12, 13)))
    assert max(abs(ours.probabilities[name] - theirs.probabilities[name]) for name in ours.probabilities) <= 0.03
