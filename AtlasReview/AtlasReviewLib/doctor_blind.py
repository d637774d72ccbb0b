"""What doctor says of tasks that two readers do, blind to each other: the task and the reading, but not whose, before both are done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.revision_files import ENDING, split_id
from AtlasReviewLib.revision_log import read_log
from AtlasReviewLib.revisions import LOG_NAME
from AtlasReviewLib.worklist_rows import Event, Task
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError

Key = tuple[str, str]
SOMEBODY = "a reader"


def blind_tasks(tasks: Iterable[Task]) -> frozenset[Key]:
    """Return (case, organ) of the tasks whose two readings are not both done; of tasks as `Worklist.every_task` gives them."""
    by_key = {(task.case, task.organ, task.reading): task for task in tasks}
    return frozenset((case, organ) for case, organ, reading in by_key if reading > 1 and not _is_measured(by_key.get((case, organ, 1))))


def _is_measured(first: Task | None) -> bool:
    return first is None or bool(first.measured)


def where_of(case: str, organ: str, reading: int) -> str:
    """Return how a finding names a task."""
    return f"{case}, {organ}" if reading == 1 else f"{case}, {organ}, second reading"


class Nameless:
    """Takes the names of readers out of the ids of revisions in what is said of blind readings.

    Args:
        cases: Name to case.
        blind: As `blind_tasks`.
        tasks, events: Of the worklist.
    """

    def __init__(self, cases: Mapping[str, CaseFolder], blind: Collection[Key], tasks: Iterable[Task], events: Iterable[Event]) -> None:
        self._times: dict[str, str] = {}
        ids = {task.revision for task in tasks if (task.case, task.organ) in blind}
        ids |= {event.revision for event in events if (event.case, event.organ) in blind}
        for case, organ in blind:
            ids |= set(_ids_on_disk(cases[case], organ)) if case in cases else set()
        for name in ids:
            time, reader = split_id(name)
            if reader:
                self._times[name] = time

    def text(self, text: str) -> str:
        """Return a text with the times of these revisions in place of their ids."""
        for name in sorted(self._times, key=len, reverse=True):  # "..._Ada B" before "..._Ada"
            text = text.replace(name, self._times[name])
        return text


def _ids_on_disk(case: CaseFolder, organ: str) -> Iterator[str]:
    for reading in (1, 2):
        try:
            folder = reading_case(case, reading).average.revisions(organ)
            yield from (path.name.removesuffix(ENDING) for path in folder.glob(f"*{ENDING}"))
            yield from (entry.file.removesuffix(ENDING) for entry in read_log(folder / LOG_NAME))
        except (AtlasError, OSError):
            continue
