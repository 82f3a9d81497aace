"""The audio door: file <-> wave. Nothing else uses soundfile (libsndfile), av (FFmpeg's libraries) or soxr.

A wave is a float32 array of shape (channels, samples), full scale at [-1, 1].

What holds everywhere:

- **Blocks.** Files are read, resampled and written in blocks of at most 65,536 frames, so that the length of a
  file costs no memory; reading in blocks gives bit for bit what reading the whole gives.
- **Length.** ``resampled_length`` tells beforehand how long a resampled wave is; ``resample(..., length=n)`` comes
  back to exactly ``n`` samples.
- **Integers.** A sample x in [-1, 1] is stored in b bits as round(x * 2^(b-1)), to the nearest and without dither,
  and read back as that integer over 2^(b-1): integers of up to 24 bits, which float32 holds, survive a copy bit for
  bit. Beyond full scale a sample stops at the largest integer; it never wraps around. Dither is left out because the
  error, at most half a step, lies below -96 dB already at 16 bits.
- **Whole files only.** A file appears under its name when it is complete, or not at all.
- **Mistakes.** Every fault of a file or a path raises one ``AudiotransError`` (or ``UsageError``) of one line.
"""

from __future__ import annotations

from audiotrans.audio.blocks import Wave, resample, resample_blocks, resampled_length
from audiotrans.audio.formats import AUDIO_SUFFIXES, file_sample_rate, find_audio, output_suffix, peak_safe_gain
from audiotrans.audio.reading import AudioInfo, probe, read, read_blocks
from audiotrans.audio.writing import Writer, write

__all__ = [
    "AUDIO_SUFFIXES",
    "AudioInfo",
    "Wave",
    "Writer",
    "file_sample_rate",
    "find_audio",
    "output_suffix",
    "peak_safe_gain",
    "probe",
    "read",
    "read_blocks",
    "resample",
    "resample_blocks",
    "resampled_length",
    "write",
]
