"""Polyphonic note transcription: the notes of a sound, by the network of basic-pitch, decoded here.

The network (230 kB, licence Apache-2.0, of Spotify) is shipped in `audiotrans/weights/evaluation` and needs
onnxruntime: ``pip install "audiotrans[eval]"``. It takes mono sound at 22,050 Hz in windows of 43,844 samples and says
for each of 172 frames (11.6 ms apart) and 88 keys how likely a note sounds and how likely one begins. Windows overlap,
and only the middle 142 frames of each are used.

Source:
    Bittner et al., A Lightweight Instrument-Agnostic Model for Polyphonic Note Transcription and Multipitch
    Estimation, ICASSP 2022.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.metrics.pitch import Note
from audiotrans.evaluation.wave_checks import Wave, mono_blocks, validate_wave

Array = npt.NDArray[np.float32]

SAMPLE_RATE = 22_050
WINDOW = 43_844
HOP = 256
FRAMES = 172
KEYS = 88
LOWEST_MIDI = 21
_MARGIN = 15
_KEPT = FRAMES - 2 * _MARGIN
# A window every 142 frames exactly: the frames of all windows then lie on one grid of 256 samples.
_STEP = _KEPT * HOP
_BATCH = 4

ONSET_THRESHOLD = 0.5
NOTE_THRESHOLD = 0.3
RESTRIKE = 0.75
"""What an onset must reach while its key already sounds."""

SURE = 0.5
"""What a note must reach to be one without an onset."""

SHORTEST_SECONDS = 0.06
# Frames below the threshold that a note may bridge: the network flickers where partials of two notes meet.
_BRIDGE = 5
# A stretch without an onset counts from this length (0.13 s): shorter ones are the blur ahead of a struck note.
_SOFT_FRAMES = 11
# Frames that are decoded at once (about 48 s), so that the length of a sound costs no memory.
_DECODE_FRAMES = 4096
_NOTE_OUTPUT, _ONSET_OUTPUT = "StatefulPartitionedCall:1", "StatefulPartitionedCall:2"


@dataclass(frozen=True)
class TranscribedNote(Note):
    """A note of a transcription.

    Attributes:
        level: how sure the network is that it sounds, 0 to 1, on average over its frames; louder notes are surer.
    """

    level: float = 1.0


def transcription_available() -> bool:
    """Tell whether onnxruntime is installed, without importing it."""
    return importlib.util.find_spec("onnxruntime") is not None


def transcribe(
    wave: Wave,
    sample_rate: int,
    *,
    onset_threshold: float = ONSET_THRESHOLD,
    note_threshold: float = NOTE_THRESHOLD,
    shortest_seconds: float = SHORTEST_SECONDS,
) -> list[Note]:
    """List the notes of a sound.

    Args:
        wave: shape (channels, samples); the mono mix is transcribed.
        sample_rate: Hz.
        onset_threshold: how sure the network must be, 0 to 1, that a note begins.
        note_threshold: how sure that it still sounds.
        shortest_seconds: shorter notes are left out.

    Returns:
        `TranscribedNote`s in the order of their onsets, then of pitch; onsets on a grid of 11.6 ms, pitches in whole
        semitones. A note held across the quietest frame of a stretch of 48 s ends there.

    Raises:
        AudiotransError: where the wave is empty or not finite, or onnxruntime is not installed.
    """
    validate_wave(wave)
    if sample_rate <= 0:
        raise AudiotransError(f"the sample rate is {sample_rate} Hz; it must be positive")
    session = _session()
    stretches = _stretches(_posteriors(session, mono_blocks(wave, sample_rate, SAMPLE_RATE)))
    notes: list[Note] = []
    for start, onsets, frames in stretches:
        for first, last, key, level in decode(onsets, frames, onset_threshold, note_threshold):
            if (last - first) * HOP / SAMPLE_RATE >= shortest_seconds:
                seconds = np.array([start + first, last - first]) * HOP / SAMPLE_RATE
                notes.append(TranscribedNote(float(seconds[0]), float(seconds[1]), float(LOWEST_MIDI + key), level))
    return sorted(notes, key=lambda note: (note.onset_seconds, note.midi))


def decode(
    onsets: Array, frames: Array, onset_threshold: float = ONSET_THRESHOLD, note_threshold: float = NOTE_THRESHOLD
) -> list[tuple[int, int, int, float]]:
    """Turn the two posteriorgrams, both (frames, keys) in [0, 1], into notes.

    A run of a key is a stretch in which its note posterior reaches its threshold, gaps of up to five frames included.
    A note begins in it where the onset posterior has a local maximum of at least its threshold; while the key already
    sounds, of at least `RESTRIKE`, for vibrato looks like faint new onsets. A run that is sure (`SURE`) without an
    onset, or for long before its first, is a bowed or blown note that begins softly, and begins where the run does.

    Returns:
        First frame, frame after the last, key and mean note posterior, by key and time.
    """
    notes = []
    peaks = _peaks(onsets, onset_threshold)
    for key in np.flatnonzero((frames >= note_threshold).any(axis=0)):
        for first, last in _runs(frames[:, key] >= note_threshold):
            near = max(first - _BRIDGE, 0)
            struck = near + np.flatnonzero(peaks[near:last, key])
            starts = _starts(struck, onsets[:, key], frames[first:last, key], first)
            for start, stop in zip(starts, [*starts[1:], last], strict=False):
                notes.append((start, stop, int(key), float(frames[start:stop, key].mean())))
    return notes


def _starts(struck: npt.NDArray[np.int_], onsets: Array, run: Array, first: int) -> list[int]:
    """Return where the notes of one run begin: of the onsets in it, those that are not vibrato; see `decode`."""
    starts: list[int] = []
    for frame in struck.tolist():
        if not starts or onsets[frame] >= RESTRIKE:
            starts.append(frame)
    before = run[: starts[0] - first] if starts else run
    if starts and starts[0] < first:  # an onset just ahead of the run
        return starts
    if len(before) >= _SOFT_FRAMES and before.max() >= SURE:
        starts.insert(0, first)
    return starts


def _peaks(onsets: Array, threshold: float) -> npt.NDArray[np.bool_]:
    """Mark the local maxima over time that reach the threshold; of a level top the first frame."""
    before = np.vstack([np.full_like(onsets[:1], -1.0), onsets[:-1]])
    after = np.vstack([onsets[1:], np.full_like(onsets[:1], -1.0)])
    marked: npt.NDArray[np.bool_] = (onsets >= threshold) & (onsets > before) & (onsets >= after)
    return marked


def _runs(sounding: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return first frame and frame after the last of each stretch, joined across short gaps."""
    there = np.flatnonzero(sounding)
    gaps = np.flatnonzero(np.diff(there) > _BRIDGE)
    firsts, lasts = there[np.concatenate([[0], gaps + 1])], there[np.concatenate([gaps, [len(there) - 1]])]
    return [(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]


def _stretches(pieces: Iterable[tuple[Array, Array]]) -> Iterator[tuple[int, Array, Array]]:
    """Join posteriors into stretches, each cut at the quietest frame of its last quarter; with their first frame."""
    start = 0
    onsets: Array = np.zeros((0, KEYS), np.float32)
    frames: Array = onsets
    for more_onsets, more_frames in pieces:
        onsets, frames = np.concatenate([onsets, more_onsets]), np.concatenate([frames, more_frames])
        if len(frames) >= _DECODE_FRAMES:
            from_frame = 3 * _DECODE_FRAMES // 4
            cut = from_frame + int(np.argmin(frames[from_frame:_DECODE_FRAMES].sum(axis=1)))
            yield start, onsets[:cut], frames[:cut]
            start, onsets, frames = start + cut, onsets[cut:], frames[cut:]
    yield start, onsets, frames


def _posteriors(session: Any, blocks: Iterable[Array]) -> Iterator[tuple[Array, Array]]:
    """Yield the onset and note posteriors of mono blocks at 22,050 Hz, without gap or overlap, shape (frames, 88)."""
    length, done = 0, 0
    # The first frame that is kept is centred on the first sample.
    held: Array = np.zeros(_MARGIN * HOP, np.float32)
    windows: list[Array] = []
    for block in blocks:
        length += len(block)
        held = np.concatenate([held, block])
        while len(held) >= WINDOW:
            windows.append(held[:WINDOW])
            held = held[_STEP:]
            if len(windows) == _BATCH:
                done += len(windows) * _KEPT
                yield _run(session, windows)
                windows = []
    frames = -(-length // HOP)
    while frames > done + len(windows) * _KEPT:
        windows.append(np.pad(held, (0, max(WINDOW - len(held), 0)))[:WINDOW])
        held = held[_STEP:]
    if windows:
        onsets, notes = _run(session, windows)
        yield onsets[: frames - done], notes[: frames - done]


def _run(session: Any, windows: list[Array]) -> tuple[Array, Array]:
    name = session.get_inputs()[0].name
    onsets, notes = session.run([_ONSET_OUTPUT, _NOTE_OUTPUT], {name: np.stack(windows)[:, :, None]})
    kept = slice(_MARGIN, FRAMES - _MARGIN)
    return onsets[:, kept].reshape(-1, KEYS), notes[:, kept].reshape(-1, KEYS)


@lru_cache(maxsize=1)
def _session() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise AudiotransError('transcription needs onnxruntime: pip install "audiotrans[eval]"') from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # so small a network gains nothing from more, and busy cores lose by it
    options.log_severity_level = 3
    path = Path(str(resources.files("audiotrans"))) / "weights/evaluation/basic-pitch.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
