"""The grid of a case and binary masks on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib import geometry
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, GeometryError, InputError
from AtlasSegmentLib.nifti import read_grid, read_nifti
from AtlasSegmentLib.volume import Array, Grid, Volume, require_same_grid

Mask = npt.NDArray[np.bool_]
_SHOWN = 8


def case_grid(case: CaseFolder) -> Grid:
    """Return the grid that every mask of a case lies on: the CT's, or the predictions' where there is no CT.

    Raises:
        DatasetError: The case has neither.
        InputError: The file is damaged.
    """
    candidates = [case.ct, case.average.pseudo_label, *(case.backbone(model).pseudo_label for model in case.models())]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        message = f"{case.folder}: the case has neither ct.nii.gz nor a pseudo_label.nii.gz to say where its voxels lie."
        raise DatasetError(message, "Segment it first: atlas segment.")
    return read_grid(found)


def on_grid(volume: Volume, grid: Grid) -> Volume:
    """Return the volume with its axes permuted and flipped to the array order of `grid`; voxels are never resampled.

    Any signed permutation of the axes is undone exactly, for oblique affines of any angle too.

    Raises:
        GeometryError: The voxels do not lie on the grid.
    """
    relation = np.linalg.solve(np.asarray(grid.affine)[:3, :3], np.asarray(volume.affine)[:3, :3])
    steps = np.rint(relation).astype(int)
    if (np.abs(steps).sum(axis=0) != 1).any() or (np.abs(steps).sum(axis=1) != 1).any():
        require_same_grid(volume, grid)
        message = f"{volume.source or 'volume'} does not lie on the grid of {grid.source}: its axes point elsewhere."
        raise GeometryError(message, "Resample it onto that grid first: atlas resample MASK NEW --like CT --labels.")
    order = [int(np.flatnonzero(steps[axis])[0]) for axis in range(3)]
    sign = [int(steps[axis, order[axis]]) for axis in range(3)]
    array = volume.array.transpose(order)[tuple(slice(None, None, s) for s in sign)]
    affine = geometry.reorient_affine(volume.affine, volume.shape, order, sign)
    turned = Volume(array, affine, volume.source or "mask", volume.header)
    require_same_grid(turned, grid)
    return Volume(array, grid.affine, turned.source, grid.header)


def as_binary(array: Array, source: str) -> Mask:
    """Return a mask of 0 and 1 (any dtype) as bool.

    Raises:
        InputError: There are other values; the message lists them.
    """
    if array.dtype == np.bool_:
        return array
    mask = np.empty(array.shape, dtype=np.bool_, order="F")
    others: set[float] = set()
    for z in range(array.shape[2]):
        np.equal(array[:, :, z], 1, out=mask[:, :, z])
        strange = array[:, :, z][~mask[:, :, z] & (array[:, :, z] != 0)]
        if strange.size and len(others) <= _SHOWN:
            others.update(float(value) for value in np.unique(strange)[: _SHOWN + 1])
    if others:
        shown = ", ".join(f"{value:g}" for value in sorted(others)[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
        message = f"{source or 'mask'}: a mask holds 0 and 1 only, got {shown}."
        raise InputError(message, "Export one segment as a binary label map (1 inside, 0 outside).")
    return mask


def read_mask(path: Path, grid: Grid) -> Mask:
    """Read a mask file and return it in the array order of `grid`, bool (X, Y, Z).

    Raises:
        InputError: The file is damaged or not binary.
        GeometryError: It lies on another grid.
    """
    volume = on_grid(read_nifti(path), grid)
    return as_binary(volume.array, str(path))
