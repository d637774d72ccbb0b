"""All repairs of a label map, one after another, each an option of its own.

The order is vertebrae, sides, ribs, noise: ribs are counted from vertebrae, and noise is looked for when every piece has its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.repair_noise import NoiseOptions, mend_noise
from AtlasSegmentLib.repair_report import Repaired, RepairReport, joined_reports
from AtlasSegmentLib.repair_ribs import mend_ribs
from AtlasSegmentLib.repair_sides import mend_sides
from AtlasSegmentLib.repair_space import LabelSpace
from AtlasSegmentLib.repair_vertebrae import VertebraOptions, mend_vertebrae
from AtlasSegmentLib.volume import LabelVolume, Volume

STEPS = ("vertebrae", "sides", "ribs", "noise")
"""The repairs in the order in which they run."""


@dataclass(frozen=True)
class RepairOptions:
    """Which repairs to make and how.

    Attributes:
        steps: Some of `STEPS`, in any order.
        vertebrae: How fragments of vertebrae are treated.
        noise: What counts as noise.

    Raises:
        InputError: No step, or one that does not exist.
    """

    steps: tuple[str, ...] = STEPS
    vertebrae: VertebraOptions = field(default_factory=VertebraOptions)
    noise: NoiseOptions = field(default_factory=NoiseOptions)

    def __post_init__(self) -> None:
        unknown = [step for step in self.steps if step not in STEPS]
        if unknown or not self.steps:
            message = f"There is no repair {unknown[0]!r}." if unknown else "No repair is chosen."
            raise InputError(message, f"Choose some of {', '.join(STEPS)}.")


def repair_labels(
    labels: LabelVolume, options: RepairOptions | None = None, ct: Volume | None = None, progress: ProgressCallback = ignore_progress
) -> Repaired:
    """Repair a label map.

    Args:
        labels: Integers (X, Y, Z) in any orientation, with a table. Not changed.
        options: By default all repairs.
        ct: CT in HU on any grid in the same space; only for the midline of a map without spine.
        progress: Called with the share done and the step.

    Returns:
        A new label map of the same grid, dtype and table, and the report of all steps.

    Raises:
        LabelError: No table, or values that it does not have.
        InputError: Not an array of integers.
    """
    chosen = options or RepairOptions()
    space = LabelSpace(labels)
    mend: dict[str, Callable[[], RepairReport]] = {
        "vertebrae": lambda: mend_vertebrae(space, chosen.vertebrae),
        "sides": lambda: mend_sides(space, ct),
        "ribs": lambda: mend_ribs(space, ct),
        "noise": lambda: mend_noise(space, chosen.noise),
    }
    steps = [step for step in STEPS if step in chosen.steps]
    reports = []
    for number, step in enumerate(steps):
        progress(number / len(steps), step)
        reports.append(mend[step]())
    progress(1.0, "done")
    return Repaired(space.finish(), joined_reports(reports))
