"""The phase benchmark's figures as tables, bars, JSON and a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.phase_cases import SPOILT
from benchmarks.phase_methods import AUTO, DEFAULT, LIBROSA, PGHI, TRUE_PHASE
from benchmarks.phase_stereo import JOINT
from benchmarks.table import Row, bootstrap, markdown

MOST_INCONSISTENCY_DB = {"rendered": -30.0, "recorded": -26.0}
MOST_COHERENCE_ERROR = 0.03
MOST_LEVEL_ERROR_DB = 0.3
DEFAULT_COST, PGHI_COST = 1 / 7, 1 / 18

Records = list[dict]


@dataclass
class Findings:
    """All figures of a run.

    Attributes:
        mono: one record a case and method: group, set, clip, method, and what `phase_methods.measure` found.
        stereo: the same of the stereo part.
        cost: CPU seconds per second of sound by method.
        settings: what the run was asked for and ran on.
        notes: what was passed over, and why.
    """

    mono: Records = field(default_factory=list)
    stereo: Records = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def values(records: Iterable[dict], measure: str, **wanted: str) -> np.ndarray:
    """Collect one figure of those records that have all the wanted entries."""
    chosen = [record for record in records if all(record[key] == value for key, value in wanted.items())]
    return np.array([record.get(measure, math.nan) for record in chosen], dtype=float)


def mean(records: Iterable[dict], measure: str, **wanted: str) -> float:
    """Average over the clips that have the figure; nan without any."""
    found = values(records, measure, **wanted)
    found = found[~np.isnan(found)]
    return float(found.mean()) if len(found) else math.nan


def names(records: Iterable[dict], key: str) -> list[str]:
    return list(dict.fromkeys(record[key] for record in records))


def cell(value: float, decimals: int) -> str:
    # Adding 0 turns -0.0 into 0.0.
    return "-" if math.isnan(value) else f"{round(value, decimals) + 0.0:.{decimals}f}"


def grid(titles: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [titles, ["---"] * len(titles), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def cost_cells(findings: Findings, method: str) -> list[str]:
    seconds, baseline = findings.cost.get(method, math.nan), findings.cost.get(LIBROSA, math.nan)
    share = baseline / seconds if seconds else math.nan
    return [cell(seconds, 4), "-" if math.isnan(share) else f"1/{share:.1f}"]


COLUMNS = {
    "mr": ("mr", 3),
    "inconsistency_db": ("inconsistency", 1),
    "log_spectral_distance_db": ("LSD", 2),
    "pre_echo_db": ("pre-echo", 1),
    "pre_echo_level_db": ("level before attacks", 1),
    "roughness_db": ("roughness", 1),
}
AGAINST_TRUTH = ("mr", "inconsistency_db", "log_spectral_distance_db", "pre_echo_db", "roughness_db")


def table_of(
    findings: Findings, records: Records, columns: Sequence[tuple[str, str, str]], *, cost: bool = True
) -> str:
    """Make a table of methods by columns of (group, set, measure)."""
    several = len({group for group, _, _ in columns}) > 1
    titles = [f"{group + ', ' if several else ''}{kind}: {COLUMNS[key][0]}" for group, kind, key in columns]
    lines = []
    for method in sorted(names(records, "method"), key=lambda name: name != TRUE_PHASE):
        own = [record for record in records if record["method"] == method]
        figures = [mean(own, key, group=group, set=kind) for group, kind, key in columns]
        cells = [cell(value, COLUMNS[key][1]) for value, (_, _, key) in zip(figures, columns, strict=True)]
        lines.append([method, *cells, *(cost_cells(findings, method) if cost else [])])
    return grid(["method", *titles, *(["CPU s/s", "of librosa 32"] if cost else [])], lines)


def magnitude_tables(findings: Findings, group: str) -> list[str]:
    """Sets (a) to (c) of one group of music: what matters most with the cost, then the rest."""
    records = [record for record in findings.mono if record["group"] == group and record["set"] in SPOILT]
    first = [(group, kind, "mr") for kind in SPOILT] + [(group, "exact", key) for key in AGAINST_TRUTH[1:]]
    rest = [(group, kind, key) for kind in SPOILT[1:] for key in AGAINST_TRUTH[1:]]
    return [table_of(findings, records, first), table_of(findings, records, rest, cost=False)]


def translation_tables(findings: Findings) -> list[str]:
    """Set (d), and the oracle gain where there were pairs."""
    tables = []
    for kind, keys in (("model", ("inconsistency_db", "pre_echo_level_db")), ("oracle gain", AGAINST_TRUTH)):
        records = [record for record in findings.mono if record["set"] == kind]
        if records:
            columns = [(group, kind, key) for group in names(records, "group") for key in keys]
            tables.append(table_of(findings, records, columns))
    return tables


STEREO_COLUMNS = (
    ("mr_channels", "mr L, R", 3),
    ("mr_mid", "mr middle", 3),
    ("mr_side", "mr side", 3),
    ("coherence_error", "coherence error", 3),
    ("level_difference_error_db", "level difference error (dB)", 2),
    ("coherence_error_blocks", "coherence error, 0.2 s", 3),
    ("level_difference_error_blocks_db", "level difference error, 0.2 s (dB)", 2),
)


def stereo_table(findings: Findings) -> str:
    lines = []
    for kind in names(findings.stereo, "set"):
        records = [record for record in findings.stereo if record["set"] == kind]
        lines += [
            [kind, method, *(cell(mean(records, key, method=method), digits) for key, _, digits in STEREO_COLUMNS)]
            for method in names(records, "method")
        ]
    return grid(["set", "method", *(title for _, title, _ in STEREO_COLUMNS)], lines)


def bars(findings: Findings) -> Iterator[Row]:
    """Compare with what the sound back end has to reach, all against librosa's 32 iterations in the same run."""
    for kind in names(findings.mono, "set"):
        records = [record for record in findings.mono if record["set"] == kind]
        for group in names(records, "group"):
            own = [record for record in records if record["group"] == group]
            for method in (DEFAULT,) if kind in SPOILT else (DEFAULT, AUTO):
                yield from distance_bar(own, f"{kind}, {group}: {method}", method)
    yield from cost_bars(findings)
    for group, most in MOST_INCONSISTENCY_DB.items():
        own = [record for record in findings.mono if record["group"] == group and record["set"] == "exact"]
        if DEFAULT in names(own, "method"):
            value = mean(own, "inconsistency_db", method=DEFAULT)
            yield Row("inconsistency", f"exact, {group}: {DEFAULT}", value, "dB", at_most=most)
            yield from pre_echo_bar(own, f"exact, {group}: {DEFAULT}")
    yield from stereo_bars(findings)


