"""Classify a folder of photos into a table: one row per file, in a fixed order. No file can stop the run.

This module lists the files, has them read in other processes (`reading`), classifies each as soon as it is read, and
keeps the rows in a `journal`. When every file has a row, it writes the `table`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from ...datasets.reading.sources import is_leftover
from ...datasets.transform import FramedPhoto
from ...datasets.writing.atomic import atomic_file
from ..classifier import Classifier, load
from ..engine import usable_cores
from ..prediction import Prediction
from ..reasons import package_version
from .journal import Journal
from .reading import FileToRead, ReadPhoto, read_photos
from .table import COLUMNS, EXTENTS, PROBABILITIES, WRITERS, Row, escaped, escaped_path, is_earlier_table, original_path

__all__ = ["COLUMNS", "BatchSummary", "find_files", "original_path", "predict_folder"]

_DIGITS: Final = 6  # after the point: more is noise
_REASON_LENGTH: Final = 300


@dataclass(frozen=True, kw_only=True)
class BatchSummary:
    """Summary of a batch run.

    Attributes:
        total: number of rows, one per file.
        ok: number of rows with a label.
        abstained: number of photos that were read but got no label.
        errors: number of files that could not be read or classified.
        output: the table; for a cluster, the output folder as given.
        model_id: digest of the model.
        seconds: duration.
    """

    total: int
    ok: int
    abstained: int
    errors: int
    output: Path | str
    model_id: str
    seconds: float


def predict_folder(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    classifier: Classifier | None = None,
    batch_size: int = 32,
    workers: int | None = None,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> BatchSummary:
    """Classify every file below a folder. Writes a table of `COLUMNS` with one row per file, sorted by path.

    Hidden files and folders (".name"), those that systems leave behind (`__MACOSX`, `Thumbs.db`, `desktop.ini`,
    `@eaDir`) and the output itself are skipped; linked folders are not entered. Anything that
    is not a readable photo inside the folder gets a row with the error, including links that lead out of it and files
    that crash a decoder. The table appears once it is complete. Until then its rows are in a file with the same name
    plus ".partial", so an interrupted run leaves the old table untouched and can be resumed.

    Args:
        folder: folder with photos at any depth.
        output: the table: `.csv`, `.jsonl` (JSON Lines) or `.parquet`. Replaces an earlier table, but no other file.
        classifier: from `load`; default: the bundled checkpoint.
        batch_size: maximum number of photos per call of the network.
        workers: number of processes that read photos; default: one per core.
        resume: whether to resume an interrupted run, if there is one. Files that have a row are skipped, even if they
            have changed; files that could not be read at all are tried again.
        progress: called after each row with the number of rows and of files; may raise an exception to stop the run.

    Raises:
        ValueError: unknown kind of output, or a batch size or number of workers below 1.
        NotADirectoryError: the folder, or the folder of the output, does not exist.
        IsADirectoryError: the output is a folder.
        FileExistsError: the output is a file, neither empty nor an earlier table.
        JournalError: another run is writing this table; an interrupted run exists and `resume` is not set, or had
            another folder or model; or rows cannot be saved, for example on a full disk.
        OSError: the table cannot be written.
        ReadingError: no reading process can be started.
        CheckpointError: the bundled checkpoint cannot be loaded.
    """
    started = time.monotonic()
    if not os.fspath(folder):  # which would be the current one
        raise NotADirectoryError("expected a folder of photos, found an empty name")
    root, output = Path(folder), Path(output)
    workers = usable_cores() if workers is None else workers
    _check_request(root, output, batch_size, workers)
    root = root.resolve()
    table = output.parent.resolve() / output.name
    classifier = classifier or load()
    run = {"folder": escaped_path(os.fsdecode(root)), "model": classifier.model_id}
    with Journal(table, run, resume=resume) as journal:
        for done in _saved_rows(journal, root, classifier, batch_size, workers, count=progress is not None):
            if progress:
                progress(*done)
        with atomic_file(table) as file:
            WRITERS[table.suffix.lower()](journal.rows(), file)
        counts = journal.counts()
        journal.delete()
    return summary_of(counts, output, classifier.model_id, time.monotonic() - started)


def _saved_rows(
    journal: Journal, root: Path, classifier: Classifier, batch_size: int, workers: int, *, count: bool
) -> Iterator[tuple[int, int]]:
    """Classify the files without a row and save the rows. Yields the number of rows, and of files if `count` is set."""
    done = sum(journal.counts().values())
    total = done + sum(1 for _ in _files(root, journal)) if count else 0
    files = _files(root, journal)
    with closing(
        read_photos(files, root, classifier.card.size, workers=workers, ahead=batch_size + 2 * workers)
    ) as photos:
        for batch in _batches(photos, batch_size):
            journal.add((photo.path, row) for photo, row in classified(classifier, batch))
            for _ in batch:
                done += 1
                yield done, max(total, done)  # files may have been added since


def summary_of(counts: Mapping[str, int], output: Path | str, model_id: str, seconds: float) -> BatchSummary:
    """Return the summary of a run from its number of rows by status."""
    return BatchSummary(
        total=sum(counts.values()),
        ok=counts.get("ok", 0),
        abstained=counts.get("abstained", 0),
        errors=counts.get("error", 0),
        output=output,
        model_id=model_id,
        seconds=seconds,
    )


def _check_request(root: Path, output: Path, batch_size: int, workers: int) -> None:
    if output.suffix.lower() not in WRITERS:
        raise ValueError(f"{output}: expected a name that ends in {', '.join(WRITERS)}, found {output.suffix!r}")
    if output.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise ValueError(f"{output}: Parquet needs pyarrow: pip install pyarrow, or give a .csv or .jsonl file")
    if batch_size < 1 or workers < 1:
        raise ValueError(f"batch_size and workers must be at least 1, got {batch_size} and {workers}")
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: expected a folder of photos, found {_kind(root)}")
    if not output.parent.is_dir():
        raise NotADirectoryError(f"{output.parent}: expected a folder to write into, found {_kind(output.parent)}")
    if output.is_dir():
        raise IsADirectoryError(f"{output}: expected a file to write, found a folder")
    if output.exists() and not is_earlier_table(output):
        raise FileExistsError(
            f"{output}: expected no file or an earlier table, found another file; choose another name, or delete it"
        )


def _kind(path: Path) -> str:
    return "a file" if path.exists() else "nothing"


def _files(root: Path, journal: Journal) -> Iterator[FileToRead]:
    """Yield the files without a row."""
    for path, problem in find_files(root, without=journal.own_files):
        if path not in journal:
            yield FileToRead(path, problem=problem)


def find_files(root: Path, *, without: Sequence[Path] = ()) -> Iterator[tuple[bytes, str | None]]:
    """Yield the relative paths of all files below a folder, sorted by bytes.

    The second value is None. A folder that cannot be listed is yielded itself, with the reason as the second value.
    Only the names in one folder and those still waiting in its parents are in memory: about 90 MB for a million.

    Args:
        root: resolved folder. Hidden names below it are skipped.
        without: resolved paths to skip.
    """
    left_out = {os.fsencode(path.relative_to(root)) for path in without if path.is_relative_to(root)}
    # The next path is at the end. A folder's path ends in "/", so that its contents sort into the right place.
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
                    if not is_leftover(os.fsdecode(entry.name)) and path + entry.name not in left_out
                ]
        except OSError as error:
            if not path:
                raise
            yield path[:-1], f"expected a folder that can be listed, found {error.strerror or error}"
            continue
        inside.sort(reverse=True)
        pending += inside


def _batches(photos: Iterable[list[ReadPhoto]], batch_size: int) -> Iterator[list[ReadPhoto]]:
    for ready in photos:
        for start in range(0, len(ready), batch_size):
            yield ready[start : start + batch_size]


def classified(classifier: Classifier, photos: Sequence[ReadPhoto]) -> Iterator[tuple[ReadPhoto, Row]]:
    """Yield each photo with its row."""
    answers = iter(_answers(classifier, [photo.photo for photo in photos if photo.photo]))
    for photo in photos:
        yield photo, photo_row(photo, next(answers) if photo.photo else None, classifier.model_id)


def _answers(classifier: Classifier, photos: Sequence[FramedPhoto]) -> list[Prediction | Exception]:
    """Classify photos together, or one by one if that fails, so that a bad photo affects no other."""
    try:
        return [*classifier.predict_framed(photos)]
    except Exception as error:
        return [error] if len(photos) == 1 else [_answers(classifier, [photo])[0] for photo in photos]


def photo_row(photo: ReadPhoto, answer: Prediction | Exception | None, model_id: str) -> Row:
    """Return the row for a photo's prediction, for an error while classifying it, or for why it cannot be read."""
    row: Row = dict.fromkeys(COLUMNS)
    row |= {
        "path": escaped_path(os.fsdecode(photo.path)),
        "status": "error",
        "reason": photo.problem and _one_line(photo.problem),
        "sha256": photo.sha256,
        "width": photo.photo and photo.photo.width,
        "height": photo.photo and photo.photo.height,
        "model_id": model_id,
        "version": package_version(),
    }
    if isinstance(answer, Exception):
        row["reason"] = _one_line(f"{type(answer).__name__}: {answer}")
    elif answer is not None:
        row["status"] = "ok" if answer.reason is None else "abstained"
        row["label"], row["reason"] = answer.label, answer.reason
        row["in_scope"], row["plausible"] = round(answer.in_scope, _DIGITS), list(answer.plausible)
        for column, probability in zip(PROBABILITIES, answer.probabilities.values(), strict=True):
            row[column] = round(probability, _DIGITS)
        for column, share in zip(EXTENTS, answer.extent.values(), strict=True):
            row[column] = round(share, _DIGITS)
        row["skin"] = round(answer.skin, _DIGITS)
    return row


def _one_line(problem: str) -> str:
    # Where the comma is the decimal mark, spreadsheets split lines at ";", and what follows it could be a formula.
    return escaped(problem[:_REASON_LENGTH]).replace(";", ",")
