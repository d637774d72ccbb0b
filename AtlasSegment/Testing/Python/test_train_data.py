"""What `atlas train` learns from: which cases, which organs each reference knows, and the same cubes however a case is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import write_json
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.phantom import phantom_table
from AtlasSegmentLib.train_cases import Choice, find_train_cases, split_cases
from AtlasSegmentLib.train_cubes import Cube, CubeRule, make_cubes
from AtlasSegmentLib.train_organs import IGNORED, Targets, read_targets, reading_of
from AtlasSegmentLib.volume import Volume
from train_toys import SPACING, VALUES, toy, write_toy

ORGANS = Targets(("liver", "spleen", "kidney_right", "kidney_left", "vertebrae"))


def cube_of(folder: Path, work: Path, targets: Targets = ORGANS, spacing: float = SPACING) -> Cube:
    """Return the cube of one case folder."""
    cubes, failed = make_cubes(find_train_cases([folder]), CubeRule(targets, spacing), work / "cubes")
    assert not failed, failed[0].error
    return cubes[folder.name]


def reason(folder: Path, work: Path, targets: Targets = ORGANS) -> str:
    """Return why a case gives no cube."""
    cubes, failed = make_cubes(find_train_cases([folder]), CubeRule(targets, SPACING), work / "cubes")
    assert not cubes
    return f"{failed[0].error} {failed[0].remedy}"


def test_parts_of_an_organ_are_gathered_in_it() -> None:
    table = load_table("totalsegmentator_v2")
    targets = Targets(("lung", "vertebrae", "liver", "kidney_left", "postcava"))
    reading = reading_of(table, targets)
    gathered = {
        name: [table.name_of(int(value)) for value in np.flatnonzero(reading.channels == n)] for n, name in enumerate(targets.names, 1)
    }
    assert len(gathered["lung"]) == 5
    assert len(gathered["vertebrae"]) == 24, "S1 belongs to the sacrum"
    assert gathered["postcava"] == ["inferior_vena_cava"]
    assert all(reading.known)


def test_a_tumor_belongs_to_its_organ_and_to_neither_kidney_for_certain() -> None:
    reading = reading_of(load_table("abdomenatlas"), Targets(("liver", "kidney_left", "kidney_right")))
    of = {name: int(reading.channels[load_table("abdomenatlas").value_of(name)]) for name in ("liver_tumor", "kidney_tumor", "spleen")}
    assert of == {"liver_tumor": 1, "kidney_tumor": IGNORED, "spleen": 0}


@pytest.mark.parametrize(
    ("labels", "known"),
    [
        ({1: "lung_left"}, False),
        ({1: "lung_left", 2: "lung_right"}, True),
        ({1: "lung_tumor"}, False),
        ({1: "lung"}, True),
        ({1: "ignore"}, False),
    ],
)
def test_a_reference_knows_an_organ_only_when_all_of_it_is_in_its_table(labels: dict[int, str], known: bool) -> None:
    table = LabelTable("t", "t", {**labels, 9: "spleen"})
    assert reading_of(table, Targets(("spleen", "lung"))).known == (True, True, known)


def test_what_nnunet_ignores_says_nothing() -> None:
    assert reading_of(LabelTable("t", "t", {1: "liver", 2: "ignore"}), Targets(("liver",))).channels.tolist() == [0, 1, IGNORED]


def test_a_model_knows_only_what_it_can_tell() -> None:
    reading = reading_of(load_table("abdomenatlas"), Targets(("liver", "spleen")), ("liver",))
    assert reading.known == (True, True, False)


def test_structures_are_merged_by_pattern() -> None:
    targets = read_targets("bone,liver", None, ["bone=hip_*,rib_*"])
    table = LabelTable("t", "t", {1: "hip_left", 2: "rib_left_3", 3: "liver", 4: "heart"})
    assert reading_of(table, targets).channels.tolist() == [0, 1, 1, 2, 0]
    with pytest.raises(InputError, match="none of the organs"):
        read_targets("liver", None, ["bone=hip_*"])


def test_organs_come_from_a_file_too(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"labels": {"0": "background", "2": "Left Kidney", "1": "liver"}})
    write_json(tmp_path / "b.json", ["liver", "spleen"])
    assert read_targets(None, tmp_path / "a.json").names == ("liver", "kidney_left")
    assert read_targets(None, tmp_path / "b.json").names == ("liver", "spleen")
    with pytest.raises(InputError, match="either"):
        read_targets(None, None)


def test_phantoms_know_the_starter_organs() -> None:
    names = [
        "spleen",
        "liver",
        "kidney_left",
        "kidney_right",
        "stomach",
        "gall_bladder",
        "pancreas",
        "aorta",
        "postcava",
        "lung",
        "vertebrae",
    ]
    assert all(reading_of(phantom_table(), Targets(tuple(names))).known)


@pytest.mark.parametrize("code", ["LPS", "RAS", "PIR"])
def test_a_case_stored_in_another_order_gives_the_same_cube(code: str, tmp_path: Path) -> None:
    write_toy(tmp_path / "one" / "case")
    ct, labels = toy()
    turned = Volume(ct.array, ct.affine).reoriented(code)
    write_toy(tmp_path / "other" / "case", ct=turned, labels=ct.with_array(labels).reoriented(code).array)
    first, second = (cube_of(tmp_path / name / "case", tmp_path / name, spacing=8.5) for name in ("one", "other"))
    assert np.array_equal(first.ct, second.ct)
    assert np.array_equal(first.labels, second.labels)


def test_a_patient_who_lies_oblique_gives_the_same_cube(tmp_path: Path) -> None:
    write_toy(tmp_path / "one" / "case")
    ct, labels = toy()
    angle = np.deg2rad(12)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0, 4], [np.sin(angle), np.cos(angle), 0, -9], [0, 0, 1, 2], [0, 0, 0, 1]])
    write_toy(tmp_path / "other" / "case", ct=Volume(ct.array, turn @ ct.affine), labels=labels)
    first, second = (cube_of(tmp_path / name / "case", tmp_path / name) for name in ("one", "other"))
    assert np.array_equal(first.ct, second.ct)
    assert np.array_equal(first.labels, second.labels)


def test_left_and_right_are_those_of_the_patient(tmp_path: Path) -> None:
    cube = cube_of(write_toy(tmp_path / "case"), tmp_path)
    right, left = (np.argwhere(cube.labels == ORGANS.names.index(name) + 1)[:, 0].mean() for name in ("kidney_right", "kidney_left"))
    assert left < right, "in RAS order the first index grows to the right"
    assert int((cube.labels == 5).sum()) > 0, "both vertebrae are gathered"


def test_a_cube_is_made_once_and_anew_when_the_reference_changes(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "case")
    first = cube_of(folder, tmp_path)
    stamp = (first.folder / "ct.npy").stat().st_mtime_ns
    assert (cube_of(folder, tmp_path).folder / "ct.npy").stat().st_mtime_ns == stamp
    write_toy(folder, keep={1: "liver"})
    again = cube_of(folder, tmp_path)
    assert again.folder != first.folder
    assert again.known == (True, True, False, False, False, False)
    (again.folder / "labels.npy").write_bytes(b"broken")
    assert cube_of(folder, tmp_path).shape == again.shape


def test_a_reference_on_another_grid_is_refused(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "case")
    ct, labels = toy()
    moved = ct.affine.copy()
    moved[0, 3] += 12
    write_nifti(folder / "label.nii.gz", Volume(labels, moved))
    assert "does not lie on the grid" in reason(folder, tmp_path)


def test_values_that_the_table_lacks_are_refused(tmp_path: Path) -> None:
    folder = write_toy(tmp_path / "case")
    write_json(folder / "label_labels.json", {"format": "atlas-labels/1", "name": "toy", "labels": {"1": "liver"}})
    assert "label values 2, 3" in reason(folder, tmp_path)


def test_an_empty_reference_a_ct_with_holes_and_foreign_organs_are_refused(tmp_path: Path) -> None:
    ct, labels = toy()
    assert "none of the organs" in reason(write_toy(tmp_path / "empty", labels=labels * 0), tmp_path)
    holes = ct.array.astype(np.float32)
    holes[3, 4, 5] = np.nan
    assert "not finite" in reason(write_toy(tmp_path / "holes", ct=ct.with_array(holes)), tmp_path)
    assert "knows none" in reason(write_toy(tmp_path / "foreign"), tmp_path, Targets(("heart",)))


def test_all_layouts_are_found(tmp_path: Path) -> None:
    case = write_toy(tmp_path / "cases" / "val" / "one")
    raw = tmp_path / "Dataset001"
    for kind, name in (("imagesTr", "a_0000.nii.gz"), ("labelsTr", "a.nii.gz")):
        (raw / kind).mkdir(parents=True)
        (raw / kind / name).write_bytes((case / ("ct.nii.gz" if kind == "imagesTr" else "label.nii.gz")).read_bytes())
    write_json(raw / "dataset.json", {"labels": {"background": 0, **{name: value for value, name in VALUES.items()}}})
    listed = {"image": "cases/val/one/ct.nii.gz", "label": "cases/val/one/label.nii.gz"}
    (tmp_path / "rounds" / "001").mkdir(parents=True)
    write_json(tmp_path / "rounds" / "001" / "datalist.json", {"labels": {"0": "background", "1": "liver"}, "training": [listed]})
    found = find_train_cases([tmp_path / "cases", raw, f"{case / 'ct.nii.gz'}={raw / 'labelsTr' / 'a.nii.gz'}=abdomenatlas"])
    assert [(one.name, one.part, len(one.table)) for one in found] == [("one", "val", 6), ("a", None, 6), ("one-2", None, 32)]
    (of_list,) = find_train_cases([tmp_path / "rounds" / "001" / "datalist.json"])
    assert (of_list.name, of_list.part, of_list.table.names()) == ("one", "train", ["liver"])


def test_a_case_offers_the_labels_of_its_models_too(tmp_path: Path) -> None:
    case = write_toy(tmp_path / "case")
    model = case / "backbones" / "net"
    model.mkdir(parents=True)
    (model / "pseudo_label.nii.gz").write_bytes((case / "label.nii.gz").read_bytes())
    write_json(model / "run.json", {"parameters": {"manifest": {"labels": {"0": "background", "1": "aorta"}}}})
    for name in ("net", "backbones/net"):
        (found,) = find_train_cases([tmp_path], Choice(reference=name))
        assert (found.reference, found.told) == (model / "pseudo_label.nii.gz", ("aorta",))
    with pytest.raises(InputError, match="no such reference"):
        find_train_cases([tmp_path], Choice(reference="other"))


def test_a_reference_without_a_table_needs_one(tmp_path: Path) -> None:
    (write_toy(tmp_path / "case") / "label_labels.json").unlink()
    with pytest.raises(InputError, match="nobody says"):
        find_train_cases([tmp_path])
    assert find_train_cases([tmp_path], Choice(table="abdomenatlas"))[0].table.name == "abdomenatlas"


def test_copies_of_a_ct_are_never_in_two_parts(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1), ("d", 2), ("e", 3)):
        write_toy(tmp_path / name, seed, keep={1: "liver"} if name == "b" else None)
    cases = find_train_cases([tmp_path])
    for seed in range(6):
        parts = {case.name: case.part for case in split_cases(cases, seed, 0.3)}
        assert parts["a"] == parts["b"]
        assert list(parts.values()).count("val") >= 1
    named = {case.name: case.part for case in split_cases(cases, val=["a"], test=["c"])}
    assert (named["a"], named["b"], named["c"], named["d"]) == ("val", "val", "test", "train")
    with pytest.raises(InputError, match="the same CT is in the part"):
        split_cases(cases, val=["a"], test=["b"])
    with pytest.raises(InputError, match="no case of this name"):
        split_cases(cases, val=["x"])
    with pytest.raises(InputError, match="left to train on"):
        split_cases(cases[:1], test=["a"])


def test_one_ct_in_two_formats_is_one_ct_and_never_in_two_parts(tmp_path: Path) -> None:
    import nibabel

    for name, suffix in (("first", ".nii.gz"), ("second", ".nii")):
        write_toy(tmp_path / name)
        if suffix == ".nii":
            image = nibabel.load(tmp_path / name / "ct.nii.gz")
            nibabel.save(nibabel.as_closest_canonical(image), tmp_path / name / "ct.nii")
            (tmp_path / name / "ct.nii.gz").unlink()
    write_toy(tmp_path / "third", ct=toy()[0].with_array(toy()[0].array + np.int16(7)))
    cases = find_train_cases([tmp_path])
    assert {case.name: case.part for case in split_cases(cases, test=("second",))} == {"first": "test", "second": "test", "third": "train"}
    with pytest.raises(InputError, match="first: is to be held out for validation and for the test"):
        split_cases(cases, val=("first",), test=("first",))
