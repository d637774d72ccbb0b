"""A review task in the MRML scene: CT, the organ to edit, its neighbors, the attention overlay. Never Qt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from AtlasQualityLib import scene_overlay
from AtlasReviewLib.neighbors import label_values_of
from AtlasReviewLib.review_case import ReviewCase
from AtlasSegmentLib import geometry
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.scene import CASE_FOLDER, ROLE, jump_to, scalars_of, update_volume_node, vtk_matrix
from AtlasSegmentLib.scene_segmentation import add_segment, set_reference_geometry
from AtlasSegmentLib.sparse import SparseVolume, is_empty
from AtlasSegmentLib.volume import Volume

ORGAN = "AtlasAnnotator.Organ"
"""Node attribute: the organ that is edited in a segmentation."""
_HIDDEN = "AtlasAnnotator.HiddenByReview"
EDITED, CT, BLANK = "edited", "ct", "blank"
_WINDOW, _LEVEL = 400, 40  # abdomen
_OVERLAY_OPACITY = 0.5
_NEIGHBOR_FILL, _NEIGHBOR_OUTLINE, _ORGAN_FILL = 0.0, 0.6, 0.25


@dataclass
class TaskNodes:
    """The nodes of an open task.

    Attributes:
        background: The CT, or an empty volume on the grid of the masks where the case has none.
        segmentation: The organ to edit and its neighbors.
        segment: Id of the organ's segment.
        overlay: The attention map, or None.
        kept: The organ's segment as it was last seen; it outlives its removal from the scene.
    """

    background: Any
    segmentation: Any
    segment: str
    overlay: Any = None
    kept: Any = None

    def all(self) -> Iterator[Any]:
        """Yield the nodes that are still in the scene."""
        for node in (self.overlay, self.segmentation, self.background):
            if node is not None and slicer.mrmlScene.IsNodePresent(node):
                yield node

    @property
    def whole(self) -> bool:
        """Tell whether the segmentation is still in the scene, and the organ in it."""
        return (
            slicer.mrmlScene.IsNodePresent(self.segmentation) and self.segmentation.GetSegmentation().GetSegment(self.segment) is not None
        )

    @property
    def has_background(self) -> bool:
        """Tell whether the CT is still in the scene."""
        return bool(slicer.mrmlScene.IsNodePresent(self.background))


def show_task(loaded: ReviewCase, before: TaskNodes | None = None, known: ReviewCase | None = None) -> TaskNodes:
    """Put a task into the scene and show it: the views go to the first hot spot, else to the middle of the organ.

    Args:
        loaded: What was read of it.
        before: The nodes of the task that was open before; they are removed, the CT stays when it is the same.
        known: What was read of that task.
    """
    same_ct = before is not None and known is not None and loaded.ct is not None and known.ct is loaded.ct
    keep = before.background if same_ct and before is not None and slicer.mrmlScene.IsNodePresent(before.background) else None
    if before is not None:
        remove_task(before, keep)
    nodes = TaskNodes(keep, None, "")
    try:
        _fill(nodes, loaded)
    except BaseException:
        remove_task(nodes)
        raise
    slicer.util.setSliceViewerLayers(background=nodes.background, fit=keep is None)
    if nodes.overlay is not None:
        scene_overlay.lay_over(nodes.overlay, _OVERLAY_OPACITY)
    place = first_place(loaded)
    if place is not None:
        jump_to(place)
    return nodes


def _fill(nodes: TaskNodes, loaded: ReviewCase) -> None:
    """Make the nodes that are missing; each is in `nodes` as soon as it is in the scene."""
    if nodes.background is None:
        nodes.background = _background(loaded)
    nodes.segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{loaded.case.name} {loaded.organ}")
    nodes.segment = _segmentation(nodes.segmentation, loaded, nodes.background)
    nodes.overlay = _overlay(loaded)


def _background(loaded: ReviewCase) -> Any:
    name, volume = loaded.case.name, loaded.ct
    if volume is None:
        volume = Volume(np.zeros(loaded.grid.shape, np.uint8, order="F"), loaded.grid.affine, name)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name if loaded.ct is not None else f"{name} (no CT)")
    node.SetAttribute(ROLE, CT if loaded.ct is not None else BLANK)
    node.SetAttribute(CASE_FOLDER, str(loaded.case.folder))
    node.CreateDefaultDisplayNodes()  # before the voxels: afterwards a second goes by on a histogram for the window
    display = node.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(_WINDOW, _LEVEL)
    update_volume_node(node, volume)
    return node


def _segmentation(node: Any, loaded: ReviewCase, background: Any) -> str:
    """Fill the segmentation, the organ first; return its id.

    Each organ has a layer of its own: none is hidden where two overlap, and drawing beside a mask of all others takes half the
    time that it takes with one label map for all.
    """
    organs = loaded.organs
    node.CreateDefaultDisplayNodes()
    set_reference_geometry(node, loaded.grid)
    node.SetReferenceImageGeometryParameterFromVolumeNode(background)
    values = label_values_of(list(organs))
    segment = _add(node, loaded.organ, organs[loaded.organ].mask, values[loaded.organ])
    for organ, value in values.items():
        if organ != loaded.organ:
            _add(node, organ, organs[organ].mask, value)
    node.SetAttribute(CASE_FOLDER, str(loaded.case.folder))
    node.SetAttribute(ROLE, EDITED)
    node.SetAttribute(ORGAN, loaded.organ)
    style_segmentation(node, segment)
    return segment


def _add(segmentation: Any, organ: str, mask: SparseVolume, value: int) -> str:
    """Add a segment with the voxels of a mask and the published value of its organ; return its id."""
    segment_id = add_segment(segmentation, organ, Volume(np.zeros((1, 1, 1), np.uint8), np.eye(4)), value)
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    segment.AddRepresentation(slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName(), image_of(mask))
    return segment_id


def image_of(volume: SparseVolume) -> Any:
    """Return the box of a map as an image on the grid of the case (voxels copied): Slicer keeps segments cropped, too."""
    image = slicer.vtkOrientedImageData()
    if is_empty(volume.box):
        image.SetExtent(0, -1, 0, -1, 0, -1)
        image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    else:
        image.SetExtent([number for side in volume.box for number in (side.start, side.stop - 1)])
        image.GetPointData().SetScalars(scalars_of(volume.crop))
    image.SetGeometryFromImageToWorldMatrix(vtk_matrix(volume.grid.affine))
    return image


def style_segmentation(segmentation: Any, segment: str) -> None:
    """Draw the organ filled and with a strong outline, its neighbors as faint outlines."""
    display = segmentation.GetDisplayNode()
    with slicer.util.NodeModify(display):
        for identifier in segmentation.GetSegmentation().GetSegmentIDs():
            is_organ = identifier == segment
            display.SetSegmentOpacity2DFill(identifier, _ORGAN_FILL if is_organ else _NEIGHBOR_FILL)
            display.SetSegmentOpacity2DOutline(identifier, 1.0 if is_organ else _NEIGHBOR_OUTLINE)


def _overlay(loaded: ReviewCase) -> Any:
    attention = loaded.attention
    if attention is None or is_empty(attention.box):
        return None
    shift = np.eye(4)
    shift[:3, 3] = [side.start for side in attention.box]
    volume = Volume(np.asfortranarray(attention.crop), loaded.grid.affine @ shift)
    node = scene_overlay.show_map(None, volume, f"{loaded.organ} attention")
    node.SetAttribute(CASE_FOLDER, str(loaded.case.folder))
    scene_overlay.set_style(node, "heat", 1.0)
    return node


def first_place(loaded: ReviewCase) -> tuple[float, float, float] | None:
    """Return where to look first, RAS mm: the first hot spot, else the middle of the organ, else of the grid."""
    if loaded.hot_spots:
        return loaded.hot_spots[0].center
    mask = loaded.baseline.mask
    if is_empty(mask.box):
        index = np.array([[(size - 1) / 2 for size in loaded.grid.shape]])
    else:
        voxels = np.argwhere(mask.crop)
        middle = voxels[np.abs(voxels - voxels.mean(axis=0)).sum(axis=1).argmin()]  # inside also where the organ is curved
        index = np.array([middle + [side.start for side in mask.box]])
    x, y, z = geometry.apply_affine(loaded.grid.affine, index)[0]
    return (float(x), float(y), float(z))


def hide_others(nodes: TaskNodes) -> None:
    """Hide other segmentations that are shown, which would lie over the task's own; `show_others` gives them back."""
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        display = node.GetDisplayNode()
        if node is not nodes.segmentation and display is not None and display.GetVisibility():
            node.SetAttribute(_HIDDEN, "1")
            display.SetVisibility(False)


