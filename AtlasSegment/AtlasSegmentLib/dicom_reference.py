"""Which CT a DICOM SEG or RTSTRUCT says it was drawn on, against the CT it is laid on: places may be equal by chance alone."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from AtlasSegmentLib.dicom_header import pydicom_or_error, quiet
from AtlasSegmentLib.dicom_record import read_origin

_log = logging.getLogger(__name__)
_TAGS = [
    "FrameOfReferenceUID",
    "SeriesInstanceUID",
    "ReferencedSeriesSequence",
    "ReferencedFrameOfReferenceSequence",
]


@dataclass(frozen=True)
class Reference:
    """UIDs; each set is empty where nobody says.

    Attributes:
        frames: Frames of reference: what positions in mm are measured in.
        series: Series of slices.
    """

    frames: frozenset[str]
    series: frozenset[str]

    @classmethod
    def of_slice(cls, path: Path) -> Reference:
        """Return what a slice of a CT says of itself."""
        header = _header(path)
        return cls(_known(header.get("FrameOfReferenceUID")), _known(header.get("SeriesInstanceUID")))

    @classmethod
    def of_object(cls, path: Path) -> Reference:
        """Return what a SEG or RTSTRUCT says of the CT that it was drawn on."""
        header = _header(path)
        places = header.get("ReferencedFrameOfReferenceSequence", [])
        studies = [study for place in places for study in place.get("RTReferencedStudySequence", [])]
        series = [item for study in studies for item in study.get("RTReferencedSeriesSequence", [])]
        series += header.get("ReferencedSeriesSequence", [])
        frames = _known(header.get("FrameOfReferenceUID"), *(place.get("FrameOfReferenceUID") for place in places))
        return cls(frames, _known(*(item.get("SeriesInstanceUID") for item in series)))


def warn_of_another_ct(path: Path, ct: Reference | Path) -> None:
    """Warn when a SEG or RTSTRUCT names another frame of reference or series than those of the CT that it is laid on.

    Args:
        path: The SEG or RTSTRUCT.
        ct: What the CT says of itself, or its file in a case folder, where the series that it came from is recorded.
    """
    if isinstance(ct, Path):
        origin = read_origin(ct.parent)
        ct = Reference(frozenset(), _known(origin.series_uid if origin else ""))
    said = Reference.of_object(path)
    for what, theirs, ours in (("frame of reference", said.frames, ct.frames), ("series", said.series, ct.series)):
        if theirs and ours and not theirs & ours:
            text = "%s: was drawn on another %s (%s) than this CT's (%s). Look whether the organs lie where they belong."
            _log.warning(text, path, what, ", ".join(sorted(theirs)), ", ".join(sorted(ours)))
            return


def _header(path: Path) -> Any:
    pydicom = pydicom_or_error(path)
    with quiet():
        return pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=_TAGS)


def _known(*uids: Any) -> frozenset[str]:
    return frozenset(str(uid) for uid in uids if uid)
