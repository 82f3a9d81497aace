"""Guard what released weights depend on (rank 4: our own past output, see make.py)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.golden.make import DATA, load
from tests.golden.makers_model import WAYS, model


@pytest.fixture(scope="module")
def made() -> dict[str, object]:
    return model()


def test_released_weights_still_load(made: dict[str, object]) -> None:
    # A renamed or reshaped weight makes every model file of users unreadable.
    assert made["weights"] == load("model")["weights"].tolist()


@pytest.mark.parametrize("way", WAYS)
def test_the_same_weights_still_make_the_same_image(made: dict[str, object], way: str) -> None:
    kept = load("model")[way]
    assert kept.std() > 0.05  # a flat image would guard nothing
    # Some twenty float32 layers, on other processors too: 1e-4 is 0.005 dB of an image that spans 100 dB.
    np.testing.assert_allclose(made[way], kept, rtol=0, atol=1e-4)


def test_the_golden_model_is_small() -> None:
    golden = load("model")
    assert golden["rank"] == 4
    assert (DATA / "model.npz").stat().st_size < 50_000
