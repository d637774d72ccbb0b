"""One whole-body map of AutoOrgan's seven tasks: its values, which task covers which, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasSegmentLib.errors import AtlasError, GeometryError, InputError, LabelError
from AtlasSegmentLib.files import write_json
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import LabelVolume, Volume
from AtlasSegmentLib.volume_io import write_volume
from AtlasSegmentLib.whole_body import TASKS, Task, build_table, merge_tasks, task_of, whole_body_table
from AtlasSegmentLib.whole_body_files import cases_of, merge_files, task_labels

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
ORDER = ("organ", "global", "lower_limb", "upper_limb", "hip", "rib", "vertebrae")
SHAPE = (4, 5, 37)  # more slices than are painted at once


def volume(task: str, array: np.ndarray, affine: np.ndarray = AFFINE) -> LabelVolume:
    return LabelVolume(array.astype(np.uint8), affine, task, None, task_of(task).table)


def full(task: str, name: str, box: tuple[slice, ...] = (slice(None),)) -> LabelVolume:
    array = np.zeros(SHAPE, np.uint8)
    array[box] = task_of(task).table.value_of(name)
    return volume(task, array)


def test_every_structure_of_the_seven_tasks_has_one_value_below_256() -> None:
    table = whole_body_table()
    assert len(table) == 6 + 24 + 24 + 16 + 3 + 14 + 24 == max(table.labels)
    assert table.to_json() == {**build_table().to_json(), "source": table.source}
    names = {task.table.structure_of(value).name for task in TASKS for value in task.table.labels}
    assert set(table.names()) == names


def test_organs_keep_the_values_that_autoorgan_gives_them() -> None:
    organ = load_table("autoorgan_organ")
    assert all(whole_body_table().value_of(name) == value for value, name in organ.labels.items())


def test_what_comes_later_covers_what_came_before() -> None:
    assert tuple(task.key for task in sorted(TASKS, key=lambda task: task.order)) == ORDER
    first = {key: full(key, task_of(key).table.names()[0]) for key in ORDER}
    for last in range(1, len(ORDER) + 1):
        given_tasks = {key: first[key] for key in reversed(ORDER[:last])}  # the order of the call does not matter
        found = merge_tasks(given_tasks, keep_tasks=True)
        name = task_of(ORDER[last - 1]).table.names()[0]
        assert (found.labels.array == whole_body_table().value_of(name)).all()
        assert found.tasks is not None
        assert (found.tasks.array == last).all()
        assert found.covered == {(a, b): int(np.prod(SHAPE)) for a, b in pairwise(ORDER[:last])}


def test_a_group_shows_only_where_no_detail_is() -> None:
    ribs = full("global", "rib", (slice(0, 3),))
    left = full("rib", "rib_left_5", (slice(1, 2),))
    found = merge_tasks({"rib": left, "global": ribs}).labels
    values = [found.table.name_of(int(v)) if v else None for v in found.array[:, 0, 0]]  # type: ignore[union-attr]
    assert values == ["rib", "rib_left_5", "rib", None]


def test_tasks_are_named_by_key_or_number() -> None:
    assert [task_of(name).key for name in ("rib", "998", "888", "Upper-Limb", "autoorgan_hip")] == [
        "rib",
        "rib",
        "rib",
        "upper_limb",
        "hip",
    ]
    with pytest.raises(InputError, match="no AutoOrgan task 'ribs'"):
        task_of("ribs")


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from(ORDER), min_size=1), st.integers(0, 10_000))
def test_each_voxel_is_that_of_the_last_task_that_has_one_there(keys: set[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    maps = {key: volume(key, random.integers(0, len(task_of(key).table) + 1, SHAPE) * (random.random(SHAPE) < 0.5)) for key in keys}
    found = merge_tasks(maps, keep_tasks=True)
    expected, origin = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    for key in [key for key in ORDER if key in maps]:
        table = task_of(key).table
        lookup = np.array([0, *(whole_body_table().value_of(table.name_of(value)) for value in table.labels)], np.uint8)
        there = maps[key].array != 0
        expected[there], origin[there] = lookup[maps[key].array[there]], ORDER.index(key) + 1
    assert np.array_equal(found.labels.array, expected)
    assert found.tasks is not None
    assert np.array_equal(found.tasks.array, origin)


@pytest.mark.parametrize(
    ("maps", "error", "words"),
    [
        ({}, InputError, "no label map"),
        ({"rib": full("rib", "rib_left_1"), "998": full("rib", "rib_left_1")}, InputError, "given twice"),
        ({"hip": volume("hip", np.full(SHAPE, 4))}, LabelError, "label values 4 are not in the table 'autoorgan_hip'"),
        (
            {"hip": full("hip", "sacrum"), "rib": volume("rib", np.zeros((4, 5, 36)))},
            GeometryError,
            r"shape \(4, 5, 36\) against \(4, 5, 37\)",
        ),
        (
            {"hip": full("hip", "sacrum"), "rib": volume("rib", np.zeros(SHAPE), np.diag([1.0, -1, 2, 1]))},
            GeometryError,
            "corners up to",
        ),
    ],
)
def test_what_does_not_fit_is_refused(maps: dict[str, LabelVolume], error: type[AtlasError], words: str) -> None:
    with pytest.raises(error, match=words):
        merge_tasks(maps)


def test_a_map_of_another_model_is_refused_by_its_names() -> None:
    table = LabelTable("other", "", {1: "rib_left_1", 2: "uterus"})
    with pytest.raises(LabelError, match="uterus is not among AutoOrgan's structures"):
        merge_tasks({"rib": LabelVolume(np.zeros(SHAPE, np.uint8), AFFINE, "x", None, table)})


def test_files_of_any_format_and_dtype_give_the_same_as_arrays(tmp_path: Path) -> None:
    organ, rib = full("organ", "liver"), full("rib", "rib_left_5", (slice(1, 2),))
    write_nifti(tmp_path / "organ.nii.gz", Volume(organ.array.astype(np.float32), AFFINE))
    write_volume(tmp_path / "rib.nrrd", Volume(rib.array.astype(np.int16), AFFINE))
    found = merge_files({task_of("rib"): tmp_path / "rib.nrrd", task_of("organ"): tmp_path / "organ.nii.gz"}, keep_tasks=True)
    expected = merge_tasks({"organ": organ, "rib": rib}, keep_tasks=True)
    assert np.array_equal(found.labels.array, expected.labels.array)
    assert np.array_equal(found.tasks.array, expected.tasks.array)  # type: ignore[union-attr]
    assert found.covered == expected.covered == {("organ", "rib"): 5 * 37}


def test_a_probability_map_is_refused(tmp_path: Path) -> None:
    write_nifti(tmp_path / "rib.nii.gz", Volume(np.full(SHAPE, 0.5, np.float32), AFFINE))
    with pytest.raises(InputError, match="whole numbers"):
        merge_files({task_of("rib"): tmp_path / "rib.nii.gz"})
    write_nifti(tmp_path / "rib.nii.gz", Volume(np.full(SHAPE, -1, np.int16), AFFINE))
    with pytest.raises(LabelError, match="label values -1"):
        merge_files({task_of("rib"): tmp_path / "rib.nii.gz"})


def test_cases_of_folders_are_joined_by_name_and_may_miss_tasks(tmp_path: Path) -> None:
    for name in ("rib/a.nii.gz", "rib/b.nii.gz", "hip/b.nii.gz"):
        write_nifti(tmp_path / name, full("rib", "rib_left_1"))
    (tmp_path / "rib/plans.json").write_text("{}")
    (tmp_path / "rib/.atlas-1-1-1.nii.gz.tmp").write_text("")
    rib, hip = task_of("rib"), task_of("hip")
    cases = cases_of({rib: tmp_path / "rib", hip: tmp_path / "hip"})
    assert {name: set(paths) for name, paths in cases.items()} == {"a": {rib}, "b": {rib, hip}}
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no label map for task 'rib'"):
        cases_of({rib: tmp_path / "empty"})


def test_dataset_json_beside_a_map_says_what_its_values_mean(tmp_path: Path) -> None:
    hip: Task = task_of("hip")
    write_json(tmp_path / "dataset.json", {"labels": {"background": 0, "sacrum": 1, "hip_right": 2, "ignore": 3}})
    assert dict(task_labels(hip, tmp_path / "a.nii.gz").labels) == {1: "sacrum", 2: "hip_right"}
    write_json(tmp_path / "dataset.json", {"labels": {"background": 0, "hip": [1, 2]}})
    with pytest.raises(InputError, match="no plain labels"):
        task_labels(hip, tmp_path / "a.nii.gz")
