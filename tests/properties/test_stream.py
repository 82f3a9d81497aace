"""Laws of streams: how they are cut is of no account, and the end comes when it should."""

from __future__ import annotations

import hypothesis
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from audiotrans.convert.stream import StreamConverter
from tests.standins import RATE, Local, converter

GAIN = converter(Local())
MAGNITUDE = converter(Local(), representation="log_magnitude")


def run(blocks: list[np.ndarray], rate: int, phase: str, level_db: float | None) -> list[np.ndarray]:
    model = GAIN if phase == "source" else MAGNITUDE
    request = model.options("piano", phase=phase)
    maker = StreamConverter(model, rate, len(blocks[0]), request, level_db=level_db, chunk_seconds=0.1)
    return [*[maker.push(block) for block in blocks], maker.finish()]


@hypothesis.settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32 - 1),
    samples=st.integers(0, 20_000),
    cuts=st.lists(st.integers(0, 20_000), max_size=6),
    rate=st.sampled_from((RATE, 22_050)),
    phase=st.sampled_from(("source", "rtpghi")),
    level_db=st.sampled_from((None, -20.0)),
)
def test_cuts_are_of_no_account(
    seed: int, samples: int, cuts: list[int], rate: int, phase: str, level_db: float | None
) -> None:
    rng = np.random.default_rng(seed)
    wave = (0.1 * rng.standard_normal((2, samples)) * rng.uniform(0, 1, samples) ** 4).astype(np.float32)
    whole = np.concatenate(run([wave], rate, phase, level_db), axis=1)
    parts = run(np.split(wave, sorted(min(cut, samples) for cut in cuts), axis=1), rate, phase, level_db)
    assert whole.shape == wave.shape
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
