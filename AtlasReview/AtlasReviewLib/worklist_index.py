"""All tasks of a worklist in memory: filtered, searched, sorted and walked through in milliseconds, also when there are 100,000.

Names are kept as numbers beside the tasks, so that a search looks at each name once and not at each task. Rows of a table are
positions in `tasks`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from AtlasReviewLib.task_states import ADJUDICATE, ASIDE, FINISHED, OPEN, OWNED, STAGES, STATES, VERIFY, WAITING
from AtlasReviewLib.worklist_rows import ANY, Task, TaskFilter
from AtlasReviewLib.worklist_view import ALL, ANY_LEVEL, UNFINISHED, folded, natural

Rows = npt.NDArray[np.intp]
"""Positions of tasks, in the order of a table."""
Mask = npt.NDArray[np.bool_]
_NO_RANK = np.iinfo(np.int64).max


class _Names:
    """Texts with a number each, in the order in which they came."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self._folded: list[str] = []
        self._searched: list[str] = []

    def code(self, name: str) -> int:
        """Return the number of a name."""
        return self.codes.setdefault(name, len(self.codes))

    def among(self, names: Iterable[str]) -> Mask:
        """Return for each number whether its name is one of these."""
        found = np.zeros(len(self.codes), bool)
        found[[self.codes[name] for name in names if name in self.codes]] = True
        return found

    def containing(self, word: str) -> Mask:
        """Return for each number whether the folded name holds a folded word; an underscore is a space too."""
        self._fold()
        return np.fromiter((word in text for text in self._searched), bool, len(self._searched))

    def matching(self, word: str) -> list[str]:
        """Return the names that are a word, in which * stands for any characters and a space for an underscore too."""
        self._fold()
        wanted = folded(word)
        pattern = re.compile(fnmatch.translate(wanted)) if "*" in wanted else None
        same = (wanted, wanted.replace(" ", "_"))
        found = zip(self.codes, self._folded, strict=True)
        return [name for name, text in found if text in same or (pattern is not None and pattern.match(text))]

    def _fold(self) -> None:
        for name in list(self.codes)[len(self._folded) :]:
            text = folded(name)
            self._folded.append(text)
            self._searched.append(f"{text} {text.replace('_', ' ')}" if "_" in text else text)

    def order(self, key: Callable[[str], object]) -> npt.NDArray[np.int32]:
        """Return for each number the place of its name among all, sorted by a key; equal keys share a place."""
        keys = [key(name) for name in self.codes]
        places = {found: place for place, found in enumerate(sorted(set(keys)))}  # type: ignore[type-var]
        return np.fromiter((places[found] for found in keys), np.int32, len(keys))


