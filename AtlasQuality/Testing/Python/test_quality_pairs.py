"""The data set that label quality is learned from: which cases, which part, which masks and slices, and what is true of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from AtlasQualityLib.quality_calibration import pearson
from AtlasQualityLib.quality_estimate import LookedAt
from AtlasQualityLib.quality_pairs import ABSENT, MODEL, REFERENCE, PairOptions, as_bytes, examples_of, from_bytes
from AtlasQualityLib.quality_pairs_find import PairSource, find_pairs, split_by_case
from AtlasQualityLib.quality_pairs_store import build_pairs, case_folder_of, read_pairs, scores_of_masks
from AtlasQualityLib.quality_slices import SliceRule
from AtlasSegmentLib.errors import GeometryError, InputError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume
from quality_toys import write_toy_case

OPTIONS = PairOptions(SliceRule(size=64), damages=3, slices=4, absent=2, misnamed=0)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a case with one real prediction: the liver, moved."""
    folder = write_toy_case(tmp_path_factory.mktemp("data") / "patient")
    labels = read_nifti(folder / "reference_label.nii.gz")
    mask = folder / "backbones/net/segmentations/liver.nii.gz"
    mask.parent.mkdir(parents=True)
    write_nifti(mask, labels.with_array(np.asfortranarray(np.roll(labels.array == 6, 2, axis=0).astype(np.uint8))))
    return folder


@pytest.fixture(scope="module")
def source(case: Path) -> PairSource:
    return find_pairs([case], "abdomenatlas")[0]


def cases_of(folder: Path, *names: str) -> list[PairSource]:
    for number, name in enumerate(names):
        write_toy_case(folder / name, seed=number, shape=(48, 44, 4))
    return find_pairs([folder], "abdomenatlas")


def test_a_case_gives_its_reference_damage_predictions_and_organs_it_does_not_have(source: PairSource) -> None:
    found = list(examples_of(source, OPTIONS))
    organs = {one.organ for one in found if one.source == REFERENCE}
    assert organs == {"liver", "spleen", "kidney_left", "kidney_right"}
    assert all(one.dice == 1 and one.nsd is None for one in found if one.source == REFERENCE)
    (predicted,) = (one for one in found if one.source == f"{MODEL}net")
    assert predicted.organ == "liver"
    assert 0.5 < predicted.dice < 0.95
    absent = [one for one in found if one.source == ABSENT]
    assert len(absent) == 2
    assert all(one.dice == 0 and one.organ not in organs for one in absent)
    assert len(found) == 4 * 4 + 1 + 2


def test_each_slice_has_the_truth_of_its_own(source: PairSource) -> None:
    for one in examples_of(source, OPTIONS):
        assert len(one.images) == len(one.targets) == len(one.looked_at) == len(one.areas) <= 4
        assert (one.targets >= 0).all()
        assert (one.targets <= 1).all()
        assert (one.areas > 0).all()
        if one.source == REFERENCE:
            assert one.targets.min() > 0.6  # also slices beyond its ends are rightly empty; near them a crop may show a little
            assert all(one.targets[n] == 1 for n, looked in enumerate(one.looked_at) if looked.has_mask)
        if one.source == ABSENT:
            assert all((one.targets[n] == 0) == looked.has_mask for n, looked in enumerate(one.looked_at))


def test_a_slice_that_the_mask_misses_is_wrongly_empty(source: PairSource, tmp_path: Path) -> None:
    labels = read_nifti(source.reference)
    holed = labels.array == 6
    middle = int(np.median(np.argwhere(holed)[:, 2]))
    holed[:, :, middle - 2 : middle + 3] = False
    path = tmp_path / "holed.nii.gz"
    write_nifti(path, labels.with_array(np.asfortranarray(holed.astype(np.uint8))))
    prediction = type(source.predictions[0])("holed", "liver", path)
    whole = PairSource(source.name, source.ct, source.reference, source.table, (prediction,), "val")
    (found,) = (one for one in examples_of(whole, OPTIONS) if one.source == f"{MODEL}holed")
    gaps = [n for n, looked in enumerate(found.looked_at) if not looked.has_mask and middle - 2 <= looked.index <= middle + 2]
    assert gaps
    assert all(found.targets[n] == 0 for n in gaps)
    # Nothing of the mask is in the picture of an empty slice, and the CT is.
    assert all((found.images[n, 1] == 0).all() and np.ptp(found.images[n, 0]) > 50 for n in gaps)


