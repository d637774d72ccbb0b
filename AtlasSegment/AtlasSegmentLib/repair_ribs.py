"""Ribs: one number for each bone, counted by the vertebra that it comes from, on the side that it lies on.

1. All rib labels together become pieces (`repair_rib_pieces`): a bone with two labels is one piece, two ribs that touch are two.
   Specks below 2 % of the largest piece are removed, or left alone where the image cuts them.
2. Each side is numbered on its own (`repair_rib_numbers`): by the thoracic vertebra nearest to the medial end of each rib, by the
   gaps between ribs, and by the numbers that the map has. Parts of a broken rib get one number. Neither a missing twelfth rib,
   ribs cut by the image, nor an unequal count of the two sides shifts anything.
3. A side whose numbers cannot be told with confidence stays as it is, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from AtlasSegmentLib import geometry
from AtlasSegmentLib.repair_midline import find_midline
from AtlasSegmentLib.repair_report import Repaired, RepairReport, ReportBuilder
from AtlasSegmentLib.repair_rib_breaks import SPECK_SHARE, join_broken
from AtlasSegmentLib.repair_rib_numbers import NUMBERS, Evidence, Numbers, from_the_head, levels, number_side, spacing_of
from AtlasSegmentLib.repair_rib_pieces import RibPiece, RibVoxels, find_pieces
from AtlasSegmentLib.repair_space import LabelSpace, Part
from AtlasSegmentLib.volume import LabelVolume, Volume

AT_SPINE_MM = 15.0
"""A rib whose medial end is farther from every vertebra is not joined to the spine in this image."""
MEDIAL_MM = 25.0
_VERTEBRAE = ("vertebrae_C7", *(f"vertebrae_T{number}" for number in range(1, 13)), "vertebrae_L1")
_SURFACE_POINTS, _SAMPLE = 4000, 3000
_NEAR_MM = 2.0
_SIDES = ("left", "right")


def repair_ribs(labels: LabelVolume, ct: Volume | None = None) -> Repaired:
    """Number the ribs and put each on its side; see the module.

    Args:
        labels: Integers (X, Y, Z) in any orientation, with a table that has ribs. Vertebrae in the same map make it sound.
        ct: CT in HU on any grid, for the midline of a map without spine; or None.

    Raises:
        LabelError: No table, or values that it does not have.
        InputError: Not an array of integers.
    """
    space = LabelSpace(labels)
    report = mend_ribs(space, ct)
    return Repaired(space.finish(), report)


def mend_ribs(space: LabelSpace, ct: Volume | None = None) -> RepairReport:
    """Do `repair_ribs` on a working copy."""
    report = ReportBuilder("ribs", space.voxel_mm3 / 1000)
    numbers = _numbers_of(space)
    if not set(numbers) & set(space.boxes()):
        return report.report()
    midline = find_midline(space, ct)
    if midline is None:
        report.remark("Ribs are left as they are: nothing in the map tells where the midline is. Merge it with one that has vertebrae.")
        return report.report()
    work = _Work(space, *join_broken(*find_pieces(space, sorted(numbers), midline)), report)
    ribs = work.without_specks()
    spine, level = _Spine(space), levels(ribs)
    ordered = [from_the_head([piece for piece in ribs if piece.right is right], level) for right in (False, True)]
    spacing = spacing_of(ordered, level)
    for side, own in zip(_SIDES, ordered, strict=True):
        if own:
            evidence = [_evidence(work.voxels, piece, spine, numbers) for piece in own]
            work.rename(side, number_side(own, evidence, level, spacing, spine.known), evidence)
    work.finish()
    return report.report()


def _numbers_of(space: LabelSpace) -> dict[int, int]:
    """Return rib label to rib number."""
    named = {(side, number): space.value(f"rib_{side}_{number}") for side in _SIDES for number in range(1, 13)}
    return {value: number for (_, number), value in named.items() if value is not None}


class _Work:
    """The new label of every rib voxel, until all are known."""

    def __init__(self, space: LabelSpace, voxels: RibVoxels, pieces: Sequence[RibPiece], report: ReportBuilder) -> None:
        self._space, self.voxels, self._pieces, self._report = space, voxels, pieces, report
        self._target = voxels.value.copy()

    def without_specks(self) -> list[RibPiece]:
        """Return the pieces that are ribs; the others are removed, unless the image may cut them off a rib."""
        largest = self._pieces[0].voxels
        specks = [piece for piece in self._pieces if piece.voxels < SPECK_SHARE * largest]
        for piece in [piece for piece in specks if not piece.cut]:
            own = self.voxels.piece == piece.number
            self._target[own] = 0
            for value in np.unique(self.voxels.value[own]).tolist():
                count = int((self.voxels.value[own] == value).sum())
                self._report.change(self._space.name(value), None, count, f"speck, {piece.voxels / largest:.1%} of the largest rib")
        gone = {piece.number for piece in specks}
        return [piece for piece in self._pieces if piece.number not in gone]

    def rename(self, side: str, found: Numbers, evidence: Sequence[Evidence]) -> None:
        """Give the ribs of one side their names, or say why not."""
        reason = _doubt(self._space, found)
        if reason:
            self._report.remark(f"The {side} ribs are left as they are: {reason}.")
            return
        for piece, number, item in zip(found.pieces, found.numbers, evidence, strict=True):
            value = self._space.value(f"rib_{side}_{number}")
            if value is None:
                self._report.remark(f"A {side} rib at {_VERTEBRAE[number]} is left as it is: the table has no number for it.")
                continue
            self._target[self.voxels.piece == piece.number] = value
            if item.vertebra_mm is not None and np.isfinite(item.vertebra_mm[number]):
                fact = {"vertebra": _VERTEBRAE[number], "distance_mm": round(float(item.vertebra_mm[number]), 1)}
                self._report.facts[self._space.name(value)] = fact

    def finish(self) -> None:
        """Write the labels and report what changed."""
        old, new = self.voxels.value, self._target
        moved = (new != old) & (new != 0)
        pairs, counts = np.unique(np.stack([old[moved], new[moved]]), axis=1, return_counts=True)
        for (value, other), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            name = self._space.name(other)
            fact = self._report.facts.get(name)
            why = f"medial end {fact['distance_mm']} mm from {fact['vertebra']}" if fact else "by the order of the ribs of its side"
            self._report.change(self._space.name(value), name, count, why)
        self._space.relabel_voxels(self.voxels.index, new)


class _Spine:
    """Distances to the vertebrae that ribs come from.

    Attributes:
        known: At least one thoracic vertebra is in the map.
    """

    def __init__(self, space: LabelSpace) -> None:
        from scipy.spatial import cKDTree

        parts = [[] if value is None else space.parts(value) for value in map(space.value, _VERTEBRAE)]
        points = [_surface(space, found[0]) if found else None for found in parts]
        self._trees = [None if found is None else cKDTree(found) for found in points]
        self.known = any(found is not None for found in points[1:13])
        self._all = cKDTree(np.concatenate([found for found in points if found is not None])) if self.known else None

    def nearest(self, points: geometry.Matrix) -> geometry.Matrix:
        """Return the distance in mm of points, RAS mm (n, 3), to the nearest vertebra; inf without one."""
        return np.full(len(points), np.inf) if self._all is None else np.asarray(self._all.query(points)[0])

    def distances(self, points: geometry.Matrix) -> geometry.Matrix:
        """Return (14, n) mm from points, RAS mm (n, 3), to each vertebra; inf where it is not in the map."""
        return np.array([np.full(len(points), np.inf) if tree is None else tree.query(points)[0] for tree in self._trees])


def _surface(space: LabelSpace, part: Part) -> geometry.Matrix:
    from scipy import ndimage

    index = np.argwhere(part.mask & ~ndimage.binary_erosion(part.mask)) + [side.start for side in part.box]
    return space.world(index[:: max(1, len(index) // _SURFACE_POINTS)])


def _evidence(voxels: RibVoxels, piece: RibPiece, spine: _Spine, numbers: dict[int, int]) -> Evidence:
    mine = np.flatnonzero(voxels.piece == piece.number)
    own = np.bincount([numbers[value] for value in voxels.value[mine].tolist()], minlength=len(NUMBERS)) / piece.voxels
    if not spine.known:
        return Evidence(None, own)
    # A sample is enough, with all of what lies at the end of the image.
    sample = np.union1d(mine[:: max(1, len(mine) // _SAMPLE)], mine[voxels.border[mine]])
    world, to_spine = voxels.world[sample], spine.nearest(voxels.world[sample])
    # Where the image ends at the medial end, the vertebra that the rib comes from may lie outside.
    cut = bool(voxels.border[sample[to_spine <= to_spine.min() + _NEAR_MM]].any())
    if cut or to_spine.min() > AT_SPINE_MM:
        return Evidence(None, own)
    medial = world[np.linalg.norm(world - world[int(np.argmin(to_spine))], axis=1) <= MEDIAL_MM]
    return Evidence(spine.distances(medial).mean(axis=1), own)


def _doubt(space: LabelSpace, found: Numbers) -> str:
    doubled = [piece for piece in found.pieces if piece.doubled]
    if doubled:
        ml = doubled[0].voxels * space.voxel_mm3 / 1000
        return f"a piece of {ml:.1f} ml looks like two ribs grown together, so that counting would go wrong"
    if found.certain:
        return ""
    if found.anchored:
        return "the vertebrae, the gaps between the ribs and their order do not agree on one numbering"
    return "no rib reaches a vertebra in this map, and the numbers that the ribs have do not agree with their order"
