"""Exported graphs run by ONNX Runtime, without torch: `GraphConverter` is to them what `Converter` is to a model.

A file says in its metadata what it translates, at which settings, and how far its samples depend on their neighbours
(`GraphFacts`), so that long sounds go through it in tiles. A graph makes its noise from the beginning of what it is
given: tiles begin where the noise repeats. Then they agree with the whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audiotrans.audio import Wave
from audiotrans.convert.sound_converter import Measured, SoundConverter
from audiotrans.convert.tiles import SlidingWindow, Tile, TileJoiner, TilePlan
from audiotrans.errors import AudiotransError, UsageError, names_extras
from audiotrans.files import from_json
from audiotrans.options import OPTIONS, ConvertOptions, flag
from audiotrans.processes import usable_cores
from audiotrans.spectrogram.level import Level, LevelMeter, level_of_frames

if TYPE_CHECKING:
    from audiotrans.convert.warnings import DomainCheck

SUFFIX = ".onnx"
METADATA = "audiotrans"
VERSION = 1

INSIDE = ("strength", "seed", "articulation", "shifts")
"""Options that a graph holds; their values are those of its export."""

OUTSIDE = ("vibrato", "remove_vibrato")
"""Options that change waves before and after a graph: they can still be chosen."""

TILE_SECONDS = 20.0
"""A tile's core aims at so much. Decides memory, not sound."""


@dataclass(frozen=True)
class GraphFacts:
    """What is known of an exported graph; all lengths in samples at its rate.

    Attributes:
        model: name of the model that it was made of.
        domains: names of the model's two domains.
        source: domain of its inputs.
        to: domain that it translates to.
        sample_rate: of what it takes and gives, Hz.
        n_fft: of its STFT.
        hop_length: of its STFT.
        period: after so many samples its noise repeats.
        margin: a sample depends on so many samples before and after it, where levels are given.
        fade: over which neighbouring tiles are mixed.
        options: values of the options in `INSIDE`, and the model's own of those in `OUTSIDE`.
        summary: one line from the model's card.
    """

    model: str
    domains: tuple[str, str]
    source: str
    to: str
    sample_rate: int
    n_fft: int
    hop_length: int
    period: int
    margin: int
    fade: int
    options: dict[str, float]
    summary: str = ""

    def to_json(self) -> str:
        """Return what a file's metadata holds."""
        return json.dumps({"version": VERSION, **asdict(self)})

    @staticmethod
    def from_json(text: str, path: Path) -> GraphFacts:
        """Read what `to_json` gave.

        Raises:
            AudiotransError: naming the file, if it is of another version or broken.
        """
        try:
            values = from_json(text)
            version = values.pop("version")
            known = {item.name: values[item.name] for item in fields(GraphFacts)}
            found = GraphFacts(**known | {"domains": tuple(known["domains"])})
            lengths = (found.sample_rate, found.n_fft, found.hop_length, found.period, found.margin)
            usable = all(isinstance(each, int) and 0 < each < 2**40 for each in lengths) and found.fade % 2 == 0
        except (KeyError, TypeError, ValueError, AttributeError):
            raise AudiotransError(f"{path} cannot be used: its metadata is broken; export it again") from None
        if version != VERSION or not usable:
            raise AudiotransError(f"{path} is of version {version}, this program reads {VERSION}: export it again")
        return found

    def __str__(self) -> str:
        """Return what it translates."""
        return f"{self.source} to {self.to}"


