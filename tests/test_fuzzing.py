"""Ten thousand damaged pictures of every format: each is read or refused in one line, and nothing else happens."""

import io
import random
import struct
import warnings
import zlib
from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np
import pillow_heif
import pytest
from PIL import Image, features

from scarlens.datasets.reading import reduction
from scarlens.datasets.reading.colour import profile_of_code_points
from scarlens.datasets.reading.reader import MAX_PIXELS, ImageReadError, read_image
from scarlens.datasets.transform import read_framed

MUTATIONS: Final = 10_000
"""How many damaged files are read in all."""

SQUARE: Final = 32
"""Side in pixels that pictures are framed in."""

FEWEST: Final = 3
"""Of those made of one whole file, at least so many are still read, and so many refused: else nothing was tried."""

SIDE: Final = 32
SCENE: Final = np.random.default_rng(0).integers(0, 60, (24, SIDE, 3), np.uint8)
SCENE[4:20, 8:24] += np.array([180, 90, 30], np.uint8)

DISPLAY_P3: Final = profile_of_code_points(12, 13)

ADAM7: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Left, top, and steps right and down of each pass of an interlaced PNG."""


# Whole files


def encoded(form: str, mode: str = "RGB", frames: int = 1, orientation: int = 1, **options: object) -> bytes:
    image = Image.fromarray(SCENE).convert(mode)
    if frames > 1:
        options |= {"save_all": True, "append_images": [image.rotate(90)] * (frames - 1)}
    if orientation > 1:
        exif = Image.Exif()
        exif[274] = orientation
        options["exif"] = exif
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def from_values(form: str, dtype: type) -> bytes:
    """Return grey of more than 8 bits."""
    file = io.BytesIO()
    Image.fromarray((SCENE[..., 0] * 200.0).astype(dtype)).save(file, form)
    return file.getvalue()


def heic(mode: str = "RGB", *, deep: bool = False, frames: int = 1) -> bytes:
    image = Image.fromarray(SCENE).convert(mode)
    image.info["icc_profile"] = DISPLAY_P3
    file = pillow_heif.HeifFile()
    for _ in range(frames):
        if deep:
            file.add_frombytes("RGB;16", image.size, (SCENE.astype("<u2") * 257).tobytes())
        else:
            file.add_from_pillow(image)
    stream = io.BytesIO()
    file.save(stream)
    return stream.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def png(pixels: np.ndarray, *, interlaced: bool = False) -> bytes:
    """Return grey [H, W] or RGB [H, W, 3] of 8 or 16 bits in chunks of 500 bytes, after one that is not looked at."""
    rows = [row for left, top, right, down in ADAM7 for row in pixels[top::down, left::right]] if interlaced else pixels
    stream = zlib.compress(b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in rows))
    height, width = pixels.shape[:2]
    colour = 2 if pixels.ndim == 3 else 0
    header = struct.pack(">LLBBBBB", width, height, 8 * pixels.itemsize, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"tEXt", b"Comment\0" + bytes(100))]
    chunks += [(b"IDAT", stream[start : start + 500]) for start in range(0, len(stream), 500)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in [*chunks, (b"IEND", b"")])


def tiff_in_tiles(order: str) -> bytes:
    """Return a TIFF of raw tiles of 16 x 16 pixels, "<" or ">"."""
    padded = np.pad(SCENE, ((0, 8), (0, 0), (0, 0)))
    tiles = b"".join(padded[y : y + 16, x : x + 16].tobytes() for y in (0, 16) for x in (0, 16))
    start = 8 + len(tiles)
    lists = struct.pack(order + "8L", *(8 + 768 * i for i in range(4)), *[768] * 4)
    bits = struct.pack(order + "3H", 8, 8, 8)
    longs = [(256, 1, SIDE), (257, 1, 24), (322, 1, 16), (323, 1, 16), (259, 1, 1), (262, 1, 2), (277, 1, 3)]
    entries = [(tag, 4, count, value) for tag, count, value in [*longs, (324, 4, start), (325, 4, start + 16)]]
    entries.append((258, 3, 3, start + 32))
    directory = struct.pack(order + "H", len(entries))
    directory += b"".join(struct.pack(order + "HHLL", *entry) for entry in sorted(entries)) + bytes(4)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "L", start + len(lists + bits)) + tiles + lists + bits + directory


def bmp_of_runs() -> bytes:
    """Return a BMP of 8-bit palette colours, run-length coded."""
    runs = b"".join(bytes([8, row, 16, row + 1, 0, 3, 1, 2, 3, 0, 5, row]) + b"\0\0" for row in range(24)) + b"\0\1"
    start = 54 + 1024
    header = struct.pack("<LHHLLllHHLLllLL", start + len(runs), 0, 0, start, 40, 32, 24, 1, 8, 1, len(runs), 0, 0, 0, 0)
    return b"BM" + header + bytes(range(256)) * 4 + runs


def pnm_as_text(kind: int) -> bytes:
    values = {1: SCENE[..., 0] > 60, 2: SCENE[..., 0], 3: SCENE}[kind]
    maximum = b"" if kind == 1 else b"255\n"
    return b"P%d\n# made in a test\n32 24\n" % kind + maximum + b" ".join(b"%d" % value for value in values.ravel())


SEEDS: Final[dict[str, Callable[[], bytes]]] = {
    "jpeg": lambda: encoded("JPEG"),
    "jpeg progressive": lambda: encoded("JPEG", progressive=True),
    "jpeg grey": lambda: encoded("JPEG", "L"),
    "jpeg cmyk": lambda: encoded("JPEG", "CMYK"),
    "jpeg full colour, oriented": lambda: encoded("JPEG", orientation=6, subsampling=0),
    "jpeg with a profile": lambda: encoded("JPEG", icc_profile=DISPLAY_P3),
    "png with a profile": lambda: encoded("PNG", icc_profile=DISPLAY_P3),
    "tiff with a profile": lambda: encoded("TIFF", icc_profile=DISPLAY_P3),
    "heic": heic,
    "heic alpha": lambda: heic("RGBA"),
    "heic 16-bit": lambda: heic(deep=True),
    "heic of several": lambda: heic(frames=2),
    "jpeg with restarts": lambda: encoded("JPEG", restart_marker_blocks=1),
    "mpo": lambda: encoded("MPO", frames=2),
    "png": lambda: png(SCENE),
    "png interlaced": lambda: png(SCENE, interlaced=True),
    "png 16-bit colour": lambda: png(SCENE.astype(np.uint16) * 257),
    "png 16-bit grey": lambda: png(SCENE[..., 0].astype(np.uint16) * 257),
    "png palette": lambda: encoded("PNG", "P", transparency=bytes(range(100))),
    "png alpha, oriented": lambda: encoded("PNG", "RGBA", orientation=8, compress_level=0),
    "png black and white": lambda: encoded("PNG", "1"),
    "png animated": lambda: encoded("PNG", frames=2),
    "webp": lambda: encoded("WEBP"),
    "webp lossless": lambda: encoded("WEBP", lossless=True),
    "webp alpha, oriented": lambda: encoded("WEBP", "RGBA", orientation=3),
    "webp animated": lambda: encoded("WEBP", frames=2),
    "tiff": lambda: encoded("TIFF", orientation=5),
    "tiff big": lambda: encoded("TIFF", big_tiff=True),
    "tiff lzw": lambda: encoded("TIFF", compression="tiff_lzw"),
    "tiff deflate": lambda: encoded("TIFF", "RGBA", compression="tiff_adobe_deflate"),
    "tiff packbits": lambda: encoded("TIFF", "CMYK", compression="packbits"),
    "tiff jpeg": lambda: encoded("TIFF", compression="jpeg"),
    "tiff fax": lambda: encoded("TIFF", "1", compression="group4"),
    "tiff palette": lambda: encoded("TIFF", "P"),
    "tiff tiles": lambda: tiff_in_tiles("<"),
    "tiff tiles, big-endian": lambda: tiff_in_tiles(">"),
    "tiff 16-bit": lambda: from_values("TIFF", np.uint16),
    "tiff float": lambda: from_values("TIFF", np.float32),
    "tiff pages": lambda: encoded("TIFF", frames=2, compression="tiff_lzw"),
    "bmp": lambda: encoded("BMP"),
    "bmp palette": lambda: encoded("BMP", "P"),
    "bmp runs": bmp_of_runs,
    "gif": lambda: encoded("GIF", "P", transparency=3),
    "gif animated": lambda: encoded("GIF", frames=3),
    "pgm": lambda: encoded("PPM", "L"),
    "ppm": lambda: encoded("PPM"),
    "pgm 16-bit": lambda: from_values("PPM", np.uint16),
    "pbm": lambda: encoded("PPM", "1"),
    "pbm text": lambda: pnm_as_text(1),
    "pgm text": lambda: pnm_as_text(2),
    "ppm text": lambda: pnm_as_text(3),
}
if features.check("avif"):
    SEEDS["avif"] = lambda: encoded("AVIF")
    SEEDS["avif alpha, oriented"] = lambda: encoded("AVIF", "RGBA", orientation=7, subsampling="4:4:4")
    SEEDS["avif animated"] = lambda: encoded("AVIF", frames=2)


@cache
def whole(seed: str) -> bytes:
    return SEEDS[seed]()


# Damage

EXTREMES: Final = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
)


def place(data: bytearray, chance: random.Random) -> int:
    """Return a position: in half of the cases one in the header."""
    return chance.randrange(min(len(data), 128) if chance.random() < 0.5 else len(data))


def flip(data: bytearray, chance: random.Random) -> None:
    data[place(data, chance)] ^= 1 << chance.randrange(8)


def put(data: bytearray, chance: random.Random) -> None:
    data[place(data, chance)] = chance.choice((0, 0xFF, 0x80, 0x7F, chance.randrange(256)))


def delete(data: bytearray, chance: random.Random) -> None:
    start = place(data, chance)
    del data[start : start + chance.choice((1, 2, 4, chance.randrange(1, 100)))]


def insert(data: bytearray, chance: random.Random) -> None:
    start = place(data, chance)
    data[start:start] = chance.choice((b"\0", b"\xff", chance.randbytes(chance.randrange(1, 30))))


def repeat(data: bytearray, chance: random.Random) -> None:
    start, length = place(data, chance), chance.choice((4, 16, chance.randrange(1, 200)))
    data[start:start] = data[start : start + length] * chance.choice((1, 1, 2, 50))


def truncate(data: bytearray, chance: random.Random) -> None:
    del data[place(data, chance) :]


def splice(data: bytearray, chance: random.Random) -> None:
    """Go on as another file does, of any format, from the same place or from another."""
    other, start = whole(chance.choice(list(SEEDS))), place(data, chance)
    data[start:] = other[start if chance.random() < 0.5 else chance.randrange(len(other)) :]


def put_extreme(data: bytearray, chance: random.Random) -> None:
    """Overwrite a number of 2, 4 or 8 bytes."""
    start, size = place(data, chance), chance.choice((2, 4, 8))
    value = chance.choice([value for value in EXTREMES if value < 1 << 8 * size])
    data[start : start + size] = value.to_bytes(size, chance.choice(("little", "big")))


def swap(data: bytearray, chance: random.Random) -> None:
    """Reverse the bytes of a number."""
    start, size = place(data, chance), chance.choice((2, 4))
    data[start : start + size] = data[start : start + size][::-1]


KINDS: Final = (flip, put, delete, insert, repeat, truncate, splice, put_extreme, swap)


def mutant(seed: str, number: int) -> bytes:
    """Return the damaged file of this number: the same one in every run."""
    chance = random.Random(f"{seed} {number}")
    data = bytearray(whole(seed))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        if data:
            chance.choice(KINDS)(data, chance)
    return with_checksums(data) if chance.random() < 0.7 else bytes(data)


def with_checksums(data: bytearray) -> bytes:
    """Put right the checksums of a PNG, without which no damage would get far."""
    position = 8
    while data.startswith(b"\x89PNG") and position + 12 <= len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4], "big")
        data[end : end + 4] = zlib.crc32(data[position + 4 : end]).to_bytes(4, "big")
        position = end + 4
    return bytes(data)


# Reading


def outcome(data: bytes) -> str:
    """Return "read", "refused", or what else happened, which must not."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = outcome_but_for_warnings(data)
    return f"{found}, but warned: {warned[0].message}" if warned else found


