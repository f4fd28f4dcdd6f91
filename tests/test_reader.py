from __future__ import annotations

import io
import os
import pickle
import resource
import socket
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from scarlens.datasets.reading.reader import MAX_BYTES, ImageReadError, read_bytes, read_image

RNG = np.random.default_rng(0)
SCENE = np.dstack([np.tile(np.arange(48, dtype=np.uint8) * 5, (32, 1))] * 3)
SCENE[:16, :, 1] = 200
SCENE[:, 24:, 2] = 30
NOISE = RNG.integers(0, 256, (32, 48, 3), np.uint8)
AVIF = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


def encode(picture: np.ndarray | Image.Image, form: str, **options) -> bytes:
    file = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(file, form, **options)
    return file.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, pixels: bytes, *extra: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0))
    stream = png_chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + stream + png_chunk(b"IEND", b"")


def tiff(*entries: tuple[int, int, int, int], pixels: bytes = b"") -> bytes:
    """Little-endian TIFF; entries are (tag, kind, count, value); pixels start at byte 8."""
    start = 8 + len(pixels)
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHLL", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<L", start) + pixels + directory + bytes(4)


def store(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Return what a camera stores so that `orientation` turns it upright."""
    stored = np.swapaxes(upright, 0, 1) if orientation > 4 else upright
    turns = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (-1, 1), 7: (-1, -1), 8: (1, -1)}
    down, right = turns.get(orientation, (1, 1))
    return np.ascontiguousarray(stored[::down, ::right])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG", "tiff_lzw"])
def test_orientation_is_applied(form, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    options: dict = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(form, {})
    if form == "tiff_lzw":
        form, options = "TIFF", {"compression": "tiff_lzw"}
    data = encode(store(SCENE, orientation), form, exif=exif, **options)
    picture = read_image(data)
    assert picture.shape == SCENE.shape
    assert np.abs(picture.astype(int) - SCENE).max() <= (12 if form == "JPEG" else 0)


@AVIF
@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_rotation_is_applied(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    picture = read_image(encode(store(SCENE, orientation), "AVIF", exif=exif, quality=95, subsampling="4:4:4"))
    assert picture.shape == SCENE.shape
    assert np.abs(picture.astype(int) - SCENE).mean() < 4


def test_damaged_exif_is_passed_over():
    for exif in (
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0MM\0+\0\x08\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
        b"Exif\0\0nonsense",
    ):
        assert read_image(encode(SCENE, "JPEG", exif=exif)).shape == SCENE.shape
    exif = Image.Exif()
    exif[274] = 99
    assert np.array_equal(read_image(encode(SCENE, "PNG", exif=exif)), SCENE)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "BMP", "GIF", "PPM"])
def test_result_is_exact_contiguous_rgb(form, tmp_path):
    path = tmp_path / "named.wrong"
    path.write_bytes(encode(SCENE, form, **({"lossless": True} if form == "WEBP" else {})))
    picture = read_image(path)
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    assert np.array_equal(picture, read_image(str(path)))
    assert np.abs(picture.astype(int) - SCENE).max() <= (3 if form == "GIF" else 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_modes_become_rgb(mode):
    image = Image.fromarray(SCENE)
    image = Image.merge("LAB", image.split()) if mode == "LAB" else image.convert(mode)
    data = encode(image, "TIFF")
    reference = np.asarray(image.convert("RGB") if mode != "LAB" else Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.abs(read_image(data).astype(int) - reference).max() <= 2


def test_cmyk_jpeg():
    image = Image.fromarray(SCENE)
    assert np.abs(read_image(encode(image.convert("CMYK"), "JPEG", quality=100)).astype(int) - SCENE).mean() < 6


def test_alpha_is_composited_over_white():
    alpha = np.array([[0, 128, 255]], np.uint8)
    colour = np.full((1, 3, 3), (200, 100, 0), np.uint8)
    expected = np.rint(colour * (alpha[..., None] / 255) + 255 - alpha[..., None]).astype(int)
    rgba = np.dstack([colour, alpha])
    for form, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert np.abs(read_image(encode(rgba, form, **options)) - expected).max() <= 1
    grey = Image.merge("LA", [Image.fromarray(colour[..., 0]), Image.fromarray(alpha)])
    assert np.abs(read_image(encode(grey, "PNG")) - expected[..., :1]).max() <= 1
    hidden = np.dstack([NOISE, np.zeros(NOISE.shape[:2], np.uint8)])
    assert np.all(read_image(encode(hidden, "PNG")) == 255)


def test_premultiplied_alpha_is_composited_over_white():
    pixels = bytes([100, 50, 0, 128])
    short = [(256, 1), (257, 1), (259, 1), (262, 2), (277, 4), (278, 1), (338, 1)]
    data = tiff(
        *((tag, 3, 1, value) for tag, value in short), (258, 3, 4, 12), (273, 4, 1, 8), (279, 4, 1, 4),
        pixels=pixels + struct.pack("<4H", 8, 8, 8, 8),
    )  # fmt: skip
    assert np.abs(read_image(data).astype(int) - [[[227, 177, 127]]]).max() <= 2


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_palette_transparency_is_white(form):
    image = Image.new("P", (4, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((2, 1), 0)
    picture = read_image(encode(image, form, transparency=0))
    assert picture[1, 2].tolist() == [255, 255, 255]
    assert picture[0, 0].tolist() == [10, 20, 30]


def test_palette_with_partial_transparency():
    image = Image.new("P", (1, 1), 0)
    image.putpalette([0, 0, 0])
    assert abs(int(read_image(encode(image, "PNG", transparency=bytes([128])))[0, 0, 0]) - 127) <= 1


def test_transparent_colour_key_of_16_bits_is_white():
    grey = png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 4000, 4001), png_chunk(b"tRNS", struct.pack(">H", 4000)))
    assert read_image(grey)[0, :, 0].tolist() == [255, 16]
    pixels = b"\0" + struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0, 0, 0)
    key = png_chunk(b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))
    assert read_image(png(2, 1, 16, 2, pixels, key))[0].tolist() == [[255] * 3, [0] * 3]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_its_shades(form):
    values = np.linspace(0, 65535, 48).astype(np.uint16).reshape(4, 12)
    picture = read_image(encode(values, form))
    assert np.abs(picture[..., 0] - values / 257).max() <= 0.51
    assert np.array_equal(picture[..., 0], picture[..., 2])


def test_white_is_zero_of_16_bits_is_inverted():
    short = [(256, 2), (257, 1), (258, 16), (259, 1), (262, 0), (277, 1), (278, 1)]
    entries = [*((tag, 3, 1, value) for tag, value in short), (273, 4, 1, 8), (279, 4, 1, 4)]
    assert read_image(tiff(*entries, pixels=struct.pack("<2H", 0, 65535)))[0, :, 0].tolist() == [255, 0]


def test_16_bit_colour_keeps_its_shades():
    pixels = b"\0" + struct.pack(">6H", 0, 0x8000, 0xFFFF, 0x1234, 0x4000, 0xC000)
    assert read_image(png(2, 1, 16, 2, pixels))[0].tolist() == [[0, 128, 255], [18, 64, 192]]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (0, 65535), (-3, 9)])
def test_float_tiff_is_scaled(low, high):
    values = np.linspace(low, high, 12).astype(np.float32).reshape(3, 4)
    picture = read_image(encode(values, "TIFF"))
    assert np.abs(picture[..., 0] - (values - low) / (high - low) * 255).max() <= 0.51


def test_float_tiff_with_missing_values():
    values = np.array([[np.nan, 0.0, 1.0, np.inf]], np.float32)
    assert read_image(encode(values, "TIFF"))[0, :, 0].tolist() == [0, 0, 255, 0]


def test_32_bit_tiff_is_scaled():
    values = np.array([[0, 100_000, 200_000]], np.int32)
    assert read_image(encode(values, "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF", pytest.param("AVIF", marks=AVIF)])
def test_first_frame_is_read(form):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    picture = read_image(encode(frames[0], form, save_all=True, append_images=frames[1:]))
    assert np.abs(picture.astype(int) - (250, 0, 0)).max() <= 6


def test_mpo_gives_its_first_picture():
    frames = [Image.new("RGB", (16, 16), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    assert read_image(encode(frames[0], "MPO", save_all=True, append_images=frames[1:]))[8, 8, 0] > 240


CUT = {
    "jpeg": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {}),
    "lossless": ("WEBP", {"lossless": True}),
    "tiff": ("TIFF", {}),
    "lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {}),
    "ppm": ("PPM", {}),
}


@pytest.mark.parametrize("kind", [*CUT, pytest.param("avif", marks=AVIF)])
def test_cut_file_is_refused(kind):
    form, options = CUT.get(kind, ("AVIF", {}))
    data = encode(NOISE, form, **options)
    whole = read_image(data)
    for length in {*range(0, len(data), max(1, len(data) // 150)), *range(len(data) - 20, len(data))}:
        try:
            picture = read_image(data[:length])
        except ImageReadError:
            continue
        # Padding at the very end may be missing; a pixel may not.
        assert length > len(data) - 4
        assert np.array_equal(picture, whole)


def test_changed_bytes_raise_nothing_else():
    for form, options in [*CUT.values(), *([("AVIF", {})] if features.check("avif") else [])]:
        data = bytearray(encode(NOISE, form, **options))
        for position in [*range(min(120, len(data))), *RNG.integers(0, len(data), 60)]:
            damaged = data.copy()
            damaged[position] ^= int(RNG.integers(1, 256))
            try:
                picture = read_image(bytes(damaged))
            except ImageReadError:
                continue
            assert picture.dtype == np.uint8
            assert picture.shape[2] == 3


def test_png_damage_is_refused():
    rows = b"".join(b"\0" + bytes(30) for _ in range(10))
    assert read_image(png(10, 10, 8, 2, rows)).shape == (10, 10, 3)
    with pytest.raises(ImageReadError, match="279 bytes early"):
        read_image(png(10, 10, 8, 2, rows[:31]))
    damaged = bytearray(png(10, 10, 8, 2, rows))
    damaged[-14] ^= 1
    with pytest.raises(ImageReadError, match="checksum"):
        read_image(bytes(damaged))


def test_unused_metadata_is_not_read():
    bomb = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000)))
    wrong = bytearray(png_chunk(b"zTXt", b"x\0\0" + b"no zlib"))
    wrong[-1] ^= 1
    actl = png_chunk(b"acTL", bytes(8))
    assert read_image(png(1, 1, 8, 0, b"\0\x80", bomb, bytes(wrong), actl))[0, 0, 0] == 128


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KB on Linux")
def test_huge_header_is_refused_without_memory():
    def bmp(side: int) -> bytes:
        return b"BM" + struct.pack("<LHHLLllHHLLllLL", 0, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)

    huge_png = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">LLBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    huge_png += png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    assert len(huge_png) == 57
    short = [(258, 8), (259, 1), (262, 1), (277, 1), (273, 8), (279, 1)]
    sides = [(256, 4, 1, 50_000), (257, 4, 1, 50_000), (278, 4, 1, 1)]
    huge_jpeg = b"\xff\xd8\xff\xc0\0\x0b\x08" + struct.pack(">HH", 50_000, 50_000) + b"\x01\x01\x11\0\xff\xd9"
    huge_gif = b"GIF89a" + struct.pack("<HH", 50_000, 50_000) + bytes(3)
    huge_gif += b"," + struct.pack("<4HB", 0, 0, 50_000, 50_000, 0) + b"\2\1\x0c\0;"
    huge_webp = b"RIFF" + struct.pack("<L", 22) + b"WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\x50\xc3\0" * 2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    huge_tiff = tiff(*((tag, 3, 1, value) for tag, value in short), *sides, pixels=b"\0")
    for data in (huge_png, bmp(50_000), huge_tiff, huge_jpeg, huge_gif, huge_webp, b"P6 50000 50000 255 "):
        with pytest.raises(ImageReadError, match=r"pixels, found 50,?00[01] x 50,?00[01]"):
            read_image(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_tiff_with_huge_tile_is_refused():
    short = [(256, 8), (257, 8), (258, 8), (259, 5), (262, 1), (277, 1), (324, 8), (325, 1)]
    data = tiff(*((tag, 3, 1, value) for tag, value in short), (322, 4, 1, 60_000), (323, 4, 1, 60_000), pixels=b"\0")
    with pytest.raises(ImageReadError, match="pixels"):
        read_image(data)


def test_tiff_whose_tags_share_bytes_is_refused():
    short = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (277, 1), (278, 1)]
    shared = [(tag, 4, 1000, 8) for tag in (273, 279)]
    with pytest.raises(ImageReadError, match="truncated"):
        read_image(tiff(*((tag, 3, 1, value) for tag, value in short), *shared, pixels=bytes([8, 0, 0, 0]) * 1000))


@pytest.mark.timeout(20)
def test_endless_comments_are_refused():
    comments = (
        b"P5\n" + b"#\n" * 5_000_000,
        b"P2 9 9 255\n" + b"#\n" * 5_000_000,
        b"GIF89a\1\0\1\0\0\0\0\x21\xfe" + b"\1a" * 5_000_000,
        b"\xff\xd8" + b"\xff" * 10_000_000,
        b"\xff\xd8\xff" + b"\xfe\0\2\xff" * 2_000_000,
    )
    for data in comments:
        with pytest.raises(ImageReadError):
            read_image(data)


def test_jpeg_of_endless_scans_is_refused():
    data = encode(np.zeros((2000, 2000, 3), np.uint8), "JPEG", progressive=True)
    end = len(data) - 2
    scan = b"\xff\xda\0\x08\x01\x01\0\x01\x3f\0\0"
    with pytest.raises(ImageReadError, match="scans"):
        read_image(data[:end] + scan * 2000 + data[end:])


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"plain text", b"<svg xmlns='http://www.w3.org/2000/svg'/>", pickle.dumps([1]), bytes(1000)],
    ids=["empty", "newline", "text", "svg", "pickle", "zeros"],
)
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert caught.value.name == str(path)
    assert "JPEG" in caught.value.expected
    assert str(caught.value) == f"{path}: expected {caught.value.expected}, found {caught.value.found}"


@pytest.mark.parametrize("magic", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0+", b"BM", b"GIF89a", b"P6 "])
def test_magic_numbers_alone_are_refused(magic):
    for data in (magic, magic + bytes(500), magic + b"\xff" * 500, magic + RNG.bytes(500)):
        with pytest.raises(ImageReadError):
            read_image(data)


def test_large_file_is_refused_without_reading(tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ImageReadError, match=f"{MAX_BYTES + 1:,} bytes"):
        read_image(path)
    with pytest.raises(ImageReadError, match=f"{MAX_BYTES + 1:,}"):
        read_image(bytes(MAX_BYTES + 1))


@pytest.mark.timeout(10)
def test_only_regular_files_are_opened(tmp_path):
    fifo, link, end = tmp_path / "fifo", tmp_path / "link", tmp_path / "socket"
    os.mkfifo(fifo)
    link.symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(end))
        for path in (fifo, link, end, Path("/dev/zero"), Path("/dev/tty"), tmp_path, tmp_path / "none", "nul\0name"):
            for read in (read_bytes, read_image):
                with pytest.raises(ImageReadError, match=r"expected a regular file|no such file"):
                    read(path)
    with pytest.raises(ImageReadError, match=r"found a directory \(scarlens batch reads folders\)"):
        read_image(tmp_path)


def test_odd_file_names_stay_one_printable_line(tmp_path):
    for odd in ("a\nb.png", "a\u202eb.png", "a\x1b[31m.png", os.fsdecode(b"a\xff.png"), "größe 画.png"):
        path = tmp_path / odd
        path.write_bytes(encode(SCENE, "PNG"))
        assert np.array_equal(read_image(path), SCENE)
        path.write_bytes(b"no picture")
        with pytest.raises(ImageReadError, match=r"or DICOM file \(convert others to JPEG\), found bytes") as caught:
            read_image(path)
        assert caught.value.name == str(path)
        assert str(caught.value).isprintable()
    assert "größe 画.png" in str(caught.value)


def test_error_can_cross_processes():
    error = ImageReadError("a.png", "a picture", "text")
    again = pickle.loads(pickle.dumps(error))
    assert issubclass(ImageReadError, ValueError)
    assert isinstance(again, ImageReadError)
    assert (again.name, again.expected, again.found) == ("a.png", "a picture", "text")
    assert str(again) == "a.png: expected a picture, found text"


def test_errors_contain_the_name(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    for source, name, shown in (
        (b"", None, "<bytes>"), (b"", "upload 7", "upload 7"), (tmp_path / "x.png", "upload 8", "upload 8"),
        (tmp_path / "missing.png", "upload 9", "upload 9"), (np.zeros(3), None, "<array>"),
    ):  # fmt: skip
        with pytest.raises(ImageReadError) as caught:
            read_image(source, name=name)
        assert caught.value.name == shown


def test_arrays_are_taken_as_they_are():
    assert read_image(SCENE) is SCENE
    flipped = read_image(SCENE[:, ::-1])
    assert flipped.flags.c_contiguous
    assert np.array_equal(flipped, SCENE[:, ::-1])


def test_megapixels_of_each_format_are_those_of_the_docstring():
    def webp(width: int, height: int) -> bytes:
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return b"RIFF" + struct.pack("<L", 22) + b"WEBPVP8X\x0a\0\0\0" + bytes(4) + sides

    def jpeg(width: int, height: int, density: int) -> bytes:
        components = bytes([1, density, 0, 2, 0x11, 0, 3, 0x11, 0])
        frame = b"\xff\xc2\0\x11\x08" + struct.pack(">HH", height, width) + b"\3" + components
        return b"\xff\xd8" + frame + b"\xff\xda\0\x0c\3\1\0\2\0\3\0\0\0\0" + b"\xff\xd9"

    def strips(width: int, height: int, rows: int) -> bytes:
        short = [(258, 8), (259, 1), (262, 2), (277, 3), (273, 8), (279, 1), (256, width), (257, height), (278, rows)]
        return tiff(*((tag, 3, 1, value) for tag, value in short), pixels=b"\0")

    for make, megapixels in (
        (webp, 21), (lambda w, h: jpeg(w, h, 0x11), 36), (lambda w, h: jpeg(w, h, 0x22), 51),
        (lambda w, h: strips(w, h, h), 36), (lambda w, h: strips(w, h, 8), 51),
        (lambda w, h: b"P6 %d %d 9 " % (w, h), 4), (lambda w, h: b"P2 %d %d 255 " % (w, h), 4),
    ):  # fmt: skip
        with pytest.raises(ImageReadError) as allowed:
            read_image(make(megapixels * 500, 2000))
        assert "pixels" not in allowed.value.expected
        with pytest.raises(ImageReadError, match=r"pixels, found|pixels in this type"):
            read_image(make(megapixels * 500 + 500, 2000))


@pytest.mark.parametrize("more", [b"more", b""], ids=["longer", "as long"])
def test_a_file_that_is_written_to_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: bytes
) -> None:
    file = tmp_path / "photo.png"
    Image.new("RGB", (80, 70)).save(file)
    look = os.fstat

    def look_then_write(descriptor: int) -> os.stat_result:
        status = look(descriptor)
        file.write_bytes(file.read_bytes() + more)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
        return status

    monkeypatch.setattr(os, "fstat", look_then_write)
    with pytest.raises(ImageReadError, match=r"photo\.png: expected a file that does not change"):
        read_image(file)
    monkeypatch.undo()
    assert read_image(file).shape == (70, 80, 3)
