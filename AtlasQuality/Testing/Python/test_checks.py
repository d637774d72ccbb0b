"""Bulk checks: a healthy body gives no findings, each planted fault is found with its organ and place, in any array order."""

from __future__ import annotations

import csv
import io
import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from AtlasQualityLib import checks_ranges, commands_checks
from AtlasQualityLib.checks import check_case
from AtlasQualityLib.checks_finding import ERROR, NOTE, WARNING, Finding, findings_csv, read_findings, sorted_findings, worklist_bonus
from AtlasQualityLib.checks_rules import CheckOptions
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.files import copy_file, write_json
from AtlasSegmentLib.labels import load_table, structure_for
from AtlasSegmentLib.markups import read_roi
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.segment_case import SegmentOptions, segment_case
from AtlasSegmentLib.volume import Volume

SIZE = 8.0
SHAPE = (47, 33, 62)
AFFINE = np.diag([SIZE, SIZE, SIZE, 1.0])
AFFINE[:3, 3] = (-184, -128, -400)  # x = 0 is the middle of the body
PLACES = {  # center and radii in mm, HU
    "lung_right": ((70, 0, 0), (55, 80, 110), -800),
    "lung_left": ((-70, 0, 0), (50, 80, 110), -800),
    "liver": ((75, 20, -160), (80, 75, 60), 60),
    "spleen": ((-95, -30, -150), (35, 30, 45), 50),
    "kidney_right": ((60, -45, -245), (27, 27, 52), 35),
    "kidney_left": ((-60, -45, -235), (27, 27, 52), 35),
    "pancreas": ((-10, 30, -235), (45, 18, 22), 40),
    "bladder": ((0, 20, -360), (35, 33, 30), 5),
}


def ellipsoid(center, radii):
    world = np.stack(np.meshgrid(*[np.arange(n) * SIZE + AFFINE[i, 3] for i, n in enumerate(SHAPE)], indexing="ij"), axis=-1)
    return (((world - center) / radii) ** 2).sum(axis=-1) < 1


MASKS = {name: ellipsoid(center, radii) for name, (center, radii, _) in PLACES.items()}
BODY = ellipsoid((0, 0, -160), (175, 115, 300))
BODY[:, :, [0, -1]] = False


def body_ct():
    array = np.where(BODY, 30, -1000)
    for name, mask in MASKS.items():
        array[mask] = PLACES[name][2]
    return array.astype(np.int16)


CT = body_ct()
STRAIGHT = np.eye(4)


WRITTEN = {}


def write(path, volume):
    """Write a file; one that was written before is copied from memory, as most masks are the same in all tests."""
    key = (volume.array.tobytes(), volume.array.shape, volume.array.dtype.str, volume.affine.tobytes())
    if key not in WRITTEN:
        write_nifti(path, volume)
        WRITTEN[key] = path.read_bytes()
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(WRITTEN[key])


def stored(array, orientation, turn):
    volume = Volume(np.asfortranarray(array), AFFINE).reoriented(orientation)
    return replace(volume, affine=turn @ volume.affine)


def write_case(folder, masks=MASKS, orientation="RAS", turn=STRAIGHT, ct=CT):
    case = CaseFolder(folder)
    write(case.ct, stored(ct, orientation, turn))
    for name, mask in masks.items():
        write(case.average.mask(name), stored(np.asarray(mask, np.uint8), orientation, turn))
    return case


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "case"


def brief(findings):
    return {(finding.organ, finding.kind, finding.severity) for finding in findings}


def moved(mask, *, mm, axis):
    return np.roll(mask, round(mm / SIZE), axis=axis)


def test_a_healthy_body_gives_no_findings(folder):
    assert check_case(write_case(folder)) == []


