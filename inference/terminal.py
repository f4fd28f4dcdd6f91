"""Terminal output of the command line: answers, messages, progress bars and examples in help texts."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Final

from rich.console import Console
from rich.markup import escape

from ..datasets.errors import printable

ON_TERMINAL: Final = sys.stderr is not None and sys.stderr.isatty()
"""Whether standard error is a terminal. rich is misled by FORCE_COLOR, which Jupyter sets even for pipes."""

LEADS: Final = os.environ.get("RANK", "0") == "0"
"""Whether this process reports progress and results. Under torchrun only one does; all report errors."""

PLAIN: Final = bool(os.environ.get("NO_COLOR"))
"""Whether the user wants no colours (https://no-color.org). rich by itself would still use bold and dim."""

GO_ON: Final = "run the same command with --resume to go on"
"""Next step after an interruption that can be resumed."""

_console = partial(Console, highlight=False, soft_wrap=True, color_system=None if PLAIN else "auto")

output = _console()
"""Standard output, for answers."""

messages = _console(stderr=True)
"""Standard error, for everything else."""


class LogToTerminal(logging.Handler):
    """Prints log records to standard error. Only the command line installs it: the library itself prints nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        say(record.getMessage())


def say(text: str) -> None:
    """Print one line to standard error, with control characters escaped."""
    messages.print(printable(text), markup=False)


def report(text: str) -> None:
    """Report the progress of training. Under torchrun, only one process prints."""
    if LEADS:
        say(text)


def examples(*commands: str) -> str:
    """Return the examples at the end of a help text, one per line."""
    # Paragraphs: of the versions of typer from 0.16 on, the older join the lines of one.
    return "\n\n".join(["Examples:", *map(escape, commands)])


@contextmanager
def when_interrupted(remedy: str) -> Iterator[None]:
    """Attach the next step to a KeyboardInterrupt; the command line prints it.

    Raises:
        KeyboardInterrupt: the interruption, with the next step.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(remedy) from None


@contextmanager
def bar(what: str, *, shown: bool = ON_TERMINAL) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar, by default only on a terminal."""
    from rich.progress import Progress

    with Progress(console=messages, disable=not shown, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def counter(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar that advances by one per call."""
    with bar(what, shown=ON_TERMINAL and LEADS) as move:
        done = count(1)
        yield lambda: move(next(done), total)
