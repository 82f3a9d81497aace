from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result

from audiotrans import processes as workers
from audiotrans.audio import read
from audiotrans.cli import main
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings
from audiotrans.training import prep as run
from audiotrans.training import sound_images as images
from audiotrans.training.cache import Images, from_bytes, open_cache
from audiotrans.training.data import ImageCache
from audiotrans.training.prep import Summary, prepare_sounds

RATE = 8000
SETTINGS = AudioSettings(sample_rate=RATE, n_fft=256, hop_length=64, rows=32)
CROP = 16  # columns: 15 steps of 64 samples, 0.12 s

# Half the distance of 8-bit values; the float32 arithmetic before it differs in the seventh digit only.
HALF_STEP = 1 / 255 + 1e-6


def tone(path: Path, seconds: float = 0.5, *, hz: float = 440.0, channels: int = 1, rate: int = RATE) -> Path:
    """Write a decaying tone, its channels at different loudness."""
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.3 * np.sin(2 * np.pi * hz * time) * np.exp(-time)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack([wave / (1 + channel) for channel in range(channels)], axis=1), rate)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for index in range(6):
        tone(tmp_path / "source/violin" / f"tune{index}x.wav", hz=440 + 10 * index)
        tone(tmp_path / "source/piano" / f"song{index}x.wav", hz=220 + 10 * index)
    return tmp_path / "source"


def prep(source: Path, output: Path, **arguments: Any) -> Summary:
    chosen = {"settings": SETTINGS, "crop_frames": CROP, "workers": 1, "progress": False, **arguments}
    return prepare_sounds(source, output, **chosen)


def items(output: Path) -> list[dict[str, Any]]:
    content: dict[str, Any] = json.loads((output / "manifest.json").read_text())
    assert all((output / item["file"]).is_file() for item in content["items"])
    return list(content["items"])


def stored(output: Path, item: dict[str, Any]) -> torch.Tensor:
    """Return an item's image as the cache holds it."""
    return from_bytes(Images(output).values([(item["file"], item["index"])]))


def image_files(output: Path) -> dict[str, int]:
    """Return the images there are, with the times of their last change."""
    return {path.relative_to(output).as_posix(): path.stat().st_mtime_ns for path in output.rglob("*.safetensors")}


def splits(output: Path) -> dict[str, str]:
    return {Path(item["source"]).name: item["split"] for item in items(output)}


