"""A model's card: what its file and its run say of it, in Markdown, with the head that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from audiotrans.convert.warnings import TrainingStatistics
from audiotrans.files import from_json
from audiotrans.options import BY_MODEL
from audiotrans.recipe import dump_recipe, dump_yaml
from audiotrans.spectrogram.imaging import AudioSettings
from audiotrans.training.cache import MANIFEST
from audiotrans.training.checkpoints import metrics_of
from audiotrans.weights import StoredModel

VALIDATION = {
    "valid/reconstruction": "L1 of reconstructions, in image units",
    "valid/cycle": "L1 of cycles (there and back again), in image units",
    "valid/fine": "how far partials moved",
    "valid/statistics_ab": "distance of translations to B from real ones, as a share of the input's",
    "valid/statistics_ba": "distance of translations to A from real ones, as a share of the input's",
}
"""What the figures of a run's validation are, see `audiotrans.training.validation`."""


def card_of(stored: StoredModel, run: Path | None = None, cache: Path | None = None, sheet: str = "") -> str:
    """Return the card of a model.

    Args:
        stored: the model's file.
        run: folder of the run that it is of, for its figures; None where it is not here.
        cache: prepared data that it was trained on, for their amount; likewise.
        sheet: name of a picture beside the card, a sample sheet of the run; empty for none.
    """
    lines = metrics_of(run) if run is not None else []
    figures = next((line for line in reversed(lines) if any(name in line for name in VALIDATION)), {})
    parts = [_head(stored, figures), _title(stored), _use(stored), _facts(stored, lines)]
    parts += [f"![What it makes of held-out examples]({sheet})"] if sheet else []
    parts += [_figures(figures), _data(stored, cache), _limits(stored), _recipe(stored)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(stored: StoredModel, figures: dict[str, float]) -> str:
    """Return the YAML between two lines of dashes, by which the hub files a model."""
    recipe, sound = stored.recipe, isinstance(stored.recipe.imaging, AudioSettings)
    domains = [recipe.domains.a, recipe.domains.b]
    head: dict[str, Any] = {"license": stored.card["licence"].lower()} if stored.card.get("licence") else {}
    head |= {"library_name": "audiotrans", "pipeline_tag": "audio-to-audio" if sound else "image-to-image"}
    head |= {"tags": ["audiotrans", "timbre-transfer" if sound else "image-translation", "unpaired", *domains]}
    metrics = [
        {"type": name.removeprefix("valid/"), "name": text, "value": figures[name]}
        for name, text in VALIDATION.items()
        if name in figures
    ]
    if metrics:
        task = {"type": head["pipeline_tag"], "name": " and ".join(domains)}
        dataset = {"type": "held-out", "name": "held-out crops of the training data"}
        results = [{"task": task, "dataset": dataset, "metrics": metrics}]
        head["model-index"] = [{"name": stored.path.stem, "results": results}]
    return f"---\n{dump_yaml(head)}---"


def _title(stored: StoredModel) -> str:
    domains = stored.recipe.domains
    summary = (
        stored.card.get("summary") or f"Translates {domains.a} to {domains.b} and back, learned from unpaired examples."
    )
    return f"# {stored.path.stem}\n\n{summary}"


def _use(stored: StoredModel) -> str:
    domains, name = stored.recipe.domains, stored.path.name
    kind = "tune.wav" if isinstance(stored.recipe.imaging, AudioSettings) else "portrait.jpg"
    command = f"audiotrans convert {kind} --to {domains.b} --model"
    lines = [
        f"{command} {name}",
        f"{command} hf:OWNER/NAME    # once it is on the hub: audiotrans push {name} OWNER/NAME",
    ]
    return '## Use\n\n```sh\npip install "audiotrans[hub]"\n' + "\n".join(lines) + "\n```"


def _facts(stored: StoredModel, lines: list[dict[str, float]]) -> str:
    recipe, tensors = stored.recipe, stored.tensors()
    settings = recipe.imaging
    images = f"photos of {settings.height} x {settings.width}" if not isinstance(settings, AudioSettings) else (
        f"`{settings.representation}`, {settings.image_rows} rows, STFT {settings.n_fft} / {settings.hop_length} at"
        f" {settings.sample_rate} Hz"
    )  # fmt: skip
    kinds = ", ".join(sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()}))
    size = f"{sum(value.numel() for value in tensors.values()):,} parameters, {kinds}"
    steps = f"{stored.card.get('steps', recipe.train.steps):,} steps, batch {recipe.train.batch_size}"
    seconds = next((line["seconds"] for line in reversed(lines) if "seconds" in line), 0)
    rows = {
        "model": f"AVB-GTN, preset `{recipe.model.preset}`, KL mode `{recipe.model.kl}`; {size}",
        "images": images,
        "training": steps + (f"; the last of its runs took {seconds / 3600:.2f} hours" if seconds else ""),
        "begun from": recipe.init or "random weights",
    }
    own = {name: getattr(recipe, name) for name in BY_MODEL}
    rows["conversion"] = ", ".join(f"{name} {_by_target(value, recipe)}" for name, value in own.items())
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"## What it is\n\n| | |\n|---|---|\n{table}"


