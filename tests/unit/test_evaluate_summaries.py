"""Comparisons and tables by hand."""

from __future__ import annotations

import csv
import io
import math
import re

import pytest

from audiotrans.evaluation.intervals import Interval
from audiotrans.evaluation.summaries import (
    NO,
    UNKNOWN,
    UNSURE,
    YES,
    alike,
    as_csv,
    best_of,
    better,
    compare_all,
    markdown,
    terminal,
)
from audiotrans.evaluation.tables import number


@pytest.mark.parametrize(
    ("low", "high", "conclusion"),
    [(0.1, 0.4, YES), (-0.1, 0.4, UNSURE), (-0.4, -0.1, NO), (-0.4, 0.0, NO), (math.nan, math.nan, UNKNOWN)],
)
def test_a_difference_counts_when_its_interval_leaves_out_zero(low, high, conclusion):
    assert better(Interval(0.2, low, high)) == conclusion


@pytest.mark.parametrize(
    ("low", "high", "conclusion"),
    [
        (-0.05, 0.08, YES),
        (-0.05, 0.2, UNSURE),
        (0.11, 0.3, NO),
        (-0.3, -0.11, NO),
        (-0.5, 0.5, UNSURE),
        (math.nan, math.nan, UNKNOWN),
    ],
)
def test_alike_is_within_the_margin_on_both_sides(low, high, conclusion):
    assert alike(Interval(0.0, low, high), margin=0.1) == conclusion


def compared(means: dict[tuple[str, str], float], spread: float = 0.1):
    """Compare systems by measures whose differences are those of the means, all intervals as wide as given."""
    measured: dict[str, set[str]] = {}
    for system, metric in means:
        measured.setdefault(system, set()).add(metric)

    def differences(metric, first, second):
        mean = means[first, metric] - means[second, metric]
        return Interval(mean, mean - spread, mean + spread, 8)

    return [str(found) for found in compare_all("violin to piano", ["net"], measured, differences)]


def test_comparisons_of_a_good_model():
    lines = compared(
        {
            ("truth", "kad"): 0.0,
            ("net", "kad"): 0.3,
            ("copy", "kad"): 0.9,
            ("copy", "onset_f1"): 1.0,
            ("net", "onset_f1"): 0.7,
            ("random target clip", "onset_f1"): 0.65,
        }
    )
    assert lines == [
        "violin to piano: truth > net on timbre (KAD): yes (difference 0.300 [0.200, 0.400])",
        "violin to piano: net > copy on timbre (KAD): yes (difference 0.600 [0.500, 0.700])",
        "violin to piano: copy > random target clip on content (onset F1 within 50 ms): yes "
        "(difference 0.350 [0.250, 0.450])",
        "violin to piano: net ~ copy on content (onset F1 within 50 ms): no (difference -0.300 [-0.400, -0.200])",
        "violin to piano: net > random target clip on content (onset F1 within 50 ms): the interval is too wide to "
        "tell (difference 0.050 [-0.050, 0.150])",
    ]


def test_less_is_better_in_distances_and_units_are_said():
    (line,) = compared({("net", "band_distance_db"): 16.0, ("copy", "band_distance_db"): 12.0})
    assert line.endswith("log-spectral distance, 256 bands): no (difference -4.00 [-4.10, -3.90] dB)")


def test_kernel_distances_are_compared_with_the_synthesiser():
    lines = compared({("net", "kad_tagger"): 0.1, ("transcribe + synthesise", "kad_tagger"): 0.4})
    assert lines == [
        "violin to piano: net > transcribe + synthesise on timbre (KAD, tagger): yes (difference 0.300 [0.200, 0.400])"
    ]


def test_the_rivals_are_asked_too():
    means = {("net", "band_distance_db"): 9.0, ("copy + EQ", "band_distance_db"): 12.0}
    lines = compared({**means, ("transcribe + synthesise", "band_distance_db"): 9.05})
    assert [line.split(" on ")[0] for line in lines] == [
        "violin to piano: net > copy + EQ",
        "violin to piano: net > transcribe + synthesise",
    ]
    assert "yes" in lines[0]
    assert "too wide to tell" in lines[1]


