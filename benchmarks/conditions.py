"""What rooms, microphones and noise do to a conversion: one Markdown table.

    python -m benchmarks.conditions MODEL FOLDER [--seconds 8] [--clips 6]

FOLDER holds a folder for each domain of the model, with recordings that the model was not trained on. Every clip is
converted as it is and as it would have come out of another room, equaliser or recorder. Notes are compared with those
of the untouched clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import scipy.signal
from numpy.typing import NDArray

import audiotrans
from audiotrans.audio import find_audio, probe, read
from audiotrans.convert.converter import Converter
from audiotrans.evaluation.metrics.notes import note_f1
from audiotrans.evaluation.tagger import TAGS, likeliest_instrument, tag
from audiotrans.evaluation.transcription import transcribe

Wave = NDArray[np.float32]
RATE = 44_100
HEADER = (
    "condition",
    "clips",
    "note F1 of the input",
    "of the output",
    "tagger's probability",
    "taken for the target",
)


def tilted(wave: Wave, decibels_per_octave: float) -> Wave:
    """Turn the spectrum about 1 kHz, over three octaves on both sides."""
    hertz = np.fft.rfftfreq(wave.shape[1], 1 / RATE)
    octaves = np.clip(np.log2(np.maximum(hertz, 1) / 1000), -3, 3)
    gain = 10 ** (decibels_per_octave * octaves / 20)
    return np.fft.irfft(np.fft.rfft(wave, axis=-1) * gain, wave.shape[1]).astype(np.float32)


def in_a_room(wave: Wave, seconds: float, wet_db: float = -3.0) -> Wave:
    """Add a diffuse reverberation that falls by 60 dB in so many seconds; the peak stays."""
    time = np.arange(round(seconds * RATE)) / RATE
    tails = np.random.default_rng(0).standard_normal((len(wave), len(time))) * 10 ** (-3 * time / seconds)
    tails *= 10 ** (wet_db / 20) / np.sqrt(np.square(tails).sum(axis=1, keepdims=True))
    wet = wave + scipy.signal.fftconvolve(wave, tails, axes=-1)[:, : wave.shape[1]]
    return (wet * (np.abs(wave).max() / np.abs(wet).max())).astype(np.float32)


def noisy(wave: Wave, ratio_db: float) -> Wave:
    """Add pink noise so far below the sound's level."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(wave.shape), axis=-1)
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(wave.shape[1], 1 / RATE), 20))
    noise = np.fft.irfft(spectrum, wave.shape[1])
    level = np.sqrt(np.square(wave).mean() / np.square(noise).mean())
    return (wave + level * 10 ** (-ratio_db / 20) * noise).astype(np.float32)


def low_passed(wave: Wave, hertz: float) -> Wave:
    """Leave out what lies above, as a lossy file of few bits does."""
    sections = scipy.signal.butter(8, hertz, fs=RATE, output="sos")
    return scipy.signal.sosfiltfilt(sections, wave, axis=-1).astype(np.float32)


CONDITIONS: dict[str, Callable[[Wave], Wave]] = {
    "as it is": lambda wave: wave,
    "brighter by 2 dB an octave": lambda wave: tilted(wave, 2),
    "darker by 2 dB an octave": lambda wave: tilted(wave, -2),
    "a room of 0.6 s": lambda wave: in_a_room(wave, 0.6),
    "a hall of 1.5 s": lambda wave: in_a_room(wave, 1.5),
    "pink noise 35 dB below": lambda wave: noisy(wave, 35),
    "nothing above 8 kHz": lambda wave: low_passed(wave, 8000),
}


def cut(folder: Path, seconds: float, most: int) -> Iterator[Wave]:
    """Yield up to so many clips of every recording, from one second on."""
    for path in find_audio([folder]):
        count = int((probe(path).seconds - 1) // seconds)
        for number in range(min(most, count)):
            yield read(path, sample_rate=RATE, start_seconds=1 + number * seconds, seconds=seconds)[0]


def measure(converter: Converter, clips: list[Wave], target: str, condition: Callable[[Wave], Wave]) -> list[float]:
    """Return the means of the columns from the third on."""
    rows = []
    for clip in clips:
        notes, heard = transcribe(clip, RATE), condition(clip)
        made = converter.convert(heard, RATE, to=target)
        tags = tag(made, RATE)
        probability = float(tags.mean(axis=0)[TAGS.index(target)]) if len(tags) else 0.0
        f1 = [note_f1(notes, transcribe(wave, RATE)) for wave in (heard, made)]
        rows.append([*f1, probability, float(likeliest_instrument(tags) == target)])
    return [float(value) for value in np.mean(rows, axis=0)]


@click.command()
@click.argument("model")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seconds", default=8.0, show_default=True, help="Length of a clip.")
@click.option("--clips", "most", default=6, show_default=True, help="At most so many of a recording.")
def main(model: str, folder: Path, seconds: float, most: int) -> None:
    """Print one Markdown table for each direction."""
    converter = audiotrans.load(model)
    first, second = converter.domains
    for source, target in ((first, second), (second, first)):
        clips = list(cut(folder / source, seconds, most))
        click.echo(f"\n**{source} to {target}**\n\n| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
        for name, condition in CONDITIONS.items():
            *figures, taken = measure(converter, clips, target, condition)
            cells = [f"{value:.2f}" for value in figures] + [f"{taken:.0%}"]
            click.echo(f"| {name} | {len(clips)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
