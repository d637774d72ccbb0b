"""What a repair changed, in words and numbers that a run record or the JSON output can hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from AtlasSegmentLib.volume import LabelVolume


@dataclass(frozen=True)
class Change:
    """Voxels of one label that became another label or background.

    Attributes:
        step: "vertebrae", "sides", "ribs" or "noise".
        label: Published name that the voxels had.
        to: Published name that they have now; None for background.
        voxels: How many.
        ml: Their volume.
        reason: Why, as a sentence without a period.
    """

    step: str
    label: str
    to: str | None
    voxels: int
    ml: float
    reason: str


@dataclass(frozen=True)
class RepairReport:
    """All that repairs did to a label map.

    Attributes:
        changes: What changed, in the order in which it was decided.
        remarks: What was left as it is although something looked odd, and why; full sentences.
        facts: What a step found out on its way, by step ("ribs": the vertebra that each rib was numbered by).
    """

    changes: tuple[Change, ...] = ()
    remarks: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def voxels(self) -> int:
        """Number of voxels over all changes; one that two steps change counts twice."""
        return sum(change.voxels for change in self.changes)

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {"changes": [asdict(change) for change in self.changes], "remarks": list(self.remarks), "facts": self.facts}


@dataclass(frozen=True)
class Repaired:
    """A repaired label map (a new array; dtype, grid and table of the input) and what was done."""

    labels: LabelVolume
    report: RepairReport


def joined_reports(reports: Iterable[RepairReport]) -> RepairReport:
    """Return several reports as one, in their order."""
    found = list(reports)
    facts = {key: value for report in found for key, value in report.facts.items()}
    changes = tuple(change for report in found for change in report.changes)
    return RepairReport(changes, tuple(remark for report in found for remark in report.remarks), facts)


class ReportBuilder:
    """Collects changes and remarks of one step.

    Args:
        step: Name of the step.
        voxel_ml: Volume of a voxel.
    """

    def __init__(self, step: str, voxel_ml: float) -> None:
        self._step, self._voxel_ml = step, voxel_ml
        self._changes: list[Change] = []
        self._remarks: list[str] = []
        self.facts: dict[str, Any] = {}

    def change(self, label: str, to: str | None, voxels: int, reason: str) -> None:
        """Add a change."""
        self._changes.append(Change(self._step, label, to, int(voxels), round(int(voxels) * self._voxel_ml, 4), reason))

    def remark(self, text: str) -> None:
        """Add a remark, a full sentence."""
        self._remarks.append(text)

    def report(self) -> RepairReport:
        """Return what was collected."""
        return RepairReport(tuple(self._changes), tuple(self._remarks), {self._step: self.facts} if self.facts else {})
