"""A judge of timbre from outside: the music tagger musicnn, which others trained on other people's music.

The judge of `audiotrans.evaluation.classifier` learned from the recordings that models here learn from. This one did
not: it
learned 50 tags, ten instruments among them, from the songs of MagnaTagATune. So it is the better witness, and as it
hears a hundred other sounds besides, the harder one to please.
"""

from __future__ import annotations

from audiotrans.evaluation.tagger.tagger import (
    EMBEDDING_NAME,
    INSTRUMENTS,
    TAGS,
    tag,
    tagger_available,
    tags_and_embedding,
    taken_for,
)

__all__ = [
    "EMBEDDING_NAME",
    "INSTRUMENTS",
    "TAGS",
    "tag",
    "tagger_available",
    "tags_and_embedding",
    "taken_for",
]
