"""Chains of translations over many sounds, with scores: V->V, V->P, V->P->V and what else is asked for."""

from __future__ import annotations

from audiotrans.evaluation.cycles.clips import Clip, find_clips
from audiotrans.evaluation.cycles.recipe import CycleRecipe, load_cycle_recipe
from audiotrans.evaluation.cycles.run import Summary, run_cycles

__all__ = ["Clip", "CycleRecipe", "Summary", "find_clips", "load_cycle_recipe", "run_cycles"]
