"""Photo <-> image."""
