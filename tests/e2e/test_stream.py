"""``audiotrans convert --stream`` as users run it: bytes in at one end, bytes out at the other."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from audiotrans.audio.pipes import PipeFormat, wav_header
from audiotrans.cli import main
from audiotrans.convert.converter import load
from tests.standins import SMALL, at_one_level, error_db, tone

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[2]
RATE = SMALL["sample_rate"]
SECONDS = 120  # of patience with a busy machine
RAW = ("--raw", "s16le", "--rate", RATE, "--channels", 1)


def command(*arguments: object) -> list[str]:
    return ["convert", "--stream", "--to", "piano", "--device", "cpu", *map(str, arguments)]


def invoke(data: bytes, *arguments: object) -> Result:
    """Run the command within this process."""
    return CliRunner().invoke(main, command(*arguments), input=data, prog_name="audiotrans")


@contextmanager
def process(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command as a process with pipes on all sides."""
    program = [sys.executable, "-m", "audiotrans", *command(*arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(program, cwd=ROOT, bufsize=0, **pipes) as running:
        try:
            yield running
        finally:
            running.kill()


def pcm(wave: np.ndarray) -> bytes:
    return np.rint(wave.T * 32767).astype("<i2").tobytes()


def wav(wave: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave.T, rate, format="WAV", subtype=subtype)
    return file.getvalue()


@pytest.mark.smoke
def test_a_recording_comes_out_as_the_file_command_translates_it() -> None:
    wave, rate = soundfile.read(ROOT / "data" / "violin_short.flac", dtype="float32", always_2d=True)
    wave = wave.T
    converter = load(device="cpu")
    level_db = converter.measure([wave], rate, len(wave)).level_db
    with process("--level", repr(level_db), "--look-ahead", 2, "--threads", 1) as running:  # all of its reach
        out, err = running.communicate(wav(wave, rate), SECONDS)
    assert running.returncode == 0, err
    got, got_rate = soundfile.read(io.BytesIO(out), dtype="float32", always_2d=True)
    assert (got_rate, got.shape) == (rate, wave.T.shape)
    whole = at_one_level(converter, wave, rate, level_db, shifts=1, remove_vibrato=0)
    np.testing.assert_allclose(got.T, whole, atol=0.75 * 2**-15)  # rounded to 16 bits, in and out
    assert error_db(got.T, wave) > -20
    lines = err.decode().splitlines()
    assert lines[0].startswith(f"stream: {rate} Hz, {len(wave)} channels, s16le: ")
    assert lines[-1].startswith("stream: 2.0 s of sound in ")


def test_sound_flows_while_more_comes_and_an_interrupt_ends_it(model: Path) -> None:
    with process("--model", model, *RAW) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(pcm(tone(2.0)))
        assert len(running.stdout.read(1000)) > 0  # stdin is still open
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=SECONDS)
    assert running.returncode == 130
    assert err.decode().splitlines()[-1] == "audiotrans: error: interrupted"
    assert b"Traceback" not in err


@pytest.mark.skipif(os.name != "posix", reason="a shell closes the pipes")
@pytest.mark.parametrize(("closing", "name"), [("<&-", "stdin"), (">&-", "stdout")])
def test_a_closed_pipe_is_one_line(closing: str, name: str) -> None:
    line = f"'{sys.executable}' -m audiotrans convert --stream --to piano {closing}"
    done = subprocess.run(["/bin/sh", "-c", line], input=b"", capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1].startswith(f"audiotrans: error: {name} is closed")


def test_a_reader_that_goes_away_is_no_drama(model: Path) -> None:
    with process("--model", model, *RAW) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        running.stdout = None
        _, err = running.communicate(pcm(tone(3.0)), SECONDS)
    assert running.returncode == 1
    (line,) = err.decode().splitlines()
    assert line.startswith("stream: 16000 Hz, 1 channels, s16le: ")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's memory from /proc")
def test_memory_stays_as_it_is(model: Path) -> None:
    ten_seconds = pcm(np.tile(tone(0.5), 20))
    with process("--model", model, "--chunk", 2, *RAW) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        memory, read = [], 0
        for block in range(1, 16):
            # At most 3 s are held back. The writer is a thread, as in a shell: pipes are small.
            writer = threading.Thread(target=running.stdin.write, args=(ten_seconds,))
            writer.start()
            wanted = block * len(ten_seconds) - 3 * RATE * 2
            while read < wanted:
                read += len(running.stdout.read(65_536))
            writer.join()
            memory.append(resident_bytes(running.pid))
        running.communicate(timeout=SECONDS)
    # Of 100 s more, 6.4 MB would stay as float32; the level's memory of one minute fills to 60 kB. The least of those
    # after so long, for an allocator takes and gives back some MB at its own times.
    assert min(memory[-4:]) - memory[1] < 3e6, memory


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_every_kind_of_wav_comes_back_as_it_was(model: Path, subtype: str) -> None:
    wave = tone(1.0, 2, 22_050, gain=0.1)
    result = invoke(wav(wave, 22_050, subtype), "--model", model)
    assert result.exit_code == 0, result.stderr
    info = soundfile.info(io.BytesIO(result.stdout_bytes))
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (22_050, 2, wave.shape[1], subtype)
    assert len(result.stdout_bytes) == len(wav(wave, 22_050, subtype)) or subtype == "FLOAT"  # libsndfile adds a peak


def test_an_open_length_stays_open_and_the_file_can_be_read(model: Path, tmp_path: Path) -> None:
    description = wav(tone(0.1))[20:36]
    header = wav_header(PipeFormat(RATE, 1, "s16le", wav=True, description=description))
    result = invoke(header + pcm(tone(1.0)), "--model", model)
    assert result.exit_code == 0, result.stderr
    assert result.stdout_bytes.startswith(header)
    (tmp_path / "a.wav").write_bytes(result.stdout_bytes)
    assert soundfile.info(tmp_path / "a.wav").frames == RATE


def test_raw_is_wav_without_headers(model: Path) -> None:
    wave = tone(0.8)
    raw, headed = invoke(pcm(wave), "--model", model, *RAW), invoke(wav_of(pcm(wave)), "--model", model)
    assert raw.exit_code == headed.exit_code == 0
    assert raw.stdout_bytes == headed.stdout_bytes[44:]
    assert len(raw.stdout_bytes) == len(pcm(wave))


def wav_of(samples: bytes) -> bytes:
    return wav(np.frombuffer(samples, "<i2")[None] / 32768)


def test_quiet_says_nothing_but_warnings(model: Path) -> None:
    data = wav(tone(1.0))[:-8000]
    result = invoke(data, "--model", model, "-q", "--gain", 40)
    assert result.exit_code == 0
    cut, clipped = result.stderr.splitlines()
    assert cut == (
        "audiotrans: warning: the input was cut off after 0.75 s of the 1.00 s its header promises: "
        "what came was translated"
    )
    assert clipped.startswith("audiotrans: warning: ")
    assert "samples lay beyond full scale and were cut to 16 bit: --gain " in clipped


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.wav"], "INPUT a.wav makes no sense with --stream"),
        (["-o", "a.wav"], "-o a.wav makes no sense with --stream"),
        (["--samples", "2"], "--samples 2 makes no sense with --stream"),
        (["--force"], "--force makes no sense with --stream"),
        (["--raw", "s16le"], "--raw s16le has no header: give --rate and --channels too"),
        (["--raw", "s16le", "--rate", "44100"], "give --channels too"),
        (["--raw", "cd", "--rate", "44100", "--channels", "2"], "unknown kind of raw sample 'cd'"),
        (["--rate", "44100"], "--rate goes with --raw"),
        (["--channels", "2"], "--channels goes with --raw"),
        (["--chunk", "0"], "chunk 0 s: give more than 0"),
        (["--gain", "nan"], "gain nan dB"),
        (["--phase", "griffin_lim"], "phase griffin_lim needs the whole sound: choose source, rtpghi or auto"),
    ],
)
def test_mistakes_are_one_line(model: Path, arguments: list[str], message: str) -> None:
    result = invoke(wav(tone(0.1)), "--model", model, *arguments)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("audiotrans: error: ")
    assert message in line
    assert result.stdout_bytes == b""


