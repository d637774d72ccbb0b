"""Whether an image looks like a CT: real CTs pass, whole, cropped and clipped; an MR, a PET and rescaled images do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from atlas_phantoms import ct as phantom
from AtlasSegmentLib.ct_check import ct_doubt, unusable_reason
from AtlasSegmentLib.markups import read_roi
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.regions import covered_voxels, fitted_grid, roi_box
from AtlasSegmentLib.volume import Array
from AtlasSegmentLib.volume_io import read_volume

SOFT_TISSUE = (-160, 240)
ABDOMEN = (-175, 250)


def synthetic_mr(seed: int = 0) -> Array:
    """Return an MR-like image: background noise near 0, tissues of several hundred, a smooth shading over all."""
    index = np.indices((60, 50, 40), dtype=np.float64)
    body = sum(((axis - c) / r) ** 2 for axis, c, r in zip(index, (30, 25, 20), (26, 20, 30), strict=True)) < 1
    fat = sum(((axis - c) / r) ** 2 for axis, c, r in zip(index, (30, 25, 20), (23, 17, 30), strict=True)) >= 1
    image = np.where(body, np.where(fat, 900.0, 350.0), 0.0) * (1 + 0.3 * index[0] / 60)
    noise = np.random.default_rng(seed).normal(0, 12, (2, *image.shape))
    return np.hypot(image + noise[0], noise[1]).astype(np.int16)


@pytest.fixture(scope="module", params=["torso-3mm/ct.nii.gz", "chest-abdomen-1mm/ct.nii.gz", "slab-dicom/dicom"])
def real_ct(request: pytest.FixtureRequest, shared_data: Path) -> Array:
    """Return each real CT in turn."""
    return read_volume(shared_data / "data" / request.param).array


def test_a_real_ct_passes_whole_in_halves_and_in_any_numeric_type(real_ct: Array) -> None:
    assert unusable_reason(real_ct) == ""
    assert ct_doubt(real_ct) == ""
    assert ct_doubt(real_ct.astype(np.float32)) == ""
    for axis in range(3):
        half = real_ct.shape[axis] // 2
        for part in (slice(None, half), slice(half, None)):
            assert ct_doubt(real_ct[(slice(None),) * axis + (part,)]) == ""


@pytest.mark.parametrize("window", [SOFT_TISSUE, ABDOMEN, (-1000, 1000)])
def test_a_real_ct_that_was_clipped_to_a_window_passes(real_ct: Array, window: tuple[int, int]) -> None:
    assert ct_doubt(np.clip(real_ct, *window)) == ""


def test_a_crop_within_the_body_passes_although_it_holds_no_air_outside(shared_data: Path) -> None:
    folder = shared_data / "data" / "torso-3mm"
    ct = read_nifti(folder / "ct.nii.gz")
    box = roi_box(ct.grid, read_roi(folder / "abdomen_roi.mrk.json"))
    crop = ct.array[covered_voxels(ct.grid, fitted_grid(ct.grid, "RAS", box, (9, 9, 9)))]
    assert crop.size < ct.array.size / 2
    assert ct_doubt(crop) == ""
    center = tuple(slice(n // 3, 2 * n // 3) for n in ct.shape)
    assert ct_doubt(ct.array[center]) == ""


def test_the_phantom_of_the_tests_is_a_ct() -> None:
    assert ct_doubt(phantom().array) == ""


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32])
def test_an_mr_is_doubted_and_the_message_says_its_values(dtype: type) -> None:
    text = ct_doubt(synthetic_mr().astype(dtype))
    assert "MR" in text
    assert "run from 0 to" in text


def test_an_mr_with_a_few_negative_voxels_of_interpolation_is_doubted_too() -> None:
    image = synthetic_mr().astype(np.float32)
    image.ravel()[::701] = -5
    assert "MR" in ct_doubt(image)


def test_a_ct_that_was_stored_with_1024_added_is_told_apart_from_an_mr(real_ct: Array) -> None:
    shifted = np.clip(real_ct.astype(np.int32) + 1024, 0, None).astype(np.uint16)
    assert "1024 added" in ct_doubt(shifted)
    assert "1024 added" not in ct_doubt(synthetic_mr())


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (-2.5, 6.0), (0.0, 100.0)])
def test_a_ct_that_was_rescaled_is_doubted(real_ct: Array, low: float, high: float) -> None:
    scaled = low + (real_ct - float(real_ct.min())) * ((high - low) / float(np.ptp(real_ct)))
    assert "rescaled" in ct_doubt(scaled.astype(np.float32))


def test_a_label_map_and_a_photograph_are_doubted() -> None:
    assert ct_doubt(np.random.default_rng(1).integers(0, 118, (30, 30, 30)).astype(np.uint8))
    assert ct_doubt(np.random.default_rng(1).integers(0, 256, (30, 30, 30)).astype(np.uint8))


@pytest.mark.parametrize("shape", [(40, 40, 1), (1, 40, 40), (0, 4, 4), (40, 40), (4, 4, 4, 3)])
def test_what_is_not_three_dimensional_cannot_be_segmented(shape: tuple[int, ...]) -> None:
    assert "3-D" in unusable_reason(np.zeros(shape))


def test_an_image_of_one_value_is_called_empty_but_one_with_a_single_other_voxel_is_not() -> None:
    image = np.full((64, 64, 64), -1000, np.int16)
    assert "-1000" in unusable_reason(image)
    image[1, 2, 3] = 5
    assert unusable_reason(image) == ""


def test_voxels_that_are_no_numbers_are_refused() -> None:
    assert "complex" in unusable_reason(np.zeros((4, 4, 4), np.complex64))
    assert "finite" in unusable_reason(np.full((4, 4, 4), np.nan))


def test_single_voxels_that_are_not_finite_do_not_disturb_the_judgment(real_ct: Array) -> None:
    image = real_ct.astype(np.float32)
    image[:3] = np.nan
    image[3:5] = np.inf
    assert ct_doubt(image) == ""
