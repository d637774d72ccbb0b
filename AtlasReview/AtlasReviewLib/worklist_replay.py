"""What a task is, from its history alone: for lists of which only the events can still be read.

Everything that the rules need follows from it: who read a task, whose decision it is, who has it in hand. The hot spots of a comparison
of two readings do not, so that it counts with Dice and surface Dice only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from AtlasReviewLib.disagreement import Measured
from AtlasReviewLib.lease import EXPIRE, read_again
from AtlasReviewLib.review_policy import SENIOR
from AtlasReviewLib.task_states import ADJUDICATE, ADJUDICATED, CHECKED, FINISHED, OWNED, READ, REVISED, TAKEN, VERIFIED, VERIFY, WAITING
from AtlasReviewLib.worklist_rows import PROGRAM, with_reader
from AtlasReviewLib.worklist_rules import ADJUDICATED_EVENT, AGREE, DISAGREE, SENT_BACK, STATE, TO_VERIFY, VERIFIED_EVENT

Key = tuple[str, str, int]
_EMPTY: dict[str, Any] = {
    "state": WAITING, "reader": "", "assignee": "", "session": "", "lease_until": "", "previous_state": WAITING, "previous_reader": "",
    "active_seconds": 0.0, "comment": "", "revision": "", "sha256": "",
    "level": 1, "stage": READ, "author": "", "readers": "", "measured": "",
}  # fmt: skip
KEPT = tuple(_EMPTY)
"""Columns of a task that say what became of it."""
_HELD = ("take", "take over", "resume", "reopen")
_GIVEN_BACK = (EXPIRE, "release", "leave")
_DECIDED = (STATE, TO_VERIFY, VERIFIED_EVENT, ADJUDICATED_EVENT)


def replay(events: Iterable[Mapping[str, Any]]) -> dict[Key, dict[str, Any]]:
    """Return (case, organ, reading) to the columns KEPT of every task that events tell of.

    Args:
        events: Rows of the table `event`, oldest first.
    """
    found: dict[Key, dict[str, Any]] = {}
    for event in events:
        case, organ, reading = event["case_name"], event["organ"], event["reading"]
        row = found.setdefault((case, organ, reading), {**_EMPTY, "noted_by": ""})
        if event["kind"] in (AGREE, DISAGREE):
            _settled(row, found.get((case, organ, 2), _EMPTY), event)
        elif event["kind"] in _HELD:
            _held(row, event)
        elif event["kind"] in _GIVEN_BACK:
            row |= {"session": "", "lease_until": ""}
            row |= {"reader": row["previous_reader"]} if row["state"] == TAKEN and event["kind"] != "leave" else {}
        elif event["kind"] in _DECIDED:
            _decided(row, event)
        elif event["kind"] in ("hand over", SENT_BACK, "revisit"):
            _given(row, event)
        row["state"] = event["state_after"] or row["state"]
        row["active_seconds"] += event["seconds"]
    return {key: {name: row[name] for name in KEPT} for key, row in found.items()}


def _held(row: dict[str, Any], event: Mapping[str, Any]) -> None:
    if row["state"] not in OWNED:
        row |= {"previous_state": row["state"], "previous_reader": row["reader"]}
    row |= read_again(row) if event["kind"] == "reopen" else {}
    row |= {"reader": event["reader"], "session": event["session"]}
    row |= {"assignee": ""} if row["assignee"] != event["reader"] else {}
    if row["stage"] not in CHECKED:
        row["readers"] = with_reader(row, event["reader"])


def _decided(row: dict[str, Any], event: Mapping[str, Any]) -> None:
    finished = event["state_after"] in FINISHED or event["kind"] == TO_VERIFY
    if event["comment"] and event["reader"] != PROGRAM:
        row |= {"comment": event["comment"], "noted_by": event["reader"]}
    elif finished and row["noted_by"] != event["reader"] != PROGRAM:  # see worklist_rules.comment_of
        row["comment"] = ""
    row |= {"revision": event["revision"], "sha256": event["sha256"]} if event["revision"] or event["sha256"] else {}
    if event["state_after"] == REVISED:
        row |= {"reader": event["reader"], "session": event["session"]}
        return
    if finished and row["stage"] not in CHECKED and event["reader"] != PROGRAM:
        row["author"] = event["reader"]
    row |= {"reader": event["reader"], "assignee": "", "session": "", "lease_until": ""}
    if event["kind"] == TO_VERIFY:
        _waits(row, VERIFY, SENIOR)
    row |= {"stage": VERIFIED} if event["kind"] == VERIFIED_EVENT else {}
    row |= {"stage": ADJUDICATED} if event["kind"] == ADJUDICATED_EVENT else {}


def _given(row: dict[str, Any], event: Mapping[str, Any]) -> None:
    """A task goes to a reader whom the words name ("to Bob: a note"; no name has a colon), or to anybody."""
    named, _, note = event["comment"].removeprefix("to ").partition(": ")
    row |= {"session": "", "lease_until": "", "assignee": "" if event["kind"] == "revisit" else named}
    if event["kind"] == SENT_BACK:
        row |= {
            "level": 1,
            "stage": READ,
            "reader": "",
            "comment": note,
            "noted_by": event["reader"],
            "previous_state": WAITING,
            "previous_reader": "",
        }
    elif event["kind"] == "hand over" and row["state"] == REVISED:
        row["reader"] = named
        row |= {"readers": with_reader(row, named)} if row["stage"] not in CHECKED else {}
    else:
        row |= {"previous_state": row["state"], "previous_reader": row["reader"]} if row["state"] != TAKEN else {}
        row |= read_again(row) if event["kind"] == "revisit" else {}
        row["reader"] = ""


def _settled(first: dict[str, Any], second: Mapping[str, Any], event: Mapping[str, Any]) -> None:
    measured = Measured.from_words(event["comment"])
    if measured is not None:
        both = (first, second)
        verdicts, revisions, readers = ((str(both[0][name]), str(both[1][name])) for name in ("state", "revision", "author"))
        agree = event["kind"] == AGREE
        first["measured"] = replace(measured, verdicts=verdicts, revisions=revisions, readers=readers, agree=agree).to_text()
    if event["kind"] == DISAGREE:
        _waits(first, ADJUDICATE, SENIOR if f"a reader of level {SENIOR} " in event["comment"] else 1)
    elif event["state_after"] == WAITING:
        _waits(first, VERIFY, SENIOR)


def _waits(row: dict[str, Any], stage: str, level: int) -> None:
    row |= {"reader": "", "assignee": "", "session": "", "lease_until": "", "previous_state": WAITING, "previous_reader": ""}
    row |= {"stage": stage, "level": level}
