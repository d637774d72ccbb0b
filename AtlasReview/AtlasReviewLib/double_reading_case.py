"""The files of a second reading: a case like any other, but its revisions and unsaved edits lie in `reading_2`, apart from the first one's.

    <case>/average/segmentations/<organ>_revised.nii.gz     first reading, the one that counts
    <case>/average/revisions/<organ>/...
    <case>/reading_2/segmentations/<organ>_revised.nii.gz   second reading
    <case>/reading_2/revisions/<organ>/...

Everything else (CT, predictions, attention) is the case's own, so that both readers begin with the same prediction.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder

SECOND = "reading_2"


@dataclass(frozen=True)
class SecondFolder(LabelFolder):
    """`average` with the revisions of the second reading."""

    @property
    def _second(self) -> LabelFolder:
        return LabelFolder(self.folder.with_name(SECOND))

    def revised_mask(self, organ: str) -> Path:
        """Newest revision of the second reading of an organ."""
        return self._second.revised_mask(organ)

    def revised_organs(self) -> list[str]:
        """Names of the organs that the second readers revised, sorted."""
        return self._second.revised_organs()

    def revisions(self, organ: str) -> Path:
        """Folder of every revision ever saved in the second reading of an organ."""
        return self._second.revisions(organ)


@dataclass(frozen=True)
class SecondCase(CaseFolder):
    """A case as its second readers see it."""

    @property
    def average(self) -> LabelFolder:
        """What all models say together, and what second readers made of it."""
        return SecondFolder(self.folder / "average")


def reading_case(case: CaseFolder | Path, reading: int) -> CaseFolder:
    """Return a case as the readers of the first or second reading (1 or 2) see it; nothing is read or made on the disk."""
    folder = case.folder if isinstance(case, CaseFolder) else case
    return CaseFolder(folder) if reading == 1 else SecondCase(folder)
