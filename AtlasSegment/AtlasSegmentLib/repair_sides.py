"""Left and right: every piece of a paired structure gets the name of the side that it lies on.

Pairs are matched by name, never by their place in a table. A piece (26-connectivity) goes as a whole to the side of the midline
that most of it lies on; one of which a fifth or more lies on each side is two bones or organs in one, and is split there. Some vessels
cross the midline by nature (the left common iliac and brachiocephalic veins): of those the two names are only exchanged when the left
one lies to the right of the right one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from AtlasSegmentLib.labels import catalog
from AtlasSegmentLib.repair_midline import Midline, find_midline
from AtlasSegmentLib.repair_report import Repaired, RepairReport, ReportBuilder
from AtlasSegmentLib.repair_space import LabelSpace, Part
from AtlasSegmentLib.volume import LabelVolume, Volume

SPLIT_SHARE = 0.2
"""A piece with at least this share on the smaller side is split at the midline."""
REVERSED_MM = 10.0
"""Vessels change names when the left one is centered at least this far to the right of the right one."""
_CROSSING = ("artery", "vein", "vena")
_NO_MIDLINE = (
    "Sides are left as they are: nothing tells where the midline is (no vertebra, sacrum or spinal cord, no pair of which both are there). "
    "Give the CT, or merge the map with one that has vertebrae."
)


@dataclass(frozen=True)
class Pair:
    """The values of a structure on both sides, and whether it may cross the midline."""

    left: int
    right: int
    crosses: bool = False


def pairs_of(space: LabelSpace) -> list[Pair]:
    """Return the pairs that the table has both sides of, in ascending order of their smaller value."""
    found = []
    for name, structure in catalog().items():
        left, right = space.value(name), space.value(structure.partner or "")
        if "left" in name.split("_") and left is not None and right is not None:
            found.append(Pair(left, right, any(word in name.split("_") for word in _CROSSING)))
    return sorted(found, key=lambda pair: min(pair.left, pair.right))


def repair_sides(labels: LabelVolume, ct: Volume | None = None) -> Repaired:
    """Give every piece of a paired structure the name of its side; see the module.

    Args:
        labels: Integers (X, Y, Z) in any orientation, with a table. Not changed.
        ct: CT in HU on any grid, for the midline of a map without spine; or None.

    Raises:
        LabelError: No table, or values that it does not have.
        InputError: Not an array of integers.
    """
    space = LabelSpace(labels)
    report = mend_sides(space, ct)
    return Repaired(space.finish(), report)


def mend_sides(space: LabelSpace, ct: Volume | None = None) -> RepairReport:
    """Do `repair_sides` on a working copy."""
    report = ReportBuilder("sides", space.voxel_mm3 / 1000)
    midline, boxes = find_midline(space, ct), space.boxes()
    pairs = [pair for pair in pairs_of(space) if pair.left in boxes or pair.right in boxes]
    if not pairs:
        return report.report()
    for pair in pairs:
        if pair.crosses:
            _exchange(space, pair, report)
    if midline is None:
        report.remark(_NO_MIDLINE)
        return report.report()
    report.facts["midline"] = midline.source
    for pair in pairs:
        if pair.crosses:
            continue
        found = [part for value in (pair.left, pair.right) for part in space.parts(value)]
        for part in found:  # all are found before the first is changed
            _place(space, part, pair, midline, report)
    return report.report()


def _place(space: LabelSpace, part: Part, pair: Pair, midline: Midline, report: ReportBuilder) -> None:
    rightward = midline.rightward(space.world_axis(part.box, 0), space.world_axis(part.box, 2))
    right = np.broadcast_to(rightward > 0, part.mask.shape)
    total = float(np.broadcast_to(rightward, part.mask.shape).sum(where=part.mask))
    on_right = int(np.count_nonzero(part.mask & right))
    name, other = space.name(part.value), pair.right if part.value == pair.left else pair.left
    share = min(on_right, part.voxels - on_right) / part.voxels
    if share >= SPLIT_SHARE:
        wrong = part.mask & (right if part.value == pair.left else ~right)
        space.relabel(replace(part, mask=wrong), other)
        reason = f"one piece on both sides of the midline ({share:.0%} on the smaller one), split there"
        report.change(name, space.name(other), int(np.count_nonzero(wrong)), reason)
        return
    side = pair.right if total > 0 else pair.left
    if side != part.value:
        space.relabel(part, side)
        away = abs(total) / part.voxels
        which = "right" if side == pair.right else "left"
        report.change(name, space.name(side), part.voxels, f"piece centered {away:.0f} mm to the {which} of the midline")


def _exchange(space: LabelSpace, pair: Pair, report: ReportBuilder) -> None:
    """Exchange the names of two vessels whose largest pieces lie in the wrong order."""
    parts = {value: space.parts(value) for value in (pair.left, pair.right)}
    if not all(parts.values()):
        return
    centers = [space.slice_centers(parts[value][0]) for value in (pair.left, pair.right)]
    left, right = (float(np.average(center[:, 0], weights=center[:, 3])) for center in centers)
    if left - right < REVERSED_MM:
        return
    for value, other in ((pair.left, pair.right), (pair.right, pair.left)):
        for part in parts[value]:
            space.relabel(part, other)
        voxels = sum(part.voxels for part in parts[value])
        report.change(space.name(value), space.name(other), voxels, f"left lies {left - right:.0f} mm to the right of right")
