"""A file per module: values by hand, edge cases, every error message."""
