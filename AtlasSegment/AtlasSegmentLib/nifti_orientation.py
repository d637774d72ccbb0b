"""The ways a NIfTI header says where voxels lie: a quaternion with voxel sizes, or voxel sizes alone.

Source of the formulas: the NIfTI-1 standard (nifti1.h), methods 1 and 2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
_ROUNDING = -3 * float(np.finfo(np.float32).eps)


def base_affine(shape: tuple[int, ...], sizes: npt.ArrayLike) -> Matrix:
    """Return the affine of a header with neither form: voxel sizes in mm, x to the left, the center at the origin."""
    steps = np.asarray(sizes, np.float64) * [-1, 1, 1]
    affine = np.diag([*steps, 1.0])
    extent = np.array([*shape, 1, 1])[:3]
    affine[:3, 3] = -(extent - 1) / 2 * steps
    return affine


def quaternion_affine(bcd: npt.ArrayLike, offset: npt.ArrayLike, sizes: npt.ArrayLike, flag: float) -> Matrix:
    """Return the affine of a qform.

    Args:
        bcd: The last three parts of a unit quaternion.
        offset: Position of the first voxel.
        sizes: Voxel sizes.
        flag: 1, or -1 where the third axis is mirrored.

    Raises:
        ValueError: The parts are longer than a unit quaternion.
    """
    b, c, d = np.asarray(bcd, np.float64)
    rest = 1 - (b * b + c * c + d * d)
    if not rest >= _ROUNDING:
        message = f"the quaternion ({b:g}, {c:g}, {d:g}) is no rotation"
        raise ValueError(message)
    a = np.sqrt(max(rest, 0.0))
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * (np.asarray(sizes, np.float64) * [1, 1, flag])
    affine[:3, 3] = offset
    return affine


def quaternion_of(affine: Matrix) -> tuple[Matrix, Matrix, float]:
    """Return (b, c, d), voxel sizes and the flag of the rotation that is nearest to an affine; its shear is left out."""
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    axes = affine[:3, :3] / sizes
    flag = -1.0 if np.linalg.det(axes) < 0 else 1.0
    axes = axes * [1, 1, flag]
    left, _, right = np.linalg.svd(axes)
    return _quaternion(left @ right)[1:], sizes, flag


def _quaternion(rotation: Matrix) -> Matrix:
    """Return the unit quaternion of a rotation matrix, its first part not negative (Bar-Itzhack 2000: largest eigenvector)."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    lower = np.array(
        [
            [xx - yy - zz, 0, 0, 0],
            [xy + yx, yy - xx - zz, 0, 0],
            [xz + zx, yz + zy, zz - xx - yy, 0],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    vectors = np.linalg.eigh(lower / 3, UPLO="L")[1]
    x, y, z, w = vectors[:, -1]
    quaternion = np.array([w, x, y, z])
    return -quaternion if w < 0 else quaternion
