"""Atomic writing: a crash leaves the old file, never a part of the new one."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` once it is complete and on disk, and is deleted on any error.

    Args:
        path: the file to replace; it stays untouched until then.

    Raises:
        OSError: the file cannot be written; the old one stays.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.partial")  # short: `path` may use the longest allowed name
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # elsewhere a folder cannot be opened
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)  # the new name itself must survive a power cut
        finally:
            os.close(directory)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a complete file with `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data)
