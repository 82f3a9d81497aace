"""Prepared data, recipes, the training engine and checkpoints."""
