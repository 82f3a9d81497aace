"""``audiotrans serve`` under load: eight uploads at once, and fifty hostile requests. ``python -m benchmarks.serve``.

Eight: each user sends another 30 s of music at the same moment; every answer must be, bit for bit, what `convert` makes
of that user's own sound. Hostile: requests as no page sends them, and files as no recorder writes them; each must get
one line, and the server must work on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from audiotrans import load
from audiotrans.audio import read, write

ROOT = Path(__file__).resolve().parents[1]
USERS, SECONDS = 8, 30.0
DEFAULTS = ([], "piano", "violin-piano", 100.0, "as it came", {})
"""Of the API's arguments, in its order."""

PATIENCE = 1800.0  # seconds; a loaded machine takes its time


@contextmanager
def server(*arguments: str) -> Iterator[tuple[str, int, list[str]]]:
    """Run the server; give its address, its process and the lines that it says."""
    command = [sys.executable, "-m", "audiotrans", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    found = re.search(r"http://\S+/", process.stdout.readline())
    assert found, process.stdout.read()
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stdout or ()), daemon=True)
    reader.start()
    try:
        yield found[0], process.pid, said
    finally:
        process.terminate()
        process.wait(60)
        reader.join(10)


def ask(
    address: str, path: str, body: bytes | None = None, method: str | None = None, **headers: str
) -> tuple[int, str]:
    """Send a request; give the status and the text of the answer."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"{address}{path}", body, given, method=method)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


def upload(address: str, path: Path, name: str | None = None) -> tuple[int, str]:
    """Upload a file as the page does."""
    edge = uuid.uuid4().hex
    head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="{name or path.name}"\r\n\r\n'
    body = head.encode() + path.read_bytes() + f"\r\n--{edge}--\r\n".encode()
    return ask(address, "gradio_api/upload", body, content_type=f"multipart/form-data; boundary={edge}")


def call(address: str, data: Any) -> tuple[bool, Any]:
    """Ask for a conversion, with the defaults behind what is given; tell whether it was done, and what came back."""
    data = [*data, *DEFAULTS[len(data) :]] if isinstance(data, list) else data
    status, text = ask(
        address, "gradio_api/call/convert", json.dumps({"data": data}).encode(), content_type="application/json"
    )
    if status != 200:
        return False, json.loads(text)["detail"] if text.startswith("{") else text
    _, stream = ask(address, f"gradio_api/call/convert/{json.loads(text)['event_id']}")
    event, last = re.findall(r"event: (\w+)\ndata: (.*)", stream)[-1]
    value = json.loads(last)
    if event == "complete":
        return True, value
    return False, value["error"] if isinstance(value, dict) else value


def file_of(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def memory_mb(pid: int, field: str) -> float:
    """Return VmRSS or VmHWM (the peak) of a process."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    return int(found[1]) / 1000 if found else float("nan")


