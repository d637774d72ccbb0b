"""A small case folder with two models that disagree, made of numbers alone: for the module's self-test and for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.encoding import entropy_bytes
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Array, Volume

SHAPE = (64, 56, 40)
SPACING = (2.0, 2.0, 3.0)
ORIGIN = (-64.0, -56.0, -60.0)  # RAS mm of the first voxel
MODELS = ("first", "second")
_ORGANS = {
    "liver": ((44, 30, 20), (13, 14, 12), 140),
    "spleen": ((14, 34, 24), (7, 8, 7), 120),
    "kidney_left": ((20, 20, 12), (5, 6, 8), 180),
}
_BLUR = 0.25  # of a radius: how soft the border of a prediction is
_GROWN = {"liver": (0, 0, 0.6), "spleen": (0.7, 0, 0), "kidney_left": (0, 0, 0)}  # which way the second model goes too far


def phantom_affine() -> npt.NDArray[np.float64]:
    """Return the affine of the phantom, (4, 4), RAS mm."""
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = ORIGIN
    return affine


def phantom_organ(name: str) -> npt.NDArray[np.bool_]:
    """Return the true mask of an organ, (X, Y, Z)."""
    return np.asarray(_distance(name, (0, 0, 0)) < 1)


def _distance(name: str, shift: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Return the distance from the middle of an organ in radii, shifted by a share of its radii."""
    center, radii, _ = _ORGANS[name]
    index = np.indices(SHAPE).astype(float)
    parts = [((axis - c) / r - s) ** 2 for axis, c, r, s in zip(index, center, radii, shift, strict=True)]
    return np.asarray(np.sqrt(sum(parts)))


def phantom_ct() -> Volume:
    """Return the CT, int16 HU: a body with a liver, a spleen and a left kidney, with some noise."""
    index = np.indices(SHAPE).astype(float)
    body = ((index[0] - 32) / 30) ** 2 + ((index[1] - 28) / 25) ** 2 < 1
    array = np.where(body, 20.0, -1000.0)
    for name, (_, _, hu) in _ORGANS.items():
        array[phantom_organ(name)] = hu
    array += np.random.default_rng(7).normal(0, 10, SHAPE)
    return Volume(np.asfortranarray(array.astype(np.int16)), phantom_affine(), "phantom")


def write_phantom_case(folder: Path) -> CaseFolder:
    """Write a case folder with the CT and what two models say; where the second one goes too far it is unsure."""
    case = CaseFolder(folder)
    case.folder.mkdir(parents=True, exist_ok=True)
    write_nifti(case.ct, phantom_ct())
    for model in MODELS:
        for name in _ORGANS:
            _write_prediction(case, model, name)
    return case


def _write_prediction(case: CaseFolder, model: str, organ: str) -> None:
    probability = _soft(_distance(organ, (0, 0, 0)))
    if model == MODELS[1]:
        grown = 0.7 * _soft(_distance(organ, _GROWN[organ]))
        probability = np.maximum(probability, grown)
    maps: dict[str, Array] = {
        "soft_pred": (probability * 255).astype(np.uint8),
        "entropy": entropy_bytes(probability),
        "segmentations": (probability > 0.5).astype(np.uint8),
    }
    for kind, array in maps.items():
        path = case.backbone(model).map(kind, organ)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_nifti(path, Volume(np.asfortranarray(array), phantom_affine()))


def _soft(distance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.clip((1 - distance) / _BLUR + 0.5, 0, 1))
