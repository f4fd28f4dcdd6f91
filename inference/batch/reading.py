"""Read photos in other processes, in parallel. A decoder that crashes or hangs costs only one photo.

The processes run `worker` as a separate program. `multiprocessing` would import the user's script again, and run it
again if it has no `if __name__ == "__main__"`; `concurrent.futures` gives up when a process dies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

import numpy as np

from ...datasets.errors import ScarlensError
from ...datasets.transform import Framed, FramedPhoto, Placement
from . import worker

LONGEST_READ: Final = 60.0
"""Seconds after which a decoder is considered hung. The slowest readable files take four."""


_KEPT_MEMORY: Final = {"MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 26)}
"""Setting for glibc, which by default returns each photo's memory to the system: that takes as long as decoding."""

_TRIES: Final = 2  # a process may be killed from outside, which is not the file's fault: a second process then reads it


class ReadingError(ScarlensError):
    """Photos cannot be read in another process here; the message says why."""


class FileToRead(NamedTuple):
    """A file of a folder.

    Attributes:
        path: path relative to the folder, as in the file system.
        content: its content, if it has already been read.
        problem: why it cannot be read, if that is already known.
    """

    path: bytes
    content: bytes | None = None
    problem: str | None = None


class ReadPhoto(NamedTuple):
    """A file that was read, or the reason why it could not be.

    Attributes:
        path: as in `FileToRead`.
        photo: the photo for the classifier; None if there is a problem.
        sha256: digest of the file's content, if it could be read.
        problem: the error in one line, without the file's name.
    """

    path: bytes
    photo: FramedPhoto | None = None
    sha256: str | None = None
    problem: str | None = None


class ReadingProcess:
    """A process that reads photos one by one. If it dies or hangs, the next photo gets a new process."""

    def __init__(self, root: Path | None, size: int, *, preview: int = 0) -> None:
        """Prepare to read photos below a resolved folder (or from bytes) and frame them in squares of `size` pixels.

        `preview` is as for `transform.read_framed`.
        """
        self._root, self._size, self._preview = root, size, preview
        self._process: subprocess.Popen[bytes] | None = None
        self._hung: subprocess.Popen[bytes] | None = None
        self._closed, self._starts_or_closes = False, threading.Lock()

    def read(self, file: FileToRead) -> ReadPhoto:
        """Read a file. Any error becomes the photo's `problem`.

        Raises:
            ReadingError: no process can be started.
        """
        if file.problem is not None:
            return ReadPhoto(file.path, problem=file.problem)
        problem = None
        for _ in range(_TRIES):
            process = self._running()
            watch = threading.Timer(LONGEST_READ, self._stop_hung, [process])
            watch.start()
            try:
                return self._asked(process, file)
            except (OSError, ValueError):  # the process ended, with or without a part of its answer
                problem = self._death(process)
                if self._hung is process:
                    break
            finally:
                watch.cancel()
        return ReadPhoto(file.path, problem=problem)

    def _stop_hung(self, process: subprocess.Popen[bytes]) -> None:
        self._hung = process
        process.kill()

    def _asked(self, process: subprocess.Popen[bytes], file: FileToRead) -> ReadPhoto:
        assert process.stdin and process.stdout
        content = file.content or b""
        length = None if file.content is None else len(content)
        question = {"path": os.fsdecode(file.path), "bytes": length, "preview": self._preview}
        process.stdin.write(json.dumps(question).encode() + b"\n" + content)
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        if "problem" in answer:
            return ReadPhoto(file.path, None, answer["sha256"], answer["problem"])
        square = np.frombuffer(worker.exactly(process.stdout, 3 * self._size**2), np.uint8)
        preview = worker.exactly(process.stdout, answer["preview"]) if self._preview else None
        placement = Placement(**answer["placement"])
        placement = placement._replace(window=tuple(placement.window))  # JSON has lists only
        square = square.reshape(self._size, self._size, 3)
        framed = Framed(square, placement, answer["brightness"], answer["sharpness"])
        return ReadPhoto(file.path, FramedPhoto(framed, answer["height"], answer["width"], preview), answer["sha256"])

    def _running(self) -> subprocess.Popen[bytes]:
        with self._starts_or_closes:
            if self._closed:
                raise ReadingError("the process that reads photos was closed")
            if self._process is None:
                try:
                    self._process = _started(self._root, self._size)
                except ReadingError:  # it may have been killed while it started
                    self._process = _started(self._root, self._size)
            return self._process

    def _death(self, process: subprocess.Popen[bytes]) -> str:
        """Return why the process ended, and clean up for the next one."""
        self._process = None
        process.kill()
        status = _ended(process)
        if self._hung is process:
            return f"expected a file that can be read within {LONGEST_READ:.0f} s, found one that cannot"
        name = signal.strsignal(-status) if status < 0 else f"status {status}"
        return f"expected a file that can be decoded, found one that crashes the decoder ({name})"

    def close(self) -> None:
        """End the process, even while another thread is waiting for it."""
        with self._starts_or_closes:
            self._closed, process = True, self._process
        if process is not None:
            process.kill()
            _ended(process)


