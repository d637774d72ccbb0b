"""How long the review panel's list of tasks keeps the reader waiting, with 1,000, 10,000 and 100,000 tasks.

Run: python Testing/Benchmarks/panel_worklist.py [--tasks 1000 10000 100000]

The panel runs in the stand-in for Slicer, painted off screen. Printed is the longest time in which it answered nothing while it did
something: the call itself and every turn of the event loop after it, by the clock and as far as its thread computed (they differ
where other programs had the processor). What runs in the background is printed apart.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parents[1]), *(str(ROOT / name) for name in ("AtlasSegment", "AtlasQuality", "AtlasReview"))]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

ORGANS = 25
REPEATS = 5


def fill(worklist: Any, count: int) -> None:
    """Add tasks of 25 organs in a random order, one in four decided."""
    names = [(f"case{case:06}", f"organ{organ:02}") for organ in range(ORGANS) for case in range(-(-count // ORGANS))][:count]
    order = np.random.default_rng(1).permutation(len(names))
    with worklist.store.writing() as db:
        for first in range(0, len(names), 5000):
            rows = [
                {
                    **{"case_name": case, "organ": organ, "rank": int(order[first + number]) + 1, "priority": 1.0, "changed": ""},
                    **({"state": "accepted", "reader": f"reader{number % 10}"} if number % 4 == 0 else {"state": "waiting", "reader": ""}),
                }
                for number, (case, organ) in enumerate(names[first : first + 5000])
            ]
            db.add_many(rows)


Seconds = tuple[float, float]
"""By the clock, and those in which the main thread computed: the others it waited for a processor that other programs had."""


class Stopwatch:
    """Measures how long the event loop was held up."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def turn(self, act: Callable[[], Any] = lambda: None) -> Seconds:
        """Do something and run the event loop once."""
        start, computed = time.perf_counter(), time.thread_time()
        act()
        self._app.processEvents()
        return time.perf_counter() - start, time.thread_time() - computed

    def held_up(self, act: Callable[[], Any], done: Callable[[], bool] = lambda: True) -> Seconds:
        """Do something and run the event loop until it is done; return the longest seconds without an answer."""
        for _ in range(3):
            self.turn()
        turns = [self.turn(act)]
        while not done():
            turns.append(self.turn())
            time.sleep(0.001)
        return max([*turns, self.turn()])


def change(worklist: Any, count: int, last: list[int]) -> None:
    """Let another reader decide some tasks."""
    waiting = [task for task in worklist.tasks() if task.state == "waiting"][last[0] : last[0] + count]
    for task in waiting:
        taken = worklist.take(task.case, task.organ, "Bob")
        worklist.set_state(taken, "accepted", "Bob") if count == 1 else worklist.leave(taken, "Bob", keep=True)


def run(app: Any, desk: Any, count: int, folder: Path) -> None:
    """Measure a list of one length."""
    from AtlasReviewLib.panel_sync import look
    from AtlasReviewLib.worklist import Worklist

    panel, ui, watch = desk.panel, desk.panel.ui, Stopwatch(app)
    worklist = Worklist(folder)
    fill(worklist, count)
    panel.context.worklist, panel.context.reader = Worklist(folder), "Ada"
    start = time.perf_counter()
    news = look(panel.context.worklist, -1)
    background = time.perf_counter() - start
    figures: list[tuple[str, Seconds]] = [("open (reading in the background)", (background, 0.0))]
    figures.append(("open", watch.held_up(lambda: panel.sync.begin(news))))
    ui.stateCombo.setCurrentIndex(1)

    def refresh(changes: int) -> Seconds:
        change(worklist, changes, [0])
        panel.sync.stop()
        panel.sync.begin(type(news)(worklist.last_event() - 2 * changes))
        panel.sync.ask()
        return watch.held_up(panel.sync.ask, lambda: not panel.sync.running)

    figures += [("refresh, 1 change", refresh(1)), ("refresh, 100 tasks changed, 200 events", refresh(100))]

    def worst(name: str, acts: list[Callable[[], Any]]) -> None:
        figures.append((name, max(watch.held_up(act) for act in acts)))

    worst("filter by state", [lambda n=n: ui.stateCombo.setCurrentIndex(n) for n in (0, 1, 2, 5, 1)])
    worst("a key in the search field", [lambda n=n: ui.searchEdit.setText("case00"[:n]) for n in (1, 2, 3, 4, 5, 6)])
    worst("a key of a second word", [lambda n=n: ui.searchEdit.setText("case organ1"[:n]) for n in (6, 7, 8, 9, 10, 11)])
    ui.searchEdit.setText("")
    header = ui.taskTable.horizontalHeader()
    for number, name in enumerate(("rank", "case", "organ", "state", "reader")):
        worst(f"sort by {name}, both ways", [lambda number=number: header.sectionClicked.emit(number)] * 2)
    bar = ui.taskTable.verticalScrollBar()
    worst("scroll to the end and back", [lambda: bar.setValue(bar.maximum), lambda: bar.setValue(0)] * REPEATS)
    worst("drag through the list, each step", [lambda n=n: bar.setValue(n * bar.maximum // 50) for n in range(50)])
    worst("find the next unfinished task", [panel.navigation.ahead] * REPEATS)
    bar.setValue(bar.maximum)
    watch.turn()
    shown = ui.taskTable.item(ui.taskTable.rowCount - 1, 1)
    print(f"{count:,} tasks; the last row is {shown.text()!r} of {ui.taskTable.rowCount:,}")
    for name, (seconds, computed) in figures:
        print(f"  {name:<44}{seconds * 1000:8.1f} ms{computed * 1000:10.1f} ms")
    panel.closeDataset()
    panel.context.worklist = None


def main() -> None:
    """Measure all lengths."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    chosen = parser.parse_args()
    import slicer_standin

    app = slicer_standin.start()
    from slicer_standin import session

    desk = session.open_module(ROOT / "AtlasReview")
    desk.panel._timer.stop()  # nothing but what is measured
    for count in chosen.tasks:
        with tempfile.TemporaryDirectory() as place:
            run(app, desk, count, Path(place))
    session.reset()


if __name__ == "__main__":
    main()
