"""Listening pages: what a model makes of sounds, to hear, to see, to compare and to judge blind.

One static folder from one call. ``sources`` reads folders of every kind into ``content``; ``assembly`` writes the
sounds and pictures; ``overview``, ``clips`` and ``tables`` build the HTML; ``assets`` holds what the browser runs.
"""

from __future__ import annotations

from audiotrans.evaluation.report.build import Built, build_report
from audiotrans.evaluation.report.sounds import FORMATS

__all__ = ["FORMATS", "Built", "build_report"]
