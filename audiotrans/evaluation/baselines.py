"""Baselines: what needs no model and no training, the rows that every table has, so that a score can be read.

Copying keeps all content and none of the timbre; a real clip of other music does the opposite; an equaliser, and a
transcriber with a sound bank, are what a system has to beat; Griffin-Lim of the truth shows what magnitudes can reach,
the score played by the bank what knowing every note is worth on another instrument than the truth's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from audiotrans import audio
from audiotrans.audio import Wave
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.metrics.artefacts import consistency_db
from audiotrans.evaluation.metrics.pitch import Note
from audiotrans.evaluation.metrics.spectral import power_spectrum
from audiotrans.evaluation.scoring import AnalysedSound
from audiotrans.evaluation.soundfont import find_player, find_soundfont, program_of, synthesise
from audiotrans.evaluation.systems import Made, System, true_wave
from audiotrans.evaluation.testset import RATE, Clip, Direction, digest_of, fit_channels, fit_length
from audiotrans.evaluation.transcription import transcription_available
from audiotrans.spectrogram.stft import STFT

Array = npt.NDArray[np.floating[Any]]

COPY = "copy"
EQUALISED = "copy + EQ"
RANDOM = "random target clip"
SYNTHESISED = "transcribe + synthesise"
SCORED = "score + synthesise"
GRIFFIN_LIM = "Griffin-Lim of truth"

EQ_LIMIT_DB = 30.0
"""No bin is raised or lowered by more: empty bands hold noise alone."""

TRAINING_SECONDS = 20.0
MOST_FILES = 100


@dataclass(frozen=True)
class BaselineOptions:
    """What the baselines may use.

    Attributes:
        train: has a sub-folder of real sounds of the target, for the equaliser; None takes the test set's own.
        soundfont: General MIDI bank; None looks for one.
        seed: of the random clip and of the random phases.
    """

    train: Path | None = None
    soundfont: Path | None = None
    seed: int = 0


def build_baselines(direction: Direction, options: BaselineOptions) -> tuple[list[System], list[str]]:
    """Return the baselines that can be made for a direction, and a line for each that cannot.

    Raises:
        UsageError: the SoundFont that was named does not exist.
    """
    baselines = [copy()]
    notes: list[str] = []
    scores = (scored,) if any(clip.notes is not None for clip in direction.clips) else ()
    for build in (equalised, random_clip, transcribed, *scores):
        try:
            baselines.append(build(direction, options))
        except UsageError:
            raise
        except AudiotransError as error:
            notes.append(f"{direction.name}: no baseline {_NAMES[build.__name__]!r}: {error}")
    if direction.paired:
        baselines.append(magnitudes_of_truth(options.seed))
    return baselines, notes


_NAMES = {"equalised": EQUALISED, "random_clip": RANDOM, "transcribed": SYNTHESISED, "scored": SCORED}


def copy() -> System:
    """Return the input as an output."""
    return System(COPY, "baseline", "copy", lambda _clip, source: Made(source.wave))


def equalised(direction: Direction, options: BaselineOptions) -> System:
    """Return the input with the long-term spectrum of the target: of training sounds, else of other test recordings.

    Raises:
        AudiotransError: there is neither.
    """
    folder = None if options.train is None else options.train / direction.target
    if folder is not None and folder.is_dir():
        spectrum = folder_spectrum(folder)
        identity = hashlib.sha256(spectrum.tobytes()).hexdigest()[:16]
        return System(
            EQUALISED, "baseline", f"eq {identity}", lambda _clip, source: Made(equalise(source.wave, spectrum))
        )
    _refuse_lone_recordings(direction)
    spectra: dict[str, Array] = {}

    def others(recording: str) -> Array:
        for clip in direction.reals:
            if clip.name not in spectra:
                spectra[clip.name] = mean_spectrum([clip.read()])
        chosen = [spectra[clip.name] for clip in direction.reals if clip.recording != recording]
        mean: Array = np.mean(chosen, axis=0)
        return mean

    def make(clip: Clip, source: AnalysedSound) -> Made:
        return Made(equalise(source.wave, others(clip.recording)))

    return System(EQUALISED, "baseline", f"eq {_identity_of(direction)}", make)


def random_clip(direction: Direction, options: BaselineOptions) -> System:
    """Return a real clip of the target from another recording, at the level of the input.

    Raises:
        AudiotransError: there is no other recording.
    """
    _refuse_lone_recordings(direction)

    def make(clip: Clip, source: AnalysedSound) -> Made:
        chosen = _chosen(clip, direction, options.seed)
        wave, _ = audio.read(chosen.path, sample_rate=RATE, start_seconds=chosen.start_seconds, seconds=clip.seconds)
        length = source.wave.shape[1]
        repeated = np.tile(wave, (1, -(-length // wave.shape[1])))
        other = fit_length(fit_channels(repeated, source.wave.shape[0]), length)
        return Made(at_level_of(source.wave, other), content=chosen.recording)

    return System(RANDOM, "baseline", f"random {options.seed} {_identity_of(direction)}", make)


def _chosen(clip: Clip, direction: Direction, seed: int) -> Clip:
    """Choose a clip of another recording: the same for the same clips and seed, long ones before short ones."""
    others = [real for real in direction.reals if real.recording != clip.recording]
    long = [real for real in others if real.seconds >= clip.seconds]

    def turn(real: Clip) -> str:
        return hashlib.sha256(f"{seed}:{clip.name}:{real.name}".encode()).hexdigest()

    return min(long or others, key=turn)


def transcribed(direction: Direction, options: BaselineOptions) -> System:
    """Return the input's notes as the transcriber finds them, played by the target's instrument of a SoundFont.

    Raises:
        UsageError: the SoundFont that was named does not exist.
        AudiotransError: there is no SoundFont, player, transcriber or General MIDI instrument of that name.
    """
    play, identity = _player(direction, options)
    if not transcription_available():
        raise AudiotransError('transcription needs onnxruntime: pip install "audiotrans[eval]"')
    return System(SYNTHESISED, "baseline", f"synth {identity}", lambda _clip, source: play(source.notes, source))


def scored(direction: Direction, options: BaselineOptions) -> System:
    """Return the score's own notes, played likewise: no transcriber can do better with this bank.

    What is left of its distance to the truth is another instrument, another hand and another room.

    Raises:
        UsageError: the SoundFont that was named does not exist.
        AudiotransError: there is no SoundFont, player or General MIDI instrument of that name.
    """
    play, identity = _player(direction, options)

    def make(clip: Clip, source: AnalysedSound) -> Made | None:
        score = clip.score()
        return None if score is None else play(score, source)

    notes = " ".join(digest_of(clip.notes) for clip in direction.clips if clip.notes is not None)
    digest = hashlib.sha256(notes.encode()).hexdigest()[:16]
    return System(SCORED, "baseline", f"score {digest} {identity}", make)


def _player(
    direction: Direction, options: BaselineOptions
) -> tuple[Callable[[Sequence[Note], AnalysedSound], Made], str]:
    """Return what plays notes at the level and in the shape of an input, and a text that names it."""
    bank, program = find_soundfont(options.soundfont), program_of(direction.target)
    player = find_player()

    def play(notes: Sequence[Note], source: AnalysedSound) -> Made:
        wave = synthesise(notes, program, bank, source.wave.shape[1])
        return Made(at_level_of(source.wave, fit_channels(wave, source.wave.shape[0])))

    return play, f"{player} {bank.name} {digest_of(bank)} {program}"


def magnitudes_of_truth(seed: int) -> System:
    """Return the true magnitudes with phases estimated by Griffin-Lim."""

    def make(clip: Clip, source: AnalysedSound) -> Made | None:
        true = true_wave(clip, source.wave)
        if true is None:
            return None
        wave = griffin_lim(true, source.wave, seed)
        magnitude = STFT().forward(torch.from_numpy(true)).abs().numpy()
        return Made(wave, {"inconsistency_db": consistency_db(magnitude, wave)})

    return System(GRIFFIN_LIM, "baseline", f"griffin-lim {seed}", make)


def at_level_of(reference: Wave, wave: Wave) -> Wave:
    """Bring a wave to the root mean square of another; silence stays silent."""
    levels = [float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) for sound in (reference, wave)]
    return wave if levels[1] == 0.0 else (wave * (levels[0] / levels[1])).astype(np.float32)


def folder_spectrum(folder: Path, limit: int | None = MOST_FILES) -> Array:
    """Return the mean power per bin over the beginnings of a folder's files; shape (1025,).

    Args:
        folder: sounds of one domain.
        limit: files read at most.
    """
    files = audio.find_audio([folder])[:limit]
    return mean_spectrum(audio.read(path, sample_rate=RATE, seconds=TRAINING_SECONDS)[0] for path in files)


def mean_spectrum(waves: Iterable[Wave]) -> Array:
    """Return the mean power per bin of waves (channels, samples), each counted once; shape (1025,)."""
    mean: Array = np.mean([power_spectrum(wave).mean(axis=1) for wave in waves], axis=0)
    return mean


def equalise(wave: Wave, target: Array) -> Wave:
    """Give a wave the long-term spectrum of a domain.

    Both spectra are smoothed over a third of an octave, so that the gain follows the timbre and not single notes.

    Args:
        wave: shape (channels, samples) at `RATE`.
        target: mean power per bin, shape (1025,).

    Returns:
        float32 of the wave's shape.
    """
    gain_db = 10 * np.log10(smooth(target) / smooth(power_spectrum(wave).mean(axis=1)))
    gain = torch.from_numpy(10 ** (np.clip(gain_db, -EQ_LIMIT_DB, EQ_LIMIT_DB) / 20)).float()
    stft = STFT()
    spectrum = stft.forward(torch.from_numpy(np.ascontiguousarray(wave)))
    equalised: Wave = stft.inverse(spectrum * gain[:, None], wave.shape[1]).numpy()
    return equalised


def smooth(power: Array) -> Array:
    """Average power over a third of an octave around each bin."""
    total = np.concatenate([[0.0], np.cumsum(power + 1e-12)])
    bins = np.arange(len(power))
    low = np.floor(bins * 2 ** (-1 / 6)).astype(int)
    high = np.minimum(np.ceil(bins * 2 ** (1 / 6)).astype(int) + 1, len(power))
    averaged: Array = (total[high] - total[low]) / (high - low)
    return averaged


def griffin_lim(truth: Wave, source: Wave, seed: int = 0) -> Wave:
    """Forget the phases of a wave and estimate them from its magnitudes alone.

    Args:
        truth: shape (channels, samples).
        source: the input, of the same shape; lends the phase differences between the channels, as it does to a model.
        seed: of the random phases that the iterations start from.

    Returns:
        float32 of the same shape.
    """
    from audiotrans.spectrogram.phase import PHASES, PhaseTask

    stft = STFT()
    true, given = (stft.forward(torch.from_numpy(np.ascontiguousarray(wave))) for wave in (truth, source))
    spectrum = PHASES["griffin_lim"](PhaseTask(true.abs(), given, None, stft, seed=seed))
    wave: Wave = stft.inverse(spectrum, truth.shape[1]).numpy()
    return wave


def _refuse_lone_recordings(direction: Direction) -> None:
    if len({clip.recording for clip in direction.reals}) < 2:
        raise AudiotransError(f"it needs two recordings of {direction.target} or more")


def _identity_of(direction: Direction) -> str:
    text = " ".join(f"{clip.recording}:{clip.identity}" for clip in direction.reals)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
