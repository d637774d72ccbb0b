"""Volume and LabelVolume: an array indexed [x, y, z] with its affine from index to RAS millimetres."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import GeometryError

if TYPE_CHECKING:
    from AtlasSegmentLib.labels import LabelTable

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume lie, without the voxels.

    Attributes:
        shape: Number of voxels along x, y, z.
        affine: (4, 4) float64, voxel index to RAS mm, at voxel centers.
        source: The file it was taken from, for messages.
        header: The NIfTI header of that file, or None.
    """

    shape: tuple[int, int, int]
    affine: geometry.Matrix
    source: str = ""
    header: Any = field(default=None, repr=False, compare=False)

    @property
    def orientation(self) -> str:
        """Closest orientation code, such as "LPS"."""
        return geometry.orientation_of(self.affine)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in cubic mm."""
        return geometry.voxel_volume_mm3(self.affine)


@dataclass(frozen=True)
class Volume:
    """A 3-D image in space.

    Attributes:
        array: Shape (X, Y, Z), indexed [x, y, z] as nibabel gives it; any numeric dtype. CT is in HU.
        affine: (4, 4) float64, voxel index to RAS mm, at voxel centers.
        source: Where it came from, for messages; usually the path.
        header: What the file format said beside the array and is written back (a NIfTI header), or None.
    """

    array: Array
    affine: geometry.Matrix
    source: str = ""
    header: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            message = f"{self.source or 'volume'}: expected 3 dimensions, got shape {self.array.shape}."
            raise GeometryError(message, "Extract one 3-D volume first.")
        object.__setattr__(self, "affine", geometry.check_affine(self.affine, self.source or "volume"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y, z."""
        x, y, z = self.array.shape
        return (x, y, z)

    @property
    def spacing(self) -> geometry.Matrix:
        """Voxel size in mm along x, y, z; float64 (3,)."""
        return geometry.spacing_of(self.affine)

    @property
    def orientation(self) -> str:
        """Closest orientation code, such as "LPS"."""
        return geometry.orientation_of(self.affine)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in cubic mm."""
        return geometry.voxel_volume_mm3(self.affine)

    @property
    def grid(self) -> Grid:
        """The grid of this volume."""
        return Grid(self.shape, self.affine, self.source, self.header)

    def with_array(self, array: Array) -> Volume:
        """Return the same grid with another array of the same shape (a plain Volume, also from a LabelVolume).

        Raises:
            GeometryError: The shape differs.
        """
        if array.shape != self.array.shape:
            message = f"{self.source or 'volume'}: an array of shape {array.shape} does not fit the grid {self.shape}."
            raise GeometryError(message)
        return Volume(array, self.affine, self.source, self.header)

    def reoriented(self, code: str) -> Volume:
        """Return the volume with its axes permuted and flipped to `code`; a view of the same voxels, never resampled.

        The world position of every voxel is unchanged.
        """
        array, affine = reorient(self.array, self.affine, code)
        return replace(self, array=array, affine=affine)


@dataclass(frozen=True)
class LabelVolume(Volume):
    """A volume of integer labels with the table that says what the values mean (0 is background)."""

    table: LabelTable | None = None


def reorient(array: Array, affine: geometry.Matrix, code: str) -> tuple[Array, geometry.Matrix]:
    """Return (view of array, affine) in orientation `code`."""
    order, sign = geometry.reorientation(geometry.orientation_of(affine), code)
    turned = array.transpose(order)[tuple(slice(None, None, s) for s in sign)]
    return turned, geometry.reorient_affine(affine, array.shape, order, sign)


def reorient_like(array: Array, from_affine: geometry.Matrix, like: Volume | Grid) -> Array:
    """Bring an array back to the axis order of `like`: the inverse of `reorient` when the grid is the same."""
    return reorient(array, from_affine, like.orientation)[0]


def require_same_grid(a: Volume | Grid, b: Volume | Grid) -> None:
    """Check that two volumes share one grid.

    Raises:
        GeometryError: They differ; the message names both and says how.
    """
    if geometry.same_grid(a.shape, a.affine, b.shape, b.affine):
        return
    if a.shape != b.shape:
        detail = f"shape {a.shape} against {b.shape}"
    else:
        shift = geometry.largest_shift_mm(a.shape, a.affine, b.affine)
        detail = f"same shape {a.shape}, but corners up to {shift:.3f} mm apart"
    message = f"{a.source or 'volume'} does not lie on the grid of {b.source or 'volume'}: {detail}."
    raise GeometryError(message, "Resample it onto that grid first: atlas resample MASK NEW --like CT --labels.")
