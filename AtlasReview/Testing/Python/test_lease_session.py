"""An open task and its lease: signs of life, a sleeping computer, a task that somebody else has by now."""

from __future__ import annotations

from pathlib import Path

import pytest

from AtlasReviewLib import lease
from AtlasReviewLib.review_case import load_review_case, sparse_of
from AtlasReviewLib.task_session import TaskSession
from AtlasReviewLib.task_states import ACCEPTED, REVISED, WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasReviewLib.worklist_rows import TaskTakenError
from AtlasSegmentLib.sparse import SparseVolume
from review_data import make_dataset

PAST = "2020-01-01T00:00:00.000000+00:00"


@pytest.fixture
def worklist(tmp_path: Path) -> Worklist:
    return open_worklist(make_dataset(tmp_path / "hospital"))[0]


@pytest.fixture
def session(worklist: Worklist) -> TaskSession:
    task = worklist.take("first", "liver", "Ada")
    return TaskSession(worklist, load_review_case(worklist.folder / "first", "liver"), task, "Ada", worklist.folder.parent / "user")


def edited(session: TaskSession) -> SparseVolume:
    mask = session.saved.dense()
    mask[0, 0, 0] = 1
    return sparse_of(mask, session.loaded.grid)


def expired(worklist: Worklist) -> None:
    """Give the task back as the program of another reader does when no sign of life came."""
    with worklist.store.writing() as db:
        row = db.row("first", "liver")
        db.change(row, lease.EXPIRE, row["reader"], lease.given_back(row), session=row["session"])


def test_signs_of_life_keep_the_task(session: TaskSession, worklist: Worklist) -> None:
    with worklist.store.writing() as db:
        db.set(db.row("first", "liver"), {"lease_until": PAST})
    assert session.heartbeat().is_mine("Ada")
    assert worklist.task("first", "liver").lease_until > PAST
    assert session.task == worklist.task("first", "liver")


def test_after_a_long_sleep_the_edits_are_saved_when_nobody_had_the_task(session: TaskSession, worklist: Worklist) -> None:
    expired(worklist)
    assert worklist.task("first", "liver").state == WAITING
    assert session.save(edited(session)).state == REVISED
    assert session.decide(ACCEPTED, edited(session)).reader == "Ada"
    assert [event.kind for event in worklist.events("first", "liver")] == ["add", "take", "expire", "resume", "state", "state"]


def test_after_a_long_sleep_the_edits_are_kept_when_somebody_has_the_task(session: TaskSession, worklist: Worklist) -> None:
    mask = edited(session)
    session.autosave(mask)
    expired(worklist)
    worklist.take("first", "liver", "Bob")
    now = session.heartbeat()
    assert (now.reader, now.is_mine("Ada")) == ("Bob", False)
    with pytest.raises(TaskTakenError, match="in the hands of Bob by now"):
        session.save(mask)
    assert session.editable  # so that the last edits can still be kept
    session.leave(mask)
    assert worklist.task("first", "liver").reader == "Bob"
    worklist.set_state(worklist.task("first", "liver"), "skipped", "Bob")
    again = worklist.take("first", "liver", "Ada")
    fresh = TaskSession(worklist, load_review_case(worklist.folder / "first", "liver"), again, "Ada", worklist.folder.parent / "user")
    assert [found.reader for found in fresh.unsaved()] == ["Ada"]
