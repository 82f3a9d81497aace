"""Stored results, each with the script that made it."""
