"""A core installation, made by hiding every optional library: what works, and the one line that names the rest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from audiotrans.errors import EXTRAS, AudiotransError, MissingLibraryError, names_extras
from tests.folders import write_tone

ROOT = Path(__file__).resolve().parents[2]
# As if torchaudio were broken, too, which was once a dependency; and as Windows is, which lacks these parts of Python.
HIDDEN = (*EXTRAS, "torchaudio", "fcntl", "resource", "pwd", "grp", "termios")
HIDE = """
import json, os, sys
sys.modules.update(dict.fromkeys({names!r}))
if hasattr(os, "sched_getaffinity"):
    del os.sched_getaffinity
"""
# Several commands in one process: loading torch takes seconds. Nothing of what is hidden is loaded by any of them.
COMMANDS = """
from audiotrans.cli import main
codes = {}
for name, arguments in json.loads(sys.argv[1]).items():
    print(f"<{name}>", file=sys.stderr, flush=True)
    try:
        main(arguments)
    except SystemExit as done:
        codes[name] = done.code
print("<end>", file=sys.stderr)
print(json.dumps(codes))
"""


def run(commands: dict[str, list[str]], hidden: tuple[str, ...] = HIDDEN) -> dict[str, tuple[int, str]]:
    """Run commands where some libraries are hidden; give each one's exit code and what it said on stderr."""
    code = HIDE.format(names=hidden) + COMMANDS
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1])
    said = {name: done.stderr.partition(f"<{name}>\n")[2].partition("\n<")[0] for name in codes}
    return {name: (code, said[name].strip()) for name, code in codes.items()}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    folder = tmp_path_factory.mktemp("core")
    for domain in ("blond", "brown"):
        write_tone(folder / "sounds" / "violin" / "a.wav", seconds=2.0)
        write_tone(folder / "sounds" / "piano" / "a.wav", 880.0, 2.0)
        (folder / "photos" / domain).mkdir(parents=True)
        (folder / "photos" / domain / "a.png").write_bytes(b"")
    to_piano = ["convert", "data/violin.wav", "--to", "piano", "-o", f"{folder}/piano.wav", "-q", "--force"]
    photo_recipe = "recipes/celeba_blond_brown.yaml"
    return run(
        {
            "piano": to_piano,
            "violin": ["convert", "data/piano.wav", "--to", "violin", "-o", f"{folder}/violin.wav", "-q"],
            "pghi_refined": [*to_piano, "--phase", "pghi_refined"],
            "griffin_lim": [*to_piano, "--phase", "griffin_lim"],
            "plot": ["plot", "spectrogram", "data/violin.wav", "-o", f"{folder}/figure.png"],
            "photo": ["prep", f"{folder}/photos", "--recipe", photo_recipe, "-o", f"{folder}/cache", "-q"],
            "evaluate": ["evaluate", f"{folder}/sounds", "--model", "violin-piano", "-o", f"{folder}/scores", "-q"],
            "export": ["export", "violin-piano", "--to", "piano", "-o", f"{folder}/model.onnx"],
            "graph": ["convert", "data/violin.wav", "--to", "piano", "--model", "missing.onnx"],
            "ray": ["prep", f"{folder}/sounds", "-o", f"{folder}/cache", "--ray", "local", "-q"],
            "cycle": ["cycle", "data/violin.wav", "--from", "violin", "-o", f"{folder}/cycle", "-q"],
        }
    )


@pytest.mark.parametrize("way", ["piano", "violin"])
@pytest.mark.smoke
def test_the_shipped_model_converts_without_any_optional_library(outcome, way):
    code, said = outcome[way]
    assert code == 0, said


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("pghi_refined", "phase"),
        ("griffin_lim", "eval"),
        ("plot", "plot"),
        ("photo", "photo"),
        ("evaluate", "eval"),
        ("export", "export"),
        ("graph", "export"),
        ("cycle", "eval"),
        ("ray", "ray"),
    ],
)
def test_what_is_missing_is_one_line_that_names_the_extra(outcome, command, extra):
    code, said = outcome[command]
    assert (code, said.count("\n")) == (1, 0), said
    assert re.match(r"audiotrans: error: .*this needs \w+, which is not installed: ", said), said
    assert said.endswith(f': pip install "audiotrans[{extra}]"'), said


def test_python_callers_get_an_error_of_ours_that_is_also_an_import_error():
    @names_extras()
    def load(name: str) -> None:
        raise ModuleNotFoundError("no", name=name)

    with pytest.raises(MissingLibraryError, match=r'needs numba, .*"audiotrans\[phase\]"') as missing:
        load("numba.core")
    assert isinstance(missing.value, AudiotransError)
    assert isinstance(missing.value, ImportError)
    assert missing.value.name == "numba"
    with pytest.raises(ModuleNotFoundError, match="no"):
        load("of_a_user")


def test_every_module_of_the_table_is_brought_by_its_extra():
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    distributions = {"PIL": "pillow"}
    for module, extra in EXTRAS.items():
        listed = re.search(rf"^{extra} = \[(.*?)\]", declared, re.MULTILINE | re.DOTALL)
        assert listed is not None, extra
        assert f'"{distributions.get(module, module)}>=' in listed[1], (module, extra)