def _by_target(value: Any, recipe: Any) -> str:
    return f"{value.a:g} to {recipe.domains.a} and {value.b:g} to {recipe.domains.b}"


def _figures(figures: dict[str, float]) -> str:
    rows = [f"| {text} | {figures[name]:g} |" for name, text in VALIDATION.items() if name in figures]
    if not rows:
        return ""
    head = (
        f"Of held-out crops at step {figures['step']:.0f}; lower is better. They tell runs apart, not good sound from"
    )
    table = "\n".join(["| figure | value |", "|---|---|", *rows])
    return f"## Figures\n\n{head} bad: listen, or score it with `audiotrans evaluate`.\n\n{table}"


def _data(stored: StoredModel, cache: Path | None) -> str:
    lines = list(_amounts(stored, cache))
    text = "Not known here: say which recordings it was trained on, whose they are, and what their licences ask for."
    asked = "Say here which recordings these are, whose they are, and what their licences ask for."
    return "## Data\n\n" + ("\n".join([*lines, "", asked]) if lines else text)


def _amounts(stored: StoredModel, cache: Path | None) -> Iterator[str]:
    """Say how much there was of each domain, from the cache or else from the statistics."""
    recipe = stored.recipe
    folder = Path(recipe.cache) if cache is None else cache
    statistics = TrainingStatistics.from_dict(stored.statistics) if stored.statistics else None
    for side, name in (("a", recipe.domains.a), ("b", recipe.domains.b)):
        known = []
        if (folder / MANIFEST).is_file():
            known.append(_minutes(from_json((folder / MANIFEST).read_text(encoding="utf-8")), side))
        if statistics is not None:
            found = statistics.sides[side]
            known += [f"{found.recordings} recordings"] if found.recordings else []
            known += (
                [f"lowest partials from {found.pitch_hz[0]:.0f} to {found.pitch_hz[1]:.0f} Hz"]
                if found.pitch_hz
                else []
            )
        if known:
            yield f"- **{name}**: {', '.join(known)}"


def _minutes(manifest: dict[str, Any], side: str) -> str:
    items = [item for item in manifest["items"] if (item["domain"], item["split"]) == (side, "train")]
    imaging = manifest["imaging"]
    if imaging.get("type") == "photo":
        return f"{len(items)} photos"
    seconds = imaging["hop_length"] * imaging.get("time_stride", 1) / imaging["sample_rate"]
    return f"{sum(item['frames'] for item in items) * seconds / 60:.1f} minutes"


def _limits(stored: StoredModel) -> str:
    lines = ["- Inputs unlike its training data come out worse"]
    lines[0] += (
        ": `convert` warns of them."
        if stored.statistics
        else "; it has no statistics of them, so `convert` does not warn."
    )
    if isinstance(stored.recipe.imaging, AudioSettings) and stored.recipe.imaging.representation.endswith("_gain"):
        lines.append(
            "- The output is a gain on the source's own spectrum: what the source does not sound at all, it cannot add."
        )
    lines.append("- No listening test stands behind it.")
    return "## Known limits\n\n" + "\n".join(lines)


def _recipe(stored: StoredModel) -> str:
    text = dump_recipe(stored.recipe)
    return f"## Recipe\n\n<details><summary>All settings</summary>\n\n```yaml\n{text}```\n\n</details>"