def test_the_score_decides_on_content_where_there_is_one():
    both = {(name, metric): 0.9 for name in ("truth", "copy") for metric in ("note_f1", "note_f1_score")}
    (line,) = compared(both, spread=0.05)
    assert "truth ~ copy on content (note F1 to score): yes" in line


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (1.2345, "1.23"), (12.345, "12.3"), (1234.5, "1234"), (-1e-9, "0.000"), (math.nan, "-")],
)
def test_figures_for_people(value, text):
    assert number(value) == text


def system(name, kind, **means):
    summary = {key: {"mean": value, "low": value - 0.1, "high": value + 0.1, "n": 3} for key, value in means.items()}
    clips = [{"clip": str(index), "recording": str(index), "sound": "", "scores": {}} for index in range(3)]
    return {"name": name, "kind": kind, "summary": summary, "clips": clips}


@pytest.fixture
def result():
    metrics = {
        "f1": {"label": "note F1", "unit": "", "better": "higher", "group": "content"},
        "decay": {"label": "decay of notes", "unit": "dB/s", "better": "closer to truth", "group": "timbre"},
        "speed": {"label": "speed", "unit": "x real time", "better": "higher", "group": "speed"},
    }
    systems = [
        system("input", "input"),
        system("truth", "truth", f1=0.9, decay=20.0),
        system("copy", "baseline", f1=1.0, decay=1.0),
        system("net", "system", f1=0.8, decay=15.0, speed=4.0),
        system("random", "baseline", f1=0.1, decay=40.0),
    ]
    systems[3]["summary"]["f1"] |= {"low": None, "high": None}
    return {
        "model": "net",
        "test_set": "pairs",
        "metrics": metrics,
        "directions": [{"source": "violin", "target": "piano", "systems": systems}],
        "conclusions": ["net > copy: yes"],
        "warnings": ["no classifier"],
    }


def test_best_is_marked_but_never_the_truth(result):
    systems = result["directions"][0]["systems"]
    assert best_of(systems, "f1", "higher") == {"copy"}
    assert best_of(systems, "f1", "lower") == {"random"}
    assert best_of(systems, "decay", "closer to truth") == {"net"}
    assert best_of(systems[2:], "decay", "closer to truth") == set()  # there is no truth
    assert best_of(systems, "decay", "") == set()
    assert best_of(systems[:3], "f1", "higher") == set()  # one alone is not the best
    systems[3]["summary"]["f1"]["mean"] = 1.0
    assert best_of(systems, "f1", "higher") == {"copy", "net"}


def test_markdown_has_a_table_per_group(result):
    text = re.sub(" +", " ", markdown(result))  # columns are padded
    assert "## violin to piano\n\n3 clips of 3 recordings." in text
    assert "| copy | 1.00 [0.900, 1.10]* |" in text
    assert "| net | 0.800 |" in text  # no interval
    assert "### speed\n\n| system | speed, x real time ↑ |\n|-" in text
    assert "-|\n| net | 4.00 [3.90, 4.10] |\n" in text
    assert "input" not in text  # it has no figures
    assert text.startswith("# pairs: net\n\n## Conclusions\n\n- net > copy: yes\n\n↑ more is better")
    assert text.endswith("## Notes\n\n- no classifier\n")


def test_terminal_aligns_and_fits(result):
    wide = terminal(result, 100).splitlines()
    block = wide[2:8]
    assert block[1].startswith("CONTENT")
    assert [line.split()[0] for line in block[2:]] == ["truth", "net", "copy", "random"]
    result["metrics"] |= {f"m{i}": {**result["metrics"]["f1"], "label": f"another measure {i}"} for i in range(8)}
    for each in result["directions"][0]["systems"][1:]:
        each["summary"] |= {f"m{i}": each["summary"]["f1"] for i in range(8)}
    narrow = terminal(result, 60).splitlines()
    table = [line for line in narrow if "±" in line and not line.startswith("↑")]
    assert max(map(len, table)) <= 60
    assert len(table) > len([line for line in wide if "±" in line and not line.startswith("↑")])


def test_csv_has_a_line_for_every_figure(result):
    rows = list(csv.DictReader(io.StringIO(as_csv(result))))
    assert len(rows) == 9
    (speed,) = [row for row in rows if row["metric"] == "speed"]
    assert (speed["system"], speed["target"], speed["mean"], speed["unit"]) == ("net", "piano", "4.0", "x real time")
    assert [row["low"] for row in rows if row["system"] == "net" and row["metric"] == "f1"] == [""]
