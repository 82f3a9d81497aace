"""Chains of translations, such as violin -> piano -> violin: what they are called, and how a file goes through them.

Every step starts from the float samples of the one before, whatever their peaks, and a step that several chains begin
with is taken once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from audiotrans.audio import AudioInfo, Wave, Writer, probe, read_blocks
from audiotrans.audio.blocks import resampled_length
from audiotrans.convert.converter import Converter
from audiotrans.convert.jobs import Spool, check_space, naming
from audiotrans.convert.sound_converter import Measured
from audiotrans.convert.warnings import DomainCheck
from audiotrans.errors import AudiotransError, UsageError, lookup
from audiotrans.options import ConvertOptions
from audiotrans.spectrogram.level import check_level

Chain = tuple[str, ...]
"""Names of domains: the input's own first, then where each step translates to."""

Tick = Callable[[float], None]
"""Takes the seconds of sound that one more block holds."""


def default_chains(domains: tuple[str, str]) -> list[Chain]:
    """Return the six translations of the paper: each domain to itself, to the other, and there and back.

    Source:
        Section 4.3. It lists V->V->P where the list's own symmetry (P->V->P) has V->P->V; the latter is taken here,
        the former can be asked for.
    """
    first, second = domains
    pairs = ((first, second), (second, first))
    return [chain for own, other in pairs for chain in ((own, own), (own, other), (own, other, own))]


def parse_chain(text: str, domains: tuple[str, str]) -> Chain:
    """Read a chain as users write it: ``violin,piano,violin``, ``violin->piano`` or, by first letters, ``V,P,V``.

    Args:
        text: what the user wrote; upper and lower case are one.
        domains: names of the model's domains.

    Raises:
        UsageError: for an unknown domain, or fewer than two.
    """
    names = {name.casefold(): name for name in domains}
    if len({name[:1] for name in names}) == len(names):  # first letters tell the domains apart
        names |= {name[:1]: whole for name, whole in names.items()}
    words = [word.strip().casefold() for word in text.replace("->", ",").split(",")]
    if len(words) < 2 or not all(words):
        raise UsageError(f"--chain {text!r}: name two domains or more, such as {domains[0]},{domains[1]},{domains[0]}")
    return tuple(names[word] if word in names else _unknown(word, domains) for word in words)


def _unknown(word: str, domains: tuple[str, str]) -> str:
    return lookup({name: name for name in domains}, word, "domain of this model")


def chain_name(chain: Chain) -> str:
    """Return the name of a chain's folder: its domains joined by a hyphen."""
    return "-".join(chain)


def chain_kind(chain: Chain) -> str:
    """Tell a ``reconstruction`` (V->V), a ``cycle`` (V->P->V) and a ``translation`` (ends in another domain)."""
    if chain[0] != chain[-1]:
        return "translation"
    return "reconstruction" if len(set(chain)) == 1 else "cycle"


@dataclass
class _Step:
    """One step of a tree of chains: whether a chain ends here, and the steps that go on from it."""

    chain: Chain
    ends: bool = False
    next: dict[str, _Step] = field(default_factory=dict)


def _tree(chains: Sequence[Chain]) -> _Step:
    root = _Step(chains[0][:1])
    for chain in chains:
        step = root
        for domain in chain[1:]:
            step = step.next.setdefault(domain, _Step((*step.chain, domain)))
        step.ends = True
    return root


def steps_of(chains: Sequence[Chain]) -> int:
    """Count the translations that chains need when shared beginnings are taken once."""
    return len({chain[: end + 1] for chain in chains for end in range(1, len(chain))})


def check_chains(converter: Converter, chains: Sequence[Chain], options: ConvertOptions) -> None:
    """Refuse, before any work, options that the model does not have.

    Raises:
        UsageError: naming the argument, and what it may be.
    """
    _steps(converter, chains, options)


def _steps(
    converter: Converter, chains: Sequence[Chain], options: ConvertOptions
) -> Mapping[tuple[str, str], ConvertOptions]:
    """Return the options of each step that chains take."""
    pairs = {pair for chain in chains for pair in pairwise(chain)}
    return {(source, to): converter.complete(replace(options, source=source, to=to)) for source, to in pairs}


