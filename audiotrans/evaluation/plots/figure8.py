"""The paper's Figure 8: one column for each sound of a cycle folder, magnitudes and phases of both channels.

The paper prints magnitudes times ten and phases over linear frequency; below them the same magnitudes stand in
decibels over a logarithmic axis, where the notes can be seen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from audiotrans.audio import read
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.plots import canvas
from audiotrans.evaluation.plots.canvas import COLOUR_MAP, RANGE_DB, Array
from audiotrans.spectrogram.stft import STFT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Spectrum = npt.NDArray[np.complexfloating[Any, Any]]

PHASE_MAP = "twilight"
"""Comes back to where it began, as phases do, and is even in lightness on both ways."""

MAGNITUDE_FACTOR = 10.0
"""The paper's, "for better visibility"."""

_N_FFT = 2048
_HOP_LENGTH = 512
_SIDES = {1: ("",), 2: ("left ", "right ")}


@dataclass(frozen=True)
class Column:
    """One sound of the figure.

    Attributes:
        title: such as ``V→P``.
        path: of the sound.
    """

    title: str
    path: Path


def figure8(
    folder: str | Path,
    path: str | Path,
    *,
    clips: Sequence[str] = (),
    start_seconds: float = 0.0,
    seconds: float = 6.0,
    scale: str = "log",
) -> Path:
    """Draw the paper's Figure 8 from a folder that `audiotrans cycle` wrote.

    Args:
        folder: with cycle.json.
        path: of the picture; its folder must exist.
        clips: names of the clips to show, one for each domain or one that both have; by default the first that both
            have, else the first of each.
        start_seconds: where the drawn piece begins.
        seconds: how long it is.
        scale: of the frequency axis of the rows in decibels: ``log``, ``mel`` or ``linear``.

    Returns:
        The path.

    Raises:
        UsageError: for an unknown clip or scale.
        AudiotransError: if the folder or a sound cannot be read, or the picture cannot be written.
    """
    values = _read_cycle(Path(folder))
    shown = _clips(values, clips)
    columns = _columns(Path(folder), values, shown)
    waves = [read(column.path, start_seconds=start_seconds, seconds=seconds) for column in columns]
    if len({rate for _, rate in waves}) > 1:
        raise AudiotransError(f"{folder}: the clips to draw have different sample rates; choose others with --clip")
    letters = _letters(values["domains"])
    about = ", ".join(f"{letters[domain]}: {domain} (clip {clip})" for domain, clip in shown.items())
    figure = _draw([column.title for column in columns], [wave for wave, _ in waves], waves[0][1], scale)
    figure.suptitle(f"{about}; model {values.get('model', '')}")
    return canvas.save(figure, path)


