"""What is shown of a case folder: one label map with published values, and masks of their own for what overlaps in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas_phantoms import ORGANS, make_case, make_model, sigmoid_network
from AtlasQualityLib.average import average_case
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.classes import class_of
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.result_labels import published_values, read_result, result_folders
from AtlasSegmentLib.segment_case import segment_case
from AtlasSegmentLib.volume import Grid, Volume


def segmented(folder: Path, **model: Any) -> CaseFolder:
    """Return a phantom case that one model, named "m", has segmented."""
    case = make_case(folder / "data" / "case")
    segment_case(case, load_model(make_model(folder / "model", "m", **model)))
    return case


def masks_shown(case: CaseFolder) -> dict[str, np.ndarray]:
    """Return the mask of each organ that is shown, from the label map or its own layer."""
    result = read_result(case.backbone("m"))
    assert result.labels.table is not None
    labels = placed(result.labels, result.grid)
    names = {value: name for value, name in result.labels.table.labels.items() if (labels == value).any()}
    shown = {name: labels == value for value, name in names.items()}
    return shown | {organ: placed(mask, result.grid) != 0 for organ, mask, _ in result.layers}


def placed(part: Volume, grid: Grid) -> np.ndarray:
    """Return a part of a grid at its place in the whole."""
    whole = np.zeros(grid.shape, part.array.dtype)
    start = np.rint(np.linalg.inv(grid.affine) @ part.affine[:, 3])[:3].astype(int)
    whole[tuple(slice(a, a + n) for a, n in zip(start, part.shape, strict=True))] = part.array
    return whole


def masks_on_disk(case: CaseFolder) -> dict[str, np.ndarray]:
    """Return the mask files of the case that hold anything."""
    folder = case.backbone("m")
    found = {organ: read_nifti(folder.mask(organ)).array != 0 for organ in folder.organs()}
    return {organ: mask for organ, mask in found.items() if mask.any()}


def assert_all_shown(case: CaseFolder) -> None:
    """Check that every mask file is shown voxel by voxel."""
    shown, stored = masks_shown(case), masks_on_disk(case)
    assert shown.keys() == stored.keys()
    for organ, mask in stored.items():
        np.testing.assert_array_equal(shown[organ], mask, err_msg=organ)


def test_abdomenatlas_organs_keep_abdomenatlas_values_in_one_label_map(tmp_path: Path) -> None:
    case = segmented(tmp_path)
    result = read_result(case.backbone("m"))
    assert {*np.unique(result.labels.array)} == {0, *(class_of(organ) for organ in ORGANS)}
    assert result.layers == ()
    assert result.missing == ()
    assert_all_shown(case)


def test_organs_that_overlap_are_whole_in_layers_of_their_own(tmp_path: Path) -> None:
    case = segmented(tmp_path, content=sigmoid_network(), output={"activation": "sigmoid"})
    result = read_result(case.backbone("m"))
    assert {organ for organ, _, _ in result.layers} <= {*ORGANS}
    assert result.layers
    assert all(value == class_of(organ) for organ, _, value in result.layers)
    assert_all_shown(case)


def test_a_model_of_other_structures_alone_keeps_its_own_values(tmp_path: Path) -> None:
    case = segmented(tmp_path, organs=("vertebrae_L1", "unheard of", "vertebrae_L5"))
    result = read_result(case.backbone("m"))
    assert result.labels.table is not None
    assert result.labels.table.labels == {1: "vertebrae_L1", 2: "unheard of", 3: "vertebrae_L5"}
    assert_all_shown(case)


def test_structures_beside_abdomenatlas_get_high_values_that_do_not_depend_on_the_model(tmp_path: Path) -> None:
    case = segmented(tmp_path, organs=("spleen", "vertebrae_L1", "unheard of"))
    assert_all_shown(case)
    values = published_values(["spleen", "vertebrae_L1", "unheard of"], {})
    assert values["spleen"] == class_of("spleen")
    assert values["vertebrae_L1"] == published_values(["liver", "vertebrae_L1"], {})["vertebrae_L1"] >= 1000
    assert len({*values.values()}) == 3


def test_two_unheard_of_structures_never_share_a_value() -> None:
    values = published_values(["liver", "x one", "x two", "x three"], {})
    assert len({*values.values()}) == 4


def test_organs_that_were_looked_for_and_not_found_are_told(tmp_path: Path) -> None:
    case = segmented(tmp_path, content=sigmoid_network(thresholds=(85.0, 5000.0, 375.0)), output={"activation": "sigmoid"})
    assert read_result(case.backbone("m")).missing == ("liver",)


def test_a_folder_of_another_program_without_run_json_is_shown_too(tmp_path: Path) -> None:
    case = segmented(tmp_path)
    case.backbone("m").run_record.unlink()
    assert_all_shown(case)


def test_a_damaged_record_does_not_hide_the_masks(tmp_path: Path) -> None:
    case = segmented(tmp_path)
    for content in ("[]", '{"results": 1}', '{"results": {"organs": {"liver": {"voxels": "many"}}}, "parameters": []}'):
        case.backbone("m").run_record.write_text(content)
        assert_all_shown(case)


@pytest.mark.parametrize(("models", "roles"), [(["m"], ["model"]), (["m", "n"], ["average", "model", "model"]), (["m", "gone"], ["model"])])
def test_the_average_comes_first_where_there_are_several_models(tmp_path: Path, models: list[str], roles: list[str]) -> None:
    case = segmented(tmp_path)
    segment_case(case, load_model(make_model(tmp_path / "n", "n")))
    average_case(case)
    assert [role for role, _, _ in result_folders(case, models)] == roles
