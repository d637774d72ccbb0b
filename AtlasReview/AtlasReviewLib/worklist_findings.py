"""What `atlas check` found, as places in the worklist: tasks with a finding come earlier and say why; organs without a task get one.

A finding raises a task by points from 0 to 1 (checks_finding.Bonus), added to its place in the order of looking as a number from 0
(the last one, or none) to 1 (the first one). The last findings that were given count until others are. Where a list was imported, its order
stays and the finding is told. Whatever a table of findings holds, it names cases and organs of this dataset or is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from AtlasQualityLib.checks_finding import Finding, read_findings, worklist_bonus
from AtlasReviewLib.organ_names import known_organ
from AtlasReviewLib.task_states import WAITING
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_rows import PROGRAM, Changes, Row
from AtlasReviewLib.worklist_scan import FoundTask, Scan
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, InputError

ADDED = "added by atlas check"
_MOST_LETTERS = 300
Key = tuple[str, str]


@dataclass(frozen=True)
class Applied:
    """What came of findings.

    Attributes:
        raised: Tasks that have a finding now.
        added: Tasks that were added.
        problems: Findings that concern no case or organ of this dataset, one sentence each.
    """

    raised: int
    added: int
    problems: tuple[str, ...] = ()


def read_findings_file(path: Path) -> list[Finding]:
    """Read what `atlas check --out` wrote.

    Raises:
        InputError: It cannot be read, or is not that.
    """
    try:
        return read_findings(Path(path).read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: cannot be read as a table of findings ({error})."
        raise InputError(message, "Make one with: atlas check DATASET --out FILE.") from error


def apply_findings(worklist: Worklist, findings: Iterable[Finding]) -> Applied:
    """Note findings with the tasks that they concern, and forget the ones before; the next `merge` places the tasks.

    Raises:
        StorageError: The worklist cannot be written.
    """
    worklist.require_writable()
    with worklist.store.writing() as db:
        db.alone()
        rows = {(row["case_name"], row["organ"]): row for row in db.rows() if row["reading"] == 1 and row["present"]}
        named, problems = _by_task(worklist.folder, findings, rows)
        new = [key for key in named if key not in rows]
        time = db.time()
        for case, organ in new:
            values: Changes = {"case_name": case, "organ": organ, "reason": ADDED, "changed": time}
            if db.add(values):
                db.append(PROGRAM, case, organ, "add", state_after=WAITING, comment=ADDED)
        old = {key: base_reason(row) for key, row in rows.items() if row["bonus"] or key in named}
        changed = {**dict.fromkeys(new, ADDED), **old}
        db.set_many([_columns(key, base, named) for key, base in changed.items()])
        if changed:
            db.append(PROGRAM, "", "", "findings", comment=f"{len(named)} tasks, {len(new)} of them new")
    return Applied(len(named), len(new), tuple(problems))


def _columns(key: Key, base: str, named: dict[Key, tuple[float, str]]) -> dict[str, str | float]:
    points, text = named.get(key, (0.0, ""))
    return {"case_name": key[0], "organ": key[1], "bonus": points, "finding": text, "reason": with_finding(base, text)}


def _by_task(folder: Path, findings: Iterable[Finding], rows: dict[Key, Row]) -> tuple[dict[Key, tuple[float, str]], list[str]]:
    """Return (case, organ) to points and words; what concerns a whole case counts for each of its organs."""
    cases: dict[str, list[str]] = {}
    for case, organ in rows:
        cases.setdefault(case, []).append(organ)
    found: dict[Key, tuple[float, str]] = {}
    problems = []
    own = folder.resolve().name
    for (dataset, case, organ), bonus in worklist_bonus(findings).items():
        if dataset != own or case not in cases:
            problems.append(f"{_shown(f'{dataset}/{case}')}: is no case of this worklist; its findings are passed over.")
            continue
        try:
            organs = [known_organ(CaseFolder(folder / case), organ)] if organ else cases[case]
        except AtlasError as error:
            problems.append(_shown(error.message))
            continue
        for name in organs:
            points, text = found.get((case, name), (0.0, ""))
            found[case, name] = (round(1 - (1 - points) * (1 - bonus.points), 6), _shown(f"{text} {bonus.reason}".strip()))
    return found, problems


def _shown(text: str) -> str:
    """Return text of a table on one line without anything that is no letter, as long as a tool tip can be."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= _MOST_LETTERS else f"{line[: _MOST_LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"


def with_finding(base: str, finding: str) -> str:
    """Return the column `reason` of a task."""
    return "; ".join(part for part in (base, finding) if part)


def base_reason(row: Row) -> str:
    """Return the column `reason` of a row without its finding."""
    reason, finding = str(row["reason"]), str(row["finding"])
    return "" if reason == finding else reason.removesuffix(f"; {finding}") if finding else reason


def raised(scan: Scan, known: Sequence[Row]) -> Scan:
    """Return a scan in the order in which findings put its tasks, with those that findings added."""
    rows = {(row["case_name"], row["organ"]): row for row in known if row["reading"] == 1 and row["bonus"]}
    if not rows:
        return scan
    there, cases = {(task.case, task.organ) for task in scan.tasks}, {task.case for task in scan.tasks}
    added = [FoundTask(*key, reason=base_reason(row)) for key, row in rows.items() if key not in there and key[0] in cases]
    tasks = [*scan.tasks, *sorted(added, key=lambda task: (task.case, task.organ))]
    ranked = max((task.rank or 0 for task in tasks), default=0)
    points = {key: float(row["bonus"]) for key, row in rows.items()}

    def place(task: FoundTask) -> float:
        own = points.get((task.case, task.organ), 0.0)
        return own + (0.0 if task.rank is None else 1 - (task.rank - 1) / ranked)

    first = sorted((task for task in tasks if task.rank is not None or (task.case, task.organ) in points), key=lambda task: -place(task))
    numbers = {(task.case, task.organ): number for number, task in enumerate(first, start=1)}
    texts = {key: str(row["finding"]) for key, row in rows.items()}
    done = [
        replace(task, rank=numbers.get((task.case, task.organ)), reason=with_finding(task.reason, texts.get((task.case, task.organ), "")))
        for task in tasks
    ]
    return replace(scan, tasks=tuple(sorted(done, key=lambda task: (task.rank is None, task.rank or 0))))
