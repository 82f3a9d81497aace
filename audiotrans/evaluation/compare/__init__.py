"""Compare recipes: the same data, seeds and steps, measured by a classifier that takes no part in training."""

from audiotrans.evaluation.compare.evaluation_set import METRICS, EvaluationSet, evaluate_model
from audiotrans.evaluation.compare.runs import compare

__all__ = ["METRICS", "EvaluationSet", "compare", "evaluate_model"]
