"""Assembling a dataset: levels of readers, painting order, conflicts, only changed cases again, workers that die."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timedelta, timezone
from itertools import count

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from AtlasReviewLib import commands_release
from AtlasReviewLib.assemble import assemble_case
from AtlasReviewLib.assembly_conflicts import conflicts_csv, lost_voxels
from AtlasReviewLib.assembly_dataset import finish_dataset, verdicts_of_dataset
from AtlasReviewLib.assembly_levels import decide, read_levels
from AtlasReviewLib.assembly_options import AssemblyOptions, read_paint_order
from AtlasReviewLib.commands_release import AssemblyRequest, assemble_briefly
from AtlasReviewLib.merge import KINDS, Candidate, OrganCandidates, Source, merge_organs
from AtlasReviewLib.review_verdicts import verdicts_of
from AtlasReviewLib.revisions import roll_back, save_revision
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import InputError, LabelError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume
from release_cases import AFFINE, LIVER, SPLEEN, STOMACH, box, make_case, make_dataset, write_mask
from review_data import make_dataset as make_review_dataset

JUNIOR, SENIOR = box((1, 3), (2, 8), (2, 7)), box((1, 4), (2, 8), (2, 7))


@pytest.fixture
def case(tmp_path):
    return make_case(tmp_path / "data" / "hospital" / "one")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "assembled"


@pytest.fixture
def clock():
    ticks = count()
    return lambda: datetime(2026, 11, 1, tzinfo=timezone.utc) + timedelta(minutes=next(ticks))


def revise(case, clock, reader, mask, organ="liver"):
    return save_revision(case, organ, Volume(mask, AFFINE), reader, now=clock)


def set_levels(case, levels):
    (case.folder.parent / "readers.json").write_text(json.dumps(levels), encoding="utf-8")


def liver_of(done):
    return read_nifti(done.folder / "segmentations" / "liver.nii.gz").array


def run(*arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    commands_release.add_to(app)
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_without_levels_the_newest_revision_wins(case, out, clock):
    revise(case, clock, "Ada", SENIOR)
    revise(case, clock, "Ben", JUNIOR)
    np.testing.assert_array_equal(liver_of(assemble_case(case, out)), JUNIOR)


def test_a_seniors_revision_wins_over_a_juniors_newer_one_and_the_manifest_says_so(case, out, clock):
    senior = revise(case, clock, "Ada", SENIOR)
    revise(case, clock, "Ben", JUNIOR)
    set_levels(case, {"Ada": "senior", "Ben": "junior"})
    done = assemble_case(case, out)
    np.testing.assert_array_equal(liver_of(done), SENIOR)
    organ = done.manifest["organs"]["liver"]
    assert (organ["source"], organ["by"], organ["revision"]) == ("revised", "Ada", senior.id)
    assert done.manifest["parameters"]["reader_levels"] == {"Ada": 2, "Ben": 1}
    assert any("Ben" in note and senior.id in note for note in done.manifest["notes"])
    entry = next(e for e in done.manifest["inputs"] if e["role"] == "revised")
    assert entry["file"] == f"average/revisions/liver/{senior.id}.nii.gz"


def test_what_the_senior_did_last_counts_also_a_roll_back_to_the_prediction(case, out, clock):
    revise(case, clock, "Ada", SENIOR)
    roll_back(case, "liver", None, "Ada", now=clock)
    revise(case, clock, "Ben", JUNIOR)
    set_levels(case, {"Ada": 5, "Ben": 1})
    done = assemble_case(case, out)
    assert done.manifest["organs"]["liver"]["source"] == "predicted"
    assert any("roll back" in note for note in done.manifest["notes"])


def test_a_juniors_roll_back_does_not_undo_a_senior(case, out, clock):
    revise(case, clock, "Ada", SENIOR)
    roll_back(case, "liver", None, "Ben", now=clock)
    set_levels(case, {"Ada": "senior"})
    np.testing.assert_array_equal(liver_of(assemble_case(case, out)), SENIOR)


def test_a_mask_that_another_program_put_in_place_has_the_lowest_level(case, out, clock):
    revise(case, clock, "Ada", SENIOR)
    write_mask(case.average.revised_mask("liver"), JUNIOR)
    set_levels(case, {"Ada": 1})
    np.testing.assert_array_equal(liver_of(assemble_case(case, out)), SENIOR)


def test_a_changed_file_of_the_revision_that_counts_is_refused(case, out, clock):
    senior = revise(case, clock, "Ada", SENIOR)
    revise(case, clock, "Ben", JUNIOR)
    set_levels(case, {"Ada": 2})
    write_mask(senior.file, LIVER)
    with pytest.raises(InputError, match=senior.id):
        assemble_case(case, out)
    senior.file.unlink()
    with pytest.raises(InputError, match="is gone"):
        assemble_case(case, out)


def test_a_new_reader_in_the_file_makes_only_their_cases_again(case, out, clock):
    revise(case, clock, "Ada", SENIOR)
    set_levels(case, {"Ada": 2})
    assert not assemble_case(case, out).skipped
    set_levels(case, {"Ada": 2, "Zoe": 1})
    assert assemble_case(case, out).skipped
    set_levels(case, {"Ada": 1})
    assert not assemble_case(case, out).skipped


@pytest.mark.parametrize("content", ["[]", '{"Ada": "boss"}', '{"Ada": -1}', '{"Ada": true}', '{"Ada": 1.5}', "{"])
def test_a_file_of_levels_that_is_none_is_refused(case, content):
    (case.folder.parent / "readers.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"readers\.json"):
        read_levels(case.folder.parent)


ACTS = st.lists(st.tuples(st.sampled_from(["Ada", "Ben", "Zoe"]), st.booleans()), min_size=1, max_size=6)


@settings(max_examples=8)
@given(acts=ACTS, levels=st.none() | st.dictionaries(st.sampled_from(["Ada", "Ben", "Zoe"]), st.integers(0, 3)))
def test_the_decision_is_the_last_act_of_the_highest_level_in_plain_words(tmp_path_factory, acts, levels):
    place = tmp_path_factory.mktemp("acts")
    case = make_case(place / "data" / "one", {"liver": LIVER})
    ticks = count()
    saved = []
    for number, (reader, is_save) in enumerate(acts):
        moment = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=next(ticks))
        mask = box((1, 2 + number % 5), (2, 8), (2, 7 - number // 5))
        if is_save:
            saved.append((reader, save_revision(case, "liver", Volume(mask, AFFINE), reader, now=lambda moment=moment: moment).id))
        else:
            roll_back(case, "liver", None, reader, now=lambda moment=moment: moment)
            saved.append((reader, None))
    ranks = {reader: (levels or {}).get(reader, 0) for reader, _ in saved}
    top = [revision for reader, revision in saved if levels is None or ranks[reader] == max(ranks.values())]
    found = decide(case, "liver", levels)
    if any(revision for _, revision in saved):
        assert (found.revision.id if found.revision else None) == top[-1]


def test_conflicts_name_who_lost_and_who_won_each_voxel(case, out):
    done = assemble_case(case, out)
    shared = int((SPLEEN & STOMACH).sum())
    assert done.manifest["conflicts"] == [{"lost": "spleen", "won": "stomach", "voxels": shared, "ml": shared * 0.125}]
    finish_dataset(out, [case])
    rows = list(csv.DictReader((out / "conflicts.csv").read_text(encoding="utf-8").splitlines()))
    assert rows == [
        {
            "case": "one",
            "lost": "spleen",
            "lost_source": "predicted",
            "won": "stomach",
            "won_source": "predicted",
            "voxels": str(shared),
            "ml": str(shared * 0.125),
        }
    ]


def test_the_painting_order_decides_and_is_recorded(case, out, tmp_path):
    order = tmp_path / "order.txt"
    order.write_text("# the last one wins\nstomach\n\nSpleen  # it is sharper\n", encoding="utf-8")
    assert read_paint_order(order) == ("stomach", "spleen")
    assemble_case(case, out)
    done = assemble_case(case, out, options=AssemblyOptions(read_paint_order(order)))
    assert not done.skipped
    combined = read_nifti(done.folder / "combined_labels.nii.gz").array
    assert set(combined[SPLEEN > 0]) == {8}
    assert done.manifest["parameters"]["paint_order"] == ["stomach", "spleen"]
    assert done.manifest["conflicts"][0]["lost"] == "stomach"


def test_a_prediction_never_covers_a_revision_whatever_the_painting_order(case, out, clock):
    revise(case, clock, "Ada", SPLEEN, "spleen")
    done = assemble_case(case, out, options=AssemblyOptions(("spleen", "stomach")))
    assert set(read_nifti(done.folder / "combined_labels.nii.gz").array[SPLEEN > 0]) == {8}


@pytest.mark.parametrize(
    ("text", "error", "word"), [("", InputError, "no organ"), ("liver\nLiver\n", InputError, "twice"), ("livr\n", LabelError, "livr")]
)
def test_a_painting_order_that_cannot_be_meant_is_refused(tmp_path, text, error, word):
    path = tmp_path / "order.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=word):
        read_paint_order(path)


MASKS = st.integers(0, 2**24 - 1)
SMALL = (3, 4, 2)


def mask_of(bits):
    return np.array([bool(bits >> i & 1) for i in range(24)]).reshape(SMALL)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.lists(st.tuples(st.sampled_from(KINDS), MASKS), min_size=1, max_size=3, unique_by=lambda c: c[0])), max_size=5),
    st.permutations(range(5)),
)
def test_each_voxel_comes_from_the_documented_winner_and_each_lost_one_is_counted(organs, order):
    found = [
        OrganCandidates(f"o{n}", order[n], n + 1, tuple(Candidate(Source(kind, "x"), lambda bits=bits: mask_of(bits)) for kind, bits in cs))
        for n, (cs,) in enumerate(organs)
    ]
    if not found:
        return
    combined, _ = merge_organs(found, SMALL)
    best = [min(organ.candidates, key=lambda c: c.source.rank) for organ in found]
    strength = [(-c.source.rank, organ.order) for c, organ in zip(best, found, strict=True)]
    masks = [c.load() for c in best]
    for voxel in np.ndindex(SMALL):
        claims = [n for n in range(len(found)) if masks[n][voxel]]
        assert combined[voxel] == (max(claims, key=lambda n: strength[n]) + 1 if claims else 0)
    whole = tuple(slice(0, n) for n in SMALL)
    for n, mask in enumerate(masks):
        lost = lost_voxels(mask[whole], whole, n + 1, combined)
        assert sum(lost.values()) == int((mask & (combined != n + 1)).sum())
        assert n + 1 not in lost


@settings(max_examples=40)
@given(st.text(min_size=1))
def test_a_hostile_case_name_is_one_harmless_cell(name):
    organs = {"a": {"source": "predicted"}, "b": {"source": "revised"}}
    manifest = {"name": name, "organs": organs, "conflicts": [{"lost": "a", "won": "b", "voxels": 1, "ml": 0.1}]}
    text = conflicts_csv([manifest])
    assert text.startswith("case,lost,")
    body = text.split("\n", 1)[1]
    assert not body.lstrip('"').startswith(("=", "+", "-", "@", "\t", "\r"))


def states(folder):
    return {path: (s.st_mtime_ns, s.st_ino, s.st_size) for path in sorted(folder.rglob("*")) if (s := path.lstat())}


def test_a_second_run_over_many_cases_reads_only_and_a_changed_case_alone_is_made_again(tmp_path, out, clock):
    cases = make_dataset(tmp_path / "hospital", [f"case {n:03}" for n in range(15)])
    assert run("assemble", tmp_path / "hospital", "--out", out).exit_code == 0
    before = states(tmp_path)
    again = run("assemble", tmp_path / "hospital", "--out", out, "--json")
    assert json.loads(again.stdout)["skipped"] == 15
    assert states(tmp_path) == before
    revise(cases[7], clock, "Ada", JUNIOR)
    before = states(out)
    done = json.loads(run("assemble", tmp_path / "hospital", "--out", out, "--json").stdout)
    assert (done["done"], done["skipped"]) == (1, 14)
    changed = {path.relative_to(out).parts[0] for path, state in states(out).items() if before.get(path) != state and path != out}
    assert changed == {"case 007"}


def test_what_a_case_returns_is_small_so_that_memory_stays_flat(case, out):
    result = assemble_briefly(AssemblyRequest(case, out, "1.1", None, False, AssemblyOptions(verdicts={})))
    assert set(result) == {"folder", "sources", "conflict_voxels", "notes"}
    assert result["sources"] == {"predicted": 3}
    assert assemble_briefly(AssemblyRequest(case, out, "1.1", None, False, AssemblyOptions(verdicts={}))) is None


@settings(max_examples=4)
@given(orientation=st.sampled_from(["RAS", "LAI", "PIR", "SRA", "IPL"]), degrees=st.sampled_from([0.0, 12.0]))
def test_every_array_order_and_an_oblique_grid_assemble_to_the_same_voxels(tmp_path_factory, orientation, degrees):
    place = tmp_path_factory.mktemp("turned")
    plain, other = (make_case(place / name / "04_LiTS" / "one") for name in ("plain", "other"))
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))], [np.sin(np.radians(degrees)), np.cos(np.radians(degrees))]]
    for case in (plain, other):
        write_mask(case.original_label, LIVER)
        revise(case, lambda: datetime(2026, 11, 1, tzinfo=timezone.utc), "Ada", SPLEEN, "spleen")
    for path in sorted(other.folder.rglob("*.nii.gz")):
        volume = read_nifti(path).reoriented(orientation)
        write_nifti(path, Volume(np.asfortranarray(volume.array), turn @ volume.affine))
    first, second = assemble_case(plain, place / "a", dataset="04"), assemble_case(other, place / "b", dataset="04")
    assert first.manifest["conflicts"] == second.manifest["conflicts"]
    for name in ("combined_labels.nii.gz", "provenance.nii.gz", "segmentations/liver.nii.gz"):
        volume = read_nifti(second.folder / name)
        turned = Volume(volume.array, np.linalg.inv(turn) @ volume.affine).reoriented("LPS")
        np.testing.assert_array_equal(turned.array, read_nifti(first.folder / name).array)


def test_verdicts_of_all_cases_are_read_at_once_and_reach_each_case(tmp_path, out):
    dataset = make_review_dataset(tmp_path / "hospital")
    assert verdicts_of_dataset(dataset) == {}
    worklist, _ = open_worklist(dataset)
    for case, state in (("first", "rejected"), ("second", "accepted")):
        worklist.set_state(worklist.take(case, "liver", "Ada"), state, "Ada", "why")
    found = verdicts_of_dataset(dataset)
    for case in ("first", "second", "zlast"):
        assert found.get(case, {}) == verdicts_of(CaseFolder(dataset / case))
    assert run("assemble", dataset, "--out", out).exit_code == 0
    organs = {case: json.loads((out / case / "manifest.json").read_text(encoding="utf-8"))["organs"] for case in ("first", "second")}
    assert "liver" not in organs["first"]
    assert organs["second"]["liver"]["review"] == {"state": "accepted", "reader": "Ada"}


def test_models_with_hash_and_license_are_in_the_manifest(case, out):
    assert assemble_case(case, out).manifest["models"] == [{"name": "unet", "version": "3", "sha256": "ab" * 32, "license": "Apache-2.0"}]
