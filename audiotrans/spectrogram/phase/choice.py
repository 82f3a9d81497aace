"""`auto`: which phases a sound gets where nobody says."""

from __future__ import annotations

from torch import Tensor

from audiotrans.spectrogram.phase.estimates import pghi, pghi_refined
from audiotrans.spectrogram.phase.methods import source
from audiotrans.spectrogram.phase.planes import power_of_two
from audiotrans.spectrogram.phase.task import PhaseTask


def auto(task: PhaseTask) -> Tensor:
    """Keep the source's phases where they fit the new magnitudes at least as well as integrated ones, else estimate.

    A gain on the source's spectrum always keeps the source's phases. Elsewhere the test is the inconsistency
    (`STFT.inconsistency_db`) of the magnitudes with the source's phases against that with those of `pghi`; where the
    source loses, `pghi_refined` decides.
    """
    kept = source(task)
    if task.gain is not None:
        return kept
    scale = power_of_two(task.magnitude)  # float32 holds sounds whose power it does not
    if task.stft.inconsistency_db(kept * scale) <= task.stft.inconsistency_db(pghi(task) * scale):
        return kept
    return pghi_refined(task)
