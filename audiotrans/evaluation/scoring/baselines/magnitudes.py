"""Griffin-Lim of the truth: the true magnitudes with phases found again, a bound for systems that make no phases."""

from __future__ import annotations

import numpy as np
import torch

from audiotrans.audio import Wave
from audiotrans.spectrogram.stft import STFT


def griffin_lim(truth: Wave, source: Wave, seed: int = 0) -> Wave:
    """Forget the phases of a wave and estimate them from its magnitudes alone.

    Args:
        truth: shape (channels, samples).
        source: the input, of the same shape; lends the phase differences between the channels, as it does to a model.
        seed: of the random phases that the iterations start from.

    Returns:
        float32 of the same shape.
    """
    from audiotrans.spectrogram.phase import PHASES, PhaseTask

    stft = STFT()
    true, given = (stft.forward(torch.from_numpy(np.ascontiguousarray(wave))) for wave in (truth, source))
    spectrum = PHASES["griffin_lim"](PhaseTask(true.abs(), given, None, stft, seed=seed))
    wave: Wave = stft.inverse(spectrum, truth.shape[1]).numpy()
    return wave
