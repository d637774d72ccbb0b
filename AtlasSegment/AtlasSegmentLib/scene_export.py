"""A segmentation node as organs to export: masks on the grid of the CT it belongs to, values, colors and codes kept."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk

from AtlasSegmentLib.dicom_codes import snomed_of_terminology
from AtlasSegmentLib.dicom_seg import SegDetails
from AtlasSegmentLib.dicom_seg_source import read_source_series, turned
from AtlasSegmentLib.errors import InputError, StorageError
from AtlasSegmentLib.export import require_free
from AtlasSegmentLib.export_organs import Organ
from AtlasSegmentLib.files import atomic_path
from AtlasSegmentLib.labels import Structure, structure_for
from AtlasSegmentLib.scene import MODEL, ROLE, grid_of_node, matrix_of, vtk_matrix, world_of
from AtlasSegmentLib.scene_results import FINGERPRINT, was_edited
from AtlasSegmentLib.scene_segmentation import VALUE_TAG, mask_of_segment, value_of_segment
from AtlasSegmentLib.terminology import terminology_of
from AtlasSegmentLib.volume import Array, Grid

_INSTANCES = "DICOM.instanceUIDs"


def reference_volume(segmentation: Any) -> Any:
    """Return the volume node that a segmentation belongs to, or None."""
    return segmentation.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())


def export_grid(segmentation: Any, ct: Any = None) -> Grid:
    """Return the grid that a segmentation is exported on, in world RAS mm: its CT's, else its reference geometry, else that of `ct`.

    Raises:
        GeometryError: It has none, or one of them is under a transform that is not linear.
        InputError: The CT has no voxels.
    """
    volume = reference_volume(segmentation)
    if volume is None and ct is not None and not _has_geometry(segmentation):
        volume = ct
    return grid_of_node(segmentation if volume is None else volume)


def _has_geometry(segmentation: Any) -> bool:
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    return bool(segmentation.GetSegmentation().GetConversionParameter(name))


def organs_of_segmentation(segmentation: Any, grid: Grid) -> list[Organ]:
    """Return the segments of a segmentation node as organs, in the order of the list of segments.

    A mask is made when it is asked for: parent transforms applied, voxels copied where they are those of the grid, the
    nearest one taken elsewhere. The value is the published one; a segment that was added to published ones by hand has none.

    Raises:
        GeometryError: The segmentation is under a transform that is not linear.
    """
    world_of(segmentation)  # a wrong transform is said here, not in the middle of an export
    inner = segmentation.GetSegmentation()
    ids = [str(identifier) for identifier in inner.GetSegmentIDs()]
    published = any(inner.GetSegment(identifier).HasTag(VALUE_TAG) for identifier in ids)
    organs = []
    for identifier in ids:
        segment = inner.GetSegment(identifier)
        value = value_of_segment(segmentation, identifier) if segment.HasTag(VALUE_TAG) or not published else None
        organs.append(Organ(str(segment.GetName()), structure_of_segment(segment), _reader(segmentation, identifier, grid), value))
    return organs


def _reader(segmentation: Any, identifier: str, grid: Grid) -> Callable[[], Array]:
    return lambda: mask_of_segment(segmentation, identifier, grid).array


def voxels_outside(segmentation: Any, grid: Grid) -> dict[str, int]:
    """Return how many voxels (of the size of the grid's) each segment has outside of a grid; an export would cut them off.

    Raises:
        GeometryError: The segmentation is under a transform that is not linear.
    """
    to_index, inner = np.linalg.inv(grid.affine) @ world_of(segmentation), segmentation.GetSegmentation()
    lost: dict[str, int] = {}
    for identifier in inner.GetSegmentIDs():
        bounds = [0.0] * 6
        inner.GetSegment(identifier).GetBounds(bounds)
        if bounds[0] > bounds[1]:  # an empty segment
            continue
        corners = np.array([[x, y, z, 1] for x in bounds[:2] for y in bounds[2:4] for z in bounds[4:]]).T
        reach = (to_index @ corners)[:3]
        low = np.minimum(np.floor(reach.min(axis=1) + 0.5), 0).astype(int)
        high = np.maximum(np.ceil(reach.max(axis=1) + 0.5), grid.shape).astype(int)
        if (low == 0).all() and (high == grid.shape).all():
            continue
        count = _count_outside(segmentation, str(identifier), grid, low, high)
        if count:
            lost[str(inner.GetSegment(identifier).GetName())] = count
    return lost


def _count_outside(segmentation: Any, identifier: str, grid: Grid, low: Array, high: Array) -> int:
    shift = np.eye(4)
    shift[:3, 3] = low
    x, y, z = (high - low).tolist()
    mask = mask_of_segment(segmentation, identifier, Grid((x, y, z), grid.affine @ shift)).array
    inside = mask[tuple(slice(-first, size - first) for first, size in zip(low.tolist(), grid.shape, strict=True))]
    return int(np.count_nonzero(mask)) - int(np.count_nonzero(inside))


def structure_of_segment(segment: Any) -> Structure:
    """Return what a segment is: its name's structure with the color that it has in the scene, and with the code of its
    terminology where a person chose another one."""
    structure = structure_for(str(segment.GetName()))
    red, green, blue = (round(channel * 255) for channel in segment.GetColor())
    entry = str(segment.GetTerminology() or "")
    if entry and entry != terminology_of(structure):
        structure = replace(structure, snomed=snomed_of_terminology(entry) or structure.snomed)
    return replace(structure, color=(red, green, blue))


def dicom_files_of(segmentation: Any, ct: Any = None) -> list[Path]:
    """Return the DICOM files of the CT that a segmentation belongs to (else of `ct`), from Slicer's DICOM database.

    Raises:
        InputError: There is no CT, it was not loaded from DICOM, or its files are no longer there; the message is the reason to show.
    """
    volume = reference_volume(segmentation) or ct
    if volume is None:
        message = f"{segmentation.GetName()} belongs to no CT in the scene, and a DICOM segmentation refers to the CT's DICOM files."
        raise InputError(message, "Choose the CT as source volume in the Segment Editor, or choose the folder of its DICOM files.")
    instances = str(volume.GetAttribute(_INSTANCES) or "").split()
    if not instances:
        message = f"{volume.GetName()} was not loaded from DICOM, and a DICOM segmentation refers to the CT's DICOM files."
        raise InputError(message, "Choose the folder of its DICOM files, or another format.")
    database = getattr(slicer, "dicomDatabase", None)
    found = [str(database.fileForInstance(uid) or "") if database is not None else "" for uid in instances]
    missing = sum(1 for name in found if not name or not Path(name).is_file())
    if missing:
        message = f"{missing} of the {len(found)} DICOM files of {volume.GetName()} are not in Slicer's DICOM database."
        raise InputError(message, "Import the series again (DICOM module), or choose the folder of its DICOM files.")
    return [Path(name) for name in found]


def dicom_grids(segmentation: Any, files: Sequence[Path], ct: Any = None) -> tuple[Grid, Grid]:
    """Return (where the slices are in the world, where they are by DICOM), index by index the same voxels.

    The two differ when the CT is under a transform in the scene: the segmentation is then read where the CT is shown, and stored where
    its slices are.

    Raises:
        InputError: The files are no series of slices.
        GeometryError: The CT in the scene does not lie on the voxels of the files, or a transform is not linear.
    """
    source = read_source_series(files).grid
    volume = reference_volume(segmentation) or ct
    if volume is None:
        return source, source
    own = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(own)
    x, y, z = volume.GetImageData().GetDimensions()
    grid = Grid((x, y, z), matrix_of(own), str(volume.GetName()))
    turned(np.broadcast_to(np.False_, grid.shape), grid, source)  # raises when they are not the same voxels
    return Grid(source.shape, world_of(volume) @ source.affine, source.source), source


def details_of(segmentation: Any) -> SegDetails:
    """Return what a DICOM segmentation says about itself: the model that drew it, and whether a person corrected it."""
    model, role = str(segmentation.GetAttribute(MODEL) or ""), str(segmentation.GetAttribute(ROLE) or "")
    name = str(segmentation.GetName())
    corrected = segmentation.GetAttribute(FINGERPRINT) is not None and was_edited(segmentation)
    if role in {"model", "average"} and not corrected:
        return SegDetails(name, "AUTOMATIC", model or f"Atlas Annotator {role}")
    return SegDetails(name, "SEMIAUTOMATIC", model or "Atlas Annotator")  # corrected, or nobody knows who drew it


def write_seg_nrrd(path: Path, segmentation: Any, *, overwrite: bool = False) -> list[Path]:
    """Write a segmentation as .seg.nrrd with Slicer's own storage node, atomically: names, colors, terminology, tags, values, overlaps.

    A linear parent transform is applied to a copy, so that the file lies where the segmentation is shown.

    Raises:
        InputError: A file is there already, or there are no segments.
        GeometryError: The parent transform is not linear.
        StorageError: The file cannot be written.
    """
    require_free([Path(path)], overwrite)
    if segmentation.GetSegmentation().GetNumberOfSegments() == 0:
        message = "There is no organ to export."
        raise InputError(message, "Segment the CT first, or choose another segmentation.")
    copy = _hardened_copy(segmentation)
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetScene(slicer.mrmlScene)
    # Slicer chooses the format by the name, so the file is made under its own name in a folder of its own and copied.
    with tempfile.TemporaryDirectory(prefix="atlas-export-") as folder, atomic_path(Path(path)) as temporary:
        made = Path(folder) / "segmentation.seg.nrrd"
        storage.SetFileName(str(made))
        if not storage.WriteData(copy) or not made.is_file():
            message = f"{path}: Slicer could not write the segmentation."
            raise StorageError(message, "See the log (Help, Report a Bug) for the cause; check the free space of the temporary folder.")
        shutil.copyfile(made, temporary)
    return [Path(path)]


def _hardened_copy(segmentation: Any) -> Any:
    """Return a copy outside the scene, as binary label maps in world RAS."""
    world = world_of(segmentation)
    copy = slicer.vtkMRMLSegmentationNode()
    copy.SetName(segmentation.GetName())
    inner = copy.GetSegmentation()
    inner.DeepCopy(segmentation.GetSegmentation())
    binary = slicer.vtkSegmentationConverter.GetBinaryLabelmapRepresentationName()
    if inner.GetSourceRepresentationName() != binary:
        inner.CreateRepresentation(binary)
        inner.SetSourceRepresentationName(binary)
    if not np.allclose(world, np.eye(4)):
        copy.ApplyTransformMatrix(vtk_matrix(world))
    return copy
