"""Where the sounds of the two domains lie, and which recordings are held out.

Sources are IRMAS' tree, two folders, or folders that are split already.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from audiotrans.audio import AUDIO_SUFFIXES, find_audio
from audiotrans.errors import UsageError, nearest
from audiotrans.files import real

SPLITS = ("train", "valid")
DOMAINS = ("a", "b")

IRMAS_FOLDER = "IRMAS-TrainingData"
IRMAS_CLASSES: dict[str, str] = {
    "cello": "cel",
    "clarinet": "cla",
    "flute": "flu",
    "acoustic_guitar": "gac",
    "electric_guitar": "gel",
    "organ": "org",
    "piano": "pia",
    "saxophone": "sax",
    "trumpet": "tru",
    "violin": "vio",
    "voice": "voi",
}
"""English name to the code that IRMAS uses for folder and file names."""

# The number before the last "__" names the recording; other numbers may stand at the beginning of the name.
IRMAS_NAME = re.compile(r"(?:^|\])(\d+)__\d+$")
NUMBERED_NAME = re.compile(r"(.*[^_])_+\d+")


@dataclass(frozen=True)
class Sound:
    """One sound file of a domain.

    Attributes:
        domain: ``a`` or ``b``.
        path: the file.
        key: name of the file within its domain, the same wherever the whole folder is moved.
        recording: what it was cut from; files of one recording never part between train and valid.
        pair: what it has in common with the same notes in the other domain: its key without the suffix, nor the
            ``.piano`` that `convert` adds to the name of a piano that it made.
        split: ``train`` or ``valid`` where the source is split already.
    """

    domain: str
    path: Path
    key: str
    recording: str
    pair: str
    split: str | None = None


@dataclass(frozen=True)
class Sources:
    """The two domains' names by ``a`` and ``b``, their sounds, and whether the split came with them."""

    names: dict[str, str]
    sounds: tuple[Sound, ...]
    split_kept: bool


def find_sources(source: Path, a: str, b: str) -> Sources:
    """Find the sounds of both domains.

    Args:
        source: a folder with a sub-folder for each domain, or with ``train`` and ``valid`` that each have both,
            or IRMAS' training data (or the folder that holds them).
        a: name of the first domain's folder; an IRMAS class by English name or code; or ``name=path``, the path
            from here or from ``source``.
        b: the second domain, likewise.

    Returns:
        The sounds, sorted by domain and name.

    Raises:
        UsageError: a folder is missing, empty of sounds, or the same for both domains; or a name is not allowed.
    """
    if not source.is_dir():
        raise UsageError(f"{source} is not a folder: give the folder that holds the sounds")
    wanted = {"a": _Wanted.parse(a), "b": _Wanted.parse(b)}
    names = {domain: want.name for domain, want in wanted.items()}
    if names["a"].casefold() == names["b"].casefold():
        raise UsageError(f"both domains are {names['a']!r}: --a and --b must differ")
    folders, split_kept = _locate(source, wanted)
    for split in folders:
        _refuse_shared(names, folders[split])
    sounds = [
        sound
        for split, of_domain in folders.items()
        for domain in DOMAINS
        for sound in _sounds_in(of_domain[domain], domain, names[domain], split if split_kept else None)
    ]
    _refuse_twice(names, sounds)
    return Sources(names, tuple(sorted(sounds, key=lambda sound: (sound.domain, sound.key))), split_kept)


def check_twins(sources: Sources) -> None:
    """Make sure that each sound has one of its name in the other domain, whatever their suffixes.

    Raises:
        UsageError: naming the first that has none.
    """
    of = {domain: Counter(s.pair for s in sources.sounds if s.domain == domain) for domain in DOMAINS}
    for domain, other in (("a", "b"), ("b", "a")):
        for pair in sorted((of[domain] - of[other]).keys()):
            raise UsageError(
                f"{pair} of {sources.names[domain]} has no twin in {sources.names[other]}: pairs are files of equal"
                " names; add it, remove this one, or leave --paired out"
            )


