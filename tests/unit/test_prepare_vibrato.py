"""Vibrato that conversions remove from their inputs is removed before these become images to train on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
import torch

from audiotrans.audio import read
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings
from audiotrans.spectrogram.vibrato import VibratoRemover
from audiotrans.training.data import ImageCache
from audiotrans.training.prep import prepare, prepare_sounds
from tests.fakes import tiny_recipe
from tests.unit.test_vibrato import HERTZ, with_vibrato

SETTINGS = AudioSettings(rows=64)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for domain in ("violin", "piano"):
        for number in range(2):
            path = folder / domain / f"{'ab'[number]}{domain}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, with_vibrato(12.0 if number else 1.0, 440.0 + 50 * number, 25), HERTZ)
    return folder


def images(cache):
    data = ImageCache(cache)
    return {item["source"].rsplit("/", 1)[-1]: data.read(item) for item in data.manifest["items"]}


def test_images_are_those_of_sounds_without_vibrato_and_only_where_asked(source, tmp_path):
    chosen = {"settings": SETTINGS, "workers": 1, "progress": False, "valid_fraction": 0.5, "crop_frames": 16}
    prepare_sounds(source, tmp_path / "cache", **chosen)
    plain = images(tmp_path / "cache")
    summary = prepare_sounds(source, tmp_path / "cache", remove_vibrato={"a": 100.0}, **chosen)
    straight = images(tmp_path / "cache")
    assert (summary.reused, summary.built) == (2, 2)
    assert json.loads((tmp_path / "cache/manifest.json").read_text())["remove_vibrato"] == {"a": 100.0, "b": 0.0}
    for name in plain:
        if name.endswith("piano.wav"):
            assert torch.equal(plain[name], straight[name])
            continue
        wave, _ = read(source / "violin" / name, sample_rate=HERTZ)
        imaging = AudioImaging(SETTINGS)
        meter = imaging.level_meter()
        meter.update(torch.from_numpy(wave))
        moved = np.concatenate(list(VibratoRemover(HERTZ, len(wave)).through([wave])), axis=1)
        wanted, _ = imaging.to_image(torch.from_numpy(moved), imaging.level(meter))
        assert straight[name].shape == plain[name].shape == wanted.shape[1:]
        assert (straight[name] - wanted[0]).abs().max() < 1 / 255 + 2e-3
        assert (straight[name] - plain[name]).abs().max() > 0.05


def test_a_recipe_removes_vibrato_from_the_sounds_that_are_its_inputs(source, tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr("audiotrans.training.prep.prepare_sounds", lambda *_, **options: seen.update(options))
    recipe = tiny_recipe(remove_vibrato={"a": 0, "b": 80})
    prepare(source, tmp_path / "cache", recipe)
    assert seen["remove_vibrato"] == {"a": 80, "b": 0}
