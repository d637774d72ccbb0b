"""How fast "take next" is for a team: second readings, a backlog to verify, disagreements; on SQLite and PostgreSQL.

Run: python Testing/Benchmarks/worklist_team.py [--tasks 100000] [--takes 200] [--double 0.1]

The list is as bad as it can be for the question "has this reader had the other reading?": one reader has done every first reading, so
that all second readings wait before the first task that is left for them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1]), *(str(ROOT / name) for name in ("AtlasSegment", "AtlasQuality", "AtlasReview"))]

from worklist import fill, measure, places  # noqa: E402

from AtlasReviewLib.review_policy import ReviewPolicy, write_policy  # noqa: E402
from AtlasReviewLib.task_states import ACCEPTED  # noqa: E402
from AtlasReviewLib.worklist import Worklist  # noqa: E402
from AtlasReviewLib.worklist_rows import TaskFilter  # noqa: E402
from AtlasReviewLib.worklist_second import add_second_readings  # noqa: E402

LEVELS = {"Dr. Sen": 2, "Ada": 1, "Bob": 1}


def prepare(worklist: Worklist, policy: ReviewPolicy) -> None:
    """Fill in second readings, and let Ada have accepted the first two fifths of the list; a third of that waits to be verified."""
    from sqlalchemy import text

    with worklist.store.writing() as db:
        add_second_readings(db, db.rows(), policy)
        most = int(db.connection.scalar(text("SELECT max(rank) FROM task")) * 0.4)
        same = "other.dataset = task.dataset AND other.case_name = task.case_name AND other.organ = task.organ"
        doubled = f"SELECT 1 FROM task AS other WHERE {same} AND other.reading = 2"
        mine = {"most": most, "line": "\nAda\n"}
        done = "UPDATE task SET state = 'accepted', reader = 'Ada', author = 'Ada', readers = :line WHERE reading = 1 AND rank < :most"
        db.connection.execute(text(done), mine)
        verify = "UPDATE task SET state = 'waiting', reader = '', level = 2, stage = 'verify' WHERE reading = 1 AND rank < :most"
        db.connection.execute(text(f"{verify} AND rank % 3 = 0 AND NOT EXISTS ({doubled})"), mine)
        apart = "UPDATE task SET state = 'waiting', reader = '', level = 2, stage = 'adjudicate', measured = '{}' WHERE reading = 1"
        db.connection.execute(text(f"{apart} AND rank < :most AND rank % 100 = 0 AND EXISTS ({doubled})"), mine)
        others = "UPDATE task SET others = :line WHERE reading = 2 AND rank < :most"
        db.connection.execute(text(others), mine)
        db.connection.exec_driver_sql("ANALYZE")


def run(url: str, tasks: int, takes: int, double: float) -> None:
    """Measure one database."""
    with tempfile.TemporaryDirectory() as place:
        folder, policy = Path(place), ReviewPolicy(verify=True, double_share=double)
        write_policy(folder, policy)
        (folder / "readers.json").write_text(json.dumps(LEVELS))
        worklist = Worklist(folder, url=url)
        fill(worklist, tasks)
        prepare(worklist, policy)
        rows = worklist.every_task()
        second, verify = sum(row.reading == 2 for row in rows), sum(row.stage == "verify" for row in rows)
        print(f"  {len(rows)} rows, {second} second readings, {verify} to verify")

        def take(reader: str, level: int | None = None, accept: bool = False) -> None:
            task = worklist.take_next(reader, only=TaskFilter(level=level))
            assert task is not None
            if accept:
                worklist.set_state(task, ACCEPTED, reader)

        measure("take next, read all first ones", takes, lambda _n: take("Ada"))
        measure("take next, another reader", takes, lambda _n: take("Bob"))
        measure("take next, senior", takes, lambda _n: take("Dr. Sen"))
        measure("take next, senior, level 1", takes, lambda _n: take("Dr. Sen", 1))
        measure("take next and accept", takes, lambda _n: take("Bob", accept=True))
        worklist.viewer = "Bob"
        measure("read the whole list as Bob", 3, lambda _n: worklist.tasks())
        measure("tasks that are read twice", 3, lambda _n: worklist.pairs())
        worklist.close()


def main() -> None:
    """Measure both databases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--takes", type=int, default=200)
    parser.add_argument("--double", type=float, default=0.1)
    given = parser.parse_args()
    with places(durable=False) as found:
        for name, url in found:
            print(f"{name}, {given.tasks} tasks, {given.double:.0%} read twice")
            run(url, given.tasks, given.takes, given.double)


if __name__ == "__main__":
    main()
