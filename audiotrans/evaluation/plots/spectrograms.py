"""Figures of sounds: spectrograms, sample sheets, the paper's Figures 8 and 9, the strips of the listening page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import colormaps
from PIL import Image

from audiotrans.audio import find_audio, read
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.plots import canvas
from audiotrans.evaluation.plots.canvas import COLOUR_MAP, RANGE_DB, Array
from audiotrans.files import from_json
from audiotrans.spectrogram.stft import STFT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pixels = npt.NDArray[np.uint8]
Spectrum = npt.NDArray[np.complexfloating[Any, Any]]

PHASE_MAP = "twilight"
"""Comes back to where it began, as phases do, and is even in lightness on both ways."""

MAGNITUDE_FACTOR = 10.0
"""The paper's, "for better visibility"."""

_N_FFT = 2048
_HOP_LENGTH = 512
_SIDES = {1: ("",), 2: ("left ", "right ")}

FIGURE_SECONDS = 60.0
MOST_PANELS = 64
_ACROSS = 4
_MOST_COLUMNS = 1600

STRIP_HZ = (50.0, 20_000.0)
"""Lowest and highest edge of every strip, whatever the sound's rate: strips under each other compare."""

STRIP_ROWS = 192
STRIP_COLUMNS = 1200

_COLOURS = 96  # steps of less than 1 dB, which no eye parts; few enough for small files
_CHUNK_SECONDS = 30.0
_FLOOR_POWER = 1e-12


def spectrogram_figure(
    waves: Mapping[str, tuple[Array, int]], path: str | Path, *, columns: int = 1, scale: str = "log"
) -> Path:
    """Draw sounds as spectrograms on one scale of colours, to compare input and output.

    Levels are relative to the loudest bin of all sounds; only the first minute of a longer sound is drawn.

    Args:
        waves: title, and wave of shape (channels, samples) with its sample rate in Hz.
        path: of the figure; its folder must exist.
        columns: panels side by side.
        scale: of the frequency axis: ``log``, ``mel`` or ``linear``.

    Returns:
        The path.

    Raises:
        UsageError: for an unknown scale.
        AudiotransError: where there is no sound, one is empty, or the file cannot be written.
    """
    spectra = {name: log_spectrogram(name, wave, rate) for name, (wave, rate) in waves.items()}
    if not spectra:
        raise AudiotransError("there is no sound to draw; give at least one")
    loudest = max(float(decibels.max()) for decibels, _, _ in spectra.values())
    figure, axes = canvas.grid(len(spectra), columns)
    for axis, (name, (decibels, hertz, seconds)) in zip(axes, spectra.items(), strict=True):
        drawn = canvas.draw_spectrogram(axis, decibels - loudest, hertz, seconds, (-RANGE_DB, 0.0), scale=scale)
        axis.set_title(name)
    canvas.label_outer(axes, columns)
    figure.colorbar(drawn, ax=axes, label="level (dB re loudest)")
    return canvas.save(figure, path)


def sound_files_figure(
    sounds: Sequence[str | Path],
    path: str | Path,
    *,
    columns: int | None = None,
    start_seconds: float = 0.0,
    seconds: float = FIGURE_SECONDS,
    scale: str = "log",
) -> Path:
    """Draw sound files by `spectrogram_figure`, each under its file's name.

    Args:
        sounds: files, folders and patterns.
        path: of the figure; its folder must exist.
        columns: panels side by side; None makes even rows of 4 at most.
        start_seconds: where the drawn piece begins.
        seconds: how long it is, a minute at most.
        scale: of the frequency axis: ``log``, ``mel`` or ``linear``.

    Returns:
        The path.

    Raises:
        UsageError: if no sound is found, or there are more than a figure can hold.
        AudiotransError: if a sound cannot be read or the figure cannot be written.
    """
    files = find_audio(sounds)
    if len(files) > MOST_PANELS:
        raise UsageError(f"{len(files)} sounds: a figure holds {MOST_PANELS} at most")
    same = len({file.name for file in files}) < len(files)
    titles = [f"{file.parent.name}/{file.name}" if same else file.name for file in files]
    piece = min(seconds, FIGURE_SECONDS)
    waves = {}
    for title, file in zip(titles, files, strict=True):
        name = title if title not in waves else str(file)
        waves[name] = read(file, start_seconds=start_seconds, seconds=piece)
    even = math.ceil(len(files) / math.ceil(len(files) / _ACROSS))
    return spectrogram_figure(waves, path, columns=columns or even, scale=scale)


