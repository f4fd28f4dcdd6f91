"""Files that are written whole or not at all: a crash leaves the earlier one, never a part of the new one."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name when it is complete and on disk, and disappears if anything goes wrong before.

    Args:
        path: the name; an earlier file of that name stays until then.

    Raises:
        OSError: the file cannot be written; the earlier one stays.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.partial")  # short: `path` may have a name of full length
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
    """Write a whole file through `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data)