def outcome_but_for_warnings(data: bytes) -> str:
    try:
        picture = read_image(data)
        square = read_framed(data, SQUARE).framed.square
    except ImageReadError as error:
        line = str(error)
        return "refused" if line.isprintable() and line.startswith("<bytes>: expected ") else f"refused by {line!r}"
    except BaseException as error:
        return f"raised {error!r}"
    fits = picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3 and picture.flags.c_contiguous
    fits = fits and 0 < picture.size <= 3 * MAX_PIXELS and square.shape == (SQUARE, SQUARE, 3)
    return "read" if fits else f"read {picture.dtype} {picture.shape}"


@pytest.mark.parametrize("seed", SEEDS)
def test_whole_files_are_read(seed: str) -> None:
    assert outcome(whole(seed)) == "read"
    assert sorted(read_image(whole(seed)).shape) == [3, 24, 32]


@pytest.mark.parametrize("seed", SEEDS)
def test_damaged_files_are_read_or_refused(
    seed: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure names its numbers: `mutant(seed, number)` is the file."""
    monkeypatch.setattr(reduction, "_LEAST_SIDE", {4: 32, 2: 24})  # so that these small pictures are large
    outcomes = {number: outcome(mutant(seed, number)) for number in range(-(-MUTATIONS // len(SEEDS)))}
    assert {number: found for number, found in outcomes.items() if found not in ("read", "refused")} == {}
    read = sum(found == "read" for found in outcomes.values())
    assert FEWEST <= read <= len(outcomes) - FEWEST
    assert capfd.readouterr().out == ""  # libtiff speaks on standard error
