"""Markups ROI nodes as boxes in world RAS mm, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.markups import Roi
from AtlasSegmentLib.regions import body_box
from AtlasSegmentLib.scene import matrix_of, vtk_matrix, world_of
from AtlasSegmentLib.volume import Volume


def roi_of_node(node: Any) -> Roi:
    """Return the box of a markups ROI node in world RAS mm, linear parent transforms included.

    Raises:
        InputError: It is not placed yet, is turned inside out, or is sheared by its transform.
        GeometryError: Its parent transform is not linear.
    """
    name = str(node.GetName())
    if node.GetInsideOut():
        message = f"{name} is turned inside out."
        raise InputError(message, "Clear 'Inside out' of the ROI (Markups module).")
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(node.GetObjectToNodeMatrix())
    box = world_of(node) @ matrix_of(matrix)
    scale = np.linalg.norm(box[:3, :3], axis=0)
    size = np.asarray(node.GetSize(), np.float64) * scale
    if min(size) <= 0:
        message = f"{name} is not placed yet: its size is 0."
        raise InputError(message, "Click its corners in a slice view, or press Create ROI.")
    return Roi(box[:3, 3], box[:3, :3] / scale, size, name)


def node_from_roi(roi: Roi, name: str) -> Any:
    """Add a markups ROI node with this box to the scene, with a display node that does not hide the slices."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    placed = np.eye(4)
    placed[:3, :3], placed[:3, 3] = roi.axes, roi.center
    with slicer.util.NodeModify(node):
        node.SetAndObserveObjectToNodeMatrix(vtk_matrix(placed))
        node.SetSize(*(float(length) for length in roi.size))
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetFillVisibility(False)
    return node


def roi_around_body(ct: Volume) -> Roi:
    """Return the box around the patient along the axes of the CT, see `regions.body_box`."""
    corners = body_box(ct)
    axes = ct.affine[:3, :3] / np.linalg.norm(ct.affine[:3, :3], axis=0)
    along = corners @ axes
    return Roi(corners.mean(axis=0), axes, along.max(axis=0) - along.min(axis=0), "body")
