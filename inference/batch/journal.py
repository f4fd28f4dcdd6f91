"""The rows of an unfinished table, in an SQLite file beside it that survives crashes.

SQLite stores each row exactly once, whatever happens between commits, and refuses a second writer.
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
"""Suffix added to the table's name."""

_LOG_SUFFIX: Final = "-wal"  # SQLite's
_NAME_BYTES: Final = 255  # of a file, in all usual file systems


class JournalError(ScarlensError):
    """The rows of an unfinished table cannot be saved, or belong to another run; the message says what to do."""


class Journal:
    """The finished rows of a run."""

    def __init__(self, table: Path, run: Mapping[str, str], *, resume: bool) -> None:
        """Open the journal of a table and lock it.

        Args:
            table: the table to be written.
            run: properties that must be equal to resume a run, such as the model.
            resume: whether to resume an interrupted run, if there is one.

        Raises:
            JournalError: another run is writing this table; an interrupted run exists and `resume` is not set, or its
                `run` differs; the file cannot be written or is not a journal.
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
        """Begin a run, or check that the interrupted one has the same properties."""
        self._database.execute("CREATE TABLE IF NOT EXISTS run (name TEXT PRIMARY KEY, value TEXT)")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS rows (path BLOB PRIMARY KEY, status TEXT, row TEXT) WITHOUT ROWID"
        )
        if self.counts():
            if not resume:
                raise JournalError(
                    f"{self.path}: an interrupted run left rows here; resume it with --resume, or delete the file"
                )
            for name, value in self._database.execute("SELECT name, value FROM run"):
                if run.get(name) != value:
                    raise JournalError(
                        f"{self.path}: the interrupted run used the {name} {value}, this one {run.get(name)}; "
                        "resume with the same, or delete the file"
                    )
        # Files that could not be read may be readable by now: a locked folder, a file that was still being written.
        self._database.execute("DELETE FROM rows WHERE status = 'error' AND json_extract(row, '$.sha256') IS NULL")
        self._keep("INSERT OR REPLACE INTO run VALUES (?, ?)", run.items())

    def _keep(self, statement: str, lines: Iterable[tuple[Any, ...]]) -> None:
        """Write all statements in one transaction."""
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
        """The table, the journal and SQLite's log, which are not photos."""
        return self._table, self.path, self.path.with_name(f"{self.path.name}{_LOG_SUFFIX}")

    def __enter__(self) -> Self:
        """Return the journal."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file. A later run may resume it."""
        self._database.close()

    def __contains__(self, path: bytes) -> bool:
        """Return whether this file has a row."""
        return next(self._select("SELECT 1 FROM rows WHERE path = ?", path), None) is not None

    def add(self, rows: Iterable[tuple[bytes, Row]]) -> None:
        """Save rows.

        Raises:
            JournalError: they cannot be written, for example on a full disk. Earlier rows are kept.
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
        """Delete the file, because the table is complete."""
        self._database.close()
        self.path.unlink()

    def _error(self, error: sqlite3.Error) -> JournalError:
        if "locked" in str(error):
            return JournalError(f"{self.path}: another run is writing this table; wait for it, or give another output")
        return JournalError(f"{self.path}: cannot save rows there: {error}; resume later with --resume")


def _path_of(table: Path) -> Path:
    """Return the journal's path. SQLite appends to the name, so very long names are replaced by a digest."""
    name = table.name
    if len(os.fsencode(name)) + len(f"{SUFFIX}{_LOG_SUFFIX}") > _NAME_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return table.with_name(name + SUFFIX)
