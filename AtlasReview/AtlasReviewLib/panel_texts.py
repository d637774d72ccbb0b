"""Words of the review panel."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from slicer.i18n import tr as _

from AtlasReviewLib.task_states import (
    ACCEPTED,
    ADJUDICATE,
    ADJUDICATED,
    FINISHED,
    FLAGGED,
    OWNED,
    REJECTED,
    REVISED,
    SKIPPED,
    TAKEN,
    VERIFIED,
    VERIFY,
    WAITING,
)
from AtlasReviewLib.worklist_rows import Task
from AtlasReviewLib.worklist_view import ALL, UNFINISHED, known

_MOSTLY = 0.75


# A table shows these words in each of its rows, and to look up a translation takes Slicer as long as to fill a row.
@cache
def _states() -> dict[str, str]:
    return {
        WAITING: _("waiting"),
        TAKEN: _("taken"),
        REVISED: _("revised"),
        ACCEPTED: _("accepted"),
        REJECTED: _("rejected"),
        FLAGGED: _("flagged"),
        SKIPPED: _("skipped"),
        UNFINISHED: _("Unfinished"),
        ALL: _("All"),
    }


@cache
def _stages() -> dict[tuple[str, str], str]:
    return {
        (WAITING, VERIFY): _("to verify"),
        (TAKEN, VERIFY): _("being verified"),
        (REVISED, VERIFY): _("being verified"),
        (ACCEPTED, VERIFIED): _("verified"),
        (WAITING, ADJUDICATE): _("to adjudicate"),
        (TAKEN, ADJUDICATE): _("being adjudicated"),
        (REVISED, ADJUDICATE): _("being adjudicated"),
        (ACCEPTED, ADJUDICATED): _("adjudicated"),
    }


@cache
def _details() -> dict[str, str]:
    return {
        "unranked": _("No priority: {value}"),
        "reason": _("Look: {value}"),
        "level": _("For readers of level {value}"),
        "author": _("Read by {value}"),
        "assignee": _("Handed to {value}"),
        "attention": _("Attention: {value:.2f} ml"),
        "error": _("Expected error: {value:.2f} ml"),
        "minutes": _("Expected editing time: {value:.1f} min"),
        "dice": _("Predicted Dice: {value:.3f}"),
        "active": _("Active time: {value}"),
        "comment": _("Comment: {value}"),
    }


def stateText(state: str) -> str:
    """Return the name of a state or of a filter."""
    return _states().get(state, state)


def taskState(task: Task) -> str:
    """Return the state of a task, and what has to be done with it where somebody else did it."""
    return _stages().get((task.state, task.stage)) or stateText(task.state)


def taskDetails(task: Task) -> str:
    """Return what is known of a task, one line each."""
    found: dict[str, Any] = {
        "unranked": task.reason if task.rank is None else "",
        "reason": "" if task.rank is None else task.reason,
        "level": task.level if task.level > 1 else "",
        "author": task.author if task.stage in (VERIFY, VERIFIED) else "",
        "assignee": task.assignee,
        "attention": _known(task.attention_mm3 / 1000),
        "error": _known(task.expected_error_mm3 / 1000),
        "minutes": _known(task.minutes),
        "dice": _known(task.predicted_dice),
        "active": clockText(task.active_seconds) if task.active_seconds >= 1 else "",
        "comment": task.comment,
    }
    lines = [_details()[name].format(value=value) for name, value in found.items() if value != ""]
    return "\n".join((f"{task.case}, {task.organ}", *lines))


def _known(number: float) -> float | str:
    return number if known(number) else ""


def taskHeading(task: Task) -> str:
    """Return one line about the open task."""
    parts = [f"{task.case}: {task.organ}", taskState(task)]
    if task.level > 1:
        parts.append(_("level {level}").format(level=task.level))
    if task.author and task.stage == VERIFY:
        parts.append(_("read by {reader}").format(reader=task.author))
    if known(task.attention_mm3):
        parts.append(_("attention {volume:.2f} ml").format(volume=task.attention_mm3 / 1000))
    if known(task.predicted_dice):
        parts.append(_("predicted Dice {dice:.2f}").format(dice=task.predicted_dice))
    heading = ", ".join(parts)
    return f"{heading}\n{task.reason}" if task.reason else heading


def countsText(found: dict[str, int], shown: int) -> str:
    """Return such as "12 waiting, 3 accepted; 12 of 15 shown"."""
    text = ", ".join(f"{count} {stateText(state)}" for state, count in found.items())
    total = sum(found.values())
    return text if shown == total else text + "; " + _("{shown} of {total} shown").format(shown=shown, total=total)


def heldText(task: Task) -> str:
    """Return why a task that is open cannot be changed by whoever looks: somebody has it, or it is decided or put aside."""
    who, since = task.reader or _("Another reader"), localTime(task.changed)
    if task.state in FINISHED:
        text = _("This task is {state} by {reader} since {since}: looking only. Reopen it to change it.")
    elif task.state in OWNED:
        text = _("{reader} has this task ({state}) since {since}: looking only.")
    elif task.assignee:
        text, who = _("This task waits for {reader}: looking only."), task.assignee
    else:
        text = _("This task is {state}. Open it again to go on with it.")
    return text.format(state=taskState(task), reader=who, since=since)


def localTime(text: str) -> str:
    """Return a UTC time as the reader's clock shows it."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text


def spotText(spot: Any, number: int, count: int) -> str:
    """Return one line about a hot spot."""
    parts = [spot.place] if spot.place else []
    parts.append(_("{volume:.2f} ml").format(volume=spot.volume_mm3 / 1000))
    if spot.inside_share >= _MOSTLY:
        parts.append(_("mask may be too large"))
    elif spot.inside_share <= 1 - _MOSTLY:
        parts.append(_("mask may be too small"))
    return _("Hot spot {number} of {count}: {words}").format(number=number, count=count, words=", ".join(parts))


def clockText(seconds: float) -> str:
    """Return such as 3:07."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def leftOverText(left: tuple[int, int, int], only: str = "") -> str:
    """Return what is said at the end of the list, of which a filter may leave something out (`only`)."""
    mine, others, aside = left
    said = _leftOver(mine, others, aside)
    return said + " " + _("Take only: {filter}.").format(filter=only) if only else said


def _leftOver(mine: int, others: int, aside: int) -> str:
    if mine:
        return _("End of the list. {count} unfinished tasks lie before this one.").format(count=mine)
    parts = [_("Nothing is left for you.")]
    if others:
        parts.append(_("{count} tasks are in the hands of other readers.").format(count=others))
    if aside:
        parts.append(_("{count} tasks are flagged or skipped.").format(count=aside))
    return " ".join(parts)