def stereo_bars(findings: Findings) -> Iterator[Row]:
    for method in names([record for record in findings.stereo if record["set"] == "exact"], "method"):
        own = [record for record in findings.stereo if record["set"] == "exact" and record["method"] == method]
        for key, label, unit, most in (
            ("coherence_error", "coherence error", "", MOST_COHERENCE_ERROR),
            ("level_difference_error_db", "level difference error", "dB", MOST_LEVEL_ERROR_DB),
        ):
            bar = most if method == JOINT else None
            yield Row("stereo", f"exact, {label}: {method}", mean(own, key), unit, at_most=bar)


def pre_echo_bar(records: Records, label: str) -> Iterator[Row]:
    """Compare the pre-echo with librosa's, with the interval that few clips leave."""
    worse = values(records, "pre_echo_db", method=DEFAULT) - values(records, "pre_echo_db", method=LIBROSA)
    heard = ~np.isnan(worse)
    if heard.any():
        attacks = values(records, "attacks", method=DEFAULT)[heard].sum()
        interval = bootstrap(lambda chosen: float(worse[heard][chosen].mean()), int(heard.sum()))
        label = f"{label} minus librosa's at 32, {attacks:.0f} attacks in {heard.sum()} clips"
        yield Row("pre-echo", label, float(worse[heard].mean()), "dB", None, 0.0, *interval)


def distance_bar(records: Records, label: str, method: str) -> Iterator[Row]:
    ours, theirs = (values(records, "mr", method=name) for name in (method, LIBROSA))
    if len(ours) and len(ours) == len(theirs) and not np.isnan(theirs).all():
        nearer = f"nearer on {np.sum(ours < theirs)} of {len(ours)} clips"
        ratio = float(np.nanmean(ours) / np.nanmean(theirs))
        # Just below 1: "better", not "as good".
        yield Row("mr / librosa's at 32", f"{label}, {nearer}", ratio, "", at_most=0.999)


def cost_bars(findings: Findings) -> Iterator[Row]:
    baseline = findings.cost.get(LIBROSA, math.nan)
    for method, most in ((DEFAULT, DEFAULT_COST), (PGHI, PGHI_COST)):
        if method in findings.cost:
            share = findings.cost[method] / baseline
            yield Row("CPU / librosa's at 32", f"{method} (1/{1 / share:.1f})", share, "", at_most=round(most, 4))