class ReadingProcesses:
    """A pool of reading processes, shared by several threads."""

    def __init__(self, root: Path | None, size: int, *, workers: int, preview: int = 0) -> None:
        """Prepare `workers` processes, each started when first needed; otherwise like `ReadingProcess`."""
        self._processes = [ReadingProcess(root, size, preview=preview) for _ in range(workers)]
        self._idle: SimpleQueue[ReadingProcess] = SimpleQueue()
        for process in reversed(self._processes):
            self._idle.put(process)

    def read(self, file: FileToRead) -> ReadPhoto:
        """Wait for an idle process and read a file; otherwise like `ReadingProcess.read`."""
        process = self._idle.get()
        try:
            return process.read(file)
        finally:
            self._idle.put(process)

    def close(self) -> None:
        """End all processes, even while other threads are waiting for them."""
        for process in self._processes:
            process.close()


def _ended(process: subprocess.Popen[bytes]) -> int:
    status = process.wait()
    for pipe in (process.stdin, process.stdout):
        try:
            if pipe:
                pipe.close()
        except OSError:  # nobody reads the rest of the request any more
            pass
    return status


def _started(root: Path | None, size: int) -> subprocess.Popen[bytes]:
    """Start a process and wait until it is ready. Failing to start is not the fault of a photo."""
    # The child must find this package where this process found it.
    found = {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}  # noqa: PTH109
    # Without -P the current folder would come first on the path, and files in it could run as modules.
    command = [sys.executable, "-P", "-m", worker.__name__, str(size), *([os.fsdecode(root)] if root else [])]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoders print what damaged files hold, which no terminal should see
            env=os.environ | found | _KEPT_MEMORY,
            start_new_session=True,  # Ctrl-C is for this process, which ends its children itself
        )
    except OSError as error:
        raise ReadingError(f"no process that reads photos can be started: {error}") from error
    assert process.stdout
    if worker.READY not in process.stdout:  # what is imported there may print before
        raise ReadingError(
            f"expected a process that reads photos, found one that ends with status {_ended(process)}; "
            f"python -m {worker.__name__} {size} shows why"
        )
    return process


def read_photos(
    files: Iterable[FileToRead], root: Path, size: int, *, workers: int, ahead: int
) -> Generator[list[ReadPhoto], None, None]:
    """Read files in several processes. Yield photos as they become ready, in any order.

    Args:
        files: the files; iterated lazily in this thread.
        root: their resolved folder.
        size: side of the square in which photos are framed.
        workers: number of processes, each started when first needed.
        ahead: number of files being read or waiting, besides those yielded last.

    Raises:
        ReadingError: no process can be started.
    """
    processes = ReadingProcesses(root, size, workers=workers)
    remaining = iter(files)
    # Not concurrent.futures: an interruption inside its `wait` can leave a future locked, and then nothing ends.
    asked: SimpleQueue[FileToRead | None] = SimpleQueue()
    ready: SimpleQueue[ReadPhoto | Exception] = SimpleQueue()
    threads = [threading.Thread(target=_read_all, args=(processes, asked, ready), daemon=True) for _ in range(workers)]
    try:
        for thread in threads:
            thread.start()
        waiting = _ask(asked, islice(remaining, ahead))
        while waiting:
            done = [ready.get()]
            while not ready.empty():
                done.append(ready.get())
            waiting += _ask(asked, islice(remaining, len(done))) - len(done)
            if error := next((found for found in done if isinstance(found, Exception)), None):
                raise error
            yield [photo for photo in done if isinstance(photo, ReadPhoto)]
    finally:
        processes.close()
        for _ in threads:
            asked.put(None)


def _ask(asked: SimpleQueue[FileToRead | None], files: Iterable[FileToRead]) -> int:
    """Put files into the queue; return their number."""
    count = 0
    for file in files:
        asked.put(file)
        count += 1
    return count


def _read_all(
    processes: ReadingProcesses, asked: SimpleQueue[FileToRead | None], ready: SimpleQueue[ReadPhoto | Exception]
) -> None:
    """Read files until there is None."""
    while (file := asked.get()) is not None:
        try:
            ready.put(processes.read(file))
        except Exception as error:  # raised again by the thread that asked
            ready.put(error)
