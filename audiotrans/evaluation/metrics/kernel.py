"""The kernel distance (KAD; maximum mean discrepancy, MMD) between sets of embeddings, without pairs.

`kernel_distance` is the plain one; `KernelDistances` compares several systems with the same real clips, with intervals
by recording.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans.errors import AudiotransError
from audiotrans.evaluation.intervals import Interval, Resamples, expanded_interval

Array = npt.NDArray[np.floating[Any]]

# Rows whose distances to a whole set are held at once: 1,024 x 100,000 distances are 0.8 GB at most.
_BLOCK_ROWS = 1024
# The median of this many rows' distances is that of the whole set to within a percent or so.
_MEDIAN_ROWS = 2048


def kernel_distance(reference: Array, estimate: Array, *, bandwidth: float | None = None) -> float:
    """Compute the kernel distance of two sets of embeddings: squared maximum mean discrepancy, unbiased.

    The kernel is Gaussian, k(a, b) = exp(-|a - b|^2 / (2 s^2)). With it the result is the mean of k over all pairs of
    different rows of the reference, plus the same of the estimate, minus twice the mean over all pairs across. Both
    sets sampled from one distribution give 0 on average, so single results lie on either side of 0 and are not cut off
    there; two sets far apart give the two first terms, at most 2. It is small-sample safe where the Frechet distance
    is not, and assumes no normal distribution. Only numbers from the same embedding, reference and bandwidth compare.

    Args:
        reference: embeddings of real sound, shape (n, dims), n >= 2.
        estimate: embeddings of the sound to be measured, shape (m, dims), m >= 2.
        bandwidth: s; None takes the median distance between two rows of the reference.

    Returns:
        No unit; the tool of KAD's authors prints 100 times this.

    Raises:
        AudiotransError: where a set has fewer than two rows, the sets' shapes do not fit, a value is not finite, or
            the bandwidth is not positive (a reference whose rows are all alike has none).

    Source:
        Chung et al., KAD: No More FAD!, arXiv 2502.15602, 2025; Gretton et al., A Kernel Two-Sample Test, JMLR 2012,
        equation (3).
    """
    x, y = _checked(reference, "reference"), _checked(estimate, "estimate")
    if x.shape[1] != y.shape[1]:
        raise AudiotransError(
            f"the reference has {x.shape[1]} dimensions, the estimate {y.shape[1]}: take both from one embedding"
        )
    width = median_bandwidth(x) if bandwidth is None else float(bandwidth)
    if not (width > 0.0 and math.isfinite(width)):
        raise AudiotransError(f"the kernel's bandwidth is {width:g}: it must be positive and finite")
    within = [_mean_kernel(rows, rows, width, skip_self=True) for rows in (x, y)]
    return float(sum(within) - 2.0 * _mean_kernel(x, y, width, skip_self=False))


def median_bandwidth(reference: Array) -> float:
    """Return the median distance between two different rows of a set of shape (n, dims), n >= 2.

    Of more than 2,048 rows, that many spread evenly over the set are taken.

    Raises:
        AudiotransError: where the set has fewer than two rows or a value that is not finite.
    """
    rows = _checked(reference, "reference")
    if len(rows) > _MEDIAN_ROWS:
        rows = rows[np.linspace(0, len(rows) - 1, _MEDIAN_ROWS).round().astype(int)]
    distances = np.sqrt(_squared_distances(rows, rows))
    return float(np.median(distances[np.triu_indices(len(rows), k=1)]))


def _checked(rows: Array, name: str) -> npt.NDArray[np.float64]:
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise AudiotransError(f"the {name} has shape {rows.shape}; embeddings are (count, dimensions)")
    if len(rows) < 2:
        raise AudiotransError(f"the {name} has {len(rows)} embedding(s); a kernel distance needs 2 or more in each set")
    if not np.isfinite(rows).all():
        raise AudiotransError(f"the {name} holds NaN or infinite embeddings")
    return rows.astype(np.float64)


def _mean_kernel(x: Array, y: Array, width: float, *, skip_self: bool) -> float:
    """Average the kernel over all pairs, without those of a row with itself where asked; in blocks of rows."""
    total = 0.0
    for start in range(0, len(x), _BLOCK_ROWS):
        squared = _squared_distances(x[start : start + _BLOCK_ROWS], y)
        total += float(np.exp(squared / (-2.0 * width * width)).sum())
    if skip_self:  # each row with itself gives exactly 1: its distance is set to 0 below
        return (total - len(x)) / (len(x) * (len(x) - 1))
    return total / (len(x) * len(y))


def _squared_distances(x: Array, y: Array) -> npt.NDArray[np.float64]:
    from scipy.spatial.distance import cdist

    # Not by |a|^2 - 2ab + |b|^2: its rounding leaves equal rows a distance, which a small bandwidth would see.
    squared: npt.NDArray[np.float64] = cdist(x, y, "sqeuclidean")
    return squared


class KernelDistances:
    """Kernel distances (KAD) of several systems to the same real clips, with intervals by recording.

    The squared maximum mean discrepancy of `kernel_distance`, with one difference: only pairs of windows of different
    recordings count, within each set and across. Windows of one recording are alike whatever plays them, and an output
    would be praised for the music that it shares with its truth. So real clips have exactly 0 to themselves.

    Args:
        reals: embeddings (windows, dims) of each real clip, with the recording of each.
        resamples: of the recordings that the systems' clips come from.
        seed: of the resamples of real recordings, where they are not the same as the systems'.
    """

    def __init__(self, reals: Sequence[tuple[str, Array]], resamples: Resamples, seed: int = 0) -> None:
        self._resamples = resamples
        names = tuple(sorted({name for name, _ in reals}))
        same = names == resamples.recordings
        real_resamples = resamples if same else Resamples.of(names, seed + 1, len(resamples.counts))
        self._reals = _Windows.of([(name, name, rows) for name, rows in reals], real_resamples)
        rows = self._reals.rows
        self.bandwidth = median_bandwidth(rows) if len(rows) > 1 else math.nan

    @cached_property
    def _within_reals(self) -> Array:
        return self._mean_kernel(self._reals, self._reals)

    def statistics(self, clips: Sequence[tuple[str, str, Array]]) -> Array:
        """Return a system's distance for all recordings once, then for every resample; shape (1 + resamples,).

        Args:
            clips: recording of the input, recording that the output's notes come from (the same but for a random
                clip), and embedding (windows, dims).
        """
        own = _Windows.of(clips, self._resamples)
        if not len(own.rows) or not self.bandwidth > 0:
            return np.full(1 + len(self._resamples.counts), math.nan)
        distances: Array = self._mean_kernel(own, own) + self._within_reals - 2.0 * self._mean_kernel(own, self._reals)
        return distances

    def interval(self, statistics: Array, n: int) -> Interval:
        """Turn `statistics`, or a difference of two of them, into a figure with its interval."""
        recordings = min(len(self._resamples.recordings), len(self._reals.resamples.recordings))
        return Interval(float(statistics[0]), *expanded_interval(statistics[1:], recordings, float(statistics[0])), n)

    def _mean_kernel(self, x: _Windows, y: _Windows) -> Array:
        """Average the kernel over pairs of different recordings, for all recordings once, then for every resample."""
        kernel = np.exp(_squared_distances(x.rows, y.rows) / (-2.0 * self.bandwidth**2))
        counted = (np.array(x.content)[:, None] != np.array(y.content)[None, :]).astype(np.float64)
        # First sums over the windows of each pair of recordings, then over the recordings of each resample.
        sums, counts = (x.members.T @ pairs @ y.members for pairs in (kernel * counted, counted))
        left, right = (
            np.vstack([np.ones((1, len(set_.resamples.recordings))), set_.resamples.counts]) for set_ in (x, y)
        )
        with np.errstate(invalid="ignore"):  # a resample of one recording alone has no pair
            mean: Array = np.einsum("di,ij,dj->d", left, sums, right) / np.einsum("di,ij,dj->d", left, counts, right)
        return mean


@dataclass(frozen=True)
class _Windows:
    """The windows of a set of clips.

    Attributes:
        rows: embeddings, shape (windows, dims).
        content: the recording that each window's notes come from.
        members: 1 where a window belongs to a recording of the resamples, shape (windows, recordings).
        resamples: of the recordings.
    """

    rows: Array
    content: list[str]
    members: Array
    resamples: Resamples

    @classmethod
    def of(cls, clips: Sequence[tuple[str, str, Array]], resamples: Resamples) -> _Windows:
        """Join clips: recording that is resampled, recording that the notes come from, and embedding."""
        rows = np.concatenate([rows for *_, rows in clips]).astype(np.float64) if clips else np.zeros((0, 1))
        names = [name for name, _, windows in clips for _ in windows]
        content = [source for _, source, windows in clips for _ in windows]
        place = {name: index for index, name in enumerate(resamples.recordings)}
        members = np.zeros((len(rows), len(place)))
        members[np.arange(len(rows)), [place[name] for name in names]] = 1.0
        return cls(rows, content, members, resamples)
