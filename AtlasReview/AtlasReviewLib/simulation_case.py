"""What a strategy may know of a case: the predicted mask of each organ and numbers for each of its slices. No reference.

Everything is in canonical axes: arrays are (A, B, Z) with the slices along the last axis and all axes in RAS directions, so
that LPS, RAS and oblique versions of a case give the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.attention_rule import AttentionMaps
from AtlasQualityLib.expected_gain import sharpened_error
from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.sparse import SparseVolume, box_shape, is_empty, union
from AtlasSegmentLib.volume import Grid

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Spacing = tuple[float, float, float]

AXES = ("sagittal", "coronal", "axial")
"""Slices across RAS axis 0, 1 and 2."""
AUTO = "auto"
_THICKER = 1.01


@dataclass(frozen=True)
class SliceAxes:
    """How the arrays of a case are turned so that slices lie along the last axis.

    Attributes:
        grid: The case's grid.
        across: RAS axis across the slices, 0 sagittal, 1 coronal, 2 axial.
    """

    grid: Grid
    across: int = 2

    @property
    def axes(self) -> tuple[int, int, int]:
        """Array axes of the case in the order of the canonical array."""
        order, _ = geometry.reorientation(self.grid.orientation, "RAS")
        a, b = (order[axis] for axis in range(3) if axis != self.across)
        return (a, b, order[self.across])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the canonical array."""
        a, b, c = (self.grid.shape[axis] for axis in self.axes)
        return (a, b, c)

    @property
    def spacing(self) -> Spacing:
        """Voxel size in mm along the canonical axes; rounded to 1e-6 mm, so that the signs of an affine make no difference."""
        size = geometry.spacing_of(self.grid.affine)
        a, b, c = (round(float(size[axis]), 6) for axis in self.axes)
        return (a, b, c)

    def turned(self, volume: SparseVolume) -> SparseVolume:
        """Return a map of the case in canonical axes; the crop is a copy in C order."""
        order, sign = geometry.reorientation(self.grid.orientation, "RAS")
        flipped = {axis for axis, s in zip(order, sign, strict=True) if s < 0}
        crop = volume.crop[tuple(slice(None, None, -1 if axis in flipped else 1) for axis in range(3))].transpose(self.axes)
        spans = [
            slice(n - part.stop, n - part.start) if axis in flipped else part
            for axis, (n, part) in enumerate(zip(self.grid.shape, volume.box, strict=True))
        ]
        x, y, z = (spans[axis] for axis in self.axes)
        grid = Grid(self.shape, np.diag([*self.spacing, 1.0]), volume.grid.source)
        return SparseVolume(grid, (x, y, z), np.array(crop, order="C"))  # the same bytes, and sums, for every array order


def require_direction(wanted: str) -> None:
    """Check the name of a direction of slices. Raises InputError."""
    if wanted not in (AUTO, *AXES):
        message = f"Slices {wanted!r} are not known."
        raise InputError(message, f"Use one of {', '.join((AUTO, *AXES))}.")


def slice_axes(grid: Grid, wanted: str = AUTO) -> SliceAxes:
    """Return how a case is cut into slices: across its thickest spacing, or axially where no spacing is 1 % above the others.

    Args:
        grid: The case's grid.
        wanted: "auto", "axial", "coronal" or "sagittal".

    Raises:
        InputError: `wanted` is not one of these.
    """
    require_direction(wanted)
    if wanted in AXES:
        return SliceAxes(grid, AXES.index(wanted))
    order, _ = geometry.reorientation(grid.orientation, "RAS")
    size = [float(geometry.spacing_of(grid.affine)[axis]) for axis in order]
    thickest = max(range(3), key=lambda axis: size[axis])
    others = max(size[axis] for axis in range(3) if axis != thickest)
    return SliceAxes(grid, thickest if size[thickest] > _THICKER * others else 2)


@dataclass(frozen=True)
class Stack:
    """A mask as a stack of slices.

    Attributes:
        volume: Bool, canonical axes.
    """

    volume: SparseVolume

    @property
    def count(self) -> int:
        """Number of slices."""
        return self.volume.grid.shape[2]

    def plane(self, index: int) -> Mask:
        """Return one slice, bool (A, B)."""
        a, b, _ = self.volume.grid.shape
        result = np.zeros((a, b), np.bool_)
        rows, columns, span = self.volume.box
        if span.start <= index < span.stop:
            result[rows, columns] = self.volume.crop[:, :, index - span.start]
        return result

    def pixels(self) -> Float64:
        """Return the number of pixels of each slice, (Z,)."""
        return along_slices(self.volume, np.count_nonzero(self.volume.crop, axis=(0, 1)))

    def pixels_beside(self, other: Stack) -> Float64:
        """Return in how many pixels of each slice two stacks of one shape differ, (Z,)."""
        box = union([self.volume.box, other.volume.box])
        if is_empty(box):
            return np.zeros(self.count)
        apart = self.volume.within(box) != other.volume.within(box)
        return along_slices(SparseVolume(self.volume.grid, box, apart), np.count_nonzero(apart, axis=(0, 1)))


