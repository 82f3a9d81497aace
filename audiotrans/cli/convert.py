"""``audiotrans convert``, of files or of a stream."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

import click

from audiotrans.cli.parameters import DEVICE, FILES, MODEL, Words, worker_options
from audiotrans.errors import AudiotransError, UsageError, check_counts, printable
from audiotrans.options import OPTIONS, ConvertOptions, Option, flag, for_stream, options_of

if TYPE_CHECKING:
    from audiotrans.convert.graph_runtime import GraphConverter
    from audiotrans.convert.jobs import Failure, Job, Written

RUNTIMES = ("torch", "onnx")

F = TypeVar("F", bound=Callable[..., Any])


class StreamOption(click.Option):
    """An option that is listed apart, because it goes with ``--stream`` alone."""


class ConvertCommand(click.Command):
    """A command whose help lists the options of streams under their own heading."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write two lists of options."""
        for heading, streams in (("Options", False), ("Options of streams", True)):
            options = [item for item in self.get_params(ctx) if isinstance(item, click.Option)]
            chosen = [item for item in options if isinstance(item, StreamOption) == streams]
            rows = [row for item in chosen if (row := item.get_help_record(ctx)) is not None]
            with formatter.section(heading):
                formatter.write_dl(rows)


def conversion_options(*left_out: str) -> Callable[[F], F]:
    """Return a decorator that adds the options of `ConvertOptions` to a command, but for some."""

    def add(function: F) -> F:
        for name, info in reversed(OPTIONS.items()):
            function = function if name in left_out else _conversion_option(name, info)(function)
        return function

    return add


def _conversion_option(name: str, info: Option) -> Callable[[F], F]:
    metavar = info.metavar if info.unit else None
    return click.option(flag(name), name, type=info.kind, metavar=metavar, required=name == "to", help=info.described())


_stream_option = partial(click.option, cls=StreamOption)

STREAM_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    _stream_option("--stream", is_flag=True, help="Translate stdin to stdout while it flows: WAV, or raw samples."),
    _stream_option(
        "--raw", metavar="KIND", help="No WAV headers: samples are u8, s16le, s24le, s32le, f32le or f64le."
    ),
    _stream_option("--rate", type=int, metavar="HZ", help="Sample rate of raw sound."),
    _stream_option("--channels", type=int, metavar="N", help="Channels of raw sound, interleaved."),
    _stream_option("--gain", "gain_db", type=float, metavar="DB", help="Change the output's level.  [default: 0]"),
    _stream_option(
        "--level", "level_db", type=float, metavar="DB", help="Level of the music.  [default: follow the stream]"
    ),
    _stream_option("--chunk", type=float, metavar="SECONDS", help="Less delay, or less computing.  [default: 0.2]"),
    _stream_option(
        "--look-ahead",
        type=float,
        metavar="SECONDS",
        help="How far the model sees past a chunk: 0 waits least.  [default: 0.3]",
    ),
)


def stream_options(function: F) -> F:
    """Add the options of streams to a command, after its own."""
    for option in reversed(STREAM_OPTIONS):
        function = option(function)
    return function


