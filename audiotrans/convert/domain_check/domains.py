"""Statistics of the two domains of a model: how far a window lies from each, and how they are kept in a file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiotrans.convert.domain_check.features import NAMES
from audiotrans.errors import AudiotransError
from audiotrans.weights import read_recipe

VERSION = 1

SHRINK = 0.1
"""Share of every correlation that is given up: a few hundred windows of a few players do not know them better."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class DomainProfile:
    """What the training data of one domain were like.

    Attributes:
        name: of the domain.
        mean: of each feature over all windows.
        scale: standard deviation of each feature.
        correlation: lower triangle of the shrunk correlation matrix, row by row, without the diagonal.
        distance: beyond this distance (the median over an input's windows) an input is unlike the domain.
        likeness: below this likeness an input belongs to the other domain rather.
        pitch_hz: where the lowest partials of nearly all columns lie, lowest and highest; None without any.
        level_db: lowest and highest level of a recording, dB re full scale; None where the cache does not tell.
        sounding: least share of a recording's time in which something sounds.
        windows: how many were heard.
        recordings: of how many recordings.
    """

    name: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    correlation: tuple[float, ...]
    distance: float = math.inf
    likeness: float = -math.inf
    pitch_hz: tuple[float, float] | None = None
    level_db: tuple[float, float] | None = None
    sounding: float = 0.0
    windows: int = 0
    recordings: int = 0

    @property
    def covariance(self) -> Matrix:
        """The shrunk covariance matrix."""
        size = len(self.mean)
        matrix = np.eye(size)
        matrix[np.tril_indices(size, -1)] = self.correlation
        matrix = np.tril(matrix) + np.tril(matrix, -1).T
        return matrix * np.outer(self.scale, self.scale)

    def distances(self, features: Matrix) -> NDArray[np.float64]:
        """Return each window's Mahalanobis distance per root of the feature count: about 1 within the domain."""
        off = np.atleast_2d(features) - np.asarray(self.mean)
        squares = np.einsum("ij,ij->i", off, np.linalg.solve(self.covariance, off.T).T)
        scaled: NDArray[np.float64] = np.sqrt(squares / len(self.mean))
        return scaled

    def deviations(self, features: Matrix) -> NDArray[np.float64]:
        """Return each window's features in standard deviations from the mean."""
        scaled: NDArray[np.float64] = (np.atleast_2d(features) - np.asarray(self.mean)) / np.asarray(self.scale)
        return scaled


def describe(name: str, features: Matrix) -> DomainProfile:
    """Measure mean, scale and shrunk correlation of windows ``(n, features)``, n at least 2."""
    mean = features.mean(0)
    least = 0.01 * np.maximum(np.abs(mean), 1.0)  # a feature that hardly varies must not decide alone
    scale = np.maximum(features.std(0, ddof=1), least)
    unit = (features - mean) / scale
    correlation = (1 - SHRINK) * (unit.T @ unit) / (len(features) - 1)
    lower = correlation[np.tril_indices(len(mean), -1)]
    return DomainProfile(name, _rounded(mean), _rounded(scale), _rounded(lower, 4), windows=len(features))


def likeness(own: DomainProfile, other: DomainProfile, features: Matrix) -> NDArray[np.float64]:
    """Say which of two domains windows belong to, by their linear discriminant.

    Returns:
        1 at the mean of ``own``, -1 at the mean of ``other``, 0 half-way between them.
    """
    own_mean, other_mean = np.asarray(own.mean), np.asarray(other.mean)
    direction = np.linalg.solve((own.covariance + other.covariance) / 2, own_mean - other_mean)
    apart = float(direction @ (own_mean - other_mean))
    scores: NDArray[np.float64] = (np.atleast_2d(features) - (own_mean + other_mean) / 2) @ direction
    return scores * (2 / apart) if apart > 0 else np.zeros(len(scores))


@dataclass(frozen=True)
class Profile:
    """Both domains of a model, by side."""

    sides: Mapping[str, DomainProfile]

    def side(self, name: str) -> str:
        """Return the side of a domain's name.

        Raises:
            KeyError: if no side has it.
        """
        return next(side for side, domain in self.sides.items() if domain.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-ready values."""
        domains = {side: _finite(asdict(domain)) for side, domain in self.sides.items()}
        return {"version": VERSION, "domains": domains}

    @classmethod
    def from_dict(cls, values: Any, size: int) -> Profile | None:
        """Read what `to_dict` wrote.

        Args:
            values: from a weights file.
            size: features that this program hears.

        Returns:
            The profile; None where another version of this program wrote it: then there are no warnings.

        Raises:
            AudiotransError: if the values are broken.
        """
        try:
            if values["version"] != VERSION:
                return None
            sides = {side: _domain(values["domains"][side]) for side in "ab"}
        except (KeyError, TypeError, ValueError) as error:
            raise AudiotransError(f"its profile of the training data is broken ({error}): export it again") from None
        counts = {len(x) for d in sides.values() for x in (d.mean, d.scale)} | {size}
        if len(counts) > 1 or any(len(d.correlation) != size * (size - 1) // 2 for d in sides.values()):
            raise AudiotransError("its profile of the training data is of another size: export it again")
        return cls(sides)


def _domain(values: Mapping[str, Any]) -> DomainProfile:
    read: dict[str, Any] = {
        key: tuple(map(float, value)) if isinstance(value, list) else value for key, value in values.items()
    }
    read |= {key: default for key, default in _ENDLESS.items() if read.get(key) is None}
    return DomainProfile(**read)


_ENDLESS = {"distance": math.inf, "likeness": -math.inf}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if value in (math.inf, -math.inf) else value for key, value in values.items()}


def _rounded(values: Iterable[float], digits: int = 5) -> tuple[float, ...]:
    return tuple(float(f"{value:.{digits}g}") for value in values)


def read_profile(path: Path) -> Profile | None:
    """Read the profile that a weights file holds; None where it has none that this program can use.

    Raises:
        AudiotransError: if the file is no model, or its profile is broken.
    """
    _, values = read_recipe(path)
    try:
        return None if values is None else Profile.from_dict(values, len(NAMES))
    except AudiotransError as error:
        raise AudiotransError(f"{path}: {error}") from None
