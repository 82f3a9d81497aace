"""How far an instrument classifier can be trusted: its figures on real sounds, on equalised ones and on conversions.

    python -m benchmarks.classifier --sounds VALID --sounds OTHERS --paired PAIRS [--classifier C] [--model M]

Every folder has a sub-folder for each of the classifier's two domains; PAIRS has the same stems in both. An equalised
clip has the long-term spectrum of the other domain's clip of the same music: the most that an equaliser can copy, and
still the instrument that it was. The kernel distance is that of the classifier's embedding to the real clips of the
target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import click
import numpy as np

from audiotrans import audio
from audiotrans.convert.converter import DEFAULT_MODEL, load
from audiotrans.evaluation.baselines import equalise, mean_spectrum
from audiotrans.evaluation.classifier import DEFAULT_CLASSIFIER, InstrumentClassifier
from audiotrans.evaluation.metrics.kernel import kernel_distance
from audiotrans.evaluation.testset import RATE
from audiotrans.processes import use_threads

Waves = Sequence[np.ndarray]
PATH = click.Path(exists=True, file_okay=False, path_type=Path)


def read_all(folder: Path) -> list[np.ndarray]:
    return [audio.read(path, sample_rate=RATE)[0] for path in audio.find_audio([folder])]


def figures(classifier: InstrumentClassifier, waves: Waves, domain: str) -> str:
    """Return cells: how many clips and windows are taken for the domain, and the mean probability of it."""
    rows = [classifier.probabilities(wave, RATE)[:, classifier.index(domain)] for wave in waves]
    windows = np.concatenate(rows)
    clips = sum(float(row.mean()) > 0.5 for row in rows)
    share = 100 * float(np.mean(windows > 0.5))
    return f"{domain} | {clips} of {len(rows)} | {share:.1f} % of {len(windows)} | {windows.mean():.3f}"


def embedded(classifier: InstrumentClassifier, waves: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([classifier.embed(wave, RATE) for wave in waves])


def show(label: str, cells: str, distance: float | None = None) -> None:
    click.echo(f"| {label} | {cells} | {'' if distance is None else f'{distance:.3f}'} |")


def real_sounds(classifier: InstrumentClassifier, folders: Iterable[Path]) -> None:
    for folder in folders:
        for domain in classifier.classes:
            show(f"{folder.name}, real {domain}", figures(classifier, read_all(folder / domain), domain))


def one_direction(classifier: InstrumentClassifier, paired: Path, model: str, source: str, target: str) -> None:
    """Compare what is made of the source's clips with the truths; the distance is to the truths' embedding."""
    clips, truths = read_all(paired / source), read_all(paired / target)
    pairs = list(zip(clips, truths, strict=True))
    reference = embedded(classifier, truths)
    equal = [equalise(wave, mean_spectrum([truth])) for wave, truth in pairs]
    converter = load(model)
    made = [converter.convert(wave, RATE, to=target, source=source) for wave in clips]
    for label, waves in ((f"real {source}", clips), (f"{source}, equalised", equal)):
        distance = kernel_distance(reference, embedded(classifier, waves))
        show(f"{paired.name}, {label}", figures(classifier, waves, source), distance)
    show(f"{paired.name}, {source} converted to {target}", figures(classifier, made, target),
         kernel_distance(reference, embedded(classifier, made)))  # fmt: skip
    halves = [embedded(classifier, truths[start::2]) for start in (0, 1)]
    show(
        f"{paired.name}, real {target} (distance: half to half)",
        figures(classifier, truths, target),
        kernel_distance(*halves),
    )


@click.command()
@click.option("--classifier", "name", default=DEFAULT_CLASSIFIER)
@click.option("--model", default=DEFAULT_MODEL)
@click.option("--sounds", multiple=True, type=PATH)
@click.option("--paired", type=PATH)
@click.option("--threads", type=int)
def main(name: str, model: str, sounds: tuple[Path, ...], paired: Path | None, threads: int | None) -> None:
    use_threads(threads)
    classifier = InstrumentClassifier.load(name)
    click.echo("| sounds | asked for | clips | windows | mean probability | kernel distance to the target |")
    click.echo("|---|---|---|---|---|---|")
    real_sounds(classifier, sounds)
    if paired:
        for source, target in (classifier.classes, classifier.classes[::-1]):
            one_direction(classifier, paired, model, source, target)


if __name__ == "__main__":
    main()
