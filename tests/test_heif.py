"""HEIC, the format of iPhones: read upright and in sRGB under any name, and refused when damaged or too large."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

import scarlens
from scarlens.datasets.reading.colour import profile_of_code_points
from scarlens.datasets.reading.reader import ImageReadError, read_image
from scarlens.datasets.rendering import render_photo

SCENE = cv2.GaussianBlur(render_photo("boxcar", seed=1, size=160).image[:, :120], (5, 5), 2)
DARK = SCENE // 4


def heic(*pictures: np.ndarray, **settings) -> bytes:
    file = pillow_heif.HeifFile()
    for pixels in pictures:
        file.add_from_pillow(Image.fromarray(pixels))
    stream = io.BytesIO()
    file.save(stream, quality=95, **settings)
    return stream.getvalue()


def close(pixels: np.ndarray, expected: np.ndarray) -> bool:
    return pixels.shape == expected.shape and float(np.abs(pixels.astype(int) - expected).mean()) < 3


@pytest.mark.parametrize("name", ["cheek.heic", "cheek.jpg", "cheek.png"])
def test_a_heic_file_is_read_under_any_name(tmp_path: Path, name: str):
    (tmp_path / name).write_bytes(heic(SCENE))
    assert close(read_image(tmp_path / name), SCENE)
    assert scarlens.predict(tmp_path / name).width == 120


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    jpeg, stream = io.BytesIO(), io.BytesIO()
    Image.fromarray(SCENE).save(jpeg, "JPEG", quality=98, exif=exif)
    file = pillow_heif.from_pillow(Image.fromarray(SCENE))
    file[0].info["exif"] = exif.tobytes()  # written as HEIF's own orientation and as EXIF, as phones do
    file.save(stream, quality=95)
    assert close(read_image(stream.getvalue()), read_image(jpeg.getvalue()))


def test_ten_bits_and_transparency():
    deep = pillow_heif.from_bytes("RGB;16", SCENE.shape[1::-1], (SCENE.astype("<u2") * 257).tobytes())
    stream = io.BytesIO()
    deep.save(stream, quality=95)
    assert close(read_image(stream.getvalue()), SCENE)
    clear = np.dstack([SCENE, np.zeros(SCENE.shape[:2], np.uint8)])
    assert close(read_image(heic(clear)), np.full_like(SCENE, 255))


def test_of_several_pictures_the_primary_one_is_read():
    assert close(read_image(heic(DARK, SCENE, primary_index=1)), SCENE)
    assert close(read_image(heic(DARK, SCENE, primary_index=0)), DARK)


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def sequence(still: bytes, brand: bytes = b"msf1") -> bytes:
    """Return a sequence of the coded picture of a HEIC file and one more, in a track."""
    decoder = still[still.index(b"hvcC") - 4 :]
    decoder = decoder[: int.from_bytes(decoder[:4], "big")]
    coded = still[still.index(b"mdat") + 4 :]
    file = box(b"ftyp", brand, b"\0\0\0\0heic")
    tables = (
        box(b"stsd", struct.pack(">4xL", 1), box(b"hvc1", bytes(24), struct.pack(">HH", 120, 160), bytes(50), decoder)),
        box(b"stsz", struct.pack(">4xLLLL", 0, 2, len(coded), 8)),
        box(b"stco", struct.pack(">4xLL", 1, len(file) + 8)),
    )
    track = box(b"moov", box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", *tables)))))
    return file + box(b"mdat", coded, b"the next") + track


@pytest.mark.parametrize("brand", [b"msf1", b"hevc"])
def test_of_a_sequence_the_still_or_else_the_first_picture_is_read(brand: bytes):
    still = heic(SCENE)
    assert close(read_image(still[:8] + brand + still[12:] + box(b"moov")), SCENE)
    track = sequence(heic(SCENE), brand)
    assert close(read_image(track), SCENE)
    for damaged in (track[:-30], track[: track.index(b"moov")], track.replace(b"stco", b"none"), track[:200]):
        with pytest.raises(ImageReadError, match="a complete, undamaged HEIF file"):
            read_image(damaged)


def test_a_profile_is_converted():
    image, stream = Image.fromarray(SCENE), io.BytesIO()
    image.info["icc_profile"] = profile_of_code_points(12, 13)
    pillow_heif.from_pillow(image).save(stream, quality=95)
    converted = read_image(stream.getvalue()).astype(int)
    assert (
        not close(converted, SCENE)
        and (converted[..., 0] - converted[..., 2]).mean() > 3 + (SCENE[..., 0].astype(int) - SCENE[..., 2]).mean()
    )


@pytest.mark.parametrize("data", [heic(SCENE), sequence(heic(SCENE))], ids=["still", "sequence"])
def test_damaged_files_are_errors_or_pictures_of_the_same_size(data: bytes):
    dice = random.Random(7)
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(dice.randint(1, 6)):
            damaged[dice.randrange(len(data))] = dice.randrange(256)
        if dice.random() < 0.3:
            del damaged[dice.randrange(len(data)) :]
        try:
            picture = read_image(bytes(damaged))
        except ImageReadError as error:
            assert len(str(error).splitlines()) == 1
        else:
            assert picture.size <= 3 * 51_428_571 and picture.dtype == np.uint8


def test_a_truncated_file_is_an_error():
    data = heic(SCENE)
    for length in (20, len(data) // 4, len(data) // 2, len(data) - 40):
        with pytest.raises(ImageReadError):
            read_image(data[:length])


def test_a_header_that_promises_too_many_pixels_is_refused():
    data = heic(SCENE)
    sizes = (160).to_bytes(4, "big") + (120).to_bytes(4, "big"), (120).to_bytes(4, "big") + (160).to_bytes(4, "big")
    size = next(size for size in sizes if size in data)
    with pytest.raises(ImageReadError):
        read_image(data.replace(size, (30_000).to_bytes(4, "big") * 2))