def eight(address: str, pid: int, folder: Path) -> None:
    """Let users come at once, and compare what each gets with the converter's own answer."""
    violin, rate = read(ROOT / "data" / "violin.wav")
    sources = []
    for user in range(USERS):
        shifted = np.roll(np.tile(violin, (1, 6)), user * rate // 3, axis=1)[:, : round(SECONDS * rate)]
        sources.append(folder / f"user{user}.wav")
        write(sources[-1], shifted * np.float32(0.5 + 0.05 * user), rate)
    before = memory_mb(pid, "VmRSS")
    results: dict[int, tuple[Path, float]] = {}
    gate = threading.Barrier(USERS)

    def use(user: int) -> None:
        gate.wait()
        started = time.monotonic()
        _, text = upload(address, sources[user])
        done, value = call(address, [[file_of(json.loads(text)[0])], "piano"])
        assert done, value
        path = folder / f"result{user}.wav"
        with urllib.request.urlopen(f"{address}gradio_api/file={value[0]['path']}") as answer:  # noqa: S310
            path.write_bytes(answer.read())
        results[user] = path, time.monotonic() - started

    threads = [threading.Thread(target=use, args=(user,)) for user in range(USERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    model, right = load("violin-piano"), 0
    for user, source in enumerate(sources):
        own = folder / f"own{user}.wav"
        model.convert_file(source, own, to="piano")
        right += user in results and results[user][0].read_bytes() == own.read_bytes()
    waits = sorted(seconds for _, seconds in results.values())
    print(f"eight at once: {right} of {USERS} are their own conversion, bit for bit")
    print(f"first answer after {waits[0]:.1f} s, last after {waits[-1]:.1f} s ({USERS * SECONDS:.0f} s of sound)")
    print(f"memory: {before:.0f} MB before, {memory_mb(pid, 'VmHWM'):.0f} MB at its peak")


def wav(fields: bytes, data: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16) + fields + b"data" + data


def evil_files(folder: Path) -> Iterator[Path]:
    """Yield files that are not what they say, or far too much of it."""
    plain = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    sine = (np.sin(np.arange(8000) / 8) * 9000).astype("<i2").tobytes()
    contents = {
        "empty.wav": b"",
        "header-only.wav": wav(plain, struct.pack("<I", 0)),
        "noise.wav": os.urandom(5000),
        "text.mp3": b"this is not a sound\n" * 100,
        "picture.flac": b"\x89PNG\r\n\x1a\n" + os.urandom(3000),
        "no-rate.wav": wav(struct.pack("<HHIIHH", 1, 1, 0, 0, 2, 16), struct.pack("<I", len(sine)) + sine),
        "no-channels.wav": wav(struct.pack("<HHIIHH", 1, 0, 8000, 0, 0, 16), struct.pack("<I", len(sine)) + sine),
        "many-channels.wav": wav(struct.pack("<HHIIHH", 1, 999, 8000, 15984000, 1998, 16), struct.pack("<I", 8) + sine),
        "cut.flac": b"fLaC\x00\x00\x00\x22" + os.urandom(20),
        "list.m4a": b"#EXTM3U\nhttp://127.0.0.1:1/x.ts\n",
        "concat.mp4": b"ffconcat version 1.0\nfile /etc/hostname\n",
        "page.ogg": b"OggS" + bytes(60),
        "svg.wav": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        "photo.png": b"\x89PNG\r\n\x1a\n",
        "not-finite.wav": wav(
            struct.pack("<HHIIHH", 3, 1, 8000, 32000, 4, 32), struct.pack("<I", 4000) + b"\xff" * 4000
        ),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        yield folder / name
    write(folder / "hours.flac", np.zeros((1, 8000 * 60 * 40), np.float32), 8000)  # small as a file, long as a sound
    yield folder / "hours.flac"


def hostile_requests(address: str, good: str) -> Iterator[tuple[str, Callable[[], tuple[bool, Any]]]]:
    """Yield what a request tries, and what sends it; that gives whether it was let through, and what was said."""

    def web(
        path: str, body: bytes | None = None, method: str | None = None, **headers: str
    ) -> Callable[[], tuple[bool, Any]]:
        def send() -> tuple[bool, Any]:
            status, text = ask(address, path, body, method, **headers)
            return status < 400, json.loads(text)["detail"] if text.startswith('{"detail"') else text

        return send

    for path in (
        "gradio_api/file=/etc/hostname", "gradio_api/file=../../../../etc/hostname", "gradio_api/file=http://127.0.0.1:1/",
        "gradio_api/file=file:///etc/hostname", "gradio_api/file=%2e%2e/%2e%2e/etc/hostname", "gradio_api/file=.",
        "gradio_api/proxy=http://127.0.0.1:1/", "gradio_api/dev/reload", "gradio_api/vibe-code", "monitoring",
        "gradio_api/custom_component/1/client/x/..%2f..%2fetc", "static/..%2f..%2f..%2fetc%2fhostname",
        "gradio_api/deep_link?session_hash=x", "gradio_api/stream/a/b/1/playlist.m3u8",
    ):  # fmt: skip
        yield path, web(path)
    join = "gradio_api/queue/join"
    kind = {"content_type": "application/json"}
    yield "broken JSON", web(join, b"{", **kind)
    yield "deep JSON", web(join, b"[" * 200_000, **kind)
    yield "endless JSON", web(join, b" " * 2_000_000, **kind)
    yield "no such event", web("gradio_api/call/none", b'{"data": []}', **kind)
    yield "other method", web("config", b"{}", "DELETE")
    yield "upload that is none", web("gradio_api/upload", b"x", content_type="text/plain")
    data: dict[str, Any] = {
        "a file of the server": [[file_of("/etc/hostname")], "piano"],
        "an address": [[file_of("http://127.0.0.1:1/a.wav")], "piano"],
        "a folder": [[file_of(str(Path(good).parent))], "piano"],
        "a way out": [[file_of(f"{Path(good).parent}/../../../etc/hostname")], "piano"],
        "a name with a null": [[file_of("a\0.wav")], "piano"],
        "no files": [[], "piano"],
        "no list": ["x", "piano"],
        "numbers": [[1, 2], "piano"],
        "too many files": [[file_of(good)] * 51, "piano"],
        "no such domain": [[file_of(good)], "a\nb"],
        "a list as domain": [[file_of(good)], ["piano"]],
        "no such model": [[file_of(good)], "piano", "../../etc/passwd"],
        "a list as model": [[file_of(good)], "piano", [1]],
        "strength of words": [[file_of(good)], "piano", "violin-piano", "all"],
        "strength beyond": [[file_of(good)], "piano", "violin-piano", 1e308],
        "unknown format": [[file_of(good)], "piano", "violin-piano", 100, "exe"],
        "unknown option": [[file_of(good)], "piano", "violin-piano", 100, "wav", {"__class__": 1}],
        "an option twice": [[file_of(good)], "piano", "violin-piano", 100, "wav", {"strength": 1, "to": "violin"}],
        "options of words": [[file_of(good)], "piano", "violin-piano", 100, "wav", "x"],
        "an endless seed": [[file_of(good)], "piano", "violin-piano", 100, "wav", {"seed": 10**30}],
    }
    for what, values in data.items():
        yield what, lambda values=values: call(address, values)


def fifty(address: str, pid: int, said: list[str], folder: Path) -> None:
    """Send hostile requests, and convert a sound in the end."""
    good = json.loads(upload(address, ROOT / "data" / "violin.wav")[1])[0]
    tries = list(hostile_requests(address, good))
    for path in evil_files(folder):
        sent = json.loads(upload(address, path)[1])[0]
        tries.append((path.name, lambda sent=sent: call(address, [[file_of(sent)], "piano"])))
    wrong = 0
    for what, send in tries:
        done, line = send()
        fine = not done and isinstance(line, str) and line.strip() and "\n" not in line and len(line) <= 500
        wrong += not fine
        print(f"  {'' if fine else 'WRONG '}{what}: {str(line)[:160]}")
    done, _ = call(address, [[file_of(good)], "piano"])
    traces = sum("Traceback" in line for line in said)
    print(
        f"hostile: {len(tries) - wrong} of {len(tries)} refused by one line; "
        f"afterwards the server {'works' if done else 'FAILS'}"
    )
    print(f"tracebacks in its log: {traces}; memory {memory_mb(pid, 'VmHWM'):.0f} MB at its peak")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("eight", "hostile", "both"), default="both")
    what = parser.parse_args().what
    with tempfile.TemporaryDirectory() as place, server("--threads", "1") as (address, pid, said):
        if what != "hostile":
            eight(address, pid, Path(place))
        if what != "eight":
            fifty(address, pid, said, Path(place))


if __name__ == "__main__":
    main()