class TestImages:
    def test_image_is_the_imaging_s_own_within_half_a_step_of_8_bits(self, source: Path, tmp_path: Path) -> None:
        prep(source, tmp_path / "cache")
        imaging = AudioImaging(SETTINGS)
        for item in items(tmp_path / "cache"):
            wave = torch.from_numpy(read(item["source"], sample_rate=RATE)[0])
            image = stored(tmp_path / "cache", item)
            assert tuple(image.shape) == (1, 32, item["frames"])
            assert item["seconds"] == pytest.approx(0.5)
            assert item["level_db"] == pytest.approx(imaging.level_db(wave), abs=1e-3)
            torch.testing.assert_close(image, imaging.to_image(wave)[0][0], rtol=0, atol=HALF_STEP)

    @pytest.mark.parametrize(
        "settings",
        [
            SETTINGS,
            replace(SETTINGS, representation="log_magnitude"),
            replace(SETTINGS, representation="magnitude_phase", time_stride=3),
        ],
        ids=["log_mel_gain", "log_magnitude", "magnitude_phase"],
    )
    def test_parts_of_a_long_file_join_to_the_whole(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: AudioSettings
    ) -> None:
        long = tone(source / "violin/long.wav", 3.3, channels=2)
        monkeypatch.setattr(images, "PART_SECONDS", 0.7)
        monkeypatch.setattr(images, "CHUNK_SECONDS", 0.3)
        prep(source, tmp_path / "cache", settings=settings)
        parts = [item for item in items(tmp_path / "cache") if item["source"] == str(long)]
        assert len(parts) == 5
        assert sum(item["seconds"] for item in parts) == pytest.approx(3.3, abs=1e-4)
        assert len({item["file"] for item in parts}) == 1
        joined = torch.cat([stored(tmp_path / "cache", item) for item in parts], dim=-1)
        whole = AudioImaging(settings).to_image(torch.from_numpy(read(long)[0]))[0][0]
        assert joined.shape == whole.shape
        difference = (joined - whole).abs()
        if settings.representation == "magnitude_phase":
            # Phase is a circle; and where nothing sounds it is the rounding error's, so only loud bins count.
            difference[1::2] = torch.minimum(difference[1::2], 2 - difference[1::2])
            difference[1::2] *= whole[0::2] > -0.9
        # Twice the half step: level and spectrum come from other sums here, which can tip a rounding over.
        assert difference.max() <= 2 * HALF_STEP

    def test_one_image_for_each_group_of_channels(self, source: Path, tmp_path: Path) -> None:
        quad = tone(source / "violin/quad.wav", channels=4)
        prep(source, tmp_path / "cache", settings=replace(SETTINGS, representation="log_magnitude"))
        groups = [item for item in items(tmp_path / "cache") if item["source"] == str(quad)]
        assert [item["index"] for item in groups] == [0, 1]
        assert all(stored(tmp_path / "cache", item).shape[0] == 2 for item in groups)

    def test_cut(self) -> None:
        wave = np.arange(200, dtype=np.float32).reshape(2, 100)
        blocks = [wave[:, start : start + 7] for start in range(0, 100, 7)]
        bounds = [(0, 10), (5, 30), (28, 29), (40, 100)]
        for piece, (start, stop) in zip(images.cut(blocks, bounds), bounds, strict=True):
            np.testing.assert_array_equal(piece, wave[:, start:stop])
        with pytest.raises(AudiotransError, match="ended early"):
            list(images.cut(blocks, [(0, 101)]))


class TestBadFiles:
    def test_each_is_named_with_its_reason_and_skipped(self, source: Path, tmp_path: Path) -> None:
        violin = source / "violin"
        tone(violin / "blink.wav", 0.05)
        soundfile.write(violin / "silent.wav", np.zeros(RATE), RATE)
        soundfile.write(violin / "hiss.wav", np.full(RATE, 3e-5), RATE, subtype="FLOAT")
        soundfile.write(violin / "nan.wav", np.where(np.arange(RATE) == 5000, np.nan, 0.1), RATE, subtype="FLOAT")
        (violin / "text.wav").write_text("this is no sound")
        (violin / "empty.flac").write_bytes(b"")
        summary = prep(source, tmp_path / "cache")
        reasons = {path.name: reason for path, reason in summary.skipped}
        assert sorted(reasons) == ["blink.wav", "empty.flac", "hiss.wav", "nan.wav", "silent.wav", "text.wav"]
        assert reasons["blink.wav"] == "too short: 0.05 s; at least 0.1 s is needed"
        assert reasons["silent.wav"].startswith("silent: every sample is zero")
        assert reasons["hiss.wav"].startswith("silent: its highest sample is -90 dB")
        assert "nan" in reasons["nan.wav"].lower()
        assert not any(str(violin) in reason for reason in reasons.values())
        assert summary.counts["a", "train"].files + summary.counts["a", "valid"].files == 6
        assert "6 skipped" in str(summary)
        assert f"skipped {violin / 'blink.wav'}: too short" in str(summary)
        listed = json.loads((tmp_path / "cache/manifest.json").read_text())["skipped"]
        assert {Path(skip["source"]).name: skip["reason"] for skip in listed} == reasons

    def test_a_domain_with_bad_files_only(self, source: Path, tmp_path: Path) -> None:
        for path in (source / "piano").iterdir():
            path.write_bytes(b"bad")
        with pytest.raises(AudiotransError, match=r"none of the 6 files of 'piano' .* the first is .*song0x\.wav: "):
            prep(source, tmp_path / "cache")
        assert not (tmp_path / "cache/manifest.json").exists()

    def test_bad_recordings_do_not_count_for_the_split(self, tmp_path: Path) -> None:
        for domain in ("violin", "piano"):
            for name in "pqrs":
                tone(tmp_path / "source" / domain / f"{name}.wav")
        prep(tmp_path / "source", tmp_path / "cache")
        held_out = [name for name, split in splits(tmp_path / "cache").items() if split == "valid"]
        for name in held_out:
            (tmp_path / "source/violin" / name).write_bytes(b"bad")
        counts = prep(tmp_path / "source", tmp_path / "cache").counts
        assert counts["a", "valid"].files >= 1
        assert counts["a", "train"].files + counts["a", "valid"].files == 4 - len(set(held_out))

    def test_long_list_is_cut_in_the_text(self) -> None:
        skipped = tuple((Path(f"{index}.wav"), "bad") for index in range(23))
        summary = Summary(Path("cache"), {"a": "violin", "b": "piano"}, {}, skipped, 0, 0, 0)
        assert len(run.listed(summary.skipped)) == 21
        assert "3 more" in str(summary)


