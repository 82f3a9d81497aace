"""What programs ask ``audiotrans serve`` for, as docs/serve.md tells them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from audiotrans.audio import probe, read
from tests.e2e.conftest import served
from tests.folders import write_tone

gradio_client = pytest.importorskip("gradio_client", reason="gradio is not installed: pip install '.[web]'")
pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def address(model: Path) -> Iterator[str]:
    with served("--model", str(model), "--minutes", "0.1") as (found, _):
        yield found


def test_programs_convert_through_the_api(address: str, tmp_path: Path) -> None:
    Client, handle_file = gradio_client.Client, gradio_client.handle_file
    AppError = gradio_client.exceptions.AppError
    client = Client(address, verbose=False, download_files=tmp_path, analytics_enabled=False)
    source = write_tone(tmp_path / "a.flac")
    result, notes = client.predict([handle_file(source)], "piano", api_name="/convert")
    assert probe(result).frames == probe(source).frames
    assert result.endswith(".piano.flac")
    assert isinstance(notes, list)
    result, _ = client.predict([handle_file(source)], "piano", strength=0, sound_format="wav", api_name="/convert")
    assert np.abs(read(result)[0] - read(source)[0]).max() <= 2**-15
    for wrong in ({"strength": 101}, {"to": "c"}, {"model": "none"}, {"options": {"sed": 1}}, {"sound_format": "exe"}):
        with pytest.raises(AppError) as refused:
            client.predict(**({"files": [handle_file(source)], "to": "piano"} | wrong), api_name="/convert")
        assert "\n" not in str(refused.value)
