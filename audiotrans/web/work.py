"""What the page does for its users: one job at a time, within limits, in folders that go again; knows no Gradio."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import threading
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiotrans.audio import AUDIO_SUFFIXES, Writer, output_suffix, probe, read_blocks
from audiotrans.convert.converter import Converter, load_any
from audiotrans.convert.jobs import Job, Spool, Written
from audiotrans.convert.photos import PhotoConverter
from audiotrans.errors import AudiotransError, UsageError, lookup
from audiotrans.files import short_name
from audiotrans.options import OPTIONS, ConvertOptions, options_of
from audiotrans.photo.pillow import PHOTO_SUFFIXES
from audiotrans.weights import find

OWN_FORMAT = "as it came"
SOUND_FORMATS = (OWN_FORMAT, "wav", "flac")
"""What results may be had as; the first is the input's own format, or the nearest that can be written."""

_LONGEST_LINE = 400


class Stopped(Exception):
    """A user stopped the job, or went away."""


@dataclass(frozen=True)
class Limits:
    """What the page takes on; everything beyond is refused by one line.

    Attributes:
        minutes: of each sound.
        megabytes: of each file.
        files: in one job.
        waiting: jobs, those that run or wait.
        keep_minutes: that uploads and results stay.
        gigabytes: of uploads and results together.
    """

    minutes: float = 30.0
    megabytes: float = 300.0
    files: int = 50
    waiting: int = 20
    keep_minutes: float = 60.0
    gigabytes: float = 10.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < 1e6:
                raise UsageError(f"{name.replace('_', ' ')} {value:g}: give a number above 0")