def recording_of(relative: Path) -> str:
    """Name the recording that a file was cut from.

    Args:
        relative: the file's path within its domain's folder.

    Returns:
        In names as IRMAS gives them, the number before the last ``__``; else the path without its suffix and
        without a last ``_NN``: files that differ in that number alone continue each other.
    """
    irmas = IRMAS_NAME.search(relative.stem)
    if irmas:
        return irmas[1]
    numbered = NUMBERED_NAME.fullmatch(relative.stem)
    return relative.with_name(numbered[1] if numbered else relative.stem).as_posix()


@dataclass(frozen=True)
class _Wanted:
    """A domain as the user asked for it: its name, and its path where one was given."""

    name: str
    path: Path | None

    @classmethod
    def parse(cls, text: str) -> _Wanted:
        name, equals, path = text.partition("=")
        name = name.strip()
        if not re.fullmatch(r"\w[\w .-]*", name):
            example = Path(text).name or "violin"
            raise UsageError(
                f"domain name {name!r}: letters, digits, blanks, '.', '_' and '-' are allowed; "
                f"for a folder elsewhere write {example}={text or 'path'}"
            )
        if equals and not path:
            raise UsageError(f"{text!r} gives no path: write {name}=path, or only {name}")
        return cls(name, Path(path).expanduser() if equals else None)


_Folders = dict[str, Path]


def _locate(source: Path, wanted: dict[str, _Wanted]) -> tuple[dict[str, _Folders], bool]:
    """Return the folders by split (all under ``train`` where there is none yet) and whether a split exists."""
    split = _split_above(source, wanted)
    if split:
        return split, True
    folders = {domain: _folder(source, want) for domain, want in wanted.items()}
    below = {name: {domain: folder / name for domain, folder in folders.items()} for name in SPLITS}
    if all(folder.is_dir() for of_domain in below.values() for folder in of_domain.values()):
        return below, True
    return {"train": folders}, False


def _split_above(source: Path, wanted: dict[str, _Wanted]) -> dict[str, _Folders] | None:
    """Return the folders where ``source`` has train/ and valid/ with both domains in each, else None."""
    if any(want.path for want in wanted.values()):
        return None
    found = {
        split: {
            domain: folder
            for domain, want in wanted.items()
            if (folder := _named_folder(source / split, want.name)) is not None
        }
        for split in SPLITS
    }
    counts = [len(of_domain) for of_domain in found.values()]
    if all(count == len(DOMAINS) for count in counts):
        return found
    if any(counts) and not all(_named_folder(source, want.name) for want in wanted.values()):
        missing = [
            f"{split}/{want.name}" for split in SPLITS for domain, want in wanted.items() if domain not in found[split]
        ]
        raise UsageError(f"{source} has train/ or valid/ but no {', '.join(missing)}: give all four, or no split")
    return None


