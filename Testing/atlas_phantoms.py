"""A CT phantom that no mirror or turn maps onto itself, real ONNX networks of a few bytes, and case folders made of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.markups import Roi, write_roi
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Volume

Matrix = npt.NDArray[np.float64]

SHAPE = (34, 30, 22)
SPACING = (3.0, 3.5, 5.0)
ORIGIN = (-60.0, 20.0, -110.0)  # RAS mm of the first voxel of the RAS phantom
ORGANS = ("spleen", "liver", "kidney_left")
TISSUE_HU, ORGAN_HU = 20.0, (150.0, 300.0, 450.0)
_AIR_HU = -1000.0
_BLOBS = (((8.0, 18.0, 14.0), 5.0), ((23.0, 15.0, 13.0), 7.0), ((10.0, 8.0, 7.0), 4.0))  # center (voxels) and radius of each organ

SOFTNESS = 5000.0
_BLUR = np.array([0.15, 0.65, 0.20])  # not symmetric: a network that is shown the wrong orientation gives another answer


def ras_affine() -> Matrix:
    """Return the affine of the phantom in RAS order."""
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = ORIGIN
    return affine


def ct(orientation: str = "RAS", degrees: float = 0.0) -> Volume:
    """Return the phantom, int16 HU: air, body and three organs, with some noise.

    Args:
        orientation: Order in which its axes are stored; the place of every voxel in the body stays the same.
        degrees: Turn the whole case in space by this angle (see `turned`).
    """
    array = np.full(SHAPE, _AIR_HU)
    array[_ellipsoid((16.5, 14.5, 10.5), (15.0, 13.0, 9.6))] = TISSUE_HU
    for number, hu in enumerate(ORGAN_HU):
        array[organ(number)] = hu
    array += np.random.default_rng(3).normal(0, 12, SHAPE)
    volume = Volume(np.asfortranarray(array.astype(np.int16)), ras_affine(), "phantom").reoriented(orientation)
    return replace(volume, affine=turn(degrees) @ volume.affine)


def organ(number: int) -> npt.NDArray[np.bool_]:
    """Return the voxels of an organ of ORGANS in the RAS phantom."""
    center, radius = _BLOBS[number]
    return _ellipsoid(center, (radius, radius * 0.9, radius * 0.7))


def _ellipsoid(center: Sequence[float], radii: Sequence[float]) -> npt.NDArray[np.bool_]:
    index = np.indices(SHAPE)
    return np.asarray(sum(((axis - c) / r) ** 2 for axis, c, r in zip(index, center, radii, strict=True)) < 1)


def turn(degrees: float) -> Matrix:
    """Return a rotation of space about a tilted axis, 4x4."""
    from scipy.spatial.transform import Rotation

    axis = np.array([0.3, -0.5, 0.8])
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis)).as_matrix()
    return matrix


def roi(degrees: float = 0.0) -> Roi:
    """Return a box around the organs that cuts the body, turned with the case."""
    rotation = turn(degrees)[:3, :3]
    low, high = np.array([2.0, 2.0, 2.0]), np.array([31.0, 26.0, 20.0])
    center = ras_affine()[:3, :3] @ ((low + high) / 2) + ORIGIN
    return Roi(rotation @ center, rotation, (high - low) * SPACING)


def network(weight: npt.ArrayLike, bias: npt.ArrayLike, *, blur: bool = True, size: Sequence[int] | None = None, inputs: int = 1) -> bytes:
    """Return an ONNX network: a 3x3x3 smoothing, then for each channel a linear function of the HU.

    Args:
        weight: Slope of each channel.
        bias: Offset of each channel.
        blur: Smooth first.
        size: Fix the input to this shape; free when None.
        inputs: More than 1 makes a network that no CT model is.
    """
    from onnx import TensorProto, helper, numpy_helper

    slopes = np.asarray(weight, np.float32).reshape(-1, 1, 1, 1, 1)
    kernel = np.einsum("i,j,k->ijk", _BLUR, _BLUR, _BLUR) if blur else np.pad([[[1.0]]], 1)
    shape = list(size) if size is not None else ["x", "y", "z"]
    images = [f"image{number}" for number in range(inputs)]
    nodes = [helper.make_node("Sum", images, ["all"]), helper.make_node("Conv", ["all", "kernel"], ["smooth"], pads=[1] * 6)]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Conv", ["smooth", "weight", "bias"], ["logits"])],
        "phantom",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, *shape]) for name in images],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(slopes), *shape])],
        [
            numpy_helper.from_array(kernel.astype(np.float32)[None, None], "kernel"),
            numpy_helper.from_array(slopes, "weight"),
            numpy_helper.from_array(np.asarray(bias, np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def softmax_network(means: Sequence[float] = (TISSUE_HU, *ORGAN_HU), softness: float = SOFTNESS, **options: Any) -> bytes:
    """Return a network whose class is the one with the nearest mean HU; a larger `softness` is less sure."""
    mean = np.asarray(means, np.float64)
    return network(2 * mean / softness, -(mean**2) / softness, **options)


def sigmoid_network(thresholds: Sequence[float] = (85.0, 225.0, 375.0), softness: float = 20.0) -> bytes:
    """Return a network whose channels overlap: channel c is everything above a HU."""
    return network(np.full(len(thresholds), 1 / softness), -np.asarray(thresholds) / softness)


WINDOWS: dict[str, Any] = {"orientation": "LPS", "spacing": [4.0, 4.0, 4.0], "patch": [14, 12, 10], "overlap": 0.5}
FIT: dict[str, Any] = {"orientation": "LAI", "fit_shape": [26, 24, 20]}


def make_model(folder: Path, name: str, content: bytes | None = None, *, organs: Sequence[str] = ORGANS, **changes: Any) -> Path:
    """Write a model folder and return it.

    Args:
        folder: Made when missing.
        name: The model's name.
        content: The network; by default `softmax_network()`.
        organs: Structures of label values 1, 2, ...
        changes: Entries of model.json that differ from a softmax model that slides a window.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = softmax_network() if content is None else content
    (folder / "model.onnx").write_bytes(data)
    manifest = {
        "format": "atlas-model/1",
        "name": name,
        "version": "1",
        "license": "Apache-2.0",
        "engine": "onnx",
        "file": "model.onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        "input": WINDOWS,
        "labels": {"0": "background", **{str(value): organ_name for value, organ_name in enumerate(organs, 1)}},
        **changes,
    }
    (folder / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def make_case(folder: Path, volume: Volume | None = None) -> CaseFolder:
    """Write a case folder that holds only a CT."""
    case = CaseFolder(folder)
    write_nifti(case.ct, ct() if volume is None else volume)
    return case


def make_roi(path: Path, degrees: float = 0.0) -> Path:
    """Write the phantom's ROI file and return its path."""
    write_roi(path, roi(degrees))
    return path


def files_below(folder: Path) -> dict[str, tuple[int, int]]:
    """Return relative path to (time of change in ns, size) of every file, hidden ones too."""
    found = {path: path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {str(path.relative_to(folder)): (stat.st_mtime_ns, stat.st_size) for path, stat in found.items()}
