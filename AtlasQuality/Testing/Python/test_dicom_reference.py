"""A DICOM segmentation or structure set is a reference like any label map: it is read onto the grid that it is compared on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from AtlasQualityLib.commands_compare import compare_command
from AtlasQualityLib.tasks import compare_files
from AtlasSegmentLib.dicom_rtstruct import write_rtstruct
from AtlasSegmentLib.dicom_seg import write_dicom_seg
from AtlasSegmentLib.dicom_seg_source import read_source_series
from AtlasSegmentLib.errors import GeometryError
from AtlasSegmentLib.export_organs import organs_of_masks
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.regions import sub_grid
from AtlasSegmentLib.volume import Volume
from dicom_phantoms import Phantom

pytest.importorskip("highdicom")

APP = typer.Typer(pretty_exceptions_enable=False)
APP.callback()(lambda: None)
APP.command("compare")(compare_command)


def dice_of(*arguments: object) -> dict[str, float]:
    """Return what the command says."""
    done = CliRunner().invoke(APP, ["compare", *map(str, arguments), "--json"], catch_exceptions=False)
    return {row["organ"]: row["dice"] for row in json.loads(done.stdout)["organs"]}


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Return a label map on a CT's grid; beside it seg.dcm and rtstruct.dcm with the same organs, which end before the CT does."""
    files = Phantom().write(tmp_path / "ct")
    grid = read_source_series(files).grid
    table = load_table("abdomenatlas")
    liver, spleen = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    liver[1:6, 1:8, 1:4], spleen[7:11, 2:9, 1:3] = True, True
    organs = organs_of_masks({"liver": liver, "spleen": spleen})
    write_dicom_seg(tmp_path / "seg.dcm", organs, grid, files)
    write_rtstruct(tmp_path / "rtstruct.dcm", organs, grid, files)
    array = liver * np.uint8(table.value_of("liver")) + spleen * np.uint8(table.value_of("spleen"))
    write_nifti(tmp_path / "labels.nii.gz", Volume(array, grid.affine))
    return tmp_path / "labels.nii.gz"


@pytest.mark.parametrize("name", ["seg.dcm", "rtstruct.dcm"])
@pytest.mark.parametrize("options", [(), ("--resample",)])
def test_a_dicom_object_is_a_reference(labels: Path, name: str, options: tuple[str, ...]) -> None:
    assert dice_of(labels, "--reference", labels.with_name(name), *options) == {"liver": 1, "spleen": 1}


def test_one_that_lies_elsewhere_asks_for_resampling_as_a_label_map_does(labels: Path) -> None:
    files = Phantom().write(labels.parent / "other")
    grid = read_source_series(files).grid
    part = sub_grid(grid, (slice(2, 9), slice(0, 9), slice(0, 4)))
    shifted = Volume(np.ones(part.shape, np.uint8), part.affine + np.diag([0.3, 0.3, 0.3, 0]))
    write_nifti(labels.parent / "part.nii.gz", shifted)
    seg = labels.with_name("seg.dcm")
    with pytest.raises(GeometryError):
        dice_of(labels.parent / "part.nii.gz", "--reference", seg)
    found: dict[str, Any] = compare_files({"file": str(labels.parent / "part.nii.gz")}, {"file": str(seg)})
    assert "grids" in found
    assert compare_files({"file": str(labels.parent / "part.nii.gz")}, {"file": str(seg)}, resample=True)["resampled"] is True


def test_a_label_map_is_read_with_the_table_beside_it_and_a_dicom_object_by_its_names(
    labels: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from AtlasSegmentLib.export import merge_organs, write_label_map
    from AtlasSegmentLib.nifti import read_nifti

    volume = read_nifti(labels)
    table = load_table("abdomenatlas")
    organs = organs_of_masks({name: volume.array == table.value_of(name) for name in ("liver", "spleen")})
    other = labels.with_name("other.nii.gz")
    write_label_map(other, merge_organs(organs, volume.grid, load_table("totalsegmentator_v2")))
    same = {"liver": 1, "spleen": 1}
    assert dice_of(other, "--reference", labels, "--table", "abdomenatlas") == same  # its own table lies beside it
    assert dice_of(other, "--reference", labels.with_name("seg.dcm")) == same
    assert not caplog.records
    assert dice_of(other, "--reference", labels) == same
    assert "taken for AbdomenAtlas'" in caplog.text
