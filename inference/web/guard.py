"""What stands before the application: other sites' requests and too large bodies are refused, replies made safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS: Final = ("127.0.0.1", "localhost")
"""The names this server answers to: another name that leads here is an attacker's (DNS rebinding)."""

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

    def __init__(self, app: ASGIApp, *, max_body: int) -> None:
        """Put it before `app`; bodies may have `max_body` bytes."""
        self._app, self._max_body = app, max_body

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
        if headers.get("host", "").partition(":")[0] not in HOSTS:
            refusal = f"expected a request to {' or '.join(HOSTS)}, found one to another name"
            await JSONResponse({"error": refusal}, 400)(scope, receive, send_safely)
        elif _is_from_elsewhere(scope["method"], headers):
            refusal = "expected a request of this page, found one of another site; open the page's own address"
            await JSONResponse({"error": refusal}, 403)(scope, receive, send_safely)
        elif int(headers.get("content-length", "0")) > self._max_body:
            await JSONResponse({"error": self._too_large}, 413)(scope, receive, send_safely)
        else:
            await self._app(scope, self._counted(receive), send_safely)

    @property
    def _too_large(self) -> str:
        return f"expected at most {self._max_body:,} bytes, found more; send one photo at a time, or a smaller one"

    def _counted(self, receive: Receive) -> Receive:
        """Return `receive`, which ends a body that grows too large: one sent in chunks does not say its length."""
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body:
                raise HTTPException(413, self._too_large)
            return message

        return receive_counted


def _is_from_elsewhere(method: str, headers: Headers) -> bool:
    """Return whether a browser says that a page of another site, or of another port, made the request.

    Programs send neither header. A link that leads here from elsewhere is followed: it shows the page, and no more.
    """
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{headers.get('host')}":
        return True
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode")
    return site not in ("none", "same-origin") and not (method == "GET" and mode == "navigate")
