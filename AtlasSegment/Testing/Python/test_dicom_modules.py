"""What we write holds every attribute that the standard requires, by highdicom's table of it, and no value that breaks its type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasSegmentLib.dicom_rtstruct import write_rtstruct
from AtlasSegmentLib.dicom_seg import write_dicom_seg
from AtlasSegmentLib.dicom_seg_source import read_source_series
from AtlasSegmentLib.export_organs import Organ, organs_of_masks
from AtlasSegmentLib.labels import catalog, structure_for
from dicom_phantoms import Phantom

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

TABLES = Path(highdicom.__file__).parent / "_standard"


def missing(dataset: Any) -> list[str]:
    """Return the attributes of type 1 and 2 that a mandatory module asks for and the dataset lacks (conditions are not judged)."""
    if not (TABLES / "iod_module_map.json").is_file():
        pytest.skip("this highdicom keeps its tables of the standard elsewhere")
    kinds, modules, attributes = (
        json.loads((TABLES / f"{name}.json").read_text()) for name in ("sop_class_iod_map", "iod_module_map", "module_attribute_map")
    )
    found = []
    for module in modules[kinds[dataset.SOPClassUID]]:
        if module["usage"] != "M" or "functional-groups" in module["key"]:  # of those, some are shared and some are not
            continue
        for wanted in attributes[module["key"]]:
            for item in parents(dataset, wanted["path"]):
                value = item.get(wanted["keyword"])
                absent = wanted["keyword"] not in item or (wanted["type"] == "1" and value in {None, ""} if np.isscalar(value) else False)
                if wanted["type"] in {"1", "2"} and absent:
                    found.append(f"{module['key']}: {'/'.join([*wanted['path'], wanted['keyword']])}")
    return found


def parents(dataset: Any, path: list[str]) -> list[Any]:
    """Return the items that an attribute should be in: those of sequences that are there."""
    items = [dataset]
    for name in path:
        items = [inner for item in items for inner in (item.get(name) or [])]
    return items


@pytest.mark.parametrize("anonymized", [False, True])
@pytest.mark.parametrize("write", [write_dicom_seg, write_rtstruct])
def test_every_required_attribute_is_there_and_every_value_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, anonymized: bool
) -> None:
    names = ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID")
    files = Phantom(tags=dict.fromkeys(names, "") if anonymized else {}).write(tmp_path / "ct")
    grid = read_source_series(files).grid
    mask = np.zeros(grid.shape, np.bool_)
    mask[2:7, 2:7, 1:4] = True
    mask[4, 4, 2] = False
    organs = [Organ(name, structure_for(name), lambda: mask) for name in ("kidney_left", "kidney_cyst_right", "no structure")]
    organs += organs_of_masks({list(catalog())[-1]: mask})
    write(tmp_path / "a.dcm", organs, grid, files)
    found = pydicom.dcmread(tmp_path / "a.dcm")
    assert missing(found) == []
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.RAISE)
    strict = pydicom.dcmread(tmp_path / "a.dcm")
    assert sum(1 for _ in strict.iterall()) > 100
    assert strict.SOPInstanceUID == strict.file_meta.MediaStorageSOPInstanceUID
    assert pydicom.uid.UID(strict.SeriesInstanceUID).is_valid
    uids = [str(element.value) for element in strict.iterall() if element.VR == "UI" and isinstance(element.value, str)]
    assert all(pydicom.uid.UID(uid).is_valid for uid in uids)