@dataclass(frozen=True)
class Order:
    """What a user asks for.

    Attributes:
        files: inputs, in their order.
        model: its name.
        to: name of the domain to translate to.
        options: the other fields of `ConvertOptions`.
    """

    files: Sequence[Path]
    model: str
    to: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """A converted file: what it was made of, the result, and what there is to say.

    Attributes:
        before: the input.
        after: the result; of a sound a WAV file, of which other formats are made.
        notes: one line each.
        photo: whether it is one.
    """

    before: Path
    after: Path
    notes: tuple[str, ...] = ()
    photo: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of an order: folder of the job, what was converted, and one line for each file that was not."""

    folder: Path
    pairs: tuple[Pair, ...]
    refused: tuple[str, ...]


Tell = Callable[[float, float, str], None]
"""Takes the share that is done (0 .. 1), the seconds that are left (or NaN), and what is being done."""


class Workshop:
    """The models of a page, each loaded once and shared, and the one bench at which all jobs are done in turn.

    Args:
        models: names or weights files; the first is the page's default.
        folder: where jobs have their folders.
        limits: what is taken on.
        device: see `load_any`.

    Raises:
        UsageError: for a model that does not exist, or two of one name.
    """

    def __init__(self, models: Sequence[str], folder: Path, limits: Limits | None = None, device: str = "auto") -> None:
        self.paths: dict[str, Path] = {}
        for path in map(find, models):
            if self.paths.setdefault(path.stem, path) != path:
                raise UsageError(f"{self.paths[path.stem]} and {path} have one name: rename one of them")
        if not self.paths:
            raise UsageError("no model was named: give --model a shipped model's name or a weights file")
        self.folder, self.limits = folder, limits or Limits()
        self._device = device
        self._loaded: dict[str, Converter | PhotoConverter] = {}
        self._bench, self._loading = threading.Lock(), threading.Lock()
        self._stops: dict[str, set[threading.Event]] = {}

    def converter(self, model: str) -> Converter | PhotoConverter:
        """Return a model by its name, loaded when it is first asked for.

        Raises:
            UsageError: for an unknown name.
        """
        path = lookup(self.paths, str(model)[:100], "model")
        with self._loading:
            if path.stem not in self._loaded:
                self._loaded[path.stem] = load_any(path, device=self._device)
            return self._loaded[path.stem]

    def stop(self, user: str) -> None:
        """Stop the jobs of a user, the running one and those that wait."""
        for event in tuple(self._stops.get(user, ())):
            event.set()

    def convert(self, user: str, order: Order, tell: Tell | None = None) -> Outcome:
        """Do what is ordered, when those who came before are served.

        Args:
            user: whose job it is, for `stop`.
            order: what is asked for.
            tell: called several times a second with the progress.

        Raises:
            AudiotransError: if nothing could be converted, with the reason.
            Stopped: if `stop` was called for the user.
        """
        stop = threading.Event()
        self._stops.setdefault(user, set()).add(stop)
        try:
            while not self._bench.acquire(timeout=0.2):
                _check(stop)
            try:
                return self._convert(order, stop, tell or _silent)
            finally:
                self._bench.release()
        finally:
            self._stops[user].discard(stop)
            if not self._stops[user]:
                del self._stops[user]

    def _convert(self, order: Order, stop: threading.Event, tell: Tell) -> Outcome:
        _check(stop)
        converter = self.converter(order.model)
        options = converter.complete(options_of({**order.options, "to": order.to}))
        photo = isinstance(converter, PhotoConverter)
        self._check_count(order.files, "choose a photo" if photo else "choose or record a sound")
        folder = self.folder / f"job-{secrets.token_urlsafe(16)}"
        folder.mkdir(parents=True)
        try:
            return self._convert_all(order, converter, options, folder, _Clock(len(order.files), stop, tell), photo)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _convert_all(
        self,
        order: Order,
        converter: Converter | PhotoConverter,
        options: ConvertOptions,
        folder: Path,
        clock: _Clock,
        photo: bool,
    ) -> Outcome:
        pairs: list[Pair] = []
        refused: list[str] = []
        taken: set[str] = set()
        for number, source in enumerate(order.files):
            clock.begin(number, source.name)
            try:
                self._check_file(source, photo)
                output = folder / _free_name(source, order.to, photo, taken)
                (written,) = converter.convert_job(Job(source, (output,)), options, progress=clock.tick)
            except AudiotransError as error:
                refused.append(plainly(str(error), source))
            else:
                pairs.append(Pair(source, written.path, _notes(written, source), photo))
        if not pairs:
            raise AudiotransError(refused[0] if len(refused) == 1 else f"none could be converted: {'; '.join(refused)}")
        return Outcome(folder, tuple(pairs), tuple(refused))

    def _check_count(self, files: Sequence[Path], way: str) -> None:
        if not files:
            raise UsageError(f"there is nothing to convert yet: {way} first")
        if len(files) > self.limits.files:
            raise UsageError(f"{len(files)} files at once: at most {self.limits.files} are taken, so choose fewer")

    def _check_file(self, source: Path, photo: bool) -> None:
        if self.folder not in source.resolve().parents:
            raise UsageError(f"{source.name} was not uploaded: upload it first")
        if not source.is_file():
            kept = f"{self.limits.keep_minutes:g} minutes"
            raise AudiotransError(f"{source.name} is gone, for uploads are kept {kept}: choose it again")
        kind, wrong = ("photos", AUDIO_SUFFIXES) if photo else ("sound", PHOTO_SUFFIXES)
        if source.suffix.lower() in wrong:
            raise UsageError(f"{source} is not for this model, which is for {kind}: choose another model")
        size = source.stat().st_size / 1e6
        if size > self.limits.megabytes:
            raise UsageError(f"{source} has {size:.0f} MB: at most {self.limits.megabytes:g} MB are taken")
        if not photo and (seconds := probe(source).seconds) > 60 * self.limits.minutes:
            found = f"{seconds / 60:.1f} minutes long: at most {self.limits.minutes:g} minutes are taken"
            raise UsageError(f"{source} is {found}; cut it into parts")

    def download(self, outcome: Outcome, sound_format: str) -> Path:
        """Return the file to download: the result in the wanted format, or a ZIP file of several.

        Args:
            outcome: of `convert`; its folder takes what is made.
            sound_format: one of `SOUND_FORMATS`; photos keep theirs.

        Raises:
            UsageError: for an unknown format.
        """
        check_format(sound_format)
        made = [_as(pair, sound_format) for pair in outcome.pairs]
        if len(made) == 1:
            return made[0]
        packed = outcome.folder / ("audiotrans.zip" if sound_format == OWN_FORMAT else f"audiotrans-{sound_format}.zip")
        if not packed.exists():
            with zipfile.ZipFile(packed, "w") as archive:
                for path in made:
                    archive.write(path, path.name)
        return packed

    def has_room(self) -> bool:
        """Tell whether uploads and results leave room for more."""
        found = (_status(path) for path in self.folder.rglob("*"))
        sizes = (each.st_size for each in found if each is not None and stat.S_ISREG(each.st_mode))
        return sum(sizes) < 1e9 * self.limits.gigabytes

    def sweep(self) -> None:
        """Remove what has lain in the folder for longer than the limits say."""
        oldest = time.time() - 60 * self.limits.keep_minutes
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            found = _status(path)
            if found is not None and found.st_mtime < oldest:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


class _Clock:
    """Turns the seconds done of one file into the share and the time left of all."""

    def __init__(self, files: int, stop: threading.Event, tell: Tell) -> None:
        self._files, self._stop, self._tell = files, stop, tell
        self._number, self._label, self._started = 0, "", time.monotonic()

    def begin(self, number: int, name: str) -> None:
        """Begin the next file."""
        self._number = number
        self._label = f"{name} ({number + 1} of {self._files})" if self._files > 1 else name
        self.tick(0.0, 1.0)

    def tick(self, done: float, total: float) -> None:
        """Tell what is done of the file at hand.

        Raises:
            Stopped: if the user stopped the job.
        """
        _check(self._stop)
        share = (self._number + done / total) / self._files if total else 0.0
        elapsed = time.monotonic() - self._started
        self._tell(share, elapsed * (1 - share) / share if share else float("nan"), self._label)


def check_format(name: str) -> None:
    """Refuse what no result may be had as.

    Raises:
        UsageError: naming what there is.
    """
    if name not in SOUND_FORMATS:
        raise UsageError(f"format {name!r}: choose one of {', '.join(SOUND_FORMATS)}")


def _status(path: Path) -> os.stat_result | None:
    """Return a file's status; None where it went meanwhile, for jobs and uploads remove theirs at any time."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise Stopped


