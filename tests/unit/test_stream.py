"""Conversion block by block: it must give what converting the whole gives, on time and in fixed memory."""

from __future__ import annotations

import io
import math
import sys
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from audiotrans.audio.pipes import PipeFormat
from audiotrans.convert import stream
from audiotrans.convert.converter import Converter, load
from audiotrans.convert.jobs import sound_bar
from audiotrans.convert.stream import StreamConverter, StreamOptions, convert_pipe, read_ahead
from audiotrans.errors import AudiotransError, UsageError
from tests.standins import RATE, Identity, Local, Silencer, at_one_level, converter, error_db, tone

EXACT_DB = -100.0
"""Float error: the same sums in another order. A wrong column, level or phase shows above -60 dB."""


ASKED = ("phase", "strength", "seed", "articulation", "shifts")


def streamed(
    model: Converter, wave: np.ndarray, rate: int = RATE, *, cut: int = 1000, to: str = "piano", **options: Any
) -> np.ndarray:
    """Convert a wave in blocks of ``cut`` samples."""
    asked = {name: options.pop(name) for name in ASKED if name in options}
    maker = StreamConverter(model, rate, len(wave), model.options(to, **asked), **options)
    blocks = [maker.push(wave[:, start : start + cut]) for start in range(0, wave.shape[1], cut)]
    return np.concatenate([*blocks, maker.finish()], axis=1)


def level_db(model: Converter, wave: np.ndarray, rate: int = RATE) -> float:
    return model.measure([wave], rate, len(wave)).level_db


@pytest.mark.parametrize("phase", ["source", "rtpghi"])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("representation", ["log_mel_gain", "log_magnitude", "magnitude_phase"])
def test_a_stream_equals_the_whole(representation: str, channels: int, phase: str) -> None:
    model, wave = converter(Local(), representation=representation), tone(3.1, channels)
    level = level_db(model, wave)
    whole = at_one_level(model, wave, RATE, level, phase=phase)
    for chunk_seconds in (0.1, 0.7):
        got = streamed(model, wave, phase=phase, level_db=level, chunk_seconds=chunk_seconds)
        assert got.shape == wave.shape
        assert error_db(got, whole) < EXACT_DB


