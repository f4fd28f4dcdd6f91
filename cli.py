"""The command line: finds the command to run, and reports what went wrong in one line."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup

from scarlens.datasets.errors import ScarlensError
from scarlens.inference.commands import commands as answering
from scarlens.inference.reasons import NOTICE
from scarlens.inference.terminal import PLAIN, LogToTerminal, say
from scarlens.training.commands import commands as measuring

OUTPUT_CLOSED: Final = 1
"""Exit status when standard output was closed, as by `head`. typer and rich use the same."""

USER_ERROR: Final = 2
"""Exit status for errors that the user can fix."""

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C."""

# The base class of typer's errors for a wrong command line: click's own, or the one in the private copy of click that
# newer versions of typer bundle.
UsageError: Final = cast(type[Exception], typer.BadParameter.__mro__[1])


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn Ctrl-C into one line on standard error, with the next step if the command named one.

    Raises:
        typer.Exit: with the status of an interruption.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        say("; ".join(["scarlens: interrupted", *map(str, stop.args)]))
        raise typer.Exit(INTERRUPTED) from None


class Commands(TyperGroup):
    """The command group. typer by itself exits silently on Ctrl-C."""

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
    help=f"Classify acne scars as ice pick, boxcar or rolling, or abstain. {NOTICE}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(answering)
app.add_typer(measuring)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"scarlens {metadata.version('scarlens')}, model {_model()}")
        raise typer.Exit


def _model() -> str:
    """Return the digest of the bundled model. Reading safetensors needs no inference runtime."""
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
    """Define the options that come before a command, and show the log. The help text is the app's."""
    logger = logging.getLogger("scarlens")
    logger.setLevel(logging.INFO)
    logger.handlers = [LogToTerminal()]  # replaced, not added: a program may run several commands


def main(command: str | None = None) -> None:
    """Run the command line. Scripts that are a single command pass its name as `command`."""
    _write_any_text()
    status = _status([command, *sys.argv[1:]] if command else sys.argv[1:])
    with suppress(OSError):  # reported before
        _flush()
    sys.exit(status)


def _status(arguments: list[str]) -> int:
    """Run a command line, report errors in one line, and return the exit status."""
    if PLAIN:
        _plain_help()
    try:
        status = app(arguments, prog_name="scarlens", standalone_mode=False)
        _flush()
    except UsageError as error:
        _say_usage(error, arguments)
        return USER_ERROR
    except BrokenPipeError:
        return OUTPUT_CLOSED
    except ModuleNotFoundError as error:  # of a light install
        say(f"scarlens: this command needs {error.name}; in the checkout's folder: pip install .")
        return USER_ERROR
    except (ScarlensError, OSError) as error:  # OSError: a full disk, a folder that may not be written
        say(f"scarlens: {error}")
        return USER_ERROR
    return status or 0


def _write_any_text() -> None:
    """Replace characters that the terminal's encoding cannot represent, instead of crashing on them."""
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def _flush() -> None:
    """Flush standard output here, where a full disk or a closed pipe can still be reported."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries again when it ends
        raise


def _say_usage(error: Any, arguments: list[str]) -> None:
    """Report a usage error and point to the help. For an empty command line, typer has already shown the help."""
    text = " ".join(error.format_message().split()).rstrip(".")
    if text:
        # For an option without its value, the error does not say which command it belongs to.
        path = error.ctx.command_path if error.ctx else f"scarlens {arguments[0]}"
        see = " See" if text.endswith("?") else "; see"
        say(f"scarlens: {text[0].lower()}{text[1:]}{see} {path} --help")


def _plain_help() -> None:
    from typer import rich_utils

    rich_utils.COLOR_SYSTEM = None
