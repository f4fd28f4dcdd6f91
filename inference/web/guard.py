"""Middleware: refuse requests from other sites and large bodies, and add security headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OWN_NAME: Final = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.IGNORECASE)
"""Accepted host names. Any other name that resolves here is an attack (DNS rebinding)."""

_SMALL: Final = 10_000  # bytes of a body where none is expected to be large

_SAFE_REPLY: Final = {
    # Nothing from elsewhere is loaded or sent, nothing runs that is not a file of ours, no page may frame this one.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",  # photos stay out of the browser's cache on disk
}


class Guard:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, *, large_bodies: Mapping[str, int], any_host: bool) -> None:
        """Wrap an application.

        Args:
            app: the application.
            large_bodies: size limit in bytes of the paths that accept large bodies.
            any_host: whether the server may be called by any name, because it listens to other machines.
        """
        self._app, self._large_bodies, self._any_host = app, large_bodies, any_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_SAFE_REPLY)
            await send(message)

        headers = Headers(scope=scope)
        most = self._large_bodies.get(scope["path"], _SMALL)
        if not self._any_host and not _OWN_NAME.fullmatch(headers.get("host", "")):
            refusal = "expected a request to 127.0.0.1 or localhost, found another host name"
            await JSONResponse({"error": refusal}, 400)(scope, receive, send_safely)
        elif _is_from_elsewhere(scope["method"], headers):
            refusal = "expected a request from this page, found one from another site; open the page's own address"
            await JSONResponse({"error": refusal}, 403)(scope, receive, send_safely)
        elif int(headers.get("content-length", "0")) > most:
            await JSONResponse({"error": _too_large(most)}, 413)(scope, receive, send_safely)
        else:
            await self._app(scope, _counted(receive, most), send_safely)


def _too_large(most: int) -> str:
    return f"expected at most {most:,} bytes, found more; send one photo at a time, or a smaller one"


def _counted(receive: Receive, most: int) -> Receive:
    """Wrap `receive` so that a body that grows too large is refused; chunked bodies have no declared length."""
    received = 0

    async def receive_counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise HTTPException(413, _too_large(most))
        return message

    return receive_counted


def _is_from_elsewhere(method: str, headers: Headers) -> bool:
    """Return whether the browser says that another site, or another port, made the request.

    Programs send neither header. Links from other sites are allowed, because they only show the page.
    """
    if any(origin != f"http://{headers.get('host')}" for origin in headers.getlist("origin")):
        return True
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode")
    return site not in ("none", "same-origin") and not (method == "GET" and mode == "navigate")
