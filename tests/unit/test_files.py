from __future__ import annotations

import errno
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from audiotrans import audio
from audiotrans.convert import jobs
from audiotrans.convert.jobs import Failure, Job, plan_jobs
from audiotrans.convert.sound_converter import run_jobs
from audiotrans.errors import AudiotransError, UsageError
from tests.standins import RATE, Identity, Local, Silencer, converter, tone


@pytest.fixture
def violin(tmp_path: Path) -> Path:
    path = tmp_path / "violin.wav"
    soundfile.write(path, tone(0.6, channels=2, rate=22_050).T, 22_050, subtype="PCM_16")
    return path


def test_file_keeps_rate_channels_length_and_subtype(violin: Path, tmp_path: Path) -> None:
    ticks: list[tuple[float, float]] = []
    made = converter(Local()).convert_file(
        violin, tmp_path / "out.wav", to="piano", progress=lambda done, total: ticks.append((done, total))
    )
    assert made == [tmp_path / "out.wav"]
    before, after = soundfile.info(violin), soundfile.info(made[0])
    for field in ("samplerate", "channels", "frames", "subtype"):
        assert getattr(after, field) == getattr(before, field)
    assert ticks[-1] == pytest.approx((0.6, 0.6), abs=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.wav", "violin.wav"]


def test_file_and_wave_give_the_same_sound(violin: Path, tmp_path: Path) -> None:
    model = converter(Local())
    model.convert_file(violin, tmp_path / "out.wav", to="piano", seed=4)
    wave, rate = soundfile.read(violin, dtype="float32")
    out, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    expected = model.convert(wave.T, rate, to="piano", seed=4)
    np.testing.assert_allclose(out.T, expected, atol=1.01 / 2**15)  # the file has 16 bits


def test_strength_zero_returns_the_files_samples(violin: Path, tmp_path: Path) -> None:
    converter(Local()).convert_file(violin, tmp_path / "out.wav", to="piano", strength=0)
    before, after = (soundfile.read(path, dtype="int16")[0] for path in (violin, tmp_path / "out.wav"))
    np.testing.assert_array_equal(after, before)


def test_samples_are_numbered_and_drawn_with_successive_seeds(violin: Path, tmp_path: Path) -> None:
    model = converter(Local())
    made = model.convert_file(violin, tmp_path / "out.wav", to="piano", seed=7, samples=2)
    assert [path.name for path in made] == ["out.1.wav", "out.2.wav"]
    single = model.convert_file(violin, tmp_path / "eight.wav", to="piano", seed=8)
    assert made[1].read_bytes() == single[0].read_bytes()
    assert made[0].read_bytes() != single[0].read_bytes()
    with pytest.raises(UsageError, match="samples 0"):
        model.convert_file(violin, tmp_path / "no.wav", to="piano", samples=0)


def test_loud_results_are_turned_down_and_it_is_said(violin: Path, tmp_path: Path) -> None:
    louder = converter(Silencer(0.3))  # 15 dB
    options = louder.options("piano", phase="source")
    (written,) = louder.convert_job(Job(violin, (tmp_path / "out.wav",)), options)
    assert written.gain < 1
    assert "so that no peak clips" in str(written)
    wave, _ = soundfile.read(written.path)
    assert 0.9 < np.abs(wave).max() < 1
    (quiet,) = converter(Identity()).convert_job(Job(violin, (tmp_path / "two.wav",)), options)
    assert quiet.gain == 1
    assert "clips" not in str(quiet)


def test_existing_outputs_are_kept_without_force(violin: Path, tmp_path: Path) -> None:
    model = converter(Identity())
    out = tmp_path / "out.wav"
    out.write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"out\.wav exists already.*--force"):
        model.convert_file(violin, out, to="piano")
    assert out.read_bytes() == b"precious"
    model.convert_file(violin, out, to="piano", force=True)
    assert soundfile.info(out).channels == 2
    link = tmp_path / "link.wav"
    link.symlink_to(tmp_path / "nowhere.wav")  # somebody made it
    with pytest.raises(UsageError, match=r"link\.wav exists already"):
        model.convert_file(violin, link, to="piano")
    assert link.is_symlink()
    with pytest.raises(UsageError, match="is the input itself"):
        model.convert_file(violin, violin, to="piano", force=True)


