"""Listening to an input without converting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from audiotrans.audio import Wave, resample_blocks, resampled_length
from audiotrans.convert.domain_check.listening import Listener
from audiotrans.convert.tiles import SlidingWindow

if TYPE_CHECKING:
    from audiotrans.convert.converter import Converter


def listen(converter: Converter, listener: Listener, wave: Wave, sample_rate: int) -> list[str]:
    """Let a listener hear a wave as it would while the wave is converted; return its warnings.

    Args:
        converter: makes the images.
        listener: of this converter, fresh.
        wave: ``(channels, samples)``.
        sample_rate: Hz.

    Raises:
        AudiotransError: for an empty or silent wave.
    """
    channels, rate = len(wave), converter.settings.sample_rate
    frames, level_db = converter.measure(listener.hearing([wave]), sample_rate, channels)
    length = max(resampled_length(frames, sample_rate, rate), 2 * converter.settings.n_fft)
    window = SlidingWindow(resample_blocks([wave], sample_rate, rate, channels, length=length))
    for tile in listener.expect(converter.plan.tiles(length)):
        piece = torch.from_numpy(np.ascontiguousarray(window.take(tile.start, tile.stop)))
        image, _ = converter.imaging.to_image(piece.to(converter.device), level_db)
        listener.see(image, tile.start)
    return listener.warnings(level_db)
