"""The order of looking as files: AbdomenAtlas' priority.csv and attention_size.csv, and the whole list as a table."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AtlasQualityLib.csv_text import csv_text, no_formula
from AtlasQualityLib.priority import read_scores
from AtlasReviewLib.revision_log import restored
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_findings import base_reason, with_finding
from AtlasReviewLib.worklist_rows import NUMBERS, PROGRAM, Row, Task
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.files import write_text
from AtlasSegmentLib.geometry import orientation_of
from AtlasSegmentLib.nifti import read_grid

PRIORITY, ATTENTION_SIZE = "priority", "attention-size"
FORMS = (PRIORITY, ATTENTION_SIZE)
_SHOWN = 10
"""Names that are said in a message."""
TABLE_COLUMNS = (
    *("rank", "case", "organ", "state", "reader", "assignee", "priority", "attention_mm3", "expected_error_mm3", "minutes"),
    *("predicted_dice", "active_seconds", "comment", "revision", "changed", "lease_until", "level", "round", "reading", "stage", "reason"),
)


@dataclass(frozen=True)
class Imported:
    """What came of a list that was read.

    Attributes:
        ranked: Tasks that have a place in the order now.
        unranked: Tasks that the list does not name; they come after all others.
        unknown: Names in the list that are not in the worklist.
    """

    ranked: int
    unranked: int
    unknown: tuple[str, ...]


def table_text(tasks: Iterable[Task]) -> str:
    """Return tasks as CSV text with a header; cells that a spreadsheet would run are made harmless, unknown numbers are empty."""
    rows = [[_cell(getattr(task, name)) for name in TABLE_COLUMNS] for task in tasks]
    return csv_text([TABLE_COLUMNS, *rows])


def _cell(value: Any) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        value = "".join(letter if letter.isprintable() else " " for letter in value).strip()  # no line break, no command for a terminal
    return no_formula(value)


def export_list(worklist: Worklist, form: str, file: Path) -> int:
    """Write the order of looking as AbdomenAtlas does; return the number of lines.

    "priority": one line `case,organ,organ,...` for each case, the case with the first task first; organs without a rank are left out.
    "attention-size": `case,value`, largest first; the value is the sum of all heat maps (0..1) of the case by its number of slices.

    Raises:
        InputError: There is no such form.
        StorageError: The file cannot be written.
    """
    if form == PRIORITY:
        organs: dict[str, list[str]] = {}
        for task in worklist.tasks():
            if task.rank is not None:
                organs.setdefault(task.case, []).append(task.organ)
        rows: list[list[object]] = [[case, *names] for case, names in organs.items()]
    elif form == ATTENTION_SIZE:
        sizes = {case: attention_size(worklist.folder / case) for case in sorted({task.case for task in worklist.tasks()})}
        known = [(case, size) for case, size in sizes.items() if size is not None]
        rows = [[case, size] for case, size in sorted(known, key=lambda pair: -pair[1])]
    else:
        raise _no_form(form)
    write_text(file, csv_text([[no_formula(cell) for cell in row] for row in rows]))
    return len(rows)


def attention_size(case_folder: Path) -> float | None:
    """Return AbdomenAtlas' attention size of a case, None where no attention was computed or the CT cannot be read.

    Heat maps are stored as bytes of 0..1, so their sum is theirs by 255. Slices are counted along the axis that runs from feet to
    head, whatever the order of the array.
    """
    try:
        case = open_case(case_folder)
        heat = sum(organ.heat_sum for organ in read_scores(case).organs)
        grid = read_grid(case.ct)
    except AtlasError:
        return None
    axis = next(axis for axis, letter in enumerate(orientation_of(grid.affine)) if letter in "SI")
    return heat / 255 / grid.shape[axis]


def import_list(worklist: Worklist, form: str, file: Path, *, known_only: bool = True) -> Imported:
    """Let a list say the order of looking, until `use_scores`; tasks that it does not name come last.

    "priority": cases and the organs of each in the order of the file. "attention-size": cases by their value; the organs of each in
    the order that they have now.

    Args:
        worklist: The list whose order it is.
        form: One of FORMS.
        file: The list.
        known_only: Pass over names that are not in the worklist.

    Raises:
        InputError: The file cannot be read, has another form, names something twice, or names no task of the worklist; or one that is not
            in it, without `known_only`. Nothing is changed then.
        StorageError: The worklist cannot be written.
    """
    lines = _read(file)
    if form not in FORMS:
        raise _no_form(form)
    worklist.require_writable()
    with worklist.store.writing() as db:
        db.alone()
        rows = db.rows()
        known = {(row["case_name"], row["organ"]): row for row in rows if row["present"]}
        order, unknown = _by_organ(lines, file, known) if form == PRIORITY else _by_case(lines, file, known)
        if not order:
            message = f"{file}: names no task of this worklist."
            raise InputError(message, "Give a list of this dataset, with the names of its case folders.")
        if unknown and not known_only:
            raise _not_there(file, unknown)
        db.set_many([_placed(row, order, file.name) for row in rows])
        db.append(PROGRAM, "", "", "list", comment=f"{len(order)} tasks ordered by {file.name}")
    return Imported(len(order), len(known) - len(order), tuple(unknown))


def _not_there(file: Path, unknown: Sequence[str]) -> InputError:
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    message = f"{file}: names what is not in the worklist: {', '.join(unknown[:_SHOWN])}{more}; nothing was changed."
    return InputError(message, "Correct the names, or pass these over with --known-only.")


def use_scores(worklist: Worklist) -> int:
    """Forget an imported list, so that the next `merge` ranks by the scores of the cases; return how many tasks it had placed."""
    worklist.require_writable()
    with worklist.store.writing() as db:
        db.alone()
        listed = [row for row in db.rows() if row["ranked_by"]]
        db.set_many([{"case_name": row["case_name"], "organ": row["organ"], "ranked_by": ""} for row in listed])
        if listed:
            db.append(PROGRAM, "", "", "list", comment="ordered by scores again")
    return len(listed)


_Order = dict[tuple[str, str], tuple[int, float | None]]
_Known = dict[tuple[str, str], Row]


def _by_organ(lines: Sequence[Sequence[str]], file: Path, known: _Known) -> tuple[_Order, list[str]]:
    order: _Order = {}
    unknown: list[str] = []
    seen: set[str] = set()
    for case, *organs in lines:
        if case in seen or len({*organs}) < len(organs):
            message = f"{file}: names {case} twice, or one of its organs."
            raise InputError(message, "Remove the lines that repeat others.")
        seen.add(case)
        for organ in organs:
            if (case, organ) in known:
                order[case, organ] = (len(order) + 1, None)
            else:
                unknown.append(f"{case} {organ}")
    return order, unknown


def _by_case(lines: Sequence[Sequence[str]], file: Path, known: _Known) -> tuple[_Order, list[str]]:
    sizes: dict[str, float] = {}
    for line in lines:
        if len(line) != 2 or line[0] in sizes or not _is_number(line[1]):
            message = f"{file}: the line {','.join(line)!r} is not `case,value` with a number, or repeats a case."
            raise InputError(message, "Give one line for each case.")
        sizes[line[0]] = float(line[1])
    organs: dict[str, list[str]] = {}
    for case, organ in known:  # in the order of looking
        organs.setdefault(case, []).append(organ)
    order: _Order = {}
    for case in sorted(sizes, key=lambda name: (-sizes[name], name)):
        for organ in organs.get(case, []):
            order[case, organ] = (len(order) + 1, sizes[case])
    return order, [case for case in sizes if case not in organs]


def _placed(row: Row, order: _Order, name: str) -> dict[str, Any]:
    rank, priority = order.get((row["case_name"], row["organ"]), (None, None))
    before = base_reason(row)
    base = before if before.startswith("added by ") else "" if rank is not None else f"is not in {name}"
    reason = with_finding(base, row["finding"])
    return {"case_name": row["case_name"], "organ": row["organ"], "rank": rank, NUMBERS[0]: priority, "reason": reason, "ranked_by": name}


def _read(file: Path) -> list[list[str]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        lines = [[restored(cell.strip()) for cell in line if cell.strip()] for line in csv.reader(text.splitlines(), strict=True)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"{file}: cannot be read as a list ({error})."
        raise InputError(message, "Give a CSV file in UTF-8.") from error
    return [line for line in lines if line]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _no_form(form: str) -> InputError:
    message = f"{form!r} is no form of a list."
    return InputError(message, f"Use one of {', '.join(FORMS)}.")