def test_swapped_kidneys_are_both_found_and_said_to_be_swapped(folder):
    swapped = {**MASKS, "kidney_left": MASKS["kidney_right"], "kidney_right": MASKS["kidney_left"]}
    found = check_case(write_case(folder, swapped))
    assert brief(found) == {("kidney_left", "side", ERROR), ("kidney_right", "side", ERROR)}
    assert all("swapped" in finding.message for finding in found)
    left = next(finding for finding in found if finding.organ == "kidney_left")
    np.testing.assert_allclose(left.place, PLACES["kidney_right"][0], atol=SIZE)
    assert left.value == pytest.approx(60, abs=SIZE)


def test_a_liver_on_the_left_is_found_alone(folder):
    found = check_case(write_case(folder, {**MASKS, "liver": MASKS["liver"][::-1]}))
    assert ("liver", "side", ERROR) in brief(found)
    assert not any(kind == "side" for organ, kind, _ in brief(found) if organ != "liver")


def test_a_mirrored_case_is_one_finding_about_the_case(folder):
    found = check_case(write_case(folder, {name: mask[::-1] for name, mask in MASKS.items()}, ct=np.ascontiguousarray(CT[::-1])))
    assert brief(found) == {("", "mirrored", ERROR)}
    assert "situs inversus" in found[0].remedy


def test_the_spine_says_where_the_middle_is_when_the_body_lies_off_center(folder):
    spine = ellipsoid((62, -80, -160), (15, 15, 230))  # the picture shows half of the body: its own middle would be wrong
    kidney = ellipsoid((30, -45, -240), (27, 27, 52))
    case = write_case(folder, {"kidney_left": kidney})
    assert ("kidney_left", "side", ERROR) in brief(check_case(case))
    write(case.average.mask("vertebrae_L1"), stored(spine.astype(np.uint8), "RAS", STRAIGHT))
    assert not any(kind == "side" for _, kind, _ in brief(check_case(case)))


def test_kidneys_in_the_right_order_are_trusted_more_than_the_middle_of_a_body_that_is_cut(folder):
    cut = CT.copy()
    cut[: int((20 - AFFINE[0, 3]) / SIZE)] = -1000  # the picture ends at the left: its body's middle is at the right kidney
    found = check_case(write_case(folder, {side: MASKS[side] for side in ("kidney_left", "kidney_right")}, ct=cut))
    assert not any(finding.kind == "side" for finding in found)


def test_an_organ_that_goes_on_outside_of_the_image_may_come_back_as_a_second_piece(folder):
    two = np.zeros(SHAPE, bool)
    two[10:16, 10:20, :4] = two[24:30, 10:20, :4] = True
    assert not any(finding.kind == "components" for finding in check_case(write_case(folder, {**MASKS, "liver": two})))
    assert any(finding.kind == "components" for finding in check_case(write_case(folder, {**MASKS, "liver": np.roll(two, 2, axis=2)})))


def test_a_second_liver_is_a_piece_too_many_with_its_place(folder):
    second = ellipsoid((60, 20, -330), (25, 25, 25))
    found = check_case(write_case(folder, {**MASKS, "liver": MASKS["liver"] | second}))
    assert brief(found) == {("liver", "components", WARNING)}
    np.testing.assert_allclose(found[0].place, (60, 20, -330), atol=1)
    assert found[0].expected == "at most 1"


def test_a_piece_nearly_as_large_as_the_organ_is_an_error(folder):
    both = {**MASKS, "spleen": MASKS["spleen"], "pancreas": MASKS["pancreas"] | ellipsoid((0, 30, -310), (35, 18, 22))}
    assert ("pancreas", "components", ERROR) in brief(check_case(write_case(folder, both)))


def test_specks_are_ignored_below_the_stated_volume(folder):
    speck = np.zeros(SHAPE, bool)
    speck[34, 16, 8] = True  # 0.512 ml
    case = write_case(folder, {**MASKS, "liver": MASKS["liver"] | speck})
    assert check_case(case, CheckOptions(speck_ml=0.6)) == []
    assert brief(check_case(case)) == {("liver", "components", WARNING)}


