"""Systems, the rows of an evaluation: models that convert here, converted folders, the truth, and the input itself."""

from __future__ import annotations

import hashlib
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from audiotrans import audio
from audiotrans.audio import Wave
from audiotrans.errors import AudiotransError, UsageError
from audiotrans.evaluation.metrics.artefacts import consistency_db
from audiotrans.evaluation.scoring import AnalysedSound
from audiotrans.evaluation.testset import (
    LENGTH_TOLERANCE_SECONDS,
    RATE,
    Clip,
    Direction,
    digest_of,
    fit_channels,
    fit_length,
    read_piece,
)

if TYPE_CHECKING:
    from audiotrans.convert.converter import Converter
    from audiotrans.options import ConvertOptions

Array = npt.NDArray[np.floating[Any]]
Kind = Literal["system", "baseline", "truth", "input"]

WARM_UP_SECONDS = 1.0


@dataclass(frozen=True)
class Made:
    """What a system made of a clip.

    Attributes:
        wave: of the input's shape, at `RATE`.
        scores: what was measured while it was made: speed, memory, inconsistency.
        content: recording that the notes come from, where it is not the input's.
        warnings: one-line warnings about this input.
    """

    wave: Wave
    scores: Mapping[str, float] = field(default_factory=dict)
    content: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class System:
    """One row of a table.

    Attributes:
        name: what people read.
        kind: a system that is evaluated, a baseline to compare it with, the truth, or the input.
        identity: a text that changes whenever the outputs would.
        make: turns a clip and its analysed sound into an output; None where there is none (no truth, no file).
    """

    name: str
    kind: Kind
    identity: str
    make: Callable[[Clip, AnalysedSound], Made | None]


def input_itself() -> System:
    """Return the input as a system."""
    return System("input", "input", "input", lambda _clip, source: Made(source.wave))


def truth() -> System:
    """Return the truth, where it is known, as a system."""

    def make(clip: Clip, source: AnalysedSound) -> Made | None:
        wave = true_wave(clip, source.wave)
        return None if wave is None else Made(wave)

    return System("truth", "truth", "truth", make)


def true_wave(clip: Clip, source: Wave) -> Wave | None:
    """Return the truth of a clip in the shape of its input, or None."""
    if clip.truth is None:
        return None
    return fit_length(fit_channels(read_piece(clip.truth, clip), source.shape[0]), source.shape[1])


def model_system(name: str, path: Path, converter: Converter, direction: Direction, seed: int = 0) -> System:
    """Return a model as a system.

    Args:
        name: what to call it.
        path: its weights, for the identity.
        converter: the model.
        direction: what to translate.
        seed: of its noise.

    Raises:
        UsageError: the model does not know one of the domains.
    """
    maker = _ModelMaker(converter, converter.options(direction.target, direction.source, seed=seed), direction)
    return System(name, "system", f"model {digest_of(path)} seed {seed}", maker)


class _ModelMaker:
    """Converts with a model, and takes the time, the memory and the warnings."""

    def __init__(self, converter: Converter, options: ConvertOptions, direction: Direction) -> None:
        self._converter, self._options, self._direction = converter, options, direction
        self._warm = False

    def __call__(self, _clip: Clip, source: AnalysedSound) -> Made:
        wave = source.wave
        if not self._warm:  # the first conversion of a process also sets up libraries
            self._convert(wave[:, : round(WARM_UP_SECONDS * RATE)])
            self._warm = True
        peak = PeakMemory()
        started = time.perf_counter()
        output = self._convert(wave)
        elapsed = time.perf_counter() - started
        scores = {"real_time_factor": wave.shape[1] / RATE / elapsed, "peak_memory_mb": peak.megabytes()}
        if self._converter.settings.sample_rate == RATE and output.any():
            magnitude = wanted_magnitude(self._converter, wave, self._options)
            # Partials that are moved are not where they were wanted: phases are measured without that.
            moved = self._options.vibrato or self._options.remove_vibrato
            unmoved = self._convert(wave, vibrato=0.0, remove_vibrato=0.0) if moved else output
            scores["inconsistency_db"] = consistency_db(magnitude, unmoved, self._converter.imaging.stft)
        return Made(output, scores, warnings=self._warnings(wave))

    def _convert(self, wave: Wave, **changed: float) -> Wave:
        asked: dict[str, Any] = {"to": self._direction.target, "source": self._direction.source, **changed}
        return self._converter.convert(wave, RATE, seed=self._options.seed, **asked)

    def _warnings(self, wave: Wave) -> tuple[str, ...]:
        try:
            return tuple(self._converter.check(wave, RATE, source=self._direction.source))
        except AudiotransError as error:
            return (str(error),)


def wanted_magnitude(converter: Converter, wave: Wave, options: ConvertOptions) -> Array:
    """Return the magnitudes that a model wants its output to have, (channels, bins, frames), before any phase."""
    import torch

    with torch.inference_mode():
        image, context = converter.imaging.to_image(torch.from_numpy(wave).to(converter.device))
        translated = converter.translate_image(image, 0, options)
        magnitude: Array = converter.imaging.representation.decode(translated, context).magnitude.cpu().numpy()
    return magnitude