def render_chains(
    converter: Converter,
    source: Path,
    chains: Sequence[Chain],
    options: ConvertOptions,
    folder: Path,
    *,
    tick: Tick | None = None,
    warn: Callable[[str], object] | None = None,
) -> Iterator[tuple[Chain, Spool]]:
    """Take a file of any length through chains, in bounded memory.

    Args:
        converter: the model.
        source: file to read.
        chains: all beginning with the file's own domain.
        options: of every step; chains say where it goes.
        folder: where the sounds between steps lie while they are needed: unnamed files of float samples, as many at a
            time as the longest chain has steps.
        tick: called with the seconds of each translated block.
        warn: called with a line for each thing about the input that is unlike the model's training data.

    Yields:
        Each chain with its sound, which is gone when the next one is asked for. A chain that others begin with comes
        before them.

    Raises:
        AudiotransError: naming the file, when it cannot be read or translated.
    """
    info = probe(source)
    if info.note and warn is not None:
        warn(info.note)
    steps = _steps(converter, chains, options)
    inner = resampled_length(info.frames, info.sample_rate, converter.settings.sample_rate)
    check_space(folder, (info.frames + inner) * info.channels * 4 * (max(map(len, chains)) - 1))
    with naming(source):
        yield from _Walk(converter, steps, info, folder, tick, warn).go(_tree(chains), read_blocks(source))


@dataclass(frozen=True)
class _Walk:
    """One walk through a tree of chains, depth first, so that few sounds are held at a time."""

    converter: Converter
    steps: Mapping[tuple[str, str], ConvertOptions]
    info: AudioInfo
    folder: Path
    tick: Tick | None
    warn: Callable[[str], object] | None

    def go(self, step: _Step, blocks: Iterable[Wave]) -> Iterator[tuple[Chain, Spool]]:
        """Go on from a step whose sound is ``blocks``, which are read once."""
        check = self._check(step)
        with Spool(self.folder, self.info.channels) as taken:
            found = self._measured(step, blocks, taken, check)
            for target, after in step.next.items():
                options = self.steps[step.chain[-1], target]
                with Spool(self.folder, self.info.channels) as spool:
                    for block in self.converter.stream(taken.blocks(), found, options, check):
                        spool.append(block)
                        if self.tick is not None:
                            self.tick(block.shape[1] / self.info.sample_rate)
                    if check is not None and self.warn is not None:
                        for line in check.warnings(found.level_db):
                            self.warn(line)
                        check = None  # every step that begins with it has the same input
                    if after.ends:
                        yield after.chain, spool
                    if after.next:
                        yield from self.go(after, spool.blocks())

    def _check(self, step: _Step) -> DomainCheck | None:
        """Return the check of the first input; only that is to be like the training data."""
        return None if self.warn is None or len(step.chain) > 1 else self.converter.domain_check(step.chain[0])

    def _measured(self, step: _Step, blocks: Iterable[Wave], taken: Spool, check: DomainCheck | None) -> Measured:
        untouched = any(not options.strength for options in self.steps.values())  # all have the same
        rate, channels = self.info.sample_rate, self.info.channels
        try:
            found = self.converter.measure(blocks, rate, channels, taken.append, check, untouched=untouched)
            check_level(found.level_db)  # silence has no scores
            return found
        except AudiotransError as error:
            if len(step.chain) == 1:
                raise
            raise AudiotransError(f"after {chain_name(step.chain)}: {error}") from error


def write_sound(spool: Spool, path: Path, like: AudioInfo) -> float:
    """Write a chain's sound as a file, turned down where its peaks would clip.

    Args:
        spool: from `render_chains`.
        path: of the file; what is there is replaced.
        like: the input, whose rate and kind of sample are kept where the format can.

    Returns:
        The factor that kept peaks from clipping; 1 if none was needed.

    Raises:
        AudiotransError: if it cannot be written.
    """
    with Writer(path, like.sample_rate, like.channels, like=like, force=True) as writer:
        return spool.write(writer)