def _folder(source: Path, want: _Wanted) -> Path:
    """Return the folder of one domain, or say what there is instead."""
    if want.path:
        for candidate in (want.path, source / want.path):
            if candidate.is_dir():
                return candidate
        raise UsageError(f"{want.path} is not a folder (for the domain {want.name!r}): give an existing one")
    folder = _named_folder(source, want.name)
    if folder:
        return folder
    if _is_irmas_testing(source):
        raise UsageError(
            f"{source} is IRMAS' testing part: its clips are labelled by text files, not divided into a folder for each"
            f" class. prep needs the training part, {IRMAS_FOLDER}"
        )
    if _is_irmas(source):
        known = ", ".join(f"{name} ({code})" for name, code in IRMAS_CLASSES.items())
        if _irmas_code(want.name):
            raise UsageError(f"{source} has no folder {_irmas_code(want.name)} ({want.name}): is IRMAS complete?")
        hint = nearest(want.name, [*IRMAS_CLASSES, *IRMAS_CLASSES.values()])
        raise UsageError(f"unknown IRMAS class {want.name!r}: choose one of {known}.{hint}")
    there = sorted(entry.name for entry in source.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    raise UsageError(
        f"{source} has no folder {want.name!r}: it has {_listed(there)}; "
        f"{want.name}=path names one elsewhere.{nearest(want.name, there)}"
    )


def _listed(names: list[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "no folders") + more


def _named_folder(root: Path, name: str) -> Path | None:
    """Return the folder of that name, or IRMAS' folder of that class."""
    code = _irmas_code(name)
    candidates = [root / name, *([root / code, root / IRMAS_FOLDER / code] if code else [])]
    return next((folder for folder in candidates if folder.is_dir()), None)


def _irmas_code(name: str) -> str | None:
    folded = re.sub(r"[\s-]+", "_", name.casefold())
    return folded if folded in IRMAS_CLASSES.values() else IRMAS_CLASSES.get(folded)


def _is_irmas(source: Path) -> bool:
    if (source / IRMAS_FOLDER).is_dir():
        return True
    # One folder of such a name may be chance.
    return sum((source / code).is_dir() for code in IRMAS_CLASSES.values()) >= 2


def _is_irmas_testing(source: Path) -> bool:
    """Tell whether the first text files of a folder stand beside a sound of their name and hold codes of classes."""
    texts = chain(source.glob("*.txt"), source.glob("*/*.txt"), source.glob("*/*/*.txt"))
    labels = list(islice((text for text in texts if text.with_suffix(".wav").is_file()), 3))
    return bool(labels) and all(_holds_codes(text) for text in labels)


def _holds_codes(text: Path) -> bool:
    words = text.read_bytes()[:200].decode("ascii", "replace").split()
    return bool(words) and set(words) <= set(IRMAS_CLASSES.values())


def _refuse_shared(names: dict[str, str], folders: _Folders) -> None:
    a, b = real(folders["a"]), real(folders["b"])
    if a == b:
        raise UsageError(f"{names['a']!r} and {names['b']!r} are the same folder, {folders['a']}: two are needed")
    if a in b.parents or b in a.parents:
        raise UsageError(f"of {folders['a']} and {folders['b']} one lies in the other: the domains must be apart")


def _refuse_twice(names: dict[str, str], sounds: Iterable[Sound]) -> None:
    """Refuse a file that both domains hold, as linked folders may lead to."""
    homes: dict[tuple[int, int], Sound] = {}
    for sound in sounds:
        try:
            status = sound.path.stat()
        except OSError:  # what reading it will say
            continue
        other = homes.setdefault((status.st_dev, status.st_ino), sound)
        if other.domain != sound.domain and status.st_ino:  # Windows may not know it
            raise UsageError(
                f"{other.path} and {sound.path} are one file, in {names[other.domain]} and in {names[sound.domain]}: "
                "the domains must be apart; is there a link to the other's folder?"
            )


def _sounds_in(folder: Path, domain: str, name: str, split: str | None) -> Iterator[Sound]:
    try:
        paths = find_audio([folder])
    except UsageError:
        paths = []
    if not paths:
        allowed = " ".join(AUDIO_SUFFIXES[:12])
        raise UsageError(f"no sounds for {name!r} in {folder}: files ending in {allowed} and others are read")
    for path in paths:
        relative = path.relative_to(folder)
        named = relative.with_name(relative.stem.removesuffix(f".{name}") + relative.suffix)
        key, pair = (Path(split or "", each).as_posix() for each in (relative, named.with_suffix("")))
        yield Sound(domain, path.absolute(), key, recording_of(named), pair, split)


def assign_splits(recordings: Iterable[str], valid_fraction: float, seed: int) -> dict[str, str]:
    """Divide the recordings of one domain between train and valid.

    A recording's side depends on its own name, the fraction and the seed alone; a recording of the same name in the
    other domain falls on the same side. So the share that is held out is near ``valid_fraction``, not exact. The
    one exception: of two or more recordings each side gets at least one, the nearest to the threshold.

    Args:
        recordings: names; repeated ones count once.
        valid_fraction: 0 to 1, share of recordings that is held out on average.
        seed: another seed holds out other recordings.

    Returns:
        ``train`` or ``valid`` for each name.
    """
    scores = {name: _score(name, seed) for name in recordings}
    splits = {name: "valid" if score < valid_fraction else "train" for name, score in scores.items()}
    if len(splits) < 2:
        return dict.fromkeys(splits, "train")
    if "valid" not in splits.values():
        splits[min(scores, key=scores.__getitem__)] = "valid"
    if "train" not in splits.values():
        splits[max(scores, key=scores.__getitem__)] = "train"
    return splits


def _score(name: str, seed: int) -> float:
    """Return a number in [0, 1) that looks random and is the same everywhere."""
    digest = hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
