"""The average of several models, on files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasQualityLib.average import AverageOptions, average_case, mean_exceeds_half
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, GeometryError, InputError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.sparse import from_dense
from AtlasSegmentLib.volume import Grid, Volume, reorient

AFFINE = np.array([[1.5, 0, 0, -40], [0, 1.5, 0, -60], [0, 0, 3.0, 100], [0, 0, 0, 1]])
SHAPE = (16, 12, 10)
RAW = AverageOptions(postprocess=False)


def put(path: Path, array: np.ndarray, orientation: str = "RAS", affine: np.ndarray = AFFINE) -> None:
    turned, turned_affine = reorient(array, affine, orientation)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, Volume(np.asfortranarray(turned), turned_affine))


def make_case(folder: Path, soft: dict[str, dict[str, np.ndarray]], orientation: str = "RAS", ct: bool = True) -> CaseFolder:
    """Make a case from model -> organ -> soft prediction; masks are where it is above one half."""
    case = CaseFolder(folder)
    for model, organs in soft.items():
        for organ, array in organs.items():
            put(case.backbone(model).map("soft_pred", organ), array, orientation)
            put(case.backbone(model).mask(organ), (array > 127).astype(np.uint8), orientation)
    if ct:
        put(case.ct, np.zeros(SHAPE, np.int16), orientation)
    return case


def full(value: int) -> np.ndarray:
    return np.full(SHAPE, value, np.uint8)


def block(value: int, *corners: tuple[int, int], size: int = 4) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    for x, y in corners:
        array[x : x + size, y : y + size, 2:8] = value
    return array


def mask_of(case: CaseFolder, organ: str) -> np.ndarray:
    return read_nifti(case.average.mask(organ)).array


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_the_mask_is_where_the_float64_mean_exceeds_one_half(models: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    near = np.array([0, 51, 126, 127, 128, 129, 204, 255], np.uint8)
    stack = np.where(random.random((models, 9, 8, 7)) < 0.5, random.choice(near, (models, 9, 8, 7)), 0).astype(np.uint8)
    found = mean_exceeds_half([from_dense(np.asfortranarray(array), Grid(array.shape, AFFINE)) for array in stack])
    np.testing.assert_array_equal(found.dense(), np.mean(stack / 255, axis=0) > 0.5)


def test_every_exact_tie_of_two_models_is_decided_as_float64_numpy_decides_it() -> None:
    first = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    stack = [first, 255 - first]
    found = mean_exceeds_half([from_dense(array, Grid(array.shape, AFFINE)) for array in stack])
    np.testing.assert_array_equal(found.dense(), np.mean(np.stack(stack) / 255, axis=0) > 0.5)


@pytest.mark.parametrize("values", [(56, 221, 213, 20), (17, 244, 200, 49), (79, 132, 181, 220, 1, 152), (127, 128), (0, 255, 255, 0)])
def test_a_mean_of_exactly_one_half_counts_where_float64_rounds_it_up(values: tuple[int, ...]) -> None:
    stack = [np.full((1, 1, 1), value, np.uint8) for value in values]
    found = mean_exceeds_half([from_dense(array, Grid(array.shape, AFFINE)) for array in stack])
    assert bool(found.dense()[0, 0, 0]) == bool(np.mean(np.stack(stack) / 255, axis=0) > 0.5) == (values[0] in (17, 56, 79))


def test_an_organ_that_a_model_lacks_is_averaged_over_the_models_that_have_it(tmp_path: Path) -> None:
    case = make_case(tmp_path, {"a": {"liver": full(200), "spleen": full(130)}, "b": {"liver": full(40)}})
    average_case(case, RAW)
    assert mask_of(case, "spleen").all()
    assert not mask_of(case, "liver").any()


def test_an_organ_of_the_second_model_alone_needs_no_ct(tmp_path: Path) -> None:
    case = make_case(tmp_path, {"a": {"spleen": full(200)}, "b": {"liver": full(200)}}, ct=False)
    average_case(case, RAW)
    assert mask_of(case, "liver").all()
    assert case.average.organs() == ["liver", "spleen"]


def test_only_organs_that_some_model_has_get_a_mask(tmp_path: Path) -> None:
    case = make_case(tmp_path, {"a": {"liver": full(0)}, "b": {"liver": full(0)}})
    average_case(case)
    assert case.average.organs() == ["liver"]
    assert not mask_of(case, "liver").any()


def test_no_soft_predictions_at_all_is_said_with_the_next_step(tmp_path: Path) -> None:
    case = make_case(tmp_path, {"a": {"liver": full(200)}, "b": {"liver": full(200)}})
    for model in "ab":
        case.backbone(model).map("soft_pred", "liver").unlink()
    with pytest.raises(DatasetError, match=r"a, b left no soft_pred.*--force"):
        average_case(case)


def test_a_model_that_did_not_predict_the_case_is_named(tmp_path: Path) -> None:
    case = make_case(tmp_path, {"a": {"liver": full(200)}})
    with pytest.raises(DatasetError, match="no prediction of model b; there are a"):
        average_case(case, AverageOptions(models=("a", "b")))
    with pytest.raises(DatasetError, match="no model has predicted"):
        average_case(CaseFolder(tmp_path / "empty"))


def test_later_classes_overwrite_earlier_ones_in_the_combined_map(tmp_path: Path) -> None:
    liver, spleen = block(255, (2, 2), size=6), block(255, (4, 4), size=6)
    case = make_case(tmp_path, {m: {"liver": liver, "spleen": spleen} for m in "ab"})
    average_case(case)
    combined = read_nifti(case.average.pseudo_label).array
    np.testing.assert_array_equal(combined, np.where(liver > 0, 6, np.where(spleen > 0, 1, 0)))
    assert combined.dtype == np.uint8


def two_lungs() -> dict[str, np.ndarray]:
    """Two lungs whose names are swapped, a vein that begins below the pancreas, and a liver with a fragment."""
    liver = block(255, (2, 2), size=5)
    liver[14, 10, 9] = 255
    vein = np.zeros(SHAPE, np.uint8)
    vein[8, 6, 1:9] = 255
    pancreas = np.zeros(SHAPE, np.uint8)
    pancreas[6:9, 5:8, 4:8] = 255
    return {
        "lung_right": block(255, (1, 3)),
        "lung_left": block(255, (10, 3)),
        "portal_vein_and_splenic_vein": vein,
        "pancreas": pancreas,
        "liver": liver,
    }


@pytest.mark.parametrize("orientation", ["LPS", "LAI", "SPR", "AIL"])
def test_a_case_in_another_orientation_gives_the_same_organs_in_the_patient(tmp_path: Path, orientation: str) -> None:
    organs = two_lungs()
    turned = make_case(tmp_path / "turned", dict.fromkeys("ab", organs), orientation)
    plain = make_case(tmp_path / "plain", dict.fromkeys("ab", organs))
    average_case(plain)
    average_case(turned)
    for organ in organs:
        found = read_nifti(turned.average.mask(organ))
        assert found.orientation == orientation
        np.testing.assert_array_equal(found.reoriented("RAS").array, mask_of(plain, organ))
    assert mask_of(plain, "lung_left")[1:5].any()  # the lower x is the patient's left, whatever the model called it
    assert not mask_of(plain, "lung_left")[8:].any()
    assert not mask_of(plain, "portal_vein_and_splenic_vein")[:, :, :4].any()
    assert mask_of(plain, "liver")[14, 10, 9] == 0


def test_one_model_alone_gives_its_own_masks_uncleaned(tmp_path: Path) -> None:
    organs = two_lungs()
    case = make_case(tmp_path, {"a": organs})
    put(case.backbone("a").map("soft_pred", "liver"), full(0))
    average_case(case)
    for organ in organs:
        np.testing.assert_array_equal(mask_of(case, organ), organs[organ] > 0)


def test_a_revised_mask_is_not_touched(tmp_path: Path) -> None:
    case = make_case(tmp_path, {m: {"liver": full(200)} for m in "ab"})
    put(case.average.revised_mask("liver"), block(1, (2, 2)))
    before = case.average.revised_mask("liver").read_bytes()
    average_case(case)
    average_case(case, AverageOptions(force=True))
    assert case.average.revised_mask("liver").read_bytes() == before
    assert mask_of(case, "liver").all()


def test_what_is_done_is_skipped_until_an_input_or_option_changes(tmp_path: Path) -> None:
    case = make_case(tmp_path, {m: {"liver": block(200, (2, 2))} for m in "ab"})
    assert average_case(case) is not None
    assert average_case(case) is None
    assert average_case(case, RAW) is not None
    put(case.backbone("a").map("soft_pred", "liver"), full(0))
    assert average_case(case, RAW) is not None
    assert average_case(case, RAW) is None
    case.average.mask("liver").unlink()
    assert average_case(case, RAW) is not None
    assert average_case(case, AverageOptions(postprocess=False, force=True)) is not None


def test_the_record_names_models_volumes_and_hashes(tmp_path: Path) -> None:
    case = make_case(tmp_path, {m: {"liver": block(200, (2, 2))} for m in "ab"})
    average_case(case)
    record = json.loads(case.average.run_record.read_text())
    assert record["parameters"] == {"models": ["a", "b"], "postprocess": True}
    assert sorted(record["inputs"]) == ["a/liver", "b/liver"]
    assert record["results"]["organs"]["liver"]["voxels"] == 96
    assert record["results"]["organs"]["liver"]["volume_ml"] == pytest.approx(96 * 6.75 / 1000)


def test_a_mask_changed_in_place_is_kept_as_a_revision(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    case = make_case(tmp_path, {m: {"liver": block(200, (2, 2))} for m in "ab"})
    average_case(case)
    put(case.average.mask("liver"), block(1, (6, 6)))
    edited = case.average.mask("liver").read_bytes()
    with caplog.at_level(logging.WARNING):
        average_case(case, RAW)
    assert [path.read_bytes() for path in case.average.revisions("liver").iterdir()] == [edited]
    assert "changed by another program" in caplog.text


def test_predictions_on_another_grid_are_refused_with_both_files_named(tmp_path: Path) -> None:
    case = make_case(tmp_path, {m: {"liver": full(200)} for m in "ab"})
    shifted = AFFINE.copy()
    shifted[0, 3] += 1.5
    put(case.backbone("b").map("soft_pred", "liver"), full(200), affine=shifted)
    with pytest.raises(GeometryError) as error:
        average_case(case)
    assert str(case.backbone("b").map("soft_pred", "liver")) in error.value.message
    assert str(case.ct) in error.value.message
    assert not case.average.run_record.exists()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_maps_stored_as_wider_numbers_by_another_program_are_read(tmp_path: Path, dtype: type) -> None:
    case = make_case(tmp_path, {m: {"liver": full(0)} for m in "ab"})
    array = block(200, (2, 2))
    for model in "ab":
        nib.save(nib.Nifti1Image(array.astype(dtype), AFFINE), case.backbone(model).map("soft_pred", "liver"))
    average_case(case)
    np.testing.assert_array_equal(mask_of(case, "liver"), array > 0)
    assert read_nifti(case.average.mask("liver")).array.dtype == np.uint8


@pytest.mark.parametrize("value", [0.9, 300.0, -1.0, np.nan])
def test_maps_that_are_not_bytes_are_refused_instead_of_read_as_nothing(tmp_path: Path, value: float) -> None:
    case = make_case(tmp_path, {m: {"liver": full(200)} for m in "ab"})
    nib.save(nib.Nifti1Image(np.full(SHAPE, value, np.float32), AFFINE), case.backbone("b").map("soft_pred", "liver"))
    with pytest.raises(InputError, match=r"b/soft_pred/liver.nii.gz.*whole numbers 0 to 255"):
        average_case(case)
