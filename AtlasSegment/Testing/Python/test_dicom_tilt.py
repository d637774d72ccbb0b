"""Gantry tilt: a phantom scanned on tilted slices is the same phantom on a right-angled grid, and masks find their way back."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasSegmentLib import intake
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.dicom_labels import grid_of_series, read_label_object
from AtlasSegmentLib.dicom_record import read_origin
from AtlasSegmentLib.dicom_rtstruct import write_rtstruct
from AtlasSegmentLib.dicom_seg import write_dicom_seg
from AtlasSegmentLib.dicom_seg_source import on_slices, read_source_series
from AtlasSegmentLib.dicom_series import inspect_dicom_folder, read_dicom_folder
from AtlasSegmentLib.dicom_tilt import is_sheared, mask_onto_slices, mask_onto_straight, straight_grid, straighten
from AtlasSegmentLib.export_organs import organs_of_masks
from AtlasSegmentLib.geometry import apply_affine, same_grid
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.volume import Grid, reorient
from AtlasSegmentLib.volume_io import read_volume, write_volume
from dicom_phantoms import Phantom, ramp

pytest.importorskip("pydicom")

AIR = -1024.0


def points_of(grid: Grid) -> np.ndarray:
    return apply_affine(grid.affine, np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1))


def tilted(degrees: float, sideways: float = 0.0) -> Phantom:
    """Return slices 2.5 mm apart that a tilted gantry pushes toward the back, and by `sideways` mm to the left."""
    return Phantom((14, 12, 6), step=(sideways, 2.5 * float(np.tan(np.radians(degrees))), 2.5))


def inside(grid: Grid, slices: Grid) -> np.ndarray:
    """Return which voxels lie between the centers of the pixels of the slices, by a hair more than rounding."""
    index = apply_affine(np.linalg.inv(slices.affine), points_of(grid))
    return ((index > -1e-6) & (index < np.array(slices.shape) - 1 + 1e-6)).all(axis=-1)


@pytest.mark.parametrize(("degrees", "sideways"), [(15, 0), (-22.5, 0), (5, 0), (12, -0.8), (30, 1.1)])
def test_a_tilted_series_is_read_onto_right_angles_exactly_in_the_world(tmp_path: Path, degrees: float, sideways: float) -> None:
    tilted(degrees, sideways).write(tmp_path)
    volume, slices = read_volume(tmp_path), read_dicom_folder(tmp_path).grid
    assert is_sheared(slices)
    assert not is_sheared(volume.grid)
    seen = inside(volume.grid, slices)
    assert seen.sum() > 0.8 * np.prod(slices.shape)
    assert np.abs(volume.array - ramp(points_of(volume.grid)))[seen].max() < 0.06  # stored values have one digit
    assert (volume.array[~seen] == AIR).all()
    corners = np.array([*itertools.product(*((0, n - 1) for n in slices.shape))])
    there = apply_affine(np.linalg.inv(volume.affine) @ slices.affine, corners)
    assert (there > -1e-6).all()
    assert (there < np.array(volume.shape) - 1 + 1e-6).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 8), st.integers(1, 7))
def test_any_shear_of_any_oblique_grid_is_undone_exactly(seed: int, x: int, y: int, z: int) -> None:
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(3, 3)))[0]
    steps = axes * random.uniform(0.5, 3, 3)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = steps, random.uniform(-200, 200, 3)
    affine[:3, 2] += steps[:, :2] @ random.uniform(-2, 2, 2)
    grid = Grid((x, y, z), affine)
    straight = straight_grid(grid)
    assert not is_sheared(straight)
    found, seen = straighten(ramp(points_of(grid)), grid, np.nan), inside(straight, grid)
    assert np.isnan(found[~seen]).all()
    np.testing.assert_allclose(found[seen], ramp(points_of(straight))[seen], rtol=0, atol=1e-5)
    mask = random.random(grid.shape) < 0.5
    onto = mask_onto_straight(mask, grid)
    assert onto.sum() == mask.sum()
    np.testing.assert_array_equal(mask_onto_slices(onto, grid), mask)
    moved = points_of(straight)[onto]
    if len(moved):  # by half a pixel along each axis of its slice at most
        index = apply_affine(np.linalg.inv(affine), moved)
        assert np.abs(index - np.rint(index))[:, 2].max() < 1e-6
        nearest = np.rint(index + 1e-9).astype(int)
        assert np.abs(index - nearest)[:, :2].max() <= 0.5 + 1e-6


def test_without_tilt_the_grid_is_that_of_the_slices(tmp_path: Path) -> None:
    Phantom().write(tmp_path)
    slices = read_dicom_folder(tmp_path)
    volume = read_volume(tmp_path)
    assert same_grid(volume.shape, volume.affine, slices.shape, slices.affine)
    np.testing.assert_array_equal(volume.array, slices.array)


def test_the_tilt_is_said_in_log_report_and_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tilted(15).write(tmp_path / "ct")
    case = CaseFolder(tmp_path / "set" / "scan")
    ct = intake.read_ct(tmp_path / "ct")
    intake.store(case, (tmp_path / "ct", ct))
    assert "tilted by 15.00 degrees" in caplog.text
    assert "interpolated linearly onto a right-angled grid" in caplog.text
    (report,) = inspect_dicom_folder(tmp_path / "ct")
    assert report.tilt_deg == pytest.approx(15, abs=1e-3)
    origin = read_origin(case.folder)
    assert origin is not None
    assert (origin.straightened, origin.tilt_deg) == (True, pytest.approx(15, abs=1e-3))
    assert not is_sheared(read_nifti(case.ct).grid)


def test_a_straightened_image_can_be_written_in_formats_without_shear(tmp_path: Path) -> None:
    tilted(15).write(tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    write_volume(tmp_path / "a.nrrd", volume)
    np.testing.assert_allclose(read_volume(tmp_path / "a.nrrd").affine, volume.affine, atol=1e-4)


@pytest.mark.parametrize("write", [write_dicom_seg, write_rtstruct])
@pytest.mark.parametrize("code", ["LPS", "RAS", "SLA"])
def test_masks_on_the_right_angled_grid_go_back_to_the_tilted_slices(tmp_path: Path, write: object, code: str) -> None:
    if write is write_dicom_seg:
        pytest.importorskip("highdicom")
    files = tilted(18, 0.4).write(tmp_path / "ct")
    slices, straight = read_source_series(files).grid, grid_of_series(tmp_path / "ct")[0]
    drawn = np.zeros(slices.shape, np.bool_)
    drawn[3:9, 2:8, 1:5] = True
    drawn[5, 4, 2] = False
    onto, affine = reorient(mask_onto_straight(drawn, slices), straight.affine, code)
    grid = Grid((onto.shape[0], onto.shape[1], onto.shape[2]), affine)
    np.testing.assert_array_equal(on_slices(onto, grid, slices), drawn)
    made = write(tmp_path / "a.dcm", organs_of_masks({"liver": onto}), grid, files)  # type: ignore[operator]
    assert "half a pixel off at most" in made.remarks[0]
    (on_ct,), _ = read_label_object(tmp_path / "a.dcm", slices)
    np.testing.assert_array_equal(on_ct.mask(slices.shape), drawn)
    if write is write_dicom_seg:
        (again,), _ = read_label_object(tmp_path / "a.dcm", straight)
        np.testing.assert_array_equal(again.mask(straight.shape), mask_onto_straight(drawn, slices))
        (own,), on = read_label_object(tmp_path / "a.dcm")
        assert not is_sheared(on)
        assert own.mask(on.shape).sum() == drawn.sum()


def test_slices_pushed_by_rounding_alone_are_not_resampled() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tilted(0.02).write(Path(folder))
        volume = read_dicom_folder(Path(folder), straight=True)
        assert volume.origin is not None
        assert not volume.origin.straightened
        assert volume.shape == (14, 12, 6)
