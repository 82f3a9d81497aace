"""What is heard of a sound, in windows of three seconds: balance, attacks and decays, tones, and the lowest partial.

Everything is measured on what `AudioImaging.display_db` shows of an image, so that it serves every representation, and
relative to the window's own level, so that loud and soft recordings are alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.spectrogram.imaging import AudioImaging

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
"""Features by what a listener would call them."""

NAMES: tuple[str, ...] = tuple(name for names in GROUPS.values() for name in names)


@dataclass(frozen=True)
class Heard:
    """What was heard of a stretch of sound.

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

    def __add__(self, other: Heard) -> Heard:
        """Join two stretches."""
        features = np.concatenate([self.features, other.features])
        partials = self.partials + other.partials
        return Heard(features, partials, self.sounding + other.sounding, self.columns + other.columns)


class Ear:
    """Listens to images.

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

    def nothing(self) -> Heard:
        """Return what is heard of no sound at all."""
        return Heard(np.zeros((0, len(NAMES))), np.zeros(len(self.frequencies)), 0, 0)

    @torch.inference_mode()
    def hear(self, image: Tensor, step: int | None = None) -> Heard:
        """Listen to images.

        Args:
            image: ``(groups, channels, rows, columns)`` in [-1, 1]; the first group is heard.
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
        return Heard(features, self._partials(decibels, detail), power.shape[1], len(sounding))

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
            _likeness(low, short),
            _likeness(low, long),
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


def _likeness(detail: Tensor, lag: int) -> float:
    """Return the mean cosine between columns ``lag`` apart: 1 where the same tones go on."""
    if detail.shape[1] <= lag:
        return 0.0
    one, other = detail[:, lag:], detail[:, :-lag]
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0, eps=1e-6).mean())
