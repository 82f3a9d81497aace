"""Folders of sounds -> the cache of images that training reads: check, split by recording, write, sum up."""

from audiotrans.training.prepare.run import prepare
from audiotrans.training.prepare.summary import Count, Summary

__all__ = ["Count", "Summary", "prepare"]
