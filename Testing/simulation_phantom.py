"""A case for simulated reviews, made of numbers: three models that err as real ones do, and the truth."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from AtlasReviewLib.simulation import PerfectEditor
from AtlasReviewLib.simulation_case import Stack
from AtlasReviewLib.simulation_read import CasePredictions, OrganArrays, predictions_of_arrays
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.classes import class_of
from AtlasSegmentLib.encoding import entropy_bytes, soft_bytes
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.sparse import from_dense
from AtlasSegmentLib.volume import Grid, Volume, reorient

SHAPE, SPACING = (44, 40, 48), (2.0, 2.5, 3.0)
ORGANS = ("spleen", "pancreas", "liver", "stomach")
MODELS = ("a", "b", "c")
Array = npt.NDArray[np.float64]


def affine() -> Array:
    """Return index to RAS mm."""
    matrix = np.diag([*SPACING, 1.0])
    matrix[:3, 3] = (-40.0, -50.0, 10.0)
    return matrix


def _ellipsoid(center: tuple[float, float, float], radii: tuple[float, float, float]) -> Array:
    """Return a depth in voxels: above 0 inside, (X, Y, Z)."""
    index = np.indices(SHAPE).astype(float)
    relative = [(axis - c) / r for axis, c, r in zip(index, center, radii, strict=True)]
    return np.asarray((1 - np.sqrt(sum(part**2 for part in relative))) * min(radii))


@cache
def depths() -> dict[str, tuple[Array, list[Array]]]:
    """Return for each organ the true depth and what each model takes for it.

    Where models err they also disagree, more in some slices than in others. All of them draw the spleen too small, the
    pancreas is missed but for its middle, the stomach looks worse than it is.
    """
    random = np.random.default_rng(5)
    made = {
        "spleen": (_ellipsoid((10, 28, 24), (7, 8, 19)), -1.6, 0.9, 0.6),
        "pancreas": (_ellipsoid((24, 31, 13), (6, 5, 7)), -2.6, 0.5, 0.5),
        "liver": (_ellipsoid((32, 14, 27), (11, 11, 17)), 0.0, 1.1, 0.9),
        "stomach": (_ellipsoid((11, 10, 19), (8, 8, 13)), 0.0, 0.3, 1.6),
    }
    return {organ: (depth, _models(depth, bias, common, own, random)) for organ, (depth, bias, common, own) in made.items()}


def _models(depth: Array, bias: float, common: float, own: float, random: np.random.Generator) -> list[Array]:
    """Return what three models see: errors that they share and errors of each, smooth, and larger in some slices."""
    strength = 0.5 + 1.5 * np.sin(np.arange(SHAPE[2]) / 7 + random.uniform(0, 6)) ** 2
    shared = common * _smooth(random)
    return [depth + strength * (bias / 1.25 + shared + own * _smooth(random)) for _ in MODELS]


def _smooth(random: np.random.Generator) -> Array:
    """Return a smooth random field with mean 0 and standard deviation 1."""
    field = gaussian_filter(random.normal(size=SHAPE), 3)
    return np.asarray((field - field.mean()) / field.std())


def probability(depth: Array) -> npt.NDArray[np.float32]:
    """Return a probability that falls off over about a voxel."""
    return (1 / (1 + np.exp(-np.clip(depth / 0.7, -30, 30)))).astype(np.float32)


def truth() -> dict[str, npt.NDArray[np.bool_]]:
    """Return the true masks."""
    return {organ: depth > 0 for organ, (depth, _) in depths().items()}


def phantom(orientation: str = "RAS", slices: str = "auto", tilt: Array | None = None) -> tuple[CasePredictions, list[Stack]]:
    """Return predictions and, apart, the true masks, from arrays in an orientation."""
    arrays, true = {}, []
    placed = affine() if tilt is None else tilt @ affine()
    grid: Grid | None = None
    for organ, (depth, models) in depths().items():
        probabilities = np.stack([probability(model) for model in models])
        mean = probabilities.mean(axis=0)
        turned = [reorient(array, placed, orientation)[0] for array in (*probabilities, mean > 0.5, depth > 0)]
        grid = Grid(turned[0].shape, reorient(mean, placed, orientation)[1])
        arrays[organ] = OrganArrays(np.stack(turned[:3]), np.stack(turned[:3]) > 0.5, turned[3])
        true.append(from_dense(turned[4], grid))
    assert grid is not None
    found = predictions_of_arrays("phantom", arrays, grid, slices)
    return found, [Stack(found.axes.turned(mask)) for mask in true]


def editor(found: CasePredictions, true: list[Stack]) -> PerfectEditor:
    """Return the reader who knows the truth."""
    return PerfectEditor(found.organs, true)


def write_case(folder: Path, orientation: str = "RAS") -> tuple[CaseFolder, Path]:
    """Write the phantom as a case folder with averages, and its reference label map beside the dataset; return both."""
    case = CaseFolder(folder)
    labels = np.zeros(SHAPE, np.uint8)
    _write(case.ct, np.zeros(SHAPE, np.int16), orientation)
    for organ, (depth, models) in depths().items():
        probabilities = [probability(model) for model in models]
        for name, values in zip(MODELS, probabilities, strict=True):
            _write(case.backbone(name).map("soft_pred", organ), np.where(values > 0.2, soft_bytes(values), 0).astype(np.uint8), orientation)
            _write(case.backbone(name).map("entropy", organ), entropy_bytes(values), orientation)
        _write(case.average.mask(organ), (np.mean(probabilities, axis=0) > 0.5).astype(np.uint8), orientation)
        labels[depth > 0] = class_of(organ)
    reference = folder.parent.parent / "truth" / f"{folder.name}.nii.gz"
    _write(reference, labels, orientation)
    return case, reference


def _write(path: Path, array: npt.NDArray[np.generic], orientation: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, Volume(np.asfortranarray(array), affine()).reoriented(orientation))
