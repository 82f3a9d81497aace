"""Translate sound between two domains, such as violin and piano, learned from unpaired examples.

`load` gives a converter for a shipped model or for one of yours; every message meant for a user is an
`AudiotransError`. Importing this package loads nothing heavy: torch arrives with the first use of `load`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audiotrans.errors import AudiotransError

if TYPE_CHECKING:
    from audiotrans.convert.converter import load

__version__ = "0.1.0"
__all__ = ["AudiotransError", "__version__", "load"]


def __getattr__(name: str) -> object:
    """Import `load` on first use, because it brings torch with it (PEP 562)."""
    if name == "load":
        from audiotrans.convert.converter import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the lazy names too, so that completion finds them."""
    return sorted({*globals(), *__all__})
