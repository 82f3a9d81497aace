"""Listening to an input while it is converted, and saying what its model does not know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from audiotrans.audio import Wave
from audiotrans.convert.domain_check.domains import DomainProfile, Profile, likeness
from audiotrans.convert.domain_check.features import GROUPS, NAMES, Ear, Heard
from audiotrans.convert.domain_check.levels import PeakMeter
from audiotrans.convert.tiles import Tile
from audiotrans.spectrogram.imaging import AudioImaging

MOST_TILES = 50
"""Tiles heard of an input, evenly spread: ten minutes of sound, however long it is."""

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


class Listener:
    """Hears one input, block by block and tile by tile, in bounded memory.

    Args:
        profile: of the model's training data.
        imaging: of the model.
        source: side that the input is said to belong to.
    """

    def __init__(self, profile: Profile, imaging: AudioImaging, source: str) -> None:
        self.profile, self.source = profile, source
        self.meter = PeakMeter()
        self._ear = Ear(imaging)
        self._heard = self._ear.nothing()
        self._column = imaging.settings.hop_length * imaging.settings.time_stride
        self._tiles: dict[int, Tile] = {}

    def expect(self, tiles: Sequence[Tile]) -> list[Tile]:
        """Choose the tiles to hear among all that there will be, evenly; return them."""
        at = np.unique(np.linspace(0, len(tiles) - 1, min(len(tiles), MOST_TILES)).round().astype(int))
        chosen = [tiles[i] for i in at]
        self._tiles = {tile.start: tile for tile in chosen}
        return chosen

    def hearing(self, blocks: Iterable[Wave]) -> Iterator[Wave]:
        """Hear the samples of the input as it is, blocks ``(channels, n)``, and hand them on."""
        for block in blocks:
            self.meter.update(block)
            yield block

    def see(self, image: Tensor, start: int) -> None:
        """Hear a tile's image, whose first sample (at the model's rate) is ``start``, if it was chosen."""
        tile = self._tiles.pop(start, None)
        if tile is None:
            return
        first, last = (tile.begin - start) // self._column, -(-(tile.end - start) // self._column)
        self._heard = self._heard + self._ear.hear(image[..., first:last])

    def warnings(self, level_db: float) -> list[str]:
        """Say what is unlike the training data, one line each; none for what is like it.

        Args:
            level_db: of the whole input.
        """
        return check(self.profile, self.source, self._heard, self._ear.frequencies, level_db, self.meter)


def check(
    profile: Profile,
    source: str,
    heard: Heard,
    frequencies: NDArray[np.float64],
    level_db: float,
    meter: PeakMeter | None = None,
) -> list[str]:
    """Compare what was heard of an input with a model's training data.

    Args:
        profile: of the training data.
        source: side that the input is said to belong to.
        heard: of the input.
        frequencies: of the images' rows, Hz.
        level_db: gated level of the whole input, dB re full scale.
        meter: of the input's own samples.

    Returns:
        One line for each finding, with its figure, what the model knows, and the way out.
    """
    own, other = profile.sides[source], profile.sides["b" if source == "a" else "a"]
    lines = _other(own, other, heard.features) or [*_stranger(own, heard.features), *_pitch(own, heard, frequencies)]
    return [*lines, *_clipping(meter), *_level(own, level_db), *_silence(own, heard)]


def _other(own: DomainProfile, other: DomainProfile, features: NDArray[np.float64]) -> list[str]:
    """Say that an input is of the model's other domain."""
    if not len(features):
        return []
    nearer = likeness(own, other, features)
    if np.median(nearer) >= own.likeness or _unlike(other, features):
        return []
    count = f"{int((nearer < 0).sum())} of {len(nearer)} stretches of 3 s are nearer to {other.name}"
    way = f"translate it with --from {other.name} --to {own.name}, or use another model"
    return [f"sounds like {other.name}, not like the {own.name} that the model learned ({count}): {way}"]


def _stranger(own: DomainProfile, features: NDArray[np.float64]) -> list[str]:
    """Say that an input is of neither domain."""
    if not _unlike(own, features):
        return []
    found = f"unlike the {own.name} that the model learned, most in its {_oddest(own, features)}"
    figures = f"distance {float(np.median(own.distances(features))):.1f}, usual is up to {own.distance:.1f}"
    return [f"{found} ({figures}): use a model of such sounds, or expect little of the result"]


def _unlike(own: DomainProfile, features: NDArray[np.float64]) -> bool:
    return len(features) > 0 and float(np.median(own.distances(features))) > own.distance


def _oddest(own: DomainProfile, features: NDArray[np.float64]) -> str:
    """Name the group of features that deviates most."""
    off = np.abs(np.median(own.deviations(features), axis=0))
    deviation = {group: max(off[NAMES.index(name)] for name in names) for group, names in GROUPS.items()}
    return max(deviation, key=lambda group: deviation[group])


def _pitch(own: DomainProfile, heard: Heard, frequencies: NDArray[np.float64]) -> list[str]:
    if own.pitch_hz is None or not heard.partials.sum() or _toneless(heard.features):
        return []
    low, high = own.pitch_hz
    known = f"the model learned {own.name} from {_note(low)} to {_note(high)}"
    spacing = np.gradient(frequencies)
    below = frequencies < min(low / PITCH_MARGIN, low - np.interp(low, frequencies, spacing) * 1.01)
    above = frequencies > max(high * PITCH_MARGIN, high + np.interp(high, frequencies, spacing) * 1.01)
    shares = heard.partials / heard.partials.sum()
    lines = []
    for where, rows in ((f"below {_note(low)}", below), (f"above {_note(high)}", above)):
        share, row = float(shares[rows].sum()), int(np.argmax(np.where(rows, shares, 0)))
        if share <= PITCH_SHARE:
            continue
        found, way = f"{share:.0%} of it lies {where}", "transpose it"
        if rows is below and shares[row] > HUM_SHARE:
            found, way = f"a steady tone near {frequencies[row]:.0f} Hz lies under {share:.0%} of it", "filter out hum"
        lines.append(f"{found}, but {known}: {way}, or use a model of that range")
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


def _clipping(meter: PeakMeter | None) -> list[str]:
    if meter is None or meter.clipped_share <= CLIPPED_SHARE:
        return []
    found = f"clipped: {meter.clipped_share:.2%} of its samples are cut off flat at {meter.peak_db:+.1f} dB"
    return [f"{found}, and the model knows clean sounds: record it at a lower level, or repair it first"]


def _level(own: DomainProfile, level_db: float) -> list[str]:
    if own.level_db is None:
        return []
    low, high = own.level_db
    known = f"its level is {level_db:.0f} dB re full scale, the training data's {low:.0f} to {high:.0f} dB"
    if level_db > high + LEVEL_MARGIN_DB:
        return [f"too loud: {known}: scale its samples to [-1, 1]"]
    if level_db < low - LEVEL_MARGIN_DB:
        return [f"nearly silent: {known}: raise the level where it is recorded, or its noise is translated with it"]
    return []


def _silence(own: DomainProfile, heard: Heard) -> list[str]:
    share = heard.sounding / max(heard.columns, 1)
    if not heard.columns or share >= SILENCE_SHARE * own.sounding:
        return []
    known = f"training recordings for at least {own.sounding:.0%}"
    return [f"mostly silence: it sounds for {share:.0%} of its time, {known}: cut out the part to translate"]
