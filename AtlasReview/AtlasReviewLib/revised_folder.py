"""Take over masks that somebody revised in another program, file by file: each changed one becomes a revision of that reader.

The folder is opened for reading only. A mask with the voxels that count now, or of any revision of its organ, is passed over: running
twice gives nothing new, and an old file never supersedes what a reader saved since. What cannot be taken over is refused with its reason
and keeps nothing else from being done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from AtlasReviewLib.case_masks import Mask, case_grid, read_mask
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.organ_names import known_organ
from AtlasReviewLib.revised_files import Part, is_table, parts_of, placed
from AtlasReviewLib.revised_names import Meant, by_name, meant_by
from AtlasReviewLib.revisions import Revision, history, predicted_mask, save_revision
from AtlasReviewLib.task_states import FINISHED, OWNED, REVISED
from AtlasReviewLib.worklist import Worklist, checked_reader
from AtlasReviewLib.worklist_place import place_of
from AtlasReviewLib.worklist_rows import Task, TaskTakenError
from AtlasSegmentLib.case_folder import CaseFolder, find_cases
from AtlasSegmentLib.errors import AtlasError, DatasetError, InputError
from AtlasSegmentLib.names import require_inside
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Volume
from AtlasSegmentLib.volume_io import suffix_of

TAKEN_OVER, WOULD_BE, UNCHANGED, KNOWN, REFUSED, IGNORED = "revised", "would be revised", "unchanged", "known", "refused", "ignored"
_IMAGES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_NO_MASKS = ("ct", "original_label", "pseudo_label", "combined_labels")


@dataclass(frozen=True)
class Row:
    """What became of one mask of one file.

    Attributes:
        file: Relative to the folder.
        case, organ: What it is of; "" where that is not known.
        state: "revised", "would be revised", "unchanged", "known" (an earlier revision has these voxels), "refused" or "ignored".
        text: Why, or the id of the revision.
        voxels: That it changes, of the mask that counted before; None where it was not compared.
    """

    file: str
    case: str = ""
    organ: str = ""
    state: str = REFUSED
    text: str = ""
    voxels: int | None = None


@dataclass(frozen=True)
class ImportOptions:
    """How a folder is taken over.

    Attributes:
        reader: Whose revisions they become.
        comment: Note for the log and the worklist.
        table: What the values of label maps mean; see `revised_files.parts_of`.
        allow_empty: Take empty masks where the organ is not empty now.
        take_over: Take tasks that another reader has in hand.
        dry_run: Only tell what would be done; nothing is written.
        url: Address of the worklist, if nothing else says it.
    """

    reader: str
    comment: str = ""
    table: str | None = None
    allow_empty: bool = False
    take_over: bool = False
    dry_run: bool = False
    url: str = ""


def import_revised(dataset: Path, folder: Path, options: ImportOptions, progress: ProgressCallback = ignore_progress) -> list[Row]:
    """Take over the masks of a folder.

    Args:
        dataset: The dataset folder, with its worklist if it has one.
        folder: What somebody revised: CASE_ORGAN.nii.gz, CASE/ORGAN.nii.gz, CASE/segmentations/ORGAN.nii.gz, label maps and
            segmentations of Slicer named as the case or in its folder.
        options: See there.
        progress: Told a fraction 0..1 and the file.

    Returns:
        A row for each mask, and for each file without one.

    Raises:
        InputError: The folder is none, or lies in the dataset or around it.
        DatasetError: The dataset has no cases, or the reader's name cannot be a file name.
        StorageError: The worklist cannot be opened.
    """
    reader = checked_reader(options.reader)
    _require_apart(dataset, folder)
    cases = by_name(find_cases([dataset]))
    place = place_of(dataset, options.url)
    look = options.dry_run and not place.url
    worklist = Worklist(dataset, read_only=look, place=place, viewer=reader) if place.exists else None
    taker = _Taker(worklist, replace(options, reader=reader))
    files, rows = sorted(_files(folder)), list[Row]()
    try:
        for number, file in enumerate(files):
            name = file.relative_to(folder).as_posix()
            progress(number / len(files), name)
            if suffix_of(file.name) not in _IMAGES:
                rows.append(Row(name, state=IGNORED, text="a table" if is_table(file) else "no image"))
                continue
            try:
                require_inside(file, folder)
                rows += taker.rows(file, name, meant_by(Path(name).parts, cases))
            except AtlasError as error:
                rows.append(Row(name, text=str(error)))
    finally:
        if worklist is not None:
            worklist.close()
    return rows


def _require_apart(dataset: Path, folder: Path) -> None:
    if not folder.is_dir():
        message = f"{folder}: there is no such folder."
        raise InputError(message, "Give the folder with the revised masks.")
    inner, outer = folder.resolve(), dataset.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        message = f"{folder}: lies in the dataset folder {dataset}, or around it."
        raise InputError(message, "Put the revised masks into a folder of their own.")


def _files(folder: Path) -> Iterator[Path]:
    """Yield the visible files; folders that are links are not entered."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place) / name for name in names if not name.startswith("."))


