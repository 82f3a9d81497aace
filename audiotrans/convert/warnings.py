"""Warnings of an input that is unlike a model's training data: pitch, level, clipping, silence, another domain.

A model's file holds statistics of its training data (`TrainingStatistics`). While an input is converted, features of
its images, and its samples themselves, are gathered (`DomainCheck`) and compared with them (`findings`).

Features are measured in windows of three seconds: balance, attacks and decays, tones, and the lowest partial. They are
taken from what `AudioImaging.display_db` shows of an image, so that they serve every representation, and relative to
the window's own level, so that loud and soft recordings are alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor

from audiotrans.convert.tiles import Tile
from audiotrans.errors import AudiotransError
from audiotrans.spectrogram.imaging import AudioImaging

Matrix = NDArray[np.float64]

VERSION = 1
"""Of the statistics as files hold them."""

SHRINK = 0.1
"""Share of every correlation that is given up: a few hundred windows of a few players do not know them better."""

WINDOW_SECONDS = 3.0

LEAST_SHARE = 1 / 3
"""Shortest sound, as a share of a window, of which attacks and decays can be told: one second."""

SOUNDING_DB = -65.0
"""A column whose loudest row lies above this (re the image's top) sounds: some 45 dB below that of usual music."""

FLOOR_DB = 60.0
"""Bands are looked at this far below the window's loudest band, and no further: below lies the room, not the music."""

LOWEST_BAND, BANDS = 100.0, 14
"""Half octaves from here (Hz): balances below tell rooms and microphones apart, not instruments."""

DETAIL_ROWS = 15
"""Rows whose mean is the envelope that partials stand out of."""

PARTIAL_DB, PARTIAL_HEIGHT_DB, LOWEST_PARTIAL = 20.0, 6.0, 40.0
"""A column's lowest partial: its lowest peak within 20 dB of its loudest row, 6 dB above its envelope, over 40 Hz."""

GROUPS: dict[str, tuple[str, ...]] = {
    "balance of low and high": tuple(f"cepstrum_{order}" for order in range(6)),
    "attacks and decays": (
        "rise_mean", "rise_95", "rise_99", "fall_mean", "fall_95", "slope_10", "slope_50", "slope_90", "flutter",
        "level_spread", "level_range",
    ),
    "tones": ("partials_low", "partials_high", "steady_short", "steady_long"),
}  # fmt: skip
"""Features by what musicians would call them."""

NAMES: tuple[str, ...] = tuple(name for names in GROUPS.values() for name in names)

MOST_TILES = 50
"""Tiles looked at of an input, evenly spread: ten minutes of sound, however long it is."""

CLIPPED_SHARE = 2e-4
"""Share of clipped samples that is worth a word: nine milliseconds in a minute of a mono file are not."""

LEVEL_MARGIN_DB = 30.0
"""Levels this far outside those of the training data: images are made at the sound's own level, so little more than
the noise of a soft recording, or the wrong scale of a loud one, is at stake."""

SILENCE_SHARE = 0.35
"""An input that sounds for less than this share of the least that a training recording does is mostly silence."""

PITCH_SHARE = 0.4
"""Share of the columns that may lie outside the trained range of pitch."""

PITCH_MARGIN = 2 ** (2 / 12)
"""Two semitones, by which the trained range is widened (and by a row of the image, which is wider in the bass)."""

HUM_SHARE = 0.75
"""Share of the columns whose lowest partial is one and the same row below the range: hum, rather than notes."""

TONELESS = 0.3
"""Likeness of columns 0.1 s apart below which there are no tones whose pitch could be told: 0 in noise, .7 in music."""

FLAT = 0.999
"""Share of the peak from which a sample stands at the peak."""

LEAST_PEAK = 0.25
"""Sounds below -12 dB re full scale are not searched: in them a few equal samples may be the steps of the format."""


@dataclass(frozen=True)
class SoundFeatures:
    """Features of a stretch of sound.

    Attributes:
        features: ``(windows, len(NAMES))``, of windows of what sounds, pauses cut out.
        partials: how many columns have their lowest partial in each row, ``(rows,)``.
        sounding: columns that sound.
        columns: all columns.
    """

    features: NDArray[np.float64]
    partials: NDArray[np.float64]
    sounding: int
    columns: int

    def __add__(self, other: SoundFeatures) -> SoundFeatures:
        """Join two stretches."""
        features = np.concatenate([self.features, other.features])
        partials = self.partials + other.partials
        return SoundFeatures(features, partials, self.sounding + other.sounding, self.columns + other.columns)


class FeatureExtractor:
    """Measures features of images.

    Args:
        imaging: that made them.
    """

    def __init__(self, imaging: AudioImaging) -> None:
        self.imaging = imaging
        self.frequencies = imaging.row_frequencies()
        self.window = max(round(WINDOW_SECONDS / imaging.seconds_per_frame), 1)
        edges = LOWEST_BAND * 2 ** (np.arange(BANDS + 1) / 2)
        inside = (self.frequencies >= edges[:-1, None]) & (self.frequencies < edges[1:, None])
        bank = inside[inside.any(1)].astype(np.float32)
        self._bank = torch.from_numpy(bank / bank.sum(1, keepdims=True))
        top = float(self.frequencies[-1])
        self._low = _rows(self.frequencies, 150.0, min(3000.0, top / 2))
        self._high = _rows(self.frequencies, min(3000.0, top / 2), 10_000.0)
        orders, at = np.arange(6)[:, None], np.arange(len(bank)) + 0.5
        self._cosines = torch.from_numpy(np.cos(np.pi * orders * at / len(bank)) / len(bank)).float()

    def none(self) -> SoundFeatures:
        """Return the features of no sound at all."""
        return SoundFeatures(np.zeros((0, len(NAMES))), np.zeros(len(self.frequencies)), 0, 0)

    @torch.inference_mode()
    def measure(self, image: Tensor, step: int | None = None) -> SoundFeatures:
        """Measure the features of images.

        Args:
            image: ``(groups, channels, rows, columns)`` in [-1, 1]; the first group counts.
            step: columns between the beginnings of windows; a window if None. A last window that is too short is left
                out, unless it is the only one and lasts a third of a window.
        """
        shown = self.imaging.display_db(image.detach().float().cpu())
        power = torch.pow(10.0, shown / 10).mean(0)
        decibels = 10 * torch.log10(power.clamp(min=1e-12))
        sounding = decibels.max(0).values > SOUNDING_DB
        power, decibels = power[:, sounding], decibels[:, sounding]  # pauses are no property of an instrument
        detail = decibels - _envelope(decibels)
        bands = self._bank @ power
        found = [
            self._features(bands[:, part], detail[:, part], power[:, part].sum(0))
            for part in self._windows(power.shape[1], step or self.window)
        ]
        features = np.asarray(found, dtype=np.float64).reshape(-1, len(NAMES))
        return SoundFeatures(features, self._partials(decibels, detail), power.shape[1], len(sounding))

    def _windows(self, columns: int, step: int) -> list[slice]:
        if columns < LEAST_SHARE * self.window:
            return []
        last = max(columns - round(0.95 * self.window), 0)  # no window is lost to the rounding of a length
        return [slice(start, start + self.window) for start in range(0, last + 1, step)]

    def _features(self, bands: Tensor, detail: Tensor, total: Tensor) -> list[float]:
        mean = bands.mean(1)
        floor = mean.max() * 10 ** (-FLOOR_DB / 10)
        balance = 10 * torch.log10(mean + floor)
        balance -= balance.max()
        levels = 10 * torch.log10(bands + floor)[balance > -35]  # of bands that matter
        level = 10 * torch.log10(total + total.max() * 1e-6)
        low, high = detail[self._low], detail[self._high]
        short, long = self._lag(0.023), self._lag(0.1)
        values = [
            *(self._cosines @ balance).tolist(),
            *_changes(levels, short, long, long * self.imaging.seconds_per_frame),
            float(level.std()),
            float(torch.quantile(level, 0.9) - torch.quantile(level, 0.1)),
            _height(low),
            _height(high),
            _similarity(low, short),
            _similarity(low, long),
        ]
        return [value if math.isfinite(value) else 0.0 for value in values]

    def _lag(self, seconds: float) -> int:
        return max(round(seconds / self.imaging.seconds_per_frame), 1)

    def _partials(self, decibels: Tensor, detail: Tensor) -> NDArray[np.float64]:
        peak = torch.zeros_like(decibels, dtype=torch.bool)
        peak[1:-1] = (decibels[1:-1] >= decibels[:-2]) & (decibels[1:-1] > decibels[2:])
        peak &= (detail > PARTIAL_HEIGHT_DB) & torch.from_numpy(self.frequencies > LOWEST_PARTIAL)[:, None]
        if decibels.shape[1]:
            peak &= decibels > decibels.max(0).values - PARTIAL_DB
        lowest = peak.float().argmax(0)[peak.any(0)]
        return torch.bincount(lowest, minlength=len(self.frequencies)).double().numpy()


def _rows(frequencies: NDArray[np.float64], low: float, high: float) -> Tensor:
    return torch.from_numpy((frequencies >= low) & (frequencies < high))


def _envelope(decibels: Tensor) -> Tensor:
    """Return the moving mean over `DETAIL_ROWS` rows, the outermost rows repeated."""
    half = DETAIL_ROWS // 2
    padded = torch.cat([decibels[:1].expand(half + 1, -1), decibels, decibels[-1:].expand(half, -1)])
    sums = padded.double().cumsum(0)
    return ((sums[DETAIL_ROWS:] - sums[:-DETAIL_ROWS]) / DETAIL_ROWS).float()


def _changes(levels: Tensor, short: int, long: int, long_seconds: float) -> list[float]:
    """Return how bands ``(bands, columns)`` in dB rise and fall, over a short and over a long while."""
    if levels.shape[1] <= long:
        return [0.0] * 9
    step = levels[:, short:] - levels[:, :-short]
    rise, fall = step.clamp(min=0).mean(0), (-step).clamp(min=0).mean(0)
    slope = (levels[:, long:] - levels[:, :-long]).mean(0) / long_seconds
    marks = torch.quantile(slope, torch.tensor([0.1, 0.5, 0.9])).tolist()
    flutter = step[-max(len(step) // 3, 1) :].abs().mean()
    rises = torch.quantile(rise, torch.tensor([0.95, 0.99])).tolist()
    return [float(rise.mean()), *rises, float(fall.mean()), float(torch.quantile(fall, 0.95)), *marks, float(flutter)]


def _height(detail: Tensor) -> float:
    """Return how far partials stand out of their surroundings, in dB."""
    return float(detail.std(0).mean()) if detail.shape[0] > 1 and detail.shape[1] else 0.0


def _similarity(detail: Tensor, lag: int) -> float:
    """Return the mean cosine between columns ``lag`` apart: 1 where the same tones go on."""
    if detail.shape[1] <= lag:
        return 0.0
    one, other = detail[:, lag:], detail[:, :-lag]
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0, eps=1e-6).mean())


@dataclass(frozen=True)
class DomainStatistics:
    """What the training data of one domain were like.

    Attributes:
        name: of the domain.
        mean: of each feature over all windows.
        scale: standard deviation of each feature.
        correlation: lower triangle of the shrunk correlation matrix, row by row, without the diagonal.
        distance: beyond this distance (the median over an input's windows) an input is unlike the domain.
        likeness: below this likeness an input belongs to the other domain rather.
        pitch_hz: where the lowest partials of nearly all columns lie, lowest and highest; None without any.
        level_db: lowest and highest level of a recording, dB re full scale; None where the cache does not tell.
        sounding: least share of a recording's time in which something sounds.
        windows: how many were measured.
        recordings: of how many recordings.
    """

    name: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    correlation: tuple[float, ...]
    distance: float = math.inf
    likeness: float = -math.inf
    pitch_hz: tuple[float, float] | None = None
    level_db: tuple[float, float] | None = None
    sounding: float = 0.0
    windows: int = 0
    recordings: int = 0

    @property
    def covariance(self) -> Matrix:
        """The shrunk covariance matrix."""
        size = len(self.mean)
        matrix = np.eye(size)
        matrix[np.tril_indices(size, -1)] = self.correlation
        matrix = np.tril(matrix) + np.tril(matrix, -1).T
        return matrix * np.outer(self.scale, self.scale)

    def distances(self, features: Matrix) -> NDArray[np.float64]:
        """Return each window's Mahalanobis distance per root of the feature count: about 1 within the domain."""
        off = np.atleast_2d(features) - np.asarray(self.mean)
        squares = np.einsum("ij,ij->i", off, np.linalg.solve(self.covariance, off.T).T)
        scaled: NDArray[np.float64] = np.sqrt(squares / len(self.mean))
        return scaled

    def deviations(self, features: Matrix) -> NDArray[np.float64]:
        """Return each window's features in standard deviations from the mean."""
        scaled: NDArray[np.float64] = (np.atleast_2d(features) - np.asarray(self.mean)) / np.asarray(self.scale)
        return scaled


def describe(name: str, features: Matrix) -> DomainStatistics:
    """Measure mean, scale and shrunk correlation of windows ``(n, features)``, n at least 2."""
    mean = features.mean(0)
    least = 0.01 * np.maximum(np.abs(mean), 1.0)  # a feature that hardly varies must not decide alone
    scale = np.maximum(features.std(0, ddof=1), least)
    unit = (features - mean) / scale
    correlation = (1 - SHRINK) * (unit.T @ unit) / (len(features) - 1)
    lower = correlation[np.tril_indices(len(mean), -1)]
    return DomainStatistics(name, _rounded(mean), _rounded(scale), _rounded(lower, 4), windows=len(features))


def likeness(own: DomainStatistics, other: DomainStatistics, features: Matrix) -> NDArray[np.float64]:
    """Say which of two domains windows belong to, by their linear discriminant.

    Returns:
        1 at the mean of ``own``, -1 at the mean of ``other``, 0 half-way between them.
    """
    own_mean, other_mean = np.asarray(own.mean), np.asarray(other.mean)
    direction = np.linalg.solve((own.covariance + other.covariance) / 2, own_mean - other_mean)
    apart = float(direction @ (own_mean - other_mean))
    scores: NDArray[np.float64] = (np.atleast_2d(features) - (own_mean + other_mean) / 2) @ direction
    return scores * (2 / apart) if apart > 0 else np.zeros(len(scores))


@dataclass(frozen=True)
class TrainingStatistics:
    """Both domains of a model, by side."""

    sides: Mapping[str, DomainStatistics]

    def side(self, name: str) -> str:
        """Return the side of a domain's name.

        Raises:
            KeyError: if no side has it.
        """
        return next(side for side, domain in self.sides.items() if domain.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values."""
        domains = {side: _finite(asdict(domain)) for side, domain in self.sides.items()}
        return {"version": VERSION, "domains": domains}

    @classmethod
    def from_dict(cls, values: Any, size: int = len(NAMES)) -> TrainingStatistics | None:
        """Read what `to_dict` wrote.

        Args:
            values: from a weights file.
            size: features that this program measures.

        Returns:
            The statistics; None where another version of this program wrote it: then there are no warnings.

        Raises:
            AudiotransError: if the values are broken.
        """
        try:
            if values["version"] != VERSION:
                return None
            sides = {side: _domain(values["domains"][side]) for side in "ab"}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise AudiotransError(f"its training-data statistics are broken ({reason}): export it again") from None
        counts = {len(x) for d in sides.values() for x in (d.mean, d.scale)} | {size}
        if len(counts) > 1 or any(len(d.correlation) != size * (size - 1) // 2 for d in sides.values()):
            raise AudiotransError("its training-data statistics are of another size: export it again")
        return cls(sides)


def _domain(values: Mapping[str, Any]) -> DomainStatistics:
    read = {**values, **{key: default for key, default in _ENDLESS.items() if values.get(key) is None}}
    found = TypeAdapter(DomainStatistics).validate_python(read)
    if not all(map(math.isfinite, (*found.mean, *found.scale, *found.correlation))) or min(found.scale) <= 0:
        raise ValueError(f"of {found.name} there are numbers that cannot be")
    return found


_ENDLESS = {"distance": math.inf, "likeness": -math.inf}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if value in (math.inf, -math.inf) else value for key, value in values.items()}


def _rounded(values: Iterable[float], digits: int = 5) -> tuple[float, ...]:
    return tuple(float(f"{value:.{digits}g}") for value in values)


class ClippingMeter:
    """Peak of a stream, and how many of its samples are cut off: three or more alike in a row at the peak.

    A wave turns round smoothly at its crest, even a slow one at the steps of 16 bits; a clipped one goes on level.
    """

    def __init__(self) -> None:
        self.peak = 0.0
        self.samples = self.clipped = 0

    def update(self, block: NDArray[np.float32]) -> None:
        """Take the next samples, ``(channels, n)``."""
        self.samples += block.size
        size = np.abs(block)
        peak = float(size.max(initial=0.0))
        if peak > self.peak:
            if FLAT * peak > self.peak:  # what stood flat so far lies below the new peak
                self.clipped = 0
            self.peak = peak
        if peak < max(FLAT * self.peak, LEAST_PEAK):
            return
        for channel, heights in zip(block, size, strict=True):
            self.clipped += _flat(channel, np.flatnonzero(heights >= FLAT * self.peak))

    @property
    def clipped_share(self) -> float:
        """Share of the samples that are cut off, 0..1."""
        return self.clipped / max(self.samples, 1)

    @property
    def peak_db(self) -> float:
        """The peak in dB re full scale; -inf for silence."""
        return 20 * math.log10(self.peak) if self.peak else -math.inf


def _flat(wave: NDArray[np.float32], high: NDArray[np.intp]) -> int:
    """Count the samples at ``high`` that belong to runs of three or more equal ones."""
    if len(high) < 3:
        return 0
    same = (np.diff(high) == 1) & (wave[high[1:]] == wave[high[:-1]])
    middle = same[1:] & same[:-1]  # between two equals
    member = np.zeros(len(high), dtype=bool)
    for offset in range(3):
        member[offset : len(high) - 2 + offset] |= middle
    return int(member.sum())


class DomainCheck:
    """The out-of-domain check of one input, block by block and tile by tile, in bounded memory.

    Args:
        statistics: of the model's training data.
        imaging: of the model.
        source: side that the input is said to belong to.

    Attributes:
        meter: takes the input's own samples.
    """

    def __init__(self, statistics: TrainingStatistics, imaging: AudioImaging, source: str) -> None:
        self.statistics, self.source = statistics, source
        self.meter = ClippingMeter()
        self._extractor = FeatureExtractor(imaging)
        self._features: dict[int, SoundFeatures] = {}  # by tile: several threads bring them in any order
        self._column = imaging.settings.hop_length * imaging.settings.time_stride
        self._tiles: dict[int, Tile] = {}

    def expect(self, tiles: Sequence[Tile]) -> list[Tile]:
        """Choose the tiles to look at among all that there will be, evenly; return them."""
        at = np.unique(np.linspace(0, len(tiles) - 1, min(len(tiles), MOST_TILES)).round().astype(int))
        chosen = [tiles[i] for i in at]
        self._tiles = {tile.start: tile for tile in chosen}
        return chosen

    def add(self, image: Tensor, start: int) -> None:
        """Measure a tile's image, whose first sample (at the model's rate) is ``start``, if it was chosen."""
        tile = self._tiles.pop(start, None)
        if tile is None:
            return
        first, last = (tile.begin - start) // self._column, -(-(tile.end - start) // self._column)
        self._features[start] = self._extractor.measure(image[..., first:last])

    def warnings(self, level_db: float) -> list[str]:
        """Say what is unlike the training data, one line each; none for what is like it.

        Args:
            level_db: of the whole input.
        """
        found = sum((self._features[start] for start in sorted(self._features)), self._extractor.none())
        return findings(self.statistics, self.source, found, self._extractor.frequencies, level_db, self.meter)


def findings(
    statistics: TrainingStatistics,
    source: str,
    found: SoundFeatures,
    frequencies: NDArray[np.float64],
    level_db: float,
    meter: ClippingMeter | None = None,
) -> list[str]:
    """Compare an input with a model's training data.

    Args:
        statistics: of the training data.
        source: side that the input is said to belong to.
        found: features of the input.
        frequencies: of the images' rows, Hz.
        level_db: gated level of the whole input, dB re full scale.
        meter: of the input's own samples.

    Returns:
        One line for each finding, with its figure, what the model knows, and the way out.
    """
    own, other = statistics.sides[source], statistics.sides["b" if source == "a" else "a"]
    lines = _other(own, other, found.features) or [*_stranger(own, found.features), *_pitch(own, found, frequencies)]
    return [*lines, *_clipping(meter), *_level(own, level_db), *_silence(own, found)]


def _other(own: DomainStatistics, other: DomainStatistics, features: NDArray[np.float64]) -> list[str]:
    """Say that an input is of the model's other domain."""
    if not len(features):
        return []
    nearer = likeness(own, other, features)
    if np.median(nearer) >= own.likeness or _unlike(other, features):
        return []
    count = f"{int((nearer < 0).sum())} of {len(nearer)} stretches of 3 s are nearer to {other.name}"
    way = f"translate it with --from {other.name} --to {own.name}, or use another model"
    return [f"sounds like {other.name}, not like the {own.name} that the model learned ({count}): {way}"]


def _stranger(own: DomainStatistics, features: NDArray[np.float64]) -> list[str]:
    """Say that an input is of neither domain."""
    if not _unlike(own, features):
        return []
    found = f"unlike the {own.name} that the model learned, most in its {_oddest(own, features)}"
    figures = f"distance {float(np.median(own.distances(features))):.1f}, usual is up to {own.distance:.1f}"
    return [f"{found} ({figures}): use a model of such sounds, or expect little of the result"]


def _unlike(own: DomainStatistics, features: NDArray[np.float64]) -> bool:
    return len(features) > 0 and float(np.median(own.distances(features))) > own.distance


def _oddest(own: DomainStatistics, features: NDArray[np.float64]) -> str:
    """Name the group of features that deviates most."""
    off = np.abs(np.median(own.deviations(features), axis=0))
    deviation = {group: max(off[NAMES.index(name)] for name in names) for group, names in GROUPS.items()}
    return max(deviation, key=lambda group: deviation[group])


def _pitch(own: DomainStatistics, found: SoundFeatures, frequencies: NDArray[np.float64]) -> list[str]:
    if own.pitch_hz is None or not found.partials.sum() or _toneless(found.features):
        return []
    low, high = own.pitch_hz
    known = f"the model learned {own.name} from {_note(low)} to {_note(high)}"
    spacing = np.gradient(frequencies)
    below = frequencies < min(low / PITCH_MARGIN, low - np.interp(low, frequencies, spacing) * 1.01)
    above = frequencies > max(high * PITCH_MARGIN, high + np.interp(high, frequencies, spacing) * 1.01)
    shares = found.partials / found.partials.sum()
    lines = []
    for where, rows in ((f"below {_note(low)}", below), (f"above {_note(high)}", above)):
        share, row = float(shares[rows].sum()), int(np.argmax(np.where(rows, shares, 0)))
        if share <= PITCH_SHARE:
            continue
        what, way = f"{share:.0%} of it lies {where}", "transpose it"
        if rows is below and shares[row] > HUM_SHARE:
            what, way = f"a steady tone near {frequencies[row]:.0f} Hz lies under {share:.0%} of it", "filter out hum"
        lines.append(f"{what}, but {known}: {way}, or use a model of that range")
    return lines


def _toneless(features: NDArray[np.float64]) -> bool:
    if not len(features):
        return False  # too short for windows: its peaks are all that is known
    return float(np.median(features[:, NAMES.index("steady_long")])) < TONELESS


def _note(frequency: float) -> str:
    """Name a frequency: ``A4 (440 Hz)``."""
    names = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
    midi = round(69 + 12 * np.log2(frequency / 440))
    return f"{names[midi % 12]}{midi // 12 - 1} ({frequency:.0f} Hz)"


def _clipping(meter: ClippingMeter | None) -> list[str]:
    if meter is None or meter.clipped_share <= CLIPPED_SHARE:
        return []
    found = f"clipped: {meter.clipped_share:.2%} of its samples are cut off flat at {meter.peak_db:+.1f} dB"
    return [f"{found}, and the model knows clean sounds: record it at a lower level, or repair it first"]


def _level(own: DomainStatistics, level_db: float) -> list[str]:
    if own.level_db is None:
        return []
    low, high = own.level_db
    known = f"its level is {level_db:.0f} dB re full scale, the training data's {low:.0f} to {high:.0f} dB"
    if level_db > high + LEVEL_MARGIN_DB:
        return [f"too loud: {known}: scale its samples to [-1, 1]"]
    if level_db < low - LEVEL_MARGIN_DB:
        return [f"nearly silent: {known}: raise the level where it is recorded, or its noise is translated with it"]
    return []


def _silence(own: DomainStatistics, found: SoundFeatures) -> list[str]:
    share = found.sounding / max(found.columns, 1)
    if not found.columns or share >= SILENCE_SHARE * own.sounding:
        return []
    known = f"training recordings for at least {own.sounding:.0%}"
    return [f"mostly silence: it sounds for {share:.0%} of its time, {known}: cut out the part to translate"]
