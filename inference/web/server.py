"""The server of the local page, for this machine only."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import uvicorn

from ...datasets.errors import ScarlensError
from ..classifier import Classifier
from .app import create_app

ADDRESS: Final = "127.0.0.1"
"""The only address to listen on, because photos of faces never leave the machine."""

_MOST_CONNECTIONS: Final = 24  # above it the reply is 503; a browser opens six, each can hold one photo in memory
_PATIENCE: Final = 3  # seconds that an upload under way has to end when the server is stopped


class PortError(ScarlensError):
    """The port cannot be used; the message says why."""


def serve(classifier: Classifier, *, port: int, started: Callable[[str], None]) -> None:
    """Serve the page and the API until the process is stopped (Ctrl-C, SIGTERM).

    Args:
        classifier: the classifier.
        port: port on 127.0.0.1; 0 picks a free one.
        started: called with the page's address once it can be opened.

    Raises:
        PortError: the port is in use or not allowed.
    """
    with _listening(port) as listener:
        config = uvicorn.Config(
            create_app(classifier),
            log_level="warning",
            access_log=False,  # names of photos are nobody's business
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_PATIENCE,
        )
        started(f"http://{ADDRESS}:{listener.getsockname()[1]}/")
        with suppress(KeyboardInterrupt):  # it stops in good order, and raises the signal again
            uvicorn.Server(config).run(sockets=[listener])


def _listening(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise PortError(f"port {port}: expected one that is free, found: {reason}; give another with --port") from error
    return listener
