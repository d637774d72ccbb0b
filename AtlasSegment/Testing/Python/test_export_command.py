"""The command export: what it takes a case or label map for, what it writes, and what it refuses with nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.commands_export import export_command
from AtlasSegmentLib.errors import AtlasError, DatasetError, GeometryError, InputError, LabelError
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Volume
from AtlasSegmentLib.volume_io import read_label_volume, read_volume

APP = typer.Typer(pretty_exceptions_enable=False)
APP.callback()(lambda: None)
APP.command("export")(export_command)
SHAPE = (6, 5, 4)
AFFINE = np.diag([-2.0, -2.0, 3.0, 1.0])


def run(*arguments: object) -> Result:
    """Run the command; an AtlasError, which `atlas` prints as one line, is raised."""
    return CliRunner().invoke(APP, ["export", *(str(argument) for argument in arguments)], catch_exceptions=False)


def volume(first: int, last: int) -> Volume:
    array = np.zeros(SHAPE, np.uint8)
    array[first:last] = 1
    return Volume(array, AFFINE)


@pytest.fixture
def case(tmp_path: Path) -> CaseFolder:
    """Return a case whose liver was revised and whose spleen overlaps it."""
    made = CaseFolder(tmp_path / "set" / "scan")
    write_nifti(made.ct, volume(0, 6))
    for folder in (made.average, made.backbone("unet")):
        write_nifti(folder.mask("liver"), volume(0, 2))
        write_nifti(folder.mask("spleen"), volume(4, 6))
    write_nifti(made.average.revised_mask("liver"), volume(0, 3))
    return made


def test_a_case_gives_the_newest_revision_with_abdomenatlas_values(case: CaseFolder, tmp_path: Path) -> None:
    result = run(case.folder, "--out", tmp_path / "out")
    assert result.exit_code == 0
    back = read_label_volume(tmp_path / "out.nii.gz", load_table("abdomenatlas"))
    assert back.table is not None
    np.testing.assert_array_equal(back.array == back.table.value_of("liver"), volume(0, 3).array)
    np.testing.assert_array_equal(back.array == back.table.value_of("spleen"), volume(4, 6).array)
    assert "out_labels.csv" in result.stdout


def test_a_model_of_a_case_gives_its_own_masks(case: CaseFolder, tmp_path: Path) -> None:
    told = json.loads(run(case.folder, "--model", "unet", "--format", "organs", "--out", tmp_path / "out", "--json").stdout)
    assert told["organs"] == 2
    np.testing.assert_array_equal(read_volume(tmp_path / "out/segmentations/liver.nii.gz").array, volume(0, 2).array)
    with pytest.raises(DatasetError, match="it has unet"):
        run(case.folder, "--model", "other", "--out", tmp_path / "other")


@pytest.mark.parametrize("values", ["totalsegmentator_v2", "abdomenatlas_1_1"])
def test_an_exported_label_map_is_exported_again_by_the_table_beside_it(case: CaseFolder, tmp_path: Path, values: str) -> None:
    run(case.folder, "--out", tmp_path / "one.nii.gz", "--values", values)
    run(tmp_path / "one.nii.gz", "--out", tmp_path / "two.nrrd", "--format", "nrrd", "--values", "abdomenatlas")
    run(case.folder, "--out", tmp_path / "direct.nrrd", "--format", "nrrd")
    np.testing.assert_array_equal(read_volume(tmp_path / "two.nrrd").array, read_volume(tmp_path / "direct.nrrd").array)


def test_a_label_map_without_a_table_is_not_guessed(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", volume(0, 3))
    with pytest.raises(InputError, match="nobody says what its values mean"):
        run(tmp_path / "a.nii.gz", "--out", tmp_path / "b.nii.gz")
    assert run(tmp_path / "a.nii.gz", "--table", "totalsegmentator_v2", "--out", tmp_path / "b.nii.gz").exit_code == 0
    with pytest.raises(LabelError):
        run(tmp_path / "a.nii.gz", "--table", "none", "--out", tmp_path / "c.nii.gz")


def test_losses_are_said_and_nothing_is_written_until_they_are_accepted(case: CaseFolder, tmp_path: Path) -> None:
    write_nifti(case.average.revised_mask("liver"), volume(0, 5))
    with pytest.raises(InputError, match=r"liver over spleen \(20 voxels\).*Nothing was written"):
        run(case.folder, "--out", tmp_path / "out.nii.gz")
    assert not (tmp_path / "out.nii.gz").exists()
    assert "liver over spleen" in run(case.folder, "--out", tmp_path / "out.nii.gz", "--accept-losses").stdout


def test_nothing_is_replaced_unasked(case: CaseFolder, tmp_path: Path) -> None:
    run(case.folder, "--out", tmp_path / "out.nii.gz")
    before = (tmp_path / "out.nii.gz").read_bytes()
    with pytest.raises(InputError, match="is there already"):
        run(case.folder, "--out", tmp_path / "out.nii.gz", "--values", "totalsegmentator_v2")
    assert (tmp_path / "out.nii.gz").read_bytes() == before
    assert run(case.folder, "--out", tmp_path / "out.nii.gz", "--values", "totalsegmentator_v2", "--replace").exit_code == 0
    assert (tmp_path / "out.nii.gz").read_bytes() != before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--format", "seg-nrrd"], "no export format"),
        (["--format", "dicom-seg"], "DICOM slices"),
        (["--values", "nothing"], "no label table"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_next_step(case: CaseFolder, tmp_path: Path, options: list[str], says: str) -> None:
    with pytest.raises(AtlasError, match=says) as caught:
        run(case.folder, "--out", tmp_path / "out", *options)
    assert caught.value.remedy
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_a_mask_on_another_grid_is_refused(case: CaseFolder, tmp_path: Path) -> None:
    write_nifti(case.average.mask("colon"), Volume(np.ones((2, 2, 2), np.uint8), AFFINE))
    with pytest.raises(GeometryError, match=r"colon\.nii\.gz"):
        run(case.folder, "--out", tmp_path / "out.nii.gz")


def test_a_label_map_of_a_ct_in_dicom_becomes_a_segmentation_object(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    folder = shared_data / "data" / "slab-dicom"
    label = folder / "reference_label.nii.gz"
    options = ["--table", "totalsegmentator_v2", "--format", "dicom-seg", "--dicom", folder / "dicom"]
    told = json.loads(run(label, *options, "--out", tmp_path / "a", "--json").stdout)
    assert told["files"] == [str(tmp_path / "a.dcm")]
    assert told["organs"] == 31
    with pytest.raises(InputError, match="no series"):
        run(label, *options, "--series", "123", "--out", tmp_path / "b")