def test_outputs_of_unknown_kind_are_refused(violin: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.xyz cannot be written"):
        converter(Identity()).convert_file(violin, tmp_path / "out.xyz", to="piano")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"this is no sound at all", r"bad\.wav"), (None, "does not exist|no such|not found|missing")],
)
def test_inputs_that_are_not_sound_are_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "bad.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudiotransError, match=message) as caught:
        converter(Identity()).convert_file(path, tmp_path / "out.wav", to="piano")
    assert "bad.wav" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nan_and_zero_length_files_are_named(tmp_path: Path) -> None:
    model = converter(Identity())
    holes = np.array([0.1, np.nan, 0.2] * 100, np.float32)
    soundfile.write(tmp_path / "nan.wav", holes, RATE, subtype="FLOAT")
    with pytest.raises(AudiotransError, match=r"nan\.wav"):
        model.convert_file(tmp_path / "nan.wav", tmp_path / "out.wav", to="piano")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), RATE)
    with pytest.raises(AudiotransError, match=r"nothing\.wav"):
        model.convert_file(tmp_path / "nothing.wav", tmp_path / "out.wav", to="piano")
    assert not (tmp_path / "out.wav").exists()


def test_silent_files_stay_silent(tmp_path: Path) -> None:
    path = tmp_path / "rest.wav"
    soundfile.write(path, np.zeros(2000), RATE)
    converter(Identity()).convert_file(path, tmp_path / "out.wav", to="piano")
    out, rate = soundfile.read(tmp_path / "out.wav")
    assert (rate, out.shape) == (RATE, (2000,))
    assert not out.any()


def test_a_full_disk_is_noticed_before_the_work(violin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000, total=10**9))
    with pytest.raises(AudiotransError, match="no space left in"):
        converter(Identity()).convert_file(violin, tmp_path / "out.wav", to="piano")
    assert [path.name for path in tmp_path.iterdir()] == ["violin.wav"]


def test_a_disk_that_fills_up_leaves_nothing_behind(
    violin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def write(self, _: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    monkeypatch.setattr(jobs.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(AudiotransError, match="no space is left on the disk"):
        converter(Identity()).convert_file(violin, tmp_path / "out.wav", to="piano")
    assert [path.name for path in tmp_path.iterdir()] == ["violin.wav"]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(0.1).T, RATE)


def test_outputs_are_named_beside_the_input_or_in_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "in/one.wav", "in/deep/two.flac")
    (single,) = plan_jobs([tmp_path / "in/one.wav"], None, "piano")
    assert single.outputs == (tmp_path / "in/one.piano.wav",)
    (named,) = plan_jobs([tmp_path / "in/one.wav"], tmp_path / "x.flac", "piano", samples=2)
    assert [path.name for path in named.outputs] == ["x.1.flac", "x.2.flac"]
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", "piano")
    outputs = {str(job.outputs[0].relative_to(tmp_path)) for job in jobs}
    assert outputs == {"out/one.piano.wav", "out/deep/two.piano.flac"}


def test_inputs_whose_outputs_would_be_of_one_name_keep_their_suffix(tmp_path: Path) -> None:
    touch(tmp_path, "in/one.wav", "in/two.wav", "in/deep/two.wav")
    (tmp_path / "in/one.wma").touch()  # found by its name; written as .wav
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", "piano")
    outputs = {job.outputs[0].relative_to(tmp_path / "out").as_posix() for job in jobs}
    assert outputs == {"one.wav.piano.wav", "one.wma.piano.wav", "two.piano.wav", "deep/two.piano.wav"}
    touch(tmp_path, "in/one.wma.piano.wav", "in/one.wav.piano.wav")  # results of an earlier run
    assert len(plan_jobs([tmp_path / "in"], tmp_path / "out", "piano")) == 4


def test_a_sound_without_a_suffix_becomes_a_wav(tmp_path: Path) -> None:
    touch(tmp_path, "take.wav")
    (tmp_path / "take.wav").rename(tmp_path / "take")
    (job,) = plan_jobs([tmp_path / "take"], None, "piano")
    assert job.outputs == (tmp_path / "take.piano.wav",)
    (photo,) = plan_jobs([tmp_path / "take"], None, "brown", photos=True)
    assert photo.outputs == (tmp_path / "take.brown",)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_that_lead_in_a_circle_or_nowhere_fail_alone(tmp_path: Path) -> None:
    touch(tmp_path, "in/one.wav")
    (tmp_path / "in/circle.wav").symlink_to("circle.wav")
    (tmp_path / "in/nowhere.wav").symlink_to("gone.wav")
    model = converter(Identity())
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", "piano")
    found = {outcome.failed: str(outcome) for outcome in run_jobs(model, jobs, model.options("piano"))}
    assert {job.source.name for job in jobs} == {"one.wav", "circle.wav", "nowhere.wav"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one.piano.wav"]
    assert "nowhere.wav: this link leads to gone.wav, where no file is." in found[True]


@pytest.mark.parametrize("names", [(["-"], None), (["x.wav"], "-")])
def test_a_dash_stands_for_a_pipe_unless_a_file_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[list[str], str | None]
) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "x.wav")
    with pytest.raises(UsageError, match=r"^- stands for a pipe, which goes with --stream: audiotrans convert"):
        plan_jobs(*names, "piano")
    (tmp_path / "-").mkdir()
    touch(tmp_path, "-/y.wav")
    assert len(plan_jobs(*names, "piano")) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not take")
