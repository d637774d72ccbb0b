"""Comparison with a reference: organs found by any name, wholes and parts, other grids, and a table that a spreadsheet can open."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from AtlasQualityLib import tasks
from AtlasQualityLib.comparison import ALL_COLUMNS, COLUMNS, IN_NEITHER, NOT_HERE, NOT_IN_REFERENCE, compare, comparison_csv
from AtlasQualityLib.mask_set import SceneLayer, masks_of_case, masks_of_labels, read_scene_masks, write_scene_masks
from AtlasQualityLib.phantom_case import phantom_affine, phantom_organ, write_phantom_case
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, GeometryError, InputError
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Grid, LabelVolume, Volume
from run_program import run_program

SHAPE = (20, 18, 16)
AFFINE = np.array([[2.0, 0, 0, -20], [0, 2.0, 0, -18], [0, 0, 3.0, 5], [0, 0, 0, 1]])
TOTAL = load_table("totalsegmentator_v2")


def block(x: int, y: int, z: int, size: int = 6) -> np.ndarray:
    array = np.zeros(SHAPE, bool)
    array[x : x + size, y : y + size, z : z + size] = True
    return array


def label_volume(masks: dict[str, np.ndarray], table: LabelTable = TOTAL, source: str = "labels") -> LabelVolume:
    array = np.zeros(SHAPE, np.uint8)
    for organ, mask in masks.items():
        array[mask] = table.value_of(organ)
    return LabelVolume(array, AFFINE, source, None, table)


@pytest.fixture
def phantom(tmp_path: Path) -> CaseFolder:
    case = write_phantom_case(tmp_path / "hospital" / "scan")
    tasks.average_files(str(case.folder))
    return case


def write_truth(path: Path, table: str = "totalsegmentator_v2") -> Path:
    labels = np.zeros(phantom_organ("liver").shape, np.uint8)
    for organ in ("liver", "spleen", "kidney_left"):
        labels[phantom_organ(organ)] = load_table(table).value_of(organ)
    write_nifti(path, Volume(np.asfortranarray(labels), phantom_affine()))
    return path


def test_the_same_labels_agree_in_every_number() -> None:
    labels = label_volume({"liver": block(2, 2, 2), "spleen": block(12, 2, 2)})
    rows = compare(masks_of_labels(labels), masks_of_labels(labels))
    assert [row.organ for row in rows] == ["liver", "spleen"]
    for row in rows:
        numbers = row.numbers()
        assert [numbers[name] for name in COLUMNS[1:6]] == [1, 1, 1, 0, 0]
        assert numbers["volume_ml"] == numbers["reference_ml"] == pytest.approx(6**3 * 12 / 1000)


def test_organs_are_found_by_alias_in_tables_with_other_numbers_and_names() -> None:
    own = LabelTable.from_labels("own", {7: "Left Kidney", 9: "gallbladder"})
    ours = masks_of_labels(label_volume({"Left Kidney": block(2, 2, 2), "gallbladder": block(12, 2, 2)}, own))
    truth = masks_of_labels(label_volume({"kidney_left": block(2, 2, 3), "gallbladder": block(12, 2, 2)}))
    found = {row.organ: row.numbers()["dice"] for row in compare(ours, truth)}
    assert found == {"gall_bladder": 1, "kidney_left": pytest.approx(5 / 6)}


@pytest.mark.parametrize("swap", [False, True])
def test_lobes_are_united_to_the_lung_that_the_other_side_has(swap: bool) -> None:
    whole = LabelTable.from_labels("whole", {1: "lung_right"})
    lobes = {"lung_upper_lobe_right": block(2, 2, 8), "lung_lower_lobe_right": block(2, 2, 2)}
    parts, lung = (
        masks_of_labels(label_volume(lobes)),
        masks_of_labels(label_volume({"lung_right": block(2, 2, 2) | block(2, 2, 8)}, whole)),
    )
    rows = {row.organ: row for row in (compare(lung, parts) if swap else compare(parts, lung))}
    assert rows["lung_right"].numbers()["dice"] == 1


def test_organs_that_one_side_lacks_are_said_and_get_no_number() -> None:
    own = LabelTable.from_labels("own", {1: "liver", 2: "pancreatic_duct"})
    ours = masks_of_labels(label_volume({"liver": block(2, 2, 2), "pancreatic_duct": block(12, 10, 2)}, own))
    truth = masks_of_labels(label_volume({"liver": block(2, 2, 2), "spleen": block(12, 2, 2)}))
    rows = {row.organ: row for row in compare(ours, truth)}
    assert {organ: row.note for organ, row in rows.items()} == {"liver": "", "pancreatic_duct": NOT_IN_REFERENCE, "spleen": NOT_HERE}
    assert rows["spleen"].agreement is None
    assert rows["spleen"].numbers()["reference_ml"] == pytest.approx(2.592)
    assert rows["spleen"].numbers()["volume_ml"] is None


def test_an_organ_that_only_the_reference_found_counts_as_missed() -> None:
    ours = masks_of_labels(label_volume({"liver": block(2, 2, 2)}))
    truth = masks_of_labels(label_volume({"liver": block(2, 2, 2), "spleen": block(12, 2, 2)}))
    missed = {row.organ: row for row in compare(ours, truth)}["spleen"]
    assert (missed.numbers()["dice"], missed.numbers()["hd95_mm"], missed.note) == (0, float("inf"), "")


@pytest.mark.parametrize("code", ["LPS", "ASR", "IRP"])
def test_a_reference_in_another_array_order_of_the_same_grid_gives_the_same_numbers(code: str) -> None:
    ours = masks_of_labels(label_volume({"liver": block(2, 2, 2), "spleen": block(12, 2, 2)}))
    truth = label_volume({"liver": block(3, 2, 1), "spleen": block(12, 4, 2)})
    turned = truth.reoriented(code)
    other = LabelVolume(np.ascontiguousarray(turned.array), turned.affine, "turned", None, TOTAL)
    expected, found = compare(ours, masks_of_labels(truth)), compare(ours, masks_of_labels(other))
    for one, two in zip(expected, found, strict=True):
        assert two.numbers() == pytest.approx(one.numbers())


def test_a_reference_on_another_grid_is_refused_and_compared_once_it_is_resampled() -> None:
    ours = masks_of_labels(label_volume({"liver": block(4, 4, 4)}))
    fine = np.zeros([2 * n for n in SHAPE], np.uint8)
    fine[8:20, 8:20, 8:20] = TOTAL.value_of("liver")
    affine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] = AFFINE[:3, 3] - np.diag(AFFINE)[:3] / 4
    truth = masks_of_labels(LabelVolume(fine, affine, "fine.nii.gz", None, TOTAL))
    with pytest.raises(GeometryError, match=r"fine\.nii\.gz.*shape"):
        compare(ours, truth)
    (row,) = compare(ours, truth.resampled(ours.grid))
    assert row.numbers()["dice"] == 1


def test_resampling_cuts_what_lies_outside_the_grid_and_reads_turned_grids() -> None:
    ours = masks_of_labels(label_volume({"liver": block(0, 0, 0, 8)}))
    turn = np.eye(4)
    turn[:2, :2] = [[0, -1], [1, 0]]
    moved = AFFINE.copy()
    moved[:3, 3] -= (4, 4, 6)
    shifted = masks_of_labels(LabelVolume(label_volume({"liver": block(0, 0, 0, 10)}).array, moved, "moved", None, TOTAL)).resampled(
        ours.grid
    )
    assert shifted.masks["liver"].crop.sum() == 8**3
    turned = masks_of_labels(LabelVolume(label_volume({"liver": block(0, 0, 0, 8)}).array, turn @ AFFINE, "turned", None, TOTAL))
    assert turned.resampled(Grid(SHAPE, turn @ AFFINE)).masks["liver"].crop.sum() == 8**3


def test_an_organ_that_both_know_and_neither_found_is_reported_when_asked_for() -> None:
    labels = masks_of_labels(label_volume({"liver": block(2, 2, 2)}, LabelTable.from_labels("own", {1: "liver", 2: "spleen"})))
    assert [row.organ for row in compare(labels, labels)] == ["liver"]
    rows = compare(labels, labels, neither=True)
    assert [(row.organ, row.note) for row in rows] == [("liver", ""), ("spleen", IN_NEITHER)]
    assert rows[1].to_json()["presence"] == "neither"
    assert (rows[1].numbers()["dice"], rows[1].numbers()["volume_ml"]) == (None, 0)


def test_a_shift_is_told_in_world_coordinates_whatever_the_array_order() -> None:
    labels, truth = label_volume({"liver": block(4, 2, 1)}), label_volume({"liver": block(2, 2, 2)})
    for code in ("RAS", "LPS", "SRA"):
        turned = [
            masks_of_labels(LabelVolume(x.array, x.affine, "x", None, TOTAL)) for x in (labels.reoriented(code), truth.reoriented(code))
        ]
        numbers = compare(*turned)[0].numbers()
        assert [numbers[name] for name in ("right_mm", "front_mm", "head_mm")] == pytest.approx([4, 0, -3])
        assert numbers["centroid_mm"] == pytest.approx(5)


def test_the_number_of_threads_changes_nothing() -> None:
    ours = masks_of_labels(label_volume({"liver": block(2, 2, 2), "spleen": block(12, 2, 2), "aorta": block(8, 10, 5)}))
    truth = masks_of_labels(label_volume({"liver": block(3, 2, 1), "spleen": block(12, 4, 2), "aorta": block(9, 10, 5)}))
    one, two = ([row.to_json() for row in compare(ours, truth, threads=threads)] for threads in (1, 2))
    assert one == two


def test_two_label_maps_without_a_common_organ_are_refused_with_the_names_of_both() -> None:
    ours = masks_of_labels(label_volume({"a": block(2, 2, 2)}, LabelTable.from_labels("own", {1: "a"})))
    truth = masks_of_labels(label_volume({"b": block(2, 2, 2)}, LabelTable.from_labels("other", {1: "b"})))
    with pytest.raises(InputError, match="share no organ: a against b"):
        compare(ours, truth)


def test_a_label_map_without_a_table_is_refused() -> None:
    with pytest.raises(InputError, match="no table"):
        masks_of_labels(LabelVolume(np.zeros(SHAPE, np.uint8), AFFINE, "x.nii.gz"))


def test_the_csv_has_a_header_and_cells_that_no_spreadsheet_runs() -> None:
    own = LabelTable.from_labels("own", {1: "liver", 2: "=cmd"})
    ours = masks_of_labels(label_volume({"liver": block(2, 2, 2), "=cmd": block(12, 10, 2)}, own))
    found = compare(ours, masks_of_labels(label_volume({"liver": block(2, 2, 2)})))
    rows = list(csv.reader(io.StringIO(comparison_csv([row.to_json() for row in found]))))
    assert rows[0] == list(ALL_COLUMNS)
    assert rows[0][: len(COLUMNS) - 1] == list(COLUMNS[:-1])
    assert rows[1][:3] == ["liver", "1.0", "1.0"]
    assert rows[2][:2] == ["'=cmd", ""]


def test_a_scene_left_on_the_disk_gives_the_same_masks(tmp_path: Path) -> None:
    labels = label_volume({"liver": block(2, 2, 2), "spleen": block(12, 2, 2)})
    over = np.zeros((4, 4, 4), np.uint8)
    over[1:3, 1:3, 1:3] = 1
    layers = [
        SceneLayer(labels.array, (0, 0, 0), {TOTAL.value_of("liver"): "liver", TOTAL.value_of("spleen"): "spleen"}),
        SceneLayer(over, (3, 4, 5), {1: "liver_tumor"}),
    ]
    read = read_scene_masks(write_scene_masks(tmp_path / "work", "mine", labels.grid, layers))
    assert np.array_equal(read.masks["liver"].dense(), block(2, 2, 2))
    assert read.masks["liver_tumor"].box == (slice(4, 6), slice(5, 7), slice(6, 8))
    assert (read.name, read.grid.shape) == ("mine", SHAPE)


def test_a_damaged_scene_file_is_refused(tmp_path: Path) -> None:
    path = write_scene_masks(tmp_path, "mine", Grid(SHAPE, AFFINE), [SceneLayer(np.ones(SHAPE, np.uint8), (0, 0, 0), {1: "liver"})])
    (tmp_path / "layer0.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"masks\.json"):
        read_scene_masks(path)


def test_the_task_compares_a_case_with_a_file_and_its_answer_is_json(phantom: CaseFolder, tmp_path: Path) -> None:
    truth = write_truth(tmp_path / "truth.nii.gz")
    stages: list[tuple[float, str]] = []
    answer = tasks.compare_files(
        {"case": str(phantom.folder)},
        {"file": str(truth), "table": "totalsegmentator_v2"},
        progress=lambda fraction, stage: stages.append((fraction, stage)),
    )
    rows = {row["organ"]: row for row in json.loads(json.dumps(answer))["rows"]}
    assert {"liver", "spleen", "kidney_left"} <= set(rows)
    assert 0.7 < rows["liver"]["dice"] < 1
    assert rows["kidney_left"]["dice"] > 0.95
    assert [fraction for fraction, _ in stages] == sorted(fraction for fraction, _ in stages)
    assert "compare liver" in dict(map(reversed, stages))


def test_the_task_says_that_grids_differ_and_resamples_when_it_may(phantom: CaseFolder, tmp_path: Path) -> None:
    truth = tmp_path / "small.nii.gz"
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[2:8, 2:8, 2:8] = 5
    write_nifti(truth, Volume(np.asfortranarray(labels), phantom_affine()))
    reference = {"file": str(truth), "table": "totalsegmentator_v2"}
    assert "shape" in tasks.compare_files({"case": str(phantom.folder)}, reference)["grids"]
    answer = tasks.compare_files({"case": str(phantom.folder)}, reference, resample=True)
    assert answer["resampled"]


def test_a_case_without_an_average_cannot_be_compared(tmp_path: Path) -> None:
    case = write_phantom_case(tmp_path / "hospital" / "scan")
    with pytest.raises(DatasetError, match="no masks"):
        masks_of_case(case)
    assert "liver" in masks_of_case(case, "second").masks


def test_the_compare_command_prints_json_and_writes_the_csv(phantom: CaseFolder, tmp_path: Path) -> None:
    truth, out = write_truth(tmp_path / "truth.nii.gz"), tmp_path / "scores.csv"
    arguments = [str(phantom.folder), "--reference", str(truth), "--table", "totalsegmentator_v2", "--out", str(out)]
    done = run_program(["compare", *arguments, "--json"], tmp_path)
    assert done.code == 0, done.err
    organs = {row["organ"]: row for row in json.loads(done.out)["organs"]}
    written = {row["organ"]: row for row in csv.DictReader(io.StringIO(out.read_text()))}
    assert float(written["liver"]["dice"]) == pytest.approx(organs["liver"]["dice"], abs=1e-4)
    assert 0.5 < organs["spleen"]["nsd_2mm"] <= 1


def test_the_compare_command_writes_groups_other_tolerances_and_organs_in_neither(phantom: CaseFolder, tmp_path: Path) -> None:
    truth, out = write_truth(tmp_path / "truth.nii.gz"), tmp_path / "scores.csv"
    (tmp_path / "groups.json").write_text('{"upper abdomen": ["liver", "spleen"]}')
    arguments = [str(phantom.folder), "--reference", str(truth), "--table", "totalsegmentator_v2", "--out", str(out)]
    done = run_program(["compare", *arguments, "--groups", "groups.json", "--tolerance", "3", "--overlap", "0.5", "--all"], tmp_path)
    assert done.code == 0, done.err
    written = {row["organ"]: row for row in csv.DictReader(io.StringIO(out.read_text()))}
    assert float(written["liver"]["nsd_3mm"]) >= float(written["liver"]["nsd_2mm"])
    assert float(written["liver"]["iou"]) < float(written["liver"]["dice"])
    groups = {row["group"]: row for row in csv.DictReader(io.StringIO((tmp_path / "scores_groups.csv").read_text()))}
    assert {"all organs", "upper abdomen"} <= set(groups)
    mean = (float(written["liver"]["dice"]) + float(written["spleen"]["dice"])) / 2
    assert float(groups["upper abdomen"]["dice_mean"]) == pytest.approx(mean, abs=1e-3)
    for theme in ("place", "surfaces", "connected parts", "groups", "nsd_3mm"):
        assert theme in done.out


def test_the_short_table_of_the_compare_command_fits_a_screen_and_names_what_it_leaves_out(tmp_path: Path) -> None:
    labels = np.zeros((10, 10, 10), np.uint8, order="F")
    labels[2:8, 2:8, 2:8] = 6
    write_nifti(tmp_path / "a.nii.gz", Volume(labels, phantom_affine()))
    done = run_program(["compare", "a.nii.gz", "--reference", "a.nii.gz"], tmp_path)
    assert done.code == 0, done.err
    assert max(len(line) for line in done.out.splitlines() if "│" in line) <= 160
    assert "organs that both know were found in neither" in done.out
    assert "parts_found" not in done.out


def test_the_compare_command_refuses_an_overlap_out_of_range(tmp_path: Path) -> None:
    labels = np.ones((3, 3, 3), np.uint8, order="F")
    write_nifti(tmp_path / "a.nii.gz", Volume(labels, phantom_affine()))
    done = run_program(["compare", "a.nii.gz", "--reference", "a.nii.gz", "--overlap", "2"], tmp_path)
    assert (done.code, "overlap" in done.err) == (2, True)


def test_the_compare_command_reads_label_maps_and_says_what_to_do_about_another_grid(tmp_path: Path) -> None:
    for name, size in (("a.nii.gz", 10), ("b.nii.gz", 12)):
        labels = np.zeros((size, 10, 10), np.uint8, order="F")
        labels[2:8, 2:8, 2:8] = 6
        write_nifti(tmp_path / name, Volume(labels, phantom_affine()))
    refused = run_program(["compare", "a.nii.gz", "--reference", "b.nii.gz"], tmp_path)
    assert refused.code == 2
    assert "b.nii.gz does not lie on the grid of a.nii.gz" in refused.err.replace(str(tmp_path) + "/", "")
    done = run_program(["compare", "a.nii.gz", "--reference", "b.nii.gz", "--resample"], tmp_path)
    assert done.code == 0
    assert "liver" in done.out