def log_spectrogram(name: str, wave: Array, sample_rate: int) -> tuple[Array, Array, float]:
    """Compute the log-magnitude spectrogram of a sound's first minute.

    Args:
        name: of the sound, for messages.
        wave: shape (channels, samples); the mean over the channels is taken.
        sample_rate: Hz.

    Returns:
        dB of shape (bins, columns), Hz of the bins, and the seconds that are drawn.

    Raises:
        AudiotransError: where the sound is empty.
    """
    if wave.ndim != 2 or 0 in wave.shape:
        raise AudiotransError(f"sound {name!r} has shape {wave.shape}; wanted is (channels, samples), not empty")
    cut = wave[:, : math.ceil(FIGURE_SECONDS * sample_rate)]
    n_fft = _window(sample_rate)
    spectrum = STFT(n_fft, n_fft // 8).forward(torch.from_numpy(cut.mean(axis=0, dtype=np.float32)))
    power = _pool_columns(spectrum.abs().square().numpy())
    hertz = np.arange(len(power)) * sample_rate / n_fft
    return 10.0 * np.log10(np.maximum(power, 1e-12)), hertz, cut.shape[1] / sample_rate


def _pool_columns(power: Array) -> Array:
    """Keep the loudest of neighbouring frames, so that short attacks stay visible where pixels are few."""
    factor = math.ceil(power.shape[1] / _MOST_COLUMNS)
    pooled: Array = np.maximum.reduceat(power, np.arange(0, power.shape[1], factor), axis=1)
    return pooled


def _window(sample_rate: int) -> int:
    """Return about 93 ms in samples: long enough to part a violin's lowest harmonics, short enough for attacks."""
    samples: int = 2 ** max(6, round(math.log2(sample_rate * 0.093)))
    return samples


def sample_sheet(
    images: Mapping[str, Array],
    path: str | Path,
    row_frequencies: Array,
    seconds_per_frame: float,
    *,
    columns: int = 4,
) -> Path:
    """Draw several spectrograms as one PNG, on common axes and one scale of colours.

    Values within [-1, 1] are read as what the model sees, and the colour bar says so; all others are read as dB and
    shown from the loudest value of all down to 80 dB below it.

    Args:
        images: title and image of shape (c, rows, frames); c > 1 gives a panel for every channel.
        path: of the PNG; its folder must exist.
        row_frequencies: Hz of each row, ascending, shape (rows,).
        seconds_per_frame: width of one frame.
        columns: panels side by side.

    Returns:
        The path.

    Raises:
        AudiotransError: where there is no image, a shape does not fit, or the file cannot be written.
    """
    panels = _panels(images, row_frequencies)
    label, low, high = _colour_scale([panel for _, panel in panels])
    figure, axes = canvas.grid(len(panels), columns)
    for axis, (title, panel) in zip(axes, panels, strict=True):
        drawn = canvas.draw_spectrogram(axis, panel, row_frequencies, panel.shape[1] * seconds_per_frame, (low, high))
        axis.set_title(title)
    figure.colorbar(drawn, ax=axes, label=label)
    return canvas.save(figure, path)


def _panels(images: Mapping[str, Array], row_frequencies: Array) -> list[tuple[str, Array]]:
    """Split images into titled spectrograms (rows, frames), one for each channel."""
    panels: list[tuple[str, Array]] = []
    for name, image in images.items():
        if image.ndim != 3 or image.shape[1] != len(row_frequencies) or 0 in image.shape:
            raise AudiotransError(
                f"image {name!r} has shape {image.shape}; wanted is (channels, {len(row_frequencies)} rows, frames)"
            )
        titles = [name] if len(image) == 1 else [f"{name}, channel {index + 1}" for index in range(len(image))]
        panels.extend(zip(titles, image, strict=True))
    if not panels:
        raise AudiotransError("there is no image to draw; give at least one")
    return panels


def _colour_scale(panels: Sequence[Array]) -> tuple[str, float, float]:
    low = min(float(panel.min()) for panel in panels)
    high = max(float(panel.max()) for panel in panels)
    if -1.0 <= low and high <= 1.0:
        return "image value (-1 floor, 1 loudest)", -1.0, 1.0
    return "level (dB)", max(low, high - RANGE_DB) if high > low else high - RANGE_DB, high


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
    """Draw the paper's Figure 8: a column for each sound of a cycle folder, magnitudes and phases of both channels.

    The paper prints magnitudes times ten and phases over linear frequency; below them stand the same magnitudes in
    decibels over a logarithmic axis, where the notes can be seen.

    Args:
        folder: that `audiotrans cycle` wrote, with cycle.json.
        path: of the figure; its folder must exist.
        clips: names of the clips to show, one for each domain or one that both have; by default the first that both
            have, else the first of each.
        start_seconds: where the drawn piece begins.
        seconds: how long it is.
        scale: of the frequency axis of the rows in decibels: ``log``, ``mel`` or ``linear``.

    Returns:
        The path.

    Raises:
        UsageError: for an unknown clip or scale.
        AudiotransError: if the folder or a sound cannot be read, or the figure cannot be written.
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
        values = from_json((folder / "cycle.json").read_text(encoding="utf-8"))
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
            shown = kind.show(spectrum[channel] / (loudest if kind is _DECIBELS else 1.0))
            seconds = wave.shape[1] / sample_rate
            drawn = canvas.draw_spectrogram(
                axis, shown, hertz, seconds, kind.limits,
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


def figure9(
    sound: str | Path,
    path: str | Path,
    *,
    start_seconds: float = 0.0,
    seconds: float = 3.0,
    channel: int = 1,
    bare: bool = False,
) -> Path:
    """Draw the paper's Figure 9: the phase of a sound, -pi as 0 (black) and pi as 255 (white).

    Args:
        sound: a sound file.
        path: of the figure; its folder must exist.
        start_seconds: where the drawn piece begins.
        seconds: how long it is.
        channel: which channel, from 1.
        bare: write the 8-bit pixels alone, one for each bin and frame, without axes; PNG only.

    Returns:
        The path.

    Raises:
        UsageError: for a channel that the sound does not have, or a bare SVG.
        AudiotransError: if the sound cannot be read or the figure cannot be written.
    """
    wave, rate = read(sound, start_seconds=start_seconds, seconds=seconds)
    if not 1 <= channel <= len(wave):
        raise UsageError(f"channel {channel}: {sound} has {len(wave)}, counted from 1")
    stft = STFT()
    pixels = phase_pixels(wave[channel - 1], stft)
    if bare:
        return canvas.save_image(Image.fromarray(np.ascontiguousarray(pixels[::-1])), path)
    figure, (axis,) = canvas.grid(1, 1, panel_height=6.0)
    hertz = np.arange(stft.bins) * rate / stft.n_fft
    shown = pixels.astype(np.float64)
    drawn = canvas.draw_spectrogram(
        axis, shown, hertz, len(wave[0]) / rate, (0.0, 255.0), scale="linear", colours="gray"
    )
    side = "" if len(wave) == 1 else f", {('left', 'right')[channel - 1] if len(wave) == 2 else f'channel {channel}'}"
    axis.set_title(f"Phase of {Path(sound).name}{side}")
    bar = figure.colorbar(drawn, ax=axis, label="8-bit value (phase in rad)")
    bar.set_ticks([0.0, 127.5, 255.0], labels=["0 (-π)", "127.5 (0)", "255 (π)"])
    return canvas.save(figure, path)


def phase_pixels(wave: npt.NDArray[np.float32], stft: STFT) -> Pixels:
    """Convert the phases of a wave to 8-bit numbers.

    Args:
        wave: shape (samples,).
        stft: the transform.

    Returns:
        Shape (bins, frames), the lowest frequency first: 0 for -pi, 255 for pi, to the nearest.
    """
    phase = torch.angle(stft.forward(torch.from_numpy(wave[None])))[0].double().numpy()
    pixels: Pixels = np.rint((phase + math.pi) * (255.0 / (2.0 * math.pi))).clip(0, 255).astype(np.uint8)
    return pixels


def strip_levels(wave: Array, sample_rate: int) -> Array:
    """Compute a spectrogram for the listening page, on a logarithmic frequency axis.

    A strip has no axes: the page draws them, so that their text stays readable on a phone and follows the page's
    colours, and a place in the strip is a time.

    Args:
        wave: shape (channels, samples), not empty.
        sample_rate: in Hz.

    Returns:
        dB of shape (`STRIP_ROWS`, columns), the lowest frequency first; at most `STRIP_COLUMNS` columns, of equal
        width, which cover the sound from its first sample to its last. 0 dB is a bin of power 1.

    Raises:
        AudiotransError: for an empty wave.
    """
    if wave.ndim != 2 or 0 in wave.shape:
        raise AudiotransError(f"sound has shape {wave.shape}; wanted is (channels, samples), not empty")
    n_fft = _window(sample_rate)
    samples = wave.shape[1]
    long = samples / (n_fft // 8) > 4 * STRIP_COLUMNS
    hop = n_fft // 2 if long else n_fft // 8
    columns = min(STRIP_COLUMNS, max(1, samples // hop))
    levels = np.full((STRIP_ROWS, columns), 10.0 * math.log10(_FLOOR_POWER))
    for frame, power in _powers(wave, n_fft, hop, round(_CHUNK_SECONDS * sample_rate)):
        rows = 10.0 * np.log10(np.maximum(_pool_rows(power, sample_rate, n_fft), _FLOOR_POWER))
        at = np.minimum((frame + np.arange(rows.shape[1])) * hop * columns // samples, columns - 1)
        for column in np.unique(at):
            # The loudest of the frames that share a column, so that short attacks stay visible.
            levels[:, column] = np.maximum(levels[:, column], rows[:, at == column].max(axis=1))
    return levels


def save_strip(levels: Array, path: Path, loudest_db: float) -> Path:
    """Write a strip as a PNG.

    Args:
        levels: from `strip_levels`.
        path: of the PNG; its folder must exist.
        loudest_db: level of the lightest colour; the darkest is `RANGE_DB` below it.

    Returns:
        The path.

    Raises:
        AudiotransError: the file cannot be written.
    """
    share = np.clip((levels - loudest_db) / RANGE_DB + 1.0, 0.0, 1.0)
    image = Image.fromarray(np.rint(share[::-1] * (_COLOURS - 1)).astype(np.uint8))
    image.putpalette(_palette(_COLOURS).tobytes())
    return canvas.save_image(image, path)


def colour_stops(count: int = 9) -> list[str]:
    """Return the colours of a strip from the darkest to the lightest, as ``#rrggbb``, for a bar beside it."""
    return ["#" + bytes(colour).hex() for colour in _palette(count)]


def _palette(count: int) -> npt.NDArray[np.uint8]:
    colours = np.asarray(colormaps[COLOUR_MAP](np.linspace(0.0, 1.0, count)))
    palette: npt.NDArray[np.uint8] = np.rint(colours[:, :3] * 255).astype(np.uint8)
    return palette


def _powers(wave: Array, n_fft: int, hop: int, chunk: int) -> Iterator[tuple[int, Array]]:
    """Yield the number of the first frame and the power (bins, frames), piece by piece: an hour must fit in memory."""
    stft = STFT(n_fft, hop)
    step = max(1, chunk // hop) * hop
    for start in range(0, wave.shape[1], step):
        begin = max(0, start - n_fft)  # a multiple of the hop; the margin keeps the piece's ends out of its frames
        piece = wave[:, begin : start + step + n_fft].mean(axis=0, dtype=np.float32)
        power = stft.forward(torch.from_numpy(piece)).abs().square().numpy()
        first = (start - begin) // hop
        yield start // hop, power[:, first : first + step // hop]


def _pool_rows(power: Array, sample_rate: int, n_fft: int) -> Array:
    """Take each row's loudest bin; between bins, where rows are finer than they are, draw a line."""
    edges = np.geomspace(*STRIP_HZ, STRIP_ROWS + 1) * n_fft / sample_rate  # in bins
    rows = np.full((STRIP_ROWS, power.shape[1]), _FLOOR_POWER)
    for row, (low, high) in enumerate(pairwise(edges)):
        first, last = math.ceil(low), math.ceil(high)
        if last >= len(power):
            break
        if last > first:
            rows[row] = power[first:last].max(axis=0)
        else:
            part = (low + high) / 2 - (first - 1)
            rows[row] = (1 - part) * power[first - 1] + part * power[first]
    return rows
