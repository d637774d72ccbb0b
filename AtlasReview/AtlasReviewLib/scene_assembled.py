"""An assembled case in the scene: its label map as a segmentation with the values of the release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer

from AtlasReviewLib.release_layout import ReleaseFolder, table_name
from AtlasReviewLib.scene import remove_with_display
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.scene import CASE_FOLDER, ROLE
from AtlasSegmentLib.scene_segmentation import segmentation_from_labels
from AtlasSegmentLib.volume import LabelVolume

ASSEMBLED = "assembled"
_OUTLINE, _FILL = 0.8, 0.15


def show_assembled(folder: Path, release: str) -> Any:
    """Add the label map of an assembled case as a segmentation, and remove the one that was shown before.

    Raises:
        InputError: The label map is gone or damaged.
        LabelError: It holds values that the release does not have.
    """
    volume = read_nifti(ReleaseFolder(folder).combined)
    table = load_table(table_name(release))
    labels = LabelVolume(volume.array, volume.affine, str(folder), volume.header, table)
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        if node.GetAttribute(ROLE) == ASSEMBLED:
            remove_with_display(node)
    node = segmentation_from_labels(labels, f"{folder.name} assembled")
    node.SetAttribute(ROLE, ASSEMBLED)
    node.SetAttribute(CASE_FOLDER, str(folder))
    display = node.GetDisplayNode()
    display.SetOpacity2DFill(_FILL)
    display.SetOpacity2DOutline(_OUTLINE)
    return node