def test_the_same_mask_under_two_names_is_an_error_for_both(folder):
    found = check_case(write_case(folder, {**MASKS, "spleen": MASKS["liver"]}))
    assert {("liver", "duplicate", ERROR), ("spleen", "duplicate", ERROR)} <= brief(found)
    message = next(f.message for f in found if f.organ == "spleen" and f.kind == "duplicate")
    assert message == "spleen: is the same mask as liver."


def test_a_mask_that_is_nearly_another_one_is_a_warning(folder):
    nearly = MASKS["liver"].copy()
    nearly[:, :, : int(np.argwhere(nearly)[:, 2].min()) + 1] = False
    found = check_case(write_case(folder, {**MASKS, "stomach": nearly}))
    assert {("liver", "duplicate", WARNING), ("stomach", "duplicate", WARNING)} <= brief(found)


def test_a_lung_lobe_may_be_nearly_the_whole_lung(folder):
    nearly = MASKS["lung_left"].copy()
    nearly[:, :, : int(np.argwhere(nearly)[:, 2].min()) + 2] = False
    found = check_case(write_case(folder, {**MASKS, "lung_upper_lobe_left": nearly}))
    assert not any(kind == "duplicate" for _, kind, _ in brief(found))


def test_a_shifted_affine_is_an_error_of_that_mask_alone(folder):
    case = write_case(folder)
    shifted = AFFINE.copy()
    shifted[0, 3] += 12
    write(case.average.mask("spleen"), Volume(MASKS["spleen"].astype(np.uint8), shifted))
    found = check_case(case)
    assert brief(found) == {("spleen", "grid", ERROR)}
    assert "12.000 mm" in found[0].message
    assert "atlas resample" in found[0].remedy


def test_a_mask_in_another_array_order_is_on_the_grid(folder):
    case = write_case(folder)
    write(case.average.mask("spleen"), stored(MASKS["spleen"].astype(np.uint8), "LPI", STRAIGHT))
    assert check_case(case) == []


def test_holes_are_found_and_only_noted_in_organs_with_a_content(folder):
    hole = ellipsoid(PLACES["liver"][0], (12, 12, 12))
    found = check_case(write_case(folder, {**MASKS, "liver": MASKS["liver"] & ~hole}))
    assert brief(found) == {("liver", "holes", WARNING)}
    np.testing.assert_allclose(found[0].place, PLACES["liver"][0], atol=SIZE / 2)
    assert found[0].value == pytest.approx(hole.sum() * SIZE**3 / 1000)
    hole = ellipsoid(PLACES["bladder"][0], (12, 12, 12))
    found = check_case(write_case(folder, {**MASKS, "bladder": MASKS["bladder"] & ~hole}))
    assert brief(found) == {("bladder", "holes", NOTE)}


def test_lungs_at_40_hu_are_an_error(folder):
    found = check_case(write_case(folder, ct=np.where(CT == -800, 40, CT).astype(np.int16)))
    assert brief(found) == {("lung_left", "hu", ERROR), ("lung_right", "hu", ERROR)}
    assert found[0].value == pytest.approx(40)


def test_a_volume_beyond_what_is_published_is_found_and_one_that_the_image_cuts_is_not(folder):
    tiny = ellipsoid(PLACES["liver"][0], (25, 25, 25))
    case = write_case(folder, {**MASKS, "liver": tiny})
    found = check_case(case)
    assert brief(found) == {("liver", "volume", ERROR)}
    assert "Geraghty" in found[0].expected
    cut = np.zeros(SHAPE, bool)
    cut[:, :, :2] = ellipsoid((75, 0, -400), (30, 30, 12))[:, :, :2]
    assert "volume" not in {f.kind for f in check_case(write_case(folder, {**MASKS, "liver": cut}))}


def test_a_mask_that_the_models_region_cuts_may_be_small(folder):
    tiny = ellipsoid(PLACES["liver"][0], (25, 25, 25))
    case = write_case(folder, {**MASKS, "liver": tiny})
    roi = {"center": [75.0, 20.0, -160.0 + 300 - 20], "axes": np.eye(3).tolist(), "size": [600.0, 600.0, 600.0]}
    write_json(case.backbone("unet").run_record, {"parameters": {"roi": roi}})
    assert check_case(case) == []


