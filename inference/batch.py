"""A folder of photos in, a table out: one row per file, in a fixed order, and no file that can stop the run.

Four steps, each fed by the one before and none holding more than a batch: find the files, read them, classify them,
write the rows.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
import os
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np

from ..datasets.atomic import atomic_file
from ..datasets.labels import SCAR_TYPES
from ..datasets.reader import ImageReadError, read_bytes, read_image
from .classifier import Classifier, load
from .prediction import Prediction

_PROBABILITIES: Final = tuple(f"p_{name}" for name in SCAR_TYPES)

COLUMNS: Final = (
    *("path", "status", "label", *_PROBABILITIES, "in_scope", "plausible"),
    *("reason", "sha256", "width", "height", "model_id"),
)
"""The columns of every table, in order; `predict_folder` says what they hold."""

Row = dict[str, Any]
"""A value, or None, for each of `COLUMNS`."""

_DIGITS: Final = 6  # after the point: more is noise, which a batch of another size would change
_REASON_LENGTH: Final = 300
_BATCH_PIXELS: Final = 24_000_000
"""A batch with so many pixels is classified though more photos would fit: large photos must not fill the memory."""

_ROW_GROUP: Final = 10_000  # rows of a Parquet file that are held until they are written together

# Characters that end lines, reorder or hide text, or cannot be encoded.
_ESCAPED: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
_ESCAPE: Final = re.compile(r"\\(?:[\\nrt]|x..|u.{4}|U.{8})")
# With an apostrophe, so that one before a text always means the same; the last four are full-width "=+-@".
_FORMULA: Final = re.compile(r"[\t\r\n]|\s*[-=+@'\uff1d\uff0b\uff0d\uff20]")


@dataclass(frozen=True, kw_only=True)
class BatchSummary:
    """What became of a folder.

    Attributes:
        total: rows written, which is files found.
        ok: rows with a label.
        abstained: rows of photos that were read but got no label.
        errors: rows of files that could not be read or classified.
        output: the table.
        model_id: the digest that names the model.
        seconds: how long it took.
    """

    total: int
    ok: int
    abstained: int
    errors: int
    output: Path
    model_id: str
    seconds: float


class _Photo(NamedTuple):
    """A file that was read, or the reason why it could not be."""

    path: str  # escaped
    sha256: str | None
    image: np.ndarray | None  # RGB uint8 [H, W, 3]
    problem: str | None


def predict_folder(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    classifier: Classifier | None = None,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> BatchSummary:
    r"""Classify every file below a folder into a table with one row per file, sorted by the bytes of its path.

    Hidden files and folders (".name") and the output itself are left out; linked folders are not entered. Whatever
    is not a readable photo within the folder, also a link that leads out of it, gets a row that says so. The table
    is written under a hidden name and takes its own name when it is complete: an interrupted run leaves an earlier
    table as it was.

    The columns are `COLUMNS`:

    - path: relative to the folder, "/" between its parts. A backslash is written `\\`; control and formatting
      characters, line separators and bytes that are not UTF-8 are written as Python writes them: `\n`,
      `\x1b`, `\u200f`, and a byte 0xff that is not UTF-8 as `\udcff`. `original_path` undoes it.
    - status: "ok" with a label, "abstained", or "error".
    - label, p_*, in_scope, plausible: as in `Prediction`, rounded to six digits; empty in an error's row.
    - reason: why it abstained, a key of `prediction.REASONS`, or the error in one line; a ";" in it becomes ",".
    - sha256: of the file's content, where it could be read.
    - width, height: of the upright photo in pixels, where it could be read.
    - model_id: the model, in every row.

    In CSV, UTF-8 without a mark, None is an empty cell and the names in `plausible` are joined by "|". A text that a
    spreadsheet would run as a formula, or that begins with an apostrophe, gets an apostrophe before it; removing one
    from each text that has it gives the other formats' text.

    Args:
        folder: the photos, at any depth.
        output: the table: `.csv`, `.jsonl` (JSON Lines) or `.parquet`. An earlier one is replaced.
        classifier: from `load`; by default the checkpoint that ships.
        batch_size: how many photos the network sees at a time, fewer when they are large.
        progress: called after each row with the rows done and the files found; may raise to stop the run.

    Raises:
        ValueError: an output of another kind, or a batch size below 1.
        NotADirectoryError: there is no such folder, or none to write the output into.
        IsADirectoryError: the output is a folder.
        OSError: the table cannot be written.
        CheckpointError: the checkpoint that ships cannot be loaded.
    """
    started = time.monotonic()
    root, output = Path(folder), Path(output)
    write = _WRITERS.get(output.suffix.lower())
    if write is None:
        raise ValueError(f"{output}: expected a name that ends in {', '.join(_WRITERS)}, found {output.suffix!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: expected a folder of photos, found {_kind(root)}")
    if not output.parent.is_dir():
        raise NotADirectoryError(f"{output.parent}: expected a folder to write into, found {_kind(output.parent)}")
    if output.is_dir():
        raise IsADirectoryError(f"{output}: expected a file to write, found a folder")
    root = root.resolve()
    table = output.parent.resolve() / output.name
    classifier = classifier or load()

    total = sum(1 for _ in find_files(root, without=table)) if progress else 0
    photos = (_read(root, path, problem) for path, problem in find_files(root, without=table))
    rows = (row for batch in _batches(photos, batch_size) for row in _classify(classifier, batch))
    counts: Counter[str] = Counter()

    def counted() -> Iterator[Row]:
        for row in rows:
            yield row
            counts[row["status"]] += 1
            if progress:
                progress(counts.total(), max(total, counts.total()))  # files may have been added since

    with atomic_file(table) as file:
        write(counted(), file)
    return BatchSummary(
        total=counts.total(),
        ok=counts["ok"],
        abstained=counts["abstained"],
        errors=counts["error"],
        output=output,
        model_id=classifier.model_id,
        seconds=time.monotonic() - started,
    )


def original_path(path: str) -> str:
    """Return the file's path, as `open` takes it, for what stands in the column `path` of JSON Lines or Parquet."""
    return _ESCAPE.sub(lambda match: match[0].encode().decode("unicode_escape"), path)


