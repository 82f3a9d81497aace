"""Metrics of waves and of notes, a module for each task: pure functions that return numbers.

Conventions, for every function of this package:

- A wave is a real numpy array of shape `(channels, samples)`, full scale 1.0. Both waves of a comparison have the
  same shape and the same sample rate (Hz).
- The first wave is the reference (the truth, or the source whose notes must survive), the second the estimate.
- Spectral and pitch metrics take the mono mix, the mean over the channels.
- Every level is relative to the reference as it is: nothing is aligned in time or matched in loudness.
- A function never changes what it is given, and refuses what it cannot measure with an `AudiotransError`.

`audiotrans.evaluation.scoring.METRICS` is the table of those that the commands report.
"""

from __future__ import annotations

from audiotrans.evaluation.metrics.artefacts import (
    attack_times,
    clicks_per_second,
    consistency_db,
    modulation_noise_db,
    modulation_noise_excess_db,
    pre_echo_db,
    pre_echo_level_db,
)
from audiotrans.evaluation.metrics.pitch import (
    Note,
    PitchError,
    PitchTrack,
    note_pitch_errors,
    pitch_error,
    pitch_track,
    read_notes,
)
from audiotrans.evaluation.metrics.spectral import (
    BandStatistics,
    band_distance,
    band_statistics,
    distribution_distance,
    log_spectral_distance,
    multi_resolution_stft_distance,
    seam_level_db,
    snr_db,
)
from audiotrans.evaluation.metrics.stereo import (
    StereoImage,
    level_difference_error_db,
    stereo_coherence_error,
    stereo_image,
)
from audiotrans.evaluation.metrics.timing import (
    clipped_fraction,
    loudness_correlation,
    match_onsets,
    onset_f1,
    onset_times,
    silent_fraction,
)
from audiotrans.evaluation.wave_checks import Wave, mono, validate

__all__ = [
    "BandStatistics",
    "Note",
    "PitchError",
    "PitchTrack",
    "StereoImage",
    "Wave",
    "attack_times",
    "band_distance",
    "band_statistics",
    "clicks_per_second",
    "clipped_fraction",
    "consistency_db",
    "distribution_distance",
    "level_difference_error_db",
    "log_spectral_distance",
    "loudness_correlation",
    "match_onsets",
    "modulation_noise_db",
    "modulation_noise_excess_db",
    "mono",
    "multi_resolution_stft_distance",
    "note_pitch_errors",
    "onset_f1",
    "onset_times",
    "pitch_error",
    "pitch_track",
    "pre_echo_db",
    "pre_echo_level_db",
    "read_notes",
    "seam_level_db",
    "silent_fraction",
    "snr_db",
    "stereo_coherence_error",
    "stereo_image",
    "validate",
]
