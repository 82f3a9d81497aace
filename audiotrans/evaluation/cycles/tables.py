"""The results of a run as cycle.json, scores.csv and scores.md."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiotrans.evaluation.cycles.folder import write_whole
from audiotrans.evaluation.cycles.scores import SCORED_SECONDS, SCORES, mean_scores

FORMAT = "audiotrans-cycle"
VERSION = 1
_ABOUT = ("input", "clip", "domain", "chain", "sound")


def cycle_values(header: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join what made the results with the results: the content of cycle.json.

    Args:
        header: model, domains, options and chains.
        items: one for each sound.
    """
    used = header["scores"]
    described = {
        name: {"label": score.label, "unit": score.unit, "better": score.better, "group": score.group}
        for name, score in SCORES.items()
        if name in used
    }
    of_chain = {chain: [item["scores"] for item in items if item["chain"] == chain] for chain in header["chains"]}
    means = {chain: mean_scores(scores) for chain, scores in of_chain.items() if scores}
    rest = {name: value for name, value in header.items() if name not in ("scores", "chains")}
    found = {"metrics": described, "chains": list(header["chains"]), "means": means, "items": list(items)}
    return {"format": FORMAT, "version": VERSION, **rest, **found}


def write_tables(folder: Path, values: Mapping[str, Any]) -> None:
    """Write cycle.json, scores.csv and scores.md.

    Raises:
        AudiotransError: if one cannot be written.
    """
    write_whole(folder / "cycle.json", json.dumps(values, indent=1, allow_nan=False) + "\n")
    if values["metrics"]:
        write_whole(folder / "scores.csv", _csv(values))
        write_whole(folder / "scores.md", _markdown(values))


def means_table(values: Mapping[str, Any]) -> str:
    """Return the mean scores of every chain as a Markdown table; empty where nothing is scored."""
    names = _shown(values)
    counts = {chain: sum(item["chain"] == chain for item in values["items"]) for chain in values["means"]}
    rows = [
        [arrow(chain, values), str(counts[chain]), *_cells(means, names)] for chain, means in values["means"].items()
    ]
    return _table(["chain", "clips", *_heads(values)], rows) if names else ""


def arrow(chain: str, values: Mapping[str, Any]) -> str:
    """Return a chain's name as it is read: ``violin -> piano``."""
    return " -> ".join(values["steps"][chain])


def _markdown(values: Mapping[str, Any]) -> str:
    names = _shown(values)
    rows = [
        [item["clip"], arrow(item["chain"], values), *_cells(item["scores"], names)]
        for item in values["items"]
        if item["chain"] in values["means"]
    ]
    options = ", ".join(f"{name} {value}" for name, value in values["options"].items() if value is not None)
    parts = [
        "# Scores of chains",
        f"Model {values['model']} (SHA-256 {values['model_sha256'][:12]}), {options}.",
        "Each sound is compared with the input of its chain; where a chain ends in another domain, only by what a "
        "translation must keep. Pitch is tracked for one note at a time: with chords it tells little. "
        f"Sounds over {SCORED_SECONDS:g} s are scored by their first {SCORED_SECONDS:g} s.",
        "## Means",
        means_table(values),
        "## Clips",
        _table(["clip", "chain", *_heads(values)], rows),
    ]
    return "\n\n".join(parts) + "\n"


def _shown(values: Mapping[str, Any]) -> list[str]:
    """Name the scores that any chain has: a run of translations alone has no distances."""
    return [name for name in values["metrics"] if any(name in means for means in values["means"].values())]


def _heads(values: Mapping[str, Any]) -> list[str]:
    def head(score: Mapping[str, str]) -> str:
        unit = f" ({score['unit']})" if score["unit"] else ""
        return f"{score['label']}{unit} {'↓' if score['better'] == 'lower' else '↑'}"

    return [head(values["metrics"][name]) for name in _shown(values)]


def _cells(scores: Mapping[str, float | None], names: Sequence[str]) -> list[str]:
    return ["" if scores.get(name) is None else f"{scores[name]:.3g}" for name in names]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*escaped, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in escaped]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _csv(values: Mapping[str, Any]) -> str:
    names = list(values["metrics"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_ABOUT, *names])
    for item in values["items"]:
        if item["chain"] in values["means"]:
            writer.writerow([*(item[name] for name in _ABOUT), *(item["scores"].get(name) for name in names)])
    return text.getvalue()
