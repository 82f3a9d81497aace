"""Numbers that compare one sound with another.

Conventions, for every function of this package:

- A wave is a real numpy array of shape `(channels, samples)`, full scale 1.0. Both waves of a comparison have the
  same shape and the same sample rate (Hz).
- The first wave is the reference (the truth, or the source whose notes must survive), the second the estimate.
- Spectral and pitch measures hear the mono mix, the mean over the channels.
- Every level is relative to the reference as it is: nothing is aligned in time or matched in loudness.
- A function never changes what it is given, and refuses what it cannot measure with an `AudiotransError`.

`evaluate` runs the measures of `METRICS` and returns their names and numbers. To add a measure, write a function of
`(reference, estimate, sample_rate)` and give it a line in the table at the bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from audiotrans.errors import lookup
from audiotrans.evaluation.metrics.artefacts import (
    attack_times,
    clicks_per_second,
    consistency_db,
    modulation_noise_db,
    modulation_noise_excess_db,
    pre_echo_db,
    pre_echo_level_db,
)
from audiotrans.evaluation.metrics.checks import Wave, mono, validate
from audiotrans.evaluation.metrics.pitch import (
    Note,
    PitchError,
    PitchTrack,
    note_pitch_errors,
    pitch_error,
    pitch_error_cents,
    pitch_fraction_off,
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

Metric = Callable[[Wave, Wave, int], float]


def evaluate(
    reference: Wave, estimate: Wave, sample_rate: int, *, names: Iterable[str] | None = None
) -> dict[str, float]:
    """Run the measures of `METRICS`.

    Compare an output with its source for what must be kept (pitch, onsets, loudness), and with the true sound of the
    target, where there is one, for what must be reached (the distances).

    Args:
        reference: wave of shape (channels, samples).
        estimate: wave of the same shape.
        sample_rate: of both, in Hz.
        names: keys of `METRICS` in the order wanted; None runs all of them.

    Returns:
        Name and number of every measure. A measure that has nothing to count, such as the pitch error of two sounds
        without a pitch, is nan.

    Raises:
        AudiotransError: where the waves cannot be compared.
        UsageError: where a name is not in `METRICS`.
    """
    validate(reference, estimate, sample_rate)
    chosen = METRICS if names is None else {name: lookup(METRICS, name, "metric") for name in names}
    return {name: float(metric(reference, estimate, sample_rate)) for name, metric in chosen.items()}


METRICS: Mapping[str, Metric] = {
    "log_spectral_distance_db": log_spectral_distance,
    "band_distance_db": band_distance,
    "multi_resolution_stft": multi_resolution_stft_distance,
    "snr_db": lambda reference, estimate, _rate: snr_db(reference, estimate),
    "pitch_error_cents": pitch_error_cents,
    "pitch_fraction_off": pitch_fraction_off,
    "onset_f1": onset_f1,
    "loudness_correlation": loudness_correlation,
    "clipped_fraction": lambda _reference, estimate, _rate: clipped_fraction(estimate),
    "silent_fraction": lambda _reference, estimate, rate: silent_fraction(estimate, rate),
    "stereo_coherence_error": stereo_coherence_error,
    "level_difference_error_db": level_difference_error_db,
    "pre_echo_db": pre_echo_db,
    "modulation_noise_excess_db": modulation_noise_excess_db,
    "clicks_per_second": lambda _reference, estimate, rate: clicks_per_second(estimate, rate),
}

__all__ = [
    "METRICS",
    "BandStatistics",
    "Metric",
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
    "evaluate",
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
    "pitch_error_cents",
    "pitch_fraction_off",
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
