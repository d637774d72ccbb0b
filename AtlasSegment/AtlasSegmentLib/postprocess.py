"""AbdomenAtlas post-processing of hard masks, one structure at a time, in world directions.

Classes are the AbdomenAtlas inference values 1 to 32. Masks come from a source on demand, so that no stack of all organs is
ever in memory. Rules count in 26-connectivity; see `rule_of`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib import geometry
from AtlasSegmentLib.components import Mask, bounding_box, largest_components
from AtlasSegmentLib.errors import GeometryError, LabelError
from AtlasSegmentLib.postprocess_lungs import LungResult, postprocess_lungs
from AtlasSegmentLib.postprocess_tumors import TUMOR_RULES, postprocess_tumor

MaskSource = Callable[[int], Mask | None]
"""Gives the raw mask of an AbdomenAtlas class, or None if the model does not have that class."""

PORTAL_VEIN, PANCREAS, HEPATIC_VESSEL, LUNG_RIGHT, LUNG_LEFT = 10, 11, 15, 16, 17


class RuleKind(Enum):
    """What is done to a mask."""

    UNCHANGED = "unchanged"
    LARGEST = "largest component"
    ABOVE_PANCREAS = "nothing below the pancreas"
    LUNGS = "two lungs"
    TUMOR = "largest components, near their organ"


@dataclass(frozen=True)
class Rule:
    """The rule of one structure.

    Attributes:
        kind: What is done.
        needs: Other classes whose raw masks are asked for.
    """

    kind: RuleKind
    needs: tuple[int, ...] = ()


def rule_of(class_value: int | None) -> Rule:
    """Return the post-processing rule of an AbdomenAtlas class.

    None or a value that is not an AbdomenAtlas class stays unchanged: "largest component" is wrong for structures that come
    in pieces (ribs, bowel). Source: AbdomenAtlas.
    """
    if class_value in TUMOR_RULES:
        return Rule(RuleKind.TUMOR, TUMOR_RULES[class_value].organs)
    if class_value is None or class_value == HEPATIC_VESSEL or not 1 <= class_value <= 25:
        return Rule(RuleKind.UNCHANGED)
    if class_value == PORTAL_VEIN:
        return Rule(RuleKind.ABOVE_PANCREAS, (PANCREAS,))
    if class_value in (LUNG_RIGHT, LUNG_LEFT):
        return Rule(RuleKind.LUNGS, (LUNG_LEFT if class_value == LUNG_RIGHT else LUNG_RIGHT,))
    return Rule(RuleKind.LARGEST)


def postprocess_volume(raw: Callable[[int], npt.NDArray[Any] | None], affine: geometry.Matrix, class_value: int) -> Mask:
    """Post-process one class of a case in any orientation; the result is the same for every orientation of the case.

    Args:
        raw: Gives the raw mask (X, Y, Z) of a class on the grid of `affine`, bool or any number with 0 as background, or None
            if the model lacks that class. Not changed.
        affine: (4, 4), index to RAS mm.
        class_value: AbdomenAtlas class.

    Returns:
        Bool mask in the orientation of `raw`.

    Raises:
        LabelError: `raw` has no mask of this class.
        GeometryError: The masks have different shapes.
    """
    code = geometry.orientation_of(affine)
    area = _axial_area_mm2(affine)
    result = postprocess_class(class_value, _in_ras(raw, code), geometry.voxel_volume_mm3(affine), area)
    return _turned(result, "RAS", code)


def postprocess_lung_volume(raw: Callable[[int], npt.NDArray[Any] | None], affine: geometry.Matrix) -> LungResult:
    """Post-process both lungs at once, for half the time of two calls of `postprocess_volume`.

    Same arguments and errors; both classes 16 and 17 are needed. Masks are in the orientation of `raw`; `slices` count from
    the feet whatever that is.
    """
    code = geometry.orientation_of(affine)
    masks = _in_ras(raw, code)
    found = postprocess_lungs(_required(masks, LUNG_RIGHT), _required(masks, LUNG_LEFT), _axial_area_mm2(affine))
    return LungResult(_turned(found.right, "RAS", code), _turned(found.left, "RAS", code), found.anomaly, found.slices)


def postprocess_class(class_value: int, masks: MaskSource, voxel_volume_mm3: float, voxel_area_mm2: float | None = None) -> Mask:
    """Post-process one class of a case in canonical RAS orientation.

    Args:
        class_value: AbdomenAtlas class; see `rule_of`.
        masks: Gives raw masks, bool (X, Y, Z) in RAS orientation; called only for this class and `rule_of(...).needs`.
        voxel_volume_mm3: Volume of one voxel. Thresholds are voxel counts on a 1.5 mm grid in AbdomenAtlas; they are compared
            in cubic mm here, so that they mean the same at any spacing.
        voxel_area_mm2: Area of one voxel in the axial plane, for the lungs; by default that of a cubic voxel.

    Returns:
        A new bool mask in RAS orientation.

    Raises:
        LabelError: There is no mask of this class.
        GeometryError: The masks have different shapes.
    """
    mask = _required(masks, class_value)
    rule = rule_of(class_value)
    needed = [_same_shape(mask, masks(value), value) for value in rule.needs]
    others = [other for other in needed if other is not None]
    if rule.kind is RuleKind.TUMOR:
        return postprocess_tumor(mask, others, TUMOR_RULES[class_value], voxel_volume_mm3)
    if rule.kind is RuleKind.ABOVE_PANCREAS:
        return _above(mask, others[0] if others else None)
    if rule.kind is RuleKind.LUNGS and others:
        area = voxel_volume_mm3 ** (2 / 3) if voxel_area_mm2 is None else voxel_area_mm2
        return _lung(class_value, mask, others[0], area)
    if rule.kind is RuleKind.UNCHANGED:
        return np.array(mask, dtype=np.bool_, order="K")
    # Also a lung of a model that knows only one: split in two, its own fragments would become the other lung.
    return largest_components(mask, 1)


def _lung(class_value: int, mask: Mask, other: Mask, area: float) -> Mask:
    if class_value == LUNG_RIGHT:
        return postprocess_lungs(mask, other, area).right
    return postprocess_lungs(other, mask, area).left


def _above(vein: Mask, pancreas: Mask | None) -> Mask:
    """Empty the slices below the post-processed pancreas; keep all if there is none."""
    result: Mask = np.array(vein, dtype=np.bool_, order="K")
    box = None if pancreas is None else bounding_box(largest_components(pancreas, 1))
    if box is not None:
        result[:, :, : box[2].start] = False
    return result


def _required(masks: MaskSource, class_value: int) -> Mask:
    mask = masks(class_value)
    if mask is None:
        message = f"Cannot post-process class {class_value}: there is no mask of it."
        raise LabelError(message, "Ask only for classes that the model predicts.")
    return mask


def _same_shape(mask: Mask, other: Mask | None, class_value: int) -> Mask | None:
    if other is not None and other.shape != mask.shape:
        message = f"The mask of class {class_value} has shape {other.shape}, expected {mask.shape}."
        raise GeometryError(message, "Give masks of one grid.")
    return other


def _in_ras(raw: Callable[[int], npt.NDArray[Any] | None], code: str) -> MaskSource:
    def masks(class_value: int) -> Mask | None:
        array = raw(class_value)
        if array is None:
            return None
        return _turned(array if array.dtype == np.bool_ else array != 0, code, "RAS")

    return masks


def _turned(mask: Mask, source: str, target: str) -> Mask:
    order, sign = geometry.reorientation(source, target)
    return np.asarray(mask.transpose(order)[tuple(slice(None, None, step) for step in sign)])


def _axial_area_mm2(affine: geometry.Matrix) -> float:
    """Return the area of one voxel across the axis closest to head-feet."""
    order, _ = geometry.reorientation(geometry.orientation_of(affine), "RAS")
    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    return float(np.linalg.norm(np.cross(matrix[:, order[0]], matrix[:, order[1]])))
