"""atlas verify: a sample is derived again from its sources; every wrong voxel, file and source is named."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from AtlasReviewLib import commands_release
from AtlasReviewLib.assemble import assemble_case
from AtlasReviewLib.assembly_dataset import assembled_cases, finish_dataset
from AtlasReviewLib.assembly_options import AssemblyOptions
from AtlasReviewLib.assembly_verify import VerifyRequest, sample_of, verify_case
from AtlasReviewLib.release_layout import ReleaseFolder
from AtlasReviewLib.revisions import save_revision
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume
from release_cases import AFFINE, LIVER, SHAPE, SPLEEN, box, make_case, make_dataset, write_mask


def run(*arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    commands_release.add_to(app)
    return CliRunner().invoke(app, list(map(str, arguments)))


def revise(case, organ, mask, day=1, reader="Ada"):
    moment = datetime(2026, 11, day, tzinfo=timezone.utc)
    return save_revision(case, organ, Volume(mask, AFFINE), reader, now=lambda: moment, allow_empty=True)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """Two cases: one with a revision, one of dataset 04 with original labels and a revision that lost to them."""
    tmp_path = tmp_path_factory.mktemp("made")
    first = make_case(tmp_path / "data" / "04_LiTS" / "one")
    second = make_case(tmp_path / "data" / "04_LiTS" / "two")
    revise(first, "spleen", box((7, 9), (2, 5), (2, 5)))
    revise(second, "liver", box((1, 4), (2, 8), (2, 7)))
    write_mask(second.original_label, np.where(box((2, 4), (3, 5), (3, 5)) > 0, 2, box((1, 5), (3, 8), (2, 7))).astype(np.uint8))
    for case in (first, second):
        assemble_case(case, tmp_path / "out")
    finish_dataset(tmp_path / "out", [first, second])
    return tmp_path


@pytest.fixture
def out(made_once, tmp_path):
    shutil.copytree(made_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out"


def verify(out, name, sources=None):
    return verify_case(VerifyRequest(ReleaseFolder(out / name), out, sources))


def test_what_was_assembled_is_verified(out):
    assert verify(out, "one") == []
    assert verify(out, "two") == []
    assert run("verify", out).exit_code == 0


@pytest.mark.parametrize("file", ["combined_labels.nii.gz", "provenance.nii.gz", "segmentations/liver.nii.gz"])
def test_one_changed_voxel_is_named_with_both_values(out, file):
    path = out / "two" / file
    volume = read_nifti(path)
    array = volume.array.copy(order="F")
    expected = int(array[3, 4, 5])
    array[3, 4, 5] = 1 - expected if expected < 2 else 0
    write_nifti(path, Volume(array, volume.affine, "", volume.header))
    (found,) = verify(out, "two")
    assert (found.case, found.file, found.voxel) == ("two", file, (3, 4, 5))
    assert (found.expected, found.found) == (expected, int(array[3, 4, 5]))
    done = run("verify", out)
    assert done.exit_code == 1
    assert "(3, 4, 5)" in done.stdout


def test_a_changed_source_is_said_and_a_newer_revision_is_not_taken_for_a_difference(out, tmp_path):
    case = tmp_path / "data" / "04_LiTS" / "one"
    revise(CaseFolder(case), "spleen", SPLEEN, day=5)
    assert verify(out, "one") == []  # the revision that was assembled is kept under its id
    write_mask(case / "average" / "segmentations" / "liver.nii.gz", LIVER * 0)
    (found,) = verify(out, "one")
    assert found.file == "average/segmentations/liver.nii.gz"
    assert "assemble it again" in found.message


def test_a_missing_or_damaged_file_and_another_ct_are_differences(out):
    (out / "one" / "combined_labels.nii.gz").write_bytes(b"x")
    (out / "one" / "segmentations" / "liver.nii.gz").unlink()
    (out / "one" / "ct.nii.gz").write_bytes(b"y")
    assert {d.file for d in verify(out, "one")} == {"combined_labels.nii.gz", "segmentations/liver.nii.gz", "ct.nii.gz"}


def test_sources_that_moved_are_named_with_an_option(out, tmp_path):
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    done = run("verify", out)
    assert done.exit_code == 1
    assert "--sources" in done.stderr
    for place in ("elsewhere", "elsewhere/04_LiTS"):
        assert run("verify", out, "--sources", tmp_path / place).exit_code == 0


def test_a_manifest_cannot_lead_out_of_the_sources(out):
    path = out / "one" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["inputs"][1]["file"] = "../../../secret.nii.gz"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    done = run("verify", out)
    assert done.exit_code == 1
    assert "leads outside" in done.stderr
    manifest["source"]["case"] = ".."
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert "cannot be used as a file name" in run("verify", out).stderr


def test_sums_are_checked_over_all_files_not_only_the_sample(out):
    assert run("card", out).exit_code == 0
    assert run("verify", out, "--sample", 0).exit_code == 0
    (out / "two" / "segmentations" / "liver.nii.gz").write_bytes(b"z")
    (out / "stranger.txt").touch()
    done = run("verify", out, "--sample", 0, "--json")
    assert done.exit_code == 1
    sums = json.loads(done.stdout)["sha256sums"]
    assert (sums["changed"], sums["unlisted"]) == (["two/segmentations/liver.nii.gz"], ["stranger.txt"])


def test_a_sample_is_random_and_the_same_for_a_seed(tmp_path):
    folders = [ReleaseFolder(tmp_path / f"{n:03}") for n in range(50)]
    names = [[f.folder.name for f in sample_of(folders, 5, seed)] for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2]
    assert len(sample_of(folders, None, 0)) == len(sample_of(folders, 99, 0)) == 50
    assert sample_of(folders[::-1], 5, 1) == sample_of(folders, 5, 1)


BITS = st.integers(0, 2**16 - 1)


def blob(bits):
    array = np.zeros(SHAPE, np.uint8)
    array[1:5, 1:5, 3] = np.array([bits >> i & 1 for i in range(16)], np.uint8).reshape(4, 4)
    return array


@settings(max_examples=6)
@given(
    predicted=st.fixed_dictionaries(dict.fromkeys(("liver", "stomach"), BITS)),
    revised=st.dictionaries(st.sampled_from(["liver", "spleen"]), BITS),
    original=st.none() | BITS,
    order=st.sampled_from([(), ("stomach", "liver"), ("spleen",)]),
)
def test_the_independent_derivation_agrees_with_the_merge(tmp_path_factory, predicted, revised, original, order):
    root = tmp_path_factory.mktemp("derive")
    case = make_case(root / "04_LiTS" / "one", {})
    for organ, bits in predicted.items():
        write_mask(case.average.mask(organ), blob(bits))
    for organ, bits in revised.items():
        revise(case, organ, blob(bits))
    if original is not None:
        write_mask(case.original_label, blob(original))
    assemble_case(case, root / "out", options=AssemblyOptions(order))
    finish_dataset(root / "out", [case])
    assert verify(root / "out", "one") == []


def test_the_list_of_assembled_cases_passes_over_other_folders(out, tmp_path):
    (out / "notes").mkdir()
    (out / "notes" / "manifest.json").write_text("{}", encoding="utf-8")
    assert [folder.folder.name for folder in assembled_cases(out)] == ["one", "two"]
    assert run("verify", tmp_path / "data").exit_code != 0


def test_a_thousand_differences_are_counted_and_the_first_are_listed(out):
    make_dataset(out.parent / "unused", [])
    path = out / "one" / "combined_labels.nii.gz"
    volume = read_nifti(path)
    write_nifti(path, Volume(np.full_like(volume.array, 77), volume.affine, "", volume.header))
    found = verify(out, "one")
    assert len(found) == 20
    assert "960 wrong voxels" in found[0].message
