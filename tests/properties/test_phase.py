"""Laws of the phase methods that start from magnitudes alone, for random seeds, lengths and settings."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiotrans.spectrogram.phase import PHASES, CausalPhase, PhaseTask
from audiotrans.spectrogram.stft import STFT

SEEDS = st.integers(0, 2**31)
METHODS = st.sampled_from(["pghi", "pghi_refined", "rtpghi", "fast_griffin_lim"])


def noise(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


@st.composite
def transforms(draw: st.DrawFn) -> STFT:
    half = draw(st.integers(2, 64))
    return STFT(2 * half, draw(st.integers(max(1, half // 8), half)))


@st.composite
def tasks(draw: st.DrawFn) -> PhaseTask:
    """Draw noise whose level changes from frame to frame, and a source that has nothing to do with it."""
    stft, seed = draw(transforms()), draw(SEEDS)
    shape = (draw(st.integers(1, 4)), stft.bins, draw(st.integers(1, 30)))
    level = 10 ** (-draw(st.integers(0, 6)) * noise(seed + 1, shape[2]).abs() / 2)
    source = torch.complex(noise(seed + 2, *shape), noise(seed + 3, *shape))
    return PhaseTask(noise(seed, *shape).abs() * level, source, None, stft, seed=seed)


@given(tasks(), METHODS)
def test_magnitudes_are_kept_and_the_same_task_gives_the_same_bits(task: PhaseTask, name: str) -> None:
    kept = [tensor.clone() for tensor in (task.magnitude, task.source)]
    found = PHASES[name](task)
    assert found.shape == task.magnitude.shape
    assert found.dtype == torch.complex64
    assert torch.allclose(found.abs(), task.magnitude, rtol=1e-5, atol=0)
    assert torch.equal(PHASES[name](task), found)
    assert torch.equal(task.magnitude, kept[0])
    assert torch.equal(task.source, kept[1])


# Not rtpghi: a stream has no loudest bin to scale by, and rounded logarithms may put bins into another order.
@given(tasks(), METHODS.filter(lambda name: name != "rtpghi"), st.integers(-40, 40), st.integers(-40, 40))
def test_a_gain_is_a_gain(task: PhaseTask, name: str, doublings: int, of_source: int) -> None:
    louder = PhaseTask(
        task.magnitude * 2.0**doublings, task.source * 2.0**of_source, None, task.stft, seed=task.seed
    )  # exact in float32
    assert torch.allclose(
        PHASES[name](louder), PHASES[name](task) * 2.0**doublings, rtol=1e-4, atol=1e-4 * float(louder.magnitude.max())
    )


@given(tasks(), st.lists(st.integers(0, 7), min_size=1, max_size=5).filter(any))
def test_how_a_stream_is_cut_does_not_change_a_bit(task: PhaseTask, sizes: list[int]) -> None:
    causal = CausalPhase(task.stft, len(task.magnitude), seed=task.seed)
    parts, start = [], 0
    while start < task.magnitude.shape[-1]:
        part = slice(start, start + sizes[len(parts) % len(sizes)])
        parts.append(causal.push(task.magnitude[..., part], task.source[..., part]))
        start = part.stop
    assert torch.equal(torch.cat([*parts, causal.finish()], dim=-1), PHASES["rtpghi"](task))


@given(tasks())
def test_channels_alike_stay_alike(task: PhaseTask) -> None:
    both = PhaseTask(
        task.magnitude[:1].repeat(2, 1, 1), task.source[:1].repeat(2, 1, 1), None, task.stft, seed=task.seed
    )
    for name in ("pghi", "rtpghi", "pghi_refined"):
        left, right = PHASES[name](both)
        assert torch.allclose(left, right, rtol=1e-3, atol=1e-4 * float(left.abs().max()))
