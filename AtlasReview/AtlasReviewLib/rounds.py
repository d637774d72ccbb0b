"""Active-learning rounds: what readers accepted since the last one, frozen, as a list to fine-tune a network with.

A round is a folder `rounds/<number>/` in the dataset folder, whole or absent, and never changed afterwards:

    round.json          every accepted organ with its revision, hashes, reader and the Dice of the prediction with it
    datalist.json       images and label maps for training and validation, those with most revised organs first
    labels/<case>.nii.gz   combined label map of each case with an accepted organ: original > revised > predicted
    changes.csv         one line an accepted organ: Dice of the prediction, volumes before and after

The next round begins when a new model's predictions are averaged and judged: the worklist then ranks by them, and what is accepted stays.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from AtlasReviewLib.assembly_levels import decide, read_levels
from AtlasReviewLib.assembly_plan import plan_assembly
from AtlasReviewLib.case_masks import case_grid, read_mask
from AtlasReviewLib.decided_mask import noted_mask
from AtlasReviewLib.merge import merge_organs
from AtlasReviewLib.revision_log import neutralized
from AtlasReviewLib.revisions import predicted_mask
from AtlasReviewLib.round_split import Part, split, without_patient
from AtlasReviewLib.task_states import ACCEPTED
from AtlasReviewLib.worklist_rows import Task
from AtlasSegmentLib.case_folder import CaseFolder, open_case
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.files import read_json, sha256_of, write_json, write_text
from AtlasSegmentLib.locks import exclusive
from AtlasSegmentLib.new_folder import new_folder
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Volume

FOLDER, RECORD, DATALIST, CHANGES = "rounds", "round.json", "datalist.json", "changes.csv"
FORMAT = "atlas-round/1"


@dataclass(frozen=True)
class AcceptedOrgan:
    """One organ that a reader accepted.

    Attributes:
        case, organ, reader: Which, and who accepted it.
        revision: Id of the revision that counts; "" when the prediction was accepted as it is.
        sha256: Of that mask.
        predicted_sha256: Of the prediction; "" without one.
        dice: Of the prediction with the accepted mask, 0..1; 1 when both are empty.
        predicted_ml, accepted_ml: Volumes.
    """

    case: str
    organ: str
    reader: str
    revision: str
    sha256: str
    predicted_sha256: str
    dice: float
    predicted_ml: float
    accepted_ml: float


@dataclass(frozen=True)
class RoundOptions:
    """How a round is closed.

    Attributes:
        version: Of the AbdomenAtlas release whose values the label maps have.
        share: Of the patients that validate.
        seed: Of the split.
        patients: Case to patient.
        note: Free text for round.json.
    """

    version: str = "1.1"
    share: float = 0.2
    seed: int = 0
    patients: dict[str, str] | None = None
    note: str = ""


def round_folders(dataset: Path) -> list[Path]:
    """Return the rounds that were closed, oldest first."""
    folder = dataset / FOLDER
    found = [path for path in folder.iterdir() if path.name.isdecimal() and (path / RECORD).is_file()] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name))


def read_round(folder: Path) -> dict[str, Any]:
    """Return round.json.

    Raises:
        DatasetError: It is none.
    """
    content = read_json(folder / RECORD)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        message = f"{folder / RECORD}: is not a round of format {FORMAT!r}."
        raise DatasetError(message, "Restore it from a backup; the revisions themselves are safe.")
    return content


def close_round(
    dataset: Path,
    tasks: Iterable[Task],
    options: RoundOptions = RoundOptions(),
    progress: ProgressCallback = ignore_progress,
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> Path:
    """Close a round and return its folder.

    Args:
        dataset: The dataset folder.
        tasks: Of its worklist.
        options: See there.
        progress: Told the finished share and the case.
        now: Clock, UTC.

    Raises:
        DatasetError: Nothing is accepted, or nothing that was not in the last round as it is.
        InputError: A revision was changed on the disk after it was saved, or a mask cannot be read.
        StorageError: The folder cannot be written; nothing is left behind.
    """
    accepted = sorted((task for task in tasks if task.state == ACCEPTED), key=lambda task: (task.case, task.organ))
    if not accepted:
        message = f"{dataset}: no task is accepted yet, so there is nothing to close a round with."
        raise DatasetError(message, "Accept organs in Atlas Review first.")
    with exclusive(dataset / FOLDER / ".lock"):
        earlier = round_folders(dataset)
        number = int(earlier[-1].name) + 1 if earlier else 1
        levels = read_levels(dataset)
        records = [_accepted(open_case(dataset / task.case), task, levels) for task in accepted]
        last = read_round(earlier[-1]) if earlier else None
        if last is not None and last["accepted"] == [asdict(record) for record in records]:
            message = f"{dataset}: nothing was accepted since round {earlier[-1].name}."
            raise DatasetError(message, "Review more, then close the round.")
        return _Closing(dataset, number, records, earlier, options).write(now(), progress)


def _accepted(case: CaseFolder, task: Task, levels: Mapping[str, int] | None) -> AcceptedOrgan:
    revision = decide(case, task.organ, levels, noted_mask(task), task.sha256).revision
    predicted = predicted_mask(case, task.organ)
    if revision is not None and sha256_of(revision.file) != revision.sha256:
        message = f"{revision.file}: its bytes are not those that were saved."
        raise InputError(message, "Restore the file from a backup, or save the organ again.")
    if revision is None and predicted is None:
        message = f"{case.folder}: {task.organ} is accepted, and there is neither a revision nor a prediction of it."
        raise InputError(message, "Reopen the task, or restore the files.")
    grid = case_grid(case)
    file = revision.file if revision is not None else predicted
    assert file is not None
    after = read_mask(file, grid)
    before = read_mask(predicted, grid) if predicted is not None else np.zeros_like(after)
    total = int(before.sum()) + int(after.sum())
    dice = 2 * int((before & after).sum()) / total if total else 1.0
    ml = grid.voxel_volume_mm3 / 1000
    return AcceptedOrgan(
        task.case,
        task.organ,
        task.reader,
        revision.id if revision is not None else "",
        revision.sha256 if revision is not None else sha256_of(file),
        sha256_of(predicted) if predicted is not None else "",
        dice,
        round(float(before.sum() * ml), 3),
        round(float(after.sum() * ml), 3),
    )


@dataclass(frozen=True)
class _Closing:
    """A round that is being written."""

    dataset: Path
    number: int
    records: list[AcceptedOrgan]
    earlier: list[Path]
    options: RoundOptions

    @property
    def name(self) -> str:
        return f"{self.number:03d}"

    def write(self, when: datetime, progress: ProgressCallback) -> Path:
        """Write it under another name and give it its own at the end; nothing is left when that fails."""
        target = self.dataset / FOLDER / self.name
        with new_folder(target) as work:
            (work / "labels").mkdir()
            self._fill(work, when, progress)
        return target

    def _fill(self, work: Path, when: datetime, progress: ProgressCallback) -> None:
        options = self.options
        parts: dict[str, Part] = {}
        for folder in self.earlier:
            parts |= read_round(folder)["split"]
        cases = sorted({record.case for record in self.records})
        alone = without_patient(cases, options.patients)
        chosen = split(cases, options.patients or {}, options.share, options.seed, parts)
        models: dict[str, Any] = {}
        for index, case in enumerate(cases):
            progress(index / len(cases), case)
            models[case] = _write_labels(open_case(self.dataset / case), work / "labels" / f"{case}.nii.gz", options.version)
        write_json(work / DATALIST, _datalist(self.records, chosen, self.name, options.version))
        write_text(work / CHANGES, _changes(self.records))
        told = {"format": FORMAT, "number": self.number, "closed": when.isoformat(timespec="seconds"), "note": options.note}
        settings = {"version": options.version, "share": options.share, "seed": options.seed}
        found = {"split": parts | chosen, "models": models, "accepted": [asdict(record) for record in self.records]}
        write_json(work / RECORD, {**told, **settings, **found, **({"without_patient": alone} if alone else {})})


def _write_labels(case: CaseFolder, path: Path, version: str) -> list[dict[str, str]]:
    """Write the combined label map of a case and return the models behind its predictions."""
    plan = plan_assembly(case, version)
    grid = case_grid(case)
    combined, _ = merge_organs(plan.organs, grid.shape)
    write_nifti(path, Volume(combined, grid.affine, str(path), grid.header))
    return plan.models


def _datalist(records: list[AcceptedOrgan], parts: dict[str, Part], name: str, version: str) -> dict[str, Any]:
    """Return the list in the form that MONAI's load_decathlon_datalist reads; paths are relative to the dataset folder."""
    from AtlasReviewLib.release_layout import release_organs

    entries: dict[Part, list[dict[str, Any]]] = {"training": [], "validation": []}
    for case in sorted(parts):
        own = [record for record in records if record.case == case]
        revised = [record.organ for record in own if record.revision]
        files = {"image": f"{case}/ct.nii.gz", "label": f"{FOLDER}/{name}/labels/{case}.nii.gz"}
        entries[parts[case]].append({**files, "accepted": [record.organ for record in own], "revised": revised})
    for part in entries.values():
        part.sort(key=lambda entry: (-len(entry["revised"]), -len(entry["accepted"]), entry["image"]))
    labels = {"0": "background", **{str(organ.value): organ.name for organ in release_organs(version)}}
    return {"name": name, "modality": {"0": "CT"}, "labels": labels, "training": entries["training"], "validation": entries["validation"]}


