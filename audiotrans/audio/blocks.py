"""Waves in blocks: their type, how they are cut, checked and rounded to integers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audiotrans.errors import AudiotransError

Wave = npt.NDArray[np.float32]  # (channels, samples)
Frames = npt.NDArray[np.float32]  # (frames, channels), the order of files

CHUNK_FRAMES = 65_536
PCM_BITS = {"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32, "ALAC_16": 16, "ALAC_24": 24}


def joined(parts: list[Wave], channels: int) -> Wave:
    """Join blocks of shape (channels, samples), of which there may be none."""
    if not parts:
        return np.zeros((channels, 0), np.float32)
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def reblock(blocks: Iterable[Wave], block_frames: int) -> Iterator[Wave]:
    """Cut a signal that comes in blocks of any size into blocks of one size.

    Args:
        blocks: Arrays of shape (channels, samples).
        block_frames: Samples of each block to be given, >= 1.

    Yields:
        Contiguous arrays of shape (channels, block_frames); the last one may be shorter.
    """
    pending: list[Wave] = []
    held = 0
    for block in blocks:
        pending.append(block)
        held += block.shape[1]
        if held >= block_frames:
            whole = joined(pending, block.shape[0])
            end = held - held % block_frames
            for start in range(0, end, block_frames):
                yield np.ascontiguousarray(whole[:, start : start + block_frames])
            pending, held = [whole[:, end:]], held - end
    if held:
        yield joined(pending, pending[0].shape[0])


def refuse_nonfinite(block: Frames, offset: int, sample_rate: int, path: Path) -> None:
    """Refuse NaN and infinite samples, and say where the first one is.

    Args:
        block: Shape (frames, channels).
        offset: Frames of the file before this block.
        sample_rate: In Hz.
        path: The file, for the message.

    Raises:
        AudiotransError: A sample is not a finite number.
    """
    finite = np.isfinite(block)
    if finite.all():
        return
    frame, channel = np.argwhere(~finite)[0]
    value = "NaN (not a number)" if np.isnan(block[frame, channel]) else "infinite"
    raise AudiotransError(
        f"{path}: the sample at {(offset + frame) / sample_rate:.4f} s in channel {channel + 1} is {value}; every "
        "sample must be a finite number. Export the file again, or cut that place out."
    )


def quantised(frames: Frames, subtype: str) -> Frames | npt.NDArray[np.int32]:
    """Round to the steps of an integer format: libsndfile's own conversion rounds down, which is 6 dB worse.

    Args:
        frames: Shape (frames, channels).
        subtype: Kind of sample.

    Returns:
        The same for float and lossy kinds; else int32 with the wanted bits on top, as libsndfile takes them.
    """
    bits = PCM_BITS.get(subtype)
    if bits is None:
        return frames
    full = 2.0 ** (bits - 1)
    steps = np.clip(np.rint(frames.astype(np.float64) * full), -full, full - 1)  # float64: 32 bits fit
    return (steps * 2.0 ** (32 - bits)).astype(np.int32)