def test_a_shorter_look_ahead_waits_less_and_one_that_is_long_enough_changes_nothing() -> None:
    model, wave = converter(Local()), tone(3.1)
    options = model.options("piano")
    short, all_of_it = (StreamConverter(model, RATE, 1, options, look_ahead_seconds=s) for s in (0, None))
    reach = -(-model.model.context_frames // model.model.stride[1]) * model.model.stride[1]
    assert all_of_it.delay_samples - short.delay_samples == reach * model.settings.hop_length
    whole = streamed(model, wave)
    assert np.array_equal(streamed(model, wave, look_ahead_seconds=9), whole)
    cut = streamed(model, wave, look_ahead_seconds=0)
    assert cut.shape == whole.shape
    assert -90 < error_db(cut, whole) < -3  # the end of what it sees is not the end of the sound
    with pytest.raises(UsageError, match="look-ahead -1 s: give 0 or more"):
        streamed(model, wave, look_ahead_seconds=-1)


def test_a_stream_articulates_as_the_whole_does_and_waits_for_it() -> None:
    model, wave = converter(Local()), tone(3.1, 2)
    asked = {"articulation": 2.0, "phase": "source"}
    whole = at_one_level(model, wave, RATE, level_db(model, wave), **asked)
    assert error_db(model.convert(wave, RATE, to="piano", phase="source"), whole) > -40  # it does something
    got = streamed(model, wave, level_db=level_db(model, wave), chunk_seconds=0.2, **asked)
    assert error_db(got, whole) < EXACT_DB
    delays = [StreamConverter(model, RATE, 2, model.options("piano", **asked | {"articulation": f})).delay_samples
              for f in (1.0, 2.0)]  # fmt: skip
    assert delays[1] - delays[0] == 16 * 128  # 15 columns of 8 ms on each side, on the model's grid of 4


def test_a_stream_averages_passes_as_the_whole_does() -> None:
    model, wave = converter(Local()), tone(3.1, 2)
    whole = at_one_level(model, wave, RATE, level_db(model, wave), phase="source", shifts=4)
    assert error_db(model.convert(wave, RATE, to="piano", phase="source"), whole) > -60  # it does something
    got = streamed(model, wave, level_db=level_db(model, wave), chunk_seconds=0.2, phase="source", shifts=4)
    assert error_db(got, whole) < EXACT_DB


def test_the_shipped_model_too() -> None:
    model = load(device="cpu")
    wave = tone(2.0, 2, 44_100, gain=0.1)
    level = level_db(model, wave, 44_100)
    for phase in (None, "rtpghi"):  # its own, auto, is the source's phase
        whole = at_one_level(model, wave, 44_100, level, phase=phase)
        assert error_db(whole, wave) > -20  # something was translated
        got = streamed(model, wave, 44_100, cut=4410, phase=phase, level_db=level)
        assert error_db(got, whole) < EXACT_DB


def test_painted_phases_stream_as_well() -> None:
    model, wave = converter(Local(), representation="magnitude_phase", phase="network"), tone(2.0)
    whole = at_one_level(model, wave, RATE, level_db(model, wave))
    assert error_db(streamed(model, wave, level_db=level_db(model, wave)), whole) < EXACT_DB


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled_as_files_are(rate: int) -> None:
    model, wave = converter(Local()), tone(1.9, 2, rate)
    whole = at_one_level(model, wave, rate, level_db(model, wave, rate))
    got = streamed(model, wave, rate, cut=777, level_db=level_db(model, wave, rate))
    assert got.shape == wave.shape
    assert error_db(got, whole) < EXACT_DB


@pytest.mark.parametrize("samples", [1, 2, 100, 128, 511, 1024, 1025, 4000])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_a_sound_that_ends_early_is_converted_like_a_file(samples: int, rate: int) -> None:
    # It ends before the first chunk is due, so that even its level is that of the whole.
    model, wave = converter(Silencer(0.2)), tone(0.5, 1, rate)[:, 50 : 50 + samples]
    got = streamed(model, wave, rate, cut=64, chunk_seconds=1)
    assert got.shape == wave.shape
    np.testing.assert_allclose(got, model.convert(wave, rate, to="piano"), atol=1e-6)


def test_nothing_in_nothing_out() -> None:
    maker = StreamConverter(converter(Local()), RATE, 2, converter(Local()).options("piano"))
    assert maker.push(np.zeros((2, 0), np.float32)).shape == (2, 0)
    assert maker.finish().shape == (2, 0)


@pytest.mark.parametrize("phase", ["source", "rtpghi"])
@pytest.mark.parametrize("chunk_seconds", [0.05, 0.5])
def test_the_delay_is_exact(phase: str, chunk_seconds: float) -> None:
    model, wave = converter(Local()), tone(1.2)
    maker = StreamConverter(model, RATE, 1, model.options("piano", phase=phase), chunk_seconds=chunk_seconds)
    given, lags = 0, []
    for at in range(wave.shape[1]):
        given += maker.push(wave[:, at : at + 1]).shape[1]
        lags.append(at + 1 - given)
    assert max(lags) == maker.delay_samples
    assert maker.delay_seconds == maker.delay_samples / RATE
    assert given + maker.finish().shape[1] == wave.shape[1]


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000, 96_000])
def test_the_delay_holds_with_resampling(rate: int) -> None:
    model = converter(Identity())
    maker = StreamConverter(model, rate, 1, model.options("piano"), level_db=-20)
    wave, given, worst = tone(4.0, 1, rate), 0, 0
    for start in range(0, wave.shape[1], 37):
        given += maker.push(wave[:, start : start + 37]).shape[1]
        worst = max(worst, min(start + 37, wave.shape[1]) - given)
    # Within a tenth of a second of the truth: a bound that is far too large would be no statement.
    assert maker.delay_samples - rate / 10 < worst <= maker.delay_samples