def _changes(records: list[AcceptedOrgan]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "organ", "reader", "revision", "dice_of_prediction", "predicted_ml", "accepted_ml"])
    for record in records:
        names = [neutralized(value) for value in (record.case, record.organ, record.reader, record.revision)]
        writer.writerow([*names, f"{record.dice:.6f}", f"{record.predicted_ml:.3f}", f"{record.accepted_ml:.3f}"])
    return text.getvalue()


def agreement(rounds: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the curve of agreement: for each round and organ the mean Dice of the predictions with what readers accepted in that round.

    Only organs that were not accepted with the same mask in an earlier round count, so that every round is judged by new work.

    Returns:
        [{"round", "organ" ("" is the mean over organs), "dice", "count", "untouched": share accepted without a change}].
    """
    seen: set[tuple[str, str, str]] = set()
    rows: list[dict[str, Any]] = []
    for content in rounds:
        fresh = [record for record in content["accepted"] if (record["case"], record["organ"], record["sha256"]) not in seen]
        seen |= {(record["case"], record["organ"], record["sha256"]) for record in content["accepted"]}
        organs = sorted({record["organ"] for record in fresh})
        own = [_row(content["number"], organ, [record for record in fresh if record["organ"] == organ]) for organ in organs]
        if own:
            mean = float(np.mean([row["dice"] for row in own]))
            whole = _row(content["number"], "", fresh)
            rows += [{**whole, "dice": mean}, *own]
    return rows


def _row(number: int, organ: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    dice = [record["dice"] for record in records]
    untouched = sum(not record["revision"] for record in records) / len(records) if records else math.nan
    return {"round": number, "organ": organ, "dice": float(np.mean(dice)), "count": len(records), "untouched": untouched}
