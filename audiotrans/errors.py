"""Every error that a user may see: one line that says what was wrong, what is allowed and the way out."""

from __future__ import annotations

import contextlib
import difflib
import signal
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")

EXTRAS = {
    "PIL": "photo",
    "huggingface_hub": "hub",
    "jinja2": "eval",
    "librosa": "eval",
    "matplotlib": "plot",
    "mido": "eval",
    "gradio": "web",
    "mir_eval": "eval",
    "numba": "phase",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "pyloudnorm": "eval",
    "ray": "ray",
    "tensorboard": "train",
}
"""Optional modules, and the extra of the package that brings each."""

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that ask a program to end: Ctrl-C, what timeout, docker and systemd send, and that of a closed terminal."""


_CONTROLS = ("Cc", "Zl", "Zp")
_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # let what follows be read from the right


class AudiotransError(Exception):
    """A mistake in the data that the user gave; its text is one whole line, fit to be printed as it is."""

    exit_code = 1


class UsageError(AudiotransError):
    """A mistake in the command, recipe or arguments rather than in the data."""

    exit_code = 2


class MissingLibraryError(AudiotransError, ModuleNotFoundError):
    """An optional library is not installed; the message names the extra that brings it."""


class RenamedWarning(FutureWarning):
    """A name of an earlier version was used, which is read for one release; the text names today's."""


@contextlib.contextmanager
def names_extras() -> Iterator[None]:
    """Raise `MissingLibraryError` where an optional library is imported and absent; a decorator or a context."""
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        if isinstance(error, AudiotransError) or library not in EXTRAS:
            raise
        text = f'this needs {library}, which is not installed: pip install "audiotrans[{EXTRAS[library]}]"'
        raise MissingLibraryError(text, name=library) from None


def printable(text: str) -> str:
    """Return a text of one line that a terminal can take: names of files may hold line ends and control codes."""
    return "".join("?" if unicodedata.category(each) in _CONTROLS or each in _TURNS else each for each in text)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Suggest the allowed name that looks most like a misspelt one.

    Args:
        name: What the user wrote.
        allowed: The names that would have been right.

    Returns:
        A sentence to append to an error message, with its leading space, such as `` Did you mean 'piano'?``;
        empty where no allowed name is near.
    """
    folded = {candidate.casefold(): candidate for candidate in allowed}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f" Did you mean {folded[close[0]]!r}?" if close else ""


def check_counts(**counts: int | None) -> None:
    """Refuse fewer than one of what is given by name; None leaves the choice to the program.

    Raises:
        UsageError: naming the first that is too low.
    """
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"{name} {count}: give 1 or more")


def lookup(registry: Mapping[str, T], name: str, what: str) -> T:
    """Fetch a named variant from a registry.

    Args:
        registry: The variants by name.
        name: What the user asked for.
        what: What the registry holds, as the message should call it ("phase method").

    Returns:
        The variant.

    Raises:
        UsageError: No variant has that name; the message lists the names that exist.
    """
    try:
        return registry[name]
    except KeyError:
        known = ", ".join(sorted(registry)) or "none"
        message = f"unknown {what} {name!r}: choose one of {known}.{nearest(name, registry)}"
        raise UsageError(message) from None
