"""Whatever readers do in whatever order: nobody gets both readings of a task, and nobody verifies or adjudicates their own work."""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from AtlasReviewLib import lease, worklist_settle
from AtlasReviewLib.disagreement import Measured
from AtlasReviewLib.doctor_history import check_history
from AtlasReviewLib.doctor_team import check_team
from AtlasReviewLib.review_policy import ReviewPolicy, write_policy
from AtlasReviewLib.task_states import ACCEPTED, ADJUDICATE, FINISHED, FLAGGED, REJECTED, REVISED, SKIPPED, VERIFY
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_rows import Task, TaskFilter, TaskTakenError, names_of
from AtlasReviewLib.worklist_second import add_second_readings
from AtlasSegmentLib.errors import InputError

pytest_plugins = ("postgres_server",)
READERS = ("Ada", "Bob", "Cleo", "Dr. Sen", "Dr. Eve")
LEVELS = {"Ada": 1, "Bob": 1, "Dr. Sen": 2, "Dr. Eve": 2}
COMMON = ("next", "accept", "send back", "work", "work", "work", "work")
RARE = ("take", "take over", "save", "reject", "flag", "skip", "send back", "leave", "reopen", "revisit", "hand over", "crash")
ACTIONS = (*COMMON, *COMMON, *RARE)
POLICIES = (ReviewPolicy(verify=True), ReviewPolicy(double_share=1.0), ReviewPolicy(verify=True, double_share=0.5, seed=1))
STEP = st.tuples(st.sampled_from(ACTIONS), st.sampled_from(READERS), st.integers(0, 5), st.sampled_from(READERS))
PAST = "2020-01-01T00:00:00.000000+00:00"


class Team:
    """Readers at one list; remembers what each of them had in hand, and looks after every step whether that was allowed."""

    def __init__(self, folder: Path, url: str, policy: ReviewPolicy) -> None:
        write_policy(folder, policy)
        (folder / "readers.json").write_text(json.dumps(LEVELS))
        self.worklist = Worklist(folder, url=url)
        with self.worklist.store.writing() as db:
            for rank, organ in enumerate(("liver", "spleen", "pancreas"), 1):
                if db.add({"case_name": "a", "organ": organ, "rank": rank, "changed": ""}):
                    db.append("atlas", "a", organ, "add", state_after="waiting")
            add_second_readings(db, db.rows(), policy)
        self.read: dict[tuple[str, int], set[str]] = defaultdict(set)

    def step(self, action: str, reader: str, number: int, other: str) -> None:
        tasks = self.worklist.every_task()
        task = tasks[number % len(tasks)]
        with contextlib.suppress(InputError, TaskTakenError):
            self._note(self._act(action, reader, task, other), reader)
        self._settle(agree=number % 2 == 0)

    def _act(self, action: str, reader: str, task: Task, other: str) -> Task | None:
        worklist, key = self.worklist, (task.case, task.organ)
        mine = next((one for one in worklist.every_task() if one.is_mine(reader)), task)
        if action == "work":
            found = worklist.take_next(reader)
            self._note(found, reader)
            if found is not None and found.state != REVISED:
                worklist.set_state(found, ACCEPTED, reader)
            return None
        if action == "next":
            return worklist.take_next(reader, only=TaskFilter(level={"Ada": 1, "Dr. Eve": 2}.get(other)))
        if action in ("take", "take over"):
            return worklist.take(*key, reader, take_over=action == "take over", reading=task.reading)
        if action == "crash":
            with worklist.store.writing() as db:
                if (row := db.row(*key, task.reading))["lease_until"]:
                    db.set(row, {"session": "far/00000000/1", "lease_until": PAST})
            return None
        if action == "send back":
            found = worklist.take_next(reader, only=TaskFilter(level=2))
            self._note(found, reader)
            worklist.send_back(found or mine, reader, "look again")
        elif action == "leave":
            worklist.leave(mine, reader, keep=bool(other == reader))
        elif action == "reopen":
            return worklist.reopen(task, reader)
        elif action == "revisit":
            worklist.revisit(task, reader, "once more", other)
        elif action == "hand over":
            worklist.hand_over(task, reader, other)
        else:
            states = {"save": REVISED, "accept": ACCEPTED, "reject": REJECTED, "flag": FLAGGED, "skip": SKIPPED}
            worklist.set_state(mine, states[action], reader, "note", "r" if action == "save" else "")
        return None

    def _note(self, task: Task | None, reader: str) -> None:
        if task is None or not task.is_mine(reader):
            return
        readings = [self.read[task.organ, reading] for reading in (1, 2)]
        assert reader not in readings[2 - task.reading], f"{reader} had the other reading of {task.organ}"
        if task.stage in (VERIFY, ADJUDICATE):
            assert reader not in readings[task.reading - 1], f"{reader} checks their own work on {task.organ}"
            assert task.level == 1 or LEVELS.get(reader, 0) >= task.level
        else:
            readings[task.reading - 1].add(reader)

    def _settle(self, agree: bool) -> None:
        for pair in self.worklist.pairs():
            if not pair[0]["measured"] and all(row["state"] in FINISHED for row in pair):
                with self.worklist.store.writing() as db:
                    worklist_settle.settle(db, *pair, Measured(0.5, 0.5, 2.0, None, (0, 0, 0, 0), agree=agree), self.worklist.rules())

    def check(self) -> None:
        tasks, events = self.worklist.every_task(), self.worklist.events()
        assert list(check_history(tasks, events)) == []
        assert list(check_team([], tasks, events, self.worklist.rules())) == []
        for pair in self.worklist.pairs():
            assert not {*names_of(pair[0])} & {*names_of(pair[1])}
            if not pair[0]["measured"]:
                self._check_blindness(pair[0]["organ"])
        self.worklist.close()

    def _check_blindness(self, organ: str) -> None:
        for reading in (1, 2):
            for reader in self.read[organ, reading]:
                self.worklist.viewer = reader
                assert {task.reading for task in self.worklist.tasks() if task.organ == organ} == {reading}
                seen = [event for event in self.worklist.events("a", organ) if event.reading != reading]
                assert {event.reader for event in seen} <= {"atlas", reader}
        self.worklist.viewer = None


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest) -> object:
    return request.getfixturevalue("postgres") if request.param == "postgres" else None


def places(server: object) -> Iterator[tuple[Path, str]]:
    memory = Path("/dev/shm")  # where a flush costs nothing
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder), "" if server is None else server.empty_worklist()  # type: ignore[attr-defined]


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(policy=st.sampled_from(POLICIES), steps=st.lists(STEP, min_size=10, max_size=25))
def test_nobody_reads_twice_or_checks_their_own_work(server: object, policy: ReviewPolicy, steps: list[tuple[str, str, int, str]]) -> None:
    for folder, url in places(server):
        team = Team(folder, url, policy)
        for step in steps:
            team.step(*step)
        team.check()


def test_the_random_steps_get_far_enough_to_mean_something() -> None:
    """A team that only runs into refusals would prove nothing."""
    dice, missing = random.Random(5), {"to verify", "verified", "sent back", "agree", "disagree", "adjudicated", lease.EXPIRE, "take over"}
    for policy in POLICIES * 4:
        for folder, _ in places(None) if missing else []:
            team = Team(folder, "", policy)
            for _ in range(60):
                team.step(dice.choice(ACTIONS), dice.choice(READERS), dice.randrange(6), dice.choice(READERS))
            missing -= {event.kind for event in team.worklist.events()}
            team.check()
    assert missing == set()