@click.command(cls=ConvertCommand)
@click.argument("inputs", nargs=-1, type=FILES, metavar="INPUT...")
@conversion_options()
@click.option(
    "-o", "--output", type=FILES, help="A file for one input, a folder for several.  [default: beside the input]"
)
@click.option(
    "--model",
    type=MODEL,
    default="violin-piano",
    show_default=True,
    help="A shipped model's name, a weights file, hf:owner/name, or an exported .onnx.",
)
@click.option("--samples", default=1, show_default=True, help="How many, by seeds S, S+1, ...: alike but for vibrato.")
@click.option("--device", type=DEVICE, default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option(
    "--runtime", type=Words("runtime", RUNTIMES), help="torch, or onnx for an exported graph.  [default: by --model]"
)
@click.option("--threads", type=int, help="CPU threads to use.  [default: all cores]")
@worker_options("1")
@click.option("--force", is_flag=True, help="Overwrite outputs that exist.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, and no line per file.")
@click.option("--json", "in_json", is_flag=True, help="Print a line of JSON for each output, for programs.")
@stream_options
def convert(inputs: tuple[str, ...], **options: Any) -> None:
    """Translate sound files or, with a model of photos, photos; folders and patterns work too.

    Photos keep their size and proportions. A model of faces works best on portraits: one face, upright, eyes at about
    half the height and a fifth of the width apart; cut larger photos to that first.

    With --stream: translate what flows through a pipe.
    """
    stream, given = _split_options(options)
    in_json = options.pop("in_json")
    asked = {name: value for name in OPTIONS if (value := options.pop(name)) is not None}
    if stream:
        if in_json:
            raise UsageError("--json makes no sense with --stream, which writes sound to stdout: leave it out")
        _convert_stream(inputs, given, asked, **options)
        return
    if not inputs:
        raise click.UsageError("Missing argument 'INPUT...'.", click.get_current_context())
    jobs, outcomes = _convert(inputs, asked, **options)
    sources = {path: job.source for job in jobs for path in job.outputs}
    failures = 0
    for outcome in outcomes:
        failures += outcome.failed
        if in_json:
            click.echo(json.dumps(_facts(outcome, sources), ensure_ascii=False))
        _print(outcome, quiet=options["quiet"] or in_json)
    if failures:
        raise AudiotransError(f"{failures} of {len(jobs)} inputs could not be converted: see above")


def _print(outcome: Written | Failure, *, quiet: bool) -> None:
    for line in outcome.warnings:
        click.echo(f"audiotrans: warning: {printable(line)}", err=True)
    if outcome.failed or not quiet:
        click.echo(printable(str(outcome)), err=outcome.failed)


def _facts(outcome: Written | Failure, sources: dict[Path, Path]) -> dict[str, Any]:
    """Return an outcome in plain values."""
    if outcome.failed:
        failure = cast("Failure", outcome)
        return {"input": str(failure.source), "error": str(failure.error)}
    done = cast("Written", outcome)
    facts: dict[str, Any] = {"input": str(sources[done.path]), "output": str(done.path), "size": done.size}
    facts |= {"elapsed_seconds": round(done.elapsed_seconds, 3), "gain_db": round(20 * math.log10(done.gain), 3)}
    return facts | {"resampled_to_hz": done.sample_rate or None, "warnings": list(done.warnings)}


def _convert(
    inputs: tuple[str, ...], asked: dict[str, Any], *, output: str | None, samples: int, force: bool, **how: Any
) -> tuple[list[Job], Iterator[Written | Failure]]:
    """Return the jobs, and what becomes of them, one after the other."""
    options = options_of(asked)
    from audiotrans.convert.jobs import plan_jobs, sound_bar
    from audiotrans.convert.sound_converter import run_jobs
    from audiotrans.processes import keep_freed_memory

    check_counts(workers=how["workers"])
    keep_freed_memory()
    bar = partial(sound_bar, quiet=how["quiet"])
    if is_graph(how["model"], how["runtime"]):
        graph, options = _graph(options, samples, **how)
        jobs = plan_jobs(inputs, output, options.to)
        found = _convert_aside(jobs, options, output, force=force, **how)
        return jobs, found or run_jobs(graph, jobs, options, force=force, bar=bar)
    from audiotrans.convert.converter import converter_of
    from audiotrans.processes import choose_device, use_threads
    from audiotrans.weights import find, open_weights

    use_threads(how["threads"])
    stored = open_weights(find(how["model"]))
    jobs = plan_jobs(inputs, output, options.to, samples, photos=stored.recipe.imaging.type == "photo")
    converter = converter_of(stored, choose_device(how["device"]))
    options = converter.complete(options)
    found = _convert_aside(jobs, options, output, force=force, **how)
    return jobs, found or run_jobs(converter, jobs, options, force=force, bar=bar)


def _convert_aside(
    jobs: list[Job], options: ConvertOptions, output: str | None, *, ray: str | None, workers: int | None, **how: Any
) -> Iterator[Written | Failure] | None:
    """Return what becomes of the jobs where other processes do them; None where there is one for all."""
    if ray is None and min(workers or 1, len(jobs)) < 2:
        return None
    from audiotrans.convert.jobs import on_a_screen
    from audiotrans.convert.side_by_side import convert_jobs

    shared = None if output is None or jobs[0].outputs[0] == Path(output) else Path(output)
    chosen = {name: how[name] for name in ("model", "device", "threads", "force")}
    found = convert_jobs(jobs, options, workers=workers, ray=ray, shared=shared, **chosen)
    return _counted(found, jobs) if on_a_screen() and not how["quiet"] else found


def _counted(found: Iterator[Written | Failure], jobs: list[Job]) -> Iterator[Written | Failure]:
    """Show a bar of outputs while they come; what is printed of each takes its place for a moment."""
    from tqdm import tqdm

    outputs = {job.source: len(job.outputs) for job in jobs}
    with tqdm(total=sum(outputs.values()), desc="convert", unit="file", file=sys.stderr, leave=False) as bar:
        for outcome in found:
            bar.update(outputs[cast("Failure", outcome).source] if outcome.failed else 1)
            bar.clear()
            yield outcome
            bar.refresh()


def is_graph(model: str, runtime: str | None) -> bool:
    """Tell an exported graph from a model, which torch runs, by its name.

    Raises:
        UsageError: if the runtime that is asked for does not run it.
    """
    found = "onnx" if model.endswith(".onnx") else "torch"
    if runtime not in (None, *RUNTIMES):
        raise UsageError(f"--runtime {runtime!r}: choose {' or '.join(RUNTIMES)}")
    if runtime not in (None, found):
        first = f"audiotrans export {model} --to DOMAIN -o model.onnx"
        way = "leave --runtime out" if runtime == "torch" else f"first {first}, then --model model.onnx"
        raise UsageError(f"--runtime {runtime} does not run --model {model}: {way}")
    return found == "onnx"


def _graph(options: ConvertOptions, samples: int, **how: Any) -> tuple[GraphConverter, ConvertOptions]:
    """Return an exported graph, and a command's options completed by it; torch is not loaded."""
    if how["device"] not in ("auto", "cpu"):
        raise UsageError(f"--device {how['device']}: graphs run on the CPU; leave it out")
    if samples != 1:
        raise UsageError(f"--samples {samples}: a graph holds one seed; leave it out")
    from audiotrans.convert.graph_runtime import GraphConverter

    graph = GraphConverter(Path(how["model"]), how["threads"])
    return graph, graph.complete(options)


def _split_options(options: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
    """Take the options of streams out of a command's.

    Returns:
        Whether there is a stream, and the others that were given.

    Raises:
        UsageError: if one was given without ``--stream``.
    """
    names = {"raw": "--raw", "rate": "--rate", "channels": "--channels", "gain_db": "--gain"}
    names |= {"level_db": "--level", "chunk": "--chunk", "look_ahead": "--look-ahead"}
    stream = bool(options.pop("stream"))
    given = {name: value for name in names if (value := options.pop(name)) is not None}
    if given and not stream:
        raise UsageError(f"{names[next(iter(given))]} goes with --stream: files say themselves what they hold")
    return stream, given


def _convert_stream(inputs: tuple[str, ...], given: dict[str, Any], asked: dict[str, Any], **how: Any) -> None:
    """Translate stdin to stdout; everything else goes to stderr.

    Args:
        inputs: of the command; a dash at most.
        given: options of streams, from `_split_options`.
        asked: options of the conversion.
        how: the command's others.

    Raises:
        UsageError: for what makes no sense with a stream.
    """
    _refuse_files(inputs, how)
    if is_graph(how["model"], how["runtime"]):
        raise UsageError(f"--stream needs a model, not a graph such as {how['model']}: name it with --model")
    options = for_stream(options_of(asked))
    from audiotrans.audio.pipes import PipeFormat
    from audiotrans.convert.converter import load
    from audiotrans.convert.jobs import sound_bar
    from audiotrans.convert.stream import CHUNK_SECONDS, LOOK_AHEAD_SECONDS, StreamOptions, convert_pipe
    from audiotrans.processes import use_threads

    raw = PipeFormat(given["rate"], given["channels"], given["raw"]) if _is_raw(given) else None
    pipes = _pipes()
    chunk, ahead = given.get("chunk", CHUNK_SECONDS), given.get("look_ahead", LOOK_AHEAD_SECONDS)
    timing = StreamOptions(raw, given.get("gain_db", 0.0), given.get("level_db"), chunk, ahead)
    use_threads(how["threads"])
    converter = load(how["model"], device=how["device"])
    say = partial(_say, quiet=how["quiet"])
    with sound_bar("stream", quiet=how["quiet"]) as progress:
        done = convert_pipe(converter, options, *pipes, timing, begun=say, progress=progress)
    for warning in done.warnings:
        click.echo(f"audiotrans: warning: {warning}", err=True)
    say(str(done))


def _refuse_files(inputs: tuple[str, ...], how: dict[str, Any]) -> None:
    wrong = {
        f"INPUT {inputs[0]}" if inputs else "": inputs not in ((), ("-",)),
        f"-o {how['output']}": how["output"] not in (None, "-"),
        f"--samples {how['samples']}": how["samples"] != 1,
        "--force": how["force"],
        f"--workers {how['workers']}": how["workers"] is not None,
        f"--ray {how['ray']}": how["ray"] is not None,
    }
    found = next((name for name, is_wrong in wrong.items() if is_wrong), None)
    if found is not None:
        raise UsageError(f"{found} makes no sense with --stream, which reads stdin and writes stdout: leave it out")


def _is_raw(given: dict[str, Any]) -> bool:
    missing = [f"--{name}" for name in ("rate", "channels") if name not in given]
    if "raw" not in given and len(missing) < 2:
        extra = "--rate" if "--rate" not in missing else "--channels"
        raise UsageError(f"{extra} goes with --raw: a WAV header tells it")
    if "raw" in given and missing:
        raise UsageError(f"--raw {given['raw']} has no header: give {' and '.join(missing)} too")
    return "raw" in given


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Return stdin and stdout as binary streams, without buffers where they have any.

    Raises:
        UsageError: if one of them is a terminal, or closed.
    """
    closed = "stdin" if sys.stdin is None else "stdout" if sys.stdout is None else ""
    if closed:
        raise UsageError(f"{closed} is closed: --stream reads a pipe and writes one, see --help")
    if sys.stdin.isatty():
        raise UsageError("stdin is a terminal: pipe sound in, as in arecord -f cd | audiotrans convert --stream ...")
    if sys.stdout.isatty():
        raise UsageError("stdout is a terminal: pipe the sound on, as in ... | aplay, or into a file")
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    # Nothing of ours may lie in a buffer when the reader goes away: Python would complain about it while it exits.
    return cast(BinaryIO, getattr(source, "raw", source)), cast(BinaryIO, getattr(sink, "raw", sink))


def _say(line: str, *, quiet: bool) -> None:
    if not quiet:
        click.echo(f"stream: {line}", err=True)
