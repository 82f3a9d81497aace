"""Programs that measure; each module is a command, run from the repository's root: `python -m benchmarks.NAME`."""