class PeakMemory:
    """The most memory that this process holds from now on: all of it, libraries and other sounds included."""

    def __init__(self) -> None:
        self._resettable = True
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:  # no Linux, or not allowed: the peak since the start is the next best
            self._resettable = False

    def megabytes(self) -> float:
        """Return the peak since this was made, in MB; nan where the system does not tell."""
        if self._resettable:
            for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
                if line.startswith("VmHWM:"):
                    return float(line.split()[1]) * 1024 / 1e6
        try:
            import resource
        except ImportError:  # Windows
            return math.nan
        unit = 1 if sys.platform == "darwin" else 1024
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit / 1e6


def folder_system(name: str, folder: Path, direction: Direction) -> tuple[System, list[str]]:
    """Return a folder of converted files as a system.

    A clip's output is the file of its name, or of its file's name, with or without ``.<target>`` at the end (as
    ``audiotrans convert`` names its outputs), in the sub-folder ``<source>-to-<target>`` or ``<target>`` if there is
    one, else in the folder itself.

    Args:
        name: what to call it.
        folder: any formats, rates and channels.
        direction: what they should be.

    Returns:
        The system, and one-line notes about clips without a file.

    Raises:
        UsageError: no file fits any clip.
        AudiotransError: a file differs in length from its input by more than `LENGTH_TOLERANCE_SECONDS`.
    """
    files = _matched(folder, direction)
    missing = [clip.name for clip in direction.clips if clip.name not in files]
    if len(missing) == len(direction.clips):
        wanted = direction.clips[0].path.stem
        raise UsageError(
            f"--system {name}={folder}: no file for {direction.source} to {direction.target}; a file is matched by "
            f"its input's name, such as {direction.name}/{wanted}.wav"
        )
    clips = {clip.name: clip for clip in direction.clips}
    for clip_name, (path, _) in files.items():
        _check_length(path, clips[clip_name], files[clip_name][1])

    def make(clip: Clip, source: AnalysedSound) -> Made | None:
        if clip.name not in files:
            return None
        path, cut = files[clip.name]
        wave = audio.read(path, sample_rate=RATE)[0] if cut else read_piece(path, clip)
        return Made(fit_length(fit_channels(wave, source.wave.shape[0]), source.wave.shape[1]))

    digests = " ".join(digest_of(path) for path, _ in files.values())
    identity = hashlib.sha256(digests.encode()).hexdigest()[:16]
    notes = [f"{name}: no file for {direction.name} {clip}" for clip in missing]
    return System(name, "system", f"folder {identity}", make), notes


def _matched(folder: Path, direction: Direction) -> dict[str, tuple[Path, bool]]:
    """Return the file of each clip, and whether it was cut as the clip is."""
    places = [folder / direction.name, folder / direction.target, folder]
    root = next((place for place in places if place.is_dir()), None)
    if root is None:
        raise UsageError(f"--system {folder}: there is no such folder")
    found = {path.relative_to(root).with_suffix("").as_posix(): path for path in audio.find_audio([root])}
    files: dict[str, tuple[Path, bool]] = {}
    for clip in direction.clips:
        whole = clip.name if clip.whole else clip.name.rpartition("_at_")[0]
        for key, cut in ((clip.name, True), (file_name(clip.name), True), (whole, False)):
            path = found.get(key) or found.get(f"{key}.{direction.target}")
            if path is not None:
                files[clip.name] = path, cut
                break
    return files


def refuse_ambiguous(name: str, folder: Path, directions: Sequence[Direction]) -> None:
    """Refuse a folder with a file that fits two directions: in pairs, a name says nothing of where a sound came from.

    Raises:
        UsageError: naming the file.
    """
    fits: dict[Path, str] = {}
    for direction in directions if folder.is_dir() else ():
        for path, _ in _matched(folder, direction).values():
            other = fits.setdefault(path, direction.name)
            if other != direction.name:
                raise UsageError(
                    f"--system {name}={folder}: {path.name} fits {other} and {direction.name}: put it into "
                    f"{folder}/{direction.name}, or choose with --from and --to"
                )


def file_name(clip: str) -> str:
    """Return the name of a clip's files: those of sub-folders are put into one."""
    return clip.replace("/", "__")


def _check_length(path: Path, clip: Clip, cut: bool) -> None:
    there = audio.probe(path).seconds
    wanted = clip.seconds if cut else audio.probe(clip.path).seconds
    if abs(there - wanted) > LENGTH_TOLERANCE_SECONDS:
        raise AudiotransError(
            f"{path} lasts {there:.2f} s, its input {clip.path} {wanted:.2f} s: they must agree within "
            f"{LENGTH_TOLERANCE_SECONDS:g} s"
        )


def refuse_same_names(systems: Sequence[System]) -> None:
    """Refuse two systems of one name, or of names whose sounds would lie in one folder.

    Raises:
        UsageError: naming them.
    """
    seen: dict[str, str] = {}
    for system in systems:
        folder = slug(system.name).casefold()
        if folder in seen:
            also = "" if seen[folder] == system.name else f", or nearly so ({seen[folder]!r})"
            raise UsageError(
                f"two systems are called {system.name!r}{also}: name one differently, --system NAME=FOLDER"
            )
        seen[folder] = system.name


def slug(name: str) -> str:
    """Return a system's name as a folder can be called."""
    kept = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name.strip())
    while "--" in kept:
        kept = kept.replace("--", "-")
    return kept.strip("-.") or "system"
