"""A review task in the MRML scene: CT, the organ to edit, its neighbors, the attention overlay. Never Qt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from AtlasQualityLib import scene_overlay
from AtlasReviewLib.review_case import ReviewCase
from AtlasSegmentLib import geometry
from AtlasSegmentLib.labels import LabelTable, load_table, structure_for
from AtlasSegmentLib.scene import CASE_FOLDER, ROLE, jump_to, node_from_volume
from AtlasSegmentLib.scene_segmentation import (
    add_segment,
    mask_of_segment,
    segmentation_from_labels,
    set_mask_of_segment,
    set_reference_geometry,
)
from AtlasSegmentLib.sparse import SparseVolume, is_empty
from AtlasSegmentLib.volume import LabelVolume, Volume

ORGAN = "AtlasAnnotator.Organ"
"""Node attribute: the organ that is edited in a segmentation."""
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
    """

    background: Any
    segmentation: Any
    segment: str
    overlay: Any = None

    def all(self) -> Iterator[Any]:
        """Yield the nodes that are still in the scene."""
        for node in (self.overlay, self.segmentation, self.background):
            if node is not None and slicer.mrmlScene.IsNodePresent(node):
                yield node

    @property
    def whole(self) -> bool:
        """Tell whether CT and segmentation are still in the scene, and the organ in the segmentation."""
        present = all(slicer.mrmlScene.IsNodePresent(node) for node in (self.background, self.segmentation))
        return present and self.segmentation.GetSegmentation().GetSegment(self.segment) is not None


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
    background = keep if keep is not None else _background(loaded)
    segmentation, segment = _segmentation(loaded, background)
    nodes = TaskNodes(background, segmentation, segment, _overlay(loaded))
    slicer.util.setSliceViewerLayers(background=background, fit=keep is None)
    if nodes.overlay is not None:
        scene_overlay.lay_over(nodes.overlay, _OVERLAY_OPACITY)
    place = first_place(loaded)
    if place is not None:
        jump_to(place)
    return nodes


def _background(loaded: ReviewCase) -> Any:
    name = loaded.case.name
    if loaded.ct is None:
        empty = Volume(np.zeros(loaded.grid.shape, np.uint8, order="F"), loaded.grid.affine, name)
        node = node_from_volume(empty, f"{name} (no CT)")
        node.SetAttribute(ROLE, BLANK)
    else:
        node = node_from_volume(loaded.ct, name)
        node.SetAttribute(ROLE, CT)
        display = node.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(_WINDOW, _LEVEL)
    node.SetAttribute(CASE_FOLDER, str(loaded.case.folder))
    return node


def _segmentation(loaded: ReviewCase, background: Any) -> tuple[Any, str]:
    """Make the segmentation: all neighbors in one label map, the organ first and in a layer of its own.

    Where neighbors overlap each other the later one is shown; the files keep both.
    """
    case, organ = loaded.case, loaded.organ
    values = _values([name for name in loaded.organs if name != organ])
    labels = np.zeros(loaded.grid.shape, np.min_scalar_type(max(values.values(), default=1)), order="F")
    for name, value in values.items():
        mask = loaded.organs[name].mask
        if not is_empty(mask.box):
            labels[mask.box][mask.crop != 0] = value
    table = LabelTable.from_labels(case.name, {value: name for name, value in values.items()})
    node = segmentation_from_labels(LabelVolume(labels, loaded.grid.affine, case.name, None, table), f"{case.name} {organ}")
    set_reference_geometry(node, loaded.grid)
    node.SetReferenceImageGeometryParameterFromVolumeNode(background)
    segment = add_segment(node, organ, _dense(loaded.baseline.mask), _values([organ])[organ])
    node.GetSegmentation().SetSegmentIndex(segment, 0)
    node.SetAttribute(CASE_FOLDER, str(case.folder))
    node.SetAttribute(ROLE, EDITED)
    node.SetAttribute(ORGAN, organ)
    style_segmentation(node, segment)
    return node, segment


def _values(names: list[str]) -> dict[str, int]:
    """Return organ to its value in AbdomenAtlas' table, or a free one above it."""
    table = load_table("abdomenatlas")
    known = {structure_for(name).name: value for value, name in table.labels.items()}
    free = max(table.labels) + 1
    values = {}
    for name in names:
        value = known.get(structure_for(name).name)
        if value is None:
            value, free = free, free + 1
        values[name] = value
    return values


def _dense(mask: SparseVolume) -> Volume:
    return Volume(mask.dense(), mask.grid.affine)


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


def edited_mask(nodes: TaskNodes, loaded: ReviewCase) -> Volume:
    """Return the mask of the organ as it is in the editor, uint8 0/1 on the grid of the case.

    Raises:
        InputError: The segment is gone.
        GeometryError: The segmentation was put under a transform that is not linear.
    """
    return mask_of_segment(nodes.segmentation, nodes.segment, loaded.grid)


def put_mask(nodes: TaskNodes, mask: SparseVolume) -> None:
    """Replace the organ's voxels in the editor, such as by edits that were recovered."""
    set_mask_of_segment(nodes.segmentation, nodes.segment, _dense(mask))


def segment_stamp(nodes: TaskNodes) -> tuple[int, int]:
    """Return what differs after every change of the organ, without looking at a voxel."""
    name = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    image = nodes.segmentation.GetSegmentation().GetSegment(nodes.segment).GetRepresentation(name)
    return (0, 0) if image is None else (id(image), int(image.GetMTime()))


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


def overlap_ml(loaded: ReviewCase) -> float:
    """Return how much of the organ lies in its neighbors too, in ml: there masking keeps the editor out."""
    own = loaded.baseline.mask
    if is_empty(own.box):
        return 0.0
    shared = np.zeros(own.crop.shape, bool)
    for name, other in loaded.organs.items():
        if name != loaded.organ:
            shared |= other.mask.within(own.box) != 0
    return float(np.count_nonzero(shared & (own.crop != 0)) * loaded.grid.voxel_volume_mm3 / 1000)


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
