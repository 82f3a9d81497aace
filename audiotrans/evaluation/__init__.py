"""Measure and plot conversions: what was kept of the music, and how near the result is to the target."""
