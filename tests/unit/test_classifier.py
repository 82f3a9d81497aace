"""The instrument classifier: its features, how it learns on two small domains, its file, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from audiotrans.audio import write
from audiotrans.cli import main
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.classifier import (
    DEFAULT_CLASSIFIER,
    ClassifierNet,
    FeatureSettings,
    InstrumentClassifier,
    decibels,
    list_classifiers,
    normalise,
    window_starts,
)
from audiotrans.evaluation.classifier_data import augment, exchange_spectra, mask, refuse_made_sounds, source_length
from audiotrans.evaluation.classifier_training import train_classifier
from audiotrans.weights import list_models

RATE = 8000
TINY = FeatureSettings(sample_rate=RATE, window_seconds=0.5, hop_seconds=0.25, n_fft=256, hop_length=128, bands=32)


def held(seed: int, seconds: float = 3.0) -> np.ndarray:
    """Make a held tone of two partials at a random pitch, shape (1, samples)."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    hertz = rng.uniform(200, 900)
    tone = np.sin(2 * np.pi * hertz * time) + 0.5 * np.sin(4 * np.pi * hertz * time)
    return (0.2 * tone)[None].astype(np.float32)


def bursts(seed: int, seconds: float = 3.0) -> np.ndarray:
    """Make bursts of noise that fade, eight a second."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.1 * rng.standard_normal(len(time)) * np.exp(-30 * (time % 0.125)))[None].astype(np.float32)


KINDS = {"held": held, "bursts": bursts}


def write_sounds(root: Path, count: int = 4) -> Path:
    for name, make in KINDS.items():
        for index in range(count):
            write(root / name / f"{name}{index}x.wav", make(index), RATE)
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, InstrumentClassifier]:
    root = tmp_path_factory.mktemp("classifier")
    output = root / "held-bursts.safetensors"
    classifier = train_classifier(
        write_sounds(root / "sounds"), output, steps=100, batch=8, settings=TINY, progress=False
    )
    return output, classifier


class TestWindows:
    def test_they_cover_the_sound_and_end_with_it(self) -> None:
        assert window_starts(np.ones(RATE, np.float32), TINY) == [0, 2000, 4000]
        assert window_starts(np.ones(RATE + 1000, np.float32), TINY) == [0, 2000, 4000, 5000]
        assert window_starts(np.ones(100, np.float32), TINY) == [0]

    def test_silent_and_very_quiet_ones_are_left_out(self) -> None:
        samples = np.ones(3 * RATE, np.float32)
        samples[RATE : 2 * RATE] *= 1e-3  # 60 dB below the rest
        assert {8000, 10_000, 12_000}.isdisjoint(window_starts(samples, TINY))
        assert window_starts(np.zeros(RATE, np.float32), TINY) == []

    def test_level_does_not_count(self) -> None:
        wave = torch.from_numpy(bursts(0)[:, : TINY.window])
        loud, quiet = (normalise(decibels(gain * wave, TINY), TINY) for gain in (1.0, 0.01))
        torch.testing.assert_close(loud, quiet, atol=1e-3, rtol=0)  # float32 over 40 dB
        assert loud.mean().abs() < 1e-5


class TestAugmentation:
    def test_a_window_comes_out_that_differs_by_seed_and_by_nothing_else(self) -> None:
        def drawn(seed: int) -> np.ndarray:
            rng = np.random.default_rng(seed)
            return augment(held(0)[0, : source_length(TINY, rng)], TINY, rng)

        assert drawn(1).shape == (TINY.window,)
        assert np.isfinite(drawn(1)).all()
        np.testing.assert_array_equal(drawn(1), drawn(1))
        assert not np.array_equal(drawn(1), drawn(2))

    def test_the_pitch_follows_the_length(self) -> None:
        """A piece that is longer than a window plays faster: three semitones at most, each way."""
        rng = np.random.default_rng(3)
        lengths = np.array([source_length(TINY, rng) for _ in range(200)])
        whole = TINY.window + 0.4 * RATE
        assert 2 ** (-3.1 / 12) < lengths.min() / whole < 0.9
        assert 1.1 < lengths.max() / whole < 2 ** (3.2 / 12)

    def test_spectra_are_exchanged_and_movements_stay(self) -> None:
        rng = np.random.default_rng(0)
        levels = torch.from_numpy(rng.uniform(-60, 0, (16, 32, 20)).astype(np.float32))
        before = levels.clone()
        changed = exchange_spectra(levels, rng)
        torch.testing.assert_close(levels, before, atol=0, rtol=0)
        offsets = changed - levels
        assert offsets.abs().max() > 1.0
        # One offset for each band and window: what moves over time is the window's own. 1e-4 dB is float32.
        torch.testing.assert_close(offsets, offsets[..., :1].expand_as(offsets), atol=1e-4, rtol=0)

    def test_masks_blank_a_part(self) -> None:
        pictures = torch.ones(8, 32, 20)
        masked = mask(pictures, np.random.default_rng(0))
        assert pictures.min() == 1.0
        assert 0.3 < masked.mean() < 1.0


class TestTraining:
    def test_it_learns_to_tell_two_domains_apart(self, trained: tuple[Path, InstrumentClassifier]) -> None:
        classifier = trained[1]
        assert classifier.classes == ("bursts", "held")
        for name, make in KINDS.items():
            found = [classifier.predict(make(seed), RATE)[classifier.index(name)] for seed in range(100, 106)]
            assert min(found) > 0.5, f"unseen {name}"

    def test_the_card_says_what_it_heard_and_how_well_it_does(self, trained: tuple[Path, InstrumentClassifier]) -> None:
        output, classifier = trained
        recordings = classifier.card["recordings"]
        assert len(recordings["train"]["held"]) + len(recordings["valid"]["held"]) == 4
        assert not set(recordings["train"]["held"]) & set(recordings["valid"]["held"])
        assert classifier.recordings >= set(recordings["train"]["bursts"])
        assert all(own["windows_right"] == own["windows"] > 0 for own in classifier.card["validation"].values())
        text = output.with_suffix(".md").read_text(encoding="utf-8")
        assert recordings["train"]["held"][0] in text
        assert "100.0 % of" in text

    def test_the_same_seed_gives_the_same_classifier(self, tmp_path: Path) -> None:
        sounds, state = write_sounds(tmp_path / "sounds", 2), torch.get_rng_state()
        found = [
            train_classifier(sounds, tmp_path / name, steps=2, batch=4, settings=TINY, progress=False).net.state_dict()
            for name in ("one.safetensors", "two.safetensors")
        ]
        assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
        assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers are its own"

    def test_three_domains_and_a_split_that_is_there(self, tmp_path: Path) -> None:
        for split in ("train", "valid"):
            write_sounds(tmp_path / split, 1)
            write(tmp_path / split / "soft" / "one.wav", 0.1 * held(7), RATE)
        classifier = train_classifier(
            tmp_path, tmp_path / "j.safetensors", steps=1, batch=3, settings=TINY, progress=False
        )
        assert classifier.classes == ("bursts", "held", "soft")
        assert classifier.card["recordings"]["valid"]["soft"] == ["valid/one.wav"]
        assert classifier.predict(held(0), RATE).shape == (3,)


class TestProbabilities:
    def test_probabilities_sum_to_one_and_predict_is_their_mean(
        self, trained: tuple[Path, InstrumentClassifier]
    ) -> None:
        classifier = trained[1]
        rows = classifier.probabilities(held(1), RATE)
        assert rows.shape == (11, 2)  # 3 s in windows of 0.5 s every 0.25 s
        np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-6)
        np.testing.assert_allclose(classifier.predict(held(1), RATE), rows.mean(axis=0), atol=1e-7)

    def test_level_channels_and_rate_hardly_count(self, trained: tuple[Path, InstrumentClassifier]) -> None:
        from audiotrans.audio import resample

        classifier = trained[1]
        wave = bursts(3)
        first = classifier.probabilities(wave, RATE)
        # Single precision after a gain of 40 dB.
        np.testing.assert_allclose(classifier.probabilities(np.vstack([0.01 * wave] * 2), RATE), first, atol=1e-3)
        again = classifier.probabilities(resample(wave, RATE, 44_100), 44_100)
        # The uppermost band lies on the resampler's slope.
        assert np.abs(again.mean(axis=0) - first.mean(axis=0)).max() < 0.1

    def test_one_is_as_many(self, trained: tuple[Path, InstrumentClassifier], monkeypatch: pytest.MonkeyPatch) -> None:
        classifier = trained[1]
        whole = classifier.embed(held(2), RATE)
        monkeypatch.setattr("audiotrans.evaluation.classifier._BATCH", 3)
        np.testing.assert_allclose(classifier.embed(held(2), RATE), whole, atol=1e-5)  # float32, other batch sizes

    def test_silence_has_no_windows(self, trained: tuple[Path, InstrumentClassifier]) -> None:
        classifier, silence = trained[1], np.zeros((2, RATE), np.float32)
        assert classifier.probabilities(silence, RATE).shape == (0, 2)
        assert classifier.embed(silence, RATE).shape == (0, 64)
        assert np.isnan(classifier.predict(silence, RATE)).all()

    @pytest.mark.parametrize("samples", [1, 100, 3999])
    def test_short_sounds_are_heard(self, trained: tuple[Path, InstrumentClassifier], samples: int) -> None:
        assert trained[1].embed(bursts(0)[:, :samples], RATE).shape == (1, 64)

    def test_what_is_no_wave_and_no_domain_is_refused(self, trained: tuple[Path, InstrumentClassifier]) -> None:
        with pytest.raises(AudiotransError, match="NaN"):
            trained[1].predict(np.full((1, RATE), np.nan), RATE)
        with pytest.raises(UsageError, match=r"not 'hold'.*Did you mean 'held'"):
            trained[1].index("hold")


class TestFile:
    def test_it_comes_back_as_it_was(self, trained: tuple[Path, InstrumentClassifier]) -> None:
        output, classifier = trained
        state = torch.get_rng_state()
        again = InstrumentClassifier.load(output)
        assert torch.equal(torch.get_rng_state(), state)
        assert (again.classes, again.settings, again.card) == (classifier.classes, classifier.settings, classifier.card)
        assert again.name == "classifier held-bursts, 64-d"
        np.testing.assert_array_equal(again.embed(held(0), RATE), classifier.embed(held(0), RATE))
        assert output.stat().st_size < 1e6

    def test_other_files_are_refused(self, tmp_path: Path, trained: tuple[Path, InstrumentClassifier]) -> None:
        other = tmp_path / "x.safetensors"
        other.write_bytes(b"no")
        with pytest.raises(AudiotransError, match="not a readable safetensors file"):
            InstrumentClassifier.load(other)
        with pytest.raises(AudiotransError, match=r"not an instrument classifier \(.* names audiotrans-model\)"):
            InstrumentClassifier.load(list_models()[0].path)
        save_file({"x": torch.zeros(1)}, other, metadata={"format": "audiotrans-classifier", "version": "2"})
        with pytest.raises(AudiotransError, match="version 2, this program reads 1"):
            InstrumentClassifier.load(other)
        metadata = {
            "format": "audiotrans-classifier",
            "version": "1",
            "classes": '["a", "b"]',
            "settings": "{}",
            "card": "{}",
        }
        save_file({"x": torch.zeros(1)}, other, metadata=metadata)
        with pytest.raises(AudiotransError, match="broken instrument classifier"):
            InstrumentClassifier.load(other)
        with pytest.raises(UsageError, match="no instrument classifier 'violin-pino': shipped are"):
            InstrumentClassifier.load("violin-pino")

    def test_a_shipped_classifier_is_not_a_model(self) -> None:
        assert DEFAULT_CLASSIFIER in {path.stem for path in list_classifiers()}
        assert all("classifiers" not in entry.path.parts for entry in list_models())
        classifier = InstrumentClassifier.load()
        assert classifier.classes == ("violin", "piano")
        assert json.dumps(classifier.card)


class TestMistakes:
    @pytest.mark.parametrize("mark", ["evaluation.json", "cycle.json"])
    def test_sounds_that_a_model_made_are_refused(self, tmp_path: Path, mark: str) -> None:
        sounds = write_sounds(tmp_path / "made" / "sounds", 1)
        (tmp_path / "made" / mark).write_text("{}", encoding="utf-8")
        with pytest.raises(UsageError, match=f"holds {mark}: its sounds were made by a model"):
            train_classifier(sounds, tmp_path / "j.safetensors")
        refuse_made_sounds([tmp_path / "elsewhere" / "x.wav"])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"output": "j.bin"}, "ends in .safetensors"),
            ({"steps": 0}, "0 steps"),
            ({"valid_fraction": 1.0}, "valid fraction 1.0"),
            ({"domains": ["held"]}, "two or more domains apart; 1 given"),
            ({"domains": ["held", "flute"]}, "no folder 'flute'"),
            ({"domains": ["held", "bursts", "bursts"]}, "same name: held, bursts, bursts"),
            ({"domains": ["held", "bursts", "more=bursts"]}, "is in two domains"),
        ],
    )
    def test_arguments(self, tmp_path: Path, options: dict[str, object], message: str) -> None:
        sounds = write_sounds(tmp_path / "sounds", 1)
        arguments = {"output": "j.safetensors"} | options
        with pytest.raises(UsageError, match=message):
            train_classifier(sounds, tmp_path / str(arguments.pop("output")), progress=False, **arguments)

    def test_a_domain_of_silence(self, tmp_path: Path) -> None:
        write(tmp_path / "quiet" / "x.wav", np.zeros((1, RATE), np.float32), RATE)
        write(tmp_path / "held" / "x.wav", held(0), RATE)
        with pytest.raises(AudiotransError, match=r"no sound of 'quiet' can be trained on; .*x\.wav: is silent"):
            train_classifier(tmp_path, tmp_path / "j.safetensors", settings=TINY, progress=False)


class TestCommand:
    def run(self, *arguments: object) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["train-classifier", *map(str, arguments)])
        return result.exit_code, result.output

    @pytest.mark.smoke
    def test_it_trains_and_reports_in_one_line(self, tmp_path: Path) -> None:
        sounds, output = write_sounds(tmp_path / "sounds", 2), tmp_path / "j.safetensors"
        code, text = self.run(sounds, "-o", output, "--steps", 1, "-q")
        assert code == 0, text
        assert "j: right on held-out recordings: bursts" in text
        assert InstrumentClassifier.load(output).sample_rate == FeatureSettings().sample_rate
        code, text = self.run(sounds, "-o", output, "-q")
        assert code == 2
        assert "exists already: use --force" in text

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--a", "held"], "--a and --b go together"),
            (["--domains", "a,b", "--a", "x", "--b", "y"], "give one of them"),
        ],
    )
    def test_options_that_do_not_fit(self, tmp_path: Path, options: list[str], message: str) -> None:
        code, text = self.run(tmp_path, "-o", tmp_path / "j.safetensors", *options)
        assert code == 2
        assert message in text

    def test_a_folder_without_domains(self, tmp_path: Path) -> None:
        code, text = self.run(tmp_path, "-o", tmp_path / "j.safetensors")
        assert code == 2
        assert "needs two or more sub-folders" in text


def test_the_net_takes_windows_of_any_size() -> None:
    net = ClassifierNet(3).eval()
    for settings in (TINY, replace(TINY, bands=80, window_seconds=1.0)):
        waves = torch.randn(2, settings.window, generator=torch.Generator().manual_seed(0))
        assert net(normalise(decibels(waves, settings), settings)).shape == (2, 3)
