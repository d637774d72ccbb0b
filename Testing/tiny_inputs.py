"""A CT of a few thousand voxels and networks of a few bytes: every command of the program finishes on them within a second."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.markups import Roi, write_roi
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Volume

SHAPE = (40, 36, 32)
SPACING = 4.0
ORGANS = ("spleen", "pancreas", "liver", "stomach")
LITS_LIVER = 1
_TISSUE_HU = 20.0
_STEP_HU = 100.0
_CENTERS = ((10, 14, 20), (20, 20, 14), (30, 18, 20), (15, 24, 22))
_RADII = (5.0, 4.0, 7.0, 4.5)


@dataclass(frozen=True)
class TinyInputs:
    """Paths of one set of inputs; `original` holds LiTS values (1 liver, 2 tumor)."""

    folder: Path
    ct: Path
    roi: Path
    models: tuple[Path, ...]
    original: Path

    def model_options(self) -> list[str]:
        """Return `--model FOLDER` for each model."""
        return [part for model in self.models for part in ("--model", str(model))]


def make_inputs(folder: Path, models: int = 2) -> TinyInputs:
    """Write a CT, its ROI, original labels and models below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    ct, roi, original = folder / "ct.nii.gz", folder / "roi.mrk.json", folder / "original.nii.gz"
    write_nifti(ct, tiny_ct())
    write_nifti(original, tiny_original())
    write_roi(roi, Roi(_center(), np.eye(3), np.array(SHAPE) * SPACING))
    made = [make_model(folder / f"model{number}", f"tiny-{number}", softness=4000.0 * number) for number in range(1, models + 1)]
    return TinyInputs(folder, ct, roi, tuple(made), original)


def affine() -> npt.NDArray[np.float64]:
    """Return the affine of all tiny volumes: LPS order of the axes, so that flips matter."""
    matrix = np.diag([-SPACING, -SPACING, SPACING, 1.0])
    matrix[:3, 3] = (SPACING * SHAPE[0] / 2, SPACING * SHAPE[1] / 2, -30.0)
    return matrix


def _center() -> npt.NDArray[np.float64]:
    return (affine() @ np.array([*((np.array(SHAPE) - 1) / 2), 1.0]))[:3]


def tiny_ct() -> Volume:
    """Return the CT, int16 HU: air, a body, and each organ brighter than the one before, all with some noise."""
    array = np.full(SHAPE, -1000.0)
    array[_ball((20, 18, 16), 16.5)] = _TISSUE_HU
    for number in range(len(ORGANS)):
        array[organ_mask(number)] = _STEP_HU * (number + 1)
    array += np.random.default_rng(7).normal(0, 15, SHAPE)
    return Volume(array.astype(np.int16), affine(), "tiny CT")


def tiny_original() -> Volume:
    """Return original labels, uint8 LiTS values."""
    return Volume(organ_mask(ORGANS.index("liver")).astype(np.uint8) * np.uint8(LITS_LIVER), affine(), "tiny labels")


def organ_mask(number: int) -> npt.NDArray[np.bool_]:
    """Return where an organ of ORGANS is, bool (X, Y, Z)."""
    return _ball(_CENTERS[number], _RADII[number])


def _ball(center: tuple[int, int, int], radius: float) -> npt.NDArray[np.bool_]:
    index = np.indices(SHAPE)
    return np.asarray(sum((axis - c) ** 2 for axis, c in zip(index, center, strict=True)) < radius**2)


def make_model(folder: Path, name: str, softness: float = 4000.0, organs: tuple[str, ...] = ORGANS, **changes: Any) -> Path:
    """Write a model folder whose network names each voxel by its HU alone (a 1x1x1 convolution); return the folder.

    Args:
        folder: Made when missing.
        name: The model's name.
        softness: Larger means less sure, so that two models disagree.
        organs: Names of its structures.
        changes: Other entries of model.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = _network(len(organs), softness)
    (folder / "model.onnx").write_bytes(network)
    manifest = {
        "format": "atlas-model/1",
        "name": name,
        "engine": "onnx",
        "file": "model.onnx",
        "sha256": hashlib.sha256(network).hexdigest(),
        "input": {"orientation": "RAS", "fit_shape": [32, 32, 32]},
        "labels": {"0": "background", **{str(value): organ for value, organ in enumerate(organs, start=1)}},
        **changes,
    }
    (folder / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def _network(organs: int, softness: float) -> bytes:
    """Return an ONNX network: logit of class c is -(HU - mean of c)^2 / softness, less what all classes share."""
    from onnx import TensorProto, checker, helper, numpy_helper

    means = np.array([_TISSUE_HU, *(_STEP_HU * (number + 1) for number in range(organs))], np.float32)
    weight = numpy_helper.from_array((2 * means / softness).astype(np.float32).reshape(-1, 1, 1, 1, 1), "weight")
    bias = numpy_helper.from_array((-(means**2) / softness).astype(np.float32), "bias")
    size = ["x", "y", "z"]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "bias"], ["logits"], kernel_shape=[1, 1, 1])],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, *size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, organs + 1, *size])],
        [weight, bias],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())