def test_true_scores_of_slices_give_the_true_dice_of_masks(source: PairSource, tmp_path: Path) -> None:
    held_out = PairSource(source.name, source.ct, source.reference, source.table, source.predictions, "val")
    (outcome,) = build_pairs([held_out], tmp_path, PairOptions(SliceRule(size=64), damages=8, absent=1, misnamed=2))
    assert outcome.state == "done"
    pairs = read_pairs(tmp_path, [held_out])
    numbers, masks = pairs.slices_of("val"), pairs.masks_of("val")
    scores = scores_of_masks(pairs, masks, pairs.columns["target"][numbers], numbers)
    truth = [pairs.masks[mask].dice for mask in masks]
    assert len(masks) == 4 * (9 + 2) + 1 + 1
    assert all(0 <= mask.nsd <= 1 and (mask.nsd == 1 or mask.source != REFERENCE) for mask in pairs.masks)
    assert pearson(scores, truth) > 0.95
    assert np.abs(scores - truth).mean() < 0.06


def test_the_array_order_of_the_files_changes_nothing(source: PairSource, tmp_path: Path) -> None:
    for name, code in (("ct", "RAS"), ("reference_label", "SLP")):
        volume = read_nifti(source.ct.with_name(f"{name}.nii.gz")).reoriented(code)
        write_nifti(tmp_path / f"{name}.nii.gz", Volume(np.asfortranarray(volume.array), volume.affine))
    turned = PairSource(source.name, tmp_path / "ct.nii.gz", tmp_path / "reference_label.nii.gz", source.table)
    plain = PairSource(source.name, source.ct, source.reference, source.table)
    options = replace(OPTIONS, damages=2, misnamed=4)
    for one, other in zip(examples_of(plain, options), examples_of(turned, options), strict=True):
        assert (one.organ, one.source, one.dice, one.looked_at) == (other.organ, other.source, other.dice, other.looked_at)
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.targets, other.targets)


def test_a_reference_on_another_grid_is_refused(source: PairSource, tmp_path: Path) -> None:
    volume = read_nifti(source.reference)
    write_nifti(tmp_path / "label.nii.gz", Volume(np.asfortranarray(volume.array[1:]), volume.affine))
    with pytest.raises(GeometryError):
        list(examples_of(PairSource("x", source.ct, tmp_path / "label.nii.gz", "abdomenatlas"), OPTIONS))


def test_bytes_hold_an_input_closely() -> None:
    given = np.random.default_rng(0).uniform(-1, 1, (3, 2, 4, 4)).astype(np.float32) * np.array([2, 1], np.float32)[:, None, None]
    back = from_bytes(as_bytes(given))
    assert np.abs(back - given).max() <= 2 / 255 + 1e-6
    ends = np.array([[[-2.0, 2.0]], [[-1.0, 1.0]]], np.float32)
    assert np.array_equal(from_bytes(as_bytes(ends)), ends)


def test_examples_are_made_once_and_again_when_something_changes(source: PairSource, tmp_path: Path) -> None:
    few = PairOptions(SliceRule(size=64), damages=0, absent=0, misnamed=0)
    assert build_pairs([source], tmp_path, few)[0].state == "done"
    assert build_pairs([source], tmp_path, few)[0].state == "skipped"
    more = PairOptions(SliceRule(size=64), damages=1, absent=0, misnamed=0)
    assert build_pairs([source], tmp_path, more)[0].state == "done"
    (case_folder_of(tmp_path, source) / "masks.json").unlink()  # as a stopped run leaves it
    assert build_pairs([source], tmp_path, more)[0].state == "done"
    assert len(read_pairs(tmp_path, [source]).masks) == 4 * 2 + 1


