"""What stands before Gradio's server: requests that the page never makes are refused by one line.

Gradio serves much that this page does not need, some of which fetches addresses that the request names. Only what the
page and `gradio_client` ask for is let through; the browser is told to ask for nothing outside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Server = Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]

_PAGE = r"/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|assets/.*|static/.*|svelte/.*)?"
_API = (
    r"/gradio_api/(info|config|app_id|startup-events|theme\.css|token|login_check|file=.+|upload|upload_progress|"
    r"queue/(join|data)|run/\w+|call/.+|cancel|reset|heartbeat/\w+)"
)
_KNOWN = re.compile(f"(?:{_PAGE}|{_API})/?")

# A name of an address, also where slashes are escaped or doubled: none of our requests has one.
_ADDRESS = re.compile(r"(?i)^\s*[a-z][a-z0-9+.-]*:/|^\s*[/\\]{2}")

LONGEST_TEXT = 1_000_000
"""Bytes of a request that is no upload."""

POLICY = "; ".join(
    (
        "default-src 'self' data: blob:",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
    )
)
"""The browser asks this server alone; Gradio's page needs scripts and styles in the document."""


class Guard:
    """An ASGI application that stands before another.

    Args:
        app: what is guarded.
        largest_upload: bytes of one request that uploads.
        room: tells whether there is room for another upload.
    """

    def __init__(self, app: Server, largest_upload: int, room: Callable[[], bool]) -> None:
        self.app, self.largest_upload, self.room = app, largest_upload, room

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None and scope["method"] == "POST" and not _uploads(scope):
            receive, refusal = await _read(receive)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        await self.app(scope, receive, _with_policy(send))

    def _refusal(self, scope: Mapping[str, Any]) -> tuple[int, str] | None:
        path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/"))
        if not _KNOWN.fullmatch(path):
            return 404, "there is no such page here"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, f"{scope['method'][:20]} is not taken here"
        if "/file=" in path and _ADDRESS.match(path.partition("/file=")[2]):
            return 403, "addresses are not fetched here: upload the file"
        return self._refused_upload(scope) if _uploads(scope) else None

    def _refused_upload(self, scope: Mapping[str, Any]) -> tuple[int, str] | None:
        length = _header(scope, b"content-length")
        if not length.isdigit():
            return 411, "the upload does not say how long it is"
        if int(length) > self.largest_upload:
            return 413, f"the upload is too large: at most {self.largest_upload / 1e6:.0f} MB are taken at once"
        if not self.room():
            return 507, "the server has no room for uploads just now: try again later"
        return None


def _uploads(scope: Mapping[str, Any]) -> bool:
    return bool(scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/gradio_api/upload"))


def _header(scope: Mapping[str, Any], name: bytes) -> str:
    return str(next((value.decode("latin-1") for key, value in scope["headers"] if key == name), ""))


async def _read(receive: Receive) -> tuple[Receive, tuple[int, str] | None]:
    """Read a whole request, and give what repeats it, or why it is refused."""
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        body, more = body + message.get("body", b""), message.get("more_body", False)
        if len(body) > LONGEST_TEXT:
            return receive, (413, f"the request is too long: at most {LONGEST_TEXT // 1000} kB are taken")
    try:
        found = _names_address(json.loads(body)) if body else False
    except (ValueError, RecursionError):
        return receive, (400, "the request is not readable JSON")
    if found:
        return receive, (403, "addresses are not fetched here: upload the file")
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again, None


def _names_address(value: Any) -> bool:
    """Tell whether a file of a request is an address, which Gradio would fetch."""
    if isinstance(value, dict):
        path = value.get("path")
        return (isinstance(path, str) and bool(_ADDRESS.match(path))) or any(map(_names_address, value.values()))
    return isinstance(value, list) and any(map(_names_address, value))


async def _refuse(send: Send, status: int, line: str) -> None:
    body = json.dumps({"detail": line}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_policy(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = dict(message)
            message["headers"] = [
                *message.get("headers", []),
                (b"content-security-policy", POLICY.encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"referrer-policy", b"no-referrer"),
            ]
        await send(message)

    return sent
