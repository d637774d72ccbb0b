"""How fast the worklist answers with many tasks, on SQLite and PostgreSQL.

Run: python Testing/Benchmarks/worklist.py [--tasks 100000] [--takes 500]

Builds a list, lets a reader take, look, give signs of life and decide, and prints for each operation how many go through in a
second and the 50th and 95th percentile of one. "take next" is measured on the fresh list, with most of the list decided, and for
a reader who wants one rare organ only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parents[1]), *(str(ROOT / name) for name in ("AtlasSegment", "AtlasQuality", "AtlasReview"))]

import postgres_server  # noqa: E402
from AtlasReviewLib.worklist import Worklist  # noqa: E402
from AtlasReviewLib.worklist_rows import ANY, Task, TaskFilter  # noqa: E402

ORGANS = 25
RARE = TaskFilter(organs=("organ24",))


@contextmanager
def places(durable: bool) -> Iterator[list[tuple[str, str]]]:
    """Yield the name and address of each database."""
    found = [("SQLite", "")]
    reason = postgres_server.missing()
    if reason:
        print(f"PostgreSQL is left out: {reason}")
        yield found
        return
    server = postgres_server.start(durable)
    try:
        yield [*found, (f"PostgreSQL{' (flushing to disk)' if durable else ''}", server.empty_worklist())]
    finally:
        server.stop()


def fill(worklist: Worklist, count: int) -> float:
    """Add tasks; the last organ waits in every hundredth case alone. Return seconds."""
    cases = -(-count // ORGANS)
    names = [(f"case{case:06}", f"organ{organ:02}") for organ in range(ORGANS) for case in range(cases)][:count]
    order = np.random.default_rng(1).permutation(len(names))
    start = time.perf_counter()
    with worklist.store.writing() as db:
        for first in range(0, len(names), 5000):
            rows = [
                {"case_name": c, "organ": o, "rank": int(order[first + i]) + 1, "priority": float(i), "changed": "", "state": state(c, o)}
                for i, (c, o) in enumerate(names[first : first + 5000])
            ]
            db.add_many(rows)
    return time.perf_counter() - start


def state(case: str, organ: str) -> str:
    """Return the state at the start."""
    return "accepted" if organ == "organ24" and int(case[4:]) % 100 else "waiting"


def measure(name: str, count: int, act: Callable[[int], object]) -> None:
    """Do something many times and print how long one took."""
    seconds = []
    for number in range(count):
        start = time.perf_counter()
        act(number)
        seconds.append(time.perf_counter() - start)
    middle, most = np.percentile(seconds, [50, 95]) * 1000
    print(f"  {name:<34}{count / sum(seconds):9.0f} /s   p50 {middle:7.2f} ms   p95 {most:7.2f} ms   max {max(seconds) * 1000:7.2f} ms")


def decide_most(worklist: Worklist) -> None:
    """Let 95 % of the list be decided, as late in a review: those that were first."""
    from sqlalchemy import text

    with worklist.store.writing() as db:
        most = int(db.connection.scalar(text("SELECT max(rank) FROM task")) * 0.95)
        db.connection.execute(text("UPDATE task SET state = 'accepted' WHERE state = 'waiting' AND rank < :most"), {"most": most})


def run(url: str, tasks: int, takes: int) -> None:
    """Measure one database."""
    with tempfile.TemporaryDirectory() as place:
        worklist = Worklist(Path(place), url=url)
        print(f"  {'build':<34}{tasks / fill(worklist, tasks):9.0f} tasks/s")
        held: list[Task] = []

        def take_next(_number: int, only: TaskFilter = ANY) -> None:
            task = worklist.take_next("Ada", only=only)
            assert task is not None
            held.append(task)

        measure("take next", takes, take_next)
        measure("sign of life", takes, lambda n: worklist.heartbeat(held[n], "Ada"))
        measure("revision saved", takes, lambda n: worklist.set_state(held[n], "revised", "Ada", "", "r", "0" * 64))
        measure("accept", takes, lambda n: worklist.set_state(held[n], "accepted", "Ada"))
        measure("read one task", takes, lambda n: worklist.task(held[n].case, held[n].organ))
        measure("newest event", takes, lambda _n: worklist.last_event())
        rare = sum(task.organ == "organ24" and task.state == "waiting" for task in worklist.tasks())
        measure("take next, one rare organ", min(takes, rare), lambda n: take_next(n, RARE))
        decide_most(worklist)
        measure("take next, 95 % decided", takes, take_next)
        measure("read the whole list", 5, lambda _n: worklist.tasks())
        worklist.close()


def main() -> None:
    """Measure both databases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--takes", type=int, default=500)
    parser.add_argument("--fast", action="store_true", help="let PostgreSQL not flush to the disk")
    chosen = parser.parse_args()
    with places(durable=not chosen.fast) as found:
        for name, url in found:
            print(f"{name}, {chosen.tasks} tasks")
            run(url, chosen.tasks, chosen.takes)


if __name__ == "__main__":
    main()
