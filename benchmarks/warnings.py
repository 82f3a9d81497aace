"""How often `convert` warns where it should not, and where it should: one Markdown table.

    python -m benchmarks.warnings MODEL FOLDER... [--soundfont FILE]

Every FOLDER holds a folder for each domain of the model, with recordings that the model was not trained on. Other
sounds are made here; those of a soundfont need fluidsynth, and speech needs espeak-ng: where these are missing, their
rows are left out.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import scipy.signal
import torch
from numpy.typing import NDArray

import audiotrans
from audiotrans.audio import find_audio, read
from audiotrans.convert.converter import Converter
from benchmarks.instruments import PROGRAMS, play, play_drums

Wave = NDArray[np.float32]
SECONDS = 12.0
RATE = 44_100
KINDS = {"sounds like": "other domain", "unlike": "unlike", "clipped": "clipped", "nearly": "level", "too": "level",
         "mostly": "silence"}  # fmt: skip
SPEECH = "This is a plain sentence that somebody speaks; it has nothing to do with music, and it goes on for a while."


def noise(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(shape)


def tilted(wave: Wave, decibels: float) -> NDArray[np.float64]:
    """Tilt a spectrum by so many dB an octave."""
    spectrum, hertz = np.fft.rfft(wave), np.fft.rfftfreq(wave.shape[1], 1 / RATE)
    gain = 10 ** (decibels * np.log2(np.clip(hertz, 60, 16_000) / 1000) / 20)
    return np.fft.irfft(spectrum * gain, wave.shape[1])


def in_a_room(wave: Wave, seconds: float) -> NDArray[np.float64]:
    """Add a decaying tail as loud as the half of the sound."""
    length = round(seconds * RATE)
    tail = noise((len(wave), length)) * 10 ** (-3 * np.arange(length) / length)
    tail *= 0.7 / np.sqrt((tail**2).sum(1, keepdims=True))
    return wave + scipy.signal.fftconvolve(wave, tail, axes=1)[:, : wave.shape[1]]


def low_passed(wave: Wave, hertz: float) -> NDArray[np.float64]:
    return scipy.signal.sosfiltfilt(scipy.signal.butter(6, hertz, fs=RATE, output="sos"), wave)


def hummed(wave: Wave) -> NDArray[np.float64]:
    at = np.arange(wave.shape[1]) / RATE
    return wave + 0.02 * np.sin(2 * np.pi * 50 * at) + 0.01 * np.sin(2 * np.pi * 100 * at)


HARMLESS: dict[str, Callable[[Wave], NDArray[np.floating]]] = {
    "as they are": lambda wave: wave,
    "in mono": lambda wave: wave.mean(0, keepdims=True),
    "the third second alone": lambda wave: wave[:, 2 * RATE : 3 * RATE + RATE // 4],
    "20 dB softer": lambda wave: wave * 0.1,
    "brighter by 2 dB an octave": lambda wave: tilted(wave, 2),
    "darker by 2 dB an octave": lambda wave: tilted(wave, -2),
    "with noise at -40 dB": lambda wave: wave + 0.01 * wave.std() * noise(wave.shape),
    "with noise at -30 dB": lambda wave: wave + 0.03 * wave.std() * noise(wave.shape),
    "in a room of 1 s": lambda wave: in_a_room(wave, 1.0),
    "in a hall of 3 s": lambda wave: in_a_room(wave, 3.0),
    "low-passed at 4 kHz": lambda wave: low_passed(wave, 4000),
}
"""Changes that leave a violin a violin: no warning is right."""

HARMFUL: dict[str, Callable[[Wave], NDArray[np.floating]]] = {
    "clipped by 12 dB": lambda wave: np.clip(wave * 4 / np.abs(wave).max(), -1, 1),
    "at -60 dB": lambda wave: wave * 10 ** (-60 / 20) / wave.std(),
    "scaled by 32768": lambda wave: wave * 32768,
    "2 s of it in 30 s of silence": lambda wave: np.pad(wave[:, : 2 * RATE], ((0, 0), (8 * RATE, 20 * RATE))),
    "with mains hum, 13 dB below": hummed,
}
"""Changes that the user should know of."""


def made() -> Iterator[tuple[str, NDArray[np.floating]]]:
    """Make sounds that are no instrument."""
    at = np.arange(round(SECONDS * RATE)) / RATE
    rng = np.random.default_rng(0)
    yield "white noise", 0.1 * noise((2, len(at)))
    bursts = noise(at.shape) * np.exp(-(at % 0.25) * 30)
    yield "noise bursts", 0.3 * bursts
    yield "bass drum", 0.8 * np.sin(2 * np.pi * (50 * (at % 0.5) - np.exp(-(at % 0.5) * 20))) * np.exp(-(at % 0.5) * 8)
    yield "sine sweep", 0.3 * np.sin(2 * np.pi * 100 * SECONDS / np.log(80) * 80 ** (at / SECONDS))
    yield "sine, 440 Hz", 0.3 * np.sin(2 * np.pi * 440 * at)
    pitches = np.repeat(220 * 2 ** (rng.integers(0, 24, 48) / 12), RATE // 4)
    yield "square-wave melody", 0.2 * np.sign(np.sin(2 * np.pi * np.cumsum(pitches) / RATE))
    detuned = [root * shift for root in (220, 277.2, 329.6, 440) for shift in (0.997, 1, 1.003)]
    pad = sum(np.sin(2 * np.pi * k * f * at + rng.uniform(0, 6)) / k for f in detuned for k in range(1, 12))
    yield "saw-tooth pad", 0.02 * pad * np.sqrt(np.sin(np.pi * at / SECONDS))


def spoken() -> Iterator[tuple[str, Wave]]:
    """Let espeak-ng speak, where it is installed."""
    program = shutil.which("espeak-ng")
    for voice in ("en", "en+f3", "de") if program else ():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([str(program), "-v", voice, "-w", f"{folder}/x.wav", SPEECH], check=True)
            yield f"speech ({voice})", read(f"{folder}/x.wav", sample_rate=RATE)[0]


def played(soundfont: Path | None) -> Iterator[tuple[str, Wave]]:
    """Let fluidsynth play a melody on every instrument of the list."""
    if soundfont is None or not shutil.which("fluidsynth"):
        return
    for name, (program, octaves) in PROGRAMS.items():
        yield f"{soundfont.stem}: {name}", play(soundfont, program, octaves)
    yield f"{soundfont.stem}: drum kit", play_drums(soundfont)


def verdicts(converter: Converter, wave: NDArray[np.floating], source: str) -> list[str]:
    """Return the kind of each warning."""
    lines = converter.check(np.atleast_2d(wave).astype(np.float32), RATE, source=source)
    starts = {start: kind for start, kind in KINDS.items() for line in lines if line.startswith(start)}
    kinds = list(dict.fromkeys(starts.values()))
    return kinds + ["pitch"] * (len(kinds) < len(lines))


def recordings(folders: tuple[Path, ...], domain: str) -> list[Wave]:
    paths = [path for folder in folders for path in find_audio([folder / domain])]
    return [np.atleast_2d(read(path, sample_rate=RATE, seconds=SECONDS)[0]) for path in paths]


def counted(converter: Converter, waves: list[NDArray[np.floating]], source: str) -> str:
    """Count the inputs that are warned of, and the kinds."""
    found = [verdicts(converter, wave, source) for wave in waves]
    kinds = [kind for kinds in found for kind in kinds]
    named = ", ".join(f"{kind} {kinds.count(kind)}" for kind in dict.fromkeys(kinds))
    return f"{sum(map(bool, found))} of {len(found)}" + (f" ({named})" if named else "")


def extra_time(converter: Converter, wave: NDArray[np.float32]) -> tuple[float, float]:
    """Return the seconds that converting takes, and those of them that the check takes."""
    first, second = converter.domains
    check = converter.domain_check(first)
    assert check is not None
    started = time.perf_counter()
    converter.convert(wave, RATE, to=second, source=first)
    whole = time.perf_counter() - started
    measured = converter.measure([wave], RATE, len(wave))
    image, _ = converter.imaging.to_image(torch.from_numpy(wave), measured.level_db)
    (tile,) = check.expect(converter.plan.tiles(measured.frames))[:1]
    started = time.perf_counter()
    check.meter.update(wave)
    check.add(image, tile.start)
    return whole, time.perf_counter() - started


@click.command()
@click.argument("model")
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--soundfont", "soundfonts", multiple=True, type=click.Path(exists=True, path_type=Path))
def main(model: str, folders: tuple[Path, ...], soundfonts: tuple[Path, ...]) -> None:
    """Print two Markdown tables: inputs warned of, of those given."""
    converter = audiotrans.load(model, device="cpu")
    domains = converter.domains
    waves = {domain: recordings(folders, domain) for domain in domains}
    click.echo(f"| held-out recordings | {' | '.join(f'{d} given as {d}' for d in domains)} | swapped |")
    click.echo("|---|---|---|---|")
    for name, change in (HARMLESS | HARMFUL).items():
        changed = {domain: [change(wave) for wave in waves[domain]] for domain in domains}
        right = [counted(converter, changed[domain], domain) for domain in domains]
        swapped = [
            counted(converter, changed[domain], other) for domain, other in zip(domains, domains[::-1], strict=True)
        ]
        click.echo(f"| {name} | {' | '.join(right)} | {' + '.join(swapped)} |")
    click.echo(f"\n| other sounds | given as {domains[0]} | given as {domains[1]} |\n|---|---|---|")
    sources = [made(), spoken(), *map(played, soundfonts or (None,))]
    for name, wave in (pair for source in sources for pair in source):
        kinds = [", ".join(verdicts(converter, wave, domain)) or "-" for domain in domains]
        click.echo(f"| {name} | {' | '.join(kinds)} |")
    whole, listening = extra_time(converter, waves[domains[0]][0])
    click.echo(f"\nListening takes {listening:.2f} s of {whole:.2f} s of converting: {listening / whole:.1%}.")


if __name__ == "__main__":
    main()
