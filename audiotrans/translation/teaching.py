"""A teacher: a finished model whose conversions a smaller or quicker one learns to make.

The student is shown the images that it is trained on and what the teacher makes of them with all that it does at
conversion: its passes and its articulation. It so learns to do in one pass what the teacher does in several.

Source: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", for classifiers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from audiotrans.errors import UsageError
from audiotrans.training.recipe import Recipe, recipe_to_dict
from audiotrans.translation.models import load

if TYPE_CHECKING:
    from audiotrans.model.avb_gtn import Domain
    from audiotrans.training.engine import Teach


def teacher(recipe: Recipe, device: str = "cpu") -> Teach | None:
    """Load a recipe's teacher.

    Args:
        recipe: of the student.
        device: where to run.

    Returns:
        What gives the teacher's translations; None for a recipe without a teacher.

    Raises:
        UsageError: if there is no such model, or its images or domains are others.
        AudiotransError: if its file is broken, or it translates photos.
    """
    if not recipe.teacher:
        return None
    converter = load(recipe.teacher, device=device)
    _check_alike(recipe, converter.recipe)
    names = dict(zip("ab", converter.domains, strict=True))
    requests = {side: converter.request(names["b" if side == "a" else "a"], names[side]) for side in "ab"}

    def teach(images: Tensor, source: Domain) -> Tensor:
        return converter.translate_image(images, 0, requests[source])

    return teach


def _check_alike(recipe: Recipe, taught: Recipe) -> None:
    wanted, found = recipe_to_dict(recipe), recipe_to_dict(taught)
    pairs = {f"imaging.{key}": (found["imaging"].get(key), value) for key, value in wanted["imaging"].items()}
    pairs |= {f"domains.{side}": (found["domains"][side], wanted["domains"][side]) for side in "ab"}
    for key, (its, ours) in pairs.items():
        if key != "imaging.phase" and its != ours:
            raise UsageError(f"teacher {recipe.teacher}: its {key} is {its!r}, the recipe's {ours!r}; choose another")