class GraphConverter(SoundConverter):
    """An exported graph, and all that converting needs around it.

    Args:
        path: an ``.onnx`` file that ``audiotrans export`` wrote.
        threads: of the CPU; None for all cores.

    Raises:
        AudiotransError: if the file is missing, broken, or not one of ours.
        MissingLibraryError: without ONNX Runtime.
    """

    @names_extras()
    def __init__(self, path: Path, threads: int | None = None) -> None:
        import onnxruntime

        if not path.is_file():
            raise AudiotransError(f"no graph {path}; audiotrans export makes one of a model")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = min(threads or usable_cores(), usable_cores())
        # Threads that wait for each other by asking again and again take the cores from all that runs beside them.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        settings.log_severity_level = 4  # what goes wrong is said by its error
        try:
            self._session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        except Exception:  # its errors have no class of their own that all of them are of
            raise AudiotransError(f"{path} is not a graph that ONNX Runtime {onnxruntime.__version__} reads") from None
        metadata = self._session.get_modelmeta().custom_metadata_map
        if METADATA not in metadata:
            raise AudiotransError(f"{path} is no graph of ours: audiotrans export makes one of a model")
        self.path, self.facts = path, GraphFacts.from_json(metadata[METADATA], path)
        self.sample_rate, self.n_fft = self.facts.sample_rate, self.facts.n_fft

    @property
    def domains(self) -> tuple[str, str]:
        """The names of the model's two domains, a and b."""
        return self.facts.domains

    def complete(self, options: ConvertOptions) -> ConvertOptions:
        """Check options against those that the graph holds, and fill in the model's own of the others.

        Raises:
            UsageError: for another direction, or another value of what the graph holds.
        """
        facts, way = self.facts, f"audiotrans export {self.facts.model}"
        asked = (options.source or facts.source, options.to)
        if asked != (facts.source, facts.to):
            raise UsageError(f"{self.path} translates {facts}, not {asked[0]} to {asked[1]}: {way} makes another graph")
        if options.phase not in (None, "auto", "source"):
            raise UsageError(f"--phase {options.phase}: a graph keeps the source's phases; leave it out")
        held: dict[str, Any] = {name: facts.options[name] for name in INSIDE}
        for name in INSIDE:
            value = getattr(options, name)
            if value not in (None, held[name], ConvertOptions.__dataclass_fields__[name].default):
                raise UsageError(f"{flag(name)} {value:g}: {self.path} holds {held[name]:g}; {way} makes another graph")
            held[name] = OPTIONS[name].kind(held[name])
        held |= {name: facts.options[name] for name in OUTSIDE if getattr(options, name) is None}
        return replace(options, source=facts.source, **held)

    def level_meter(self) -> LevelMeter:
        """Return a fresh meter."""
        return LevelMeter(self.n_fft, self.facts.hop_length, self.sample_rate)

    def level(self, meter: LevelMeter) -> Level:
        """Return the level of the music around each frame."""
        return meter.levels_db()

    def domain_check(self, source: str | None) -> DomainCheck | None:
        """Return None: a graph has no statistics of its training data."""
        del source
        return None

    def translate(
        self, blocks: Iterable[Wave], found: Measured, options: ConvertOptions, check: DomainCheck | None = None
    ) -> Iterator[Wave]:
        """Translate a sound at the model's rate, tile by tile."""
        del options, check
        tiles = graph_tiles(self.facts, found.length)
        window = SlidingWindow(blocks)
        joiner = TileJoiner(found.length, TilePlan(4 * self.facts.fade, self.facts.fade, self.facts.fade))
        hop = self.facts.hop_length
        for tile in tiles:
            piece = window.take(tile.start, tile.stop)
            level = level_of_frames(found.level, tile.start // hop, 1 + -(-piece.shape[1] // hop))
            yield joiner.join(tile, self.run(piece, level))

    def run(self, wave: Wave, level_db: Level = math.nan) -> Wave:
        """Run the graph.

        Args:
            wave: float32, ``(channels, samples)`` at `sample_rate`.
            level_db: of each frame, for a piece of a sound; not a number for a whole one, which the graph measures.
        """
        given = {"wave": np.ascontiguousarray(wave), "level_db": np.atleast_1d(level_db).astype(np.float32)}
        sound: Wave = self._session.run(["sound"], given)[0]
        return sound


def graph_tiles(facts: GraphFacts, length: int) -> list[Tile]:
    """Cut ``length`` samples into tiles that begin where the noise repeats."""
    periods = max(1, round(TILE_SECONDS * facts.sample_rate / facts.period))
    step = facts.period * max(periods, -(-4 * facts.fade // facts.period))
    # The last core is between a half and one and a half times as long as the others.
    count = max(1, round((length - facts.margin) / step))
    borders = [0, *(i * step + facts.margin for i in range(1, count)), length]
    return [
        Tile(i * step, borders[i], borders[i + 1], min(length, borders[i + 1] + facts.margin)) for i in range(count)
    ]
