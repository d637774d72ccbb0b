"""progress.html: how far a dataset is and who did it, in one file without scripts or references to anything outside."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from AtlasReviewLib import double_reading_statistics
from AtlasReviewLib.double_reading_statistics import Comparison
from AtlasReviewLib.in_words import counted
from AtlasReviewLib.remaining_error import RemainingError, remaining_error
from AtlasReviewLib.review_statistics import Key, Work, summed
from AtlasReviewLib.task_states import FINISHED, STATES, VERIFIED, VERIFY
from AtlasReviewLib.worklist_rows import Task
from AtlasSegmentLib.html_page import NOTHING, Content, Name, Number, page, paragraph, section, table, text

_PACE_DAYS = 7
_TITLES = {"dataset": "dataset", "day": "day (UTC)", "reader": "reader", "organ": "organ"}


@dataclass(frozen=True)
class Progress:
    """Where a review stands.

    Attributes:
        states: Number of tasks in each state.
        works: What was done, see `review_statistics.works_of`.
        made: Day of this page, UTC.
        remaining: Expected error of what is not decided.
        waiting: Number of tasks at each stage (see task_states.STAGES).
        comparisons: Of tasks that were read twice.
        not_compared: Tasks that are to be read twice and were not yet.
        decided: Number of tasks that became decided on each day, see `review_statistics.decided_days`.
    """

    states: Counter[str]
    works: list[Work]
    made: date
    remaining: RemainingError
    waiting: Counter[str] = field(default_factory=Counter)
    comparisons: Sequence[Comparison] = ()
    not_compared: int = 0
    decided: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(
        cls, tasks: Sequence[Task], works: list[Work], made: date, bound_ml: float | None = None, comparisons: Sequence[Comparison] = ()
    ) -> Progress:
        """Return it for tasks, what was done on them, the expected error that may stay (see remaining_error), and comparisons."""
        states, stages = Counter[str](task.state for task in tasks), Counter[str](task.stage for task in tasks)
        return cls(states, works, made, remaining_error(tasks, bound_ml), stages, comparisons)

    def team_told(self) -> str:
        """Return in one line what waits for others, "" where a reader decides alone."""
        parts = []
        if self.waiting[VERIFY] or self.waiting[VERIFIED]:
            waits = "waits" if self.waiting[VERIFY] == 1 else "wait"
            parts.append(f"{counted(self.waiting[VERIFY], 'task')} {waits} to be verified; {self.waiting[VERIFIED]} verified.")
        if self.comparisons or self.not_compared:
            left, agree = sum(one.open for one in self.comparisons), sum(one.measured.agree for one in self.comparisons)
            done = len(self.comparisons) - agree - left
            parts.append(f"Read twice: {counted(len(self.comparisons), 'task')} ({self.not_compared} to come).")
            parts.append(f"Of these: {agree} in agreement, {left} waiting for a third reader, {done} adjudicated.")
        return " ".join(parts)

    @property
    def total(self) -> int:
        """All tasks."""
        return sum(self.states.values())

    @property
    def finished(self) -> int:
        """Tasks that are decided."""
        return sum(self.states[state] for state in FINISHED)

    def decided_by_day(self) -> list[tuple[date, int]]:
        """Return (day, tasks that became decided on it) of every day from the first to the last, days without one too."""
        counts = Counter({date.fromisoformat(day): count for day, count in self.decided.items()})
        if not counts:
            return []
        first, last = min(counts), max(counts)
        return [(day, counts[day]) for day in (first + timedelta(n) for n in range((last - first).days + 1))]

    def expected_end(self) -> date | None:
        """Return when all is decided at the pace of the last seven days that saw decisions; None when nobody can say."""
        active = [(day, count) for day, count in self.decided_by_day() if count][-_PACE_DAYS:]
        left = self.total - self.finished
        if not active or not left:
            return None
        span = (active[-1][0] - active[0][0]).days + 1  # weekends between them count, as they will
        pace = sum(count for _, count in active) / span
        return self.made + timedelta(math.ceil(left / pace))


def progress_page(title: str, progress: Progress) -> bytes:
    """Return the page as UTF-8.

    Args:
        title: What was reviewed.
        progress: Where it stands.
    """
    states = ", ".join(f"{progress.states[state]} {state}" for state in STATES if progress.states[state]) or "no tasks"
    share = f"{progress.finished} of {progress.total} tasks decided" if progress.total else "no tasks"
    minutes = sum(work.minutes for work in progress.works)
    end = progress.expected_end()
    lines = [
        paragraph(f"{share} ({states}){f'; {minutes / 60:.1f} hours of active reading' if minutes else ''}."),
        paragraph(f"At the pace of the last days with decisions it ends on {end.isoformat()}." if end else "", "note") if end else "",
        paragraph(progress.remaining.told()) if progress.total else "",
        paragraph(progress.team_told()) if progress.team_told() else "",
        paragraph(f"Made on {progress.made.isoformat()} (UTC).", "note"),
    ]
    several = len({work.dataset for work in progress.works}) > 1
    parts: list[tuple[str, tuple[Key, ...]]] = [("Readers", ("reader",)), ("Organs", ("organ",)), ("Days", ("day",))]
    parts += [("Datasets", ("dataset",))] if several else []
    parts += [("Readers by organ", ("reader", "organ"))]
    tables = [section(name, work_table(summed(progress.works, by), by)) for name, by in parts]
    if progress.comparisons:
        tables.append(section("Agreement of two readings", agreement_table(progress.comparisons), _kappa_explained()))
    return page(title, [f"<h1>{text(title)}</h1>", *lines, section("Decisions over time", curve(progress)), *tables, _explained()])


def work_table(works: Sequence[Work], by: Sequence[Key]) -> str:
    """Return sums as a table, without the columns that say nothing of any of them; "" without any."""
    rows = [cells(work) for work in works]
    told = [column for column, name in enumerate(COLUMNS) if name not in _ONLY_IN_FILES]
    kept = [column for column in told if any(_says_something(row[column]) for row in rows)]
    head = [*(_TITLES[key] for key in by), *(_MAY_BREAK.get(COLUMNS[column], COLUMNS[column]) for column in kept)]
    names = [[Name(getattr(work, key) or NOTHING) for key in by] for work in works]
    return table(head, [[*name, *(row[column] for column in kept)] for name, row in zip(names, rows, strict=True)], wide=True)


_ONLY_IN_FILES = ("voxels changed",)
"""What the page leaves to the CSV: the volume says the same."""
_MAY_BREAK = {
    "revisions": "revi\u00adsions",
    "reopened": "re\u00adopened",
    "verifications": "verifi\u00adcations",
    "adjudicated": "adjudi\u00adcated",
    "Dice before/after": "Dice before / after",
}
"""Long words of the head, with the place where a line may end."""


def _says_something(cell: Content) -> bool:
    return not isinstance(cell, Number) or bool(cell.value)


def agreement_table(comparisons: Sequence[Comparison]) -> str:
    """Return how far readers agree, for each pair and organ, as a table."""
    rows = [*double_reading_statistics.summed(comparisons, by_organ=False), *double_reading_statistics.summed(comparisons)]
    names = [(Name(" and ".join(row.readers)), Name(row.organ or "all organs")) for row in rows]
    lines: list[list[Content]] = [[*name, *map(str, double_reading_statistics.cells(row))] for name, row in zip(names, rows, strict=True)]
    return table(["readers", "organ", *double_reading_statistics.COLUMNS], lines)


def _kappa_explained() -> str:
    return paragraph(
        "Dice and NSD (share of the surfaces within the tolerance of the policy) are means over tasks. Kappa is Cohen's, over whether each "
        "reader changed the mask at a hot spot, pooled over all hot spots of these tasks; unknown where both changed all of them or none.",
        "note",
    )


COLUMNS = (
    "tasks",
    "active minutes",
    "minutes per decision",
    "revisions",
    "accepted",
    "rejected",
    "flagged",
    "skipped",
    "reopened",
    "sent back",
    "verified",
    "verifications",
    "adjudicated",
    "voxels changed",
    "ml changed",
    "Dice before/after",
)


def cells(work: Work) -> list[Content]:
    """Return the numbers of one row, in the order of COLUMNS."""
    known = work.measured > 0
    return [
        Number(work.tasks),
        Number(work.minutes or None, 1),
        Number(work.minutes_each, 1),
        Number(work.revisions),
        *(Number(value) for value in (work.accepted, work.rejected, work.flagged, work.skipped, work.reopened, work.sent_back)),
        *(Number(value) for value in (work.verified, work.verifications, work.adjudicated)),
        Number(work.voxels if known else None),
        Number(work.ml if known else None, 1),
        Number(work.mean_dice, 3),
    ]


def curve(progress: Progress, width: int = 900, height: int = 220) -> str:
    """Return decided tasks over the days as an SVG inside the page; a sentence where nothing is decided."""
    days = progress.decided_by_day()
    if len(days) < 2:
        told = [f"{counted(count, 'task')} became decided, all on {day.isoformat()}." for day, count in days]
        return paragraph("".join(told) or "Nothing is decided yet.", "note")
    points, sum_ = [(0.0, 0)], 0
    for number, (_, count) in enumerate(days, start=1):
        sum_ += count
        points.append((number / len(days), sum_))
    top = max(progress.total, sum_)
    left, bottom = 50, height - 30
    line = " ".join(f"{left + x * (width - left - 10):.1f},{bottom - y / top * (bottom - 10):.1f}" for x, y in points)
    labels = "".join(
        f'<text x="{left - 6}" y="{bottom - share * (bottom - 10) + 4:.0f}" text-anchor="end">{round(top * share)}</text>'
        for share in (0, 0.5, 1)
    )
    ends = (
        f'<text x="{left}" y="{height - 8}">{days[0][0].isoformat()}</text>'
        f'<text x="{width - 10}" y="{height - 8}" text-anchor="end">{days[-1][0].isoformat()}</text>'
    )
    axes = f'<polyline points="{left},10 {left},{bottom} {width - 10},{bottom}" fill="none" stroke="#8a939c"/>'
    described = f"{sum_} tasks decided from {days[0][0].isoformat()} to {days[-1][0].isoformat()}, of {progress.total}"
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(described)}" font-size="12" fill="#1b1f24">'
        f'{axes}<polyline points="{line}" fill="none" stroke="#1f6feb" stroke-width="2"/>{labels}{ends}</svg>'
        + paragraph("Tasks that are decided now, by the day on which they became so; the top of the scale is all tasks.", "note")
    )


def _explained() -> str:
    return section(
        "What the columns mean",
        paragraph(
            "Active minutes count while the reader does something, not while the panel stands open; a dash where nobody counted them, as "
            "for work in another program. Accepted, rejected and so on are decisions: a task that was decided again counts again. Columns "
            "without anything are left out. Sent back: own work that somebody else rejected or sent back; verified: own work that a senior "
            "accepted; verifications: work of others that this reader verified or sent back; adjudicated: disagreements of others that "
            "this reader decided. Changed volume and Dice compare each saved mask with the one it was made from (only where both are "
            "there); a Dice near 1 means little was to be done, not that the result is good."
        ),
    )
