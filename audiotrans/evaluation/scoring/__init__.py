"""Systems against anchors on a test set: what `audiotrans evaluate` runs."""
