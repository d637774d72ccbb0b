"""What there is to review in a dataset folder: every (case, organ), in the order in which to look."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from AtlasQualityLib.organ_table import read_predicted_dice
from AtlasQualityLib.priority import CasePriority, CaseScores, Order, OrganScore, prioritize, read_scores
from AtlasReviewLib.revision_files import ENDING, is_revision, split_id
from AtlasSegmentLib.case_folder import CaseFolder, find_cases, new_case, open_case
from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress

NO_SCORE = "no attention was computed for this organ"
NO_ATTENTION = "the attention map of this organ is empty"


@dataclass(frozen=True)
class FoundTask:
    """One (case, organ) of a dataset folder as it is now.

    Attributes:
        case: Name of the case folder.
        organ: Name of the organ.
        rank: Place in the order of looking, 1 first; None when nothing says where to look.
        priority: The number it was ranked by; NaN without one.
        attention_mm3, expected_error_mm3, minutes, predicted_dice: As far as they are known, else NaN.
        reason: Why it has no rank; "" when it has one.
        revised_by: Reader of the newest revision when there is a revised mask, else "".
    """

    case: str
    organ: str
    rank: int | None = None
    priority: float = math.nan
    attention_mm3: float = math.nan
    expected_error_mm3: float = math.nan
    minutes: float = math.nan
    predicted_dice: float = math.nan
    reason: str = ""
    revised_by: str = ""


@dataclass(frozen=True)
class Scan:
    """A dataset folder as it is now.

    Attributes:
        order: What the ranks follow.
        tasks: In that order, those without a rank last.
        problems: Cases that could not be read, one sentence each.
        unread: Names of those cases: nothing is known about their tasks.
    """

    order: Order
    tasks: tuple[FoundTask, ...]
    problems: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass
class _Found:
    cases: list[CaseFolder] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def scan_dataset(folder: Path, progress: ProgressCallback = ignore_progress, cancelled: Callable[[], bool] = lambda: False) -> Scan:
    """Look through a dataset folder. Nothing is written.

    Args:
        folder: The dataset folder, with one folder for each case.
        progress: Told a fraction 0..1 and the case being read.
        cancelled: Asked before each case; True ends the scan with a DatasetError.

    Raises:
        DatasetError: There is no such folder, it is a case itself, or it holds no case.
    """
    found = _cases(folder)
    scores: list[CaseScores] = []
    reasons: dict[str, str] = {}
    for number, case in enumerate(found.cases):
        if cancelled():
            message = f"{folder}: reading the dataset was stopped."
            raise DatasetError(message, "Open it again.")
        progress(number / len(found.cases), case.name)
        try:
            scores.append(read_scores(case))
        except AtlasError as error:
            reasons[case.name] = error.message.removeprefix(f"{case.folder}: ")
    order, ranked = _ranked(scores)
    tasks = _ordered(found, ranked, {s.case: s for s in scores}, order, reasons)
    progress(1.0, f"{len(found.cases)} cases")
    return Scan(order, tuple(tasks), tuple(found.problems), tuple(found.unread))


def _cases(folder: Path) -> _Found:
    """Find the cases; one that cannot be used is a problem to report and keeps no other from being found."""
    try:
        cases = find_cases([folder])
        if cases and cases[0].folder == Path(folder).resolve():
            message = f"{folder}: is one case, not a dataset folder."
            raise DatasetError(message, f"Choose the folder above it: {cases[0].folder.parent}")
        return _Found(cases)
    except DatasetError:
        if not Path(folder).is_dir() or _is_case(Path(folder)):
            raise
        found = _Found()
        for child in sorted(child for child in Path(folder).iterdir() if not child.name.startswith(".") and _is_case(child)):
            try:
                found.cases.append(new_case(folder, child.name))
            except AtlasError as error:
                found.problems.append(str(error))
                found.unread.append(child.name)
        if not found.cases:
            raise
        return found


def _is_case(path: Path) -> bool:
    try:
        open_case(path)
    except DatasetError as error:
        return "not a case folder" not in error.message
    except OSError:
        return False
    return True


def _ranked(scores: Sequence[CaseScores]) -> tuple[Order, list[CasePriority]]:
    """Order by what a minute of editing gains where every organ has an expected error, else as AbdomenAtlas does."""
    known = all(not math.isnan(organ.gain_mm3_per_minute) for case in scores for organ in case.organs)
    order: Order = "gain" if known and any(case.organs for case in scores) else "abdomenatlas"
    return order, prioritize(scores, order)


def _ordered(
    found: _Found, ranked: Sequence[CasePriority], scores: dict[str, CaseScores], order: Order, reasons: dict[str, str]
) -> list[FoundTask]:
    tasks: list[FoundTask] = []
    seen: set[tuple[str, str]] = set()
    by_name = {case.name: case for case in found.cases}
    for listed in ranked:
        for score in listed.organs:
            tasks.append(_scored(score, order, len(tasks) + 1))
            seen.add((score.case, score.organ))
    for case_scores in scores.values():
        tasks += [_scored(s, order, None) for s in case_scores.organs if (s.case, s.organ) not in seen]
        seen.update((s.case, s.organ) for s in case_scores.organs)
    for case in found.cases:
        for organ in _organs(case, found):
            if (case.name, organ) not in seen:
                tasks.append(FoundTask(case.name, organ, reason=reasons.get(case.name, NO_SCORE)))
    revised = {name: _revised(case) for name, case in by_name.items()}
    dice = {name: read_predicted_dice(case) for name, case in by_name.items()}
    return [
        replace(task, revised_by=revised[task.case].get(task.organ, ""), predicted_dice=dice[task.case].get(task.organ, math.nan))
        for task in tasks
    ]


def _scored(score: OrganScore, order: Order, rank: int | None) -> FoundTask:
    return FoundTask(
        score.case,
        score.organ,
        rank,
        score.key(order),
        score.attention_mm3,
        score.expected_error_mm3,
        score.minutes_to_correct,
        reason="" if rank is not None else NO_ATTENTION,
    )


def _organs(case: CaseFolder, found: _Found) -> list[str]:
    """Return the organs that a case has a mask of: the average's, a single model's where there is no average, revised ones."""
    try:
        organs = case.average.organs()
        models = case.models()
        if not organs and len(models) == 1:
            organs = case.backbone(models[0]).organs()
        return sorted({*organs, *case.average.revised_organs()})
    except (AtlasError, OSError) as error:
        found.problems.append(f"{case.folder}: its masks cannot be listed ({error}).")
        found.unread.append(case.name)
        return []


def _revised(case: CaseFolder) -> dict[str, str]:
    """Return the organs with a revised mask, and who saved the newest revision."""
    readers = {}
    for organ in case.average.revised_organs():
        try:
            files = [path for path in case.average.revisions(organ).glob(f"*{ENDING}") if is_revision(path)]
        except (AtlasError, OSError):
            continue
        readers[organ] = split_id(max(files, key=lambda path: path.name))[1] if files else "unknown"
    return readers
