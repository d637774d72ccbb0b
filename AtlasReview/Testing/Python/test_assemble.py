"""Assembling: the release layout, the source of every voxel, the same bytes every time, and no source ever touched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from AtlasReviewLib.assemble import assemble_case
from AtlasReviewLib.release_layout import release_organs
from AtlasReviewLib.revisions import save_revision
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, DatasetError, GeometryError, InputError, LabelError
from AtlasSegmentLib.files import write_json
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume, reorient

AFFINE = np.array([[-5.0, 0, 0, 90], [0, -5.0, 0, 60], [0, 0, 5.0, -7], [0, 0, 0, 1]])  # LPS
SHAPE = (37, 24, 12)
VOXEL_ML = 0.125


def box(x, y, z):
    array = np.zeros(SHAPE, np.uint8)
    array[slice(*x), slice(*y), slice(*z)] = 1
    return array


LIVER = box((3, 15), (5, 15), (4, 11))
SPLEEN = box((27, 33), (8, 14), (5, 9))
STOMACH = box((20, 28), (5, 12), (5, 9))  # shares voxels with the spleen
CELIAC = box((17, 20), (12, 14), (3, 6))
TUMOR = box((6, 9), (8, 11), (6, 9)) + box((14, 16), (7, 10), (5, 8))  # one inside of the liver, one at its border
LIVER_WITH_TUMOR = np.where(TUMOR > 0, 2, LIVER).astype(np.uint8)  # values of LiTS


def write_mask(path, array, affine=AFFINE):
    write_nifti(path, Volume(array, affine))


@pytest.fixture
def case(tmp_path):
    """A case of LiTS (dataset 04: liver and liver tumor were annotated) without original labels yet."""
    folder = CaseFolder(tmp_path / "data" / "04_LiTS" / "liver 3")
    ct = np.full(SHAPE, -1000, np.int16)
    ct[1:36, 2:22] = 50
    write_nifti(folder.ct, Volume(ct, AFFINE))
    for name, mask in (("liver", LIVER), ("spleen", SPLEEN), ("stomach", STOMACH), ("celiac_truck", CELIAC), ("liver_tumor", LIVER * 0)):
        write_mask(folder.average.mask(name), mask)
    for model in ("unet", "swinunetr"):
        write_mask(folder.backbone(model).pseudo_label, LIVER * 6)
    write_json(folder.average.run_record, {"parameters": {"models": ["unet", "swinunetr"]}, "finished": "2026"})
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "release"


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()
    }


def read(path):
    return read_nifti(path).array


def add_original(case, array):
    write_mask(case.original_label, array)


def revise(case, organ, array, reader="ana", **more):
    return save_revision(case, organ, Volume(array, AFFINE), reader, **more)


def test_the_layout_names_and_values_are_those_of_release_1_1(case, out):
    done = assemble_case(case, out)
    assert done.folder == out / "liver 3"
    assert sorted(tree(done.folder)) == [
        "combined_labels.nii.gz",
        "ct.nii.gz",
        "manifest.json",
        "provenance.nii.gz",
        *(f"segmentations/{organ}.nii.gz" for organ in ("celiac_trunk", "liver", "spleen", "stomach")),
    ]
    assert (done.folder / "ct.nii.gz").read_bytes() == case.ct.read_bytes()
    expected = np.zeros(SHAPE, np.uint8)
    for mask, value in ((SPLEEN, 8), (LIVER, 5), (STOMACH, 9), (CELIAC, 13)):  # AbdomenAtlas paints spleen 1, liver 6, stomach 7, celiac 25
        expected[mask > 0] = value
    combined = read_nifti(done.folder / "combined_labels.nii.gz")
    np.testing.assert_array_equal(combined.array, expected)
    np.testing.assert_allclose(combined.affine, AFFINE)
    for organ, mask in (("spleen", SPLEEN), ("celiac_trunk", CELIAC)):
        written = read(done.folder / "segmentations" / f"{organ}.nii.gz")
        assert written.dtype == np.uint8
        np.testing.assert_array_equal(written, mask)


def test_release_1_0_has_nine_structures_and_says_what_it_leaves_out(case, out):
    done = assemble_case(case, out, "1.0")
    assert len(release_organs("1.0")) == 9
    assert set(np.unique(read(done.folder / "combined_labels.nii.gz"))) == {0, 5, 8, 9}
    assert {entry["organ"] for entry in done.manifest["left_out"]} == {"celiac_truck", "liver_tumor"}
    assert "pancreas" in done.manifest["missing"]


def test_an_original_beats_a_revision_and_a_revision_beats_the_prediction(case, out):
    original, liver, spleen = np.roll(LIVER, 1, axis=0), np.roll(LIVER, 2, axis=1), np.roll(SPLEEN, 1, axis=2)
    add_original(case, original)
    revise(case, "liver", liver)
    revise(case, "spleen", spleen, "ben")
    done = assemble_case(case, out)
    for organ, mask in (("liver", original), ("spleen", spleen), ("stomach", STOMACH)):
        np.testing.assert_array_equal(read(done.folder / "segmentations" / f"{organ}.nii.gz"), mask)
    organs = done.manifest["organs"]
    assert {name: organs[name]["source"] for name in organs} == {
        "celiac_trunk": "predicted",
        "liver": "original",
        "spleen": "revised",
        "stomach": "predicted",
    }
    assert organs["spleen"]["readers"] == ["ben"]
    assert organs["spleen"]["revision"].endswith("_ben")
    assert organs["liver"]["displaced"] == ["revised", "predicted"]
    assert organs["stomach"]["by"] == "average of unet, swinunetr"
    assert organs["spleen"]["voxels"] == int(spleen.sum())
    assert organs["spleen"]["volume_ml"] == pytest.approx(spleen.sum() * VOXEL_ML)


def test_an_annotated_organ_that_the_original_does_not_show_is_removed(case, out):
    add_original(case, np.zeros(SHAPE, np.uint8))
    done = assemble_case(case, out)
    assert not read(done.folder / "segmentations" / "liver.nii.gz").any()
    assert not (read(done.folder / "combined_labels.nii.gz") == 5).any()
    provenance = read(done.folder / "provenance.nii.gz")
    assert set(provenance[LIVER > 0]) == {1}  # the original left it out
    assert done.manifest["organs"]["liver"]["removed_voxels"] == int(LIVER.sum())


def test_the_provenance_map_says_who_drew_and_who_removed_each_voxel(case, out):
    smaller = box((3, 10), (5, 15), (4, 11))
    revise(case, "liver", smaller, "ana")
    revise(case, "stomach", STOMACH, "Béla")
    done = assemble_case(case, out)
    numbers = {(e["kind"], e["by"]): e["value"] for e in done.manifest["provenance"]}
    provenance = read(done.folder / "provenance.nii.gz")
    assert set(provenance[LIVER > 0]) == {numbers["revised", "ana"]}
    assert set(provenance[STOMACH > 0]) == {numbers["revised", "Béla"]}
    assert set(provenance[(SPLEEN > 0) & (STOMACH == 0)]) == {numbers["predicted", "average of unet, swinunetr"]}
    assert set(provenance[(LIVER + STOMACH + SPLEEN + CELIAC) == 0]) == {0}
    ana = done.manifest["provenance"][numbers["revised", "ana"]]
    assert (ana["drawn_voxels"], ana["left_out_voxels"]) == (int(smaller.sum()), int(LIVER.sum() - smaller.sum()))


def test_an_original_liver_has_no_hole_where_its_tumor_is(case, out):
    add_original(case, LIVER_WITH_TUMOR)
    done = assemble_case(case, out)
    whole = LIVER_WITH_TUMOR > 0
    np.testing.assert_array_equal(read(done.folder / "segmentations" / "liver.nii.gz"), whole)
    np.testing.assert_array_equal(read(done.folder / "combined_labels.nii.gz") == 5, whole)
    original = next(entry["value"] for entry in done.manifest["provenance"] if entry["kind"] == "original")
    assert set(read(done.folder / "provenance.nii.gz")[TUMOR > 0]) == {original}
    assert done.manifest["organs"]["liver"]["source"] == "original"
    assert done.manifest["organs"]["liver"]["voxels"] == whole.sum()
    assert done.manifest["parameters"]["original_includes"] == {"liver": ["liver_tumor"]}


@pytest.mark.parametrize("order", ["LPS", "RAS"])
def test_a_tumor_of_the_left_kidney_reaches_the_release_as_left_kidney(tmp_path, out, order):
    case = CaseFolder(tmp_path / "data" / "05_KiTS" / "one")
    ct = np.full(SHAPE, -1000, np.int16)
    ct[1:36, 2:22] = 50
    right, left, tumor = box((6, 10), (14, 18), (2, 8)), box((27, 31), (14, 18), (3, 9)), box((14, 29), (15, 17), (4, 7))
    label = np.where(tumor > 0, 2, right + left).astype(np.uint8)  # array x grows to the left here
    for path, array in ((case.ct, ct), (case.original_label, label)):
        write_mask(path, *reorient(array, AFFINE, order))
    done = assemble_case(case, out)
    for organ, expected in (("kidney_left", left | tumor), ("kidney_right", right)):
        np.testing.assert_array_equal(read(done.folder / "segmentations" / f"{organ}.nii.gz"), reorient(expected, AFFINE, order)[0])
    includes = ["kidney_tumor", "kidney_cyst"]
    assert done.manifest["parameters"]["original_includes"] == {"kidney_left": includes, "kidney_right": includes}


def test_original_vessels_leave_the_liver_predicted(case, out):
    add_original(case, LIVER_WITH_TUMOR)  # in Decathlon's task 08 these values are vessels and their tumors
    done = assemble_case(case, out, dataset="10_08")
    assert done.manifest["organs"]["liver"]["source"] == "predicted"
    assert done.manifest["parameters"]["original_includes"] == {}
    np.testing.assert_array_equal(read(done.folder / "segmentations" / "liver.nii.gz"), LIVER)


def test_assembling_twice_in_other_places_gives_identical_bytes(case, tmp_path):
    add_original(case, LIVER_WITH_TUMOR)
    revise(case, "spleen", np.roll(SPLEEN, 1, axis=2))
    first = assemble_case(case, tmp_path / "a")
    second = assemble_case(case, tmp_path / "elsewhere" / "b")
    assert tree(first.folder) == tree(second.folder)
    text = (first.folder / "manifest.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text


def test_the_manifest_names_every_input_with_its_hash(case, out):
    add_original(case, LIVER)
    revision = revise(case, "spleen", np.roll(SPLEEN, 1, axis=2))
    manifest = assemble_case(case, out).manifest
    found = {entry["file"]: entry for entry in manifest["inputs"]}
    assert {"ct.nii.gz", "original_label.nii.gz", "average/segmentations/liver.nii.gz"} <= set(found)
    for file, entry in found.items():
        assert entry["sha256"] == hashlib.sha256((case.folder / file).read_bytes()).hexdigest()
    assert found["average/segmentations/spleen_revised.nii.gz"]["revision"] == revision.id
    assert manifest["parameters"]["label_table"] == "abdomenatlas_1_1"
    assert manifest["outputs"]["combined_labels.nii.gz"] == tree(out / "liver 3")["combined_labels.nii.gz"]


def test_a_case_that_is_up_to_date_is_skipped_until_something_changes(case, out):
    assert not assemble_case(case, out).skipped
    before = (out / "liver 3" / "combined_labels.nii.gz").stat().st_mtime_ns
    assert assemble_case(case, out).skipped
    assert (out / "liver 3" / "combined_labels.nii.gz").stat().st_mtime_ns == before
    assert not assemble_case(case, out, force=True).skipped
    assert not assemble_case(case, out, "1.0").skipped
    assert not (out / "liver 3" / "segmentations" / "celiac_trunk.nii.gz").exists()
    revise(case, "spleen", np.roll(SPLEEN, 1, axis=2))
    assert not assemble_case(case, out, "1.0").skipped
    (out / "liver 3" / "segmentations" / "liver.nii.gz").write_bytes(b"damaged")
    assert not assemble_case(case, out, "1.0").skipped
    np.testing.assert_array_equal(read(out / "liver 3" / "segmentations" / "liver.nii.gz"), LIVER)


def test_no_source_is_changed(case, out):
    add_original(case, LIVER)
    revise(case, "spleen", np.roll(SPLEEN, 1, axis=2))
    before = tree(case.folder)
    assemble_case(case, out)
    assert tree(case.folder) == before


def test_a_mask_of_another_program_counts_as_a_revision_of_an_unknown_reader(case, out):
    array, affine = reorient(np.roll(SPLEEN, 1, axis=2), AFFINE, "RAS")  # and in another array order
    write_mask(case.average.revised_mask("spleen"), array, affine)
    done = assemble_case(case, out)
    assert done.manifest["organs"]["spleen"]["readers"] == ["unknown"]
    np.testing.assert_array_equal(read(done.folder / "segmentations" / "spleen.nii.gz"), np.roll(SPLEEN, 1, axis=2))


def test_merged_kidneys_of_the_original_reach_the_release_as_two_organs(case, out):
    label = np.zeros(SHAPE, np.uint8)
    right, left = box((6, 10), (14, 18), (2, 8)), box((27, 31), (14, 18), (3, 9))  # array x grows to the left here
    label[(right + left) > 0] = 2
    add_original(case, label)
    done = assemble_case(case, out, dataset="08")
    np.testing.assert_array_equal(read(done.folder / "segmentations" / "kidney_left.nii.gz"), left)
    np.testing.assert_array_equal(read(done.folder / "segmentations" / "kidney_right.nii.gz"), right)


def test_one_model_without_an_average_is_used_and_said(tmp_path, out):
    case = CaseFolder(tmp_path / "data" / "x" / "one")
    write_nifti(case.ct, Volume(np.zeros(SHAPE, np.int16), AFFINE))
    write_mask(case.backbone("unet").mask("liver"), LIVER)
    done = assemble_case(case, out)
    assert done.manifest["organs"]["liver"]["by"] == "unet"
    assert any("no average" in note for note in done.manifest["notes"])
    write_mask(case.backbone("swinunetr").mask("liver"), LIVER)
    with pytest.raises(DatasetError, match="atlas average"):
        assemble_case(case, out)


def test_the_name_of_the_case_can_be_given(case, out):
    assert assemble_case(case, out, name="BDMAP_00000001").folder.name == "BDMAP_00000001"
    with pytest.raises(DatasetError):
        assemble_case(case, out, name="../outside")


def bad_revision_grid(case):
    write_mask(case.average.revised_mask("spleen"), SPLEEN[:-1])


def bad_revision_values(case):
    write_mask(case.average.revised_mask("spleen"), SPLEEN * 3)


def bad_original_value(case):
    add_original(case, LIVER * 7)


def bad_original_grid(case):
    add_original(case, LIVER[:-1])


def truncated_prediction(case):
    path = case.average.mask("stomach")
    path.write_bytes(path.read_bytes()[:-12])


@pytest.mark.parametrize(
    ("damage", "error", "file"),
    [
        (bad_revision_grid, GeometryError, "spleen_revised.nii.gz"),
        (bad_revision_values, InputError, "spleen_revised.nii.gz"),
        (bad_original_value, LabelError, "original_label.nii.gz"),
        (bad_original_grid, GeometryError, "original_label.nii.gz"),
        (truncated_prediction, InputError, "stomach.nii.gz"),
    ],
)
def test_a_source_that_cannot_be_used_is_named_and_nothing_is_written(case, out, damage, error, file):
    assemble_case(case, out)
    before = tree(out)
    damage(case)
    with pytest.raises(error, match=file):
        assemble_case(case, out)
    assert tree(out) == before
    with pytest.raises(error, match=file):
        assemble_case(case, out / "new")
    assert not (out / "new").exists()


def test_original_labels_of_an_unknown_dataset_are_not_passed_over(tmp_path, out):
    case = CaseFolder(tmp_path / "data" / "ours" / "one")
    write_nifti(case.ct, Volume(np.zeros(SHAPE, np.int16), AFFINE))
    write_mask(case.average.mask("liver"), LIVER)
    add_original(case, LIVER)
    with pytest.raises(DatasetError, match="ours"):
        assemble_case(case, out)
    with pytest.raises(DatasetError, match="77"):
        assemble_case(case, out, dataset="77")
    assert assemble_case(case, out, dataset="04").manifest["organs"]["liver"]["by"] == "dataset 04"


def test_a_release_that_does_not_exist_is_refused(case, out):
    with pytest.raises(InputError, match=r"1\.0, 1\.1"):
        assemble_case(case, out, "2.0")


def test_the_output_cannot_lie_among_its_sources(case, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(case.folder.parent)
    before = tree(tmp_path)
    for root in (case.folder.parent, case.folder, case.average.folder, link, case.folder.parent.parent / "04_LiTS" / "." / ""):
        with pytest.raises(DatasetError):
            assemble_case(case, root)
    with pytest.raises(DatasetError):  # under another name it would be one more case of the dataset
        assemble_case(case, case.folder.parent, name="BDMAP_00000001")
    with pytest.raises(DatasetError):  # the output would hold the dataset
        assemble_case(case, case.folder.parent.parent, name="04_LiTS")
    assert tree(tmp_path) == before


def test_a_folder_of_somebody_else_is_never_written_into(case, tmp_path):
    other = CaseFolder(tmp_path / "other" / "liver 3")  # a case of another dataset that has only a CT
    write_nifti(other.ct, Volume(np.ones(SHAPE, np.int16), AFFINE))
    released = tmp_path / "downloaded" / "liver 3"  # a case of the published release
    write_mask(released / "combined_labels.nii.gz", LIVER)
    write_mask(released / "segmentations" / "liver.nii.gz", LIVER)
    before = tree(tmp_path)
    for root in (other.folder.parent, released.parent):
        with pytest.raises(DatasetError, match="not an assembled case"):
            assemble_case(case, root)
    assert tree(tmp_path) == before


def test_a_save_that_was_interrupted_is_noted(case, out):
    saved = revise(case, "spleen", np.roll(SPLEEN, 1, axis=2))
    case.average.revised_mask("spleen").unlink()
    assert any(saved.id in note for note in assemble_case(case, out).manifest["notes"])


def test_a_source_that_changes_meanwhile_stops_it(case, out):
    def progress(_fraction, message):
        if message == "merge stomach":
            write_mask(case.average.mask("spleen"), STOMACH)

    with pytest.raises(DatasetError, match=r"spleen\.nii\.gz: changed"):
        assemble_case(case, out, progress=progress)
    assert not out.exists()


def test_progress_grows_to_one(case, out):
    told = []
    assemble_case(case, out, progress=lambda fraction, message: told.append((fraction, message)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("again", [False, True], ids=["first time", "over an older one"])
def test_a_kill_at_any_moment_leaves_whole_files_and_the_next_run_finishes(case, tmp_path, again):
    expected = tree(assemble_case(case, tmp_path / "expected").folder)
    older = assemble_case(case, tmp_path / "older", "1.0").folder.parent
    point, end = 0, -1
    while end != 0:
        out = tmp_path / f"out{point}"
        if again:
            shutil.copytree(older, out)
        before = tree(case.folder)
        end = killed_after(point, lambda: assemble_case(case, out))  # noqa: B023
        for path in out.rglob("*.nii.gz"):
            read_nifti(path)
        manifest = out / "liver 3" / "manifest.json"
        if manifest.exists():
            outputs = json.loads(manifest.read_text(encoding="utf-8"))["outputs"]
            assert {name: tree(out / "liver 3").get(name) for name in outputs} == outputs
        assert tree(case.folder) == before
        assemble_case(case, out)
        assert tree(out / "liver 3") == expected
        point += 1
    assert point > 15


def killed_after(point, action):
    """Run `action` in a child that dies after its `point`-th change on the disk; return its exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        steps = count()

        def dying(real):
            def call(*args, **kwargs):
                result = real(*args, **kwargs)
                if next(steps) == point:
                    os._exit(77)
                return result

            return call

        os.replace, Path.unlink, Path.touch, Path.mkdir = map(dying, (os.replace, Path.unlink, Path.touch, Path.mkdir))
        try:
            action()
        except AtlasError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_predicted_mask_that_somebody_changed_is_not_credited_to_the_models(case, tmp_path):
    path = case.average.mask("liver")
    write_json(case.average.run_record, {"results": {"organs": {"liver": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}}})
    assemble_case(case, tmp_path / "release")
    volume = read_nifti(path)
    write_nifti(path, volume.with_array(np.roll(volume.array, 1, axis=0)))
    with pytest.raises(DatasetError, match=r"liver.nii.gz: was changed.*atlas revise"):
        assemble_case(case, tmp_path / "release")
    save_revision(case, "liver", read_nifti(path), "ana")
    assert assemble_case(case, tmp_path / "release").manifest["organs"]["liver"]["source"] == "revised"