class WorklistIndex:
    """The tasks of a worklist.

    Args:
        tasks: In the order of looking, as `Worklist.tasks` gives them.

    Attributes:
        expected_error_mm3, minutes: Of the task at each position, NaN where not known.
    """

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self._tasks = list(tasks)
        count = len(self._tasks)
        self._places = {task.id: place for place, task in enumerate(self._tasks)}
        self._case_names, self._organ_names, self._reader_names = _Names(), _Names(), _Names()
        self._reader_names.code("")
        case, organ, reader = self._case_names.code, self._organ_names.code, self._reader_names.code
        self._case = np.fromiter((case(task.case) for task in self._tasks), np.int32, count)
        self._organ = np.fromiter((organ(task.organ) for task in self._tasks), np.int32, count)
        self._reader = np.fromiter((reader(task.reader) for task in self._tasks), np.int32, count)
        self._assignee = np.fromiter((reader(task.assignee) for task in self._tasks), np.int32, count)
        self._author = np.fromiter((reader(task.author) for task in self._tasks), np.int32, count)
        self._state = np.fromiter((STATES.index(task.state) for task in self._tasks), np.int8, count)
        self._stage = np.fromiter((STAGES.index(task.stage) for task in self._tasks), np.int8, count)
        self._present = np.ones(count, bool)
        self._level = np.fromiter((task.level for task in self._tasks), np.int32, count)
        self._rank = np.fromiter((_NO_RANK if task.rank is None else task.rank for task in self._tasks), np.int64, count)
        self.expected_error_mm3 = np.fromiter((task.expected_error_mm3 for task in self._tasks), np.float64, count)
        self.minutes = np.fromiter((task.minutes for task in self._tasks), np.float64, count)
        self._case_order, self._organ_order = self._case_names.order(natural), self._organ_names.order(str)
        self._looking = np.arange(count)  # positions in the order of looking
        self._turn = self._looking  # and the place of each position in it

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def tasks(self) -> Sequence[Task]:
        """All tasks at their positions, also those that were taken out."""
        return self._tasks

    def of_organs(self, values: Mapping[str, float], others: float) -> npt.NDArray[np.float64]:
        """Return for each position the value of its organ, or what all other organs have."""
        known = np.array([values.get(name, others) for name in self._organ_names.codes], np.float64)
        return np.asarray(known[self._organ], np.float64)

    @property
    def unfinished(self) -> Mask:
        """For each position whether its task is there and not decided."""
        return np.asarray(_in_states(UNFINISHED)[self._state] & self._present)

    @property
    def readers(self) -> list[str]:
        """Everybody who has, decided or is to get a task, by name."""
        return sorted((name for name in self._reader_names.codes if name), key=folded)

    @property
    def most_level(self) -> int:
        """The highest level of a task; 1 without any."""
        return int(self._level.max(initial=1))

    def place(self, task: Task | None) -> int:
        """Return the position of a task, -1 when it is none of these."""
        place = -1 if task is None else self._places.get(task.id, -1)
        return place if place >= 0 and self._present[place] else -1

    def update(self, changed: Iterable[Task]) -> bool:
        """Take over tasks as they are now; those that are not present are taken out.

        Returns:
            False when one came that was not among these: then the list has to be read again.
        """
        known, moved = True, False
        for task in changed:
            place = self._places.get(task.id, -1)
            if place < 0:
                known = known and not task.present
                continue
            before = self._turn_key(place)
            self._tasks[place], self._present[place] = task, task.present
            self._reader[place], self._assignee[place], self._author[place] = map(
                self._reader_names.code, (task.reader, task.assignee, task.author)
            )
            self._state[place], self._stage[place], self._level[place] = STATES.index(task.state), STAGES.index(task.stage), task.level
            self._rank[place] = _NO_RANK if task.rank is None else task.rank
            self.expected_error_mm3[place], self.minutes[place] = task.expected_error_mm3, task.minutes
            moved = moved or before != self._turn_key(place)
        if moved:
            self._order()
        return known

    def _turn_key(self, place: int) -> tuple[bool, int]:
        return bool(self._stage[place] == STAGES.index(ADJUDICATE)), int(self._rank[place])

    def _order(self) -> None:
        """Find the order of looking anew: what has to be adjudicated, then by rank, then by name."""
        names = (self._organ_names.order(str)[self._organ], self._case_names.order(str)[self._case])
        self._looking = np.lexsort((*names, self._rank, self._stage != STAGES.index(ADJUDICATE)))
        self._turn = np.argsort(self._looking)

    def find(
        self, states: str = UNFINISHED, search: str = "", column: str = "rank", descending: bool = False, only: TaskFilter = ANY
    ) -> Rows:
        """Return the positions of the tasks that match, in order.

        Args:
            states: One of `worklist_view.FILTERS`.
            search: Words that must all be part of case, organ, state, stage or reader; case and accents do not count.
            column: One of `worklist_view.COLUMNS` to sort by; "rank" is the order of looking.
            descending: Turn the order around.
            only: Which organs, cases and level.
        """
        kept = _in_states(states)[self._state] & self._wanted(only)
        for word in folded(search).split():
            kept &= self._holding(word)
        rows = self._looking[kept[self._looking]]
        if column != "rank":
            rows = rows[np.argsort(self._keys(column)[rows], kind="stable")]
        return rows[::-1] if descending else rows

    def _holding(self, word: str) -> Mask:
        states, stages = (np.array([word in name for name in names]) for names in (STATES, STAGES))
        named = self._case_names.containing(word)[self._case] | self._organ_names.containing(word)[self._organ]
        return np.asarray(named | self._reader_names.containing(word)[self._reader] | states[self._state] | stages[self._stage])

    def _keys(self, column: str) -> npt.NDArray[np.integer]:
        if column == "case":
            return self._case_order[self._case]
        if column == "organ":
            return self._organ_order[self._organ]
        if column == "reader":
            return self._reader_names.order(folded)[self._reader]
        return self._level if column == "level" else self._state

    def _wanted(self, only: TaskFilter) -> Mask:
        kept = self._present.copy()
        if only.organs:
            kept &= self._organ_names.among(only.organs)[self._organ]
        if only.cases:
            kept &= self._case_names.among(only.cases)[self._case]
        if only.level is not None:
            kept &= self._level == only.level
        return kept

    def neighbor(
        self, rows: Rows, current: Task | None, step: int, reader: str = "", level: int = ANY_LEVEL, unfinished: bool = False
    ) -> Task | None:
        """Return the task that comes after (step 1) or before (-1) the current one, or None at the end of the list.

        Args:
            rows: The list that is walked through. The current task may be missing in it, such as after a verdict: then the place
                where it would be in the order of looking counts.
            current: The task that is open, or None to begin at the start (or the end).
            step: 1 or -1.
            reader: Who asks.
            level: Up to which level they may decide tasks.
            unfinished: Pass over tasks that are finished, put aside, or in the hands of another reader.
        """
        place = self.place(current)
        if place < 0:
            after, before = rows, rows
        else:
            found = np.flatnonzero(rows == place)
            row = int(found[0]) if len(found) else int(np.count_nonzero(self._turn[rows] < self._turn[place]))
            after, before = rows[row + len(found) :], rows[:row]
        ahead = after if step > 0 else before[::-1]
        if unfinished:
            ahead = ahead[self._open_for(reader, level)[ahead]]
        return self._tasks[int(ahead[0])] if len(ahead) else None

    def _open_for(self, reader: str, level: int) -> Mask:
        """Return for each task what `worklist_view.can_continue` says."""
        nobody, me = self._reader_names.codes[""], self._reader_names.codes.get(reader, -1)
        verify, adjudicate = (self._stage == STAGES.index(stage) for stage in (VERIFY, ADJUDICATE))
        own = verify & (self._author == me) | adjudicate & (self._author != nobody)
        free = ((self._assignee == nobody) | (self._assignee == me)) & (self._level <= level) & ~own
        return np.asarray((self._state == STATES.index(WAITING)) & free | _in(OWNED)[self._state] & (self._reader == me))

    def counts(self) -> dict[str, int]:
        """Return state to number of tasks, in the order of STATES; states without a task are left out."""
        numbers = np.bincount(self._state[self._present], minlength=len(STATES))
        return {state: int(number) for state, number in zip(STATES, numbers, strict=True) if number}

    def left_over(self, reader: str, level: int = ANY_LEVEL, without: Task | None = None, only: TaskFilter = ANY) -> tuple[int, int, int]:
        """Return how many tasks nobody finished: open for this reader, in other hands, put aside."""
        kept = self._wanted(only)
        if self.place(without) >= 0:
            kept[self.place(without)] = False
        mine = self._open_for(reader, level)
        open_for_others, aside = _in(OPEN)[self._state] & ~mine, _in(ASIDE)[self._state]
        return _count(kept & mine), _count(kept & open_for_others), _count(kept & aside)

    def organs_of(self, case: str) -> list[str]:
        """Return the organs of a case that have a task, by name."""
        rows = np.flatnonzero(self._case_names.among([case])[self._case] & self._present)
        return sorted({self._tasks[int(place)].organ for place in rows})

    def cases_named(self, word: str) -> list[str]:
        """Return the cases whose name is a word, in which * stands for any characters."""
        return self._case_names.matching(word)

    def organs_named(self, word: str) -> list[str]:
        """Return the organs whose name is a word, in which * stands for any characters."""
        return self._organ_names.matching(word)

    @property
    def organs(self) -> list[str]:
        """The names of all organs."""
        return sorted(self._organ_names.codes)

    def named(self, case: str, organ: str) -> Task | None:
        """Return the task of an organ of a case; of two readings the one that is shown, of two that are shown the first."""
        rows = np.flatnonzero(self._case_names.among([case])[self._case] & self._organ_names.among([organ])[self._organ] & self._present)
        return min((self._tasks[int(place)] for place in rows), key=lambda task: task.reading, default=None)


def _count(found: Mask) -> int:
    return int(np.count_nonzero(found))


def _in(states: Iterable[str]) -> Mask:
    wanted = {*states}
    return np.array([state in wanted for state in STATES])


def _in_states(states: str) -> Mask:
    if states == ALL:
        return np.ones(len(STATES), bool)
    return ~_in(FINISHED) if states == UNFINISHED else _in([states])
