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
"""The default address, which only this machine reaches: photos of faces never leave it."""

_MOST_CONNECTIONS: Final = 24  # above it the reply is 503; a browser opens six, each can hold one photo in memory
_PATIENCE: Final = 3  # seconds that an upload in progress may take to finish when the server is stopped


class PortError(ScarlensError):
    """The port cannot be used; the message says why."""


def serve(classifier: Classifier, *, port: int, started: Callable[[str], None], host: str = ADDRESS) -> None:
    """Serve the page and the API until the process is stopped (Ctrl-C, SIGTERM).

    Args:
        classifier: the classifier.
        port: port; 0 picks a free one.
        host: address to listen on. Whoever reaches another one than the default can use it: there is no password.
        started: called with the page's address once it can be opened.

    Raises:
        PortError: the port is in use or not allowed, or the address is not one of this machine.
    """
    with _listening(host, port) as listener:
        config = uvicorn.Config(
            create_app(classifier, any_host=host != ADDRESS),
            log_level="warning",
            access_log=False,  # photo names are private
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_PATIENCE,
        )
        started(f"http://{host}:{listener.getsockname()[1]}/")
        with suppress(KeyboardInterrupt):  # it stops in good order, and raises the signal again
            uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise PortError(f"{host}:{port} cannot be used: {reason}; give another --port or --host") from error
    return listener