def test_memory_does_not_grow() -> None:
    model = converter(Local())
    maker = StreamConverter(model, RATE, 1, model.options("piano"), chunk_seconds=0.5)
    block = tone(2.0)

    def held() -> int:
        tensors = [value for value in vars(maker).values() if isinstance(value, np.ndarray)]
        return sum(array.nbytes for array in tensors) + maker._joiner._kept.nbytes

    for _ in range(3):
        maker.push(block)
    before = held()
    for _ in range(40):
        maker.push(block)
    assert held() == before
    hop_seconds = model.imaging.seconds_per_frame
    assert len(maker._meter._frames) == round(stream.LEVEL_SECONDS / hop_seconds)  # 80 s have gone through


class Watching(Silencer):
    """Notes how loud its images are."""

    def __init__(self) -> None:
        super().__init__(0.2)
        self.tops: list[float] = []

    def translate(self, image: Tensor, source: str, target: str, noise: Tensor | None) -> Tensor:
        self.tops.append(float(image.max()))
        return super().translate(image, source, target, noise)


def test_the_level_follows_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LEVEL_SECONDS", 2.0)
    watching = Watching()
    model, note = converter(watching), tone(0.7, gain=0.1)
    loud, quiet = np.tile(note, 8), np.tile(note, 8) * np.float32(0.001)
    maker = StreamConverter(model, RATE, 1, model.options("piano"), chunk_seconds=0.2)
    maker.push(loud)
    assert maker.level_db == pytest.approx(level_db(model, loud), abs=0.5)
    top = watching.tops[-1]
    maker.push(quiet)  # 60 dB lower, and longer than the level's memory
    assert maker.level_db == pytest.approx(level_db(model, quiet), abs=0.5)
    assert watching.tops[-1] == pytest.approx(top, abs=0.02)  # 1 dB: the model sees the same music