def test_a_dash_means_the_pipe(model: Path) -> None:
    data = wav(tone(0.2))
    assert invoke(data, "--model", model, "-", "-o", "-").stdout_bytes == invoke(data, "--model", model).stdout_bytes


@pytest.mark.parametrize(("data", "message"), [(b"", "is empty"), (b"fLaC" + bytes(60), "no WAV|WAV header")])
def test_what_is_no_wav_is_one_line(model: Path, data: bytes, message: str) -> None:
    result = invoke(data, "--model", model)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert any(part in line for part in message.split("|"))


@pytest.mark.parametrize("option", ["--raw=u8", "--rate=1", "--channels=1", "--gain=0", "--level=-20", "--chunk=1"])
def test_options_of_streams_need_a_stream(option: str) -> None:
    result = CliRunner().invoke(main, ["convert", "--to", "piano", "a.wav", option], prog_name="audiotrans")
    assert result.exit_code == 2
    assert f"{option.split('=')[0]} goes with --stream" in result.stderr


def test_without_a_stream_inputs_are_still_needed() -> None:
    result = CliRunner().invoke(main, ["convert", "--to", "piano"], prog_name="audiotrans")
    assert result.exit_code == 2
    assert "Missing argument 'INPUT...'" in result.stderr


def test_the_help_lists_the_options_of_streams_apart() -> None:
    text = CliRunner().invoke(main, ["convert", "--help"], prog_name="audiotrans").output
    files, streams = text.split("Options of streams:")
    assert "--strength" in files
    assert "--raw" in streams
    assert "--raw" not in files


def test_no_sound_is_lost_to_the_terminal() -> None:
    """A terminal on either side is a mistake that is told before a model is loaded."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    program = [sys.executable, "-m", "audiotrans", *command()]
    done = subprocess.run(program, cwd=ROOT, stdin=follower, capture_output=True, check=False, timeout=SECONDS)
    os.close(leader)
    os.close(follower)
    assert done.returncode == 2
    assert b"stdin is a terminal" in done.stderr
