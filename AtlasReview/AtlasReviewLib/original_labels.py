"""original_label.nii.gz, in the dataset's own values, as AbdomenAtlas classes with left and right told apart.

Source of the tables: AbdomenAtlas assemble. Fixed against it: every component gets a side, sides are told by world x
against the midline of the body (not by array order), a value that the dataset does not define is an error, and an organ
has no hole where its lesion is: the mask of the organ includes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import numpy.typing as npt

from AtlasReviewLib.case_masks import Mask, case_grid, on_grid
from AtlasReviewLib.midline import case_midline, midline_of_pair, world_x
from AtlasSegmentLib import geometry
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.components import bounding_box, box_dilate, find_components, grow_box
from AtlasSegmentLib.dataset_annotations import annotated_classes, merged_sides, organ_parts, original_value_map
from AtlasSegmentLib.errors import InputError, LabelError
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.volume import Array, Volume

STRADDLE_FRACTION = 0.1
"""A component with less than this part of its voxels beyond the midline belongs to one side as a whole: a lung or a full
adrenal may reach over. Above it the component is two organs that touch, and the midline cuts it."""


Midline = Callable[[], float | None]


@dataclass(frozen=True)
class OriginalLabels:
    """The original labels of a case. A lesion voxel has two classes: its own, and that of the organ it is in.

    Attributes:
        classes: uint8 (X, Y, Z) in the array order of the case, values of the AbdomenAtlas inference table; 0 also where
            the dataset's value has no class.
        organs: uint8, of the same shape: the organ that a voxel of a lesion (or a vessel inside an organ) is part of; 0
            elsewhere, and where that organ is not annotated in the dataset.
    """

    classes: Volume
    organs: npt.NDArray[np.uint8]

    def mask(self, class_value: int) -> Mask:
        """Return a class as bool (X, Y, Z), an organ with its lesions."""
        mask: Mask = self.classes.array == class_value
        mask |= self.organs == class_value
        return mask


def original_labels(case: CaseFolder, key: str) -> OriginalLabels:
    """Read the original labels of a case as AbdomenAtlas classes.

    Args:
        case: Has original_label.nii.gz on the grid of its CT, in any array order.
        key: The dataset, as `dataset_annotations.dataset_key` gives it.

    Raises:
        LabelError: A value that the dataset does not define, or a dataset whose values are not known.
        GeometryError: The labels do not lie on the grid of the case.
        InputError: The file is missing, damaged or holds fractions.
    """
    volume = on_grid(read_nifti(case.original_label), case_grid(case))
    classes = _mapped(volume.array, original_value_map(key), str(case.original_label), key)
    midline = cache(partial(case_midline, case))  # read when something has sides
    for sides in merged_sides(key):
        _split(classes, volume.affine, sides, midline)
    organs = np.zeros(classes.shape, dtype=np.uint8, order="F")
    for organ, parts in organ_parts(key):
        _add_parts(organs, classes, volume.affine, organ, parts, midline)
    return OriginalLabels(Volume(classes, volume.affine, volume.source, volume.header), organs)


def original_class_values(key: str) -> frozenset[int]:
    """Return the classes that people annotated in a dataset and that its value map can give.

    Their original mask counts even when it is empty in a case. Raises LabelError as `original_labels`.
    """
    mapped = {value for value in original_value_map(key).values() if value}
    for both, right, left in merged_sides(key):
        if both in mapped:
            mapped |= {right, left}
    return frozenset(mapped & set(annotated_classes(key)))


def split_sides(mask: Mask, affine: geometry.Matrix, midline: float | None = None) -> tuple[Mask, Mask]:
    """Split a mask of both sides into (left, right); every voxel goes to one of them.

    Args:
        mask: bool (X, Y, Z).
        affine: Index to RAS mm.
        midline: World x in mm; lower x is left. None: halfway between the two largest components.

    A component with less than STRADDLE_FRACTION of its voxels beyond the midline stays whole; others are cut by it.
    """
    left = np.zeros(mask.shape, dtype=np.bool_, order="F")
    box = bounding_box(mask)
    if box is None:
        return left, left.copy()
    plane = midline_of_pair(mask, affine) if midline is None else midline
    left[box] = _left_part(mask[box], _shifted(affine, box), plane)
    return left, mask & ~left


def _left_part(crop: Mask, affine: geometry.Matrix, plane: float) -> Mask:
    components = find_components(crop)
    voxels = np.argwhere(crop)
    numbers = components.labels[crop]
    is_left = world_x(voxels, affine) < plane
    fraction = np.bincount(numbers[is_left], minlength=components.sizes.size) / np.maximum(components.sizes, 1)
    is_left |= fraction[numbers] > 1 - STRADDLE_FRACTION
    is_left &= fraction[numbers] >= STRADDLE_FRACTION
    result = np.zeros(crop.shape, dtype=np.bool_)
    result[crop] = is_left
    return result


def _split(classes: Array, affine: geometry.Matrix, sides: tuple[int, int, int], midline: Midline) -> None:
    """Replace class `both` by `right` and `left` in place."""
    both, right, left = sides
    mask = classes == both
    box = bounding_box(mask)
    if box is None:
        return
    crop = classes[box]
    left_part, right_part = split_sides(mask[box], _shifted(affine, box), _plane(midline, mask, affine))
    crop[left_part] = left
    crop[right_part] = right


def _add_parts(
    organs: Array, classes: Array, affine: geometry.Matrix, organ: tuple[int, ...], parts: tuple[int, ...], midline: Midline
) -> None:
    """Write the class of `organ` (or of its right and left) into `organs` where `classes` holds one of its parts."""
    inside = _any_of(classes, parts)
    box = bounding_box(inside)
    if box is None:
        return
    box = grow_box(box, 1, classes.shape)  # with the organ's voxels that touch a part
    crop = inside[box]
    right, left = organ[0], organ[-1]
    organs[box][crop] = right
    if left != right:
        plane = _plane(midline, _any_of(classes, organ), affine)
        organs[box][_parts_of_left(crop, classes[box] == right, classes[box] == left, _shifted(affine, box), plane)] = left


def _parts_of_left(parts: Mask, right: Mask, left: Mask, affine: geometry.Matrix, plane: float) -> Mask:
    """Return the part of `parts` on the left: a component that touches one of the two organs is that one's, however far it
    reaches; one that touches none or both is split as organs are."""
    components = find_components(parts)
    numbers = components.labels
    touches_right, touches_left = (
        np.bincount(numbers[box_dilate(organ, 1)], minlength=components.sizes.size) > 0 for organ in (right, left)
    )
    by_midline, _ = split_sides(parts, affine, plane)
    return parts & np.where((touches_right != touches_left)[numbers], touches_left[numbers], by_midline)


def _plane(midline: Midline, pair: Mask, affine: geometry.Matrix) -> float:
    """Return the world x of the midline; without a CT and vertebrae that of the pair, looked at in the whole image."""
    plane = midline()
    return midline_of_pair(pair, affine) if plane is None else plane


def _any_of(classes: Array, values: tuple[int, ...]) -> Mask:
    mask: Mask = classes == values[0]
    for value in values[1:]:
        mask |= classes == value
    return mask


def _shifted(affine: geometry.Matrix, box: tuple[slice, slice, slice]) -> geometry.Matrix:
    inner = np.array(affine, dtype=np.float64)
    inner[:3, 3] = geometry.apply_affine(affine, [side.start for side in box])
    return inner


def _mapped(array: Array, value_map: Mapping[int, int], source: str, key: str) -> npt.NDArray[np.uint8]:
    table = np.zeros(max(value_map, default=0) + 1, dtype=np.uint8)
    known = np.zeros(table.size, dtype=np.bool_)
    for value, class_value in {0: 0, **value_map}.items():
        table[value], known[value] = class_value, True
    classes = np.empty(array.shape, dtype=np.uint8, order="F")
    for z in range(array.shape[2]):  # slice by slice: no second array of full size
        plane = array[:, :, z]
        _require_known(plane, known, source, key)
        classes[:, :, z] = table[plane.astype(np.intp)]
    return classes


def _require_known(plane: Array, known: Mask, source: str, key: str) -> None:
    if plane.dtype.kind == "f" and not (np.isfinite(plane) & (np.rint(plane) == plane)).all():
        message = f"{source}: a label map holds whole numbers, but it has fractions or NaN."
        raise InputError(message, "Give the label map, not a probability or resampled image.")
    strange = plane[(plane < 0) | (plane >= known.size)]
    if not strange.size:
        inside = plane.astype(np.intp)
        strange = plane[~known[inside]]
    if strange.size:
        message = f"{source}: value {strange.flat[0]:g} is not a label of dataset {key} (it has {_listed(known)})."
        raise LabelError(message, "Check that the case is in the right dataset folder, or name its dataset: --dataset-id.")


def _listed(known: Mask) -> str:
    return ", ".join(str(value) for value in np.flatnonzero(known))
