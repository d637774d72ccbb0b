"""Python threads beside Slicer's event loop.

Slicer's main thread keeps Python's interpreter lock while it waits for events (it starts Python without thread support), so a
Python thread only moves on while a slot of ours gives the lock up. A timer that waits for a thread has to do that.
"""

from __future__ import annotations

import time

PANEL_SHARE = 0.005
"""Seconds for threads at each turn of a timer that runs beside the user's work; too short to be felt."""
WAITING_SHARE = 0.010
"""Seconds for threads at each turn of a timer while the user waits for just that thread."""


def letThreadsRun(seconds: float = PANEL_SHARE) -> None:
    """Give the interpreter lock up for some milliseconds; to be called on the main thread, from a timer's slot."""
    time.sleep(seconds)
