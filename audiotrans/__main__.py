"""`python -m audiotrans`: the same as the `audiotrans` command."""

from __future__ import annotations

import sys

from audiotrans.cli import main

if __name__ == "__main__":
    sys.exit(main())
