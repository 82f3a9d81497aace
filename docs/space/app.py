"""audiotrans as a Hugging Face Space: the page of `audiotrans serve`, within tighter limits."""

import threading

from audiotrans.web.server import serving
from audiotrans.web.work import Limits

LIMITS = Limits(minutes=5, megabytes=50, files=10, waiting=10, keep_minutes=30, gigabytes=2)

with serving(["violin-piano"], host="0.0.0.0", port=7860, limits=LIMITS):  # noqa: S104  # a Space listens to all
    threading.Event().wait()
