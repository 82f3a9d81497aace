"""One line for every mistake of a user."""

from __future__ import annotations

import errno
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from audiotrans.errors import AudiotransError, RenamedWarning, UsageError, names_extras

INTERRUPTED = 130

OLD_OPTIONS = {"--passes": "--shifts", "--straighten": "--remove-vibrato", "--judge": "--classifier"}
"""Options of version 0.1, and today's names."""


class OneLineErrors(click.Group):
    """Turns every mistake of a user into one line on stderr and an exit code: 2 usage, 1 data, 130 interrupted."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit."""
        kwargs["standalone_mode"] = False
        _end_as_by_ctrl_c()
        try:
            with _one_line_warnings():
                code = names_extras(super().main)(*args, **kwargs)
        except AudiotransError as error:
            _fail(str(error), error.exit_code)
        except click.ClickException as error:
            _fail(_with_hint(error), error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            _fail("interrupted", INTERRUPTED)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "memory" not in str(error):
                raise
            _fail("not enough memory: use a smaller batch, shorter crops, a smaller model or another device", 1)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output, such as head, has seen enough
                sys.exit(1)
            _fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)
        sys.exit(code if isinstance(code, int) else 0)


def _end_as_by_ctrl_c() -> None:
    """Let SIGTERM, which timeout, docker and systemd send, clean up unfinished files as Ctrl-C does."""
    alone = threading.current_thread() is threading.main_thread()
    if alone and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


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
    """Return a mistake of the command line, with today's name of an old option or the place of the help."""
    if isinstance(error, click.NoSuchOption) and error.option_name in OLD_OPTIONS:
        return f"{error.option_name} is now called {OLD_OPTIONS[error.option_name]}"
    context = getattr(error, "ctx", None)
    return error.format_message() + (f" See {context.command_path} --help." if context else "")


def _fail(message: str, code: int) -> None:
    click.echo(f"audiotrans: error: {' '.join(message.split())}", err=True)
    sys.exit(code)