@pytest.mark.parametrize("phase", ["source", "rtpghi"])
def test_silence_stays_silence_until_something_sounds(phase: str) -> None:
    model = converter(Silencer(0.3))
    wave = np.concatenate([np.zeros((1, 3 * RATE), np.float32), tone(1.0)], axis=1)
    maker = StreamConverter(model, RATE, 1, model.options("piano", phase=phase))
    first = maker.push(wave[:, : 2 * RATE])
    assert first.shape[1] > RATE
    assert not first.any()
    assert maker.level_db == -math.inf
    rest = np.concatenate([maker.push(wave[:, 2 * RATE :]), maker.finish()], axis=1)
    assert first.shape[1] + rest.shape[1] == wave.shape[1]
    assert np.isfinite(rest).all()
    assert np.abs(rest[:, -RATE // 2 :]).max() > 0.01
    silent = streamed(model, wave[:, :RATE], phase=phase)
    assert silent.shape == (1, RATE)
    assert not silent.any()


def test_strength_zero_passes_everything_at_once() -> None:
    model, wave = converter(Local()), tone(0.3, 2, 44_100)
    maker = StreamConverter(model, 44_100, 2, model.options("piano", strength=0))
    assert maker.delay_samples == 0
    np.testing.assert_array_equal(maker.push(wave), wave)
    assert maker.finish().shape == (2, 0)


def test_auto_is_the_sources_phase_for_gains_and_causal_for_others() -> None:
    wave = tone(1.0)
    for representation, phase in (("log_mel_gain", "source"), ("log_magnitude", "rtpghi")):
        model = converter(Local(), representation=representation)
        np.testing.assert_array_equal(streamed(model, wave), streamed(model, wave, phase=phase))


def test_methods_that_need_the_whole_sound_are_refused() -> None:
    model = converter(Local())
    with pytest.raises(UsageError, match=r"griffin_lim needs the whole sound: choose source, rtpghi or auto"):
        StreamConverter(model, RATE, 1, model.options("piano", phase="griffin_lim"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 0}, "0 channels: 1 to 8"),
        ({"channels": 9}, "9 channels: 1 to 8"),
        ({"sample_rate": 0}, "sample rate 0 Hz"),
        ({"chunk_seconds": 0.0}, "chunk 0 s: give more than 0 and at most 30"),
        ({"chunk_seconds": math.nan}, "chunk nan s"),
        ({"chunk_seconds": 31.0}, "chunk 31 s"),
        ({"level_db": math.nan}, "level nan dB"),
        ({"level_db": -math.inf}, "level -inf dB"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    model = converter(Local())
    values = {"sample_rate": RATE, "channels": 1} | options
    with pytest.raises(UsageError, match=message):
        StreamConverter(model, values.pop("sample_rate"), values.pop("channels"), model.options("piano"), **values)


def test_down_sampled_images_are_refused() -> None:
    model = converter(Local(), representation="magnitude_phase", time_stride=2)
    with pytest.raises(UsageError, match="time_stride above 1"):
        StreamConverter(model, RATE, 1, model.options("piano", phase="source"))


def test_wrong_blocks_are_refused() -> None:
    model = converter(Local())
    maker = StreamConverter(model, RATE, 2, model.options("piano"))
    with pytest.raises(AudiotransError, match="1 channels: the stream has 2"):
        maker.push(tone(0.1))
    with pytest.raises(AudiotransError, match="NaN"):
        maker.push(np.full((2, 10), np.nan, np.float32))
    maker.finish()
    with pytest.raises(ValueError, match="finished"):
        maker.push(tone(0.1, 2))
    with pytest.raises(ValueError, match="finished"):
        maker.finish()


def test_random_states_are_left_alone() -> None:
    before = torch.random.get_rng_state()
    streamed(converter(Local()), tone(0.5), phase="rtpghi")
    assert torch.equal(before, torch.random.get_rng_state())


RAW = PipeFormat(RATE, 1, "f32le")


def piped(model: Converter, data: bytes, options: StreamOptions) -> tuple[bytes, Any]:
    sink = io.BytesIO()
    done = convert_pipe(model, model.options("piano"), io.BytesIO(data), sink, options)
    return sink.getvalue(), done


def test_a_pipe_gives_what_the_class_gives() -> None:
    model, wave = converter(Local()), tone(1.5)
    data, done = piped(model, wave.T.astype("<f4").tobytes(), StreamOptions(RAW, gain_db=-6.0))
    got = np.frombuffer(data, "<f4")[None]
    np.testing.assert_allclose(got, streamed(model, wave) * 10 ** (-6 / 20), rtol=1e-6)
    assert done.warnings == ()
    assert str(done).startswith("1.5 s of sound in ")


def test_clipping_is_counted_and_its_advice_is_enough() -> None:
    model, wave = converter(Silencer(0.2)), tone(1.0, gain=0.4)  # 10 dB louder: beyond full scale
    data = (wave.T * 32767).astype("<i2").tobytes()
    form = PipeFormat(RATE, 1, "s16le")
    out, done = piped(model, data, StreamOptions(form))
    assert np.abs(np.frombuffer(out, "<i2").astype(int)).max() >= 32767
    (line,) = done.warnings
    assert "were cut to 16 bit" in line
    gain_db = float(line.split("--gain ")[1].split()[0])
    assert -12 < gain_db < 0
    assert piped(model, data, StreamOptions(form, gain_db=gain_db))[1].warnings == ()


def test_an_empty_pipe_is_a_mistake() -> None:
    with pytest.raises(AudiotransError, match="empty"):
        piped(converter(Local()), b"", StreamOptions(RAW))


def test_half_a_sample_at_the_end_is_told() -> None:
    _, done = piped(converter(Local()), tone(0.5).T.tobytes() + b"\0", StreamOptions(RAW))
    assert done.warnings == ("the input was cut off after 0.50 s: what came was translated",)


def test_errors_of_reading_arrive_after_the_blocks_before_them() -> None:
    def failing() -> Any:
        yield np.ones((1, 1), np.float32)
        raise AudiotransError("the pipe broke")

    blocks = read_ahead(failing())
    assert next(blocks).shape == (1, 1)
    with pytest.raises(AudiotransError, match="the pipe broke"):
        next(blocks)


def test_the_bar_knows_open_ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for total, shown in ((0.0, "stream: 2 s of sound, "), (8.0, "25%")):
        with sound_bar("stream") as tick:
            assert tick is not None
            tick(1.0, total)
            time.sleep(0.15)  # tqdm redraws ten times a second
            tick(2.0, total)
        assert shown in capsys.readouterr().err
    with sound_bar("stream", quiet=True) as tick:
        assert tick is None