def test_an_empty_mask_is_unusual_only_where_the_organ_must_be(folder):
    empty = np.zeros(SHAPE, bool)
    masks = {**MASKS, "pancreas": empty, "gall_bladder": empty, "prostate": empty, "liver_tumor": empty, "thyroid_gland": empty}
    found = check_case(write_case(folder, masks))
    assert brief(found) == {
        ("pancreas", "empty", WARNING),
        ("gall_bladder", "empty", NOTE),
        ("prostate", "empty", NOTE),
        ("thyroid_gland", "empty", NOTE),
    }
    assert ("kidney_left", "empty", WARNING) in brief(check_case(write_case(folder, {**MASKS, "kidney_left": empty})))


def test_a_piece_of_the_left_kidney_on_the_right_is_found(folder):
    stray = ellipsoid((60, -40, -330), (15, 15, 15))
    found = check_case(write_case(folder, {**MASKS, "kidney_left": MASKS["kidney_left"] | stray}))
    assert ("kidney_left", "piece-side", WARNING) in brief(found)


def test_a_sheared_image_wide_slices_and_a_picture_without_air_are_said(folder):
    sheared = AFFINE.copy()
    sheared[1, 2] = 2.0
    case = CaseFolder(folder)
    for path, array in ((case.ct, CT), (case.average.mask("liver"), MASKS["liver"].astype(np.uint8))):
        write(path, Volume(array, sheared))
    assert ("", "shear", ERROR) in brief(check_case(case))
    thick = AFFINE @ np.diag([1, 1, 2, 1])
    for path, array in ((case.ct, CT + 1000), (case.average.mask("liver"), MASKS["liver"].astype(np.uint8))):
        write(path, Volume(array.astype(np.int16), thick))
    assert {("", "spacing", WARNING), ("", "no-air", WARNING)} <= brief(check_case(case))


def test_a_damaged_file_and_strange_values_are_findings_and_the_rest_is_checked(folder):
    case = write_case(folder, {**MASKS, "spleen": MASKS["spleen"] * 3, "liver": MASKS["liver"][::-1]})
    path = case.average.mask("pancreas")
    path.write_bytes(path.read_bytes()[:-20])
    found = brief(check_case(case))
    assert {("pancreas", "unreadable", ERROR), ("spleen", "values", ERROR), ("liver", "side", ERROR)} <= found


def test_a_damaged_ct_is_a_finding_and_masks_are_still_checked(folder):
    case = write_case(folder, {**MASKS, "kidney_left": MASKS["kidney_right"], "kidney_right": MASKS["kidney_left"]})
    case.ct.write_bytes(b"no image")
    assert {("", "unreadable", ERROR), ("kidney_left", "side", ERROR)} <= brief(check_case(case))


def test_revised_masks_are_checked_instead_of_the_average_and_a_model_when_named(folder):
    case = write_case(folder, {**MASKS, "liver": np.zeros(SHAPE, bool)})
    write(case.average.revised_mask("liver"), stored(MASKS["liver"].astype(np.uint8), "RAS", STRAIGHT))
    assert check_case(case) == []
    write(case.backbone("unet").mask("liver"), stored(MASKS["liver"][::-1].astype(np.uint8), "RAS", STRAIGHT))
    assert ("liver", "side", ERROR) in brief(check_case(case, CheckOptions(model="unet")))


def test_an_assembled_case_can_be_checked_and_a_case_without_masks_is_refused(folder):
    case = CaseFolder(folder)
    write(case.ct, Volume(CT, AFFINE))
    with pytest.raises(DatasetError, match="no masks"):
        check_case(case)
    write(folder / "segmentations" / "liver.nii.gz", Volume(MASKS["liver"].astype(np.uint8), AFFINE))
    assert check_case(case) == []


