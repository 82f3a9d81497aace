"""A small Hugging Face hub on this machine: what downloads and commits ask of it, in memory."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class FakeHub:
    """Repositories by name, files by path in each.

    Attributes:
        files: content of ``owner/name`` by path.
        tokens: of the requests that wrote.
        damage: whether downloads arrive with another last byte.
    """

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    stored: dict[str, bytes] = field(default_factory=dict)
    damage: bool = False
    url: str = ""

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        repo, _, rest = path.removeprefix("/api/models/").strip("/").partition("/resolve/")
        if path.startswith("/api/models/"):
            repo = "/".join(repo.split("/")[:2])
            if repo not in self.files:
                return 404, {"X-Error-Code": "RepoNotFound"}, b""
            tree = "/tree/" in path
            listed: Any = [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in self.files[repo]]
            siblings = [{"rfilename": name} for name in self.files[repo]]
            info = listed if tree else {"id": repo, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
            return 200, {}, json.dumps(info).encode()
        revision, _, name = rest.partition("/")
        if repo not in self.files:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if revision not in ("main", "v1", COMMIT):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if name not in self.files[repo]:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
        content = self.files[repo][name]
        digest = hashlib.sha256(content).hexdigest()
        heads = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"', "X-Linked-Etag": f'"{digest}"'}
        heads["X-Linked-Size"] = str(len(content))
        return 200, heads, content[:-1] + b"?" if self.damage else content

    def post(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if path == "/api/repos/create":
            values = json.loads(body)
            repo = f"{values.get('organization') or 'someone'}/{values['name']}"
            self.files.setdefault(repo, {})
            return 200, {}, json.dumps({"url": f"{self.url}/{repo}", "id": repo, "name": repo}).encode()
        if path == "/api/validate-yaml":
            return 200, {}, json.dumps({"errors": [], "warnings": []}).encode()
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            modes = [
                {"path": file["path"], "uploadMode": "lfs" if file["path"].endswith("tensors") else "regular"}
                | {"shouldIgnore": False, "oid": None}
                for file in files
            ]
            return 200, {}, json.dumps({"files": modes}).encode()
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {"oid": each["oid"], "size": each["size"], "authenticated": True}
                | {"actions": {"upload": {"href": f"{self.url}/lfs/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            return 200, {}, json.dumps({"transfer": "basic", "objects": objects}).encode()
        repo = "/".join(path.removeprefix("/api/models/").split("/")[:2])
        for line in map(json.loads, body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.files[repo][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[repo][value["path"]] = self.stored[value["oid"]]
        commit = {"commitUrl": f"{self.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT, "pullRequestUrl": None}
        return 200, {}, json.dumps({"success": True, **commit}).encode()


@contextmanager
def running() -> Iterator[FakeHub]:
    """Serve an empty hub on a free port."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(*hub.get(self.path.partition("?")[0]))

        do_HEAD = do_GET

        def do_POST(self) -> None:
            hub.tokens.add(self.headers.get("Authorization", ""))
            self._answer(*hub.post(self.path, self.rfile.read(int(self.headers["Content-Length"] or 0))))

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            assert hashlib.sha256(content).hexdigest() == self.path.rpartition("/")[2]
            hub.stored[self.path.rpartition("/")[2]] = content
            self._answer(200, {"ETag": '"x"'}, b"")

        def _answer(self, code: int, heads: dict[str, str], content: bytes) -> None:
            self.send_response(code)
            for name, value in (heads | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
