"""What comes in is checked first, copied byte for byte, and never replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from atlas_phantoms import ct, files_below
from AtlasSegmentLib import intake
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, GeometryError
from AtlasSegmentLib.files import sha256_of
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.sitk_formats import write_sitk
from AtlasSegmentLib.volume import Volume


def case_of(folder: Path) -> CaseFolder:
    return CaseFolder(folder / "set/case")


def labels(dtype: str = "uint8", value: float = 3) -> Volume:
    array = np.zeros(ct().shape, dtype)
    array[4:9, 4:9, 4:9] = value
    return Volume(array, ct().affine)


def test_a_compressed_nifti_is_copied_byte_for_byte(tmp_path: Path) -> None:
    source = tmp_path / "scan.nii.gz"
    write_nifti(source, ct("PSL"))
    intake.store(case_of(tmp_path), (source, intake.read_ct(source)))
    assert sha256_of(case_of(tmp_path).ct) == sha256_of(source)


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha"])
def test_other_formats_become_nifti_with_the_same_voxels_in_the_same_place(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / f"scan{suffix}"
    (write_nifti if suffix == ".nii" else write_sitk)(source, ct("LPS"))
    intake.store(case_of(tmp_path), (source, intake.read_ct(source)))
    found = read_nifti(case_of(tmp_path).ct).reoriented("LPS")
    np.testing.assert_array_equal(found.array, ct("LPS").array)
    np.testing.assert_allclose(found.affine, ct("LPS").affine, atol=1e-4)


def test_the_same_ct_may_come_again_also_compressed_otherwise(tmp_path: Path) -> None:
    one, two = tmp_path / "a.nii.gz", tmp_path / "b.nii"
    for path in (one, two):
        write_nifti(path, ct())
    case = case_of(tmp_path)
    intake.store(case, (one, intake.read_ct(one)))
    before = files_below(case.folder)
    intake.store(case, (two, intake.read_ct(two)))
    intake.store(case, (case.ct, intake.read_ct(case.ct)))
    assert files_below(case.folder) == before


@pytest.mark.parametrize("difference", ["voxel", "place", "shape"])
def test_another_ct_never_replaces_the_one_that_is_there(tmp_path: Path, difference: str) -> None:
    one, two = tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"
    array, affine = ct().array.copy(), ct().affine.copy()
    write_nifti(one, Volume(array, affine))
    if difference == "voxel":
        array[3, 3, 3] += 1
    elif difference == "place":
        affine[0, 3] += 1
    else:
        array = array[:-1]
    write_nifti(two, Volume(array, affine))
    case = case_of(tmp_path)
    intake.store(case, (one, intake.read_ct(one)))
    before = files_below(case.folder)
    with pytest.raises(DatasetError, match=rf"{case.ct}: is there already and differs from {two}"):
        intake.store(case, (two, intake.read_ct(two)))
    assert files_below(case.folder) == before


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_original_labels_are_kept_in_their_own_values(tmp_path: Path, dtype: str) -> None:
    source, drawn = tmp_path / "scan.nii.gz", tmp_path / "drawn.nii.gz"
    write_nifti(source, ct())
    write_nifti(drawn, labels(dtype))
    case = case_of(tmp_path)
    intake.store(case, (source, ct()), (drawn, intake.read_original(drawn, ct())))
    assert sha256_of(case.original_label) == sha256_of(drawn)


@pytest.mark.parametrize(("dtype", "value"), [("float32", 0.5), ("float32", np.nan), ("int16", -1)])
def test_what_is_no_label_map_is_refused(tmp_path: Path, dtype: str, value: float) -> None:
    write_nifti(tmp_path / "drawn.nii.gz", labels(dtype, value))
    with pytest.raises(DatasetError, match=r"drawn\.nii\.gz"):
        intake.read_original(tmp_path / "drawn.nii.gz", ct())


def test_labels_on_another_grid_are_refused(tmp_path: Path) -> None:
    write_nifti(tmp_path / "drawn.nii.gz", Volume(labels().array, ct("RAS", 5).affine))
    with pytest.raises(GeometryError, match=r"drawn\.nii\.gz does not lie on the grid of phantom"):
        intake.read_original(tmp_path / "drawn.nii.gz", ct())
