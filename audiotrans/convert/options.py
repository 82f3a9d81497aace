"""What a user asks of a model, checked: the same for sound and for photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from audiotrans.errors import UsageError, lookup

Side = Literal["a", "b"]

MOST_SEED = 2**62


@dataclass(frozen=True)
class Request:
    """What a conversion is to do, checked.

    Attributes:
        source: the model's side that the input belongs to.
        target: the side to translate to; equal to ``source`` for the model's reconstruction.
        strength: 0 (the input) to 100 (the translation).
        phase: a phase method, or None for the model's own; None for photos.
        seed: decides the noise that the encoder is given.
        articulation: factor of the fast part of gains, see `articulate`; 1 for photos.
        shifts: translations that are averaged, see `shift_average`; 1 for photos.
        vibrato: cents that the pitch swings to each side, see `Vibrato`; 0 for photos.
        remove_vibrato: percent of the input's vibrato that is taken out, see `VibratoRemover`; 0 for photos.
        tilt: dB per octave by which the network hears the input brighter, see `tilt`; 0 for photos.
    """

    source: Side
    target: Side
    strength: float = 100.0
    phase: str | None = None
    seed: int = 0
    articulation: float = 1.0
    shifts: int = 1
    vibrato: float = 0.0
    remove_vibrato: float = 0.0
    tilt: float = 0.0


def make_request(
    domains: tuple[str, str],
    to: str,
    source: str | None = None,
    strength: float = 100.0,
    phase: str | None = None,
    seed: int = 0,
) -> Request:
    """Check what a user asks for; whether the model can serve ``phase`` is for its converter to say.

    Args:
        domains: names of the model's domains, a and b.
        to: name of the domain to translate to.
        source: name of the input's domain; the other one if None.
        strength: 0..100, see `Request`.
        phase: see `Request`.
        seed: at least 0.

    Raises:
        UsageError: naming the argument, and what it may be.
    """
    sides: dict[str, Side] = {domains[0]: "a", domains[1]: "b"}
    target = lookup(sides, to, "domain of this model")
    other: Side = "b" if target == "a" else "a"
    origin = other if source is None else lookup(sides, source, "domain of this model")
    if not 0 <= strength <= 100:
        raise UsageError(f"strength {strength:g} is outside 0..100 (0 is the input, 100 the whole translation)")
    if not 0 <= seed < MOST_SEED:
        raise UsageError(f"seed {seed}: give a whole number from 0 to 2^62 - 1")
    return Request(origin, target, float(strength), phase, seed)
