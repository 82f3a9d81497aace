"""Metrics of waves and of notes, a module for each task: pure functions that return numbers.

Conventions, for every function of this package:

- A wave is a real numpy array of shape `(channels, samples)`, full scale 1.0. Both waves of a comparison have the
  same shape and the same sample rate (Hz).
- The first wave is the reference (the truth, or the source whose notes must survive), the second the estimate.
- Spectral and pitch metrics take the mono mix, the mean over the channels.
- Every level is relative to the reference as it is: nothing is aligned in time or matched in loudness.
- A function never changes what it is given, and refuses what it cannot measure with an `AudiotransError`.

`audiotrans.evaluation.scoring.METRICS` is the table of those that the commands report.
"""

from __future__ import annotations

from audiotrans.evaluation.metrics import artefacts, envelope, kernel, notes, pitch, spectral, stereo, timing

__all__ = ["artefacts", "envelope", "kernel", "notes", "pitch", "spectral", "stereo", "timing"]
