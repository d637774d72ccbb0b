"""Orientation and affines: index [i, j, k] to RAS millimetres, on plain matrices.

An orientation code is three letters, one for each array axis, that name the body direction in which the index grows:
"RAS" means the first index grows toward the right, the second toward the front, the third toward the head.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.errors import GeometryError

Matrix = npt.NDArray[np.float64]

_DIRECTIONS = ("LR", "PA", "IS")
AFFINE_TOLERANCE_MM = 1e-3
"""Corners of two grids that lie closer than this (mm) are one grid; float32 headers keep about 1e-4 mm."""


def spacing_of(affine: Matrix) -> Matrix:
    """Return the voxel size along each array axis in mm, shape (3,), float64."""
    return np.asarray(np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0))


def voxel_volume_mm3(affine: Matrix) -> float:
    """Return the volume of one voxel in cubic mm (also right for sheared affines)."""
    return float(abs(np.linalg.det(np.asarray(affine, dtype=np.float64)[:3, :3])))


def check_affine(affine: Matrix, what: str) -> Matrix:
    """Return `affine` as a float64 (4, 4) matrix.

    Args:
        affine: Index to RAS mm.
        what: The name that the error message gives to the volume, such as its path.

    Raises:
        GeometryError: It is not 4x4, not finite, has another last row than 0 0 0 1, or flattens an axis.
    """
    matrix = np.array(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
        message = f"{what}: the affine must be a finite 4x4 matrix with last row 0 0 0 1, got {matrix.tolist()}."
        raise GeometryError(message, "Write the image again with a valid sform or qform.")
    spacing = spacing_of(matrix)
    if spacing.min() <= 0 or voxel_volume_mm3(matrix) < 1e-6 * float(spacing.prod()):
        message = f"{what}: the affine gives voxels without volume (spacing {spacing.round(6).tolist()} mm)."
        raise GeometryError(message, "Write the image again with a valid sform or qform.")
    return matrix


def orientation_of(affine: Matrix) -> str:
    """Return the closest orientation code of an affine, such as "LPS".

    Every body axis is used once: for oblique affines the assignment with the largest summed cosine is taken.
    """
    cosines = np.asarray(affine, dtype=np.float64)[:3, :3] / spacing_of(affine)
    axes = _closest_axes(cosines)
    return "".join(_DIRECTIONS[axes[i]][int(cosines[axes[i], i] > 0)] for i in range(3))


def _closest_axes(cosines: Matrix) -> tuple[int, int, int]:
    permutations = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
    return max(permutations, key=lambda p: sum(abs(float(cosines[p[i], i])) for i in range(3)))


def parse_orientation(code: str) -> list[tuple[int, int]]:
    """Return (body axis, sign) for each letter of an orientation code.

    Raises:
        GeometryError: The code does not name each body axis once.
    """
    letters = code.upper()
    found = [(axis, 1 if pair[1] == letter else -1) for letter in letters for axis, pair in enumerate(_DIRECTIONS) if letter in pair]
    if len(letters) != 3 or sorted(axis for axis, _ in found) != [0, 1, 2]:
        message = f"Orientation must name left/right, front/back and head/feet once each, got {code!r}."
        raise GeometryError(message, 'Use a code such as "RAS", "LPS" or "LAI".')
    return found


def reorientation(source: str, target: str) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return (order, sign) that turn an array of orientation `source` into `target`.

    `order[i]` is the source axis that becomes target axis i; `sign[i]` is -1 where it must be flipped.
    """
    src, dst = parse_orientation(source), parse_orientation(target)
    by_body_axis = {axis: i for i, (axis, _) in enumerate(src)}
    order = tuple(by_body_axis[axis] for axis, _ in dst)
    sign = tuple(dst[i][1] * src[order[i]][1] for i in range(3))
    return (order[0], order[1], order[2]), (sign[0], sign[1], sign[2])


def reorient_affine(affine: Matrix, shape: Sequence[int], order: Sequence[int], sign: Sequence[int]) -> Matrix:
    """Return the affine of an array of `shape` after `reorientation(...)` = (order, sign) was applied to it."""
    step = np.zeros((4, 4))
    step[3, 3] = 1
    for i in range(3):
        step[order[i], i] = sign[i]
        if sign[i] < 0:
            step[order[i], 3] = shape[order[i]] - 1
    return np.asarray(affine, dtype=np.float64) @ step


def apply_affine(affine: Matrix, points: npt.ArrayLike) -> Matrix:
    """Map points, shape (..., 3), through a 4x4 affine."""
    matrix = np.asarray(affine, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def corners(shape: Sequence[int]) -> Matrix:
    """Return the eight corner voxel indices of a grid, shape (8, 3)."""
    grid = np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")
    return np.stack([g.ravel() for g in grid], axis=1).astype(np.float64)


def same_grid(shape_a: Sequence[int], affine_a: Matrix, shape_b: Sequence[int], affine_b: Matrix) -> bool:
    """Tell whether two grids have one shape and corners within AFFINE_TOLERANCE_MM."""
    return tuple(shape_a) == tuple(shape_b) and largest_shift_mm(shape_a, affine_a, affine_b) <= AFFINE_TOLERANCE_MM


def largest_shift_mm(shape: Sequence[int], affine_a: Matrix, affine_b: Matrix) -> float:
    """Return how far apart (mm) the corners of two grids of one shape lie.

    One voxel is added along each axis, so that two single slices of different thickness differ.
    """
    points = corners([n + 1 for n in shape])
    distance = np.linalg.norm(apply_affine(affine_a, points) - apply_affine(affine_b, points), axis=1)
    return float(distance.max())
