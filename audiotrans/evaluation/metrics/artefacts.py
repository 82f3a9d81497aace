"""Artefacts of phase reconstruction and joints: pre-echo, roughness, clicks, inconsistent spectra.

All metrics take the mono mix. Those of one wave say how much of an artefact, or of what cannot be told from it, a
sound holds; those of two waves say how much the estimate holds beyond the reference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.wave_checks import Wave, mono, validate, validate_wave
from audiotrans.spectrogram.stft import STFT

Array = npt.NDArray[np.floating[Any]]
Index = npt.NDArray[np.intp]

PRE_ECHO_HZ = 2000.0
PRE_ECHO_SECONDS = (0.025, 0.002)
ATTACK_SECONDS = 0.01
ATTACK_RISE_DB = 10.0
MODULATION_HZ = 150.0
CLICK_RISE_DB = 12.0
_ATTACK_RANGE_DB = 40.0
_ATTACK_SPACING_SECONDS = 0.05
# Silence before an attack counts as this far below it; less is masked by the attack itself.
_PRE_ECHO_FLOOR_DB = 60.0
_PARTIAL_SECONDS = 0.186
# Half the main lobe of the four-term Blackman-Harris window, whose side lobes lie 92 dB down.
_LOBE_BINS = 4
_PARTIAL_RANGE_DB = 40.0
_PARTIAL_CHANGE_DB = 4.0
_RIVAL_DB = 20.0
_MODULATION_FLOOR_DB = -80.0
_CLICK_NEAR_SECONDS = 0.001
_CLICK_FAR_SECONDS = 0.02
_CLICK_FLOOR_DB = 60.0


def consistency_db(magnitude: Array, wave: Wave, stft: STFT | None = None) -> float:
    """Compute the inconsistency of a wave with a wanted magnitude M: 20 log10(|| |STFT(wave)| - M || / ||M||), in dB.

    Args:
        magnitude: M, >= 0, shape (channels, bins, frames).
        wave: shape (channels, samples), of as many frames.
        stft: the settings that M was made with; None for the default ones.

    Returns:
        Minus infinity where the wave has exactly this magnitude; 0 for silence.

    Raises:
        AudiotransError: where the wave has no such STFT, or the magnitude is zero.
    """
    validate_wave(wave)
    settings = stft or STFT()
    found = settings.forward(torch.from_numpy(np.ascontiguousarray(wave))).abs().double().numpy()
    if found.shape != magnitude.shape:
        raise AudiotransError(
            f"the magnitude has shape {magnitude.shape}, the STFT of the wave {found.shape}; they must be equal"
        )
    total = float(np.linalg.norm(magnitude))
    if total == 0.0:
        raise AudiotransError("the magnitude is zero everywhere, so there is nothing to be consistent with")
    error = float(np.linalg.norm(found - magnitude))
    return -math.inf if error == 0.0 else 20.0 * math.log10(error / total)


def attack_times(wave: Wave, sample_rate: int) -> Array:
    """Detect the sharp attacks of a sound, within 2 ms.

    Above 2 kHz the mean power of the 10 ms after an attack is at least 10 dB above that of the 25 to 2 ms before it,
    and its position is where this ratio is largest within 50 ms. Attacks more than 40 dB below the loudest are left
    out, and so are soft ones: what swells slowly has no moment before which there should be nothing.

    Args:
        wave: shape (channels, samples).
        sample_rate: Hz.

    Returns:
        Seconds, ascending; empty where there is no sharp attack, or nothing above 2 kHz at this rate.

    Raises:
        AudiotransError: where the wave is empty or not finite.
    """
    validate_wave(wave)
    total = _running_energy(wave, sample_rate)
    first, last = (round(seconds * sample_rate) for seconds in PRE_ECHO_SECONDS)
    size, spacing = (round(seconds * sample_rate) for seconds in (ATTACK_SECONDS, _ATTACK_SPACING_SECONDS))
    if total is None or len(total) <= first + size:
        return np.zeros(0)
    at = np.arange(first, len(total) - size)
    before = (total[at - last] - total[at - first]) / (first - last)
    after = (total[at + size] - total[at]) / size
    loudest = float(after.max())
    if loudest <= 0.0:
        return np.zeros(0)
    rise = after / (before + loudest * 10.0 ** (-_PRE_ECHO_FLOOR_DB / 10.0))
    rise[after < loudest * 10.0 ** (-_ATTACK_RANGE_DB / 10.0)] = 0.0
    times: Array = at[_peaks(rise, spacing)] / sample_rate
    return times


def _running_energy(wave: Wave, sample_rate: int) -> Array | None:
    """Return the energy above 2 kHz up to each sample, shape (samples + 1,); None where the rate holds none."""
    from scipy import signal

    if sample_rate <= 2.2 * PRE_ECHO_HZ:
        return None
    # One way only: a filter run both ways would ring ahead of every attack.
    sections = signal.butter(8, PRE_ECHO_HZ, "highpass", fs=sample_rate, output="sos")
    filtered = signal.sosfilt(sections, mono(wave))
    running: Array = np.concatenate([[0.0], np.cumsum(np.square(filtered))])
    return running


def _peaks(rise: Array, spacing: int) -> list[int]:
    """Pick positions of the largest values, at least 10 dB, none within `spacing` of a larger one; ascending."""
    from scipy.ndimage import maximum_filter1d

    top = maximum_filter1d(rise, 2 * spacing + 1, mode="constant")
    found = np.flatnonzero((rise == top) & (rise >= 10.0 ** (ATTACK_RISE_DB / 10.0)))
    kept: list[int] = []
    for position in found.tolist():
        if not kept or position - kept[-1] > spacing:  # equal neighbours count once
            kept.append(position)
    return kept


def pre_echo_db(reference: Wave, estimate: Wave, sample_rate: int) -> float:
    """Compute the pre-echo of an estimate: energy above 2 kHz, 25 to 2 ms before attacks, over the reference's, in dB.

    At every attack of the reference (`attack_times`), 10 log10((P' + f) / (P + f)) with P the mean power above 2 kHz in
    that time in the reference, P' in the estimate, and f 60 dB below the 10 ms that follow in the reference; then the
    mean over the attacks. Smeared attacks give values above 0, a gap ahead of them values below.

    Args:
        reference: shape (channels, samples).
        estimate: the same shape, in time with the reference to a millisecond.
        sample_rate: Hz.

    Returns:
        0 for equal sounds; nan where the reference has no sharp attack.

    Raises:
        AudiotransError: where the waves cannot be compared.
    """
    validate(reference, estimate, sample_rate)
    attacks = attack_times(reference, sample_rate)
    wanted, attack = _powers(reference, sample_rate, attacks)
    found, _ = _powers(estimate, sample_rate, attacks)
    if not len(wanted):
        return math.nan
    floor = attack * 10.0 ** (-_PRE_ECHO_FLOOR_DB / 10.0)
    return float(np.mean(10.0 * np.log10((found + floor) / (wanted + floor))))


def pre_echo_level_db(wave: Wave, sample_rate: int, attacks: Array | None = None) -> float:
    """Compute the pre-echo of one sound: level above 2 kHz, 25 to 2 ms before attacks, over the 10 ms after, in dB.

    Without a reference the sound that is still going on when a note begins counts as well, so the figure is for
    comparing outputs with the same notes, best at the same attacks.

    Args:
        wave: shape (channels, samples).
        sample_rate: Hz.
        attacks: seconds; None takes `attack_times` of the wave itself, which passes over those that smeared most.

    Returns:
        Mean over the attacks, each -60 at least and 0 at most; nan where there is none.

    Raises:
        AudiotransError: where the wave is empty or not finite.
    """
    validate_wave(wave)
    times = attack_times(wave, sample_rate) if attacks is None else attacks
    ahead, attack = _powers(wave, sample_rate, times)
    loud = attack > 0.0
    if not loud.any():
        return math.nan
    level = 10.0 * np.log10(np.maximum(ahead[loud] / attack[loud], 10.0 ** (-_PRE_ECHO_FLOOR_DB / 10.0)))
    return float(np.mean(np.minimum(level, 0.0)))


def _powers(wave: Wave, sample_rate: int, attacks: Array) -> tuple[Array, Array]:
    """Return the mean power above 2 kHz before and after those attacks that lie whole inside the wave."""
    total = _running_energy(wave, sample_rate)
    first, last = (round(seconds * sample_rate) for seconds in PRE_ECHO_SECONDS)
    size = round(ATTACK_SECONDS * sample_rate)
    at = np.rint(np.asarray(attacks) * sample_rate).astype(int)
    at = at[(at >= first) & (at + size <= wave.shape[1])]
    if total is None or not len(at):
        return np.zeros(0), np.zeros(0)
    return (total[at - last] - total[at - first]) / (first - last), (total[at + size] - total[at]) / size


@dataclass(frozen=True)
class _Partials:
    """Sustained partials: frame and bin of each, shape (partials,), and bins around them that count as side bands."""

    frames: Index
    bins: Index
    sides: npt.NDArray[np.bool_]


def modulation_noise_db(wave: Wave, sample_rate: int) -> float:
    """Compute the modulation noise of sustained partials: energy of side bands up to 150 Hz away, over theirs, in dB.

    In frames of about 0.19 s (four-term Blackman-Harris window), a partial is the loudest peak within 150 Hz, within
    40 dB of the loudest of its frame, above 170 Hz, and sustained: in the frames before and after (a quarter of the
    window away) it is there too, and no more than 4 dB louder or softer. Its energy is that of its main lobe; its side
    bands are all bins further out, to 150 Hz on both sides, except the lobes of other peaks that are less than 20 dB
    weaker, which count as other notes. The result is the mean over partials of the ratio in dB, each within
    -80 and 0.

    A partial of steady amplitude gives -80; one whose amplitude swings by the share m (up to 0.2) at 50 to 130 Hz gives
    10 log10(m^2 / 2), half of which is in each side band. Frame-wise errors of phase swing at the rate of the frames
    and their multiples, 86 Hz for a hop of 512 at 44.1 kHz. Vibrato of high partials and the noise of a bow count too:
    compare with the figure of a true sound.

    Args:
        wave: shape (channels, samples).
        sample_rate: Hz.

    Returns:
        Decibels, less is smoother; nan where no partial is sustained.

    Raises:
        AudiotransError: where the wave is empty or not finite.
    """
    validate_wave(wave)
    power = _long_spectrum(wave, sample_rate)
    return _side_level_db(power, _partials(power, sample_rate))


def modulation_noise_excess_db(reference: Wave, estimate: Wave, sample_rate: int) -> float:
    """Compute the excess of modulation noise (`modulation_noise_db`) at the reference's sustained partials, in dB.

    Both are measured at the partials, and with the neighbours left out, that the reference has.

    Args:
        reference: shape (channels, samples).
        estimate: the same shape.
        sample_rate: Hz.

    Returns:
        0 for equal sounds; nan where the reference has no sustained partial.

    Raises:
        AudiotransError: where the waves cannot be compared.
    """
    validate(reference, estimate, sample_rate)
    powers = [_long_spectrum(wave, sample_rate) for wave in (reference, estimate)]
    partials = _partials(powers[0], sample_rate)
    return _side_level_db(powers[1], partials) - _side_level_db(powers[0], partials)


def _window_size(sample_rate: int) -> int:
    return int(2 ** max(6, round(math.log2(sample_rate * _PARTIAL_SECONDS))))


def _long_spectrum(wave: Wave, sample_rate: int) -> Array:
    """Return the power of frames that lie whole inside the wave, shape (frames, bins); frames may be 0."""
    from scipy import fft, signal

    size, samples = _window_size(sample_rate), mono(wave)
    if len(samples) < size:
        return np.zeros((0, size // 2 + 1))
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[:: size // 4]
    power: Array = np.square(np.abs(fft.rfft(frames * signal.get_window("blackmanharris", size), axis=1)))
    return power


def _partials(power: Array, sample_rate: int) -> _Partials:
    from scipy.ndimage import maximum_filter1d

    frames, bins = power.shape
    reach = round(MODULATION_HZ * _window_size(sample_rate) / sample_rate)
    if frames < 3:
        return _Partials(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros((0, 2 * reach + 1), bool))
    peaks = (power == maximum_filter1d(power, 2 * _LOBE_BINS + 1, axis=1)) & (power > 0.0)
    alone = power == maximum_filter1d(power, 2 * (reach + _LOBE_BINS) + 1, axis=1)
    floor = np.maximum(power.max(axis=1, keepdims=True), power.max() * 0.01) * 10.0 ** (-_PARTIAL_RANGE_DB / 10.0)
    chosen = peaks & alone & (power > floor)
    chosen[1:-1] &= _sustained(power)
    chosen[[0, -1]] = False
    chosen[:, : reach + _LOBE_BINS] = chosen[:, bins - reach - _LOBE_BINS :] = False
    at_frame, at_bin = np.nonzero(chosen)
    around = at_bin[:, None] + np.arange(-reach - _LOBE_BINS, reach + _LOBE_BINS + 1)
    enough = power[at_frame, at_bin][:, None] * 10.0 ** (-_RIVAL_DB / 10.0)
    rivals = peaks[at_frame[:, None], around] & (power[at_frame[:, None], around] > enough)
    # The partial is its own rival: its lobe is left out by the same rule.
    lobes = maximum_filter1d(rivals, 2 * _LOBE_BINS + 1, axis=1)[:, _LOBE_BINS:-_LOBE_BINS]
    return _Partials(at_frame, at_bin, ~lobes)


def _sustained(power: Array) -> npt.NDArray[np.bool_]:
    """Tell for every bin of the inner frames whether a frame earlier and later it is as loud, within 4 dB."""
    from scipy.ndimage import maximum_filter1d

    # A bin to each side: a partial between two bins may have its maximum in either.
    top = 10.0 * np.log10(np.maximum(maximum_filter1d(power, 3, axis=1), np.finfo(np.float64).tiny))
    middle = top[1:-1]
    steady: npt.NDArray[np.bool_] = (np.abs(top[:-2] - middle) <= _PARTIAL_CHANGE_DB) & (
        np.abs(top[2:] - middle) <= _PARTIAL_CHANGE_DB
    )
    return steady


def _side_level_db(power: Array, partials: _Partials) -> float:
    if not len(partials.frames):
        return math.nan
    reach = partials.sides.shape[1] // 2
    offsets = np.arange(-reach, reach + 1)
    around = power[partials.frames[:, None], partials.bins[:, None] + offsets]
    own = np.where(np.abs(offsets) <= _LOBE_BINS, around, 0.0).sum(axis=1)
    sides = np.where(partials.sides, around, 0.0).sum(axis=1)
    level = 10.0 * np.log10(np.maximum(sides, 1e-30) / np.maximum(own, 1e-30))
    return float(np.mean(np.clip(level, _MODULATION_FLOOR_DB, 0.0)))


def clicks_per_second(wave: Wave, sample_rate: int) -> float:
    """Count clicks per second: jumps that stand out from what is before *and* after them.

    A click is a place where the second difference of the samples is 12 dB above its largest value in the 20 ms before
    and in the 20 ms after it, the nearest millisecond left out. An attack is not a click, since what follows is as
    loud, nor are the jerks of a bowed string, since they recur. Of two clicks less than 20 ms apart only one that is 12
    dB louder than the other is counted.

    Args:
        wave: shape (channels, samples).
        sample_rate: Hz.

    Returns:
        Clicks per second, 0 for a clean sound.

    Raises:
        AudiotransError: where the wave is empty or not finite.
    """
    validate_wave(wave)
    samples = mono(wave)
    if len(samples) < 3:
        return 0.0
    jerk = np.abs(np.diff(samples, 2))
    near, far = (max(1, round(seconds * sample_rate)) for seconds in (_CLICK_NEAR_SECONDS, _CLICK_FAR_SECONDS))
    around = np.maximum(_largest_before(jerk, near, far), _largest_before(jerk[::-1], near, far)[::-1])
    # Single steps of 16-bit samples in silence are not clicks.
    floor = float(np.abs(samples).max()) * 10.0 ** (-_CLICK_FLOOR_DB / 20.0)
    places = np.flatnonzero(jerk > np.maximum(around * 10.0 ** (CLICK_RISE_DB / 20.0), floor))
    clicks = int(np.count_nonzero(np.diff(places, prepend=-far) > near))
    return clicks * sample_rate / len(samples)


def _largest_before(values: Array, near: int, far: int) -> Array:
    """Return for each place the largest of the values from `far` to `near` before it, 0 where there are none."""
    from scipy.ndimage import maximum_filter1d

    size = far - near + 1
    padded = np.concatenate([np.zeros(far), values])[: len(values) + size - 1]
    # With this origin the window of entry i covers padded[i : i + size], which is values[i - far : i - near + 1].
    result: Array = maximum_filter1d(padded, size, origin=-(size // 2), mode="constant")[: len(values)]
    return result
