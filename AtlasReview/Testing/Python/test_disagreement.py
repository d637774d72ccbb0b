"""How far two readings agree: Dice, surface Dice, kappa over hot spots; the same numbers whatever the array order of the files is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_phantoms import SHAPE, ct
from AtlasReviewLib.disagreement import Measured, agrees, kappa_of, measure
from AtlasReviewLib.review_policy import ReviewPolicy
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Array, Volume

COUNTS = st.integers(0, 50)
TABLES = st.tuples(COUNTS, COUNTS, COUNTS, COUNTS)
POLICY = ReviewPolicy()


def test_kappa_is_that_of_the_textbook() -> None:
    assert kappa_of((20, 5, 10, 15)) == pytest.approx(0.4)  # observed 0.7, expected 0.5
    assert kappa_of((3, 0, 0, 2)) == 1.0
    assert kappa_of((0, 2, 2, 0)) == -1.0


@pytest.mark.parametrize("table", [(0, 0, 0, 0), (4, 0, 0, 0), (0, 0, 0, 4)])
def test_kappa_is_unknown_where_nothing_can_be_told(table: tuple[int, int, int, int]) -> None:
    assert kappa_of(table) is None


@given(TABLES)
def test_kappa_lies_between_minus_one_and_one_and_does_not_care_who_is_first(table: tuple[int, int, int, int]) -> None:
    both, first, second, neither = table
    found = kappa_of(table)
    assert found is None or -1 - 1e-9 <= found <= 1 + 1e-9
    assert found == kappa_of((both, second, first, neither))


@given(TABLES)
def test_kappa_is_that_of_scikit_learn(table: tuple[int, int, int, int]) -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="the reference of kappa")
    first = [1] * table[0] + [1] * table[1] + [0] * table[2] + [0] * table[3]
    second = [1] * table[0] + [0] * table[1] + [1] * table[2] + [0] * table[3]
    found = kappa_of(table)
    if found is not None:
        assert found == pytest.approx(metrics.cohen_kappa_score(first, second))


def test_what_was_measured_comes_back_from_the_list() -> None:
    found = Measured(0.9, 0.8, 1.5, None, (1, 2, 3, 4), ("accepted", "rejected"), ("r1", ""), agree=False)
    assert Measured.from_text(found.to_text()) == found
    for text in ("{", "[]", "{}", '{"dice": 1}', "null"):
        with pytest.raises(InputError, match="how far two readings agree"):
            Measured.from_text(text)


def test_each_limit_of_the_policy_decides() -> None:
    good = {"dice": 0.95, "nsd": 0.95, "kappa": 0.1, "verdicts": ("accepted", "accepted")}
    assert agrees(**good, policy=POLICY)  # type: ignore[arg-type]
    for name in ("dice", "nsd"):
        assert not agrees(**{**good, name: 0.89}, policy=POLICY)  # type: ignore[arg-type]
    strict = ReviewPolicy(agree_kappa=0.2)
    assert not agrees(**good, policy=strict)  # type: ignore[arg-type]
    assert agrees(**{**good, "kappa": None}, policy=strict)  # type: ignore[arg-type]


def box(low: tuple[int, int, int], high: tuple[int, int, int]) -> Array:
    mask = np.zeros(SHAPE, np.uint8, order="F")
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return mask


def make(folder: Path, orientation: str) -> tuple[CaseFolder, dict[str, Path]]:
    """Write a case with an organ, two hot spots on its lowest and highest x, and masks that change them."""
    case = CaseFolder(folder / orientation)
    write_nifti(case.ct, ct(orientation))
    affine = ct("RAS").affine
    predicted = box((6, 6, 6), (14, 14, 14))
    heat = 200 * (box((5, 6, 6), (6, 14, 14)) + box((14, 6, 6), (15, 14, 14)))
    low, high = predicted | box((5, 6, 6), (6, 14, 14)), predicted | box((14, 6, 6), (15, 14, 14))
    files = {"predicted": predicted, "low": low, "high": high, "both": low | high, "empty": np.zeros_like(predicted)}
    for name, mask in files.items():
        write_nifti(folder / orientation / f"{name}.nii.gz", Volume(mask, affine).reoriented(orientation))
    write_nifti(case.average.map("attention", "liver"), Volume(heat.astype(np.uint8), affine).reoriented(orientation))
    return case, {name: folder / orientation / f"{name}.nii.gz" for name in files}


def test_hot_spots_are_counted_by_who_changed_them(tmp_path: Path) -> None:
    case, files = make(tmp_path, "RAS")

    def spots(first: str, second: str) -> tuple[int, ...]:
        return measure(case, "liver", (files[first], files[second]), files["predicted"], POLICY).spots

    assert spots("low", "high") == (0, 1, 1, 0)
    assert spots("low", "both") == (1, 0, 1, 0)
    assert spots("predicted", "both") == (0, 0, 2, 0)
    assert spots("predicted", "predicted") == (0, 0, 0, 2)
    case.average.map("attention", "liver").unlink()
    assert spots("low", "high") == (0, 0, 0, 0)


def test_dice_and_surface_dice_are_those_of_two_boxes(tmp_path: Path) -> None:
    case, files = make(tmp_path, "RAS")
    found = measure(case, "liver", (files["low"], files["high"]), files["predicted"], ReviewPolicy(tolerance_mm=0.0))
    assert found.dice == pytest.approx(2 * 512 / (576 + 576), abs=1e-4)
    assert 0 < found.nsd < 1
    assert found.kappa == -1.0
    loose = measure(case, "liver", (files["low"], files["high"]), files["predicted"], ReviewPolicy(tolerance_mm=50.0))
    assert loose.nsd == 1.0


@pytest.mark.parametrize(("first", "second", "value"), [("empty", "empty", 1.0), ("empty", "low", 0.0), ("low", "empty", 0.0)])
def test_empty_masks_agree_with_each_other_alone(tmp_path: Path, first: str, second: str, value: float) -> None:
    case, files = make(tmp_path, "RAS")
    found = measure(case, "liver", (files[first], files[second]), files["predicted"], POLICY)
    assert (found.dice, found.nsd) == (value, value)
    assert measure(case, "liver", (None, None), None, POLICY).dice == 1.0


@pytest.mark.parametrize("orientation", ["LPS", "SAR", "PIR"])
def test_the_array_order_of_the_files_changes_no_number(tmp_path: Path, orientation: str) -> None:
    numbers = []
    for order in ("RAS", orientation):
        case, files = make(tmp_path, order)
        pairs = [(files["low"], files["high"]), (files["low"], files["both"])]
        numbers.append([measure(case, "liver", pair, files["predicted"], POLICY) for pair in pairs])
    assert numbers[0] == numbers[1]
