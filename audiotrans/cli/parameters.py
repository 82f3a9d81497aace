"""Kinds of argument that several commands take, each with what a shell may complete it by."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])

FILES = click.Path(readable=False)  # who reads a file that may not be read says so in a better line
"""Files, folders or patterns, as texts; a shell completes file names."""


class Words(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A text that is often one of some words: a shell completes these, and else file names where there may be any.

    Args:
        name: of the kind.
        words: the words.
        files: whether it may be a file.
    """

    def __init__(self, name: str, words: tuple[str, ...] = (), *, files: bool = False) -> None:
        self.name, self._words, self._files = name, words, files

    def words(self) -> tuple[str, ...]:
        """Return the words as they are now."""
        return self._words

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the words that begin so, or else the wish for file names."""
        del ctx, param
        found = [CompletionItem(word) for word in self.words() if word.startswith(incomplete)]
        return found or ([CompletionItem(incomplete, type="file")] if self._files else [])


class _ModelName(Words):
    def words(self) -> tuple[str, ...]:
        """Return the names of the shipped models, without loading what reads them."""
        files = (resources.files("audiotrans") / "weights").iterdir()
        return tuple(sorted(file.name.removesuffix(".safetensors") for file in files if file.name.endswith("tensors")))


MODEL = _ModelName("model", files=True)
"""A shipped model's name, a weights file, or ``hf:owner/name``."""

DEVICE = Words("device", ("auto", "cpu", "cuda", "mps"))


def worker_options(default: str) -> Callable[[F], F]:
    """Return a decorator that adds ``--workers`` and ``--ray``; ``default`` says how many workers there are."""

    def add(function: F) -> F:
        ray = "Work on a Ray cluster: its HOST:PORT, auto, or local for one that ends with the run."
        function = click.option("--ray", metavar="ADDRESS", help=ray)(function)
        return click.option("--workers", type=int, help=f"Processes.  [default: {default}]")(function)

    return add
