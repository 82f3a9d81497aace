"""A teacher: a finished model whose conversions a smaller or quicker one learns to make.

The student is shown the images that it is trained on and what the teacher makes of them with all that it does at
conversion: its passes, its articulation and its tilt. It so learns to do in one pass what the teacher does in several.

Source: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", for classifiers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from audiotrans.convert.models import load
from audiotrans.recipe import Recipe
from audiotrans.training.warm_start import check_alike, described_imaging

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
    check_alike(f"teacher {recipe.teacher}", _described(converter.recipe), _described(recipe), "choose another")
    names = dict(zip("ab", converter.domains, strict=True))
    requests = {side: converter.request(names["b" if side == "a" else "a"], names[side]) for side in "ab"}

    def teach(images: Tensor, source: Domain) -> Tensor:
        return converter.translate_image(images, 0, requests[source])

    return teach


def _described(recipe: Recipe) -> dict[str, Any]:
    """Return what must agree for a teacher's images to mean the same."""
    domains = {"domains.a": recipe.domains.a, "domains.b": recipe.domains.b}
    return described_imaging(recipe) | domains
