"""Folders of sounds or photos -> the cache of images that training reads: check, split, write, sum up."""

from audiotrans.training.prepare.dispatch import default_recipe, prepare_any
from audiotrans.training.prepare.photos import PhotoSummary, prepare_photos
from audiotrans.training.prepare.run import prepare
from audiotrans.training.prepare.summary import Count, Summary

__all__ = ["Count", "PhotoSummary", "Summary", "default_recipe", "prepare", "prepare_any", "prepare_photos"]
