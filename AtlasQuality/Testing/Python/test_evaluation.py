"""Agreement with a reference: Dice, detection of wrong voxels, calibration."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasQualityLib.attention import AttentionOptions, attention_case
from AtlasQualityLib.average import AverageOptions, average_case
from AtlasQualityLib.error_map import Calibration
from AtlasQualityLib.evaluation import calibrate, detection, dice, evaluate_case
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.encoding import entropy_bytes
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import LabelVolume, Volume, reorient

AFFINE = np.array([[1.5, 0, 0, -40], [0, 1.5, 0, -60], [0, 0, 3.0, 100], [0, 0, 0, 1]])
SHAPE = (20, 16, 14)
TOTAL = load_table("totalsegmentator_v2")


def box(x: int, y: int, z: int, size: int = 6) -> np.ndarray:
    array = np.zeros(SHAPE, bool)
    array[x : x + size, y : y + size, z : z + size] = True
    return array


CORE = {"liver": box(1, 1, 1), "spleen": box(11, 1, 1), "lung_right": box(1, 9, 1), "lung_left": box(11, 9, 1)}
UNSURE = {organ: np.roll(mask, 6, axis=2) for organ, mask in CORE.items()}


def make_case(folder: Path, seed: int = 0) -> CaseFolder:
    """Two models that agree about a core and are unsure about as many voxels above it."""
    random, case = np.random.default_rng(seed), CaseFolder(folder)
    case.ct.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(case.ct, Volume(np.zeros(SHAPE, np.int16), AFFINE))
    for model in "ab":
        for organ, mask in CORE.items():
            p = np.where(mask, 1.0, np.where(UNSURE[organ], 0.35 + 0.3 * random.random(SHAPE), 0.0))
            maps = {"soft_pred": (p * 255).astype(np.uint8), "entropy": entropy_bytes(p), "segmentations": (p > 0.5).astype(np.uint8)}
            for kind, array in maps.items():
                path = case.backbone(model).map(kind, organ)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_nifti(path, Volume(np.asfortranarray(array), AFFINE))
    average_case(case, AverageOptions(postprocess=False))
    attention_case(case)
    return case


def reference(masks: dict[str, np.ndarray], affine: np.ndarray = AFFINE) -> LabelVolume:
    array = np.zeros(SHAPE, np.uint8)
    for organ, mask in masks.items():
        array[mask] = TOTAL.value_of(organ)
    return LabelVolume(array, affine, "truth.nii.gz", None, TOTAL)


def mask_of(case: CaseFolder, organ: str) -> np.ndarray:
    return read_nifti(case.average.mask(organ)).array > 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 65535) | st.integers(0, 4), st.booleans()), min_size=1, max_size=60))
def test_detection_is_what_comparing_all_pairs_of_voxels_gives(voxels: list[tuple[int, bool]]) -> None:
    scores, wrong = np.array([v[0] for v in voxels], np.uint16), np.array([v[1] for v in voxels])
    found = detection(scores, wrong)
    bad, good = scores[wrong].astype(float), scores[~wrong].astype(float)
    pairs = bad[:, None] - good[None, :]

    def same(value: float, expected: list | np.ndarray) -> bool:
        return math.isnan(value) if len(expected) == 0 else value == pytest.approx(float(np.mean(expected)))

    assert same(found.auroc, ((pairs > 0) + 0.5 * (pairs == 0)).ravel())
    assert same(found.sensitivity, bad > 0)
    assert same(found.specificity, good == 0)
    assert same(found.precision, wrong[scores > 0])


def test_detection_takes_volumes_and_the_largest_score() -> None:
    scores, wrong = np.zeros((3, 4, 5), np.uint16), np.zeros((3, 4, 5), bool)
    scores[1, 2, 3], wrong[1, 2, 3] = 65535, True
    assert vars(detection(scores, wrong)) == {"auroc": 1, "sensitivity": 1, "specificity": 1, "precision": 1}


def test_dice_of_masks() -> None:
    a, b = np.zeros((2, 10), bool)
    a[:4], b[2:8] = True, True
    assert dice(a, b) == pytest.approx(2 * 2 / 10)
    assert math.isnan(dice(a & ~a, a & ~a))
    assert dice(a, ~a) == 0


def test_dice_of_every_model_and_the_average_against_the_reference(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    found = evaluate_case(case, reference({"liver": CORE["liver"], "spleen": CORE["spleen"]})).dice
    assert list(found) == ["average", "a", "b"]
    assert found["average"]["liver"] == pytest.approx(dice(mask_of(case, "liver"), CORE["liver"]))
    own = read_nifti(case.backbone("b").mask("spleen")).array > 0
    assert found["b"]["spleen"] == pytest.approx(dice(own, CORE["spleen"]))
    assert found["average"]["lung_left"] == 0  # the table knows lungs, but the reference has none


def test_lobes_of_the_reference_are_one_lung(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    lung, upper = mask_of(case, "lung_right"), np.zeros(SHAPE, bool)
    upper[:, :, 4:] = True
    lobes = {"lung_upper_lobe_right": lung & upper, "lung_lower_lobe_right": lung & ~upper, "liver": CORE["liver"]}
    found = evaluate_case(case, reference(lobes)).dice["average"]
    assert found["lung_right"] == 1
    assert found["lung_left"] == 0


def test_wrong_voxels_are_those_whose_label_differs_among_the_organs_looked_at(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    found = evaluate_case(case, reference({o: CORE[o] for o in ("liver", "spleen")}))
    wrong = (mask_of(case, "liver") ^ CORE["liver"]) | (mask_of(case, "spleen") ^ CORE["spleen"])
    assert found.organs == ("liver", "spleen")  # lungs get no attention
    assert found.wrong_voxels == wrong.sum()
    marked = np.zeros(SHAPE, bool)
    for organ in found.organs:
        marked |= read_nifti(case.average.map("attention", organ)).array > 0
    assert found.attention.sensitivity == pytest.approx((marked & wrong).sum() / wrong.sum())
    assert found.attention.specificity == pytest.approx((~marked & ~wrong).sum() / (~wrong).sum())
    assert found.expected_error is not None
    assert found.expected_error.auroc > 0.9


def test_without_error_maps_there_is_no_detection_by_them(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    attention_case(case, AttentionOptions(error_maps=False))
    assert evaluate_case(case, reference({"liver": CORE["liver"]})).expected_error is None


@pytest.mark.parametrize("orientation", ["LPS", "SPR"])
def test_a_reference_with_its_axes_in_another_order_lies_on_the_same_grid(tmp_path: Path, orientation: str) -> None:
    case, plain = make_case(tmp_path), reference({"liver": CORE["liver"]})
    array, affine = reorient(plain.array, AFFINE, orientation)
    turned = LabelVolume(array, affine, "turned.nii.gz", None, TOTAL)
    assert evaluate_case(case, turned).dice == evaluate_case(case, plain).dice
    assert calibrate(case, turned) == calibrate(case, plain)


def test_a_reference_on_another_grid_is_refused(tmp_path: Path) -> None:
    case, shifted = make_case(tmp_path), AFFINE.copy()
    shifted[2, 3] += 3
    with pytest.raises(GeometryError, match=r"truth.nii.gz does not lie on the grid of .*ct.nii.gz.*3.000 mm apart"):
        evaluate_case(case, reference({"liver": CORE["liver"]}, shifted))


def test_a_reference_that_knows_none_of_the_organs_is_refused(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    attention_case(case, AttentionOptions(force=True))
    for organ in ("liver", "spleen"):
        case.average.map("attention", organ).unlink()
    with pytest.raises(InputError, match="share no organ"):
        evaluate_case(case, reference({"liver": CORE["liver"]}))


def test_a_curve_fitted_on_a_case_makes_the_expected_volume_the_true_one(tmp_path: Path) -> None:
    case, truth = make_case(tmp_path), reference({o: CORE[o] for o in ("liver", "spleen")})
    curve = calibrate(case, truth)
    assert curve.source == f"{case.dataset}/{case.name}"
    record = attention_case(case, AttentionOptions(calibration=curve))
    assert record is not None
    expected = sum(organ["expected_error_mm3"] for organ in record["results"]["organs"].values())
    wrong = sum(np.count_nonzero(mask_of(case, organ) ^ CORE[organ]) for organ in ("liver", "spleen"))
    assert expected == pytest.approx(wrong * 6.75, rel=0.05)


def test_confident_voxels_that_are_wrong_count_in_the_curve(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    half = CORE["liver"] & box(1, 1, 1, size=3)  # 27 of 216 voxels that the models are certain of are right
    curve = calibrate(case, reference({"liver": half, "spleen": CORE["spleen"]}))
    assert float(curve(np.zeros(1, np.float32))[0]) == pytest.approx((216 - 27) / 432, abs=0.01)


def test_no_curve_is_fitted_to_maps_that_are_calibrated_already(tmp_path: Path) -> None:
    case = make_case(tmp_path)
    attention_case(case, AttentionOptions(calibration=Calibration((0.0, 0.5), (0.0, 0.9), "set/other")))
    with pytest.raises(InputError, match=r"calibrated already \(on set/other\)"):
        calibrate(case, reference({"liver": CORE["liver"]}))