def _silent(share: float, left: float, label: str) -> None:
    """Tell nobody."""


def _free_name(source: Path, to: str, photo: bool, taken: set[str]) -> str:
    """Name a result; files of one name, from several folders, are numbered."""
    suffix = source.suffix if photo else ".wav"
    name, number = short_name(source.stem, f".{to}{suffix}"), 2
    while name.casefold() in taken:
        name, number = short_name(source.stem, f".{to}.{number}{suffix}"), number + 1
    taken.add(name.casefold())
    return name


def _as(pair: Pair, sound_format: str) -> Path:
    """Return a result in a format, written beside it if need be, with the input's tags."""
    suffix = output_suffix(pair.before) if sound_format == OWN_FORMAT else f".{sound_format}"
    wanted = pair.after.with_suffix(suffix.lower())
    if pair.photo or wanted.exists():
        return pair.after if pair.photo else wanted
    own, made = probe(pair.before), probe(pair.after)
    writer = Writer(wanted, made.sample_rate, made.channels, like=own)
    with writer, Spool(wanted.parent, made.channels) as spool:  # its peak decides whether it is turned down
        for block in read_blocks(pair.after):
            spool.append(block)
        spool.write(writer)
    return wanted


def _notes(written: Written, source: Path) -> tuple[str, ...]:
    """Return what a user is told of a result."""
    said = [plainly(line, source) for line in written.warnings]
    if written.gain < 1:
        said.append(f"{source.name}: the result was turned down, so that no peak clips")
    return tuple(said)


def plainly(line: str, source: Path | None = None) -> str:
    """Say a message of the command line in words of the page: names without folders, no options."""
    text = " ".join(line.split())
    if source is not None:
        text = text.replace(f"{source.parent}/", "").replace(str(source), source.name)
    text = re.sub(r"translate it with --from (\S+) --to (\S+?)(?=[,;. ]|$)", r"turn it from \1 into \2", text)
    text = re.sub(r" with (--model|-o)\b| \(?(use|with) --[\w-]+[^:;,.]*\)?", "", text)
    return text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 1] + "…"


_LAST = ("phase", "seed")
MORE_OPTIONS = {
    name: info
    for name, info in sorted(OPTIONS.items(), key=lambda item: item[0] in _LAST)
    if name not in ("to", "source", "strength")
}
"""What stands under More: first what changes the sound."""
