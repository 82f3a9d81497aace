"""Training of the instrument classifier, from recordings of two or more domains to a file with its figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from audiotrans import __version__
from audiotrans.errors import UsageError
from audiotrans.evaluation.classifier import (
    SUFFIX,
    ClassifierNet,
    FeatureSettings,
    InstrumentClassifier,
    cut,
    decibels,
    normalise,
)
from audiotrans.evaluation.classifier_data import (
    Recording,
    augment,
    by_split,
    domain_names,
    exchange_spectra,
    find_sounds,
    load_recordings,
    mask,
    source_length,
)
from audiotrans.files import refuse_existing, write_whole

STEPS = 1500
BATCH = 32
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-3
LABEL_SMOOTHING = 0.05
_WARM_UP = 0.1
_QUIET = 0.01  # of a recording's loudest sample, below which a training window is sampled again
_TRIES = 5


def train_classifier(
    source: Path | str,
    output: Path | str,
    *,
    domains: Sequence[str] | None = None,
    steps: int = STEPS,
    batch: int = BATCH,
    seed: int = 0,
    valid_fraction: float = 0.1,
    settings: FeatureSettings | None = None,
    force: bool = False,
    progress: bool = True,
) -> InstrumentClassifier:
    """Train an instrument classifier on recordings, measure it on held-out ones, and write it.

    It must never see what a model made (see `audiotrans.evaluation.classifier`), and the recordings that it will score
    must not be among ``source``. The same arguments on the same machine give the same weights.

    Args:
        source: as `prep` takes it: a folder with a sub-folder for each domain, or with ``train`` and ``valid`` that
            have them, or IRMAS.
        output: a ``.safetensors`` file; a card of the same name, ``.md``, is written beside it.
        domains: two or more names, IRMAS classes or ``name=path``; None takes the sub-folders.
        steps: of training.
        batch: windows per step.
        seed: decides the split, the initial weights and the samples.
        valid_fraction: share of the recordings that is held out, where the source is not split already.
        settings: how sound becomes log-mel spectrograms.
        force: replace an existing output.
        progress: show bars.

    Returns:
        The classifier; its card holds the figures.

    Raises:
        UsageError: for arguments or folders that are not allowed, an output that exists, or sounds made by a model.
        AudiotransError: where a domain has no sound that can be read.
    """
    source, output = Path(source), Path(output)
    _check(output, steps, batch, valid_fraction, force)
    names, sounds = find_sounds(source, domains or domain_names(source))
    settings = settings or FeatureSettings()
    recordings, skipped = load_recordings(
        sounds, names, settings, valid_fraction=valid_fraction, seed=seed, progress=progress
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _fit(list(by_split(recordings, "train")), len(names), settings, steps, batch, seed, progress)
    classifier = InstrumentClassifier(net, names, settings, title=output.stem)
    classifier.card = {
        "created_with": f"audiotrans {__version__}",
        "training": {"steps": steps, "batch": batch, "seed": seed, "valid_fraction": valid_fraction},
        "recordings": _names(recordings, names),
        "minutes": _minutes(recordings, names, settings),
        "validation": validate_classifier(classifier, by_split(recordings, "valid")),
        "skipped": skipped,
    }
    classifier.save(output)
    write_whole(output.with_suffix(".md"), card_text(classifier))
    return classifier


def _check(output: Path, steps: int, batch: int, valid_fraction: float, force: bool) -> None:
    if output.suffix != SUFFIX:
        raise UsageError(f"-o {output}: the name of a classifier's file ends in {SUFFIX}")
    for path in (output, output.with_suffix(".md")):
        refuse_existing(path, force)
    if steps < 1 or batch < 2:
        raise UsageError(f"{steps} steps of {batch} windows: at least 1 step of 2 windows")
    if not 0 < valid_fraction < 1:
        raise UsageError(f"valid fraction {valid_fraction}: above 0 and below 1 (0.1 holds out a tenth)")


def _fit(
    recordings: Sequence[Recording],
    classes: int,
    settings: FeatureSettings,
    steps: int,
    batch: int,
    seed: int,
    progress: bool,
) -> ClassifierNet:
    rng = np.random.default_rng(seed)
    net = ClassifierNet(classes).train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
    criterion = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
    pools = _pools(recordings, classes)
    smooth = math.log(classes)
    with tqdm(total=steps, desc="train", unit="step", disable=not progress) as bar:
        for _ in range(steps):
            spectrograms, labels = _batch_of(pools, settings, batch, rng)
            loss: Tensor = criterion(net(spectrograms), labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            smooth += 0.05 * (float(loss.detach()) - smooth)
            bar.set_postfix(loss=f"{smooth:.3f}", refresh=False)
            bar.update()
    return net.eval()


def _rate(step: int, steps: int) -> float:
    """Return the learning rate's factor: up over the first tenth, then a half cosine down to 0."""
    warm = max(1, round(_WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1.0 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


_Pool = tuple[list[Recording], np.ndarray[Any, np.dtype[np.float64]]]


def _pools(recordings: Sequence[Recording], classes: int) -> list[_Pool]:
    """Group the recordings by domain, each with its share of the domain's sound."""
    pools = []
    for label in range(classes):
        own = [recording for recording in recordings if recording.label == label]
        lengths = np.array([len(recording.samples) for recording in own], dtype=np.float64)
        pools.append((own, lengths / lengths.sum()))
    return pools


def _batch_of(
    pools: Sequence[_Pool], settings: FeatureSettings, batch: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Sample a batch, every domain equally likely: spectrograms (batch, bands, frames) and labels (batch,)."""
    labels = rng.permutation(np.arange(batch) % len(pools))
    waves = np.stack([_window(pools[label], settings, rng) for label in labels])
    levels = exchange_spectra(decibels(torch.from_numpy(waves), settings), rng)
    return mask(normalise(levels, settings), rng), torch.from_numpy(labels)


def _window(pool: _Pool, settings: FeatureSettings, rng: np.random.Generator) -> Any:
    own, shares = pool
    for _ in range(_TRIES):
        recording = own[int(rng.choice(len(own), p=shares))]
        length = source_length(settings, rng)
        start = int(rng.integers(0, max(len(recording.samples) - length, 0) + 1))
        piece = cut(recording.wave(start, start + length), 0, length)
        # A pause is not an example of anything; the recording's own peak is 32,767 steps of its gain.
        if np.abs(piece).max() > _QUIET * recording.gain * 32767.0:
            break
    return augment(piece, settings, rng)


def validate_classifier(classifier: InstrumentClassifier, recordings: Any) -> dict[str, Any]:
    """Count how many windows and whole files of held-out recordings a classifier gets right.

    Returns:
        For each domain ``windows``, ``windows_right``, ``files`` and ``files_right``.
    """
    counts = {
        name: dict.fromkeys(("windows", "windows_right", "files", "files_right"), 0) for name in classifier.classes
    }
    for recording in recordings:
        rows = classifier.probabilities(recording.wave()[None], classifier.sample_rate)
        own = counts[classifier.classes[recording.label]]
        own["windows"] += len(rows)
        own["windows_right"] += int((rows.argmax(axis=1) == recording.label).sum())
        own["files"] += 1
        own["files_right"] += int(rows.mean(axis=0).argmax() == recording.label)
    return counts


def _names(recordings: Sequence[Recording], names: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    return {
        split: {
            name: sorted(each.sound.key for each in by_split(recordings, split) if each.label == label)
            for label, name in enumerate(names)
        }
        for split in ("train", "valid")
    }


def _minutes(recordings: Sequence[Recording], names: Sequence[str], settings: FeatureSettings) -> dict[str, float]:
    samples = [0] * len(names)
    for recording in by_split(recordings, "train"):
        samples[recording.label] += len(recording.samples)
    return {name: round(count / settings.sample_rate / 60.0, 1) for name, count in zip(names, samples, strict=True)}


def summary(classifier: InstrumentClassifier) -> str:
    """Return one line: which domains a classifier knows and how well it does on held-out recordings."""
    parts = []
    for name, own in classifier.card["validation"].items():
        if own["files"]:
            share = 100.0 * own["windows_right"] / own["windows"]
            parts.append(
                f"{name} {share:.1f} % of {own['windows']} windows, {own['files_right']} of {own['files']} files"
            )
        else:
            parts.append(f"{name} nothing held out")
    return f"{classifier.title}: right on held-out recordings: {'; '.join(parts)}"


def card_text(classifier: InstrumentClassifier) -> str:
    """Return the card of a classifier as Markdown."""
    card, training = classifier.card, classifier.card["training"]
    minutes = ", ".join(f"{name} {length:g} min" for name, length in card["minutes"].items())
    lines = [
        f"# Instrument classifier {classifier.title}",
        "",
        f"Tells {' from '.join(classifier.classes)}; made by `audiotrans train-classifier` ({card['created_with']}).",
        "It was trained on recordings only, never on a model's outputs, and must not score the files named below.",
        "",
        f"- Training: {minutes}; {training['steps']} steps of {training['batch']} windows, seed {training['seed']}",
        f"- {summary(classifier).partition(': ')[2].capitalize()}",
        f"- Embedding: {classifier.name}",
        "",
    ]
    for split, of_domain in card["recordings"].items():
        for name, files in of_domain.items():
            lines += [f"## {split}: {name}", "", *(f"- {file}" for file in files), ""]
    return "\n".join(lines).rstrip() + "\n"
