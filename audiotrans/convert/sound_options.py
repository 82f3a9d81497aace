"""What a user may ask of a conversion of sound beyond what photos know; where nothing is asked, the model's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from audiotrans.convert.options import Request
from audiotrans.errors import UsageError
from audiotrans.recipe import MOST_ARTICULATION, MOST_CENTS, MOST_SHIFTS, MOST_TILT
from audiotrans.spectrogram.imaging import AudioSettings

if TYPE_CHECKING:
    from audiotrans.recipe import Recipe


def with_sound_options(
    request: Request,
    recipe: Recipe,
    articulation: float | None,
    shifts: int | None,
    vibrato: float | None,
    remove_vibrato: float | None,
    tilt: float | None,
) -> Request:
    """Complete a request; of a reconstruction, which shall be like its input, a model never changes more than asked.

    Args:
        request: what to do, from `make_request`.
        recipe: of the model, whose own choices count where None is given.
        articulation: factor, see `articulate`.
        shifts: how many, see `shift_average`.
        vibrato: cents at full strength, see `Vibrato`.
        remove_vibrato: percent at full strength, see `VibratoRemover`.
        tilt: dB per octave, see `tilt`.

    Raises:
        UsageError: naming the argument, and what it may be.
    """
    own = request.source != request.target

    def chosen(name: str, asked: float | None, neutral: float) -> float:
        if asked is None:
            return float(getattr(getattr(recipe, name), request.target)) if own else neutral
        _check_range(name, asked)
        return asked

    articulation = chosen("articulation", articulation, 1.0)
    shifts = recipe.shifts if shifts is None else shifts
    if not 1 <= shifts <= MOST_SHIFTS:
        raise UsageError(f"passes {shifts} is outside 1..{MOST_SHIFTS} (1 is the fastest)")
    vibrato, remove_vibrato = chosen("vibrato", vibrato, 0.0), chosen("remove_vibrato", remove_vibrato, 0.0)
    tilt = chosen("tilt", tilt, 0.0)
    _check_logarithmic(recipe, articulation, shifts, tilt)
    share = request.strength / 100
    request = replace(request, articulation=articulation, shifts=shifts, tilt=tilt)
    return replace(request, vibrato=vibrato * share, remove_vibrato=remove_vibrato * share)


_RANGES = {
    "articulation": (0, MOST_ARTICULATION, "(1 is what the network paints)"),
    "vibrato": (0, MOST_CENTS, "cents (0 is none)"),
    "remove_vibrato": (0, 100, "percent (0 leaves the input's vibrato)"),
    "tilt": (-MOST_TILT, MOST_TILT, "dB per octave (0 is as it is)"),
}


def _check_range(name: str, value: float) -> None:
    least, most, unit = _RANGES[name]
    if not least <= value <= most:
        raise UsageError(f"{name} {value:g} is outside {least:g}..{most:g} {unit}")


def _check_logarithmic(recipe: Recipe, articulation: float, shifts: int, tilt: float) -> None:
    """Refuse averages of painted phases."""
    if not isinstance(recipe.imaging, AudioSettings) or recipe.imaging.representation != "magnitude_phase":
        return
    if articulation != 1:
        raise UsageError("articulation needs a model of logarithmic images: leave it out with magnitude_phase")
    if shifts != 1:
        raise UsageError("passes need a model of logarithmic images: leave them out with magnitude_phase")
    if tilt:
        raise UsageError("tilt needs a model of logarithmic images: leave it out with magnitude_phase")
