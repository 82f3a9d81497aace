"""Compare phase methods: ours, librosa's, torchaudio's where it loads, and the true phase, in one run on one thread.

    python -m benchmarks.phase --recorded RECORDINGS --paired PAIRS -o results/

Magnitudes of music are rebuilt from (a) exact, (b) blurred and noisy, (c) 128 mel bands, and (d) what the shipped model
made of them; with --paired also from the gain that a perfect model would give. Without options it uses the sounds in
`data/` only.
"""

from __future__ import annotations

import os

# Before numpy and torch arrive: the figures are seconds of one thread.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import platform
from collections.abc import Callable
from pathlib import Path

import click
import torch
from tqdm import tqdm

from audiotrans.errors import AudiotransError
from audiotrans.spectrogram.stft import STFT
from benchmarks import phase_stereo
from benchmarks.phase_cases import (
    SPOILT,
    Case,
    Excerpt,
    excerpts,
    loud,
    magnitude_cases,
    model_case,
    oracle_cases,
)
from benchmarks.phase_methods import TRUE_PHASE, Method, cpu_seconds, measure, methods, true_phase
from benchmarks.phase_report import Findings, report, write

DATA = Path(__file__).resolve().parents[1] / "data"


def shipped_sounds() -> tuple[str, ...]:
    return str(DATA / "violin.wav"), str(DATA / "piano.wav")


def run_mono(cases: list[Case], ways: list[Method], findings: Findings, tick: Callable[[], object]) -> None:
    """Rebuild and measure every case by every method that can."""
    for case in cases:
        keys = {"group": case.group, "set": case.kind, "clip": case.name, "attacks": len(case.attacks)}
        if case.truth is not None:
            findings.mono.append({**keys, "method": TRUE_PHASE, **measure(case, true_phase(case))})
        for method in ways:
            if case.has_source or not method.needs_source:
                wave = method.run(case.task, case.samples)
                findings.mono.append({**keys, "method": method.name, **measure(case, wave)})
            tick()


def timed_cases(cases: list[Case]) -> list[Case]:
    """Choose what is timed: the first exact excerpt of each group, and the first translation for the source's phase."""
    first: dict[tuple[str, str], Case] = {}
    for case in cases:
        first.setdefault((case.group if case.kind in SPOILT else "", case.kind), case)
    return [case for (_, kind), case in first.items() if kind in ("exact", "model")]


def translations(
    groups: dict[str, list[Excerpt]], pairs: Path | None, converter, seconds: float, limit: int, notes: list[str]
) -> list[Case]:
    """Make the cases of set (d)."""
    if converter is None:
        return []
    named = [(group, excerpt) for group, body in groups.items() for excerpt in body if excerpt.domain]
    cases = [model_case(group, excerpt, converter) for group, excerpt in named]
    if pairs is None:
        notes.append("oracle gain: no --paired folder was given")
        return cases
    return cases + list(oracle_cases(pairs, converter, seconds, limit))


def shipped_model(name: str, stft: STFT, notes: list[str]):
    """Load the model for set (d); None, and a note, where it cannot serve."""
    import audiotrans

    try:
        converter = audiotrans.load(name, device="cpu")
    except AudiotransError as error:
        notes.append(f"set (d), the model's outputs: {error}")
        return None
    if converter.imaging.stft != stft:
        theirs = converter.imaging.stft
        notes.append(f"set (d): the model works at {theirs.n_fft}/{theirs.hop_length}")
        return None
    return converter


def music(
    paths: dict[str, tuple[str, ...]], converter, seconds: float, hop: int, clips: int
) -> dict[str, list[Excerpt]]:
    """Cut the excerpts of each group; groups without any are left out."""
    domains = () if converter is None else converter.domains
    found = {group: excerpts(names, seconds, hop, clips, domains) for group, names in paths.items() if names}
    # Nothing can be measured on silence.
    kept = {group: [one for one in body if loud(one)] for group, body in found.items()}
    return {group: body for group, body in kept.items() if body}


