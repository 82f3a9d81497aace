"""Measure the whole road from a sound to its translation, and print one table.

    python -m benchmarks.main_road --paired DIR --train DIR -o results.json

Figures without a model (round trips, seams) always run. The rest needs a model, and the paired figures a folder with
`violin/`, `piano/` and, if at hand, `notes/*.csv`. Nothing here may be used to choose a model: see compare_models.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import which

import click
import numpy as np
import torch

import audiotrans
from audiotrans import audio
from audiotrans.errors import AudiotransError
from audiotrans.evaluation.metrics import spectral
from audiotrans.recipe import Recipe
from audiotrans.spectrogram.imaging import AudioImaging, AudioSettings
from benchmarks import paired, rulers, scale
from benchmarks.command import convert
from benchmarks.table import Row, markdown, write_json

DATA = Path(__file__).resolve().parents[1] / "data"
RATE = 44_100

ROUND_TRIPS: dict[str, tuple[AudioSettings, str, float | None]] = {
    "magnitude_phase": (AudioSettings(representation="magnitude_phase"), "network", 60.0),
    "magnitude_phase, every 2nd column": (
        AudioSettings(representation="magnitude_phase", time_stride=2), "network", None,
    ),
    "magnitude_phase, every 4th column": (
        AudioSettings(representation="magnitude_phase", time_stride=4), "network", None,
    ),
    "log_magnitude": (AudioSettings(representation="log_magnitude"), "source", 40.0),
    "log_mel_gain": (AudioSettings(representation="log_mel_gain"), "source", 40.0),
}  # fmt: skip


class Identity(torch.nn.Module):
    """A model that changes nothing, with the stride and the reach of a real one."""

    stride = (8, 8)
    context_frames = 40
    local = True

    def noise_shape(self, image: torch.Tensor) -> tuple[int, int, int, int]:
        return image.shape[0], 0, image.shape[2], image.shape[3]

    def noise(self, image: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return image.new_zeros(self.noise_shape(image))

    def translate(self, image: torch.Tensor, source: str, target: str, noise: torch.Tensor | None) -> torch.Tensor:
        return image


class Blur(Identity):
    """A model whose every frame is a mean over its whole reach: it feels a tile that was cut too short."""

    def translate(self, image: torch.Tensor, source: str, target: str, noise: torch.Tensor | None) -> torch.Tensor:
        rows = image.flatten(0, 1)
        mean = torch.nn.functional.avg_pool1d(rows, 2 * self.context_frames + 1, 1, self.context_frames)
        return mean.reshape(image.shape)


def toy_converter(model: torch.nn.Module, settings: AudioSettings):
    from audiotrans.convert.converter import Converter

    return Converter(model, Recipe.model_construct(imaging=settings), "cpu")


def sounds(seconds: float | None = None) -> dict[str, np.ndarray]:
    """Read the two shipped sounds, repeated to fill the seconds if any are given."""
    waves = {name: audio.read(DATA / f"{name}.wav", sample_rate=RATE)[0] for name in ("violin", "piano")}
    if seconds is None:
        return waves
    samples = round(seconds * RATE)
    return {name: np.tile(wave, (1, math.ceil(samples / wave.shape[1])))[:, :samples] for name, wave in waves.items()}


def round_trip_rows() -> Iterator[Row]:
    for name, (settings, phase, bar) in ROUND_TRIPS.items():
        imaging = AudioImaging(settings)
        for sound, wave in sounds().items():
            image, context = imaging.to_image(torch.from_numpy(np.ascontiguousarray(wave)))
            back = imaging.from_image(image, context, phase=phase).numpy()
            yield Row("round trip", f"{name}, {phase} phase, {sound}.wav: SNR", spectral.snr_db(wave, back), "dB", bar)


def without_tiles(converter, wave: np.ndarray, to: str, phase: str | None = None) -> np.ndarray:
    """Convert in one piece: the same converter, its tiles longer than the sound."""
    plan, converter.plan = converter.plan, replace(converter.plan, core=converter.plan.core * 1000)
    try:
        return converter.convert(wave, RATE, to=to, phase=phase)
    finally:
        converter.plan = plan


def seam_rows() -> Iterator[Row]:
    wave = sounds(60.0)["violin"]
    for name in ("log_mel_gain", "log_magnitude"):
        converter = toy_converter(Identity(), AudioSettings(representation=name, phase="source"))
        # Against the input itself, not against a conversion in one piece: nothing of the converter is taken on trust.
        level = seam_level(converter, wave, wave, "piano")
        yield Row("seams", f"{name}, model that changes nothing: worst seam", level, "dB", None, -80)
    # What changes nothing comes back whole however it is cut; this does not.
    converter = toy_converter(Blur(), AudioSettings(phase="source"))
    level = seam_level(converter, without_tiles(converter, wave, "piano"), wave, "piano")
    yield Row(
        "seams", "model that blurs over its whole reach, tiles against one piece: worst seam", level, "dB", None, -80
    )


def seam_level(converter, reference: np.ndarray, wave: np.ndarray, to: str, phase: str | None = None) -> float:
    seams = [tile.begin for tile in converter.plan.tiles(wave.shape[1])][1:]
    return rulers.seam_level_db(reference, converter.convert(wave, RATE, to=to, phase=phase), seams)


def model_rows(converter) -> Iterator[Row]:
    """Strength 0, and the seams of the model itself (whose image-wide statistics, if any, differ between tiles)."""
    for target, (name, wave) in zip(reversed(converter.domains), sounds().items(), strict=True):
        back = converter.convert(wave, RATE, to=target, strength=0)
        yield Row("strength 0", f"{name}.wav to {target}: SNR", spectral.snr_db(wave, back), "dB", 40)
        # With the source's phase: phases that are estimated differ from piece to piece whatever the model does.
        long = sounds(30.0)[name]
        level = seam_level(converter, without_tiles(converter, long, target, "source"), long, target, "source")
        yield Row("seams", f"the model, {name} to {target}, source phase: tiles against one piece", level, "dB")


def speed_rows(converter, model: str, seconds: float, threads: int) -> Iterator[Row]:
    wave = sounds(seconds)["violin"]
    wave = wave if len(wave) == 2 else np.repeat(wave[:1], 2, axis=0)
    target = converter.domains[1]
    converter.convert(wave[:, :RATE], RATE, to=target)  # the first call pays for loading kernels
    began = time.perf_counter()
    converter.convert(wave, RATE, to=target)
    figure = seconds / (time.perf_counter() - began)
    label = f"{seconds:g} s of stereo on {threads} thread{'s' if threads > 1 else ''}"
    yield Row("speed", f"{label}: times real time", figure, "x", 1)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.wav"
        audio.write(source, wave, RATE)
        taken = convert(source, Path(folder) / "out.wav", "--model", model, to=target, threads=threads)
    yield Row("speed", f"{label}, `audiotrans convert` with its start", seconds / taken.wall, "x")


@dataclass
class Report:
    """Rows as they come, and a note for everything that was passed over."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, part: Callable[[], Iterator[Row]]) -> None:
        began = time.perf_counter()
        try:
            for row in part():
                self.rows.append(row)
        except AudiotransError as error:
            self.skip(f"{name}: {error}")
        click.echo(f"{name}: {time.perf_counter() - began:.0f} s", err=True)

    def skip(self, reason: str) -> None:
        self.notes.append(reason)
        click.echo(f"skipped: {reason}", err=True)


