"""Ten readers on one list who crash all the time: nothing is taken twice at one time, nothing is lost, everything accepted is on disk.

Run: python Testing/Faults/worklist_readers.py [--tasks 10000] [--readers 10] [--kills 300] [--only sqlite|postgres] [--alone 100000]
     python Testing/Faults/worklist_readers.py --team --tasks 300 --readers 6 --kills 40 --lease 5 --alone 0

Each reader is a process that takes the next task, saves a real revision of a small mask, says so in the list and accepts. The parent
kills (SIGKILL) a reader at a random moment again and again and starts it anew under the same name. Each process notes on the
disk what it did, so that afterwards its notes, the list, the history and the files can be held against each other. At last one
reader alone takes from a longer list: ten that do nothing else wait for each other, which people who look at masks do not. Needs POSIX.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
_FOLDERS = [str(HERE.parents[1]), *(str(ROOT / name) for name in ("AtlasSegment", "AtlasQuality", "AtlasReview"))]
if __name__ == "__main__":
    sys.path[:0] = _FOLDERS

from AtlasReviewLib.assembly_levels import READERS_FILE  # noqa: E402
from AtlasReviewLib.review_policy import ReviewPolicy, write_policy  # noqa: E402
from AtlasReviewLib.task_states import ACCEPTED  # noqa: E402
from AtlasReviewLib.worklist import Worklist  # noqa: E402
from AtlasReviewLib.worklist_second import add_second_readings  # noqa: E402
from AtlasSegmentLib.case_folder import CaseFolder  # noqa: E402
from AtlasSegmentLib.files import read_json, write_json  # noqa: E402
from AtlasSegmentLib.labels import load_table  # noqa: E402
from AtlasSegmentLib.nifti import write_nifti  # noqa: E402
from AtlasSegmentLib.volume import Volume  # noqa: E402
from Faults.worklist_checks import LEASE_SECONDS, Report, check  # noqa: E402
from Faults.worklist_reader import SHAPE, be_a_reader  # noqa: E402
from Faults.worklist_team_checks import check_team  # noqa: E402
from Faults.worklist_team_reader import be_in_a_team  # noqa: E402

TEAM_SHARE = 0.2
"""Share of the tasks of a team that are read twice."""


def make_dataset(folder: Path, tasks: int) -> None:
    """Write cases of a tiny CT each, and nothing else: the list is filled by hand."""
    organs = load_table("abdomenatlas").names()[:25]
    ct = Volume(np.zeros(SHAPE, np.int16, order="F"), np.eye(4))
    for number in range(-(-tasks // len(organs))):
        write_nifti(CaseFolder(folder / f"case{number:05}").ct, ct)


def fill(worklist: Worklist, tasks: int) -> None:
    """Add tasks in a shuffled order of looking."""
    organs = load_table("abdomenatlas").names()[:25]
    ranks = random.Random(1).sample(range(1, tasks + 1), tasks)
    rows = [
        {"case_name": f"case{n // len(organs):05}", "organ": organs[n % len(organs)], "rank": ranks[n], "changed": ""} for n in range(tasks)
    ]
    with worklist.store.writing() as db:
        db.add_many(rows)


def make_team(worklist: Worklist, readers: int, share: float = TEAM_SHARE, seniors: int = 2) -> int:
    """Let seniors verify and a share of the tasks be read twice; return how many second readings that makes."""
    policy = ReviewPolicy(verify=True, double_share=share)
    write_policy(worklist.folder, policy)
    write_json(worklist.folder / READERS_FILE, {f"Reader {number}": 2 if number < seniors else 1 for number in range(readers)})
    with worklist.store.writing() as db:
        add_second_readings(db, db.rows(), policy)
    return len(worklist.pairs())


def run(
    folder: Path, url: str, *, tasks: int, readers: int, kills: int, every: float, lease_seconds: float = LEASE_SECONDS, team: float = 0.0
) -> Report:
    """Let readers work through a list while one is killed `every` so many seconds, at most `kills` times; then check everything.

    With a share of tasks for a `team`, two of the readers are seniors who verify, and so many tasks are read twice.
    """
    dataset, notes = folder / "dataset", folder / "notes"
    notes.mkdir(parents=True)
    make_dataset(dataset, tasks)
    worklist = Worklist(dataset, url=url)
    fill(worklist, tasks)
    tasks += make_team(worklist, readers, team) if team else 0
    start = time.perf_counter()
    killed = _let_read(worklist, notes, url, readers, (kills, every, lease_seconds), be_in_a_team if team else be_a_reader)
    seconds = time.perf_counter() - start
    report = check(worklist, notes, tasks, lease_seconds, bool(team))
    if team:
        check_team(worklist, notes, report)
    operations = report.figures["events"] + report.figures["heartbeats"]
    report.figures |= {"seconds": seconds, "tasks/s": tasks / seconds, "operations/s": operations / seconds, "kills": killed}
    worklist.close()
    return report


def take_alone(folder: Path, url: str, tasks: int, takes: int = 500) -> dict[str, float]:
    """Return how long "take next" takes (ms) for one reader on a list of so many tasks."""
    folder.mkdir(parents=True)
    worklist = Worklist(folder, url=url)
    fill(worklist, tasks)
    seconds = []
    for _ in range(takes):
        start = time.perf_counter()
        task = worklist.take_next("Ada")
        seconds.append(time.perf_counter() - start)
        assert task is not None
        worklist.set_state(task, ACCEPTED, "Ada")
    worklist.close()
    middle, most = np.percentile(seconds, [50, 95]) * 1000
    return {f"alone, {tasks} p50 ms": float(middle), f"alone, {tasks} p95 ms": float(most)}


def _let_read(worklist: Worklist, notes: Path, url: str, readers: int, deaths: tuple[int, float, float], read: Any) -> int:
    """Start the readers, kill and start again: forks of a process that has imported everything, as that takes a second.

    When nothing has happened for long, nobody there may do what is left: then one more senior comes, who has done nothing yet.
    """
    kills, every, seconds = deaths
    names = [f"Reader {number}" for number in range(readers)]
    begun: Counter[str] = Counter()
    nursery = multiprocessing.get_context("forkserver")
    nursery.set_forkserver_preload(["Faults.worklist_reader", "Faults.worklist_team_reader"])

    def start(name: str) -> Any:
        begun[name] += 1
        arguments = (str(worklist.folder), url, name, str(notes / f"{name}-{begun[name]}.txt"), seconds)
        process = nursery.Process(target=read, args=arguments, daemon=True)
        process.start()
        return process

    running = {name: start(name) for name in names}
    dice, killed, last = random.Random(7), 0, (0, time.monotonic())
    try:
        while any(run.is_alive() or run.exitcode == -signal.SIGKILL for run in running.values()):
            time.sleep(dice.uniform(0.1, 2) * every)
            for name in [name for name, run in running.items() if run.exitcode == -signal.SIGKILL]:  # by its own hand
                running[name] = start(name)
            if any((run.exitcode or 0) > 0 for run in running.values()):
                break
            last = _still(worklist, last)
            if time.monotonic() - last[1] > 3 * seconds:
                _call_senior(worklist, f"Chief {len(running)}")
                running[f"Chief {len(running)}"], last = start(f"Chief {len(running)}"), (last[0], time.monotonic())
            name = dice.choice(names)
            file = notes / f"{name}-{begun[name]}.txt"
            works = file.exists() and file.stat().st_size > 0  # killing one that has done nothing yet proves nothing
            if killed < kills and works and running[name].is_alive():
                running[name].kill()
                running[name].join()
                running[name], killed = start(name), killed + 1
    finally:
        for left in running.values():
            left.kill()
            left.join()
    failed = sorted(name for name, run in running.items() if run.exitcode != 0)
    if failed:
        message = f"{', '.join(failed)} ended with an error."
        raise RuntimeError(message)
    return killed


def _still(worklist: Worklist, last: tuple[int, float]) -> tuple[int, float]:
    """Return the number of the newest event and since when it is the newest."""
    with worklist.store.reading() as db:
        newest = db.last_event()
    return last if newest == last[0] else (newest, time.monotonic())


def _call_senior(worklist: Worklist, name: str) -> None:
    file = worklist.folder / READERS_FILE
    if not file.is_file():
        message = "Nothing happens any more, and not everything is done."
        raise RuntimeError(message)
    write_json(file, {**read_json(file), name: 2})


@contextmanager
def _places(only: str) -> Iterator[list[tuple[str, str]]]:
    found = [("SQLite", "")] if only != "postgres" else []
    import postgres_server

    reason = postgres_server.missing()
    if only == "sqlite" or reason:
        print(f"PostgreSQL is left out. {reason}")
        yield found
        return
    server = postgres_server.start(durable=True)
    try:
        yield [*found, ("PostgreSQL", server.empty_worklist())]
    finally:
        server.stop()


def main() -> int:
    """Run against both databases and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--readers", type=int, default=10)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two kills, on average")
    parser.add_argument("--lease", type=float, default=LEASE_SECONDS, help="seconds after which a dead reader's task comes back")
    parser.add_argument("--only", choices=("both", "sqlite", "postgres"), default="both")
    parser.add_argument("--team", action="store_true", help="two seniors verify and adjudicate, a fifth of the tasks is read twice")
    parser.add_argument("--alone", type=int, default=100_000, help="length of the list that one reader takes from; 0 leaves it out")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    chosen = parser.parse_args()
    failed = False
    with _places(chosen.only) as places:
        for name, url in places:
            with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
                numbers = {"tasks": chosen.tasks, "readers": chosen.readers, "kills": chosen.kills}
                report = run(Path(folder), url, **numbers, every=chosen.every, lease_seconds=chosen.lease, team=TEAM_SHARE * chosen.team)
                if chosen.alone:
                    report.figures |= take_alone(Path(folder) / "alone", url, chosen.alone)
            print(f"{name}: {chosen.tasks} tasks, {chosen.readers} readers", flush=True)
            for what, number in report.figures.items():
                print(f"  {what:<22}{number:12.2f}")
            print(f"  problems: {len(report.problems)}", *report.problems[:20], sep="\n    ")
            failed = failed or bool(report.problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
