"""Groups of organs: missed and invented ones count, organs in neither are counted and have no number."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasQualityLib.metrics_groups import ALL_ORGANS, COLUMNS, group_agreements, groups_csv, groups_of, read_groups
from AtlasQualityLib.surface_metrics import Agreement, compare_masks
from AtlasSegmentLib.errors import InputError


def rod(length: int) -> Any:
    mask = np.zeros((1, 1, 12), bool)
    mask[..., :length] = True
    return mask


def agreement(length: int, reference: int) -> Agreement:
    return compare_masks(rod(length), rod(reference), (10, 10, 10))


ORGANS = {
    "vertebrae_L1": agreement(10, 10),
    "vertebrae_L2": agreement(0, 6),
    "vertebrae_L3": agreement(2, 0),
    "vertebrae_L4": agreement(0, 0),
    "liver": agreement(6, 12),
}


def test_the_groups_of_the_catalog_are_wholes_with_two_parts_or_more_and_all_organs() -> None:
    groups = groups_of(["kidney_left", "kidney_right", "lung_upper_lobe_left", "lung_left", "liver", "=organ"])
    assert groups["kidney"] == ["kidney_left", "kidney_right"]
    assert groups["lung"] == ["lung_left", "lung_upper_lobe_left"]
    assert "lung_left" not in groups
    assert len(groups[ALL_ORGANS]) == 6


def test_missed_and_invented_organs_count_with_dice_zero_and_are_counted() -> None:
    (found,) = group_agreements(ORGANS, {"vertebrae": groups_of(ORGANS)["vertebrae"]})
    assert (found.organs, found.missed, found.extra, found.neither) == (3, 1, 1, 1)
    assert found.dice_mean == pytest.approx(1 / 3)
    assert found.dice_pooled == pytest.approx(2 * 10 / (10 + 6 + 2 + 10))
    assert (found.volume_ml, found.reference_ml) == (pytest.approx(12), pytest.approx(16))
    assert found.hd95_mm_median == math.inf
    assert (found.parts.found, found.parts.missed, found.parts.false_positives) == (1, 1, 1)


def test_a_group_found_in_neither_has_no_number_and_is_still_there() -> None:
    (found,) = group_agreements(ORGANS, {"lowest": ["vertebrae_L4", "not compared"], "nothing": ["heart"]})
    assert (found.organs, found.neither) == (0, 1)
    assert math.isnan(found.dice_mean)
    assert math.isnan(found.dice_pooled)
    assert found.to_json()["dice_mean"] is None


def test_the_table_of_groups_is_csv_that_no_spreadsheet_runs() -> None:
    rows = list(csv.DictReader(io.StringIO(groups_csv(group_agreements(ORGANS, {"=cmd": list(ORGANS)})))))
    assert list(rows[0]) == list(COLUMNS)
    assert (rows[0]["group"], rows[0]["organs"], rows[0]["missed"], rows[0]["neither"]) == ("'=cmd", "4", "1", "1")
    assert float(rows[0]["dice_mean"]) == pytest.approx((1 + 2 * 6 / 18) / 4, abs=1e-4)


def test_groups_are_read_from_a_file_with_any_known_name(tmp_path: Path) -> None:
    path = tmp_path / "groups.json"
    path.write_text('{"kidneys": ["Left Kidney", "right_kidney", "kidney_left"], "own": ["my organ"]}')
    assert read_groups(path) == {"kidneys": ["kidney_left", "kidney_right"], "own": ["my_organ"]}


@pytest.mark.parametrize("text", ["[]", "{}", '{"a": []}', '{"a": "liver"}', '{"a": [1]}', "no json"])
def test_a_file_that_holds_no_groups_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "groups.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"groups\.json"):
        read_groups(path)