def usable_soundfont(path: Path | None, report: Report) -> Path | None:
    if path is not None and (which("fluidsynth") is None or not path.is_file()):
        report.skip(f"soundfont scale: the program fluidsynth or the file {path} is not here")
        return None
    return path


@click.command()
@click.option("--model", default="violin-piano", show_default=True, help="Name of a shipped model, or a weights file.")
@click.option("--paired", "pairs", type=click.Path(path_type=Path), help="Folder with violin/, piano/, notes/.")
@click.option("--train", "training", type=click.Path(path_type=Path), help="Folder with violin/, piano/ for the EQ.")
@click.option("--soundfont", type=click.Path(path_type=Path), help="Also render the scale from this SF2 file.")
@click.option("--seconds", default=60.0, show_default=True, help="Length of the sound that speed is measured on.")
@click.option("--threads", default=1, show_default=True)
@click.option("--quick", is_flag=True, help="Three clips, and 15 s for the speed.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="JSON file for the figures.")
def main(
    model: str, pairs: Path | None, training: Path | None, soundfont: Path | None, seconds: float, threads: int,
    quick: bool, output: Path | None,
) -> None:  # fmt: skip
    """Measure the road from sound to sound: round trips, seams, distances, pitch, speed."""
    torch.set_num_threads(threads)
    report, limit = Report(), 3 if quick else None
    report.add("round trips", round_trip_rows)
    report.add("seams", seam_rows)
    try:
        converter = audiotrans.load(model, device="cpu")
    except AudiotransError as error:
        report.skip(f"everything that needs a model: {error}")
    else:
        report.add("the model's strength 0 and seams", lambda: model_rows(converter))
        font = usable_soundfont(soundfont, report)
        report.add("scale", lambda: scale.rows(converter, font))
        if pairs is None or not pairs.is_dir():
            report.skip(f"paired figures: {'no --paired folder was given' if pairs is None else f'no folder {pairs}'}")
        else:
            report.add("paired", lambda: paired.rows(converter, pairs, training, limit))
        report.add("speed", lambda: speed_rows(converter, model, min(seconds, 15.0) if quick else seconds, threads))
    click.echo(markdown(report.rows))
    if output is not None:
        write_json(report.rows, report.notes, output)


if __name__ == "__main__":
    main()