class TestAgain:
    def test_nothing_is_read_twice(self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = prep(source, tmp_path / "cache")
        assert (first.built, first.reused) == (12, 0)
        before, manifest_before = image_files(tmp_path / "cache"), (tmp_path / "cache/manifest.json").read_bytes()

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("read again")

        monkeypatch.setattr(images, "file_digest", refuse)
        monkeypatch.setattr(images, "read_blocks", refuse)
        again = prep(source, tmp_path / "cache")
        assert (again.built, again.reused, again.removed) == (0, 12, 0)
        assert again.counts == first.counts
        assert image_files(tmp_path / "cache") == before
        assert (tmp_path / "cache/manifest.json").read_bytes() == manifest_before

    def test_a_copy_of_the_source_is_known_by_its_bytes(self, source: Path, tmp_path: Path) -> None:
        prep(source, tmp_path / "cache")
        shutil.move(source, tmp_path / "moved")
        os.utime(tmp_path / "moved/violin/tune0x.wav", (1, 1))
        assert prep(tmp_path / "moved", tmp_path / "cache").reused == 12

    def test_changed_file(self, source: Path, tmp_path: Path) -> None:
        prep(source, tmp_path / "cache")
        tone(source / "violin/tune0x.wav", 0.7)
        summary = prep(source, tmp_path / "cache")
        assert (summary.built, summary.reused, summary.removed) == (1, 11, 1)

    def test_changed_settings(self, source: Path, tmp_path: Path) -> None:
        prep(source, tmp_path / "cache")
        assert prep(source, tmp_path / "cache", settings=replace(SETTINGS, phase="source")).reused == 12
        summary = prep(source, tmp_path / "cache", settings=replace(SETTINGS, rows=40))
        assert (summary.built, summary.reused, summary.removed) == (12, 0, 12)
        assert json.loads((tmp_path / "cache/manifest.json").read_text())["imaging"]["rows"] == 40
        shapes = {stored(tmp_path / "cache", item).shape[1] for item in items(tmp_path / "cache")}
        assert shapes == {40}

    def test_longer_crops_make_no_images_again(self, source: Path, tmp_path: Path) -> None:
        tone(source / "violin/short.wav", 0.2)
        assert not any("joined" in item for item in items_after(prep(source, tmp_path / "cache")))
        summary = prep(source, tmp_path / "cache", crop_frames=40)
        assert (summary.built, summary.reused, summary.removed, summary.skipped) == (0, 13, 0, ())

    def test_gone_file_takes_its_image_along_and_nothing_else(self, source: Path, tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        prep(source, cache)
        mine = [cache / "notes.txt", cache / "images/mine.safetensors", cache / "images/a/mine.txt"]
        for path in mine:
            path.write_text("not the program's")
        (cache / "images/a/.x.safetensors.1.partial").write_text("half")
        (source / "violin/tune3x.wav").unlink()
        assert prep(source, cache).removed == 1
        assert all(path.exists() for path in mine)
        assert not list(cache.rglob("*.partial"))
        assert len(items(cache)) == 11

    def test_another_split_makes_and_moves_no_images(self, source: Path, tmp_path: Path) -> None:
        prep(source, tmp_path / "cache", valid_fraction=0.1)
        before, files = splits(tmp_path / "cache"), image_files(tmp_path / "cache")
        summary = prep(source, tmp_path / "cache", valid_fraction=0.9)
        after = splits(tmp_path / "cache")
        assert summary.built == 0
        assert before != after
        assert all(after[name] == "valid" for name, split in before.items() if split == "valid" and name in after)
        assert image_files(tmp_path / "cache") == files

    def test_interrupted_run_continues(self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run, "make_images", interrupting(images.make_images, after=5))
        with pytest.raises(KeyboardInterrupt):
            prep(source, tmp_path / "cache")
        assert not (tmp_path / "cache/manifest.json").exists()
        monkeypatch.undo()
        summary = prep(source, tmp_path / "cache")
        assert (summary.built, summary.reused) == (7, 5)

    def test_the_old_cache_stays_whole_until_the_new_one_is(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prep(source, tmp_path / "cache")
        before = items(tmp_path / "cache")
        monkeypatch.setattr(run, "make_images", interrupting(images.make_images, after=5))
        with pytest.raises(KeyboardInterrupt):
            prep(source, tmp_path / "cache", settings=replace(SETTINGS, rows=40))
        assert items(tmp_path / "cache") == before
        assert all(stored(tmp_path / "cache", item).shape[1] == 32 for item in before)

    def test_damaged_image_is_made_again(self, source: Path, tmp_path: Path) -> None:
        prep(source, tmp_path / "cache")
        victim = tmp_path / "cache" / items(tmp_path / "cache")[0]["file"]
        victim.write_bytes(victim.read_bytes()[:-10])
        summary = prep(source, tmp_path / "cache")
        assert (summary.built, summary.reused) == (1, 11)


def items_after(summary: Summary) -> list[dict[str, Any]]:
    return items(summary.output)


def interrupting(function: Callable[[images.Job], Any], after: int) -> Callable[[images.Job], Any]:
    """Wrap a function so that the user stops the program after some calls."""
    calls = iter(range(after))

    def wrapped(job: images.Job) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return function(job)

    return wrapped


class TestShortSounds:
    """Single notes, as sample libraries come: shorter than a training crop."""

    @pytest.fixture
    def notes(self, tmp_path: Path) -> Path:
        for index in range(12):
            tone(tmp_path / "notes/violin" / f"note{index}x.wav", 0.15 + 0.02 * index, hz=440 + 10 * index)
            tone(tmp_path / "notes/piano" / f"note{index}x.wav", 0.15 + 0.02 * index, hz=220 + 10 * index)
        return tmp_path / "notes"

    def test_they_are_joined_with_silence_between(self, notes: Path, tmp_path: Path) -> None:
        summary = prep(notes, tmp_path / "cache", crop_frames=60)  # 0.47 s
        assert summary.skipped == ()
        assert "12 sounds of violin are shorter than a crop (0.47 s): they are joined, with 0.2 s of silence" in str(
            summary
        )
        data = ImageCache(tmp_path / "cache")
        for domain in "ab":
            found = [item for split in ("train", "valid") for item in data.items[domain, split]]
            assert len(found) == 2  # one for each side of the split
            sources = [sound["source"] for item in found for sound in (item, *item["joined"])]
            assert len(set(sources)) == len(sources) == 12
            for item in found:
                image = data.read(item)
                assert image.shape[-1] == item["frames"]
                first = stored(tmp_path / "cache", item)
                assert torch.equal(image[..., : first.shape[-1]], first)
                gap = image[..., first.shape[-1] : first.shape[-1] + item["gap"]]
                assert item["gap"] == 25  # 0.2 s of 8 ms
                assert (gap == -1).all()
        assert summary.counts["a", "train"].files + summary.counts["a", "valid"].files == 12
        assert data.sample("a", "train", 0, 3, 60, 0).shape == (3, 1, 32, 60)

    def test_what_was_joined_is_not_read_twice(
        self, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prep(notes, tmp_path / "cache", crop_frames=60)

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("read again")

        monkeypatch.setattr(images, "file_digest", refuse)
        again = prep(notes, tmp_path / "cache", crop_frames=60)
        assert (again.built, again.reused, again.removed) == (0, 24, 0)

    def test_many_make_several_images(self, notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run, "JOINED_SECONDS", 1.5)
        prep(notes, tmp_path / "cache", crop_frames=60)
        found = [item for item in items(tmp_path / "cache") if item["domain"] == "a" and item["split"] == "train"]
        assert len(found) > 2
        assert all(item["frames"] <= 1.5 / 0.008 for item in found)

    def test_less_than_a_crop_of_all_is_refused(self, notes: Path, tmp_path: Path) -> None:
        message = r"'violin' has \d\.\d\d s of sound to train on: at least 7.99 s \(a crop of 1000 columns\) is needed"
        with pytest.raises(AudiotransError, match=message):
            prep(notes, tmp_path / "cache", crop_frames=1000)
        assert not (tmp_path / "cache/manifest.json").exists()


class TestSplitOfSounds:
    @pytest.mark.parametrize("pattern", ["{split}/{domain}", "{domain}/{split}"])
    def test_a_split_that_is_there_is_kept(self, tmp_path: Path, pattern: str) -> None:
        for split, names in (("train", ("one", "two_01")), ("valid", ("three", "two_02"))):
            for domain in ("violin", "piano"):
                for name in names:
                    tone(tmp_path / "s" / pattern.format(split=split, domain=domain) / f"{name}.wav")
        summary = prep(tmp_path / "s", tmp_path / "cache")
        expected = {"one.wav": "train", "two_01.wav": "train", "three.wav": "valid", "two_02.wav": "valid"}
        assert splits(tmp_path / "cache") == expected
        assert summary.notes[0].startswith("by its name 'two' of violin is in both train and valid")

    def test_one_recording_leaves_nothing_for_valid(self, source: Path, tmp_path: Path) -> None:
        shutil.rmtree(source / "violin")
        for index in range(3):
            tone(source / "violin" / f"v_{index}.wav")
        summary = prep(source, tmp_path / "cache")
        assert summary.counts["a", "valid"].files == 0
        assert "violin has nothing for valid: all its files are one recording" in str(summary)


class BrokenPool:
    """Stand-in for a pool whose processes die: by want of memory, or of a guard in the calling script."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def submit(self, *_: object) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(BrokenProcessPool("died"))
        return future

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        assert wait
        assert cancel_futures


class TestWorkers:
    def test_dead_worker(self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers, "ProcessPoolExecutor", BrokenPool)
        with pytest.raises(AudiotransError, match=r"a worker process died.*with one worker.*if __name__"):
            prep(source, tmp_path / "cache", workers=2)

    def test_few_files_are_not_worth_a_process(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workers, "ProcessPoolExecutor", BrokenPool)
        assert prep(source, tmp_path / "cache", workers=None).built == 12


class TestShards:
    def whole(self, cache: Path) -> dict[str, bytes]:
        return {path.relative_to(cache).as_posix(): path.read_bytes() for path in cache.rglob("*") if path.is_file()}

    def shard(self, source: Path, cache: Path, number: int, count: int, **arguments: Any) -> run.ShardSummary:
        chosen = {"settings": SETTINGS, "workers": 1, "progress": False, **arguments}
        return run.prepare_shard(source, cache, run.Shard(number, count), **chosen)

    @pytest.mark.parametrize("paired", [False, True], ids=["unpaired", "paired"])
    def test_shards_and_a_last_run_give_what_one_run_gives(self, source: Path, tmp_path: Path, paired: bool) -> None:
        (source / "violin/bad.wav").write_text("no sound")
        if paired:
            (source / "violin/bad.wav").unlink()
            for path in list((source / "piano").iterdir()):
                path.rename(path.with_name(path.name.replace("song", "tune")))
        parts = [self.shard(source, tmp_path / "cache", number, 5, paired=paired) for number in (5, 1, 3, 2, 4)]
        assert {part.reused for part in parts} == {0}
        assert {part.built + len(part.skipped) for part in parts} == {2, 3}
        assert sum(part.built for part in parts) == 12
        assert sum(len(part.skipped) for part in parts) == 1 - paired
        assert not (tmp_path / "cache/manifest.json").exists()
        again = self.shard(source, tmp_path / "cache", 1, 5, paired=paired)
        assert (again.built, again.reused) == (0, parts[1].built)
        last = prep(source, tmp_path / "cache", paired=paired)
        assert (last.built, last.reused) == (0, 12)
        prep(source, tmp_path / "alone", paired=paired)
        assert self.whole(tmp_path / "cache") == self.whole(tmp_path / "alone")

    def test_a_last_run_makes_what_a_shard_left(self, source: Path, tmp_path: Path) -> None:
        self.shard(source, tmp_path / "cache", 1, 3)
        assert (prep(source, tmp_path / "cache").built, prep(source, tmp_path / "alone").built) == (8, 12)
        assert self.whole(tmp_path / "cache") == self.whole(tmp_path / "alone")

    def test_shards_go_side_by_side_and_a_whole_run_alone(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "cache").mkdir()
        with workers.alone_in(tmp_path / "cache", shared=True):
            assert self.shard(source, tmp_path / "cache", 1, 2).built == 6
            with pytest.raises(AudiotransError, match="another process is at work in"):
                prep(source, tmp_path / "cache")
        with workers.alone_in(tmp_path / "cache"), pytest.raises(AudiotransError, match="another process is at work"):
            self.shard(source, tmp_path / "cache", 2, 2)

    def test_an_image_that_another_shard_has_just_made_is_no_foreign_file(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.shard(source, tmp_path / "cache", 1, 2)
        listing = Path.rglob

        def listed_late(folder: Path, pattern: str) -> Any:
            (folder / "images/a/new-0123456789ab.safetensors").write_bytes(b"")
            return listing(folder, pattern)

        monkeypatch.setattr(Path, "rglob", listed_late)
        assert open_cache(tmp_path / "cache") == {}

    def test_the_command_takes_them(self, source: Path, tmp_path: Path) -> None:
        def command(*more: str) -> Result:
            return CliRunner().invoke(main, ["prep", str(source), "-o", str(tmp_path / "cache"), "-q", *more])

        done = command("--shard", "2/3", "--valid-fraction", "0.2", "--seed", "3")
        assert done.exit_code == 0, done.output
        assert "shard 2/3 of 12 sounds: 4 made into images, 0 as they were, 0 skipped" in done.output
        assert done.output.splitlines()[-1].endswith("the same command without --shard writes the manifest")
        for text in ("0/3", "4/3", "3", "a/b"):
            assert command("--shard", text).exit_code == 2
        assert command("--shard", "1/3", "--json").exit_code == 2


class TestOutput:
    def test_foreign_folders_are_refused(self, source: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="holds something else than a cache"):
            prep(source, source)
        (tmp_path / "file").write_text("x")
        with pytest.raises(UsageError, match="is a file"):
            prep(source, tmp_path / "file")
        for content in ("{}", "[]", "not json", '{"format": "other"}'):
            (tmp_path / "web").mkdir(exist_ok=True)
            (tmp_path / "web/manifest.json").write_text(content)
            with pytest.raises(UsageError, match="is not the manifest of a cache"):
                prep(source, tmp_path / "web")

    def test_an_empty_folder_is_welcome(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "cache").mkdir()
        assert prep(source, tmp_path / "cache").built == 12

    def test_full_disk(self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(path: Path, content: bytes) -> int:
            path.open("wb").close()
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(AudiotransError, match=r"cannot write .*no space is left on the disk; make room"):
            prep(source, tmp_path / "cache")
        assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]

    def test_place_that_cannot_be_written(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(AudiotransError, match="cannot write"):
            prep(source, tmp_path / "file/cache")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"valid_fraction": 0.0}, "valid fraction 0.0: above 0 and below 1"),
            ({"valid_fraction": 1.0}, "valid fraction 1.0"),
            ({"crop_frames": 0}, "crop of 0 columns"),
            ({"workers": 0}, "workers 0: give 1 or more"),
        ],
    )
    def test_arguments(self, source: Path, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            prep(source, tmp_path / "cache", **arguments)
        assert not (tmp_path / "cache").exists()