def along_slices(volume: SparseVolume, values: npt.ArrayLike) -> Float64:
    """Return numbers of the slices of a crop as numbers of all slices, 0 elsewhere; (Z,) float64."""
    result = np.zeros(volume.grid.shape[2])
    result[volume.box[2]] = values
    return result


@dataclass(frozen=True)
class OrganPrediction:
    """One organ of one case, as the models see it.

    Attributes:
        case, organ: Which.
        mask: The average mask.
        spacing: Voxel size in mm along the canonical axes.
        profiles: Name of a measure to its number for each slice, (Z,): see `profiles_of`.
    """

    case: str
    organ: str
    mask: Stack
    spacing: Spacing
    profiles: Mapping[str, Float64] = field(repr=False)

    @property
    def pixel_mm2(self) -> float:
        """Area of a pixel of a slice."""
        return self.spacing[0] * self.spacing[1]


def profiles_of(
    models: Sequence[SparseVolume], mask: Stack, axes: SliceAxes, attention: AttentionMaps | None = None, dice: float | None = None
) -> dict[str, Float64]:
    """Return what is known of each slice of an organ without any reference.

    Args:
        models: Probability of each model, float32 0..1, canonical axes.
        mask: The average mask.
        axes: How the case was turned.
        attention: AbdomenAtlas' attention on the case's grid, or None.
        dice: Predicted Dice of the mask, or None.

    Returns:
        Each (Z,), not negative; areas in square mm:
        `expected`: summed min(q, 1 - q) of the mean probability q. `entropy`: summed binary entropy of q (nats).
        `inconsistency`: summed population standard deviation over models. `sharpened`: see expected_gain.sharpened_error.
        With attention `attention` (summed heat map, bytes of its own scale) and `attention_size` (voxels). With a predicted
        Dice D `predicted_dice`: 2 (1 - D) times the area of the mask, the wrong area of a mask with that Dice.
    """
    box = union([*(model.box for model in models), mask.volume.box])
    grid = mask.volume.grid
    if is_empty(box):
        return dict.fromkeys(_measures(attention, dice), np.zeros(grid.shape[2]))
    total, squares = np.zeros((2, *box_shape(box)), np.float32)
    for model in models:
        probability = model.within(box)
        total += probability
        squares += probability * probability
    mean = total / np.float32(len(models))
    deviation = np.sqrt(np.maximum(squares / np.float32(len(models)) - mean * mean, 0))
    inside = mask.volume.within(box)
    unsure = np.minimum(mean, 1 - mean)
    area = axes.spacing[0] * axes.spacing[1]
    crops = {"expected": unsure, "entropy": _binary_entropy(unsure), "inconsistency": deviation}
    found = {name: crop.sum(axis=(0, 1), dtype=np.float64) * area for name, crop in crops.items()}
    found["sharpened"] = sharpened_error(mean, inside, axes.spacing)
    placed = {name: along_slices(SparseVolume(grid, box, inside), values) for name, values in found.items()}
    if attention is not None:
        heat, where = axes.turned(attention.heat()), axes.turned(SparseVolume(attention.grid, attention.box, attention.where))
        placed["attention"] = along_slices(heat, heat.crop.sum(axis=(0, 1), dtype=np.float64))
        placed["attention_size"] = along_slices(where, np.count_nonzero(where.crop, axis=(0, 1)))
    if dice is not None:
        placed["predicted_dice"] = 2 * (1 - dice) * mask.pixels() * area
    return placed


def _measures(attention: AttentionMaps | None, dice: float | None) -> list[str]:
    optional = ([] if attention is None else ["attention", "attention_size"]) + ([] if dice is None else ["predicted_dice"])
    return ["expected", "entropy", "inconsistency", "sharpened", *optional]


def _binary_entropy(unsure: Float32) -> Float32:
    """Return -p ln p - (1 - p) ln(1 - p) of p = min(q, 1 - q), 0 at p = 0."""
    safe = np.maximum(unsure, np.finfo(np.float32).tiny)
    return np.asarray(-safe * np.log(safe) - (1 - safe) * np.log1p(-safe), np.float32)
