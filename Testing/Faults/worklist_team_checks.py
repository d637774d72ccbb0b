"""A worklist after a review by a team: verification, two readings and adjudication held against rows, history and files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from AtlasReviewLib.doctor_history import check_history
from AtlasReviewLib.double_reading import CHOSEN
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.revision_files import ENDING, is_revision, split_id
from AtlasReviewLib.revision_log import read_log
from AtlasReviewLib.revisions import LOG_NAME
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_rows import Event, Row, has_read
from AtlasReviewLib.worklist_rules import ADJUDICATED_EVENT, AGREE, DISAGREE, VERIFIED_EVENT
from AtlasSegmentLib.case_folder import CaseFolder
from Faults.worklist_checks import Report, noted

Pairs = dict[tuple[str, str], dict[int, Row]]


def check_team(worklist: Worklist, notes: Path, report: Report) -> None:
    """Add to a report what must not be in a team's list, and how often everything happened."""
    by_task: Pairs = defaultdict(dict)
    with worklist.store.reading() as db:
        for row in db.rows():
            by_task[row["case_name"], row["organ"]][row["reading"]] = row
    pairs = {key: rows for key, rows in by_task.items() if len(rows) == 2}
    events, lines = worklist.events(), noted(notes)
    problems = report.problems
    problems += _both_readings(pairs)
    problems += _own_work(by_task, events)
    problems += _compared(pairs, events)
    problems += [problem for (case, organ), rows in pairs.items() for problem in _revisions(worklist.folder / case, organ, rows)]
    problems += [f"two changes of the list waited for each other at {line[0]}" for line in lines if line[-1] == "deadlock"]
    problems += [" ".join(map(str, line[3:])) for line in lines if line[1] == "error"]
    problems += [" ".join(map(str, told)) for told in check_history(worklist.every_task(), events)]
    died = Counter(str(line[3]) for line in lines if line[1] == "died")
    report.figures |= {"pairs": len(pairs), **{f"died in {where}": count for where, count in died.items()}}


def _both_readings(pairs: Pairs) -> Iterator[str]:
    for key, rows in pairs.items():
        both = {*rows[1]["readers"].split("\n")} & {*rows[2]["readers"].split("\n")} - {""}
        if both:
            yield f"{key}: {', '.join(sorted(both))} had both readings"


def _own_work(by_task: Pairs, events: list[Event]) -> Iterator[str]:
    for event in events:
        if event.kind in (VERIFIED_EVENT, ADJUDICATED_EVENT):
            rows = by_task[event.case, event.organ].values()
            if any(has_read(row, event.reader) for row in rows):
                yield f"{event.case} {event.organ}: was {event.kind} by {event.reader}, who had read it"


def _compared(pairs: Pairs, events: list[Event]) -> Iterator[str]:
    found = Counter((event.case, event.organ) for event in events if event.kind in (AGREE, DISAGREE))
    for key, rows in pairs.items():
        if found[key] != 1 or not rows[1]["measured"]:
            yield f"{key}: its two readings were compared {found[key]} times"
    yield from (f"{key}: is no pair, and was compared" for key in found.keys() - pairs.keys())


def _revisions(case: Path, organ: str, rows: dict[int, Row]) -> Iterator[str]:
    """Yield what is wrong with where the masks of two readings lie."""
    folders = [reading_case(CaseFolder(case), reading).average.revisions(organ) for reading in (1, 2)]
    first, second = ({*_ids(folder)} for folder in folders)
    chosen = {entry.file.removesuffix(ENDING) for entry in read_log(folders[0] / LOG_NAME) if entry.comment.startswith(CHOSEN)}
    where = f"{case.name} {organ}"
    yield from (f"{where}: {name} is in both folders" for name in first & second)
    yield from (
        f"{where}: {name} of the second reading lies with the first" for name in first - chosen if has_read(rows[2], split_id(name)[1])
    )
    yield from (f"{where}: {name} lies with the second reading" for name in second if not has_read(rows[2], split_id(name)[1]))
    if rows[2]["revision"] and rows[2]["revision"] not in second:
        yield f"{where}: {rows[2]['revision']} of the second reading is not in its folder"


def _ids(folder: Path) -> Iterator[str]:
    return (path.name.removesuffix(".nii.gz") for path in folder.glob("*.nii.gz") if is_revision(path))
