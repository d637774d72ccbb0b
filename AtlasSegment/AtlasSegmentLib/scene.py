"""Where MRML volume nodes and arrays meet: nodes become `Volume` and back, always in world RAS mm.

Segmentation nodes are in `scene_segmentation`. Slicer's [k, j, i] order appears in these two files alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.volume import Array, Grid, Volume

CASE_FOLDER = "AtlasAnnotator.CaseFolder"
"""Node attribute: path of the case folder that the node was read from."""
ROLE = "AtlasAnnotator.Role"
"""Node attribute: "average", "model", "attention", "reference", "edited" or "assembled"."""
MODEL = "AtlasAnnotator.Model"
"""Node attribute: name of the model that drew a segmentation."""


def matrix_of(matrix: Any) -> geometry.Matrix:
    """Return a vtkMatrix4x4 as a (4, 4) float64 array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def vtk_matrix(affine: geometry.Matrix) -> Any:
    """Return a (4, 4) array as a vtkMatrix4x4."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(affine, np.float64).ravel().tolist())
    return matrix


def world_of(node: Any) -> geometry.Matrix:
    """Return the (4, 4) matrix from a node's own RAS to world RAS, identity without a parent transform.

    Raises:
        GeometryError: The node is under a transform that is not linear.
    """
    transform = node.GetParentTransformNode()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        message = f"{node.GetName()} is under the transform {transform.GetName()}, which is not linear."
        raise GeometryError(message, "Harden the transform first (Data module, right-click the transform icon).")
    matrix = vtk.vtkMatrix4x4()
    transform.GetMatrixTransformToWorld(matrix)
    return matrix_of(matrix)


def affine_of_node(node: Any) -> geometry.Matrix:
    """Return the affine of a volume node, voxel index [i, j, k] to world RAS mm, linear parent transforms included.

    Raises:
        GeometryError: The parent transform is not linear, or an axis has no length.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return geometry.check_affine(world_of(node) @ matrix_of(matrix), str(node.GetName()))


def volume_from_node(node: Any) -> Volume:
    """Return the voxels of a scalar or label map volume node as a view, (X, Y, Z), with its affine to world RAS mm.

    Raises:
        InputError: The node has no voxels, or more than one number a voxel (color or vector image).
        GeometryError: As `affine_of_node`.
    """
    image, name = node.GetImageData(), str(node.GetName())
    if image is None or min(image.GetDimensions()) < 1 or image.GetPointData().GetScalars() is None:
        message = f"{name} has no voxels."
        raise InputError(message, "Choose a volume that is loaded.")
    scalars = image.GetPointData().GetScalars()
    if scalars.GetNumberOfComponents() != 1:
        message = f"{name} has {scalars.GetNumberOfComponents()} numbers a voxel; one is needed."
        raise InputError(message, "Choose a gray-scale volume.")
    array = vtk_to_numpy(scalars).reshape(image.GetDimensions(), order="F")
    return Volume(array, affine_of_node(node), name)


def node_from_volume(
    volume: Volume, name: str, class_name: str = "vtkMRMLScalarVolumeNode", window: tuple[float, float] | None = None
) -> Any:
    """Add a volume node with these voxels (copied) to the scene, with a display node.

    Args:
        volume: Any numeric dtype that VTK has; bool becomes uint8, float16 float32.
        name: Name of the node.
        class_name: "vtkMRMLScalarVolumeNode" or "vtkMRMLLabelMapVolumeNode".
        window: (width, level) in HU. None lets Slicer choose from a histogram, which takes a second for a large CT.
    """
    node = slicer.mrmlScene.AddNewNodeByClass(class_name, name)
    if window is not None:  # before the voxels are there, or the histogram is made all the same
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetWindowLevel(*window)
    update_volume_node(node, volume)
    node.CreateDefaultDisplayNodes()
    return node


def update_volume_node(node: Any, volume: Volume) -> None:
    """Replace voxels (copied) and affine of a volume node. The affine is the node's own RAS: no parent transform is undone."""
    image = vtk.vtkImageData()
    image.SetDimensions(*volume.shape)
    image.GetPointData().SetScalars(scalars_of(volume.array))
    with slicer.util.NodeModify(node):
        node.SetIJKToRASMatrix(vtk_matrix(volume.affine))
        node.SetAndObserveImageData(image)


def scalars_of(array: Array) -> Any:
    """Return a copy of an array [x, y, z] as VTK scalars named as Slicer names them."""
    without_vtk_type: dict[Any, Any] = {np.dtype(np.bool_): np.dtype(np.uint8), np.dtype(np.float16): np.dtype(np.float32)}
    stored = without_vtk_type.get(array.dtype, array.dtype)
    flat = array.astype(stored.newbyteorder("="), copy=False).ravel(order="F")
    scalars = numpy_to_vtk(flat, deep=True)
    scalars.SetName("ImageScalars")
    return scalars


def grid_of_node(node: Any) -> Grid:
    """Return the grid of a volume node, or of a segmentation node's reference geometry, in world RAS mm.

    Raises:
        GeometryError: A segmentation without reference geometry; or as `affine_of_node`.
        InputError: A volume node without voxels.
    """
    name = str(node.GetName())
    if not node.IsA("vtkMRMLSegmentationNode"):
        image = node.GetImageData()
        if image is None or min(image.GetDimensions()) < 1:
            message = f"{name} has no voxels."
            raise InputError(message, "Choose a volume that is loaded.")
        x, y, z = image.GetDimensions()
        return Grid((x, y, z), affine_of_node(node), name)
    converter = slicer.vtkSegmentationConverter
    text = node.GetSegmentation().GetConversionParameter(converter.GetReferenceImageGeometryParameterName())
    matrix, extent = vtk.vtkMatrix4x4(), [0, -1, 0, -1, 0, -1]
    if not text or not converter.DeserializeImageGeometry(text, matrix, extent) or extent[1] < extent[0]:
        message = f"{name} has no reference geometry, so it is not known on which voxels it lies."
        raise GeometryError(message, "In the Segment Editor choose the CT as source volume, or set the geometry there.")
    shift = np.eye(4)
    shift[:3, 3] = extent[::2]
    affine = world_of(node) @ matrix_of(matrix) @ shift
    first, last = extent[::2], extent[1::2]
    x, y, z = (b - a + 1 for a, b in zip(first, last, strict=True))
    return Grid((x, y, z), geometry.check_affine(affine, name), name)


def jump_to(ras: tuple[float, float, float]) -> None:
    """Center all slice views on a world position, put the crosshair there and aim every 3D camera at it.

    Args:
        ras: World RAS in mm.
    """
    scene, node_class = slicer.mrmlScene, slicer.vtkMRMLSliceNode
    node_class.JumpAllSlices(scene, *ras, node_class.CenteredJumpSlice)
    crosshair = scene.GetSingletonNode("default", "vtkMRMLCrosshairNode")
    if crosshair is not None:
        crosshair.SetCrosshairRAS(*ras)
    for camera in slicer.util.getNodesByClass("vtkMRMLCameraNode"):
        aim = np.asarray(camera.GetFocalPoint())
        camera.SetPosition(*(np.asarray(camera.GetPosition()) + np.asarray(ras) - aim))
        camera.SetFocalPoint(*ras)
        camera.ResetClippingRange()
