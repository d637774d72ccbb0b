"""A case folder in the scene: its CT and its average masks, from what the child process left on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.scene import CASE_FOLDER, ROLE, node_from_volume
from AtlasSegmentLib.scene_segmentation import segmentation_from_labels
from AtlasSegmentLib.volume import Array, LabelVolume, Volume

_ABDOMEN = (400.0, 40.0)  # window width and level, HU


def add_case(opened: Mapping[str, Any], work: Path) -> tuple[Any | None, Any]:
    """Add CT and segmentation of a case to the scene and show them.

    Args:
        opened: What `tasks.open_files` returned.
        work: The folder it was told.

    Returns:
        The CT node (None when the case has no CT) and the segmentation node, which knows its case folder.

    Raises:
        InputError: The case has no average, or a file is gone.
    """
    folder = str(opened["case"])
    name = CaseFolder(Path(folder)).name
    if opened["labels"] is None:
        message = f"{folder}: there is no average yet."
        raise InputError(message, "Press Find errors first.")
    ct = _ct_node(opened["ct"], work, name) if opened["ct"] is not None else None
    labels = opened["labels"]
    table = LabelTable.from_labels(name, labels["table"])
    volume = LabelVolume(_array(work / labels["file"]), np.array(labels["affine"]), folder, None, table)
    segmentation = segmentation_from_labels(volume, f"{name} average")
    segmentation.SetAttribute(CASE_FOLDER, folder)
    segmentation.SetAttribute(ROLE, "average")
    if ct is not None:
        ct.SetAttribute(CASE_FOLDER, folder)
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    return ct, segmentation


def _ct_node(stored: Mapping[str, Any], work: Path, name: str) -> Any:
    volume = Volume(_array(work / stored["file"]), np.array(stored["affine"]), name)
    return node_from_volume(volume, name, window=_ABDOMEN)


def _array(path: Path) -> Array:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        message = f"{path}: cannot be read ({error})."
        raise InputError(message, "Open the case folder again.") from error


def show_background(ct: Any) -> None:
    """Show a CT in all slice views, and all of it."""
    slicer.util.setSliceViewerLayers(background=ct, fit=True)
