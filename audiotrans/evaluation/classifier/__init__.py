"""An independent judge of timbre: which domain does this sound belong to?

A small classifier that is trained on recordings of the domains alone, never on what a translation model made, and that
never serves as a training loss: otherwise a model would be graded by what it was taught to fool. It works offline and
for any two or more domains; `train_classifier` makes one in minutes, `InstrumentClassifier.load` opens it, and one
for violin and piano
is shipped. Its penultimate layer is the embedding of the kernel distance.
"""

from __future__ import annotations

from audiotrans.evaluation.classifier.classifier import DEFAULT_JUDGE, InstrumentClassifier, list_classifiers
from audiotrans.evaluation.classifier.recordings import refuse_made_sounds
from audiotrans.evaluation.classifier.training import train_classifier

__all__ = ["DEFAULT_JUDGE", "InstrumentClassifier", "list_classifiers", "refuse_made_sounds", "train_classifier"]