def show_others() -> None:
    """Show the segmentations again that `hide_others` hid, also in a scene that was saved meanwhile."""
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        if node.GetAttribute(_HIDDEN):
            node.RemoveAttribute(_HIDDEN)
            if node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(True)


def set_overlay_shown(nodes: TaskNodes, shown: bool) -> None:
    """Show or hide the attention overlay."""
    if nodes.overlay is not None and slicer.mrmlScene.IsNodePresent(nodes.overlay):
        if shown:
            scene_overlay.lay_over(nodes.overlay, _OVERLAY_OPACITY)
        else:
            scene_overlay.take_away(nodes.overlay)


def set_mask_shown(nodes: TaskNodes, shown: bool) -> None:
    """Show or hide the masks in all views."""
    if slicer.mrmlScene.IsNodePresent(nodes.segmentation):
        nodes.segmentation.GetDisplayNode().SetVisibility(shown)


def remove_task(nodes: TaskNodes, keep: Any = None) -> None:
    """Remove the nodes of a task with their display and storage nodes; `keep` stays."""
    if nodes.overlay is not None and slicer.mrmlScene.IsNodePresent(nodes.overlay):
        scene_overlay.take_away(nodes.overlay)
    for node in list(nodes.all()):
        if node is not keep:
            remove_with_display(node)


def remove_with_display(node: Any) -> None:
    """Remove a node and the display and storage nodes that belong to it alone."""
    belonging = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())] + [node.GetStorageNode()]
    slicer.mrmlScene.RemoveNode(node)
    for other in belonging:
        if other is not None and slicer.mrmlScene.IsNodePresent(other):
            slicer.mrmlScene.RemoveNode(other)


def find_task_nodes(case_folder: str, organ: str) -> TaskNodes | None:
    """Return the nodes of a task that came back with a saved scene, or None when they are not all there."""
    segmentations = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        if node.GetAttribute(CASE_FOLDER) == case_folder and node.GetAttribute(ORGAN) == organ
    ]
    volumes = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node.GetAttribute(CASE_FOLDER) == case_folder]
    backgrounds = [node for node in volumes if node.GetAttribute(ROLE) in (CT, BLANK)]
    overlays = [node for node in volumes if node.GetAttribute(ROLE) == "attention"]
    segment = structure_for(organ).name
    if not segmentations or not backgrounds or segmentations[0].GetSegmentation().GetSegment(segment) is None:
        return None
    return TaskNodes(backgrounds[0], segmentations[0], segment, overlays[0] if overlays else None)