FAULTY = {
    **MASKS,
    "kidney_left": MASKS["kidney_right"],
    "kidney_right": MASKS["kidney_left"],
    "liver": (MASKS["liver"] & ~ellipsoid((75, 20, -160), (15, 15, 15))) | ellipsoid((60, 20, -330), (25, 25, 25)),
    "pancreas": np.zeros(SHAPE, bool),
    "spleen": ellipsoid(PLACES["spleen"][0], (13, 13, 13)),
}
_AXES = st.sampled_from([a + b + c for axes in ("RAS", "SAR", "ASR", "RSA") for a, b, c in [axes]])


@settings(max_examples=4)
@given(
    axes=_AXES,
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    angles=st.tuples(*[st.floats(-8, 8) for _ in range(3)]),
)
def test_every_array_order_and_a_tilted_patient_give_the_same_findings(tmp_path_factory, axes, flips, angles):
    other = dict(zip("RAS", "LPI", strict=True))
    orientation = "".join(other[letter] if flip else letter for letter, flip in zip(axes, flips, strict=True))
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    place = tmp_path_factory.mktemp("turned")
    plain = check_case(write_case(place / "data" / "case", FAULTY))
    turned = check_case(write_case(place / "other" / "case", FAULTY, orientation, turn))
    assert [(f.organ, f.kind, f.severity) for f in plain] == [(f.organ, f.kind, f.severity) for f in turned]
    for a, b in zip(plain, turned, strict=True):
        assert (a.place is None) == (b.place is None)
        if a.place is not None:
            np.testing.assert_allclose(turn[:3, :3] @ a.place, b.place, atol=0.01)


def test_the_torso_and_its_reference_give_few_findings_and_they_are_true(shared_data, folder):
    data = shared_data / "data" / "torso-3mm"
    labels, table = read_nifti(data / "reference_label.nii.gz"), load_table("totalsegmentator_v2")
    case = CaseFolder(folder)
    write(case.ct, read_nifti(data / "ct.nii.gz"))
    for value in np.unique(labels.array):
        if value:
            mask = Volume((labels.array == value).astype(np.uint8), labels.affine)
            write(case.average.mask(table.structure_of(int(value)).name), mask)
    found = check_case(case)
    assert len(found) <= 3  # of 61 organs; its pancreas is in two pieces
    assert brief(found) <= {("pancreas", "components", ERROR), ("pancreas", "volume", WARNING)}
    swapped = CaseFolder(folder.parent / "swapped")
    sources = {"ct": case.ct, **{side: case.average.mask(f"kidney_{side}") for side in ("left", "right")}}
    targets = {"ct": swapped.ct, "left": swapped.average.mask("kidney_right"), "right": swapped.average.mask("kidney_left")}
    for what, source in sources.items():
        targets[what].parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, targets[what])
    assert {("kidney_left", "side", ERROR), ("kidney_right", "side", ERROR)} <= brief(check_case(swapped))


def test_a_real_network_gives_few_findings_and_the_pancreas_that_it_lost_is_one(shared_data, shared_models, folder):
    data = shared_data / "data" / "torso-3mm"
    case = CaseFolder(folder)
    copy_file(data / "ct.nii.gz", case.ct)
    segment_case(case, load_model(shared_models[0]), SegmentOptions(roi=read_roi(data / "abdomen_roi.mrk.json")))
    found = check_case(case)
    assert len(found) <= 4
    assert ("pancreas", "volume", ERROR) in brief(found)  # attention shows nothing there: the network was sure of it
    assert {organ for organ, _, severity in brief(found) if severity != NOTE} <= {"pancreas", "kidney_left"}  # one is cut short


@pytest.mark.parametrize("organ", sorted({*checks_ranges.VOLUMES, *checks_ranges.HU, *checks_ranges.PIECES, *checks_ranges.LEVELS}))
def test_every_organ_of_the_tables_has_its_canonical_name_and_sensible_ranges(organ):
    assert structure_for(organ).name == organ
    assert structure_for(organ).color is not None
    known = checks_ranges.VOLUMES.get(organ)
    if known is not None:
        (least, most), (low, high) = known.possible, known.usual
        assert 0 < least < low < known.low <= known.high < high < most
        assert known.source
    hu = checks_ranges.hu_range(organ)
    assert hu is None or -1024 <= hu[0] < hu[1]