def test_damaged_examples_are_told(source: PairSource, tmp_path: Path) -> None:
    build_pairs([source], tmp_path, PairOptions(SliceRule(size=64), damages=0, absent=0, misnamed=0))
    (case_folder_of(tmp_path, source) / "images.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match="damaged"):
        read_pairs(tmp_path, [source])


def test_the_slices_of_segae_are_found_in_order(tmp_path: Path, case: Path) -> None:
    for part, name in (("train", "b"), ("train", "a"), ("val", "c")):
        folder = tmp_path / part / name
        folder.mkdir(parents=True)
        ct = read_nifti(case / "ct.nii.gz")
        write_nifti(folder / "ct.nii.gz", ct.with_array(ct.array + np.int16(ord(name))))  # another CT
        shutil.copy(case / "reference_label.nii.gz", folder / "label.nii.gz")
        for number in (2, 10):
            mask = folder / "liver_7" / f"epoch{number}.nii.gz"
            mask.parent.mkdir(exist_ok=True)
            mask.write_bytes(b"")
        (folder / "notes_x").mkdir()
    found = split_by_case(find_pairs([tmp_path]))
    assert [(one.name, one.part, one.table) for one in found] == [("a", "train", "segae"), ("b", "train", "segae"), ("c", "val", "segae")]
    assert [one.source for one in found[0].predictions] == ["epoch10", "epoch2"]
    assert len({one.organ for one in found[0].predictions}) == 1


def test_nnunet_folders_and_explicit_pairs_are_found(tmp_path: Path, case: Path) -> None:
    for folder, name in (("imagesTr", "one_0000"), ("labelsTr", "one"), ("labelsTr", "two")):
        (tmp_path / folder).mkdir(exist_ok=True)
        shutil.copy(case / "ct.nii.gz", tmp_path / folder / f"{name}.nii.gz")
    assert [(one.name, one.ct.name) for one in find_pairs([tmp_path])] == [("one", "one_0000.nii.gz")]
    (found,) = find_pairs([f"{case / 'ct.nii.gz'}={case / 'reference_label.nii.gz'}"], "abdomenatlas")
    assert (found.ct, found.table) == (case / "ct.nii.gz", "abdomenatlas")
    with pytest.raises(InputError, match="no such file"):
        find_pairs([f"{case / 'ct.nii.gz'}={case / 'missing.nii.gz'}"])


def test_a_folder_without_references_says_what_was_there(tmp_path: Path, case: Path) -> None:
    with pytest.raises(InputError, match="no CT was found"):
        find_pairs([tmp_path])
    (tmp_path / "x").mkdir()
    shutil.copy(case / "ct.nii.gz", tmp_path / "x")
    with pytest.raises(InputError, match="1 folders in it have a CT but no reference"):
        find_pairs([tmp_path])
    with pytest.raises(InputError, match="no such folder"):
        find_pairs([tmp_path / "missing"])


def test_no_case_is_in_two_parts_and_the_order_of_cases_changes_nothing(tmp_path: Path) -> None:
    cases = cases_of(tmp_path, *(f"case{number}" for number in range(9)))
    split = {one.name: one.part for one in split_by_case(cases, seed=1)}
    assert sorted(split.values()) == ["test"] + ["train"] * 7 + ["val"]
    assert split == {one.name: one.part for one in split_by_case(cases[::-1], seed=1)}
    assert split != {one.name: one.part for one in split_by_case(cases, seed=2)} or split != {
        one.name: one.part for one in split_by_case(cases, seed=3)
    }


def test_copies_of_one_ct_go_together(tmp_path: Path) -> None:
    cases_of(tmp_path, "a", "b", "c")
    for name in ("a-again", "another"):
        shutil.copytree(tmp_path / "a", tmp_path / name)
    cases = find_pairs([tmp_path], "abdomenatlas")
    for seed in range(6):
        parts = {one.name: one.part for one in split_by_case(cases, seed)}
        assert parts["a"] == parts["a-again"] == parts["another"]
    (tmp_path / "test").mkdir()
    shutil.move(tmp_path / "a-again", tmp_path / "test/a")
    (tmp_path / "train").mkdir()
    shutil.move(tmp_path / "another", tmp_path / "train/a")
    with pytest.raises(InputError, match="same CT"):
        split_by_case(find_pairs([tmp_path], "abdomenatlas"))


def test_an_only_case_holds_organs_out_and_says_so(source: PairSource, caplog: pytest.LogCaptureFixture) -> None:
    (alone,) = split_by_case([source])
    assert alone.part == "organs"
    assert "one case" in caplog.text
    parts = {one.organ: one.part for one in examples_of(alone, PairOptions(SliceRule(size=64), damages=0, misnamed=0))}
    assert sorted(parts.values()) == ["train", "train", "train", "val"]


def test_cases_of_one_name_stay_apart(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        write_toy_case(tmp_path / folder / "scan", shape=(48, 44, 4))
    assert [one.name for one in find_pairs([tmp_path])] == ["scan", "scan-2"]
    assert find_pairs([tmp_path, tmp_path / "x"]) == find_pairs([tmp_path])


def test_looked_at_slices_survive_the_disk(source: PairSource, tmp_path: Path) -> None:
    options = PairOptions(SliceRule(size=64), damages=1, absent=0, misnamed=1)
    build_pairs([source], tmp_path, options)
    pairs = read_pairs(tmp_path, [source])
    for number, one in enumerate(examples_of(source, options)):
        looked_at, areas = pairs.looked_at(number)
        assert looked_at == list(one.looked_at)
        assert all(isinstance(looked, LookedAt) for looked in looked_at)
        assert [areas[looked.nearest] for looked in looked_at] == one.areas.tolist()
        own = np.arange(pairs.masks[number].first, pairs.masks[number].first + pairs.masks[number].count)
        assert np.array_equal(pairs.images(own), one.images)
        assert set(pairs.organs(own)) <= {one.organ}
