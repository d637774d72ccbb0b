"""Releases: three layouts, readable by those who read them; made again only where something changed; no source ever touched."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
import os
import shutil
from itertools import count
from multiprocessing.pool import ThreadPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasReviewLib import release_files
from AtlasReviewLib.assemble import assemble_case
from AtlasReviewLib.dataset_card import CardOptions
from AtlasReviewLib.release_dataset import BIDS, NNUNET, ReleaseOptions, release_dataset
from AtlasReviewLib.release_names import assign_names, letters_and_digits, plain_identifier, unchanged
from AtlasReviewLib.release_sums import check_sums
from AtlasReviewLib.revisions import save_revision
from AtlasSegmentLib.errors import DatasetError, InputError, StorageError
from AtlasSegmentLib.files import copy_file
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.volume import Volume
from release_cases import AFFINE, LIVER, ORGANS, SPLEEN, STOMACH, make_case, write_mask

NAMES = ("one", "two & more", "Ünï=3")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    place = tmp_path_factory.mktemp("made")
    for number, name in enumerate(NAMES):
        assemble_case(make_case(place / "data" / "hospital" / name, number=number), place / "assembled")
    return place


@pytest.fixture
def assembled(made_once, tmp_path):
    shutil.copytree(made_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "assembled"


def add_case(assembled, name, organs=ORGANS):
    return assemble_case(make_case(assembled.parent / "data" / "hospital" / name, organs), assembled)


def release(assembled, root, layout="abdomenatlas", **more):
    return release_dataset(assembled, root, ReleaseOptions(layout, **more))


def states_of(outcomes):
    return [outcome.state for outcome in outcomes]


def states(folder):
    return {path: (s.st_mtime_ns, s.st_ino, s.st_size) for path in sorted(folder.rglob("*")) if (s := path.lstat()) and path.is_file()}


def tree(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


COMMON = ["DATASET_CARD.md", "SHA256SUMS", "dataset_card.json"]


def test_the_abdomenatlas_layout_has_the_files_of_a_release_and_their_bytes(assembled, tmp_path):
    outcomes, summary = release(assembled, tmp_path / "release", prefix="BDMAP_")
    assert states_of(outcomes) == ["done"] * 3
    assert summary["cases"] == 3
    files = ["combined_labels.nii.gz", "ct.nii.gz", *(f"segmentations/{organ}.nii.gz" for organ in ("liver", "spleen", "stomach"))]
    assert tree(tmp_path / "release") == sorted([*COMMON, *(f"BDMAP_0000000{n}/{file}" for n in (1, 2, 3) for file in files)])
    for file in files:
        assert (tmp_path / "release" / "BDMAP_00000001" / file).read_bytes() == (assembled / "one" / file).read_bytes()
    rows = list(csv.DictReader(io.StringIO((tmp_path / ".release.atlas-release" / "cases.csv").read_text(encoding="utf-8"))))
    assert {row["assembled"]: row["released"] for row in rows} == {name: f"BDMAP_0000000{n}" for n, name in enumerate(sorted(NAMES), 1)}
    assert check_sums(tmp_path / "release").is_whole


def test_a_second_release_writes_nothing_and_a_new_case_gets_a_new_number(assembled, tmp_path):
    release(assembled, tmp_path / "release", prefix="BDMAP_")
    before = states(tmp_path)
    assert states_of(release(assembled, tmp_path / "release", prefix="BDMAP_")[0]) == ["skipped"] * 3
    assert states(tmp_path) == before
    add_case(assembled, "a first one")  # sorts before the others
    outcomes, _ = release(assembled, tmp_path / "release", prefix="BDMAP_")
    assert sorted(states_of(outcomes)) == ["done", "skipped", "skipped", "skipped"]
    assert (tmp_path / "release" / "BDMAP_00000004" / "ct.nii.gz").read_bytes() == (assembled / "a first one" / "ct.nii.gz").read_bytes()


def test_a_damaged_file_of_a_release_is_written_again_and_a_case_that_is_gone_is_removed(assembled, tmp_path):
    release(assembled, tmp_path / "release")
    broken = tmp_path / "release" / "one" / "segmentations" / "liver.nii.gz"
    broken.write_bytes(b"damaged")
    (assembled / "two & more" / "manifest.json").unlink()
    outcomes, summary = release(assembled, tmp_path / "release")
    assert sorted(states_of(outcomes)) == ["done", "skipped"]
    assert summary["removed"] == 1
    assert broken.read_bytes() == (assembled / "one" / "segmentations" / "liver.nii.gz").read_bytes()
    assert not list((tmp_path / "release" / "two & more").rglob("*.nii.gz"))
    assert check_sums(tmp_path / "release").is_whole


@pytest.mark.skipif(os.name == "nt", reason="needs hard links")
def test_links_go_to_the_assembled_files_never_to_an_original_and_survive_assembling_again(assembled, tmp_path):
    release(assembled, tmp_path / "release", link=True)
    linked, source = tmp_path / "release" / "one" / "ct.nii.gz", tmp_path / "data" / "hospital" / "one" / "ct.nii.gz"
    assert linked.samefile(assembled / "one" / "ct.nii.gz")
    assert not linked.samefile(source)
    assert source.stat().st_nlink == 1
    before = linked.read_bytes()
    case = make_case(tmp_path / "data" / "hospital" / "one", number=55)
    assemble_case(case, assembled)  # replaces the assembled file, and writes through no link
    assert linked.read_bytes() == before


def test_where_links_are_not_possible_files_are_copied(assembled, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    release(assembled, tmp_path / "release", link=True)
    copied = tmp_path / "release" / "one" / "ct.nii.gz"
    assert not copied.samefile(assembled / "one" / "ct.nii.gz")
    assert copied.read_bytes() == (assembled / "one" / "ct.nii.gz").read_bytes()


def test_sources_are_not_changed_by_any_layout(assembled, tmp_path):
    before = states(assembled), states(tmp_path / "data")
    release(assembled, tmp_path / "a")
    release(assembled, tmp_path / "Dataset501_Atlas", NNUNET)
    release(assembled, tmp_path / "b", BIDS)
    assert (states(assembled), states(tmp_path / "data")) == before


def test_nnunet_accepts_the_dataset(assembled, tmp_path, monkeypatch):
    verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    root = tmp_path / "nnUNet_raw" / "Dataset501_Atlas"
    release(assembled, root, NNUNET)
    monkeypatch.setattr(verify.multiprocessing, "get_context", lambda _: SimpleNamespace(Pool=ThreadPool))  # its workers import torch
    verify.verify_dataset_integrity(str(root), 1)  # raises on what nnU-Net could not use
    content = json.loads((root / "dataset.json").read_text(encoding="utf-8"))
    assert content["labels"] == {"background": 0, "liver": 1, "spleen": 2, "stomach": 3}
    assert (content["channel_names"], content["numTraining"], content["file_ending"]) == ({"0": "CT"}, 3, ".nii.gz")
    expected = np.zeros(LIVER.shape, np.uint8)
    liver = read_nifti(assembled / "one" / "segmentations" / "liver.nii.gz").array
    for value, mask in ((2, SPLEEN), (1, liver), (3, STOMACH)):  # AbdomenAtlas paints spleen, liver, stomach
        expected[mask > 0] = value
    np.testing.assert_array_equal(read_nifti(root / "labelsTr" / "one.nii.gz").array, expected)
    assert (root / "imagesTr" / "one_0000.nii.gz").read_bytes() == (assembled / "one" / "ct.nii.gz").read_bytes()
    labels = root / "labelsTr" / "one.nii.gz"
    labels_as_before = labels.read_bytes()
    write_mask(labels, np.full(LIVER.shape, 9, np.uint8))
    with pytest.raises(RuntimeError):  # the check can fail
        verify.verify_dataset_integrity(str(root), 1)
    assert "done" in states_of(release(assembled, root, NNUNET)[0])
    assert labels.read_bytes() == labels_as_before


def test_an_organ_that_a_case_lacks_is_left_out_for_nnunet_and_said(assembled, tmp_path):
    add_case(assembled, "no stomach", {"liver": LIVER, "spleen": SPLEEN})
    root = tmp_path / "Dataset002_x"
    _, summary = release(assembled, root, NNUNET)
    assert summary["left_out_organs"] == ["stomach"]
    assert json.loads((root / "dataset.json").read_text(encoding="utf-8"))["labels"] == {"background": 0, "liver": 1, "spleen": 2}
    assert set(np.unique(read_nifti(root / "labelsTr" / "one.nii.gz").array)) == {0, 1, 2}


def test_a_folder_that_nnunet_would_not_find_is_refused(assembled, tmp_path):
    with pytest.raises(InputError, match="DatasetNNN_Name"):
        release(assembled, tmp_path / "release", NNUNET)


def test_the_bids_layout_has_its_description_tables_and_published_values(assembled, tmp_path):
    root = tmp_path / "bids"
    release(assembled, root, BIDS, name="Our data")
    description = json.loads((root / "dataset_description.json").read_text(encoding="utf-8"))
    assert (description["Name"], description["DatasetType"]) == ("Our data", "derivative")
    assert description["GeneratedBy"][0]["Name"] == "Atlas Annotator"
    stem = root / "sub-one" / "anat" / "sub-one_desc-assembled_dseg"
    table = list(csv.DictReader(Path(f"{stem}.tsv").read_text(encoding="utf-8").splitlines(), delimiter="\t"))
    assert {row["name"]: row["index"] for row in table} == {"liver": "5", "spleen": "8", "stomach": "9"}
    sidecar = json.loads(Path(f"{stem}.json").read_text(encoding="utf-8"))
    assert (root / sidecar["Sources"][0].removeprefix("bids::")).is_file()
    assert sidecar["Manual"] is False
    assert Path(f"{stem}.nii.gz").read_bytes() == (assembled / "one" / "combined_labels.nii.gz").read_bytes()
    assert (root / "participants.tsv").read_text(encoding="utf-8").split() == ["participant_id", "sub-Uni3", "sub-one", "sub-twomore"]
    assert check_sums(root).is_whole


def test_a_release_is_never_written_among_its_sources_or_over_something_else(assembled, tmp_path):
    for root in (assembled, assembled / "release", tmp_path):
        with pytest.raises(DatasetError, match="among its own sources"):
            release(assembled, root)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DatasetError, match="not empty"):
        release(assembled, other)
    assert tree(other) == ["thesis.txt"]
    release(assembled, tmp_path / "bids", BIDS)
    with pytest.raises(DatasetError, match="another layout"):
        release(assembled, tmp_path / "bids")
    with pytest.raises(InputError, match="abdomenatlas, nnunet, bids"):
        release(assembled, tmp_path / "x", "dicom")
    with pytest.raises(DatasetError, match="no assembled case"):
        release(tmp_path / "data", tmp_path / "x")


@pytest.mark.parametrize("prefix", ["../x", "a/b", ".hidden", "a b", "=1", "ü"])
def test_a_prefix_that_is_no_part_of_a_name_is_refused_before_anything_is_written(assembled, tmp_path, prefix):
    before = states(tmp_path)
    with pytest.raises(InputError, match="prefix"):
        release(assembled, tmp_path / "release", prefix=prefix)
    assert states(tmp_path) == before


def test_a_manifest_cannot_bring_a_file_from_elsewhere_into_a_release(assembled, tmp_path):
    write_mask(tmp_path / "secret.nii.gz", LIVER)
    path = assembled / "one" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["organs"]["../../../secret"] = manifest["organs"]["liver"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    outcomes, _ = release(assembled, tmp_path / "release")
    assert states_of(outcomes).count("failed") == 1
    assert not list((tmp_path / "release").rglob("secret*"))


def test_cases_of_two_label_tables_are_not_mixed(assembled, tmp_path):
    assemble_case(make_case(tmp_path / "data" / "hospital" / "old"), assembled, "1.0")
    with pytest.raises(DatasetError, match="abdomenatlas_1_0"):
        release(assembled, tmp_path / "release")


def test_a_full_disk_fails_one_case_leaves_no_sums_and_the_next_run_finishes(assembled, tmp_path, monkeypatch):
    release(assembled, tmp_path / "expected")
    calls = count()

    def full(source, target):
        if next(calls) == 7:
            message = f"{target}: cannot be written (No space left on device)."
            raise StorageError(message, "Free space.")
        copy_file(source, target)

    monkeypatch.setattr(release_files, "copy_file", full)
    outcomes, _ = release(assembled, tmp_path / "release")
    assert sorted(states_of(outcomes)) == ["done", "done", "failed"]
    assert not (tmp_path / "release" / "SHA256SUMS").exists()
    again, _ = release(assembled, tmp_path / "release")
    assert sorted(states_of(again)) == ["done", "skipped", "skipped"]
    for name in tree(tmp_path / "expected"):
        assert (tmp_path / "release" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()


@pytest.mark.parametrize(("layout", "folder"), [("abdomenatlas", "release"), (NNUNET, "Dataset007_x"), (BIDS, "release")])
def test_with_numbered_cases_no_file_of_a_release_tells_an_old_name_or_a_reader(assembled, tmp_path, layout, folder):
    case = make_case(tmp_path / "data" / "hospital" / "Doe, John")
    save_revision(case, "spleen", Volume(STOMACH, AFFINE), "Dr. Who")
    assemble_case(case, assembled)
    release(assembled, tmp_path / folder, layout, prefix="P_", card=CardOptions(anonymous_readers=True))
    for path in (tmp_path / folder).rglob("*"):
        assert "Doe" not in str(path.relative_to(tmp_path))
        if path.is_file():
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            assert b"Doe" not in content
            assert b"Dr. Who" not in content


@pytest.mark.parametrize("rule", [letters_and_digits, plain_identifier, unchanged])
@settings(max_examples=30)
@given(cases=st.lists(st.text(min_size=1), unique=True, max_size=8))
def test_names_in_a_release_are_allowed_unique_and_stay_the_same(rule, cases):
    first = assign_names(cases, rule, {})
    assert len({name.casefold() for name in first.values()}) == len(cases)
    assert assign_names([*cases, "another"], rule, first).items() >= first.items()
    for name in first.values():
        if rule is letters_and_digits:
            assert name.isascii()
            assert name.isalnum()
        if rule is plain_identifier:
            assert name.isascii()
            assert not name.startswith(".")
            assert "/" not in name
