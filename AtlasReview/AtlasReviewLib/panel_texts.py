"""Words of the review panel."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from AtlasReviewLib.task_states import ACCEPTED, FLAGGED, REJECTED, REVISED, SKIPPED, TAKEN, WAITING
from AtlasReviewLib.worklist_rows import Task
from AtlasReviewLib.worklist_view import ALL, UNFINISHED, known

_MOSTLY = 0.75


def stateText(state: str) -> str:
    """Return the name of a state or of a filter."""
    names = {
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
    return names.get(state, state)


def taskDetails(task: Task) -> str:
    """Return what is known of a task, one line each."""
    lines = [f"{task.case}, {task.organ}"]
    if task.rank is None:
        lines.append(_("No priority: {reason}").format(reason=task.reason))
    if known(task.attention_mm3):
        lines.append(_("Attention: {volume:.2f} ml").format(volume=task.attention_mm3 / 1000))
    if known(task.expected_error_mm3):
        lines.append(_("Expected error: {volume:.2f} ml").format(volume=task.expected_error_mm3 / 1000))
    if known(task.minutes):
        lines.append(_("Expected editing time: {minutes:.1f} min").format(minutes=task.minutes))
    if known(task.predicted_dice):
        lines.append(_("Predicted Dice: {dice:.3f}").format(dice=task.predicted_dice))
    if task.active_seconds >= 1:
        lines.append(_("Active time: {time}").format(time=clockText(task.active_seconds)))
    if task.comment:
        lines.append(_("Comment: {text}").format(text=task.comment))
    return "\n".join(lines)


def taskHeading(task: Task) -> str:
    """Return one line about the open task."""
    parts = [f"{task.case}: {task.organ}", stateText(task.state)]
    if known(task.attention_mm3):
        parts.append(_("attention {volume:.2f} ml").format(volume=task.attention_mm3 / 1000))
    if known(task.predicted_dice):
        parts.append(_("predicted Dice {dice:.2f}").format(dice=task.predicted_dice))
    return ", ".join(parts)


def countsText(found: dict[str, int], hidden: int) -> str:
    """Return such as "12 waiting, 3 accepted"."""
    text = ", ".join(f"{count} {stateText(state)}" for state, count in found.items())
    if hidden:
        text += "\n" + _("{count} more match: search to narrow them down").format(count=hidden)
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


def leftOverText(left: tuple[int, int, int]) -> str:
    """Return what is said at the end of the list."""
    mine, others, aside = left
    if mine:
        return _("End of the list. {count} unfinished tasks lie before this one.").format(count=mine)
    parts = [_("Nothing is left for you.")]
    if others:
        parts.append(_("{count} tasks are in the hands of other readers.").format(count=others))
    if aside:
        parts.append(_("{count} tasks are flagged or skipped.").format(count=aside))
    return " ".join(parts)
