"""Results of a case folder as segmentation nodes, found again and replaced by the next run as long as nobody has edited them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.geometry import same_grid
from AtlasSegmentLib.result_labels import ResultLabels, read_result, result_folders
from AtlasSegmentLib.scene import CASE_FOLDER, MODEL, ROLE, grid_of_node, matrix_of, vtk_matrix
from AtlasSegmentLib.scene_segmentation import add_segment, segmentation_from_labels, set_reference_geometry
from AtlasSegmentLib.volume import Grid

FINGERPRINT = "AtlasAnnotator.Fingerprint"
"""Node attribute: what the segments looked like when they were imported."""
SAME, MOVED, CHANGED = "same", "moved", "changed"
_SEGMENTATION = "vtkMRMLSegmentationNode"
_LABELMAP = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()


@dataclass(frozen=True)
class ImportedResult:
    """One segmentation that was put into the scene.

    Attributes:
        node: The segmentation node.
        role: "average" or "model".
        model: Name of the model, "" for the average.
        missing: Organs that were looked for and not found.
        ct: How the CT node lies to the CT that was segmented: SAME, MOVED (the result lies where the node is now), CHANGED (the result
            lies where the CT was), or "" when the node is gone.
    """

    node: Any
    role: str
    model: str
    missing: tuple[str, ...]
    ct: str = ""


def import_results(
    case: CaseFolder, models: Sequence[str], ct: Any | None = None, segmented: Grid | None = None
) -> Iterator[ImportedResult]:
    """Import the average (of several models) and each model's masks, one node for each step of the iterator.

    The first is shown, the others are hidden. All go to a subject-hierarchy folder beside the CT, named after it.

    Args:
        case: The case folder.
        models: Names of the models.
        ct: The volume node that was segmented; None when it is gone.
        segmented: The grid of `ct` when it was segmented: results follow it when it was moved since. None when that is not known.

    Raises:
        AtlasError: A file cannot be read.
    """
    folder = _folder_of(case.folder, ct)
    if ct is not None:
        ct.SetAttribute(CASE_FOLDER, str(case.folder))
    for number, (role, model, labels) in enumerate(result_folders(case, models)):
        imported = _import(case, role, model, labels, ct, segmented)
        imported.node.GetDisplayNode().SetVisibility(number == 0)
        hierarchy = _hierarchy()
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(imported.node), folder)
        yield imported


def _import(case: CaseFolder, role: str, model: str, folder: LabelFolder, ct: Any | None, segmented: Grid | None) -> ImportedResult:
    result = read_result(folder)
    earlier = [node for node in find_results(case.folder, role, model) if not was_edited(node)]
    name = f"{_title(case.folder, ct)} {model or role}"
    grid, fit = _grid_to_show(ct, result.grid, segmented)
    node = _segmentation(result, grid, name)
    if earlier:
        node = _replaced(earlier[0], node)
    else:
        node.SetName(_free_name(name, node))
    for key, value in ((CASE_FOLDER, str(case.folder)), (ROLE, role), (MODEL, model), (FINGERPRINT, fingerprint(node))):
        node.SetAttribute(key, value)
    if ct is not None:
        node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), ct.GetID())
    return ImportedResult(node, role, model, result.missing, fit)


def _grid_to_show(ct: Any | None, stored: Grid, segmented: Grid | None) -> tuple[Grid, str]:
    """Return the grid for a result, and how the CT node lies to the stored one.

    That is the very grid of the CT node when it is the stored one, as files keep an affine in float32 only, or when the node was
    moved since it was segmented; else the stored one.
    """
    if ct is None:
        return stored, ""
    try:
        grid = grid_of_node(ct)
    except AtlasError:  # no voxels any more, or bent by a transform that is not linear
        return stored, CHANGED
    if _same(grid, stored):
        return grid, SAME
    moved = segmented is not None and _same(segmented, stored) and grid.shape == stored.shape
    return (grid, MOVED) if moved else (stored, CHANGED)


def _same(a: Grid, b: Grid) -> bool:
    return same_grid(a.shape, a.affine, b.shape, b.affine)


def _segmentation(result: ResultLabels, grid: Grid, name: str) -> Any:
    node = segmentation_from_labels(result.labels, name)
    for organ, mask, value in result.layers:
        add_segment(node, organ, mask, value)
    _anchor(node, result.grid, grid)
    return node


def _anchor(node: Any, stored: Grid, grid: Grid) -> None:
    """Turn segments that lie on parts of a stored grid into such that have the same voxels of a grid of its shape: one geometry."""
    set_reference_geometry(node, grid)
    inner = node.GetSegmentation()
    segments = [inner.GetSegment(identifier) for identifier in inner.GetSegmentIDs()]
    for image in dict.fromkeys(segment.GetRepresentation(_LABELMAP) for segment in segments):
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        start = np.rint(np.linalg.inv(stored.affine) @ matrix_of(matrix)[:, 3])[:3].astype(int)
        image.SetExtent(*(int(edge + start[number // 2]) for number, edge in enumerate(image.GetExtent())))
        image.SetGeometryFromImageToWorldMatrix(vtk_matrix(grid.affine))


def _replaced(earlier: Any, node: Any) -> Any:
    """Give an earlier node, to which others may refer, the segments of a new one, which is removed."""
    with slicer.util.NodeModify(earlier):
        earlier.GetSegmentation().DeepCopy(node.GetSegmentation())
    slicer.mrmlScene.RemoveNode(node)
    return earlier


def _free_name(name: str, node: Any) -> str:
    taken = {other.GetName() for other in slicer.util.getNodesByClass(_SEGMENTATION) if other is not node}
    number, free = 2, name
    while free in taken:
        free, number = f"{name} {number}", number + 1
    return free


def find_results(case: Path, role: str | None = None, model: str | None = None) -> list[Any]:
    """Return the segmentation nodes that were imported from a case folder, in the order of the scene."""
    wanted = {CASE_FOLDER: str(case), ROLE: role, MODEL: model}
    return [
        node
        for node in slicer.util.getNodesByClass(_SEGMENTATION)
        if node.GetAttribute(FINGERPRINT) and all(value is None or (node.GetAttribute(key) or "") == value for key, value in wanted.items())
    ]


def was_edited(node: Any) -> bool:
    """Tell whether the segments of an imported node are other than when they were imported."""
    return bool(node.GetAttribute(FINGERPRINT) != fingerprint(node))


def fingerprint(node: Any) -> str:
    """Return a SHA-256 over names, label values and voxels of a segmentation; colors and display do not count."""
    inner = node.GetSegmentation()
    digest = hashlib.sha256(str(node.GetTransformNodeID() or "").encode())
    layers: dict[Any, int] = {}
    for identifier in inner.GetSegmentIDs():
        segment = inner.GetSegment(identifier)
        image = segment.GetRepresentation(_LABELMAP)
        known = image in layers
        layer = layers.setdefault(image, len(layers))
        digest.update(f"{identifier}|{segment.GetName()}|{segment.GetLabelValue()}|{layer}".encode())
        if image is not None and not known:
            _add_voxels(digest, image)
    return digest.hexdigest()


def _add_voxels(digest: Any, image: Any) -> None:
    scalars = image.GetPointData().GetScalars()
    if scalars is None:
        return
    extent = image.GetExtent()
    array = vtk_to_numpy(scalars).reshape([b - a + 1 for a, b in zip(extent[::2], extent[1::2], strict=True)], order="F")
    crop: list[slice] = []
    for axis in range(3):  # the box that is filled: the box that is stored differs after saving and loading
        used = np.flatnonzero(array.any(axis=tuple(other for other in range(3) if other != axis)))
        crop.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0))
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    placed = matrix_of(matrix)
    placed[:, 3] = placed @ [*(extent[2 * axis] + crop[axis].start for axis in range(3)), 1]
    digest.update(str((np.round(placed, 2) + 0.0).tolist()).encode())  # + 0.0 makes -0.0 a 0.0
    filled = array[tuple(crop)]
    narrow = array.dtype.itemsize == 1 or not filled.size or int(filled.max()) < 256  # a file may be loaded as a wider type
    for number in range(filled.shape[2]):
        digest.update(filled[:, :, number].astype(np.uint8 if narrow else np.uint16, copy=False).tobytes(order="F"))


def _folder_of(case: Path, ct: Any | None) -> int:
    """Return the subject-hierarchy folder of a case, made beside the CT when there is none yet."""
    hierarchy = _hierarchy()
    top = int(hierarchy.GetSceneItemID())
    children = vtk.vtkIdList()
    hierarchy.GetItemChildren(top, children, True)
    for number in range(children.GetNumberOfIds()):
        item = int(children.GetId(number))
        if hierarchy.GetItemDataNode(item) is None and hierarchy.GetItemAttribute(item, CASE_FOLDER) == str(case):
            return item
    beside = int(hierarchy.GetItemByDataNode(ct)) if ct is not None else 0
    parent = int(hierarchy.GetItemParent(beside)) if beside else top
    item = int(hierarchy.CreateFolderItem(parent or top, _title(case, ct)))
    hierarchy.SetItemAttribute(item, CASE_FOLDER, str(case))
    return item


def _title(case: Path, ct: Any | None) -> str:
    """Return what the user calls the case."""
    return str(ct.GetName()) if ct is not None else case.name


def _hierarchy() -> Any:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