@pytest.mark.parametrize(
    "name", ["-o", "--help", "a b", "Dvořák 🎻", "[1]*?", "%s$(x)'\"", "é" * 125, "\udcff", "a\nb"]
)
def test_names_of_every_kind_are_converted(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "in/x.wav")
    try:
        (tmp_path / "in/x.wav").rename(tmp_path / f"in/{name}.wav")
    except OSError:
        pytest.skip("this file system takes no such names")
    (job,) = plan_jobs([tmp_path / "in"], tmp_path / "out", "piano")
    model = converter(Identity())
    model.convert_job(job, model.options("piano"))
    (path,) = (tmp_path / "out").iterdir()
    assert path.suffixes[-2:] == [".piano", ".wav"]
    assert f"{name}.wav".startswith(path.name.removesuffix(".piano.wav"))


def test_two_runs_into_one_folder_leave_whole_files(tmp_path: Path) -> None:
    touch(tmp_path, *(f"in/{number}.wav" for number in range(4)))
    model = converter(Identity())

    def run(_: int) -> list[bool]:
        jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", "piano")
        return [outcome.failed for outcome in run_jobs(model, jobs, model.options("piano"), force=True)]

    with ThreadPoolExecutor(4) as threads:
        assert not any(failed for run_ in threads.map(run, range(4)) for failed in run_)
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == [f"{number}.piano.wav" for number in range(4)]
    assert {soundfile.info(tmp_path / "out" / name).frames for name in made} == {RATE // 10}


def test_a_folder_of_many_kinds_is_converted_whole(tmp_path: Path) -> None:
    touch(tmp_path, "in/one.wav", "in/three.wav")
    for name in ("two.m4a", "four.mp3"):
        audio.write(tmp_path / "in" / name, tone(0.1), RATE)
    (tmp_path / "in/two.m4a").rename(tmp_path / "in/two.mov")  # as a camera's sound
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", "piano")
    model = converter(Identity())
    outcomes = list(run_jobs(model, jobs, model.options("piano")))
    assert not any(outcome.failed for outcome in outcomes)
    made = {path.name: audio.probe(path) for path in (tmp_path / "out").iterdir()}
    assert {name: info.format for name, info in made.items()} == {
        "one.piano.wav": "WAV", "two.piano.m4a": "MP4", "three.piano.wav": "WAV", "four.piano.mp3": "MP3",
    }  # fmt: skip
    assert len({info.frames for info in made.values()}) == 1


def test_how_an_unfinished_file_was_read_is_said_once(violin: Path, tmp_path: Path) -> None:
    data = bytearray(violin.read_bytes())
    data[4:8] = data[40:44] = bytes(4)
    violin.write_bytes(data)
    job = Job(violin, (tmp_path / "1.wav", tmp_path / "2.wav"))
    model = converter(Identity())
    first, second = model.convert_job(job, model.options("piano"))
    assert first.warnings == (f"{violin}: its header was never finished: it is read to its end",)
    assert second.warnings == ()
    assert soundfile.info(first.path).frames == round(0.6 * 22_050)


def test_the_longest_names_are_converted(tmp_path: Path) -> None:
    touch(tmp_path, f"{'n' * 251}.wav")
    (job,) = plan_jobs([tmp_path], None, "piano")
    (path,) = job.outputs
    assert (len(path.name), path.suffixes) == (255, [".piano", ".wav"])
    model = converter(Identity())
    assert model.convert_job(job, model.options("piano"))[0].path.exists()
    model.convert_file(job.source, tmp_path / f"{'m' * 251}.wav", to="piano")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_folder_converted_twice_does_not_convert_its_results(tmp_path: Path) -> None:
    touch(tmp_path, "one.wav", "one.piano.wav", "one.piano.2.wav", "upright.piano.wav")
    jobs = plan_jobs([tmp_path], None, "piano")
    assert {job.source.name for job in jobs} == {"one.wav", "upright.piano.wav"}


@pytest.mark.parametrize("name", ["out", "deep/out"])
def test_results_in_an_output_folder_inside_are_no_inputs(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "in/one.wav", "in/out of tune.wav", f"in/{name}/one.piano.wav", f"in/{name}/gone.piano.wav")
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "in" / name, "piano")
    assert {job.source.name for job in jobs} == {"one.wav", "out of tune.wav"}


