"""The convert command as users run it, with a real (untrained) model from a weights file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from audiotrans.audio import Writer
from audiotrans.cli import main
from tests.standins import tone

pytestmark = pytest.mark.e2e


def convert(model: Path, *arguments: object) -> Result:
    command = ["convert", "--model", str(model), "--device", "cpu", *map(str, arguments)]
    return CliRunner().invoke(main, command, prog_name="audiotrans")


@pytest.mark.parametrize(
    ("name", "rate", "channels"),
    [
        ("a.wav", 44_100, 2),
        ("a.flac", 48_000, 1),
        ("a.mp3", 48_000, 1),
        ("a.ogg", 22_050, 2),
        ("a.opus", 48_000, 2),
        ("a.aiff", 8_000, 1),
        ("a.wav", 96_000, 6),
    ],
)
@pytest.mark.smoke
def test_every_format_comes_back_as_it_was(model: Path, tmp_path: Path, name: str, rate: int, channels: int) -> None:
    source = tmp_path / name
    audio = {"format": "OGG", "subtype": "OPUS"} if source.suffix == ".opus" else {}
    soundfile.write(source, tone(1.3, channels, rate, gain=0.1).T, rate, **audio)
    result = convert(model, source, "--to", "piano")
    assert result.exit_code == 0, result.output
    out = source.with_name(f"a.piano{source.suffix}")
    before, after = soundfile.info(source), soundfile.info(out)
    for field in ("samplerate", "channels", "frames", "format", "subtype"):
        assert getattr(after, field) == getattr(before, field), field
    wave, _ = soundfile.read(out)
    assert np.isfinite(wave).all()
    assert np.abs(wave).max() > 1e-3


def test_same_seed_same_bytes_in_many_tiles(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "long.wav"
    soundfile.write(source, tone(40.0, 1, 16_000).T, 16_000)  # a tile's core is 33 s of this imaging
    for name, seed in (("one.wav", 5), ("two.wav", 5), ("three.wav", 6)):
        options = ("--to", "piano", "--seed", seed, "--phase", "source", "-o", tmp_path / name)
        assert convert(model, source, *options).exit_code == 0
    one, two, three = ((tmp_path / f"{name}.wav").read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


def test_strength_zero_returns_the_input(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    soundfile.write(source, tone(0.7, 2, 44_100).T, 44_100)
    assert convert(model, source, "--to", "piano", "--strength", 0).exit_code == 0
    (before, _), (after, _) = (soundfile.read(path, dtype="int16") for path in (source, tmp_path / "a.piano.wav"))
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text.wav", b"This is no sound.", "text.wav"),
        ("empty.wav", b"", "empty"),
        ("nothing.wav", np.zeros(0), "nothing.wav"),
        ("nan.wav", np.array([0.1, np.nan]), "nan.wav"),
        ("missing.wav", None, "missing.wav"),
    ],
)
def test_bad_input_gets_one_line(
    model: Path, tmp_path: Path, name: str, content: bytes | np.ndarray | None, said: str
) -> None:
    source = tmp_path / name
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif content is not None:
        soundfile.write(source, content, 16_000, subtype="FLOAT")
    result = convert(model, source, "--to", "piano", "-o", tmp_path / "out.wav")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("audiotrans: error: ")
    assert said in line
    assert not (tmp_path / "out.wav").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_silent_stem_is_silence_and_said(model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "drums.wav", np.zeros((70_000, 2)), 44_100, subtype="PCM_24")
    soundfile.write(tmp_path / "strings.wav", tone(0.2, 2, 44_100).T, 44_100, subtype="PCM_24")
    result = convert(model, tmp_path, "--to", "piano", "-o", tmp_path / "out", "--samples", 2)
    assert result.exit_code == 0, result.output
    (line,) = (line for line in result.stderr.splitlines() if "drums" in line)
    assert line == f"audiotrans: warning: {tmp_path / 'drums.wav'}: it is silent: so is its translation"
    for name, silent in (("drums", True), ("strings", False)):
        out, rate = soundfile.read(tmp_path / "out" / f"{name}.piano.2.wav")
        assert rate == 44_100
        assert out.shape == (70_000 if silent else round(0.2 * rate), 2)
        assert out.any() != silent


def test_names_that_a_log_cannot_hold_do_not_stop_a_batch(model: Path, tmp_path: Path) -> None:
    for name in ("Dvořák.wav", "Zeit.wav"):
        soundfile.write(tmp_path / name, tone(0.2).T, 16_000)
    command = [sys.executable, "-m", "audiotrans", "convert", "--model", model, tmp_path, "--to", "piano"]
    narrow = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = subprocess.run(command, env=narrow, capture_output=True, encoding="cp1252", check=True)
    first, second = (Path(line.partition(" (")[0]).name for line in done.stdout.splitlines())
    assert (first, second) == ("Dvo?ák.piano.wav", "Zeit.piano.wav")
    assert (tmp_path / "Dvořák.piano.wav").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_unreadable_input_gets_one_line(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "locked.wav"
    soundfile.write(source, tone(0.2).T, 16_000)
    source.chmod(0)
    result = convert(model, source, "--to", "piano")
    assert result.exit_code == 1
    assert "locked.wav" in result.stderr


def test_a_wrong_model_gets_one_line(tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    soundfile.write(source, tone(0.2).T, 16_000)
    result = convert(source, source, "--to", "piano")  # the sound itself as the model
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "a.wav" in line
    assert "model" in line


FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
sys.argv[0] = "audiotrans"
from audiotrans.cli import main
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of file sizes are set the POSIX way")
def test_a_disk_that_fills_up_gets_one_line(model: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    soundfile.write(source, tone(3.0, 2, 44_100).T, 44_100)
    command = [sys.executable, "-c", FULL_DISK, "convert", source, "--to", "piano", "--model", model]
    done = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("audiotrans: error: ")
    assert "large" in line
    assert f"a temporary file of 32-bit samples in {tmp_path}: " in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav"]


@pytest.mark.skipif(os.name != "posix", reason="Windows ends processes otherwise")
def test_the_end_that_timeout_and_docker_send_leaves_nothing_behind(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "a.wav"
    soundfile.write(source, tone(0.7).T, 16_000)
    write, half_done = Writer.write, []

    def ended(writer: Writer, block: np.ndarray) -> None:
        write(writer, block)
        half_done.extend(tmp_path.glob(".*"))
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Writer, "write", ended)
    try:
        result = convert(model, source, "--to", "piano")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert half_done
    assert (result.exit_code, result.stderr.strip()) == (130, "audiotrans: error: interrupted")
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_workers_write_the_same_bytes(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for index in range(5):
        path = tmp_path / "in" / ("deep" if index % 2 else ".") / f"{index}.flac"
        soundfile.write(path, tone(0.5 + index / 4, 1 + index % 2, 16_000).T, 16_000)
    (tmp_path / "in" / "broken.wav").write_text("no sound")
    for workers in (1, 2):
        folder = tmp_path / f"out{workers}"
        folder.mkdir()
        (folder / "2.piano.flac").write_text("mine")
        options = ("--to", "piano", "--threads", workers, "--workers", workers, "-o", folder)  # a thread for each
        result = convert(model, tmp_path / "in", *options)
        assert result.exit_code == 1, result.output
        assert result.stderr.splitlines()[-1] == "audiotrans: error: 2 of 6 inputs could not be converted: see above"
        assert "2.piano.flac exists already" in result.stderr
        assert "broken.wav" in result.stderr
        assert len(result.stdout.splitlines()) == 4
    outputs = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.flac")}
        for name in ("out1", "out2")
    ]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) == 5


def test_workers_show_how_far_they_are(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, tone(0.5, 1, 16_000).T, 16_000)
    monkeypatch.setattr("audiotrans.convert.jobs.on_a_screen", lambda: True)
    result = convert(model, tmp_path, "--to", "piano", "--threads", 1, "--workers", 2)
    assert result.exit_code == 0, result.output
    assert "convert: 100%|" in result.stderr
    assert "2/2" in result.stderr
    assert len(result.stdout.splitlines()) == 2
    assert "%|" not in convert(model, tmp_path, "--to", "piano", "--workers", 2, "--force", "-q").stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--workers", 0), "workers 0: give 1 or more"),
        (("--stream", "--workers", 2), "--workers 2 makes no sense with --stream"),
        (("--stream", "--ray", "local"), "--ray local makes no sense with --stream"),
    ],
)
def test_mistakes_about_workers_are_one_line(model: Path, tmp_path: Path, more: tuple[object, ...], said: str) -> None:
    inputs = () if "--stream" in more else (tmp_path,)
    result = convert(model, *inputs, "--to", "piano", *more)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert said in line
