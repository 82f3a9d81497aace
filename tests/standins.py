"""Stand-ins for a trained model: they do something simple and known, with the attributes that converting asks for."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from audiotrans.convert.converter import Converter
from audiotrans.convert.stream import StreamConverter
from audiotrans.convert.tiles import TileJoiner, cut_tiles
from audiotrans.recipe import Recipe
from audiotrans.spectrogram.imaging import AudioSettings

RATE = 16_000

SMALL = {"sample_rate": RATE, "n_fft": 512, "hop_length": 128, "rows": 64}
"""An imaging small enough for tests: 8 ms between columns."""


class Identity(nn.Module):
    """Returns its input."""

    stride = (4, 4)
    context_frames = 8
    local = True

    def noise_shape(self, image: Tensor) -> tuple[int, int, int, int]:
        return (image.shape[0], 1, image.shape[2], image.shape[3])

    def noise(self, image: Tensor, generator: torch.Generator) -> Tensor | None:
        return torch.randn(self.noise_shape(image), generator=generator)

    def translate(self, image: Tensor, source: str, target: str, noise: Tensor | None) -> Tensor:
        del source, target, noise
        return image.clone()


class Silencer(Identity):
    """Takes no noise and adds ``step`` to the image: with 100 dB of range, 50 dB per unit."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def noise(self, image: Tensor, generator: torch.Generator) -> Tensor | None:
        del image, generator
        return None

    def translate(self, image: Tensor, source: str, target: str, noise: Tensor | None) -> Tensor:
        assert noise is None
        return image if source == target else image + self.step


class Local(Identity):
    """Looks `context_frames` far, works on the model's grid and hears its noise: wrong tiles cannot hide."""

    def translate(self, image: Tensor, source: str, target: str, noise: Tensor | None) -> Tensor:
        del source, target
        assert noise is not None
        heard = image + 0.05 * noise.to(image)
        columns = heard.shape[-1]
        padded = nn.functional.pad(heard, (0, -columns % 4, 0, 0), mode="replicate")
        latent = nn.functional.avg_pool2d(padded, (1, 4))  # four columns share one latent position
        blurred = nn.functional.avg_pool2d(latent, (1, 3), stride=1, padding=(0, 1), count_include_pad=False)
        out = nn.functional.interpolate(blurred, scale_factor=(1.0, 4.0), mode="nearest")
        return (0.5 * (image + out[..., :columns])).clamp(-1, 1)


def settings(**changes: Any) -> AudioSettings:
    """Build the small imaging with some settings changed."""
    return AudioSettings(**{**SMALL, **changes})


def converter(
    model: nn.Module,
    *,
    articulation: tuple[float, float] = (1.0, 1.0),
    shifts: int = 1,
    vibrato: tuple[float, float] = (0.0, 0.0),
    remove_vibrato: tuple[float, float] = (0.0, 0.0),
    **changes: Any,
) -> Converter:
    """Build a converter of violin and piano around a stand-in; what is given in pairs is by target."""
    by_target: dict[str, tuple[float, float]] = {
        "articulation": articulation,
        "shifts": (shifts, shifts),
        "vibrato": vibrato,
        "remove_vibrato": remove_vibrato,
    }
    pairs: dict[str, Any] = {name: SimpleNamespace(a=pair[0], b=pair[1]) for name, pair in by_target.items()}
    recipe = Recipe.model_construct(imaging=settings(**changes), **pairs)
    return Converter(model, recipe)  # type: ignore[arg-type]


def tone(seconds: float, channels: int = 1, rate: int = RATE, gain: float = 0.3) -> np.ndarray:
    """Make a vibrating, decaying chord; every channel its own pitch."""
    at = np.arange(round(seconds * rate)) / rate
    pitches = 220 * 1.26 ** np.arange(channels)[:, None]
    chord = sum(np.sin(2 * np.pi * k * pitches * at + 3 * np.sin(30 * at)) / k for k in range(1, 6))
    return (gain * chord * np.exp(-(at % 0.7) * 3)).astype(np.float32)


def at_one_level(model, wave, rate, level_db, to="piano", **asked):
    """Convert a wave with images that are relative to one level, as a stream's are that was given it."""
    options, kept = model.options(to, **asked), []
    found = model.measure([wave], rate, len(wave), kept.append, untouched=not options.strength)
    return np.concatenate(list(model.stream(kept, replace(found, level=level_db), options)), axis=1)


def error_db(got: np.ndarray, wanted: np.ndarray) -> float:
    """Return the level of the difference re ``wanted``."""
    return 20 * math.log10(np.linalg.norm(got - wanted) / np.linalg.norm(wanted) + 1e-12)


def tiled(blocks, length, plan, convert):
    """Convert a stream tile by tile with a function of a piece and its place."""
    joiner = TileJoiner(length, plan)
    for tile, piece in cut_tiles(blocks, length, plan):
        yield joiner.join(tile, convert(piece, tile.start))


def streamed(model, wave, rate, request):
    """Push a wave through a stream in small blocks; the stream keeps to the lag that it says."""
    level_db = model.measure([wave], rate, len(wave)).level_db
    stream = StreamConverter(model, rate, len(wave), request, level_db=level_db, chunk_seconds=0.2)
    parts, given_out = [], 0
    for start in range(0, wave.shape[1], 777):
        parts.append(stream.push(wave[:, start : start + 777]))
        given_out += parts[-1].shape[1]
        assert given_out >= min(start + 777, wave.shape[1]) - stream.delay_samples
    return np.concatenate([*parts, stream.finish()], axis=1)


def pushed(stage, wave, cuts):
    """Push a wave, cut at some places, through a stage that takes blocks; it keeps to the lag that it says."""
    parts, taken, given_out = [], 0, 0
    for block in np.split(wave, sorted(min(cut, wave.shape[1]) for cut in cuts), axis=1):
        parts.append(stage.push(block))
        taken, given_out = taken + block.shape[1], given_out + parts[-1].shape[1]
        assert taken - stage.delay_samples <= given_out <= taken
    return np.concatenate([*parts, stage.finish()], axis=1)
