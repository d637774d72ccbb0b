"""An assembled dataset: its cases, where their sources are, and the files about all of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from AtlasReviewLib.assembly_conflicts import FILE as CONFLICTS
from AtlasReviewLib.assembly_conflicts import conflicts_csv
from AtlasReviewLib.release_files import write_changed
from AtlasReviewLib.release_layout import ReleaseFolder, is_assembled
from AtlasReviewLib.review_verdicts import Verdict, verdict_of
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_blind import not_compared
from AtlasReviewLib.worklist_place import place_of
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError
from AtlasSegmentLib.files import read_json, write_json
from AtlasSegmentLib.names import safe_name

RECORD, RECORD_FORMAT = "assembly.json", "atlas-assembly/1"


def assembled_cases(out: Path) -> list[ReleaseFolder]:
    """Return the finished cases of an assembled dataset, by name.

    Raises:
        DatasetError: The folder does not exist or holds none.
    """
    root = Path(out)
    found = [ReleaseFolder(path.parent) for path in sorted(root.glob("*/manifest.json"))] if root.is_dir() else []
    cases = [folder for folder in found if not folder.folder.name.startswith(".") and is_assembled(folder)]
    if not cases:
        message = f"{out}: holds no assembled case (a folder with manifest.json)."
        raise DatasetError(message, "Make one with: atlas assemble DATASET --out FOLDER.")
    return cases


def manifests(cases: Iterable[ReleaseFolder]) -> Iterator[dict[str, Any]]:
    """Yield the manifest of each case, one in memory at a time. Raises InputError."""
    for folder in cases:
        content: dict[str, Any] = read_json(folder.manifest)
        yield content


def finish_dataset(out: Path, cases: Iterable[CaseFolder]) -> None:
    """Write conflicts.csv and assembly.json of an assembled dataset; files that say the same already are not touched.

    Args:
        out: Folder of the assembled dataset.
        cases: The sources that were assembled now; the record names their dataset folders relative to `out`.
    """
    root = Path(out).resolve()
    write_changed(root / CONFLICTS, conflicts_csv(manifests(assembled_cases(root))))
    known = _record(root)
    added = {case.dataset: Path(os.path.relpath(case.folder.resolve().parent, root)).as_posix() for case in cases}
    sources = dict(sorted({**known, **added}.items()))
    if sources != known:
        write_json(root / RECORD, {"format": RECORD_FORMAT, "sources": sources})


def _record(root: Path) -> dict[str, str]:
    path = root / RECORD
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != RECORD_FORMAT or not isinstance(content.get("sources"), dict):
        message = f"{path}: is not the record of an assembled dataset."
        raise DatasetError(message, "Remove it, and assemble again.")
    return {str(name): str(place) for name, place in content["sources"].items()}


def source_of(out: Path, manifest: Mapping[str, Any], sources: Path | None = None) -> CaseFolder:
    """Return the case folder that an assembled case was made from.

    Args:
        out: Folder of the assembled dataset.
        manifest: Of the case.
        sources: The dataset folder, or the folder above it, when it is not where assembly.json says.

    Raises:
        DatasetError: It is not there.
    """
    dataset, name = (safe_name(str(manifest["source"][part]), f"{part} name") for part in ("dataset", "case"))
    if sources is not None:
        tried = [Path(sources) / name, Path(sources) / dataset / name]
    else:
        place = _record(Path(out)).get(dataset)
        tried = [Path(out) / place / name] if place is not None else []
    found = next((path for path in tried if path.is_dir()), None)
    if found is None:
        message = f"{manifest['name']}: its source, case {name} of dataset {dataset}, is not there."
        raise DatasetError(message, "Name the dataset folder with --sources.")
    return CaseFolder(found.resolve())


def verdicts_of_dataset(folder: Path) -> dict[str, dict[str, Verdict]]:
    """Return case to organ to a reader's verdict, read from the worklist once for all cases; {} where there is no worklist.

    Raises:
        WorklistDamagedError, StorageError: The worklist cannot be read.
    """
    if not place_of(Path(folder)).exists:
        return {}
    worklist = Worklist(folder, read_only=True)
    try:
        tasks, blind = worklist.tasks(), not_compared(worklist.pairs())
    finally:
        worklist.close()
    found: dict[str, dict[str, Verdict]] = {}
    for task in tasks:
        verdict = verdict_of(task, blind)
        if verdict is not None:
            found.setdefault(task.case, {})[task.organ] = verdict
    return found
