"""What several stories of the command line begin with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from audiotrans.model.avb_gtn import AVBGTN
from audiotrans.recipe import recipe_from_dict
from audiotrans.weights import export_weights
from tests.standins import SMALL

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the weights of an untrained, tiny model for the stand-ins' small images."""
    recipe = recipe_from_dict({"imaging": SMALL, "model": {"preset": "tiny"}})
    path = tmp_path_factory.mktemp("model") / "toy.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(2)
        export_weights(AVBGTN(recipe.model, recipe.imaging.image_channels).state_dict(), recipe, path)
    return path


@pytest.fixture(scope="session")
def photo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the weights of an untrained, tiny model of photos."""
    pytest.importorskip("PIL", reason="Pillow is not installed: pip install '.[photo]'")
    recipe = recipe_from_dict(
        {
            "imaging": {"type": "photo", "height": 16, "width": 16, "margin": 2},
            "domains": {"a": "blond", "b": "brown"},
            "model": {"preset": "light", "width": 4, "z_channels": 4, "blocks": 1, "discriminator_width": 4},
            "losses": {"generator": {"gan": 1, "vae_reconstruction": 10}},
        }
    )
    path = tmp_path_factory.mktemp("photo_model") / "faces.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(2)
        export_weights(AVBGTN(recipe.model, recipe.imaging.image_channels).state_dict(), recipe, path)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Run one Chromium for all tests of pages, with a microphone that beeps."""
    from tests.e2e.browser import MICROPHONE, chromium  # skips what uses it, where there is no Playwright

    with chromium(*MICROPHONE) as found:
        yield found


@contextmanager
def served(*arguments: str) -> Iterator[tuple[str, int]]:
    """Run ``audiotrans serve`` at a free port; give the page's address and the process's number."""
    command = [sys.executable, "-m", "audiotrans", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ)
    )
    assert process.stdout
    try:
        said = process.stdout.readline()
        found = re.search(r"http://\S+", said)
        assert found, said + process.stdout.read()
        yield found[0], process.pid
    finally:
        process.terminate()
        said = process.communicate(timeout=300)[0]
    assert (process.returncode, said) == (0, "")
