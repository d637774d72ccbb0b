"""What the tests of the Atlas Quality panel share: a phantom case, and the steps of a user."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from AtlasQualityLib import tasks
from AtlasQualityLib.phantom_case import phantom_affine, phantom_organ, write_phantom_case
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import LabelVolume, Volume

Wait = Callable[..., None]
ORGANS = ("liver", "spleen", "kidney_left")
TABLE = "totalsegmentator_v2"


def predicted_case(folder: Path) -> CaseFolder:
    """Return a case that two models have predicted."""
    return write_phantom_case(folder / "hospital" / "scan")


def attended_case(folder: Path) -> CaseFolder:
    """Return a case with average and attention: a copy of one that is made once."""
    case = CaseFolder(folder / "hospital" / "scan")
    shutil.copytree(_finished_case(), case.folder)
    return case


@cache
def _finished_case() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="quality-phantom-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    case = predicted_case(folder)
    tasks.find_errors(str(case.folder), str(folder / "before"))
    return case.folder


def true_labels() -> LabelVolume:
    """Return the true organs of the phantom as a label map."""
    table = load_table(TABLE)
    array = np.zeros(phantom_organ("liver").shape, np.uint8, order="F")
    for organ in ORGANS:
        array[phantom_organ(organ)] = table.value_of(organ)
    return LabelVolume(array, phantom_affine(), "truth", None, table)


def write_truth(path: Path) -> Path:
    """Write the true organs as a label map of TABLE."""
    labels = true_labels()
    write_nifti(path, Volume(labels.array, labels.affine))
    return path


def open_case(panel: Any, case: CaseFolder, wait_until: Wait) -> None:
    """Choose a case folder and press Open."""
    panel.ui.caseFolderEdit.currentPath = str(case.folder)
    panel.ui.openCaseButton.click()
    wait_until(lambda: not panel._case.job.running)


def foregrounds() -> set[str | None]:
    """Return the ids of the volumes in front in the slice views."""
    from AtlasQualityLib.scene_overlay import composites

    return {composite.GetForegroundVolumeID() for composite in composites()}


def column(table: Any, number: int) -> list[str]:
    """Return the texts of a column as they are shown."""
    return [table.item(row, number).text() for row in range(table.rowCount)]


def center_of_views() -> list[float]:
    """Return the RAS mm that the axial, sagittal and coronal views show: x of sagittal, y of coronal, z of axial."""
    import slicer

    node = {name: slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{name}") for name in ("Yellow", "Green", "Red")}
    return [node[name].GetSliceToRAS().GetElement(axis, 3) for axis, name in enumerate(("Yellow", "Green", "Red"))]