class _Taker:
    """Takes over one file after another."""

    def __init__(self, worklist: Worklist | None, options: ImportOptions) -> None:
        self._worklist, self._options = worklist, options
        self._seen: dict[tuple[str, str], str] = {}

    def rows(self, file: Path, name: str, meant: Meant) -> Iterator[Row]:
        """Yield what became of the masks of a file. Raises AtlasError where the file as a whole cannot be used."""
        case = meant.case
        stem = file.name[: -len(suffix_of(file.name))]
        if stem in _NO_MASKS and not meant.organ:
            yield Row(name, case.name, state=IGNORED, text="no mask of a reader")
            return
        parts = parts_of(file, self._options.table, bool(meant.organ))
        names = _names_of_organs(parts, meant)
        for part in parts:
            try:
                organ = meant.organ if not part.name else known_organ(case, part.name)
                if not organ:
                    message = f"{name}: neither its name nor a table says which organ it is. {meant.unknown}".rstrip()
                    raise InputError(message, "Name it after the organ, or give a table.")
                if len(names.get(organ, ())) > 1:
                    message = f"{name}: {' and '.join(map(repr, names[organ]))} are all {organ}."
                    raise InputError(message, "Leave one of them in the file, or merge them.")
                yield self._row(part, Row(name, case.name, organ), case, str(file))
            except AtlasError as error:
                yield Row(name, case.name, part.name or meant.organ, text=str(error))

    def _row(self, part: Part, row: Row, case: CaseFolder, file: str) -> Row:
        first = self._seen.setdefault((row.case, row.organ), row.file)
        if first != row.file:
            message = f"{row.file}: {first} is of the same organ."
            raise InputError(message, "Leave one of them in the folder.")
        reading = self._reading(case.name, row.organ)
        shown = self._worklist is None or self._worklist.may_compare(case.name, row.organ, self._options.reader, reading)
        case, grid = reading_case(case, reading), case_grid(case)
        new = placed(part, grid)
        revisions = [one for one in history(case, row.organ) if shown or one.reader == self._options.reader]
        changed = _changed(new, case, row.organ) if shown or any(one.is_current for one in revisions) else None
        if changed == 0:
            self._tell(case, row.organ, reading, revisions)
            return replace(row, state=UNCHANGED, text="its voxels are those that count now", voxels=0)
        same = next((one.id for one in reversed(revisions) if one.id and _has(one, case, new)), None)
        if same is not None:
            return replace(row, state=KNOWN, text=f"its voxels are those of the revision {same}", voxels=changed)
        if self._options.dry_run:
            self._require_free(case.name, row.organ, reading)
            return replace(row, state=WOULD_BE, voxels=changed)
        saved = self._save(case, row.organ, reading, Volume(new.astype(np.uint8), grid.affine, file, grid.header))
        return replace(row, state=TAKEN_OVER, text=saved.id, voxels=changed)

    def _reading(self, case: str, organ: str) -> int:
        """Return which reading of a task is the reader's, 2 where the second one is; raise InputError for one that they must not see."""
        if self._worklist is None:
            return 1
        second = [task for task in self._worklist.tasks(case) if task.organ == organ and task.reading == 2]
        if any(self._options.reader in (task.reader, task.assignee) for task in second):
            return 2
        with suppress(DatasetError):  # it would be added
            self._worklist.task(case, organ)
        return 1

    def _save(self, case: CaseFolder, organ: str, reading: int, mask: Volume) -> Revision:
        """Save a revision of a task that is in hand, and say so in the list."""
        o, worklist = self._options, self._worklist
        if worklist is None:
            return save_revision(case, organ, mask, o.reader, comment=o.comment, allow_empty=o.allow_empty)
        if reading == 1:
            worklist.add(case.name, organ, o.reader)
        task = worklist.take(case.name, organ, o.reader, take_over=o.take_over, reading=reading)
        try:
            saved = save_revision(case, organ, mask, o.reader, comment=o.comment, allow_empty=o.allow_empty)
            worklist.set_state(task, REVISED, o.reader, o.comment, saved.id, saved.sha256)
        finally:
            worklist.leave(task, o.reader, keep=False)
        return saved

    def _tell(self, case: CaseFolder, organ: str, reading: int, revisions: list[Revision]) -> None:
        """Tell the list of a revision of this reader that a run saved which was killed before it could do so."""
        current = next((one for one in revisions if one.is_current), None)
        if self._worklist is None or self._options.dry_run or current is None or current.reader != self._options.reader:
            return
        with suppress(DatasetError, TaskTakenError, InputError):
            task = self._worklist.task(case.name, organ, reading)
            if task.revision != current.id and not any(event.revision == current.id for event in self._worklist.events(case.name, organ)):
                task = self._worklist.take(case.name, organ, self._options.reader, reading=reading)
                self._worklist.set_state(task, REVISED, self._options.reader, "", current.id, current.sha256)
                self._worklist.leave(task, self._options.reader, keep=False)

    def _require_free(self, case: str, organ: str, reading: int) -> None:
        """Refuse what `take` would refuse, without taking it."""
        if self._worklist is None:
            return
        try:
            task: Task = self._worklist.task(case, organ, reading)
        except DatasetError:  # it would be added
            return
        if task.state in FINISHED:
            message = f"{case}, {organ}: is {task.state} by {task.reader}."
            raise InputError(message, "Reopen it to change it.")
        if task.state in OWNED and task.reader != self._options.reader and not self._options.take_over:
            message = f"{case}, {organ}: is {task.state} by {task.reader}."
            raise TaskTakenError(message, "Agree with each other, then add --take-over.", task)


def _names_of_organs(parts: Sequence[Part], meant: Meant) -> dict[str, list[str]]:
    """Return organ to what a file calls it, more than once where several of its masks mean one organ."""
    found: dict[str, list[str]] = {}
    for part in parts:
        with suppress(AtlasError):  # it is told when it is its turn
            found.setdefault(known_organ(meant.case, part.name) if part.name else meant.organ, []).append(part.name)
    return found


def _changed(mask: Mask, case: CaseFolder, organ: str) -> int:
    """Return how many voxels differ from the mask that counts now, all of them where there is none."""
    revised = case.average.revised_mask(organ)
    path = revised if revised.is_file() else predicted_mask(case, organ)
    return int(np.count_nonzero(mask if path is None else mask != read_mask(path, case_grid(case))))


def _has(revision: Revision, case: CaseFolder, mask: Mask) -> bool:
    try:
        return bool(np.array_equal(read_mask(revision.file, case_grid(case)), mask))
    except AtlasError:  # damaged: the doctor tells of it
        return False
