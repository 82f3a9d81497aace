"""The sound path against stored numbers; each file says what its numbers are worth (see make.py)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiotrans.evaluation import tagger
from audiotrans.evaluation.tagger import TAGS
from audiotrans.spectrogram.imaging import REPRESENTATIONS, AudioImaging, AudioSettings, triangular_bank, warped_centres
from audiotrans.spectrogram.phase.pghi import integrated_phase
from audiotrans.spectrogram.stft import STFT
from tests.golden.make import DATA, load
from tests.golden.makers_sound import FRAMES, MAKERS, chirp, magnitude_of_chirp, organ


def test_the_stft_of_a_chirp_is_librosas() -> None:
    golden = load("stft_chirp")
    assert golden["rank"] == 2
    spectrum = STFT().forward(torch.from_numpy(chirp()))
    assert spectrum.shape == (1025, 45)
    wanted = golden["spectrum"]
    # float32 against librosa in float64: 1e-6 of the largest magnitude.
    np.testing.assert_allclose(spectrum[:, FRAMES].numpy(), wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_the_bank_is_its_closed_form() -> None:
    golden = load("warped_bank")
    assert golden["rank"] == 1
    centres = warped_centres(256, 1025)
    np.testing.assert_allclose(centres, golden["centres"], rtol=1e-9)
    np.testing.assert_allclose(triangular_bank(centres, 1025)[200], golden["weights_200"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", sorted(REPRESENTATIONS))
def test_the_image_of_a_chirp_has_not_changed(name: str) -> None:
    golden = load("image_chirp")
    assert golden["rank"] == 4
    imaging, wave = AudioImaging(AudioSettings(representation=name, channels=1)), torch.from_numpy(chirp())[None]
    level_db = imaging.level_db(wave)
    assert level_db == pytest.approx(float(golden["level_db"]), abs=1e-5)
    image, _ = imaging.to_image(wave, level_db)
    # 1e-4 of an image are 0.005 dB. Quiet bins are differences of large numbers, which other FFT libraries round
    # otherwise: near the floor that shows, as 0.1 dB.
    difference = np.abs(image[0, 0, :, 20].numpy() - golden[name])
    assert (difference[golden[name] > -0.8] < 1e-4).all()
    assert (difference < 2e-3).all()


@pytest.mark.parametrize("number", [0, 1, 3, 4])
def test_integrated_phases_are_those_of_a_heap(number: int) -> None:
    golden = load("integrated_phase_chirp")
    assert golden["rank"] == 2
    magnitude = magnitude_of_chirp(2048, 512).astype(np.float32)
    found = integrated_phase(np.ascontiguousarray(magnitude.T)[None], None, STFT())[FRAMES[number]]
    size = magnitude[:, FRAMES[number]]
    difference = np.exp(1j * (found - golden["phase"][:, number].astype(float)))[size > 0.1 * size.max()]
    # Where the two take bins in another order, whole parts may be turned: one constant per frame is free. In frame 20
    # the orders part within the loud bins. Stored as float16: 0.001 radians.
    turned = np.angle(difference / difference[0])
    assert len(turned) > 15
    assert np.abs(turned).max() < 0.005


def test_golden_files_are_small_and_all_have_makers() -> None:
    for name in MAKERS:
        golden = load(name)
        assert golden["rank"] in (1, 2, 3, 4)
        assert str(golden["source"])
    assert sum((DATA / f"{name}.npz").stat().st_size for name in MAKERS) < 100_000


def test_tags_are_those_of_musicnn() -> None:
    golden = load("musicnn_organ")
    assert golden["rank"] == 2
    assert tuple(golden["names"]) == TAGS
    network = tagger.load_network()
    found = network.tags(network.embed(torch.from_numpy(tagger.log_mel(organ())[None, : tagger.FRAMES])))
    # The original keeps its spectrogram in float16, which moves a tag by up to 2e-4.
    np.testing.assert_allclose(found.numpy(), golden["tags"], rtol=0, atol=1e-3)
