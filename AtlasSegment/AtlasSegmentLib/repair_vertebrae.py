"""Stray fragments of vertebrae: given to the vertebra they lie in, removed, or left for a person.

A vertebra is one piece of bone. Of a vertebra in several pieces (26-connectivity) the largest stays. Every other one goes to the
vertebra (or sacrum) with which it shares the longest surface, when that is at least a third of its own surface: a mislabeled
part of a vertebra is embedded in it. What is left is removed when it is small, or kept with a remark when it is not.

AutoOrgan's own rule asks for the upper, else the lower neighbor, to take whatever touches it (`FragmentRule.DOCUMENTED`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from AtlasSegmentLib.labels import catalog
from AtlasSegmentLib.repair_report import Repaired, RepairReport, ReportBuilder
from AtlasSegmentLib.repair_space import LabelSpace, Part
from AtlasSegmentLib.volume import LabelVolume


class FragmentRule(Enum):
    """Who takes a fragment."""

    SURFACE = "the vertebra with the longest shared surface, when it is at least `min_share` of the fragment's"
    DOCUMENTED = "the upper neighbor that touches it, else the lower one"
    DELETE = "nobody"


@dataclass(frozen=True)
class VertebraOptions:
    """How fragments are treated.

    Attributes:
        rule: Who takes a fragment.
        min_share: Share of its own surface that a fragment must have in common with the vertebra that takes it.
        max_deleted_share: A fragment is removed only when it is smaller than this share of the largest piece. The documented
            rule removes anything.
    """

    rule: FragmentRule = FragmentRule.SURFACE
    min_share: float = 1 / 3
    max_deleted_share: float = 0.1


def spine_values(space: LabelSpace) -> list[int]:
    """Return the values of the single vertebrae that the table has, from C1 down to S1."""
    names = [name for name in catalog() if name.startswith("vertebrae_") and name[10] in "CTLS"]
    names.sort(key=lambda name: ("CTLS".index(name[10]), int(name[11:])))
    return [value for value in map(space.value, names) if value is not None]


def repair_vertebrae(labels: LabelVolume, options: VertebraOptions | None = None) -> Repaired:
    """Give stray fragments of vertebrae to the vertebra they lie in, or remove them; see the module.

    Args:
        labels: Integers (X, Y, Z) in any orientation, with a table that has vertebrae. Not changed.
        options: By default the rule of this module.

    Raises:
        LabelError: No table, or values that it does not have.
        InputError: Not an array of integers.
    """
    space = LabelSpace(labels)
    report = mend_vertebrae(space, options or VertebraOptions())
    return Repaired(space.finish(), report)


def mend_vertebrae(space: LabelSpace, options: VertebraOptions) -> RepairReport:
    """Do `repair_vertebrae` on a working copy."""
    report = ReportBuilder("vertebrae", space.voxel_mm3 / 1000)
    spine = spine_values(space)
    largest: dict[int, Part] = {}
    fragments: list[Part] = []
    for value in spine:
        parts = space.parts(value)
        if parts:
            largest[value] = parts[0]
            fragments += parts[1:]
    for part in fragments:  # a fragment may not hand itself to another fragment
        space.relabel(part, 0)
    takers = [*spine, *(value for value in [space.value("sacrum")] if value is not None)]
    fragments.sort(key=lambda part: -part.voxels)
    for part in _hand_out(space, fragments, takers, options, report):
        _remove_or_keep(space, part, largest[part.value], options, report)
    return report.report()


def _hand_out(space: LabelSpace, fragments: list[Part], takers: list[int], options: VertebraOptions, report: ReportBuilder) -> list[Part]:
    """Give fragments to vertebrae until none finds one; return the others."""
    waiting, given = fragments, True
    while given:
        given, still = False, []
        for part in waiting:
            taker, share = _taker(space, part, takers, options)
            if taker is None:
                still.append(part)
                continue
            space.relabel(part, taker)
            given = True
            if taker != part.value:
                reason = f"fragment that shares {share:.0%} of its surface with {space.name(taker)}"
                report.change(space.name(part.value), space.name(taker), part.voxels, reason)
        waiting = still
    return waiting


def _taker(space: LabelSpace, part: Part, takers: list[int], options: VertebraOptions) -> tuple[int | None, float]:
    """Return (value of the vertebra that takes a fragment or None, share of the fragment's surface in common)."""
    areas, surface = space.contacts(part)
    if options.rule is FragmentRule.DELETE:
        return None, 0.0
    if options.rule is FragmentRule.DOCUMENTED:
        own = takers.index(part.value)
        near = [*takers[max(own - 1, 0) : own], *takers[own + 1 : own + 2]]
        found = next((value for value in near if areas.get(value)), None)
        return found, areas.get(found or 0, 0.0) / surface
    # Sorting by height first makes the upper one win a tie.
    best = max(takers, key=lambda value: areas.get(value, 0.0))
    share = areas.get(best, 0.0) / surface
    return (best, share) if share >= options.min_share else (None, share)


def _remove_or_keep(space: LabelSpace, part: Part, largest: Part, options: VertebraOptions, report: ReportBuilder) -> None:
    name, share = space.name(part.value), part.voxels / largest.voxels
    ml = part.voxels * space.voxel_mm3 / 1000
    sound = options.rule is FragmentRule.SURFACE
    if sound and space.borders(part) & space.borders(largest):
        space.relabel(part, part.value)
        report.remark(f"{name}: a second piece of {ml:.2f} ml is kept: the image ends there and may cut what joins them.")
    elif sound and share >= options.max_deleted_share:
        space.relabel(part, part.value)
        report.remark(f"{name}: a second piece of {ml:.2f} ml is kept: {share:.0%} of the largest piece is more than a stray fragment.")
    else:
        report.change(name, None, part.voxels, f"stray fragment, {share:.1%} of the largest piece, in no vertebra")