def _read_cycle(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / "cycle.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise AudiotransError(f"{folder} holds no readable cycle.json: give a folder of audiotrans cycle") from None
    if not isinstance(values, dict) or values.get("format") != "audiotrans-cycle" or not values.get("items"):
        raise AudiotransError(f"{folder / 'cycle.json'} is not what audiotrans cycle writes")
    return values


def _clips(values: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, str]:
    """Choose one clip of each domain that has any: by domain, in the model's order."""
    names: dict[str, list[str]] = {domain: [] for domain in values["domains"]}
    for item in values["items"]:
        if item["clip"] not in names[item["domain"]]:
            names[item["domain"]].append(item["clip"])
    names = {domain: found for domain, found in names.items() if found}
    known = {clip for found in names.values() for clip in found}
    for clip in wanted:
        if clip not in known:
            raise UsageError(f"no clip {clip!r}: there are {', '.join(sorted(known))}")
    shared = [clip for clip in next(iter(names.values())) if all(clip in found for found in names.values())]
    order = [*wanted, *shared]
    return {domain: next((clip for clip in order if clip in found), found[0]) for domain, found in names.items()}


def _letters(domains: Sequence[str]) -> dict[str, str]:
    """Shorten the domains' names to capital letters, where those differ."""
    letters = {domain: domain[:1].upper() for domain in domains}
    return letters if len(set(letters.values())) == len(domains) else {domain: domain for domain in domains}


def _columns(folder: Path, values: Mapping[str, Any], shown: Mapping[str, str]) -> list[Column]:
    """Order the sounds as the paper has them: both inputs, reconstructions, translations, and then the cycles."""
    letters = _letters(values["domains"])
    last_first = list(reversed(values["domains"]))  # the paper begins with the piano
    found = []
    for item in values["items"]:
        if shown.get(item["domain"]) == item["clip"]:
            steps = values.get("steps", {}).get(item["chain"]) or item["chain"].split("-")
            rank = (len(steps), len(set(steps)), last_first.index(item["domain"]))
            found.append((rank, Column("→".join(letters[step] for step in steps), folder / item["sound"])))
    return [column for _, column in sorted(found, key=lambda pair: pair[0])]


def _draw(titles: Sequence[str], waves: Sequence[Array], sample_rate: int, scale: str) -> Figure:
    channels = min(2, *(len(wave) for wave in waves)) if len(waves) > 1 else min(2, len(waves[0]))
    spectra = [_spectrum(wave[:channels]) for wave in waves]
    loudest = max(float(np.abs(spectrum).max()) for spectrum in spectra) or 1.0
    hertz = np.arange(_N_FFT // 2 + 1) * sample_rate / _N_FFT
    rows = [(kind, channel) for kinds in _BLOCKS for channel in range(channels) for kind in kinds]
    figure, axes = canvas.even_grid(len(rows), len(titles))
    for (kind, channel), line in zip(rows, axes, strict=True):
        for axis, spectrum, wave in zip(line, spectra, waves, strict=True):
            picture = kind.show(spectrum[channel] / (loudest if kind is _DECIBELS else 1.0))
            seconds = wave.shape[1] / sample_rate
            drawn = canvas.draw_spectrogram(
                axis, picture, hertz, seconds, kind.limits,
                scale=scale if kind is _DECIBELS else "linear", colours=kind.colours,
            )  # fmt: skip
        bar = figure.colorbar(drawn, ax=list(line), label=kind.bar, aspect=12, pad=0.005)
        if kind is _PHASE:
            bar.set_ticks([-math.pi, 0.0, math.pi], labels=["-π", "0", "π"])
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    sides = [_SIDES[channels][channel] + kind.title for kind, channel in rows]
    canvas.label_grid(axes, [f"{side}\nfrequency (Hz)" for side in sides])
    return figure


def _spectrum(wave: Array) -> Spectrum:
    """Return the complex spectrum (channels, bins, frames), a full-scale sine at 1."""
    stft = STFT(_N_FFT, _HOP_LENGTH)
    samples = torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))
    spectrum: Spectrum = (stft.forward(samples) * (4.0 / _N_FFT)).numpy()
    return spectrum


@dataclass(frozen=True)
class _Kind:
    """One kind of row: its title, what it shows of a spectrum (bins, frames), its colours and their bar."""

    title: str
    show: Callable[[Spectrum], Array]
    limits: tuple[float, float]
    colours: str
    bar: str


def _decibels(spectrum: Spectrum) -> Array:
    levels: Array = 20.0 * np.log10(np.maximum(np.abs(spectrum), 1e-6))
    return levels


_MAGNITUDE = _Kind(
    "magnitude x 10", lambda spectrum: MAGNITUDE_FACTOR * np.abs(spectrum), (0.0, 1.0), COLOUR_MAP, "magnitude x 10"
)
_PHASE = _Kind("phase", np.angle, (-math.pi, math.pi), PHASE_MAP, "phase (rad)")
_DECIBELS = _Kind("log magnitude", _decibels, (-RANGE_DB, 0.0), COLOUR_MAP, "dB re loudest")
_BLOCKS = ((_MAGNITUDE, _PHASE), (_DECIBELS,))
"""The paper's rows, channel by channel, and then the readable ones."""
