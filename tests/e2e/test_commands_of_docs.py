"""Every command that the documents give is run here to the letter, or is marked with the reason why not.

`make docs` runs them. Each page has a folder of its own with the inputs that its commands name: half a second of sound
in place of a concert, recipes that take three steps. What the commands say is what a reader would type.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from audiotrans.cli import main
from tests.folders import write_tone
from tests.unit.test_docs import PAGES, ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.docs]

NOT_RUN = {
    r"^make ": "CI runs these themselves",
    r"^git show ": "needs the history of the repository; git has its own tests",
    r"^pip install ": "CI installs the wheel, with all extras, into empty environments",
    r"^python -m venv |^\. \.venv/": "CI makes environments so",
    r"^(for .*)?python -m benchmarks\.": "takes minutes to hours, most of them with sounds that are not shipped",
    r"^python docs/demo/build\.py": "needs npm and a minute; test_demo_page.py builds a page of a small graph",
    r"^uv |^brew |^apt-get |^winget ": "programs of others",
    r"\baplay\b|\barecord\b|^some-source": "needs a sound card; test_stream.py runs the same pipe between files",
    r"ffmpeg ": "a program of others; test_stream.py runs the same pipe between files",
    r"^torchrun |^srun |^sbatch |^ray |^nvidia": "needs other machines; tests run it with two processes",
    r"^audiotrans evaluate": "takes a minute with its networks; test_evaluate.py runs it with stand-ins for them",
    r"^audiotrans report scores": "of an evaluation, see above; test_report.py",
    r"^audiotrans cycle ": "takes a minute with its transcription; test_cycle.py runs it on short clips",
    r"^audiotrans compare ": "trains many models; test_compare.py runs it with tiny ones",
    r"CELEBA|^audiotrans .*(face|hair|faces)": "needs photos; test_photos.py runs them all on drawn ones",
    r"hf:owner/name|^audiotrans push|^hf auth": "needs the hub; test_hub.py runs them against a hub of its own",
    r"^audiotrans (serve|export) |^python app\.py|^np[xm] |^audiotrans .*--runtime": "they have tests of their own",
    r"irmas|PAIRS|violin_piano_pairs|one_pass|\bMODEL\b|teacher": "takes what is not shipped; test_pairs.py",
    r"\bpaper\b|figure8": "hours of training; test_cycle.py and test_plots_figures.py run the rest",
    r"^audiotrans doctor": "takes a quarter of a minute; test_look.py runs it",
    r"zsh_source|fish_source": "needs other shells; bash's line is run",
    r"--shard|--ray|--resume --run runs/mine --cache": "test_runs.py, test_prepare.py and test_cluster.py run these",
    r"^audiotrans train --resume .*--changed": "test_runs.py",
    r"^docker |^systemctl |^curl |^open |^xdg-open |^python -m http": "programs of others",
}
"""Commands that are not run, and why: what runs the same, where anything does."""

RECIPE = """
model: {preset: tiny, residual: 0.5}
train: {steps: 3, crop_frames: 32, log_every: 2, save_every: 3, sample_every: 9, precision: float32, threads: 1}
"""


def lines(page: Path) -> list[str]:
    """Return the lines of a page's blocks of shell commands, without their comments."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", page.read_text(encoding="utf-8"))
    joined = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [bare for line in joined if (bare := re.sub(r"(^|\s)#.*", "", line).strip())]


def reason(line: str) -> str | None:
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, line)), None)


def test_the_list_of_reasons_has_no_dead_line() -> None:
    every = [line for page in PAGES for line in lines(page)]
    mine = [pattern for pattern in NOT_RUN if pattern.startswith((r"^make", r"^pip", r"CELEBA", r"hf:owner"))]
    assert all(any(re.search(pattern, line) for line in every) for pattern in mine)
    assert sum(reason(line) is None for line in every) > 20


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the inputs that the documents name, short."""
    root = tmp_path_factory.mktemp("inputs")
    (root / "data").mkdir()
    rng = np.random.default_rng(1)
    for name in ("violin", "piano"):
        wave, rate = soundfile.read(ROOT / "data" / f"{name}_short.flac")
        soundfile.write(root / "data" / f"{name}.wav", wave[: rate // 2], rate)
        for folder in ("my_sounds", "SOUNDS"):
            for number in range(2):
                path = root / folder / name / f"take{rng.integers(100)}_{number}x.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, wave[: 2 * rate], rate)
    for name in ("oboe", "cello"):
        for number in "ab":
            write_tone(root / "my_sounds" / name / f"{number}.wav", seconds=2.0)
    for name in ("concert.mp3", "takes/1.wav", "more_takes/2.wav", "tune.flac", "violin.wav"):
        write_tone(root / name, seconds=0.5)
    for recipe in (ROOT / "recipes").glob("*.yaml"):
        (root / "recipes").mkdir(exist_ok=True)
        (root / "recipes" / recipe.name).write_text(RECIPE)
    return root


@pytest.fixture(scope="module")
def trained(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make what pages presuppose that tell how to go on: a cache, a run and its model."""
    root, before = tmp_path_factory.mktemp("trained"), Path.cwd()
    recipe = inputs / "recipes" / "violin_piano.yaml"
    os.chdir(root)
    try:
        for command in (
            f"prep {inputs / 'SOUNDS'} --recipe {recipe} -o cache --workers 1 -q",
            f"train {recipe} --run runs/mine -q",
            "export-weights runs/mine -o mine.safetensors",
        ):
            result = CliRunner().invoke(main, shlex.split(command))
            assert result.exit_code == 0, result.output
    finally:
        os.chdir(before)
    return root


@pytest.mark.parametrize("page", [page for page in PAGES if lines(page)], ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.usefixtures("no_board")
def test_commands_run_or_are_marked(
    page: Path, inputs: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    shutil.copytree(inputs, here)
    if not any("audiotrans prep" in line and "-o cache" in line for line in lines(page)):
        shutil.copytree(trained, here, dirs_exist_ok=True)
    monkeypatch.chdir(here)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for line in lines(page):
        if reason(line) is None:
            run(line)


def run(line: str) -> None:
    """Run a line: a command of ours in this process, anything else by a shell."""
    # A second line may write what the first one wrote: a reader has the outputs of one of them.
    for output in [*re.findall(r"-o (\S+\.\w+)", line), *Path().glob("data/*.piano.wav")]:
        Path(output).unlink(missing_ok=True)
    words = shlex.split(line)
    ours = words[0] == "audiotrans" or words[:3] == ["python", "-m", "audiotrans"]
    if ours and not set(words) & {"|", "<", ">"}:
        result = CliRunner().invoke(main, words[1 if words[0] == "audiotrans" else 3 :], prog_name="audiotrans")
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception}"
        return
    bin_folder = Path("bin").absolute()
    bin_folder.mkdir(exist_ok=True)
    command = bin_folder / "audiotrans"  # as it is installed
    command.write_text(f"#!{sys.executable}\nfrom audiotrans.cli import main\nmain()\n")
    command.chmod(0o755)
    path = os.pathsep.join([str(bin_folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],  # noqa: S607
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, f"{line}\n{done.stderr}"
