"""Check TIFF 6.0 and BigTIFF files, and EXIF blocks, which are TIFFs without pixels; see `containers`."""

import io
import struct
from typing import Final, NamedTuple

from PIL.TiffImagePlugin import TiffImageFile

from .colour import MAX_PROFILE_BYTES
from .opened import BadFileError, OpenedPicture, check_size

# Tags that describe the pixel storage, and the maximum number of values of each: 300,000 strips or tiles, because
# Pillow makes an object of each; three colours per value of a 16-bit sample; a megabyte of JPEG tables.
_TAGS: Final = {
    256: ("width", 1), 257: ("height", 1), 258: ("bits", 8), 259: ("compression", 1), 262: ("photometric", 1),
    266: ("fill order", 1), 273: ("strip offsets", 300_000), 277: ("samples", 1), 278: ("strip rows", 1),
    279: ("strip sizes", 300_000), 284: ("planes", 1), 292: ("fax 3", 1), 293: ("fax 4", 1), 317: ("predictor", 1),
    320: ("palette", 3 << 16), 322: ("tile width", 1), 323: ("tile height", 1), 324: ("tile offsets", 300_000),
    325: ("tile sizes", 300_000), 338: ("alpha", 8), 339: ("sample format", 8), 347: ("JPEG tables", 1 << 20),
    529: ("YCbCr weights", 3), 530: ("YCbCr density", 2), 531: ("YCbCr position", 1), 532: ("black and white", 6),
    34675: ("profile", MAX_PROFILE_BYTES),
}  # fmt: skip
_ORIENTATION: Final = 274
_PROFILE: Final = 34675
_TYPES: Final = {1: "B", 3: "H", 4: "L", 5: "Q", 7: "B", 16: "Q"}  # struct letters; 5 is a fraction of two L values
# None, three fax encodings, LZW, JPEG, deflate (two numbers) and PackBits.
_COMPRESSIONS: Final = (1, 2, 3, 4, 5, 7, 8, 32946, 32773)
_WHITE_IS_ZERO, _YCBCR = 0, 6  # values of "photometric"
_SAMPLES: Final = 8  # limit per pixel; CMYK with alpha has 5
_ENTRIES: Final = 4096  # limit of entries read per directory; they must be sorted, so the tags above come first
_Entry = tuple[int, int, int, bytes]  # tag, type, count, and the values or, if they do not fit, their offset


class _Directory(NamedTuple):
    """The first directory of a file. In a BigTIFF, counts and offsets have 8 bytes."""

    order: str  # byte order, as a struct prefix
    length: str  # struct format of the number of entries
    offset: str  # of an offset
    entry: str  # of an entry
    entries: list[_Entry]


def open_tiff(data: bytes) -> OpenedPicture:
    """Open the first page of a TIFF or BigTIFF file, through a new directory without metadata or further pages."""
    directory = _directory(data)
    values, kept = _values(data, directory)

    def first(name: str, default: int) -> int:
        return (values.get(name) or (default,))[0]

    width, height, bits, samples = first("width", 0), first("height", 0), first("bits", 1), first("samples", 1)
    if first("compression", 1) not in _COMPRESSIONS:
        raise BadFileError(f"a TIFF with one of the compressions {_COMPRESSIONS}", str(first("compression", 1)))
    if samples > _SAMPLES:
        raise BadFileError(f"at most {_SAMPLES} samples per pixel of a TIFF", f"{samples:,}")
    check_size(width, height)
    offsets = values.get("strip offsets") or values.get("tile offsets", ())
    for offset, size in zip(offsets, values.get("strip sizes") or values.get("tile sizes", ()), strict=False):
        if offset + size > len(data):
            raise BadFileError(f"a TIFF of at least {offset + size:,} bytes", f"{len(data):,}")
    tile = first("tile width", 0) * first("tile height", 0)
    pixels = tile if "tile width" in values else width * min(first("strip rows", height), height)
    photometric = first("photometric", _WHITE_IS_ZERO)
    # One tile or strip is decoded whole. If libtiff converts YCbCr, it takes four bytes per pixel.
    pixel_bytes = max(samples * bits / 8, 4 if photometric == _YCBCR else 0)
    return OpenedPicture(
        TiffImageFile(io.BytesIO(_replace_directory(data, directory, kept))), exif_orientation(data),
        fixed_bytes=int(pixels * pixel_bytes), bits=bits, white_is_zero=photometric == _WHITE_IS_ZERO,
        profile=bytes(values.get("profile", ())),
    )  # fmt: skip


def _directory(data: bytes) -> _Directory:
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    length, offset, entry = (order + letters for letters in (("Q", "Q", "HHQ8s") if big else ("H", "L", "HHL4s")))
    (start,) = struct.unpack_from(offset, data, 8 if big else 4)
    (count,) = struct.unpack_from(length, data, start)
    first, size = start + struct.calcsize(length), struct.calcsize(entry)
    if first + count * size > len(data):
        raise BadFileError("a complete TIFF directory", "a truncated one")
    entries = [struct.unpack_from(entry, data, first + i * size) for i in range(min(count, _ENTRIES))]
    return _Directory(order, length, offset, entry, entries)


def _values(data: bytes, directory: _Directory) -> tuple[dict[str, tuple[int, ...]], list[_Entry]]:
    """Return the values of the known tags by name, and their entries."""
    values, kept, unread = {}, [], len(data)  # tags that share bytes could exceed the file's size in total
    for entry in directory.entries:
        tag, kind, count, field = entry
        name, most = _TAGS.get(tag, ("", 0))
        if not name or name in values or kind not in _TYPES:
            continue
        if count > most and tag == _PROFILE:
            continue
        if count > most:
            raise BadFileError(f"at most {most:,} values in TIFF tag {tag}", f"{count:,}")
        numbers = struct.Struct(f"{directory.order}{count}{_TYPES[kind]}")
        (start,) = struct.unpack(directory.offset, field)
        content = field[: numbers.size] if numbers.size <= len(field) else data[start : start + numbers.size]
        unread -= numbers.size
        if len(content) < numbers.size or unread < 0:
            raise BadFileError("a complete TIFF", f"one truncated in tag {tag}")
        values[name] = numbers.unpack(content)
        kept.append(entry)
    return values, kept


def _replace_directory(data: bytes, directory: _Directory, entries: list[_Entry]) -> bytes:
    """Return the file with a directory of these entries appended, which replaces all others."""
    packed = b"".join(struct.pack(directory.entry, *entry) for entry in sorted(entries))
    new = struct.pack(directory.length, len(entries)) + packed + struct.pack(directory.offset, 0)
    link = struct.pack(directory.offset, len(data))  # last field of the header, which is twice as long
    return b"".join((data[: len(link)], link, memoryview(data)[2 * len(link) :], new))


def exif_orientation(data: bytes) -> int:
    """Return the orientation, 1 to 8, of an EXIF block or a TIFF file; 1 if it is missing or damaged."""
    try:
        directory = _directory(data.removeprefix(b"Exif\0\0"))
    except (BadFileError, KeyError, OverflowError, struct.error):
        return 1
    for tag, kind, _, field in directory.entries:
        (value,) = struct.unpack_from(directory.order + "H", field)
        if tag == _ORIENTATION and _TYPES.get(kind) == "H" and 1 <= value <= 8:
            return value
    return 1
