"""Settings and sounds that every test shares."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

# Before numpy and torch arrive, and inherited by subprocesses: many threads on few, busy cores run slower
# than one. No window may open either.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from audiotrans.processes import own_numba_cache

# Tests that run side by side must not fill one numba cache: what is broken then crashes every later process.
if "PYTEST_XDIST_WORKER" in os.environ:
    own_numba_cache()

torch.set_num_threads(1)

# A shell's background job ignores Ctrl-C, and so would every program that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("ci", derandomize=True, max_examples=50, deadline=None)
hypothesis.settings.register_profile("nightly", max_examples=1000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

SAMPLE_RATE = 44_100


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def rng() -> np.random.Generator:
    """Give a generator that starts alike in every test."""
    return np.random.default_rng(20180504)


@pytest.fixture
def chirp() -> NDArray[np.float32]:
    """Make half a second of stereo, float32 (2, 22050) at 44.1 kHz: a sweep from 110 Hz to 8 kHz.

    The right channel is 6 dB below the left, so that swapped or mixed channels show.
    """
    seconds = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    rise = (8_000 - 110) / 0.5  # Hz per second
    left = 0.5 * np.sin(2 * np.pi * (110 * seconds + 0.5 * rise * seconds**2))
    return np.stack([left, 0.5 * left]).astype(np.float32)


@pytest.fixture(scope="module")
def no_board() -> Iterator[None]:
    """Leave TensorBoard out: it takes longer to import than many a training run of tests lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard", None)
        yield