def find_files(root: Path, *, without: Path | None = None) -> Iterator[tuple[bytes, str | None]]:
    """Yield the relative path of everything below a folder that is no folder itself, sorted by bytes.

    The second part is None, but for a folder that cannot be listed: it is yielded itself, with the reason.

    Args:
        root: the folder, resolved; hidden names below it are left out.
        without: a resolved path that is left out.
    """
    left_out = os.fsencode(without.relative_to(root)) if without and without.is_relative_to(root) else None
    # The next one stands last. A folder's path ends in "/", which puts what it holds in its place among the others.
    pending = [b""]
    while pending:
        path = pending.pop()
        if path and not path.endswith(b"/"):
            yield path, None
            continue
        try:
            with os.scandir(os.path.join(os.fsencode(root), path)) as entries:  # noqa: PTH118 (bytes)
                inside = [
                    path + entry.name + (b"/" if entry.is_dir(follow_symlinks=False) else b"")
                    for entry in entries
                    if not entry.name.startswith(b".") and path + entry.name != left_out
                ]
        except OSError as error:
            if not path:
                raise
            yield path[:-1], f"expected a folder that can be listed, found {error.strerror or error}"
            continue
        pending.extend(sorted(inside, reverse=True))


def _read(root: Path, path: bytes, problem: str | None) -> _Photo:
    """Read a file once; whatever goes wrong becomes the photo's problem."""
    sha256 = image = None
    name = os.fsdecode(path)
    if problem is None:
        try:
            file = root / name
            # Not `Path.resolve`, which raises for a link to itself in some versions of Python.
            if file.is_symlink() and not Path(os.path.realpath(file)).is_relative_to(root):
                raise ImageReadError(name, "a file within the folder", "a link that leads out of it")
            data = read_bytes(file)
            sha256 = hashlib.sha256(data).hexdigest()
            image = read_image(data)
        except Exception as error:
            problem = _problem(error)
    return _Photo(_escape(name.replace("\\", "\\\\")), sha256, image, problem)


def _batches(photos: Iterable[_Photo], batch_size: int) -> Iterator[list[_Photo]]:
    """Group photos; a batch is emptied when the next one is asked for, so that never two are in memory."""
    batch: list[_Photo] = []
    pixels = 0
    for photo in photos:
        batch.append(photo)
        pixels += 0 if photo.image is None else photo.image.shape[0] * photo.image.shape[1]
        if len(batch) >= batch_size or pixels >= _BATCH_PIXELS:
            yield batch
            batch.clear()
            pixels = 0
    if batch:
        yield batch


def _classify(classifier: Classifier, batch: list[_Photo]) -> Iterator[Row]:
    images = [photo.image for photo in batch if photo.image is not None]
    answers = iter(_answers(classifier, images) if images else [])
    for photo in batch:
        yield _row(photo, None if photo.image is None else next(answers), classifier.model_id)


def _answers(classifier: Classifier, images: list[np.ndarray]) -> list[Prediction | Exception]:
    """Classify photos together, or each by itself where that fails: one bad photo then costs no other its answer."""
    try:
        return [*classifier.predict_many(images, batch_size=len(images))]
    except Exception as error:
        return [error] if len(images) == 1 else [_answers(classifier, [image])[0] for image in images]


def _row(photo: _Photo, answer: Prediction | Exception | None, model_id: str) -> Row:
    row: Row = dict.fromkeys(COLUMNS)
    row |= {
        "path": photo.path,
        "status": "error",
        "reason": photo.problem,
        "sha256": photo.sha256,
        "model_id": model_id,
    }
    if photo.image is not None:
        row["height"], row["width"], _ = photo.image.shape
    if isinstance(answer, Exception):
        row["reason"] = _problem(answer)
    elif answer is not None:
        row["status"] = "ok" if answer.reason is None else "abstained"
        row["label"], row["reason"] = answer.label, answer.reason
        row["in_scope"], row["plausible"] = round(answer.in_scope, _DIGITS), list(answer.plausible)
        for column, probability in zip(_PROBABILITIES, answer.probabilities.values(), strict=True):
            row[column] = round(probability, _DIGITS)
    return row


def _problem(error: Exception) -> str:
    """Say in one line what went wrong, without the file's name, which has its own column."""
    read = isinstance(error, ImageReadError)
    text = f"expected {error.expected}, found {error.found}" if read else f"{type(error).__name__}: {error}"
    # Where the comma is the decimal mark, spreadsheets split lines at ";", and what follows it could be a formula.
    return _escape(text[:_REASON_LENGTH]).replace(";", ",")


def _escape(text: str) -> str:
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in _ESCAPED else c for c in text)


def _kind(path: Path) -> str:
    return "a file" if path.exists() else "nothing of this name"


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

    kinds = dict.fromkeys(COLUMNS, pa.string())
    kinds |= dict.fromkeys((*_PROBABILITIES, "in_scope"), pa.float64())
    kinds |= dict.fromkeys(("width", "height"), pa.int32())
    kinds["plausible"] = pa.list_(pa.string())
    schema = pa.schema(kinds)
    remaining = iter(rows)
    with pq.ParquetWriter(file, schema) as writer:
        while group := [*islice(remaining, _ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(group, schema))


_WRITERS: Final[dict[str, Callable[[Iterable[Row], BinaryIO], None]]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
