"""One clip through its chains: sounds written, scores taken, and a record left when all of it is done."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiotrans.audio import probe, read_blocks
from audiotrans.convert.chains import Chain, ChainOptions, Tick, chain_kind, chain_name, render_chains, write_sound
from audiotrans.convert.converter import Converter
from audiotrans.errors import AudiotransError
from audiotrans.evaluation.cycles.clips import Clip
from audiotrans.evaluation.cycles.folder import record_path, sound_path, write_whole
from audiotrans.evaluation.cycles.scores import Heard, score_sound


@dataclass(frozen=True)
class Setup:
    """What a worker needs to begin.

    Attributes:
        folder: of the results.
        model: a shipped model's name, or a weights file.
        device: where to run.
        threads: of this worker.
        chains: by the domain that they begin with.
        options: of every step.
        scores: keys of `SCORES`.
    """

    folder: Path
    model: str
    device: str
    threads: int
    chains: Mapping[str, tuple[Chain, ...]]
    options: ChainOptions
    scores: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
    """A clip that could not be translated, and why."""

    clip: Clip
    error: AudiotransError


class Worker:
    """Takes clips through chains, one after the other.

    Args:
        setup: see `Setup`.
        tick: called with the seconds of each translated block.
        converter: the model, where it is loaded already.
    """

    def __init__(self, setup: Setup, tick: Tick, converter: Converter | None = None) -> None:
        from audiotrans.convert import models

        models.use_threads(setup.threads)
        self.setup, self.tick = setup, tick
        self.converter = converter or models.load(setup.model, device=setup.device)

    def run(self, clip: Clip) -> Clip | Failed:
        """Translate and score one clip.

        Returns:
            The clip, or what was wrong with it.

        Raises:
            AudiotransError: if the results cannot be written: that ends the whole run.
        """
        try:
            items = self._items(clip)
        except OSError as error:
            raise _cannot_write(self.setup.folder, error) from error
        except AudiotransError as error:
            return Failed(clip, error)
        record = {"clip": clip.name, "source": str(clip.source.resolve()), "stamp": clip.stamp, "items": items}
        write_whole(record_path(self.setup.folder, clip), json.dumps(record))
        return clip

    def _items(self, clip: Clip) -> list[dict[str, Any]]:
        chains = self.setup.chains[clip.domain]
        copy = sound_path(self.setup.folder, clip, (clip.domain,))
        _copy(clip.source, copy)
        warnings: list[str] = []
        items = [self._item(clip, (clip.domain,), copy, {}) | {"warnings": warnings}]
        like = probe(clip.source)
        reference: Heard | None = None
        sounds = render_chains(
            self.converter, clip.source, chains, self.setup.options, self.setup.folder,
            tick=self.tick, warn=warnings.append,
        )  # fmt: skip
        for chain, spool in sounds:
            path = sound_path(self.setup.folder, clip, chain)
            write_sound(spool, path, like)
            scores: dict[str, float | None] = {}
            if self.setup.scores:
                reference = reference or Heard(read_blocks(clip.source), like.sample_rate)
                estimate = Heard(spool.blocks(), like.sample_rate)
                scores = score_sound(reference, estimate, chain_kind(chain), self.setup.scores)
            items.append(self._item(clip, chain, path, scores))
        return items

    def _item(self, clip: Clip, chain: Chain, path: Path, scores: Mapping[str, float | None]) -> dict[str, Any]:
        sound = path.relative_to(self.setup.folder).as_posix()
        about = {"input": str(clip.source), "clip": clip.name, "domain": clip.domain}
        return {**about, "chain": chain_name(chain), "sound": sound, "scores": dict(scores)}


def _copy(source: Path, target: Path) -> None:
    """Put the input beside its results, so that the folder can be heard and moved as a whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.stem}.partial{target.suffix}")
    try:
        shutil.copyfile(source, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _cannot_write(folder: Path, error: OSError) -> AudiotransError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return AudiotransError(f"no space left in {folder}: make room and run again; finished files are kept")
    return AudiotransError(f"cannot write to {folder}: {error.strerror or error}")


_worker: Worker | None = None


def start_worker(setup: Setup, progress: Any) -> None:
    """Begin a worker process; ``progress`` is a shared number of seconds."""

    def tick(seconds: float) -> None:
        with progress.get_lock():
            progress.value += seconds

    global _worker  # a worker process holds one model for all its clips
    _worker = Worker(setup, tick)


def work(clip: Clip) -> Clip | Failed:
    """Take one clip through its chains, in a worker process."""
    if _worker is None:
        raise RuntimeError("the worker was not started")
    return _worker.run(clip)
