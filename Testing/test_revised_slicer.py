"""A segmentation that Slicer itself wrote, whole or cut to its segments, becomes the revisions that were drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasReviewLib.revised_folder import ImportOptions, import_revised
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.volume import LabelVolume
from review_data import make_review_case

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
ORGANS = ("liver", "spleen")


@pytest.mark.usefixtures("slicer_app")
@pytest.mark.parametrize("cut", [False, True])
def test_a_segmentation_saved_by_slicer_is_taken_over(tmp_path: Path, cut: bool) -> None:
    from AtlasSegmentLib.scene_segmentation import segmentation_from_labels

    case = make_review_case(tmp_path / "hospital" / "scan", orientation="LPS")
    table = load_table("abdomenatlas")
    masks = {organ: read_nifti(case.average.mask(organ)) for organ in ORGANS}
    moved = {organ: np.roll(mask.array, 1, axis=0) for organ, mask in masks.items()}
    labels = sum(array.astype(np.uint8) * table.value_of(organ) for organ, array in moved.items())
    node: Any = segmentation_from_labels(LabelVolume(np.asarray(labels, np.uint8), masks["liver"].affine, "x", None, table), "organs")
    (tmp_path / "revised").mkdir()
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetScene(slicer.mrmlScene)
    storage.SetCropToMinimumExtent(cut)
    storage.SetFileName(str(tmp_path / "revised" / "scan.seg.nrrd"))
    assert storage.WriteData(node)
    rows = import_revised(tmp_path / "hospital", tmp_path / "revised", ImportOptions("Ada"))
    assert sorted((row.organ, row.state) for row in rows) == [("liver", "revised"), ("spleen", "revised")]
    for organ in ORGANS:
        assert np.array_equal(read_nifti(case.average.revised_mask(organ)).array, moved[organ])
