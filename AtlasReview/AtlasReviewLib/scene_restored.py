"""Nodes of a task that came with a loaded scene, beside those of the task that is open: found, read, removed or kept. Never Qt."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from AtlasReviewLib.case_masks import on_grid
from AtlasReviewLib.review_case import sparse_of
from AtlasReviewLib.scene import BLANK, CT, ORGAN, TaskNodes
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.scene import CASE_FOLDER, ROLE, grid_of_node, world_of
from AtlasSegmentLib.scene_segmentation import mask_of_segment
from AtlasSegmentLib.sparse import SparseVolume
from AtlasSegmentLib.volume import Grid, Volume

BASE = "AtlasAnnotator.EditedFrom"
"""Node attribute: SHA-256 of the revision that the edits of a segmentation began with, or PREDICTION."""
PREDICTION = "prediction"


def find_restored(case_folder: str, organ: str, own: Collection[Any]) -> TaskNodes | None:
    """Return the nodes of a task that are in the scene and not among `own`; the CT is None when it is not there."""
    segment = ""
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        if node in own or node.GetAttribute(CASE_FOLDER) != case_folder or node.GetAttribute(ORGAN) != organ:
            continue
        segment = segment or structure_for(organ).name
        if node.GetSegmentation().GetSegment(segment) is not None:
            background, overlay = (_volume(case_folder, own, roles) for roles in ((CT, BLANK), ("attention",)))
            return TaskNodes(background, node, segment, overlay)
    return None


def _volume(case_folder: str, own: Collection[Any], roles: tuple[str, ...]) -> Any:
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    fitting = (node for node in nodes if node.GetAttribute(CASE_FOLDER) == case_folder and node.GetAttribute(ROLE) in roles)
    return next((node for node in fitting if node not in own), None)


def restored_mask(nodes: TaskNodes, grid: Grid) -> SparseVolume:
    """Return the mask of a loaded scene on the grid of the case as it is now, brought over by world position.

    Raises:
        GeometryError: The voxels of the scene do not lie on that grid: the CT was exchanged.
        InputError: The CT of the scene has no voxels.
    """
    seen = grid_of_node(nodes.segmentation if nodes.background is None else nodes.background)
    mask = mask_of_segment(nodes.segmentation, nodes.segment, seen)
    affine = seen.affine
    if nodes.background is not None:  # a transform moves what the views show, not where the case lies
        affine = np.linalg.inv(world_of(nodes.background)) @ affine
    return sparse_of(on_grid(Volume(mask.array, affine, nodes.segmentation.GetName()), grid).array, grid)


def keep_apart(nodes: TaskNodes) -> str:
    """Let nodes of a loaded scene stay as the reader's own, under names that say where they are from; return the mask's."""
    for node in nodes.all():
        node.SetName(_("{name} (from the loaded scene)").format(name=node.GetName()))
        node.RemoveAttribute(ROLE)
        node.RemoveAttribute(ORGAN)
    return str(nodes.segmentation.GetName())
