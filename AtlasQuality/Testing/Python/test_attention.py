"""Attention of a case on files: which organs, what is written, what is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from AtlasQualityLib.attention import AttentionOptions, attention_case, attention_folder
from AtlasQualityLib.average import AverageOptions, average_case
from AtlasQualityLib.error_map import Calibration
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.encoding import entropy_bytes
from AtlasSegmentLib.errors import DatasetError, GeometryError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume, reorient

AFFINE = np.array([[1.5, 0, 0, -40], [0, 1.5, 0, -60], [0, 0, 3.0, 100], [0, 0, 0, 1]])
SHAPE = (18, 16, 14)
UNIT = 1.5 * 1.5 * 3
ORGANS = ("spleen", "liver", "aorta", "pancreas", "duodenum")


def put(path: Path, array: np.ndarray, orientation: str = "RAS", affine: np.ndarray = AFFINE) -> None:
    turned, turned_affine = reorient(array, affine, orientation)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, Volume(np.asfortranarray(turned), turned_affine))


def probability(organ: str, model: int) -> np.ndarray:
    """A core that all models see, and a cap of 6x6x6 voxels that they disagree about."""
    shift = ORGANS.index(organ)
    array = np.zeros(SHAPE)
    array[2 + shift : 8 + shift, 3:9, 2:8] = 1.0
    array[2 + shift : 8 + shift, 3:9, 8:14] = (0.9, 0.2)[model]
    return array


def make_case(folder: Path, organs: tuple[str, ...] = ORGANS, orientation: str = "RAS") -> CaseFolder:
    case = CaseFolder(folder)
    put(case.ct, np.zeros(SHAPE, np.int16), orientation)
    for number, model in enumerate("ab"):
        for organ in organs:
            p = probability(organ, number)
            put(case.backbone(model).mask(organ), (p > 0.5).astype(np.uint8), orientation)
            put(case.backbone(model).map("soft_pred", organ), (p * 255).astype(np.uint8), orientation)
            put(case.backbone(model).map("entropy", organ), entropy_bytes(p), orientation)
    average_case(case, AverageOptions(postprocess=False))
    return case


def dense(case: CaseFolder, kind: str, organ: str) -> np.ndarray:
    return read_nifti(case.average.map(kind, organ)).array


@pytest.mark.parametrize(
    ("dataset", "organs"),
    [
        ("04_LiTS", ["spleen", "aorta", "pancreas"]),
        ("10_Decathlon_pancreas", ["spleen", "liver", "aorta"]),
        ("hospital", ["spleen", "liver", "aorta", "pancreas"]),
        ("99_unknown", ["spleen", "liver", "aorta", "pancreas"]),
        ("15_TotalSegmentator", []),
    ],
)
def test_the_targets_that_nobody_annotated_in_this_dataset_are_looked_at(tmp_path: Path, dataset: str, organs: list[str]) -> None:
    case = make_case(tmp_path / dataset / "case")
    record = attention_case(case)
    assert record is not None
    assert list(record["results"]["organs"]) == organs
    assert case.average.organs("attention") == sorted(organs)


def test_all_organs_with_entropy_maps_are_looked_at_on_request(tmp_path: Path) -> None:
    case = make_case(tmp_path / "04_LiTS" / "case")
    case.backbone("a").map("entropy", "aorta").unlink()
    case.backbone("b").map("entropy", "aorta").unlink()
    record = attention_case(case, AttentionOptions(all_organs=True))
    assert record is not None
    assert list(record["results"]["organs"]) == ["spleen", "pancreas", "duodenum"]


def test_the_files_are_those_of_the_case_folder_on_the_grid_of_the_ct(tmp_path: Path) -> None:
    case = make_case(tmp_path, ("liver", "spleen"), "LPS")
    attention_case(case, AttentionOptions(parts=True))
    for kind in ("attention", "inconsistency", "uncertainty", "overlap"):
        volume = read_nifti(case.average.map(kind, "liver"))
        assert volume.array.dtype == np.uint8
        assert volume.shape == SHAPE
        np.testing.assert_array_equal(volume.affine, read_nifti(case.ct).affine)
    assert dense(case, "attention", "liver").max() == 255


def test_the_parts_are_truncated_bytes_of_deviation_entropy_and_overlap(tmp_path: Path) -> None:
    case = make_case(tmp_path, ("liver", "spleen"))
    record = attention_case(case, AttentionOptions(parts=True))
    assert record is not None
    cap = np.zeros(SHAPE, bool)
    cap[3:9, 3:9, 8:14] = True
    soft = [read_nifti(case.backbone(m).map("soft_pred", "liver")).array / 255 for m in "ab"]
    entropy = [read_nifti(case.backbone(m).map("entropy", "liver")).array / 255 for m in "ab"]
    both = (dense(case, "segmentations", "liver") > 0) & (dense(case, "segmentations", "spleen") > 0)
    np.testing.assert_array_equal(dense(case, "inconsistency", "liver"), np.where(cap, np.std(soft, axis=0) * 255, 0).astype(np.uint8))
    np.testing.assert_array_equal(dense(case, "uncertainty", "liver"), np.where(cap, np.mean(entropy, axis=0) * 255, 0).astype(np.uint8))
    np.testing.assert_array_equal(dense(case, "overlap", "liver"), both.astype(np.uint8))
    scores = record["results"]["organs"]["liver"]
    heat = dense(case, "attention", "liver")
    assert scores["attention_voxels"] == np.count_nonzero(cap | both)
    assert scores["attention_mm3"] == pytest.approx(scores["attention_voxels"] * UNIT)
    assert scores["heat_sum"] == heat.sum(dtype=int)
    assert (scores["inconsistency_voxels"], scores["uncertainty_voxels"], scores["overlap_voxels"]) == (216, 216, both.sum())


def test_a_vessel_is_marked_where_an_organ_covers_it_but_not_the_organ(tmp_path: Path) -> None:
    case = make_case(tmp_path, ("liver", "aorta"))
    attention_case(case, AttentionOptions(parts=True))
    assert dense(case, "overlap", "aorta").any()
    assert not dense(case, "overlap", "liver").any()  # vessels are no overlap structures


def test_expected_error_is_stored_as_uint16_with_a_slope(tmp_path: Path) -> None:
    case = make_case(tmp_path, ("liver",))
    record = attention_case(case)
    assert record is not None
    header = nib.load(case.average.map("expected_error", "liver")).header
    assert header.get_data_dtype() == np.uint16
    assert nib.load(case.average.map("expected_error", "liver")).dataobj.slope == pytest.approx(1 / 65535)
    error = dense(case, "expected_error", "liver")
    assert error[5, 5, 10] == pytest.approx(0.45, abs=0.005)  # the mean of 0.9 and 0.2 is 0.55
    assert error[5, 5, 5] < 0.005
    volume = record["results"]["organs"]["liver"]["expected_error_mm3"]
    assert volume == pytest.approx(error.sum(dtype=float) * UNIT, rel=1e-3)
    scores = record["results"]["organs"]["liver"]
    assert scores["gain_mm3_per_minute"] == pytest.approx(volume / scores["minutes_to_correct"], rel=1e-2)


def test_a_calibration_changes_the_expected_error_and_is_recorded(tmp_path: Path) -> None:
    case = make_case(tmp_path, ("liver",))
    attention_case(case)
    before, heat = dense(case, "expected_error", "liver"), dense(case, "attention", "liver")
    record = attention_case(case, AttentionOptions(calibration=Calibration((0.0, 0.5), (0.0, 1.0), "doubled")))
    assert record is not None
    assert record["parameters"]["calibration"] == [[0.0, 0.5], [0.0, 1.0], "doubled"]
    np.testing.assert_allclose(dense(case, "expected_error", "liver"), 2 * before, atol=2e-5)
    np.testing.assert_array_equal(dense(case, "attention", "liver"), heat)


def test_what_is_done_is_skipped_until_something_changes(tmp_path: Path) -> None:
    case = make_case(tmp_path, ("liver",))
    assert attention_case(case) is not None
    assert attention_case(case) is None
    assert attention_case(case, AttentionOptions(parts=True)) is not None
    assert attention_case(case, AttentionOptions(parts=True)) is None
    put(case.average.mask("liver"), np.ones(SHAPE, np.uint8))
    assert attention_case(case, AttentionOptions(parts=True)) is not None
    assert attention_case(case, AttentionOptions(parts=True, force=True)) is not None


def test_maps_that_a_new_run_does_not_make_are_removed(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    attention_case(case, AttentionOptions(all_organs=True, parts=True))
    attention_case(case, AttentionOptions(error_maps=False))
    assert case.average.organs("attention") == ["aorta", "liver", "pancreas", "spleen"]
    assert [case.average.organs(kind) for kind in ("overlap", "uncertainty", "inconsistency", "expected_error")] == [[]] * 4


def test_the_record_tells_rule_models_and_inputs(tmp_path: Path) -> None:
    case = make_case(tmp_path, ("liver",))
    attention_case(case)
    record = json.loads(attention_folder(case).run_record.read_text())
    assert record["step"] == "attention"
    assert record["parameters"]["rule"] == "abdomenatlas"
    assert record["parameters"]["models"] == ["a", "b"]
    assert sorted(record["inputs"]) == [
        "a/entropy/liver",
        "a/soft_pred/liver",
        "average/liver",
        "b/entropy/liver",
        "b/soft_pred/liver",
    ]


def test_the_models_are_those_that_the_average_was_made_of(tmp_path: Path) -> None:
    case = make_case(tmp_path, ("liver",))
    average_case(case, AverageOptions(models=("a",), postprocess=False))
    record = attention_case(case)
    assert record is not None
    assert record["parameters"]["models"] == ["a"]
    assert record["results"]["organs"]["liver"]["inconsistency_voxels"] == 0


def test_orientation_does_not_change_the_numbers(tmp_path: Path) -> None:
    plain, turned = make_case(tmp_path / "a", ORGANS), make_case(tmp_path / "b", ORGANS, "LPS")
    first, second = attention_case(plain), attention_case(turned)
    assert first is not None
    assert second is not None
    assert first["results"] == second["results"]
    found = read_nifti(turned.average.map("attention", "liver")).reoriented("RAS")
    np.testing.assert_array_equal(found.array, dense(plain, "attention", "liver"))


def test_maps_stored_as_float32_give_the_same_attention(tmp_path: Path) -> None:
    plain, floats = make_case(tmp_path / "a", ("liver", "spleen")), make_case(tmp_path / "b", ("liver", "spleen"))
    floats.average.run_record.unlink(missing_ok=True)  # as AbdomenAtlas itself leaves a folder
    for path in [*floats.folder.glob("backbones/*/*/*.nii.gz"), *floats.folder.glob("average/segmentations/*.nii.gz")]:
        volume = read_nifti(path)
        write_nifti(path, volume.with_array(volume.array.astype(np.float32)))
    first, second = attention_case(plain), attention_case(floats)
    assert first is not None
    assert second is not None
    assert first["results"] == second["results"]


def test_an_average_of_earlier_predictions_is_refused(tmp_path: Path) -> None:
    case = make_case(tmp_path / "a", ("liver", "spleen"))
    average_case(case)
    path = case.backbone(case.models()[0]).map("soft_pred", "liver")
    volume = read_nifti(path)
    write_nifti(path, volume.with_array(volume.array // 2))
    with pytest.raises(DatasetError, match=r"older than the predictions of \w+.*atlas average"):
        attention_case(case)


def test_there_must_be_an_average_first(tmp_path: Path) -> None:
    case = make_case(tmp_path, ("liver",))
    case.average.mask("liver").unlink()
    with pytest.raises(DatasetError, match=r"no average yet.*atlas average"):
        attention_case(case)


@pytest.mark.parametrize("changed", ["backbones/b/entropy/liver.nii.gz", "average/segmentations/spleen.nii.gz"])
def test_a_map_on_another_grid_is_refused(tmp_path: Path, changed: str) -> None:
    case = make_case(tmp_path, ("liver", "spleen"))
    larger = np.zeros((SHAPE[0], SHAPE[1], SHAPE[2] + 2), np.uint8)
    larger[2:9, 3:9, 9:16] = 60
    put(case.folder / changed, larger)
    with pytest.raises(GeometryError, match=changed):
        attention_case(case)
    assert not attention_folder(case).run_record.exists()
