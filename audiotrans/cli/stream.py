"""``audiotrans convert --stream``: its options, and the pipe on both sides."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

import click

from audiotrans.errors import UsageError

if TYPE_CHECKING:
    from audiotrans.convert.converter import Converter
    from audiotrans.convert.options import Request
    from audiotrans.convert.photos import PhotoConverter

F = TypeVar("F", bound=Callable[..., Any])

_DASH = ("-",)

SOUND_OPTIONS = ("articulation", "shifts", "vibrato", "remove_vibrato", "tilt")
"""Options that a model has its own values of."""


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


_option = partial(click.option, cls=StreamOption)

STREAM_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    _option("--stream", is_flag=True, help="Translate stdin to stdout while it flows: WAV, or raw samples."),
    _option("--raw", metavar="KIND", help="No WAV headers: samples are u8, s16le, s24le, s32le, f32le or f64le."),
    _option("--rate", type=int, metavar="HZ", help="Sample rate of raw sound."),
    _option("--channels", type=int, metavar="N", help="Channels of raw sound, interleaved."),
    _option("--gain", "gain_db", type=float, metavar="DB", help="Change the output's level.  [default: 0]"),
    _option("--level", "level_db", type=float, metavar="DB", help="Level of the music.  [default: follow the stream]"),
    _option("--chunk", type=float, metavar="SECONDS", help="Less delay, or less computing.  [default: 0.5]"),
)


def stream_options(function: F) -> F:
    """Add the options of streams to a command, after its own."""
    for option in reversed(STREAM_OPTIONS):
        function = option(function)
    return function


def split_options(options: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
    """Take the options of streams out of a command's.

    Returns:
        Whether there is a stream, and the others that were given.

    Raises:
        UsageError: if one was given without ``--stream``.
    """
    names = {"raw": "--raw", "rate": "--rate", "channels": "--channels", "gain_db": "--gain"}
    names |= {"level_db": "--level", "chunk": "--chunk"}
    stream = bool(options.pop("stream"))
    given = {name: value for name in names if (value := options.pop(name)) is not None}
    if given and not stream:
        raise UsageError(f"{names[next(iter(given))]} goes with --stream: files say themselves what they hold")
    return stream, given


def convert_stream(
    inputs: tuple[str, ...], given: dict[str, Any], *, to: str, source: str | None, **options: Any
) -> None:
    """Translate stdin to stdout; everything that is no sound goes to stderr.

    Args:
        inputs: of the command; a dash at most.
        given: options of streams, from `split_options`.
        to: domain to translate to.
        source: domain of the input.
        options: the command's others.

    Raises:
        UsageError: for what makes no sense with a stream.
    """
    _refuse_files(inputs, options)
    from audiotrans.audio.pipes import PipeFormat
    from audiotrans.convert import models
    from audiotrans.convert.piping import StreamOptions, convert_pipe
    from audiotrans.convert.progress import stream_bar
    from audiotrans.convert.stream import CHUNK_SECONDS

    raw = PipeFormat(given["rate"], given["channels"], given["raw"]) if _is_raw(given) else None
    chunk = given.get("chunk", CHUNK_SECONDS)
    pipes = _pipes()
    how = StreamOptions(raw, given.get("gain_db", 0.0), given.get("level_db"), chunk)
    models.use_threads(options["threads"])
    converter = models.load(options["model"], device=options["device"])
    request = asked_of(converter, to, source, _soon(options))
    say = partial(_say, quiet=options["quiet"])
    with stream_bar("stream", quiet=options["quiet"]) as progress:
        done = convert_pipe(converter, request, *pipes, how, begun=say, progress=progress)
    for warning in done.warnings:
        click.echo(f"audiotrans: warning: {warning}", err=True)
    say(str(done))


def _soon(options: dict[str, Any]) -> dict[str, Any]:
    """Fill in what streams choose where nothing is asked: what flows must not wait for better sound."""
    quickest = {"shifts": 1, "remove_vibrato": 0.0}
    return options | {name: value for name, value in quickest.items() if options[name] is None}


def asked_of(converter: Converter | PhotoConverter, to: str, source: str | None, options: dict[str, Any]) -> Request:
    """Return the request that a command's options make, checked by the model."""
    asked = (to, source, options["strength"], options["phase"], options["seed"])
    given = {name: options[name] for name in SOUND_OPTIONS if options[name] is not None}
    return converter.request(*asked, **given)


def _refuse_files(inputs: tuple[str, ...], options: dict[str, Any]) -> None:
    wrong = {
        f"INPUT {inputs[0]}" if inputs else "": inputs not in ((), _DASH),
        f"-o {options['output']}": options["output"] not in (None, "-"),
        f"--samples {options['samples']}": options["samples"] != 1,
        "--force": options["force"],
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
