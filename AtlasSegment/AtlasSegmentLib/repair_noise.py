"""Noise: small pieces of a structure that has one piece, away from its largest one.

A piece is noise when it is smaller than `max_mm3` and than `max_share` of the largest piece. Both, because half of a pancreas
that a network broke in two is no noise, and a tenth of a liver is not either. Thresholds are volumes: the same in every image.
Noise that lies embedded in another structure (more than half of its surface) becomes that structure, else background. Left alone:
what comes in pieces by nature, lesions, and pieces that the end of the image may have cut off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.labels import Structure
from AtlasSegmentLib.repair_report import Repaired, RepairReport, ReportBuilder
from AtlasSegmentLib.repair_space import LabelSpace, Part
from AtlasSegmentLib.volume import LabelVolume

IN_PIECES = frozenset(
    {
        # Groups of bones and pairs in one label.
        *("vertebrae", "rib", "upper_limb", "lower_limb", "hip", "kidney", "lung", "adrenal_gland", "femur"),
        *("carpal", "metacarpal", "phalanges_hand", "tarsal", "metatarsal", "phalanges_feet", "costal_cartilages"),
        # Loops and branches that leave the network's sight or the image.
        *("intestine", "colon", "hepatic_vessel", "portal_vein_and_splenic_vein", "pulmonary_artery", "pulmonary_vein", "bronchi"),
        # Tissues.
        *("muscles", "fat", "abdominal_tissue", "mediastinal_tissue", "heart_tissue", "skin", "gonads", "face"),
    }
)
"""Structures, without their side, that come in several pieces. Lesions are never touched either."""


@dataclass(frozen=True)
class NoiseOptions:
    """What counts as noise.

    Attributes:
        max_mm3: Only pieces smaller than this.
        max_share: Only pieces smaller than this share of the largest.

    Raises:
        InputError: One of them is negative or not finite.
    """

    max_mm3: float = 1000.0
    max_share: float = 0.1

    def __post_init__(self) -> None:
        for name, value in (("volume", self.max_mm3), ("share", self.max_share)):
            if not (math.isfinite(value) and value >= 0):
                message = f"The largest {name} of noise must be a number of 0 or more, got {value}."
                raise InputError(message, "Give, for example, 1000 mm3 and a share of 0.1.")


def comes_in_pieces(structure: Structure) -> bool:
    """Tell whether a structure may have several pieces in a healthy body, or is a lesion."""
    name = structure.name.removesuffix("_left").removesuffix("_right")
    lesion = structure.snomed is not None and structure.snomed.category == "lesion"
    return lesion or name in IN_PIECES or name.endswith(("_tumor", "_cyst"))


def repair_noise(labels: LabelVolume, options: NoiseOptions | None = None) -> Repaired:
    """Remove noise from every structure that has one piece; see the module.

    Args:
        labels: Integers (X, Y, Z) in any orientation, with a table. Not changed.
        options: What counts as noise.

    Raises:
        LabelError: No table, or values that it does not have.
        InputError: Not an array of integers.
    """
    space = LabelSpace(labels)
    report = mend_noise(space, options or NoiseOptions())
    return Repaired(space.finish(), report)


def mend_noise(space: LabelSpace, options: NoiseOptions) -> RepairReport:
    """Do `repair_noise` on a working copy."""
    report = ReportBuilder("noise", space.voxel_mm3 / 1000)
    noise: list[tuple[Part, int]] = []
    for value in sorted(space.boxes()):
        parts = [] if comes_in_pieces(space.table.structure_of(value)) else space.parts(value)
        if len(parts) > 1:
            noise += _noise_of(space, value, parts, options, report)
    for part, _ in noise:
        space.relabel(part, 0)
    for part, largest in noise:
        _settle(space, part, largest, report)
    return report.report()


def _noise_of(space: LabelSpace, value: int, parts: list[Part], options: NoiseOptions, report: ReportBuilder) -> list[tuple[Part, int]]:
    """Return (piece, voxels of the largest piece) for the noise among the pieces of a label."""
    largest, *others = parts
    borders, noise, kept = space.borders(largest), [], 0
    for part in others:
        # 1e-9: eight voxels of 125 mm3 are 1000 mm3 whatever the rounding of an affine.
        if part.voxels * space.voxel_mm3 >= options.max_mm3 * (1 - 1e-9) or part.voxels >= options.max_share * largest.voxels:
            kept += part.voxels
        elif not space.borders(part) & borders:
            noise.append((part, largest.voxels))
    if kept:
        share = kept / largest.voxels
        report.remark(
            f"{space.name(value)}: {kept * space.voxel_mm3 / 1000:.2f} ml away from its largest piece ({share:.0%} of it) "
            "is too much for noise and is kept."
        )
    return noise


def _settle(space: LabelSpace, part: Part, largest: int, report: ReportBuilder) -> None:
    areas, surface = space.contacts(part)
    around = max(areas, key=lambda value: (areas[value], -value))
    # A lesion may not grow by what another structure loses.
    inside = around and 2 * areas[around] > surface and not comes_in_pieces(space.table.structure_of(around))
    if inside:
        space.relabel(part, around)
    if not inside or around != part.value:
        reason = f"noise: {part.voxels / largest:.1%} of the largest piece"
        where = f", inside {space.name(around)}" if inside else ""
        report.change(space.name(part.value), space.name(around) if inside else None, part.voxels, reason + where)
