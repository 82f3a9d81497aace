"""Sound of any length in bounded memory: overlapping tiles of a stream, converted apart and joined without a seam."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from audiotrans.audio import Wave
    from audiotrans.model.avb_gtn import AVBGTN
    from audiotrans.spectrogram.imaging import AudioSettings

TILE_PIXELS = 2**18
"""Image pixels that a tile's core aims at: twelve seconds of 256 rows. Decides memory, not sound."""

FADE_COLUMNS = 4
"""Image columns over which tiles of a local model are mixed: they agree there, the fade is a formality."""

GLOBAL_FADE_COLUMNS = 32
"""The same for models with statistics over the whole image, whose tiles differ slightly: a third of a second."""


@dataclass(frozen=True)
class Tile:
    """One piece of a stream, all figures in samples from its beginning.

    Attributes:
        start: first sample that is converted.
        begin: first sample that is kept.
        end: one past the last sample that is kept.
        stop: one past the last sample that is converted.
    """

    start: int
    begin: int
    end: int
    stop: int


@dataclass(frozen=True)
class TilePlan:
    """How a stream is cut.

    Attributes:
        core: samples kept of each tile; a multiple of the model's grid, so that frames fall on the same samples
            whichever tile they are computed in.
        margin: samples converted on each side of the core and thrown away; a multiple of the grid as well.
        fade: samples over which neighbours are mixed, centred on their border; even.
    """

    core: int
    margin: int
    fade: int

    def __post_init__(self) -> None:
        if self.fade < 0 or self.fade % 2 or self.fade > 2 * self.margin or 4 * self.fade > self.core:
            raise ValueError(f"{self}: the fade must be even, fit the margins and be at most a quarter of the core")

    def tiles(self, length: int) -> list[Tile]:
        """Cut ``length`` samples; the last two cores share what is left, so that none is longer than `core`."""
        before = max(0, -(-length // self.core) - 2) * self.core
        rest = length - before
        unit = math.gcd(self.core, self.margin)  # of the grid
        borders = [*range(0, before, self.core), before, length]
        if rest > self.core:
            borders.insert(-1, before + (rest + unit) // (2 * unit) * unit)
        return [
            Tile(max(0, begin - self.margin), begin, end, min(length, end + self.margin))
            for begin, end in pairwise(borders)
        ]


def plan_tiles(settings: AudioSettings, rows: int, model: AVBGTN, further: int = 0) -> TilePlan:
    """Choose tiles whose cores do not feel that their neighbours were cut off.

    A sample depends on the columns within half a window, those on the columns within the model's context, and those on
    the samples within another half window; the fade wants all that on both sides of the border.

    Args:
        settings: of the imaging.
        rows: of its images.
        model: asked for its stride, context and whether it is local.
        further: columns on each side that an output column depends on beyond those of the model.
    """
    column = settings.hop_length * settings.time_stride
    grid = column * model.stride[1]
    fade = (FADE_COLUMNS if model.local else GLOBAL_FADE_COLUMNS) * column
    fade += fade % 2
    reach = (model.context_frames + further) * column + settings.n_fft + column + fade // 2
    margin = -(-reach // grid) * grid
    core = max(TILE_PIXELS // rows * column, 2 * margin, 4 * fade)
    return TilePlan(-(-core // grid) * grid, margin, fade)


class SlidingWindow:
    """Random access to a short stretch of a stream that only moves forward.

    Args:
        blocks: the stream, waves ``(channels, n)``.
    """

    def __init__(self, blocks: Iterable[Wave]) -> None:
        self._blocks = iter(blocks)
        self._held: deque[Wave] = deque()
        self._first = self._end = 0

    def take(self, start: int, stop: int) -> Wave:
        """Return samples ``start`` to ``stop``; what lies before ``start`` is forgotten.

        Raises:
            ValueError: if the stream ends before ``stop``, or ``start`` is forgotten already.
        """
        while self._end < stop:
            block = next(self._blocks, None)
            if block is None:
                raise ValueError(f"the stream ends at sample {self._end}, before {stop}")
            self._held.append(block)
            self._end += block.shape[1]
        while self._held and self._first + self._held[0].shape[1] <= start:
            self._first += self._held.popleft().shape[1]
        if start < self._first:
            raise ValueError(f"sample {start} lies before {self._first}, which is the first one still held")
        parts: list[Wave] = []
        first = self._first
        for block in self._held:  # cut before joining: a block may be a whole file
            parts.append(block[:, max(0, start - first) : max(0, stop - first)])
            first += block.shape[1]
        return np.concatenate(parts, axis=1)


def cut_tiles(blocks: Iterable[Wave], length: int, plan: TilePlan) -> Iterator[tuple[Tile, Wave]]:
    """Cut a stream into tiles.

    Args:
        blocks: waves ``(channels, n)``, ``length`` samples in all, at least 1.
        length: samples of the stream.
        plan: how to cut it.

    Yields:
        Each tile with its samples, margins included.
    """
    window = SlidingWindow(blocks)
    for tile in plan.tiles(length):
        yield tile, window.take(tile.start, tile.stop)


class TileJoiner:
    """Joins converted tiles to a stream of ``length`` samples: margins are thrown away, neighbours mixed.

    Args:
        length: samples of the stream.
        plan: that it was cut by.
    """

    def __init__(self, length: int, plan: TilePlan) -> None:
        self._length, self._fade = length, plan.fade
        self._tail: Wave | None = None

    def join(self, tile: Tile, piece: Wave) -> Wave:
        """Take the next tile, converted; return the samples of the stream that are settled by it."""
        half, tail = self._fade // 2, self._tail
        first = tile.begin - half if tail is not None else tile.begin
        last = tile.end + half if tile.end < self._length else self._length
        kept = piece[:, first - tile.start : last - tile.start]
        if tail is not None:
            kept = np.concatenate([cross_fade(tail, kept[:, : self._fade]), kept[:, self._fade :]], axis=1)
        if tile.end < self._length:
            self._tail = kept[:, kept.shape[1] - self._fade :].copy()  # a view would keep the whole tile alive
            kept = kept[:, : kept.shape[1] - self._fade]
        return kept


def cross_fade(before: Wave, after: Wave) -> Wave:
    """Mix the end of one piece into the beginning of the next without a dip or bump of its level.

    The ramps are raised cosines that add up to 1, which is right where the two agree. The less they do (phases that
    were estimated apart), the more a plain mix loses: the gain ``1 / sqrt(a^2 + b^2 + 2 a b r)`` restores the power,
    with ``r`` the correlation of the two; for ``r = 1`` it is 1 everywhere.

    Args:
        before: ``(channels, fade)``.
        after: ``(channels, fade)``.

    Returns:
        ``(channels, fade)``.
    """
    fade = before.shape[1]
    rise = np.sin(np.pi / 2 * (np.arange(fade) + 0.5) / max(fade, 1)) ** 2
    fall = 1 - rise
    product = float(np.vdot(before.astype(np.float64), after))
    power = float(np.linalg.norm(before.astype(np.float64)) * np.linalg.norm(after.astype(np.float64)))
    correlation = min(max(product / power, 0.0), 1.0) if power > 0 else 1.0
    gain = 1 / np.sqrt(rise**2 + fall**2 + 2 * rise * fall * correlation)
    mixed: Wave = (gain * (fall * before + rise * after)).astype(np.float32)
    return mixed
