"""What a user may ask of a conversion of sound beyond what photos know; where nothing is asked, the model's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from audiotrans.errors import UsageError
from audiotrans.sound.imaging import AudioSettings
from audiotrans.training.recipe import MOST_ARTICULATION, MOST_CENTS, MOST_PASSES
from audiotrans.translation.request import Request

if TYPE_CHECKING:
    from audiotrans.training.recipe import Recipe


def with_sound_options(
    request: Request,
    recipe: Recipe,
    articulation: float | None,
    passes: int | None,
    vibrato: float | None,
    straighten: float | None,
) -> Request:
    """Complete a request; of a reconstruction, which shall be like its input, a model never changes more than asked.

    Args:
        request: what to do, from `make_request`.
        recipe: of the model, whose own choices count where None is given.
        articulation: factor, see `articulate`.
        passes: how many, see `spin`.
        vibrato: cents at full strength, see `Vibrato`.
        straighten: percent at full strength, see `Straightener`.

    Raises:
        UsageError: naming the argument, and what it may be.
    """
    own = request.source != request.target
    if articulation is None:
        articulation = getattr(recipe.articulation, request.target) if own else 1.0
    elif not 0 <= articulation <= MOST_ARTICULATION:
        raise UsageError(
            f"articulation {articulation:g} is outside 0..{MOST_ARTICULATION:g} (1 is what the network paints)"
        )
    passes = recipe.passes if passes is None else passes
    if not 1 <= passes <= MOST_PASSES:
        raise UsageError(f"passes {passes} is outside 1..{MOST_PASSES} (1 is the fastest)")
    if vibrato is None:
        vibrato = getattr(recipe.vibrato, request.target) if own else 0.0
    elif not 0 <= vibrato <= MOST_CENTS:
        raise UsageError(f"vibrato {vibrato:g} is outside 0..{MOST_CENTS:g} cents (0 is none)")
    if straighten is None:
        straighten = getattr(recipe.straighten, request.target) if own else 0.0
    elif not 0 <= straighten <= 100:
        raise UsageError(f"straighten {straighten:g} is outside 0..100 percent (0 leaves the input's vibrato)")
    _check_logarithmic(recipe, articulation, passes)
    share = request.strength / 100
    return replace(
        request, articulation=articulation, passes=passes, vibrato=vibrato * share, straighten=straighten * share
    )


def _check_logarithmic(recipe: Recipe, articulation: float, passes: int) -> None:
    """Refuse averages of painted phases."""
    if not isinstance(recipe.imaging, AudioSettings) or recipe.imaging.representation != "magnitude_phase":
        return
    if articulation != 1:
        raise UsageError("articulation needs a model of logarithmic images: leave it out with magnitude_phase")
    if passes != 1:
        raise UsageError("passes need a model of logarithmic images: leave them out with magnitude_phase")
