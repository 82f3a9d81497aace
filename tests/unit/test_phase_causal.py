"""Phases frame by frame: any cutting gives the same bits, nothing but the past and one frame is used."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from audiotrans.errors import AudiotransError, MissingLibraryError
from audiotrans.spectrogram import phase
from audiotrans.spectrogram.phase import PHASES, CausalPhase
from audiotrans.spectrogram.stft import STFT
from tests.phrase import phrase, task_of

STFT_ = STFT(512, 128)


def pushed(magnitude: Tensor, source: Tensor, sizes: list[int], **settings: int) -> Tensor:
    """Push frames in parts of the given sizes, over and over."""
    causal = CausalPhase(STFT_, len(magnitude), **settings)
    parts, start = [], 0
    while start < magnitude.shape[-1]:
        size = sizes[len(parts) % len(sizes)]
        parts.append(causal.push(magnitude[..., start : start + size], source[..., start : start + size]))
        start += size
    return torch.cat([*parts, causal.finish()], dim=-1)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("sizes", [[1], [2, 0, 5], [1000]])
def test_parts_give_the_bits_of_the_whole(channels: int, sizes: list[int]) -> None:
    task = task_of(phrase(channels, notes=1), STFT_)
    whole = PHASES["rtpghi"](task)
    assert torch.equal(pushed(task.magnitude, task.source, sizes), whole)


def test_a_push_returns_what_is_settled() -> None:
    task = task_of(phrase(2, notes=1), STFT_)
    causal = CausalPhase(STFT_, 2)
    counts = []
    for start, stop in ((0, 0), (0, 5), (5, 5), (5, 6), (6, 9)):
        part = slice(start, stop)
        counts.append(causal.push(task.magnitude[..., part], task.source[..., part]).shape[-1])
    assert counts == [0, 4, 0, 1, 3]
    assert causal.delay_frames == 1
    assert causal.finish().shape == (2, STFT_.bins, 1)
    assert causal.finish().shape == (2, STFT_.bins, 0)


def test_the_future_beyond_one_frame_changes_nothing() -> None:
    task = task_of(phrase(1, notes=1), STFT_)
    other = task.magnitude.clone()
    other[..., 31:] = 0
    first, second = (CausalPhase(STFT_, 1).push(each, task.source)[..., :30] for each in (task.magnitude, other))
    assert torch.equal(first, second)
    changed = task.magnitude.clone()
    changed[..., 30] = 0  # the one frame of look-ahead does count
    assert not torch.equal(CausalPhase(STFT_, 1).push(changed, task.source)[..., :30], first)


def test_nothing_pushed_is_nothing_finished() -> None:
    assert CausalPhase(STFT_, 2).finish().shape == (2, STFT_.bins, 0)


def test_one_frame_comes_back_alone() -> None:
    magnitude = torch.rand(1, STFT_.bins, 1, generator=torch.Generator().manual_seed(0))
    causal = CausalPhase(STFT_, 1)
    assert causal.push(magnitude, magnitude.to(torch.complex64)).shape[-1] == 0
    assert torch.allclose(causal.finish().abs(), magnitude, rtol=1e-5, atol=0)


def test_sound_after_silence_is_sound() -> None:
    wave = torch.nn.functional.pad(phrase(1, notes=1), (12_800, 12_800))
    found = PHASES["rtpghi"](task_of(wave, STFT_))
    assert torch.equal(found[..., :90], torch.zeros_like(found[..., :90]))
    alone = PHASES["rtpghi"](task_of(phrase(1, notes=1), STFT_))
    assert STFT_.inconsistency_db(found) == pytest.approx(STFT_.inconsistency_db(alone), abs=0.5)


@pytest.mark.parametrize("channels", [0, 9])
def test_numbers_of_channels_have_bounds(channels: int) -> None:
    with pytest.raises(ValueError, match="1 to 8"):
        CausalPhase(STFT_, channels)


def test_what_does_not_fit_is_refused() -> None:
    causal = CausalPhase(STFT_, 2)
    good = torch.ones(2, STFT_.bins, 3)
    with pytest.raises(ValueError, match="2 channels"):
        causal.push(good, good[..., :2].to(torch.complex64))
    with pytest.raises(ValueError, match="257"):
        causal.push(good[:, 1:], good[:, 1:].to(torch.complex64))
    with pytest.raises(AudiotransError, match="NaN"):
        causal.push(good * float("nan"), good.to(torch.complex64))


def test_without_numba_a_stream_ends_before_it_begins_and_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "audiotrans.spectrogram.phase.kernels", raising=False)
    monkeypatch.delattr(phase, "kernels", raising=False)
    with pytest.raises(MissingLibraryError, match=r'needs numba, .*"audiotrans\[phase\]"'):
        CausalPhase(STFT(), 1)
