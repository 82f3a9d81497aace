"""Errors: names that are near, and lookups that list what there is."""

from __future__ import annotations

import pytest

from audiotrans.errors import AudiotransError, UsageError, lookup, nearest, printable


def test_names_that_would_write_over_a_terminal_are_printed_plainly() -> None:
    assert printable("Dvořák 🎻 [1]*.wav") == "Dvořák 🎻 [1]*.wav"
    assert printable("a\nb\x1b[2J\x07\u202evaw.exe\u2028\t") == "a?b?[2J??vaw.exe??"


def test_errors_suggest_and_list() -> None:
    assert nearest("Pinao", ["violin", "piano"]) == " Did you mean 'piano'?"
    assert nearest("xyz", ["violin", "piano"]) == ""
    assert lookup({"a": 1}, "a", "thing") == 1
    with pytest.raises(UsageError, match=r"unknown phase method 'sorce': choose one of auto, source\. Did you mean"):
        lookup({"source": 1, "auto": 2}, "sorce", "phase method")
    assert (AudiotransError.exit_code, UsageError.exit_code) == (1, 2)