def finding(organ="liver", severity=ERROR, message="x", case="one", **more):
    return Finding("data", case, organ, "volume", severity, message, "do", **more)


def test_findings_become_a_bonus_between_0_and_1_with_the_worst_reason_first():
    found = worklist_bonus([finding(severity=NOTE, message="small."), finding(message="huge."), finding("spleen", WARNING), finding("")])
    liver, spleen = found["data", "one", "liver"], found["data", "one", "spleen"]
    assert 0 < spleen.points < liver.points < 1
    assert liver.reason == "huge. small."
    assert ("data", "one", "") in found
    assert (
        worklist_bonus([finding(), finding()])["data", "one", "liver"].points > worklist_bonus([finding()])["data", "one", "liver"].points
    )


@settings(max_examples=40)
@given(st.text(), st.text())
def test_no_cell_of_the_csv_is_a_formula_and_every_text_survives(case, message):
    rows = list(csv.reader(io.StringIO(findings_csv([finding(case=case, message=message)]), newline="")))
    assert rows[0][:2] == ["dataset", "case"]
    cells = rows[1]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in (cells[1], cells[11]))
    shown = "".join(character if character.isprintable() else " " for character in case)
    assert cells[1].removeprefix("'") == shown.removeprefix("'")


def test_findings_survive_the_csv():
    found = [
        finding(place=(1.0, -2.5, 3.0), value=4.5, unit="ml"),
        finding("=liver", NOTE, message="a, 'b'\"", case="'x"),
        finding("", WARNING),
    ]
    assert [repr(f) for f in read_findings(findings_csv(found))] == [repr(f) for f in sorted_findings(found)]
    for text in ("", "a,b\n1,2\n", findings_csv(found).replace(",error,", ",terrible,"), findings_csv(found).replace("4.5", "much")):
        with pytest.raises(InputError):
            read_findings(text)


def test_a_finding_survives_json():
    first = finding(place=(1.0, 2.0, 3.0), value=float("nan"))
    text = json.dumps({**asdict(first), "value": None})
    assert asdict(Finding.from_plain(json.loads(text)))["place"] == (1.0, 2.0, 3.0)


def run(*arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    commands_checks.add_to(app)
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_the_command_exits_1_on_errors_writes_a_csv_and_prints_json(folder, tmp_path):
    write_case(folder)
    assert run(folder.parent).exit_code == 0
    write_case(folder.parent / "=bad", {**MASKS, "kidney_left": MASKS["kidney_right"], "kidney_right": MASKS["kidney_left"]})
    done = run(folder.parent, "--out", tmp_path / "findings.csv")
    assert done.exit_code == 1
    first = read_findings((tmp_path / "findings.csv").read_text(encoding="utf-8"))[0]
    x, y, z = first.place
    sides = ("R" if x >= 0 else "L", "A" if y >= 0 else "P", "S" if z >= 0 else "I")
    told = " ".join(f"{side} {abs(mm):.0f}" for side, mm in zip(sides, first.place, strict=True))
    assert told in " ".join(done.stdout.split())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "findings.csv").read_text(encoding="utf-8"))))
    assert [(row["case"], row["organ"]) for row in rows] == [("'=bad", "kidney_left"), ("'=bad", "kidney_right")]
    found = json.loads(run(folder.parent, "--json").stdout)
    assert (found["cases"], found["error"]) == (2, 2)
    assert found["findings"][0]["place"] is not None


def test_one_broken_case_does_not_stop_the_others(folder):
    write_case(folder)
    (folder.parent / "empty" / "backbones").mkdir(parents=True)
    done = run(folder.parent)
    assert done.exit_code == 1
    assert "empty" in done.stderr
    assert "2 cases" in done.stdout
