"""The program that `reading` runs beside itself: `python -m scarlens.inference.batch.worker SIZE [FOLDER]`.

It answers each line of JSON on standard input (followed by the file's content, if sent) with one line of JSON, followed
by the pixels if the photo could be read. A process that reads hostile files returns plain data only, never pickles.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import IO, Any, Final

import cv2

from ...datasets.reading.reader import ImageReadError, read_bytes
from ...datasets.transform import read_framed

READY: Final = b"ready\n"
"""Printed when the process is ready."""


_ORPHANED: Final = 120  # seconds after which a hung decoder ends itself, in case its parent process is gone


def exactly(pipe: IO[bytes], count: int) -> bytes:
    """Read `count` bytes.

    Raises:
        OSError: the pipe ended before.
    """
    data = pipe.read(count)
    if len(data) != count:
        raise OSError("the pipe ended")
    return data


def serve(size: int, root: Path | None) -> None:
    """Answer requests on standard input until it ends.

    Args:
        size: side of the square in which photos are framed.
        root: the resolved folder of the photos. Links that lead out of it are refused.
    """
    cv2.setNumThreads(1)  # there is a process for each core
    questions = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a decoder that prints must not print into an answer
    answers.write(READY)
    answers.flush()
    while line := questions.readline():
        question = json.loads(line)
        content = None if question["bytes"] is None else exactly(questions, question["bytes"])
        if hasattr(signal, "alarm"):
            signal.alarm(_ORPHANED)
        answer, pictures = _answer(question["path"], content, root, size, question["preview"])
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        answers.write(json.dumps(answer).encode() + b"\n" + pictures)
        answers.flush()


def _answer(
    path: str, content: bytes | None, root: Path | None, size: int, preview: int
) -> tuple[dict[str, Any], bytes]:
    """Read one file: return the line to answer and the pixels that follow it.

    The pixels are those of the square and, if requested, a preview, of which the line has the length.
    """
    digest = None
    try:
        if content is None:
            content = read_bytes(_within(root, path))
        digest = hashlib.sha256(content).hexdigest()
        framed, height, width, picture = read_framed(content, size, preview=preview)
    except ImageReadError as error:
        return {"sha256": digest, "problem": f"expected {error.expected}, found {error.found}"}, b""
    except Exception as error:
        return {"sha256": digest, "problem": f"{type(error).__name__}: {error}"}, b""
    picture = picture or b""
    answer = {
        "sha256": digest,
        "placement": framed.placement._asdict(),
        "brightness": framed.brightness,
        "sharpness": framed.sharpness,
        "height": height,
        "width": width,
        "preview": len(picture),
    }
    return answer, framed.square.tobytes() + picture


def _within(root: Path | None, path: str) -> Path:
    file = Path(path) if root is None else root / path
    # Not `Path.resolve`, which raises for a link to itself in some versions of Python.
    if root is not None and file.is_symlink() and not Path(os.path.realpath(file)).is_relative_to(root):
        raise ImageReadError(path, "a file within the folder", "a link that leads out of it")
    return file


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
