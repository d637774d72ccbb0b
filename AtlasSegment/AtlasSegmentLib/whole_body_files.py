"""Whole-body maps from files: one label map a task, or a folder of nnU-Net's output a task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.label_files import record_path, require_writable, write_labels
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.nifti import open_slabs
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.run_record import Step
from AtlasSegmentLib.volume import Array, Grid, LabelVolume
from AtlasSegmentLib.volume_io import read_volume, strip_suffix, suffix_of
from AtlasSegmentLib.whole_body import Task, WholeBody, WholeBodyPainter, whole_body_table

_NIFTI = (".nii.gz", ".nii")
_READ = (*_NIFTI, ".nrrd", ".mha", ".mhd")
_DATASET = "dataset.json"


@dataclass(frozen=True)
class MergeRequest:
    """One case to merge.

    Attributes:
        sources: Task to its label map.
        out: The whole-body map; `<out>_labels.csv`, `<out>_labels.json` and `<out>_run.json` go beside it.
        keep_tasks: Write `<out>_task.nii.gz` too, which tells the task of each voxel.
        force: Replace what is there.
    """

    sources: Mapping[Task, Path]
    out: Path
    keep_tasks: bool = False
    force: bool = False

    @property
    def name(self) -> str:
        """Name of the case."""
        return strip_suffix(self.out.name)

    @property
    def maps(self) -> list[Path]:
        """The label maps to write."""
        return [self.out, *([self.out.with_name(f"{self.name}_task.nii.gz")] if self.keep_tasks else [])]


def cases_of(sources: Mapping[Task, Path]) -> dict[str, dict[Task, Path]]:
    """Return the cases of folders of nnU-Net's output: name of the case to its label map of each task that has it, sorted.

    Raises:
        InputError: A folder cannot be read or holds no label map.
    """
    cases: dict[str, dict[Task, Path]] = {}
    for task, folder in sources.items():
        try:
            found = sorted(path for path in folder.iterdir() if suffix_of(path.name) in _READ and not path.name.startswith("."))
        except OSError as error:
            message = f"{folder}: cannot be read ({error.strerror or error})."
            raise InputError(message, "Give the folder that nnU-Net wrote the label maps of this task to.") from error
        if not found:
            message = f"{folder}: holds no label map for task {task.key!r}."
            raise InputError(message, "Give the folder that nnU-Net wrote the label maps of this task to.")
        for path in found:
            cases.setdefault(strip_suffix(path.name), {})[task] = path
    return dict(sorted(cases.items()))


def task_labels(task: Task, path: Path) -> LabelTable:
    """Return what the values of a task's label map mean: as dataset.json in its folder says, else the task's own table.

    Raises:
        InputError: dataset.json cannot be read, or has regions in place of labels.
        LabelError: Its labels are no table.
    """
    dataset = path.with_name(_DATASET)
    if not dataset.is_file():
        return task.table
    data = read_json(dataset)
    labels = data.get("labels") if isinstance(data, dict) else None
    if not isinstance(labels, dict) or any(isinstance(value, list) for value in labels.values()):
        message = f"{dataset}: has no plain labels (name to value) for task {task.key!r}."
        raise InputError(message, "Give the folder of the task's own model.")
    values = {value: name for name, value in labels.items() if name not in {"background", "ignore"}}
    return LabelTable.from_labels(f"{task.key} of {dataset}", values)


def merge_files(sources: Mapping[Task, Path], keep_tasks: bool = False) -> WholeBody:
    """Merge label maps of one case, reading each slab by slab.

    Args:
        sources: Task to its label map; at least one.
        keep_tasks: Also return which task each voxel came from.

    Raises:
        InputError: A file cannot be read or is no label map.
        LabelError: A value or structure that is not the task's.
        GeometryError: The grids differ; resample first.
    """
    if not sources:
        message = "There is no label map to merge."
        raise InputError(message, "Give at least one task with its label map.")
    painter: WholeBodyPainter | None = None
    for task, path in sorted(sources.items(), key=lambda item: item[0].order):
        with _opened(path) as (grid, slabs):
            painter = painter or WholeBodyPainter(grid, keep_tasks)
            painter.paint(task, task_labels(task, path), grid, slabs)
    assert painter is not None
    return painter.finish()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Grid, Iterable[tuple[int, Array]]]]:
    if suffix_of(path.name) in _NIFTI:
        with open_slabs(path) as opened:
            yield opened
    else:
        volume = read_volume(path)
        yield volume.grid, [(0, volume.array)]


def merge_case(request: MergeRequest, progress: ProgressCallback = ignore_progress) -> dict[str, Any] | None:
    """Merge label maps of one case and write the result, its tables and its run record; see `merge_files`.

    Returns:
        {"files", "tasks" in painting order, "voxels" by structure, "covered": "below < above" to the voxels that a task lost to a later
        one}; None when the same was done before.

    Raises:
        InputError: A file is there already, or one cannot be read.
        StorageError: A file cannot be written.
    """
    progress(0.0, "read")
    sources = request.sources
    inputs = {task.key: path for task, path in sources.items()} | _datasets(sources)
    step = Step(record_path(request.out), "merge", inputs, {"table": whole_body_table().name, "provenance": request.keep_tasks})
    if not request.force and step.is_finished(request.maps):
        return None
    for path in request.maps:
        require_writable(path, list(sources.values()), overwrite=request.force)
    found = merge_files(sources, request.keep_tasks)
    progress(0.5, "write")
    what = ", ".join(f"{task.key}: {sources[task].name}" for task in found.merged)
    step.begin()
    files = write_labels(request.out, found.labels, f"AutoOrgan tasks, later ones cover earlier ones: {what}", overwrite=request.force)
    if found.tasks is not None:
        files += write_labels(request.maps[1], found.tasks, what, overwrite=request.force)
    covered = {f"{below} < {above}": count for (below, above), count in found.covered.items()}
    results = {"tasks": [task.key for task in found.merged], "voxels": _voxels(found.labels), "covered": covered}
    step.finish(results)
    return {"files": [str(path) for path in (*files, record_path(request.out))], **results}


def _datasets(sources: Mapping[Task, Path]) -> dict[str, Path]:
    """Return the files that decide what values mean, by role."""
    beside = {f"{task.key} labels": path.with_name(_DATASET) for task, path in sources.items()}
    return {role: path for role, path in beside.items() if path.is_file()}


def _voxels(labels: LabelVolume) -> dict[str, int]:
    counts = np.zeros(256, np.int64)
    for z in range(0, labels.shape[2], 16):
        counts += np.bincount(labels.array[:, :, z : z + 16].ravel(order="K"), minlength=256)
    names = {} if labels.table is None else labels.table.labels
    return {name: int(counts[value]) for value, name in names.items() if counts[value]}
