"""The kernel distance (maximum mean discrepancy, MMD) between two sets of embeddings, without pairs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from audiotrans.errors import AudiotransError

Array = npt.NDArray[np.floating[Any]]

# Rows whose distances to a whole set are held at once: 1,024 x 100,000 distances are 0.8 GB at most.
_BLOCK_ROWS = 1024
# The median of this many rows' distances is that of the whole set to within a percent or so.
_MEDIAN_ROWS = 2048


def kernel_distance(reference: Array, estimate: Array, *, bandwidth: float | None = None) -> float:
    """Measure how far two sets of embeddings are apart: squared maximum mean discrepancy, unbiased.

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
