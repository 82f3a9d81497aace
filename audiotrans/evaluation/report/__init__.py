"""Listening pages: what a model makes of sounds, to hear, to see, to compare, with a blind test.

One static folder from one call. ``folders`` reads folders of every kind into ``content``; ``sounds`` writes the sounds
and spectrograms; ``page`` fills in the templates of ``assets``, which also holds what the browser runs.
"""

from __future__ import annotations

from audiotrans.evaluation.report.build import Built, build_report
from audiotrans.evaluation.report.sounds import FORMATS

__all__ = ["FORMATS", "Built", "build_report"]