EXPLANATION = """\
- mr: multi-resolution STFT distance to the true wave (windows of 512, 2048 and 8192 samples).
- inconsistency: of the magnitudes found with those given, dB. On spoilt magnitudes a low figure only says that a wave
  was fitted to the spoiling.
- LSD: log-spectral distance to the true wave, dB.
- pre-echo: energy above 2 kHz in the 25 to 2 ms before sharp attacks, against the true wave's, dB; "-" without attacks.
  Level before attacks: the same against the attacks themselves, where there is no true wave.
- roughness: noise within 150 Hz of sustained partials, against the true wave's, dB.
- CPU s/s: seconds of one thread per second of mono sound, the least of some repeats, with the inverse transform.

Less is better everywhere; each figure is a mean over clips. blurred: mean of 3 x 3 neighbours in dB, and 2 dB of noise.
mel-128: 128 mel bands, undone by librosa. model: what the shipped model made of the clip. oracle gain: what a perfect
one would make of it, from the same phrase played by the other instrument. The method that generated magnitudes get by
default is `pghi_refined`."""


def report(findings: Findings, picture: str | None = None) -> str:
    """Return the whole result as Markdown."""
    parts = ["# Phase methods compared", "Written by `python -m benchmarks.phase`; see its `--help`."]
    parts.append("\n".join(f"- {key}: {value}" for key, value in findings.settings.items()))
    parts += ["## Bars", markdown(bars(findings)), "## Methods", EXPLANATION]
    for group in names([record for record in findings.mono if record["set"] in SPOILT], "group"):
        clips = len(names([record for record in findings.mono if record["group"] == group], "clip"))
        parts += [
            f"### {group.capitalize()} music, {clips} clip{'s' * (clips > 1)}",
            *magnitude_tables(findings, group),
        ]
    translated = translation_tables(findings)
    if translated:
        parts += ["### Translations", *translated]
    if findings.stereo:
        clips = len(names(findings.stereo, "clip"))
        parts += [f"## Stereo, {clips} clip{'s' * (clips > 1)}", stereo_table(findings)]
    if findings.notes:
        parts += ["## Passed over", "\n".join(f"- {note}" for note in findings.notes)]
    if picture:
        parts += [f"![distance over cost]({picture})"]
    return "\n\n".join(parts) + "\n"


def write(findings: Findings, folder: Path) -> list[Path]:
    """Write phase_benchmark.md, .json and .png into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = [folder / f"phase_benchmark.{suffix}" for suffix in ("md", "json", "png")]
    draw(findings, targets[2])
    replace(targets[0], report(findings, targets[2].name))
    plain = {**asdict(findings), "bars": [{**asdict(row), "reached": row.verdict} for row in bars(findings)]}
    replace(targets[1], json.dumps(without_nan(plain), indent=1) + "\n")
    return targets


def replace(target: Path, text: str) -> None:
    partial = target.with_name(f".{target.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)


def without_nan(thing: object) -> object:
    """Turn what JSON cannot hold into null."""
    if isinstance(thing, dict):
        return {key: without_nan(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [without_nan(value) for value in thing]
    return None if isinstance(thing, float) and not math.isfinite(thing) else thing


MARKERS = "osD^v<>PX*hd"
TICKS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)


def draw(findings: Findings, path: Path) -> None:
    """Draw the distance over the cost, one panel a group and set: down and left is better."""
    from audiotrans.evaluation.plots import canvas

    panels = [
        (group, kind)
        for group in names(findings.mono, "group")
        for kind in names([record for record in findings.mono if record["group"] == group], "set")
        if not math.isnan(mean(findings.mono, "mr", group=group, set=kind))
    ]
    figure, axes = canvas.grid(len(panels), 3)
    methods = [name for name in names(findings.mono, "method") if name in findings.cost]
    for axis, (group, kind) in zip(axes, panels, strict=True):
        for index, method in enumerate(methods):
            distance = mean(findings.mono, "mr", group=group, set=kind, method=method)
            axis.plot(findings.cost[method], distance, MARKERS[index % len(MARKERS)], label=method)
        bound = mean(findings.mono, "mr", group=group, set=kind, method=TRUE_PHASE)
        axis.axhline(bound, linestyle="--", color="grey", label=TRUE_PHASE)
        axis.set_xscale("log")
        axis.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axis.minorticks_off()
        axis.set_title(f"{group}: {kind}", fontsize="small")
        axis.set_xlabel("CPU seconds per second of sound")
        axis.set_ylabel("mr distance")
        axis.grid(visible=True, alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="x-small")
    canvas.save(figure, path)
