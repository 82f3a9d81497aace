"""Waves in blocks: their type, how they are cut, checked, rounded to integers and resampled (by soxr)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from audiotrans.errors import AudiotransError, UsageError

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


# Very high quality takes no longer than high (60 s of stereo, 44.1 -> 48 kHz: 0.12 s both), and a 10 kHz tone comes
# back from there and back again with 158 dB instead of 128 dB.
_QUALITY = "VHQ"


def resampled_length(length: int, rate_in: int, rate_out: int) -> int:
    """Tell how many samples a wave has after resampling.

    The rule: ``length * rate_out / rate_in``, rounded to the nearest whole number, halves upwards, and never less
    than one sample for a wave that has any.

    Args:
        length: Samples before, >= 0.
        rate_in: Rate before, in Hz.
        rate_out: Rate after, in Hz.

    Returns:
        Samples after.
    """
    if length == 0:
        return 0
    return max(1, (2 * length * rate_out + rate_in) // (2 * rate_in))


class Resampler:
    """A resampler that is fed block by block; what comes out does not depend on where the blocks end.

    Args:
        rate_in: Rate of what is fed, in Hz.
        rate_out: Rate of what comes out, in Hz.
        channels: Number of channels.
        length: Total samples that shall come out; None for ``resampled_length`` of what was fed. More than that is
            cut off; where the signal ends earlier, its filter's decay and then silence fill the rest.

    Raises:
        UsageError: A rate is not positive.
    """

    def __init__(self, rate_in: int, rate_out: int, channels: int, length: int | None = None) -> None:
        for rate in (rate_in, rate_out):
            if rate <= 0:
                raise UsageError(f"sample rate {rate}: it must be a positive number of Hz, such as 44100.")
        self._rates = (rate_in, rate_out)
        self._channels = channels
        self._length = length
        self._fed = 0
        self._given = 0
        self._stream = None
        if rate_in != rate_out:
            self._stream = soxr.ResampleStream(rate_in, rate_out, channels, dtype="float32", quality=_QUALITY)

    def feed(self, block: Wave) -> Wave:
        """Take the next samples and give what is ready.

        Args:
            block: Shape (channels, samples), any number of samples.

        Returns:
            Shape (channels, samples), possibly empty: the filter runs some samples behind.
        """
        self._fed += block.shape[1]
        starts = range(0, block.shape[1], CHUNK_FRAMES)
        parts = [self._process(block[:, start : start + CHUNK_FRAMES]) for start in starts]
        return self._cut(joined(parts, self._channels), self._length)

    def finish(self, length: int | None = None) -> Wave:
        """End the signal and give the rest.

        Args:
            length: Total samples that shall come out, where it was not known at the beginning.

        Returns:
            Shape (channels, samples); with it the total is exactly the promised length.
        """
        rate_in, rate_out = self._rates
        promised = self._length if length is None else length
        wanted = resampled_length(self._fed, rate_in, rate_out) if promised is None else promised
        # Silence after the end lets the filter decay into samples that the rule or the caller asks for on top.
        missing = max(0, wanted - self._fed * rate_out // rate_in)
        silence = math.ceil((missing + 1) * rate_in / rate_out) + 1
        tail = self._process(np.zeros((self._channels, silence), np.float32), last=True)
        return self._cut(tail, wanted)

    def _process(self, block: Wave, last: bool = False) -> Wave:
        if self._stream is None:
            return block
        frames = np.ascontiguousarray(block.T, dtype=np.float32)
        out: Wave = self._stream.resample_chunk(frames, last=last).T
        return out

    def _cut(self, block: Wave, total: int | None) -> Wave:
        """Hold back what would exceed the promised total."""
        if total is not None:
            block = block[:, : max(0, total - self._given)]
        self._given += block.shape[1]
        return block


@lru_cache
def resampling_delay_seconds(rate_in: int, rate_out: int) -> float:
    """Tell how far a `Resampler` may run behind what it was fed.

    The filter and the blocks that soxr works in decide it, and it can only be measured: the largest lag while two
    seconds of silence are fed in steps of a millisecond, and one step on top for what lies between two of them.

    Args:
        rate_in: Rate of what is fed, in Hz.
        rate_out: Rate of what comes out, in Hz.

    Returns:
        Seconds; 0 for equal rates.
    """
    if rate_in == rate_out:
        return 0.0
    resampler = Resampler(rate_in, rate_out, 1)
    step = max(1, rate_in // 1000)
    silence = np.zeros((1, step), np.float32)
    fed = given = 0
    lag = 0.0
    while fed < 2 * rate_in:
        fed, given = fed + step, given + resampler.feed(silence).shape[1]
        lag = max(lag, fed / rate_in - given / rate_out)
    return lag + step / rate_in


def resample_blocks(
    blocks: Iterable[Wave], rate_in: int, rate_out: int, channels: int, *, length: int | None = None
) -> Iterator[Wave]:
    """Resample a signal that comes in blocks, as one stream.

    Args:
        blocks: Arrays of shape (channels, samples) that continue each other.
        rate_in: Their rate in Hz.
        rate_out: The wanted rate in Hz.
        channels: Number of channels.
        length: Total samples wanted, to come back to a known length; None for ``resampled_length``.

    Yields:
        Arrays of shape (channels, samples), none of them empty, of any length; joined they equal ``resample`` of the
        whole, bit for bit.

    Raises:
        UsageError: A rate is not positive.
    """
    resampler = Resampler(rate_in, rate_out, channels, length)
    for block in blocks:
        ready = resampler.feed(block)
        if ready.shape[1]:
            yield ready
    rest = resampler.finish()
    if rest.shape[1]:
        yield rest


def resample(wave: Wave, rate_in: int, rate_out: int, *, length: int | None = None) -> Wave:
    """Resample a whole wave.

    Args:
        wave: Shape (channels, samples).
        rate_in: Its rate in Hz.
        rate_out: The wanted rate in Hz.
        length: Samples wanted, to come back to a known length; None for ``resampled_length``.

    Returns:
        Shape (channels, samples), float32; the wave itself where nothing is to be done.

    Raises:
        UsageError: A rate is not positive.
        ValueError: The wave is not two-dimensional.
    """
    if wave.ndim != 2:
        raise ValueError(f"wave has shape {wave.shape}: (channels, samples) is needed")
    if rate_in == rate_out and length in (None, wave.shape[1]) and rate_in > 0:
        return wave
    blocks = resample_blocks([wave], rate_in, rate_out, wave.shape[0], length=length)
    return joined(list(blocks), wave.shape[0])
