"""What several stories of the command line begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.recipe import recipe_from_dict
from audiotrans.weights import export_weights
from tests.standins import SMALL


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the weights of an untrained, tiny model for the stand-ins' small images."""
    recipe = recipe_from_dict({"imaging": SMALL, "model": {"preset": "tiny"}})
    path = tmp_path_factory.mktemp("model") / "toy.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(2)
        export_weights(AVBGTN(recipe.model, recipe.imaging.image_channels).state_dict(), recipe, path)
    return path
