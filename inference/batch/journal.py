"""The rows of a table that is not complete: one SQLite file beside it, which a crash cannot harm.

SQLite keeps each row once, whatever happens between two commits, and refuses a second writer.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

from ...datasets.errors import ScarlensError
from .table import Row

SUFFIX: Final = ".partial"
"""What follows the table's name in that of its journal."""

_LOG_SUFFIX: Final = "-wal"  # SQLite's
_NAME_BYTES: Final = 255  # of a file, in all usual file systems


class JournalError(ScarlensError):
    """The rows of an unfinished table cannot be kept, or belong to another run; the message says what would help."""


class Journal:
    """The rows that a run has made so far."""

    def __init__(self, table: Path, run: Mapping[str, str], *, resume: bool) -> None:
        """Open the journal of a table, and keep every other run out of it.

        Args:
            table: the table to come.
            run: what must be the same when an interrupted run goes on, such as the model.
            resume: whether to go on with an interrupted run; where there is none, a new one begins.

        Raises:
            JournalError: another run writes this table; an interrupted run is there and `resume` is not given, or it
                differs in `run`; the file cannot be written or is no journal.
        """
        self._table, self.path = table, _path_of(table)
        try:
            self._database = sqlite3.connect(self.path, timeout=0.0, isolation_level=None)
        except sqlite3.Error as error:
            raise self._error(error) from error
        try:
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Commits append to a log without waiting for the disk: a killed run loses none, a power cut the last few.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._claim(run, resume=resume)
        except sqlite3.Error as error:
            self._database.close()
            raise self._error(error) from error
        except JournalError:
            self._database.close()
            raise

    def _claim(self, run: Mapping[str, str], *, resume: bool) -> None:
        """Begin a run, or make sure that it is the one that was interrupted."""
        self._database.execute("CREATE TABLE IF NOT EXISTS run (name TEXT PRIMARY KEY, value TEXT)")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS rows (path BLOB PRIMARY KEY, status TEXT, row TEXT) WITHOUT ROWID"
        )
        if self.counts():
            if not resume:
                raise JournalError(
                    f"{self.path}: an interrupted run left rows here; --resume goes on, or delete the file"
                )
            for name, value in self._database.execute("SELECT name, value FROM run"):
                if run.get(name) != value:
                    raise JournalError(
                        f"{self.path}: the interrupted run had the {name} {value}, and this one has {run.get(name)}; "
                        "go on with the same, or delete the file"
                    )
        # What could not be read at all may be there by now: a folder that was locked, a file that was being written.
        self._database.execute("DELETE FROM rows WHERE status = 'error' AND json_extract(row, '$.sha256') IS NULL")
        self._keep("INSERT OR REPLACE INTO run VALUES (?, ?)", run.items())

    def _keep(self, statement: str, lines: Iterable[tuple[Any, ...]]) -> None:
        """Write lines all together or, if that fails, none."""
        self._database.execute("BEGIN EXCLUSIVE")
        try:
            self._database.executemany(statement, lines)
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    @property
    def own_files(self) -> tuple[Path, ...]:
        """The table, this file and SQLite's log beside it: no photos of a folder."""
        return self._table, self.path, self.path.with_name(f"{self.path.name}{_LOG_SUFFIX}")

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file: another run may go on with it."""
        self._database.close()

    def __contains__(self, path: bytes) -> bool:
        """Return whether there is a row of this file."""
        return next(self._select("SELECT 1 FROM rows WHERE path = ?", path), None) is not None

    def add(self, rows: Iterable[tuple[bytes, Row]]) -> None:
        """Keep rows of files.

        Raises:
            JournalError: they cannot be written, such as on a full disk; those from before are kept.
        """
        try:
            self._keep(
                "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)",
                [(path, row["status"], json.dumps(row)) for path, row in rows],
            )
        except sqlite3.Error as error:
            raise self._error(error) from error

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each status."""
        return dict(self._select("SELECT status, COUNT(*) FROM rows GROUP BY status"))

    def rows(self) -> Iterator[Row]:
        """Yield all rows, sorted by the bytes of the path."""
        for (line,) in self._select("SELECT row FROM rows ORDER BY path"):
            yield json.loads(line)

    def _select(self, statement: str, *values: object) -> Iterator[Any]:
        try:
            yield from self._database.execute(statement, values)
        except sqlite3.Error as error:
            raise self._error(error) from error

    def delete(self) -> None:
        """Remove the file: the table is complete."""
        self._database.close()
        self.path.unlink()

    def _error(self, error: sqlite3.Error) -> JournalError:
        if "locked" in str(error):
            return JournalError(f"{self.path}: another run is writing this table; wait for it, or give another output")
        return JournalError(f"{self.path}: the rows so far cannot be kept there: {error}; they go on with --resume")


def _path_of(table: Path) -> Path:
    """Return the journal's name, which SQLite may add to; of a very long name it is a digest."""
    name = table.name
    if len(os.fsencode(name)) + len(f"{SUFFIX}{_LOG_SUFFIX}") > _NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return table.with_name(name + SUFFIX)
