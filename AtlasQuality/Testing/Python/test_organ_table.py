"""What the panel shows of a case: the table of organs, the maps ready to be shown, and the tasks that make them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasQualityLib import tasks
from AtlasQualityLib.hot_spots import find_hot_spots
from AtlasQualityLib.organ_table import disagreement, organ_rows
from AtlasQualityLib.overlay_maps import COMBINED, OverlayMap, combined, in_percent, read_overlay, write_overlays
from AtlasQualityLib.phantom_case import SHAPE, phantom_affine, write_phantom_case
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, GeometryError, InputError
from AtlasSegmentLib.files import write_json
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.sparse import from_dense
from AtlasSegmentLib.volume import Grid, Volume


@pytest.fixture
def attended(tmp_path: Path) -> CaseFolder:
    case = write_phantom_case(tmp_path / "hospital" / "scan")
    tasks.average_files(str(case.folder))
    tasks.attention_files(str(case.folder))
    return case


def dense(folder: Path, shown: OverlayMap, grid: Grid) -> np.ndarray:
    result = np.zeros(grid.shape, np.uint8)
    volume = read_overlay(folder, shown, grid)
    if volume is not None:
        x, y, z = shown.first
        i, j, k = volume.shape
        result[x : x + i, y : y + j, z : z + k] = volume.array
    return result


def test_a_shown_map_marks_the_voxels_that_the_stored_one_marks_in_percent(attended: CaseFolder, tmp_path: Path) -> None:
    grid, maps = write_overlays(attended, tmp_path / "work")
    assert grid is not None
    stored = read_nifti(attended.average.map("attention", "liver")).array
    shown = next(m for m in maps if (m.kind, m.organ) == ("attention", "liver"))
    found = dense(tmp_path / "work", shown, grid)
    assert np.array_equal(found > 0, stored > 0)
    assert found.max() == 100
    assert np.abs(found - stored / 2.55).max() <= 1
    volume = read_overlay(tmp_path / "work", shown, grid)
    assert volume is not None
    np.testing.assert_allclose(volume.affine[:3, 3], (grid.affine @ [*shown.first, 1])[:3])


def test_the_combined_map_is_the_largest_of_all_organs(attended: CaseFolder, tmp_path: Path) -> None:
    grid, maps = write_overlays(attended, tmp_path)
    assert grid is not None
    for kind in ("attention", "expected_error"):
        single = [dense(tmp_path, m, grid) for m in maps if m.kind == kind and m.organ != COMBINED]
        together = next(m for m in maps if (m.kind, m.organ) == (kind, COMBINED))
        assert np.array_equal(dense(tmp_path, together, grid), np.max(single, axis=0))


def test_a_map_that_marks_nothing_gives_nothing_to_show(attended: CaseFolder, tmp_path: Path) -> None:
    grid, maps = write_overlays(attended, tmp_path)
    assert grid is not None
    empty = next(m for m in maps if (m.kind, m.organ) == ("attention", "kidney_left"))
    assert empty.marked_ml == 0
    assert read_overlay(tmp_path, empty, grid) is None


@given(st.lists(st.integers(0, 255), min_size=27, max_size=27))
def test_percents_keep_the_order_and_what_is_marked(values: list[int]) -> None:
    array = np.array(values, np.uint8).reshape(3, 3, 3)
    found = in_percent(from_dense(array, Grid((3, 3, 3), np.eye(4))), 255.0)
    stored = array[found.box]
    assert np.array_equal(found.crop > 0, stored > 0)
    assert found.crop.max(initial=0) <= 100
    assert (np.diff(found.crop.ravel()[np.argsort(stored, axis=None)].astype(int)) >= 0).all()


def test_the_faintest_expected_error_stays_marked() -> None:
    array = np.zeros((3, 3, 3), np.float32)
    array[1, 1, 1] = 1e-6
    assert in_percent(from_dense(array, Grid((3, 3, 3), np.eye(4))), 1.0).crop.tolist() == [[[1]]]


def test_where_maps_of_two_organs_meet_the_larger_value_is_shown() -> None:
    grid = Grid((4, 1, 1), np.eye(4))
    maps = [from_dense(np.array(values, np.uint8).reshape(4, 1, 1), grid) for values in ([7, 50, 9, 0], [0, 20, 30, 4])]
    for volumes in (maps, maps[::-1]):
        assert combined(volumes).dense().ravel().tolist() == [7, 50, 30, 4]


def test_the_table_has_every_organ_with_the_largest_expected_error_first(attended: CaseFolder, tmp_path: Path) -> None:
    _, maps = write_overlays(attended, tmp_path)
    rows = organ_rows(attended, maps)
    assert [row.organ for row in rows] == ["liver", "spleen", "kidney_left"]
    liver, _, kidney = rows
    mask = read_nifti(attended.average.mask("liver"))
    assert liver.volume_ml == pytest.approx(mask.array.sum() * 12 / 1000)
    assert liver.attention_ml == pytest.approx((read_nifti(attended.average.map("attention", "liver")).array > 0).sum() * 12 / 1000)
    error = read_nifti(attended.average.map("expected_error", "liver")).array
    assert liver.expected_error_ml == pytest.approx(float(error.sum(dtype=float)) * 12 / 1000, rel=1e-4)
    assert (kidney.disagreement, kidney.attention_ml) == (0, 0)
    first, second = (read_nifti(attended.backbone(m).mask("liver")).array > 0 for m in ("first", "second"))
    assert liver.disagreement == pytest.approx(1 - 2 * (first & second).sum() / (first.sum() + second.sum()))


def test_one_model_has_nobody_to_disagree_with(tmp_path: Path) -> None:
    case = write_phantom_case(tmp_path / "hospital" / "scan")
    for path in sorted((case.folder / "backbones" / "second").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (case.folder / "backbones" / "second").rmdir()
    assert disagreement(case, "liver") is None


def test_predicted_dice_is_shown_where_a_quality_model_left_it_and_a_damaged_file_is_passed_over(attended: CaseFolder) -> None:
    path = attended.average.predicted_dice
    write_json(path, {"organs": {"liver": 0.93, "spleen": 7}})
    assert {row.organ: row.predicted_dice for row in organ_rows(attended, [])} == {"liver": 0.93, "spleen": None, "kidney_left": None}
    path.write_text("no json")
    assert all(row.predicted_dice is None for row in organ_rows(attended, []))


def test_the_find_errors_task_does_everything_once_and_answers_in_json(tmp_path: Path) -> None:
    case = write_phantom_case(tmp_path / "hospital" / "scan")
    fractions: list[float] = []
    answer = tasks.find_errors(str(case.folder), str(tmp_path / "work"), progress=lambda fraction, _: fractions.append(fraction))
    assert json.loads(json.dumps(answer))["spots"][0]["organ"] == "liver"
    assert fractions == sorted(fractions)
    assert not tasks.average_files(str(case.folder))["written"]
    assert not tasks.attention_files(str(case.folder))["written"]
    x, y, z = answer["spots"][0]["center"]
    index = np.linalg.inv(phantom_affine()) @ [x, y, z, 1]
    assert read_nifti(case.average.map("attention", "liver")).array[tuple(np.rint(index[:3]).astype(int))] > 0


def test_the_open_task_gives_ct_and_labels_without_attention(tmp_path: Path) -> None:
    case = write_phantom_case(tmp_path / "hospital" / "scan")
    tasks.average_files(str(case.folder))
    answer = tasks.open_files(str(case.folder), str(tmp_path / "work"))
    assert (answer["maps"], answer["grid"], answer["spots"]) == ([], None, [])
    labels = np.load(tmp_path / "work" / answer["labels"]["file"])
    value = next(int(v) for v, organ in answer["labels"]["table"].items() if organ == "liver")
    assert np.array_equal(labels == value, read_nifti(case.average.mask("liver")).array > 0)
    assert np.array_equal(np.load(tmp_path / "work" / answer["ct"]["file"]), read_nifti(case.ct).array)


def test_a_damaged_attention_map_is_named(attended: CaseFolder, tmp_path: Path) -> None:
    path = attended.average.map("attention", "liver")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"attention.liver\.nii\.gz.*damaged"):
        tasks.review_files(str(attended.folder), str(tmp_path / "work"))


def test_an_attention_map_on_another_grid_is_named(attended: CaseFolder, tmp_path: Path) -> None:
    write_nifti(attended.average.map("attention", "spleen"), Volume(np.ones(SHAPE, np.uint8, order="F"), np.diag([1.0, 1, 1, 1])))
    with pytest.raises(GeometryError, match="spleen"):
        tasks.review_files(str(attended.folder), str(tmp_path / "work"))


def test_a_case_that_vanished_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a case folder"):
        tasks.find_errors(str(tmp_path / "gone"), str(tmp_path / "work"))


def test_what_is_no_finite_number_in_a_map_marks_nothing_and_is_logged(
    attended: CaseFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    path = attended.average.map("attention", "liver")
    stored = read_nifti(path)
    array = np.asfortranarray(stored.array.astype(np.float32))
    marked = tuple(np.argwhere(array > 0)[0])
    array[0, 0, 0], array[1, 1, 1], array[2, 2, 2], array[marked] = np.nan, np.inf, -np.inf, np.nan
    write_nifti(path, Volume(array, stored.affine))
    grid, maps = write_overlays(attended, tmp_path / "work")
    assert grid is not None
    shown = next(m for m in maps if (m.kind, m.organ) == ("attention", "liver"))
    expected = stored.array > 0
    expected[marked] = False
    assert np.array_equal(dense(tmp_path / "work", shown, grid) > 0, expected)
    assert np.isfinite(shown.sum_ml)
    assert "4 voxels" in caplog.text
    assert all(np.isfinite(spot.score) for spot in find_hot_spots(attended, ["liver"]))
    assert list(recwarn) == []