def settings(stft: STFT, groups: dict[str, list[Excerpt]], seconds: float, repeats: int) -> dict[str, str]:
    import librosa

    found = {
        "STFT": f"Hann, {stft.n_fft}/{stft.hop_length}, 44.1 kHz, excerpts of {seconds:g} s, mixed down but for stereo",
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, librosa {librosa.__version__}",
        "CPU": f"{processor()}, one thread, best of {repeats}; load average {os.getloadavg()[0]:.1f} at the end",
    }
    return {**found, **{group: ", ".join(excerpt.name for excerpt in body) for group, body in groups.items()}}


def processor() -> str:
    """Name the processor as Linux does, or as Python can."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def compare(
    groups: dict[str, list[Excerpt]], stft: STFT, converter, pairs: Path | None, *, repeats: int, limit: int,
    seconds: float, quick: bool, notes: list[str],
) -> Findings:  # fmt: skip
    """Run all parts, with one bar of progress over everything that is rebuilt."""
    findings = Findings(notes=notes)
    ways, missing = methods(quick)
    notes += [f"{name}: not among the phase methods of this version" for name in missing]
    cases = [case for group, body in groups.items() for one in body for case in magnitude_cases(group, one, stft)]
    cases += translations(groups, pairs, converter, seconds, limit, notes)
    if "recorded" not in groups:
        notes.append("recorded music: no --recorded was given")
    wide = [excerpt for excerpt in groups.get("recorded", []) if phase_stereo.is_stereo(excerpt)]
    if not wide:
        notes.append("stereo: no recording of two different channels was given")
    stereo = [case for excerpt in wide for case in phase_stereo.cases(excerpt, stft, converter)]
    timed = timed_cases(cases)
    rebuilt = len(cases) * len(ways) + len(stereo) * len(phase_stereo.methods(quick))
    rebuilt += repeats * sum(case.has_source or not method.needs_source for case in timed for method in ways)
    with tqdm(total=rebuilt, unit="sound", desc="phase") as bar:
        run_mono(cases, ways, findings, bar.update)
        for case in stereo:
            findings.stereo += phase_stereo.scores(case, quick, bar.update)
        findings.cost = cpu_seconds(ways, timed, repeats, bar.update)
    findings.settings = settings(stft, groups, seconds, repeats)
    return findings


@click.command()
@click.option("--rendered", multiple=True, help="File, folder or 'pattern' of rendered music; default: data/.")
@click.option("--recorded", multiple=True, help="The same of recorded music; both may be given several times.")
@click.option(
    "--paired",
    "pairs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the same phrases in violin/ and piano/.",
)
@click.option("--model", default="violin-piano", show_default=True, help="Shipped model or weights file for set (d).")
@click.option("--n-fft", default=2048, show_default=True)
@click.option("--hop", default=512, show_default=True)
@click.option("--seconds", default=4.5, show_default=True, help="Length of the excerpts.")
@click.option("--clips", default=8, show_default=True, help="Most excerpts of a group, evenly spaced over its files.")
@click.option("--repeats", default=5, show_default=True, help="Of the timing; the least counts.")
@click.option("--quick", is_flag=True, help="One short excerpt a group and few iterations: does it run?")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
def main(
    rendered: tuple[str, ...], recorded: tuple[str, ...], pairs: Path | None, model: str, n_fft: int, hop: int,
    seconds: float, clips: int, repeats: int, quick: bool, output: Path | None,
) -> None:  # fmt: skip
    """Compare phase methods, and print the bars and tables as Markdown."""
    torch.set_num_threads(1)
    if quick:
        seconds, clips, repeats = min(seconds, 1.0), 1, 1
    notes: list[str] = []
    try:
        stft = STFT(n_fft, hop)
        converter = shipped_model(model, stft, notes)
        groups = music({"rendered": rendered or shipped_sounds(), "recorded": recorded}, converter, seconds, hop, clips)
    except (ValueError, AudiotransError) as error:
        raise click.UsageError(str(error)) from error
    findings = compare(
        groups, stft, converter, pairs, repeats=repeats, limit=clips, seconds=seconds, quick=quick, notes=notes
    )
    click.echo(report(findings))
    if output is not None:
        click.echo("wrote " + ", ".join(str(path) for path in write(findings, output)), err=True)


if __name__ == "__main__":
    main()
