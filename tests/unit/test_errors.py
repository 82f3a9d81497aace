"""Errors: names that are near, and lookups that list what there is."""

from __future__ import annotations

import pytest

from audiotrans.errors import AudiotransError, UsageError, lookup, nearest


def test_errors_suggest_and_list() -> None:
    assert nearest("Pinao", ["violin", "piano"]) == " Did you mean 'piano'?"
    assert nearest("xyz", ["violin", "piano"]) == ""
    assert lookup({"a": 1}, "a", "thing") == 1
    with pytest.raises(UsageError, match=r"unknown phase method 'sorce': choose one of auto, source\. Did you mean"):
        lookup({"source": 1, "auto": 2}, "sorce", "phase method")
    assert (AudiotransError.exit_code, UsageError.exit_code) == (1, 2)
