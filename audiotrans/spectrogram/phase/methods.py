"""The phase methods that integrate nothing: the source's, the network's, and librosa's Griffin-Lim."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiotrans.errors import UsageError
from audiotrans.spectrogram.phase.task import PhaseTask, common, direction

GRIFFIN_LIM_ITERATIONS = 32
"""What librosa's users get by default; more rarely helps on generated magnitudes."""


def network(task: PhaseTask) -> Tensor:
    """Use the phase that the network generated, as the paper does (section 4.3).

    Raises:
        UsageError: if the representation holds no phase.
    """
    if task.generated is None:
        raise UsageError(
            "phase 'network' needs a model trained on magnitude_phase images; use auto, source or pghi_refined"
        )
    return torch.polar(task.magnitude, task.generated)


def source(task: PhaseTask) -> Tensor:
    """Use the input's own phase: right where the output is a gain on the input's spectrum."""
    if task.gain is not None:
        return task.source * task.gain
    return task.magnitude * direction(task.source)


def griffin_lim(task: PhaseTask) -> Tensor:
    """Estimate phases by fast Griffin-Lim iterations (Griffin and Lim 1984; Perraudin et al. 2013, momentum 0.99).

    Runs librosa's implementation on the channels' mean power and lends each channel the input's inter-channel phase
    differences: channels estimated apart would lose their stereo image.
    """
    import librosa

    mono = task.magnitude.square().mean(0).sqrt()
    # Silence around: librosa warns of sounds shorter than a frame, and refuses a single frame.
    edge = -(-task.stft.n_fft // task.stft.hop_length)
    padded = torch.nn.functional.pad(mono, (edge, edge)).cpu().numpy()
    method: Any = librosa.griffinlim
    # librosa 1.0 gave the seed another name.
    seed = "rng" if "rng" in inspect.signature(method).parameters else "random_state"
    wave = method(
        padded,
        n_iter=GRIFFIN_LIM_ITERATIONS,
        hop_length=task.stft.hop_length,
        n_fft=task.stft.n_fft,
        length=(padded.shape[-1] - 1) * task.stft.hop_length,
        pad_mode="constant",
        momentum=0.99,
        **{seed: task.seed},
    )
    spectrum = task.stft.forward(torch.from_numpy(np.asarray(wave, np.float32)).to(mono))
    shared = direction(spectrum[..., edge : edge + mono.shape[-1]])
    return task.magnitude * shared * direction(task.source * direction(common(task.source)).conj())
