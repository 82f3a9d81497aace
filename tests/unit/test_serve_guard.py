"""What stands before the page's server: known requests pass, all others get one line."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from audiotrans.web.middleware import LONGEST_TEXT, Guard

JSON = "application/json"


def ask(
    path: str, body: bytes = b"", *, method: str = "GET", room: bool = True, **headers: str
) -> tuple[int, str, bytes]:
    """Send one request; give the status, the refusal's line ("" where it passed), and the body that passed."""
    sent: list[dict[str, Any]] = []
    passed: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append((await receive()).get("body", b""))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": given, "root_path": ""}
    with ThreadPoolExecutor(1) as pool:  # the tests' browser has a loop that runs in this thread
        pool.submit(asyncio.run, Guard(app, 1000, lambda: room)(scope, receive, send)).result()
    said = json.loads(sent[1]["body"])["detail"] if sent[0]["status"] != 200 else ""
    if passed:
        names = [name for name, _ in sent[0]["headers"]]
        assert b"content-security-policy" in names
    return sent[0]["status"], said, b"".join(passed)


@pytest.mark.parametrize(
    "path", ["/", "/config", "/theme.css", "/assets/a.js", "/gradio_api/info", "/gradio_api/file=/tmp/x/a.wav",
             "/gradio_api/heartbeat/abc", "/gradio_api/queue/data", "/gradio_api/upload_progress"],
)  # fmt: skip
def test_what_the_page_asks_for_passes(path: str) -> None:
    assert ask(path)[0] == 200


@pytest.mark.parametrize(
    "path", ["/gradio_api/proxy=https://example.com", "/gradio_api/vibe-edit", "/gradio_api/dev/reload", "/monitoring",
             "/login", "/gradio_api/custom_component/1/a/b/c", "/gradio_api/process_recording", "/../etc/passwd",
             "/gradio_api/openapi.json", "/gradio_api/deep_link"],
)  # fmt: skip
def test_what_the_page_never_asks_for_is_not_there(path: str) -> None:
    assert ask(path)[:2] == (404, "there is no such page here")


@pytest.mark.parametrize(
    "address", ["http://example.com/a.wav", "HTTPS://example.com", "ftp://a", "file:///etc/passwd", "//example.com/a",
                "\\\\server\\share", " http://a"],
)  # fmt: skip
def test_no_address_is_fetched(address: str) -> None:
    assert ask(f"/gradio_api/file={address}")[0] == 403
    deep = {"data": [[{"path": address, "meta": {"_type": "gradio.FileData"}}]]}
    assert ask("/gradio_api/queue/join", json.dumps(deep).encode(), method="POST")[0] == 403


def test_a_request_that_passes_is_what_was_sent() -> None:
    body = json.dumps({"data": [{"path": "/somewhere/a.wav"}, "http://in.a.text"]}).encode()
    assert ask("/gradio_api/queue/join", body, method="POST") == (200, "", body)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[" * 100_000, 400), (b"\xff\xfe", 400), (b" " * (LONGEST_TEXT + 1), 413)],
    ids=["broken", "deep", "bytes", "long"],
)
def test_unreadable_and_endless_requests_are_refused(body: bytes, status: int) -> None:
    found, said, passed = ask("/gradio_api/queue/join", body, method="POST")
    assert (found, passed) == (status, b"")
    assert said
    assert "\n" not in said


def test_uploads_say_how_long_they_are_and_find_room() -> None:
    upload = "/gradio_api/upload"
    assert ask(upload, b"x", method="POST", content_length="1")[0] == 200
    assert ask(upload, b"x", method="POST")[0] == 411
    assert ask(upload, b"x", method="POST", content_length="1001")[0] == 413
    assert ask(upload, b"x", method="POST", content_length="1", room=False)[0] == 507


def test_other_methods_are_refused() -> None:
    assert ask("/config", method="DELETE")[0] == 405
