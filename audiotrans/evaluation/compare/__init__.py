"""Recipes against each other: the same data, seeds and steps, measured on the way by a referee that took no part."""

from audiotrans.evaluation.compare.measures import MEASURES, Exam, examine
from audiotrans.evaluation.compare.referee import Referee, train_referee
from audiotrans.evaluation.compare.runs import Contestant, compare

__all__ = ["MEASURES", "Contestant", "Exam", "Referee", "compare", "examine", "train_referee"]
