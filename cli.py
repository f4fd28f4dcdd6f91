"""The command `scarlens`: a thin door to the commands, which says what is wrong in one line."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup

from scarlens.datasets.errors import ScarlensError
from scarlens.inference.commands import commands as answering
from scarlens.inference.terminal import PLAIN, say
from scarlens.inference.wording import NOTICE
from scarlens.training.commands import commands as measuring

NOBODY_READS: Final = 1
"""Exit status when standard output was closed, as by `head`; the one that typer and rich give as well."""

USER_ERROR: Final = 2
"""Exit status when a user can mend what is wrong."""

INTERRUPTED: Final = 130
"""Exit status when somebody stopped the work."""

# The base of what typer raises for a wrong command line: click's own class, or that of the copy of click which newer
# versions of typer bring and keep to themselves.
UsageError: Final = cast(type[Exception], typer.BadParameter.__mro__[1])


@contextmanager
def _stoppable() -> Iterator[None]:
    """Say in one line that somebody stopped the work, and what to do next where the command has told it.

    Raises:
        typer.Exit: with the status of an interruption.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        say("; ".join(["scarlens: interrupted", *map(str, stop.args)]))
        raise typer.Exit(INTERRUPTED) from None


class Commands(TyperGroup):
    """The commands; typer alone would end an interrupted one without a word."""

    def make_context(self, *args: Any, **settings: Any) -> Any:
        """Read the arguments."""
        with _stoppable():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with _stoppable():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    help=f"Tell ice pick, boxcar and rolling acne scars apart, and know when not to. {NOTICE}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(answering)
app.add_typer(measuring)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"scarlens {_version()}, model {_model()}")
        raise typer.Exit


def _version() -> str:
    try:
        return metadata.version("scarlens")
    except metadata.PackageNotFoundError:
        return "of a checkout that is not installed"


def _model() -> str:
    """Return the digest of the model that ships, read from the form that needs no runtime."""
    from scarlens.model.checkpoint import load_checkpoint

    try:
        return load_checkpoint(Path(__file__).parent / "model" / "weights" / "scarlens.safetensors")[1].model_id
    except (ScarlensError, OSError):
        return "missing or damaged"


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print versions and exit.")
    ] = False,
) -> None:
    """Hold the options that stand before a command; without a text of its own, the help keeps the one above."""


def main(command: str | None = None) -> None:
    """Run the command line; `command` is put before its arguments, for scripts that are one command."""
    _write_any_text()
    sys.exit(_status([command, *sys.argv[1:]] if command else sys.argv[1:]))


def _status(arguments: list[str]) -> int:
    """Run a command line, say in one line what is wrong with it, and return the exit status."""
    if PLAIN:
        _plain_help()
    try:
        status = app(arguments, prog_name="scarlens", standalone_mode=False)
        _flush()
    except UsageError as error:
        _say_usage(error, arguments)
        return USER_ERROR
    except BrokenPipeError:
        return NOBODY_READS
    except (ScarlensError, OSError) as error:  # OSError: a full disk, a folder that may not be written
        say(f"scarlens: {error}")
        return USER_ERROR
    return status or 0


def _write_any_text() -> None:
    """Let no character end the work: an encoding such as ASCII has no bars and no accents."""
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _flush() -> None:
    """Write out what was printed: here it is understood that the disk is full or nobody reads, later it is not."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries again when it ends
        raise


def _say_usage(error: Any, arguments: list[str]) -> None:
    """Say what is wrong with a command line, and where to look; of an empty one, typer has shown the help."""
    text = " ".join(error.format_message().split()).rstrip(".")
    if text:
        # An option without its value comes without the command that it was given to.
        path = error.ctx.command_path if error.ctx else f"scarlens {arguments[0]}"
        see = " See" if text.endswith("?") else "; see"
        say(f"scarlens: {text[0].lower()}{text[1:]}{see} {path} --help")


def _plain_help() -> None:
    from typer import rich_utils

    rich_utils.COLOR_SYSTEM = None
