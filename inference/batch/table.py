"""The tables of a batch: columns, escaping, and the three file formats."""

from __future__ import annotations

import codecs
import csv
import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from ...datasets.labels import SCAR_TYPES

if TYPE_CHECKING:
    import pyarrow

PROBABILITIES: Final = tuple(f"p_{name}" for name in SCAR_TYPES)
"""Columns of the type probabilities, in the order of `SCAR_TYPES`."""

EXTENTS: Final = tuple(f"extent_{name}" for name in SCAR_TYPES)
"""Columns of each type's share of the visible skin."""

COLUMNS: Final = (
    *("path", "status", "label", *PROBABILITIES, "in_scope", "plausible", *EXTENTS, "skin"),
    *("reason", "sha256", "width", "height", "model_id", "version"),
)
r"""The columns of every table, in order.

- path: relative to the folder, with "/" as separator. A backslash is written `\\`; control and formatting characters,
  line separators and bytes that are not UTF-8 are escaped as in Python: `\n`, `\x1b`, `\u200f`, and `\udcff` for a
  byte 0xff that is not UTF-8. `original_path` reverses this.
- status: "ok" with a label, "abstained", or "error".
- label, p_*, in_scope, plausible, extent_*, skin: as in `Prediction`, rounded to six digits; empty for errors.
- reason: why it abstained, a key of `reasons.REASONS`, or the error in one line, with ";" replaced by ",".
- sha256: digest of the file's content, if it could be read.
- width, height: size of the upright photo in pixels, if it could be read.
- model_id, version: the model and the version of scarlens, in every row.

CSV is UTF-8 without a byte order mark. None is an empty cell, and the names in `plausible` are joined by "|". A text
that a spreadsheet would run as a formula, or that begins with an apostrophe, gets an apostrophe in front.
"""

Row = dict[str, Any]
"""A value, or None, for each of `COLUMNS`."""

_LONGEST_LINE: Final = 1_000_000  # bytes of a row
_ROW_GROUP: Final = 10_000  # rows of a Parquet file that are held until they are written together

# Characters that end lines, reorder or hide text, or cannot be encoded.
_ESCAPED: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
_ESCAPE: Final = re.compile(r"\\(?:[\\nrt]|x..|u.{4}|U.{8})")
# The apostrophe is included, so that a leading one is never ambiguous; the last four are full-width "=+-@".
_FORMULA: Final = re.compile(r"[\t\r\n]|\s*[-=+@'\uff1d\uff0b\uff0d\uff20]")


def escaped(text: str) -> str:
    """Escape characters that would end, reorder or hide a line of text, as Python does."""
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in _ESCAPED else c for c in text)


def escaped_path(path: str) -> str:
    """Return a file's path as in the column `path`."""
    return escaped(path.replace("\\", "\\\\"))


def original_path(path: str) -> str:
    """Return the file's path, for `open`, from the column `path` of JSON Lines or Parquet."""
    return _ESCAPE.sub(lambda match: match[0].encode().decode("unicode_escape"), path)


def schema() -> pyarrow.Schema:
    """Return the Parquet schema."""
    import pyarrow as pa

    kinds = dict.fromkeys(COLUMNS, pa.string())
    kinds |= dict.fromkeys((*PROBABILITIES, "in_scope", *EXTENTS, "skin"), pa.float64())
    kinds |= dict.fromkeys(("width", "height"), pa.int32())
    kinds["plausible"] = pa.list_(pa.string())
    return pa.schema(kinds)


def _write_csv(rows: Iterable[Row], file: BinaryIO) -> None:
    # All cells are quoted: a name then stays one cell also where lines are split at ";" instead of ",".
    writer = csv.writer(codecs.getwriter("utf-8")(file), quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(row[column]) for column in COLUMNS])


def _cell(value: Any) -> Any:
    text = "|".join(value) if isinstance(value, list) else value
    return f"'{text}" if isinstance(text, str) and _FORMULA.match(text) else text


def _write_jsonl(rows: Iterable[Row], file: BinaryIO) -> None:
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def _write_parquet(rows: Iterable[Row], file: BinaryIO) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    remaining, columns = iter(rows), schema()
    with pq.ParquetWriter(file, columns) as writer:
        while group := [*islice(remaining, _ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(group, columns))


WRITERS: Final[dict[str, Callable[[Iterable[Row], BinaryIO], None]]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
"""Functions that write rows to an open file, by file suffix."""


def is_earlier_table(path: Path) -> bool:
    """Return whether a file is empty or begins like our tables. Only regular files are opened."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.stat().st_size == 0 or _BEGINNINGS[path.suffix.lower()](file)


def _begins_as_csv(file: BinaryIO) -> bool:
    empty = BytesIO()
    WRITERS[".csv"]([], empty)
    return file.read(len(empty.getvalue())) == empty.getvalue()


def _begins_as_jsonl(file: BinaryIO) -> bool:
    try:
        row = json.loads(file.readline(_LONGEST_LINE))
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and tuple(row) == COLUMNS


def _begins_as_parquet(file: BinaryIO) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return tuple(pq.read_schema(file).names) == COLUMNS
    except (pa.ArrowException, OSError):  # a damaged file raises either
        return False


_BEGINNINGS: Final = {".csv": _begins_as_csv, ".jsonl": _begins_as_jsonl, ".parquet": _begins_as_parquet}
