"""Models of the Hugging Face hub by the installed command, from a hub that runs here: there and back, and offline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from audiotrans.recipe import read_head
from audiotrans.weights import shipped_by_name
from tests.hub import COMMIT, FakeHub, running

pytest.importorskip("huggingface_hub", reason="needs the extra hub")

# Several commands in one process, and some without the model that they would open: loading torch takes seconds.
COMMANDS = """
import json, sys
from audiotrans.cli import main
from audiotrans.errors import AudiotransError
from audiotrans.hub import fetch
for command, *arguments in json.loads(sys.argv[1]):
    try:
        if command == "fetch":
            fetch(*arguments)
            sys.exit(0)
        main([command, *arguments])
    except AudiotransError as error:
        print(error, file=sys.stderr)
        print(f"<{error.exit_code}>", file=sys.stderr, flush=True)
    except SystemExit as done:
        print(f"<{done.code}>", file=sys.stderr, flush=True)
"""

Outcome = tuple[int, str]


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with running() as served:
        yield served


@pytest.fixture
def commands(tmp_path: Path) -> Callable[..., list[Outcome]]:
    """Give what runs commands with a hub: exit code of each and what it said on stderr."""

    def run(hub: FakeHub, *asked: list[str], **environment: str) -> list[Outcome]:
        own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_x"}
        own |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS, json.dumps(asked)],
            env={**os.environ, **own, **environment}, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        parts = done.stderr.split("<")
        assert len(parts) > len(asked), done.stderr
        codes = [int(part.partition(">")[0]) for part in parts[1:]]
        said = [part.partition(">\n")[2] if index else part for index, part in enumerate(parts[:-1])]
        return list(zip(codes, (text.strip() for text in said), strict=True))

    return run


@pytest.mark.e2e
@pytest.mark.smoke
def test_a_model_goes_to_the_hub_and_comes_back(hub, commands, tmp_path):
    mine, card = tmp_path / "mine.safetensors", tmp_path / "mine.md"
    mine.write_bytes(shipped_by_name()["violin-piano"].read_bytes())
    card.write_text("# Mine\n\n![A sheet](mine.png)\n")
    (tmp_path / "mine.png").write_bytes(b"PNG")
    convert = ["convert", "data/violin_short.flac", "--to", "piano", "-q", "--device", "cpu", "--model"]
    push = ["push", str(mine), "someone/mine"]
    pushed, again, replaced, converted, told = commands(
        hub,
        push,
        push,
        [*push, "--force"],
        [*convert, "hf:someone/mine", "-o", str(tmp_path / "a.flac")],
        ["info", "hf:someone/mine@v1"],
    )
    assert pushed == replaced == converted == told == (0, "")
    assert again[0] == 2
    assert "someone/mine has a model.safetensors already: use --force" in again[1]
    assert set(hub.files["someone/mine"]) == {"model.safetensors", "README.md", "mine.png"}
    assert hub.files["someone/mine"]["model.safetensors"] == mine.read_bytes()
    assert hub.tokens == {"Bearer hf_x"}
    assert (tmp_path / "a.flac").stat().st_size > 10_000

    hub.files["someone/other"] = {"README.md": b"", "weights/best.safetensors": mine.read_bytes()}
    hub.files["someone/empty"] = {"README.md": b""}
    gone, missing, empty, revision, form, climbing = commands(
        hub,
        *(["fetch", name] for name in (
            "hf:someone/none", "hf:someone/other", "hf:someone/empty", "hf:someone/mine@v9", "hf:mine", "hf:a/b/../c",
        )),
    )  # fmt: skip
    assert "no such model on the hub, or a private one" in gone[1]
    assert "has no model.safetensors: choose one, such as hf:someone/other/weights/best.safetensors" in missing[1]
    assert "has no model.safetensors, and no other weights file" in empty[1]
    assert "has no revision 'v9'" in revision[1]
    assert [outcome[0] for outcome in (gone, missing, empty, revision)] == [1, 1, 1, 1]
    for code, said in (form, climbing):
        assert code == 2
        assert "names no model of the hub: write hf:owner/name" in said

    # Without a connection the copy in the cache is taken; what is not there is refused. A full stop: one line each.
    offline = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    kept, absent = commands(hub, ["fetch", "hf:someone/mine"], ["fetch", "hf:someone/else"], **offline)
    assert kept[0] == 0
    assert f"the hub cannot be reached: taking the copy of hf:someone/mine in the cache ({COMMIT[:12]})" in kept[1]
    assert absent[0] == 1
    assert "hf:someone/else is not in the cache here, and the hub cannot be reached" in absent[1]
    assert [said.count("\n") for _, said in (kept, absent)] == [0, 0]
    assert commands(hub, ["fetch", "hf:someone/mine"], HF_HUB_OFFLINE="1")[0][0] == 0

    hub.files["someone/bad"], hub.damage = {"model.safetensors": mine.read_bytes()}, True
    ((code, said),) = commands(hub, ["fetch", "hf:someone/bad"])
    assert code == 1
    assert "is damaged: its checksum is not the hub's" in said


def test_the_shipped_models_cards_have_a_head_that_the_hub_reads():
    for name, path in shipped_by_name().items():
        head = read_head(path.with_suffix(".md").read_text(encoding="utf-8"))
        assert head["license"] == "apache-2.0"
        assert head["library_name"] == "audiotrans"
        (model,) = head["model-index"]
        assert model["name"] == name
        for result in model["results"]:
            assert {"task", "dataset", "metrics"} == set(result)
