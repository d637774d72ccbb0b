"""How a new case is called when nobody says."""

from __future__ import annotations

from pathlib import Path

import pytest

from AtlasSegmentLib.commands import case_name_of


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/data/scan7.nii.gz", "scan7"),
        ("/data/patient-12/ct.nii.gz", "patient-12"),  # what all files are called says nothing
        ("/data/patient-12/DICOM", "patient-12"),
        ("/data/patient-12/dicom/series", "patient-12"),
        ("/data/study/1.2.840.113/", "1.2.840.113"),
        ("/ct.nii.gz", "ct"),
    ],
)
def test_a_case_is_called_after_what_tells_it_from_others(source: str, name: str) -> None:
    assert case_name_of(Path(source), None) == name
    assert case_name_of(Path(source), "mine") == "mine"