@pytest.mark.parametrize(("inputs", "output"), [([""], None), (["one.wav", ""], None), (["one.wav"], "")])
def test_empty_names_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: list[str], output: str | None
) -> None:
    touch(tmp_path, "one.wav")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="an empty name was given"):
        plan_jobs(inputs, output, "piano")


def test_one_file_by_two_names_is_one_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "one.wav")
    monkeypatch.chdir(tmp_path)
    (job,) = plan_jobs(["one.wav", tmp_path / "one.wav"], None, "piano")
    assert job.source == Path("one.wav")


def test_what_fails_on_the_way_names_the_input(violin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise AudiotransError("not enough of something: 1.5 of it")

    model = converter(Identity())
    monkeypatch.setattr(model, "stream", failing)
    with pytest.raises(AudiotransError, match=r"violin\.wav: not enough of something"):
        model.convert_file(violin, tmp_path / "out.wav", to="piano")
    monkeypatch.chdir(tmp_path)  # where the output's folder is "." and every sentence with a point would name it
    with pytest.raises(AudiotransError, match=r"violin\.wav: not enough of something"):
        model.convert_file("violin.wav", "out.wav", to="piano")


def test_outputs_that_cannot_be_are_refused_before_the_work(
    violin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = converter(Identity())
    monkeypatch.setattr(model, "measure", None)  # never called
    (tmp_path / "out").mkdir()
    for name, message in (("x.xyz", "xyz"), ("out", "is a folder: name a file in it")):
        with pytest.raises(UsageError, match=message):
            model.convert_file(violin, tmp_path / name, to="piano", force=True)


def test_impossible_outputs_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a/one.wav", "b/one.wav")
    with pytest.raises(UsageError, match="2 inputs: give a folder"):
        plan_jobs([tmp_path / "a", tmp_path / "b"], tmp_path / "x.wav", "piano")
    with pytest.raises(UsageError, match="would both become"):
        plan_jobs([tmp_path / "a", tmp_path / "b"], tmp_path / "out", "piano")
    (job,) = plan_jobs([tmp_path / "a/one.wav"], f"{tmp_path}/new.folder/", "piano")
    assert job.outputs == (tmp_path / "new.folder" / "one.piano.wav",)
    touch(tmp_path, "a/one.piano.wav")
    model = converter(Identity())
    with pytest.raises(UsageError, match="exists already"):
        list(run_jobs(model, plan_jobs([tmp_path / "a/one.wav"], None, "piano"), model.options("piano")))


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    touch(tmp_path, "one.wav", "two.wav")
    (tmp_path / "bad.wav").write_text("this is no sound")
    model = converter(Identity())
    jobs = plan_jobs([tmp_path], tmp_path / "out", "piano")
    outcomes = list(run_jobs(model, jobs, model.options("piano")))
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert len(outcomes) == 3
    assert "bad.wav" in str(failures[0])
    assert len(list((tmp_path / "out").iterdir())) == 2
    with pytest.raises(AudiotransError, match=r"bad\.wav"):
        list(run_jobs(model, plan_jobs([tmp_path / "bad.wav"], None, "piano"), model.options("piano")))
