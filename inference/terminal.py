"""What the command line writes to the terminal: answers, messages and progress bars."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

from rich.console import Console

from ..datasets.errors import printable

LEADS: Final = os.environ.get("RANK", "0") == "0"
"""Whether this is the process that speaks, of those that torchrun started."""

output = Console(highlight=False, soft_wrap=True, quiet=not LEADS)
"""Standard output, for answers."""

messages = Console(stderr=True, highlight=False, soft_wrap=True, quiet=not LEADS)
"""Standard error, for everything else."""


def say(text: str) -> None:
    """Print one line to standard error; a file's name in it cannot send codes to the terminal."""
    messages.print(printable(text), markup=False)


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal; elsewhere show nothing."""
    from rich.progress import Progress

    with Progress(console=messages, disable=not messages.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def counter(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar that moves by one at each call."""
    with bar(what) as move:
        done = count(1)
        yield lambda: move(next(done), total)
