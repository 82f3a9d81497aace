"""The ``audiotrans`` command: every command parses, calls one function and prints."""

from __future__ import annotations

import atexit
import errno
import gc
import io
import logging
import os
import platform
import shutil
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from audiotrans import __version__
from audiotrans.errors import ENDING, AudiotransError, RenamedWarning, UsageError, names_extras, printable
from audiotrans.options import GONE

INTERRUPTED = 130

_log = logging.getLogger("audiotrans")

OLD_OPTIONS = {"--passes": "--shifts", "--straighten": "--remove-vibrato", "--judge": "--classifier"}
"""Options of version 0.1, and today's names."""


COMMANDS = {
    "compare": "compare",
    "convert": "convert",
    "cycle": "cycle",
    "doctor": "look",
    "evaluate": "evaluate",
    "export": "export_graph",
    "export-weights": "train",
    "info": "look",
    "models": "look",
    "plot": "plot",
    "prep": "train",
    "push": "train",
    "recipe": "train",
    "report": "report",
    "serve": "serve",
    "train": "train",
    "train-classifier": "evaluate",
}
"""Commands, and the module of this package that holds each as a function of its name."""


class Commands(click.Group):
    """Loads a command when it is asked for, and answers every mistake of a user with one line on stderr.

    The exit code is 2 for usage, 1 for data, 130 where the command was interrupted.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted([*COMMANDS, *super().list_commands(ctx)])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name; None for others."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"audiotrans.cli.{COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return _speaking(command)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit."""
        kwargs["standalone_mode"] = False
        _collect_rarely()
        _give_caches_a_place()
        _end_as_by_ctrl_c()
        _print_what_can_be()
        with _log_on_stderr():
            self._run(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> None:
        try:
            with _one_line_warnings(), names_extras():
                code = super().main(*args, **kwargs)
        except AudiotransError as error:
            _fail(str(error), error.exit_code)
        except click.ClickException as error:
            _fail(_with_hint(error), error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            _fail("interrupted", INTERRUPTED)
        except (MemoryError, RuntimeError, TypeError) as error:
            said = _beyond_the_device(error)
            if not said:
                raise
            _fail(said, 1)
        except OSError as error:
            # The reader of our output, such as head, has seen enough; Windows calls that an invalid argument.
            if error.errno == errno.EPIPE or (sys.platform == "win32" and error.errno == errno.EINVAL):
                sys.exit(1)
            _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", 1)
        _leave(code if isinstance(code, int) else 0)


def _collect_rarely() -> None:
    """Spare the start Python's search for garbage in all that importing torch makes."""
    gc.set_threshold(50_000)
    atexit.unregister(gc.freeze)  # of an earlier run in this process


def _leave(status: int) -> NoReturn:
    """Exit, without that search where all went well.

    What an error's traceback holds must be collected: some libraries tell the terminal of every object that is not.
    """
    if not status:
        atexit.register(gc.freeze)
    sys.exit(status)


def _give_caches_a_place() -> None:
    """Give libraries a folder of this process's own for their caches where there is no home that can be written.

    librosa, numba and matplotlib ask for one as soon as they are imported, and fail or warn without. The folder goes
    with the process.
    """
    try:
        home: Path | None = Path.home()
    except RuntimeError:  # a user of whom nothing is known, as in many containers
        home = None
    if home is not None and os.access(home, os.W_OK):
        return
    asked = [name for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR") if not os.environ.get(name)]
    try:
        folder = tempfile.mkdtemp(prefix="audiotrans-caches-")
    except OSError:  # what needs a place will say so
        return
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ.update(dict.fromkeys(asked if home else [*asked, "HOME"], folder))


def _end_as_by_ctrl_c() -> None:
    """Let the other signals that ask a program to end clean up unfinished files as Ctrl-C does."""
    alone = threading.current_thread() is threading.main_thread()
    for number in ENDING if alone else ():
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def _print_what_can_be() -> None:
    """Print ``?`` for characters of file names that the terminal, or the encoding of a log, does not have."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # None without a console; anything in a program that calls us
        sys.stdout.reconfigure(errors="replace")


def _speaking(command: click.Command) -> click.Command:
    """Add ``-v`` to a command, or to those below it."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _speaking(below)
    elif all(parameter.name != "verbose" for parameter in command.params):
        text = "Say what is done; -vv: also where in the program an error arose."
        verbose = click.Option(["-v", "--verbose"], count=True, expose_value=False, callback=_speak_up, help=text)
        command.params.append(verbose)
    return command


def _speak_up(context: click.Context, parameter: click.Parameter, count: int) -> None:
    del context, parameter
    if count:
        _log.setLevel(logging.INFO if count == 1 else logging.DEBUG)
        _log.info("audiotrans %s, Python %s, %s", __version__, platform.python_version(), platform.platform())


class _OnStderr(logging.Handler):
    """Prints records as one line each: warnings as the commands' own, and, where ``-v`` asks for it, the rest."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        kind = "warning: " if record.levelno >= logging.WARNING else ""
        click.echo(f"audiotrans: {kind}{printable(record.getMessage())}", err=True)


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    handler, level = _OnStderr(), _log.level
    _log.addHandler(handler)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(level)


def renamed_command(old: str, new: str) -> click.Command:
    """Return a hidden command that tells the name that it has now, whatever its arguments."""

    @click.command(old, hidden=True, context_settings={"ignore_unknown_options": True}, help=f"See {new}.")
    @click.argument("rest", nargs=-1, type=click.UNPROCESSED)
    def refuse(rest: tuple[str, ...]) -> None:
        del rest
        raise UsageError(f"{old} is now called {new}")

    return refuse


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print warnings of ours as one line on stderr, as those of inputs are."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RenamedWarning)
        show = warnings.showwarning

        def shown(message: Warning | str, category: type[Warning], *place: Any, **rest: Any) -> None:
            if issubclass(category, RenamedWarning):
                click.echo(f"audiotrans: warning: {message}", err=True)
            else:
                show(message, category, *place, **rest)

        warnings.showwarning = shown
        yield


def _with_hint(error: click.ClickException) -> str:
    """Return a mistake of the command line, with what has become of an old option or the place of the help."""
    if isinstance(error, click.NoSuchOption) and error.option_name in OLD_OPTIONS:
        return f"{error.option_name} is now called {OLD_OPTIONS[error.option_name]}"
    if isinstance(error, click.NoSuchOption) and (name := error.option_name.removeprefix("--")) in GONE:
        return f"{error.option_name} is gone: {GONE[name]}; leave it out"
    context = getattr(error, "ctx", None)
    return error.format_message() + (f" See {context.command_path} --help." if context else "")


def _beyond_the_device(error: Exception) -> str:
    """Say what a device cannot do; empty for faults of ours."""
    text = str(error)
    if "MPS" in text:  # what it lacks is known only when it is asked for
        return f"the device mps cannot do this ({text.partition('. ')[0]}): use --device cpu"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in text):
        return "not enough memory: use a smaller batch, shorter crops, a smaller model or another device"
    return ""


def _fail(message: str, code: int) -> None:
    if _log.isEnabledFor(logging.DEBUG):
        traceback.print_exc()
    click.echo(f"audiotrans: error: {printable(' '.join(message.split()))}", err=True)
    sys.exit(code)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="audiotrans")
@click.pass_context
def main(context: click.Context) -> None:
    """Translate between two kinds of sound, learned from unpaired examples: violin to piano and back."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


main.add_command(renamed_command("pack", "prep"))
main.add_command(renamed_command("train-judge", "train-classifier"))
