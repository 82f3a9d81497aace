"""What needs no model and no training: the rows that every table has, so that a score can be read.

Copying keeps all content and none of the timbre; a real clip of other music does the opposite; an equaliser, and a
transcriber with a sound bank, are what a system has to beat; Griffin-Lim of the truth shows what magnitudes can reach,
the score played by the bank what knowing every note is worth on another instrument than the truth's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans import audio
from audiotrans.audio import Wave
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.metrics.artefacts import consistency_db
from audiotrans.evaluation.metrics.pitch import Note
from audiotrans.evaluation.scoring.baselines.equaliser import equalise, folder_spectrum, mean_spectrum
from audiotrans.evaluation.scoring.baselines.magnitudes import griffin_lim
from audiotrans.evaluation.scoring.baselines.soundfont import find_player, find_soundfont, program_of, synthesise
from audiotrans.evaluation.scoring.measures import Hearing
from audiotrans.evaluation.scoring.systems import Made, System, true_wave
from audiotrans.evaluation.scoring.testset import RATE, Clip, Direction, digest_of, fit_channels, fit_length
from audiotrans.evaluation.transcription import transcription_available
from audiotrans.spectrogram.stft import STFT

Array = npt.NDArray[np.floating[Any]]

COPY = "copy"
EQUALISED = "copy + EQ"
RANDOM = "random target clip"
SYNTHESISED = "transcribe + synthesise"
SCORED = "score + synthesise"
GRIFFIN_LIM = "Griffin-Lim of truth"


@dataclass(frozen=True)
class BaselineOptions:
    """What the anchors may use.

    Attributes:
        train: has a sub-folder of real sounds of the target, for the equaliser; None takes the test set's own.
        soundfont: General MIDI bank; None looks for one.
        seed: of the random clip and of the random phases.
    """

    train: Path | None = None
    soundfont: Path | None = None
    seed: int = 0


def build_baselines(direction: Direction, options: BaselineOptions) -> tuple[list[System], list[str]]:
    """Return the anchors that can be made for a direction, and a line for each that cannot.

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
            notes.append(f"{direction.name}: no anchor {_NAMES[build.__name__]!r}: {error}")
    if direction.paired:
        baselines.append(magnitudes_of_truth(options.seed))
    return baselines, notes


_NAMES = {"equalised": EQUALISED, "random_clip": RANDOM, "transcribed": SYNTHESISED, "scored": SCORED}


def copy() -> System:
    """Return the input as an output."""
    return System(COPY, "baseline", "copy", lambda _clip, heard: Made(heard.wave))


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
            EQUALISED, "baseline", f"eq {identity}", lambda _clip, heard: Made(equalise(heard.wave, spectrum))
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

    def make(clip: Clip, heard: Hearing) -> Made:
        return Made(equalise(heard.wave, others(clip.recording)))

    return System(EQUALISED, "baseline", f"eq {_identity_of(direction)}", make)


def random_clip(direction: Direction, options: BaselineOptions) -> System:
    """Return a real clip of the target from another recording, at the level of the input.

    Raises:
        AudiotransError: there is no other recording.
    """
    _refuse_lone_recordings(direction)

    def make(clip: Clip, heard: Hearing) -> Made:
        chosen = _chosen(clip, direction, options.seed)
        wave, _ = audio.read(chosen.path, sample_rate=RATE, start_seconds=chosen.start_seconds, seconds=clip.seconds)
        length = heard.wave.shape[1]
        repeated = np.tile(wave, (1, -(-length // wave.shape[1])))
        other = fit_length(fit_channels(repeated, heard.wave.shape[0]), length)
        return Made(at_level_of(heard.wave, other), heard=chosen.recording)

    return System(RANDOM, "baseline", f"random {options.seed} {_identity_of(direction)}", make)


def _chosen(clip: Clip, direction: Direction, seed: int) -> Clip:
    """Choose a clip of another recording: the same for the same clips and seed, long ones before short ones."""
    others = [real for real in direction.reals if real.recording != clip.recording]
    long = [real for real in others if real.seconds >= clip.seconds]

    def turn(real: Clip) -> str:
        return hashlib.sha256(f"{seed}:{clip.name}:{real.name}".encode()).hexdigest()

    return min(long or others, key=turn)


def transcribed(direction: Direction, options: BaselineOptions) -> System:
    """Return the input's notes as the transcriber hears them, played by the target's instrument of a SoundFont.

    Raises:
        UsageError: the SoundFont that was named does not exist.
        AudiotransError: there is no SoundFont, player, transcriber or General MIDI instrument of that name.
    """
    play, identity = _player(direction, options)
    if not transcription_available():
        raise AudiotransError("the transcriber is not installed: pip install --no-deps basic-pitch onnxruntime")
    return System(SYNTHESISED, "baseline", f"synth {identity}", lambda _clip, heard: play(heard.notes, heard))


def scored(direction: Direction, options: BaselineOptions) -> System:
    """Return the score's own notes, played likewise: no transcriber can do better with this bank.

    What is left of its distance to the truth is another instrument, another hand and another room.

    Raises:
        UsageError: the SoundFont that was named does not exist.
        AudiotransError: there is no SoundFont, player or General MIDI instrument of that name.
    """
    play, identity = _player(direction, options)

    def make(clip: Clip, heard: Hearing) -> Made | None:
        score = clip.score()
        return None if score is None else play(score, heard)

    notes = " ".join(digest_of(clip.notes) for clip in direction.clips if clip.notes is not None)
    digest = hashlib.sha256(notes.encode()).hexdigest()[:16]
    return System(SCORED, "baseline", f"score {digest} {identity}", make)


def _player(direction: Direction, options: BaselineOptions) -> tuple[Callable[[Sequence[Note], Hearing], Made], str]:
    """Return what plays notes at the level and in the shape of an input, and a text that names it."""
    bank, program = find_soundfont(options.soundfont), program_of(direction.target)
    player = find_player()

    def play(notes: Sequence[Note], heard: Hearing) -> Made:
        wave = synthesise(notes, program, bank, heard.wave.shape[1])
        return Made(at_level_of(heard.wave, fit_channels(wave, heard.wave.shape[0])))

    return play, f"{player} {bank.name} {digest_of(bank)} {program}"


def magnitudes_of_truth(seed: int) -> System:
    """Return the true magnitudes with phases estimated by Griffin-Lim."""

    def make(clip: Clip, heard: Hearing) -> Made | None:
        true = true_wave(clip, heard.wave)
        if true is None:
            return None
        import torch

        wave = griffin_lim(true, heard.wave, seed)
        magnitude = STFT().forward(torch.from_numpy(true)).abs().numpy()
        return Made(wave, {"inconsistency_db": consistency_db(magnitude, wave)})

    return System(GRIFFIN_LIM, "baseline", f"griffin-lim {seed}", make)


def at_level_of(reference: Wave, wave: Wave) -> Wave:
    """Bring a wave to the root mean square of another; silence stays silent."""
    levels = [float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) for sound in (reference, wave)]
    return wave if levels[1] == 0.0 else (wave * (levels[0] / levels[1])).astype(np.float32)


def _refuse_lone_recordings(direction: Direction) -> None:
    if len({clip.recording for clip in direction.reals}) < 2:
        raise AudiotransError(f"it needs two recordings of {direction.target} or more")


def _identity_of(direction: Direction) -> str:
    text = " ".join(f"{clip.recording}:{clip.identity}" for clip in direction.reals)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


__all__ = ["COPY", "EQUALISED", "GRIFFIN_LIM", "RANDOM", "SCORED", "SYNTHESISED", "BaselineOptions", "build_baselines"]
