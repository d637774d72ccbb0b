"""Copies of the masks of two readings that disagree, for whoever adjudicates them in another program: nothing in them says who drew which.

<folder>/<case>_<organ>_A.nii.gz, <case>_<organ>_B.nii.gz, <case>_<organ>_prediction.nii.gz
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from AtlasReviewLib.case_masks import case_grid, on_grid
from AtlasReviewLib.double_reading import readings
from AtlasReviewLib.revisions import predicted_mask
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_rows import Task
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Grid, Volume
from AtlasSegmentLib.volume_io import read_volume

PREDICTION = "prediction"


@dataclass(frozen=True)
class Chosen:
    """What one of two readings says: its verdict and its mask.

    Attributes:
        verdict: "accepted" or "rejected".
        voxels: Of its mask.
        volume_ml: Of its mask.
    """

    verdict: str
    voxels: int
    volume_ml: float

    def words(self) -> str:
        """Return it for a command line."""
        return f"{self.verdict}, {self.voxels} voxels, {self.volume_ml:.2f} ml"


def require_apart(folder: Path, dataset: Path) -> None:
    """Check that masks may be written to a folder.

    Raises:
        InputError: It lies in the dataset, or something is in it.
    """
    if folder.resolve().is_relative_to(dataset.resolve()):
        message = f"{folder}: lies in the dataset folder."
        raise InputError(message, "Give a folder elsewhere.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        message = f"{folder}: is no empty folder."
        raise InputError(message, "Give a new folder.")


def write_blind_masks(worklist: Worklist, task: Task, folder: Path) -> list[Path]:
    """Write both masks of a task and the prediction, uint8 0/1 on the grid of the case; return the files.

    Args:
        worklist: The list.
        task: With two readings that were compared.
        folder: Made if it is not there.

    Raises:
        InputError: The task has no such readings, or a mask is gone or is not the one that was compared.
        DatasetError: The case is gone.
        GeometryError: A mask lies on another grid.
        StorageError: The folder cannot be written.
    """
    case = open_case(worklist.folder / task.case)
    grid, predicted = case_grid(case), predicted_mask(case, task.organ)
    files = {str(reading.name): reading.file for reading in readings(worklist, task)} | {PREDICTION: predicted}
    written = []
    for name, file in files.items():
        written.append(folder / f"{task.case}_{task.organ}_{name}.nii.gz")
        write_nifti(written[-1], Volume(_voxels(file, grid), grid.affine))  # without the header of the file: it is somebody's
    return written


def chosen_reading(worklist: Worklist, task: Task, name: str) -> Chosen:
    """Return what a reading ("A" or "B") of a task says.

    Raises:
        InputError, DatasetError, GeometryError: As `write_blind_masks`; there is no such reading.
    """
    found = next((reading for reading in readings(worklist, task) if reading.name == name), None)
    if found is None:
        message = f"{task.case}, {task.organ}: has no reading {name!r}."
        raise InputError(message, "Give A or B.")
    grid = case_grid(open_case(worklist.folder / task.case))
    voxels = int(np.count_nonzero(_voxels(found.file, grid)))
    return Chosen(found.verdict, voxels, voxels * grid.voxel_volume_mm3 / 1000)


def _voxels(file: Path | None, grid: Grid) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    if file is None:
        return np.zeros(grid.shape, np.uint8)
    return np.asarray(on_grid(read_volume(file), grid).array > 0, np.uint8)


def next_steps(dataset: Path, tasks: Sequence[Task]) -> list[str]:
    """Return the commands that decide the first of some tasks."""
    if not tasks:
        return []
    words = [shlex.quote(word) for word in (str(dataset), tasks[0].case, tasks[0].organ)]
    masks = f"the masks, without names: atlas worklist disagreements {words[0]} --masks FOLDER"
    return [masks, f"decide: atlas worklist adjudicate {' '.join(words)} --use A --reader NAME"]
