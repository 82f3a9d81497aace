from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from audiotrans.cli import main
from audiotrans.spectrogram.imaging import AudioSettings
from audiotrans.training.prep import prepare_sounds

pytestmark = pytest.mark.e2e

SMALL = AudioSettings(sample_rate=8000, n_fft=256, hop_length=64, rows=32)

# What a user's folders look like: other rates, formats, widths and depths of folder side by side.
MIXED = (
    ("one.wav", 44_100, 2, "PCM_16"),
    ("two.flac", 48_000, 1, "PCM_24"),
    ("cd 1/three [live].ogg", 22_050, 2, "VORBIS"),
    ("cd 1/three [studio].wav", 96_000, 1, "FLOAT"),
    ("cd 2/deep/four.aiff", 32_000, 2, "PCM_24"),
    ("cd 2/five.mp3", 44_100, 2, "MPEG_LAYER_III"),
)


def write(path: Path, rate: int, channels: int, subtype: str, hz: float, seconds: float = 2.0) -> None:
    time = np.arange(round(rate * seconds)) / rate
    wave = 0.3 * np.sin(2 * np.pi * hz * time)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate, subtype=subtype)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for domain, hz in (("violin", 880.0), ("piano", 220.0)):
        for index, (name, rate, channels, subtype) in enumerate(MIXED):
            write(tmp_path / "sounds" / domain / name, rate, channels, subtype, hz + 20 * index)
    return tmp_path / "sounds"


def load(cache: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((cache / "manifest.json").read_text())
    return content


def sides_of_recordings(cache: Path) -> dict[tuple[str, str], set[str]]:
    """Return the splits in which each domain's recordings are."""
    sides: dict[tuple[str, str], set[str]] = {}
    for item in load(cache)["items"]:
        sides.setdefault((item["domain"], item["recording"]), set()).add(item["split"])
    return sides


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_command_prepares_mixed_folders_and_then_has_nothing_to_do(source: Path, tmp_path: Path) -> None:
    (source / "violin/broken.wav").write_text("no sound")
    cache = tmp_path / "cache"
    output = run("prep", source, "-o", cache)
    assert "12 sounds made into images, 0 as they were, 1 skipped" in output
    assert "broken.wav: " in output
    manifest = load(cache)
    assert manifest["domains"] == {"a": "violin", "b": "piano"}
    assert len(manifest["items"]) == 12
    for item in manifest["items"]:
        # Every rate ends at 44.1 kHz, and resampling keeps the length to a sample; MP3 may add its codec's padding.
        assert item["seconds"] == pytest.approx(2.0, abs=0.06 if item["source"].endswith("mp3") else 1e-4)
    assert "0 sounds made into images, 12 as they were" in run("prep", source, "-o", cache)
    assert load(cache) == manifest


def test_command_reads_irmas(tmp_path: Path) -> None:
    for code in ("flu", "org"):
        for number in (31, 32, 33):
            for clip in (1, 2):
                name = f"{number + 100}__[{code}][nod][cla]{number}__{clip}.wav"
                write(tmp_path / "IRMAS-TrainingData" / code / name, 44_100, 2, "PCM_16", 100.0 * clip + number)
    output = run("prep", tmp_path, "--a", "flute", "--b", "organ", "-o", tmp_path / "cache")
    assert "12 sounds" in output
    sides = sides_of_recordings(tmp_path / "cache")
    assert sorted(recording for _, recording in sides) == ["31", "31", "32", "32", "33", "33"]
    assert all(len(side) == 1 for side in sides.values())


def test_clips_of_a_recording_stay_together(tmp_path: Path) -> None:
    for code in ("vio", "pia"):
        for number in range(8):
            for clip in (1, 2):
                path = tmp_path / "irmas" / code / f"{number}{clip}__[{code}][cla]{number}__{clip}.wav"
                write(path, 8000, 1, "PCM_16", 100.0 * clip + number, 0.5)
    summary = prepare_sounds(
        tmp_path / "irmas", tmp_path / "cache", settings=SMALL, crop_frames=16, workers=1, progress=False
    )
    sides = sides_of_recordings(tmp_path / "cache")
    assert len(sides) == 16
    assert all(len(side) == 1 for side in sides.values())
    for domain in "ab":
        train, valid = summary.counts[domain, "train"], summary.counts[domain, "valid"]
        assert train.files + valid.files == 16
        assert train.recordings + valid.recordings == 8
        assert valid.recordings >= 1
        assert train.seconds + valid.seconds == pytest.approx(8.0)


def test_mistakes_are_one_line(source: Path, tmp_path: Path) -> None:
    for arguments in (
        ("prep", source, "--a", "viola", "-o", tmp_path / "cache"),
        ("prep", source, "--a", "piano", "-o", tmp_path / "cache"),
        ("prep", source, "-o", source),
    ):
        output = run(*arguments, code=2)
        assert output.startswith("audiotrans: error: ")
        assert output.count("\n") == 1


def test_workers_give_what_one_process_gives(source: Path, tmp_path: Path) -> None:
    caches = []
    for workers in (1, 2):
        cache = tmp_path / f"cache{workers}"
        summary = prepare_sounds(source, cache, settings=SMALL, workers=workers, progress=False)
        assert summary.built == 12
        caches.append({path.relative_to(cache): path.read_bytes() for path in cache.rglob("*") if path.is_file()})
    assert caches[0] == caches[1]
