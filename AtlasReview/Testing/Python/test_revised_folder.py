"""Masks that somebody revised in another program: matched by name, checked by place, taken over once, and nothing in the folder altered."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from atlas_phantoms import files_below
from AtlasReviewLib.commands_revised import import_revised_command
from AtlasReviewLib.double_reading_case import reading_case
from AtlasReviewLib.revised_folder import ImportOptions, Row, import_revised
from AtlasReviewLib.revised_names import by_name, meant_by
from AtlasReviewLib.revisions import current_revision, history, save_revision
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasSegmentLib.case_folder import CaseFolder, open_case
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume
from AtlasSegmentLib.volume_io import write_volume
from review_data import make_review_case

APP = typer.Typer(pretty_exceptions_enable=False)
APP.callback()(lambda: None)
APP.command("import-revised")(import_revised_command)
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
AGAIN = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a dataset of two cases with a worklist."""
    for name in ("scan", "scan_2"):
        make_review_case(tmp_path / "hospital" / name)
    open_worklist(tmp_path / "hospital")[0].close()
    return tmp_path / "hospital"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "revised").mkdir()
    return tmp_path / "revised"


def edited(case: CaseFolder, organ: str = "liver", step: int = 1) -> Volume:
    """Return a mask that a reader moved a little."""
    mask = read_nifti(case.average.mask(organ))
    return mask.with_array(np.asfortranarray(np.roll(mask.array, step, axis=0)))


def take_over(dataset: Path, folder: Path, **options: Any) -> list[Row]:
    return import_revised(dataset, folder, ImportOptions("Ada", **options))


def told(rows: list[Row]) -> list[tuple[str, str, str]]:
    return [(row.case, row.organ, row.state) for row in rows]


NAMES = (
    "scan_liver.nii.gz", "scan-liver.nrrd", "scan/liver.nii.gz", "scan/segmentations/liver.nii.gz", "scan/Liver.nii",
    "from Ada/scan/liver.mha", "scan/scan_liver.nii.gz", "scan liver_revised.nii.gz", "scan/average/segmentations/liver_revised.nii.gz",
    "scan_liver.seg.nrrd", "scan/liver-label.nrrd",
)  # fmt: skip


def test_case_and_organ_are_found_in_names_and_folders(dataset: Path) -> None:
    cases = by_name([open_case(dataset / name) for name in ("scan", "scan_2")])
    for name in NAMES:
        meant = meant_by(Path(name).parts, cases)
        assert (meant.case.name, meant.organ) == ("scan", "liver"), name


@pytest.mark.parametrize("name", ["scan_liver.nii.gz", "scan/segmentations/liver.nrrd", "from Ada/scan/liver.mha"])
def test_a_mask_becomes_a_revision_of_its_reader(dataset: Path, folder: Path, name: str) -> None:
    case = open_case(dataset / "scan")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    write_volume(folder / name, edited(case))
    before = files_below(folder)
    (row,) = take_over(dataset, folder, comment="from ITK-SNAP")
    assert (row.file, row.case, row.organ, row.state) == (name, "scan", "liver", "revised")
    current = current_revision(case, "liver")
    assert current is not None
    assert (current.reader, current.id, current.comment) == ("Ada", row.text, "from ITK-SNAP")
    assert np.array_equal(read_nifti(current.file).array, edited(case).array)
    task = Worklist(dataset).task("scan", "liver")
    assert (task.state, task.reader, task.revision, task.session) == ("revised", "Ada", current.id, "")
    assert files_below(folder) == before


def test_the_longest_name_of_a_case_counts_and_what_means_two_organs_is_refused(dataset: Path) -> None:
    make_review_case(dataset / "scan_kidney", ("liver",))
    write_nifti(open_case(dataset / "scan_kidney").average.mask("left"), read_nifti(open_case(dataset / "scan").average.mask("liver")))
    cases = by_name([open_case(path) for path in dataset.iterdir() if path.is_dir()])
    meant = meant_by(("scan_2_liver.nii.gz",), cases)
    assert (meant.case.name, meant.organ) == ("scan_2", "liver")
    meant = meant_by(("scan_2", "kidney_left.nii.gz"), cases)
    assert (meant.case.name, meant.organ) == ("scan_2", "kidney_left")
    with pytest.raises(InputError, match=r"means kidney_left of scan or left of scan_kidney") as refused:
        meant_by(("scan_kidney_left.nii.gz",), cases)
    assert "folder" in refused.value.remedy
    with pytest.raises(InputError, match="is a case of the dataset"):
        meant_by(("other", "liver.nii.gz"), cases)


@AGAIN
@given(stored=st.sampled_from(["RAS", "LPS", "PIR", "ASL"]), given_in=st.sampled_from(["RAS", "LPS", "SPL", "IAR"]))
def test_flipped_and_permuted_axes_are_turned_in_world_coordinates(tmp_path_factory: Any, stored: str, given_in: str) -> None:
    place = tmp_path_factory.mktemp("turned")
    case = make_review_case(place / "d" / "scan", orientation=stored)
    (place / "revised").mkdir()
    wanted = edited(case)
    write_nifti(place / "revised" / "scan_liver.nii.gz", wanted.reoriented(given_in))
    assert told(take_over(place / "d", place / "revised")) == [("scan", "liver", "revised")]
    assert np.array_equal(read_nifti(case.average.revised_mask("liver")).array, wanted.array)


def moved(mask: Volume, **changes: Any) -> Volume:
    affine = np.array(mask.affine)
    if "shift" in changes:
        affine[0, 3] += changes["shift"]
    if "spacing" in changes:
        affine[:3, 2] *= changes["spacing"]
    array = mask.array[:, :, : changes.get("slices", mask.shape[2])]
    return Volume(np.ascontiguousarray(array), affine)


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({"shift": 1.5}, ("-58.5, 20, -110", "-60, 20, -110")),
        ({"spacing": 1.2}, ("3, 3.5, 6 mm", "3, 3.5, 5 mm")),
        ({"slices": 20}, ("34x30x20", "34x30x22")),
    ],
)
def test_a_mask_of_another_grid_is_refused_with_the_numbers_of_both(
    dataset: Path, folder: Path, changes: dict[str, Any], numbers: tuple[str, str]
) -> None:
    case = open_case(dataset / "scan")
    write_nifti(folder / "scan_liver.nii.gz", moved(edited(case), **changes))
    write_nifti(folder / "scan_spleen.nii.gz", edited(case, "spleen"))
    refused, done = take_over(dataset, folder)
    assert (refused.state, done.state) == ("refused", "revised")
    assert all(number in refused.text for number in numbers)
    assert history(case, "liver") == []
    assert Worklist(dataset).task("scan", "liver").state == "waiting"


def write_slicer_segmentation(file: Path, masks: dict[str, Volume], crop: int = 0, shared: bool = False) -> None:
    """Write a segmentation as Slicer does: names in the header, one layer for each segment or all in one, cut out by `crop` voxels."""
    arrays = [mask.array.astype(np.uint8)[crop : mask.shape[0] - crop or None] for mask in masks.values()]
    if shared:
        values, layers = range(1, len(arrays) + 1), np.max([array * value for value, array in enumerate(arrays, 1)], axis=0)
        image = SimpleITK.GetImageFromArray(layers.transpose())
    else:
        values = [1] * len(arrays)
        image = SimpleITK.GetImageFromArray(np.stack([array.transpose() for array in arrays], axis=-1), isVector=True)
    first = next(iter(masks.values()))
    shift = np.eye(4)
    shift[0, 3] = crop
    lps = _LPS @ first.affine @ shift
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    for number, (name, value) in enumerate(zip(masks, values, strict=True)):
        for key, text in (("Name", name), ("LabelValue", value), ("Layer", 0 if shared else number), ("ID", f"Segment_{number}")):
            image.SetMetaData(f"Segment{number}_{key}", str(text))
    SimpleITK.WriteImage(image, str(file), useCompression=True)


@pytest.mark.parametrize(("crop", "shared"), [(0, False), (3, True)])
def test_a_segmentation_of_slicer_is_taken_over_segment_by_segment(dataset: Path, folder: Path, crop: int, shared: bool) -> None:
    case = open_case(dataset / "scan")
    masks = {"Liver": edited(case), "spleen": edited(case, "spleen"), "Segment_3": edited(case, "kidney_left")}
    write_slicer_segmentation(folder / "scan.seg.nrrd", masks, crop, shared)
    rows = take_over(dataset, folder)
    assert told(rows) == [("scan", "liver", "revised"), ("scan", "spleen", "revised"), ("scan", "Segment_3", "refused")]
    assert "no organ 'Segment_3'" in rows[2].text
    for organ in ("liver", "spleen"):
        assert np.array_equal(read_nifti(case.average.revised_mask(organ)).array, edited(case, organ).array)


def test_two_segments_that_mean_one_organ_are_both_refused(dataset: Path, folder: Path) -> None:
    case = open_case(dataset / "scan")
    masks = {"liver": edited(case), "Liver": edited(case, step=2), "spleen": edited(case, "spleen")}
    write_slicer_segmentation(folder / "scan.seg.nrrd", masks)
    rows = take_over(dataset, folder)
    assert [row.state for row in rows] == ["refused", "refused", "revised"]
    assert "'liver' and 'Liver' are all liver" in rows[0].text
    assert history(case, "liver") == []


@pytest.mark.parametrize(("key", "value"), [("LabelValue", "0"), ("LabelValue", "-1"), ("Layer", "-1"), ("Layer", "9" * 30), ("Layer", "")])
def test_a_segment_without_a_value_of_its_own_is_no_mask_and_nothing_of_its_file_is(
    dataset: Path, folder: Path, key: str, value: str
) -> None:
    case = open_case(dataset / "scan")
    write_slicer_segmentation(folder / "scan.seg.nrrd", {"liver": edited(case), "spleen": edited(case, "spleen")})
    image = SimpleITK.ReadImage(str(folder / "scan.seg.nrrd"))
    image.SetMetaData(f"Segment1_{key}", value)
    SimpleITK.WriteImage(image, str(folder / "scan.seg.nrrd"))
    (row,) = take_over(dataset, folder)
    assert row.state == "refused"
    assert "segment 1 has no layer and value" in row.text
    assert history(case, "liver") == history(case, "spleen") == []


def test_one_segment_without_a_good_name_is_the_organ_of_its_file(dataset: Path, folder: Path) -> None:
    write_slicer_segmentation(folder / "scan_liver.seg.nrrd", {"Segment_1": edited(open_case(dataset / "scan"))})
    assert told(take_over(dataset, folder)) == [("scan", "liver", "revised")]


TABLES = {
    ".label": '# ITK-SnAP Label Description File\n    0     0    0    0        0  0  0    "Clear Label"\n'
    '    7   255    0    0        1  1  1    "liver"\n    9     0  255    0        1  1  1    "spleen"\n',
    ".ctbl": "# Color table\n0 Background 0 0 0 0\n7 liver 221 130 101 255\n9 spleen 157 108 162 255\n",
    "_labels.json": json.dumps({"format": "atlas-labels/1", "name": "t", "labels": {"7": "liver", "9": "spleen"}}),
}


@pytest.mark.parametrize(("ending", "stated"), [(".label", True), (".ctbl", False), ("_labels.json", False)])
def test_a_label_map_needs_a_table_beside_it_or_stated(dataset: Path, folder: Path, ending: str, stated: bool) -> None:
    case = open_case(dataset / "scan")
    labels = edited(case).array * 7 + edited(case, "spleen").array * 9
    write_nifti(folder / "scan.nii.gz", edited(case).with_array(labels))
    (row,) = take_over(dataset, folder)
    assert (row.state, "what its values mean" in row.text) == ("refused", True)
    table = (folder.parent if stated else folder) / f"scan{ending}"
    table.write_text(TABLES[ending])
    rows = [row for row in take_over(dataset, folder, table=str(table) if stated else None) if row.state != "ignored"]
    assert told(rows) == [("scan", "liver", "revised"), ("scan", "spleen", "revised")]


def test_running_twice_gives_nothing_new_and_an_old_file_supersedes_no_newer_revision(dataset: Path, folder: Path) -> None:
    case = open_case(dataset / "scan")
    write_nifti(folder / "scan_liver.nii.gz", edited(case))
    write_nifti(folder / "scan_spleen.nii.gz", read_nifti(case.average.mask("spleen")))
    assert [row.state for row in take_over(dataset, folder)] == ["revised", "unchanged"]
    events = Worklist(dataset).events()
    assert [row.state for row in take_over(dataset, folder)] == ["unchanged", "unchanged"]
    assert Worklist(dataset).events() == events
    save_revision(case, "liver", edited(case, step=2), "Bob")
    (known, _) = take_over(dataset, folder)
    assert (known.state, history(case, "liver")[0].id in known.text) == ("known", True)
    assert [revision.reader for revision in history(case, "liver")] == ["Ada", "Bob"]


def test_a_run_that_was_killed_before_it_could_tell_the_list_does_so_the_next_time(dataset: Path, folder: Path) -> None:
    case = open_case(dataset / "scan")
    write_nifti(folder / "scan_liver.nii.gz", edited(case))
    saved = save_revision(case, "liver", edited(case), "Ada")
    assert [row.state for row in take_over(dataset, folder)] == ["unchanged"]
    task = Worklist(dataset).task("scan", "liver")
    assert (task.state, task.revision) == ("revised", saved.id)


def test_a_dry_run_tells_the_same_and_writes_nothing(dataset: Path, folder: Path) -> None:
    case = open_case(dataset / "scan")
    write_nifti(folder / "scan_liver.nii.gz", edited(case))
    worklist = Worklist(dataset)
    worklist.set_state(worklist.take("scan", "spleen", "Bob"), "accepted", "Bob")
    worklist.take("scan_2", "liver", "Bob")
    write_nifti(folder / "scan_spleen.nii.gz", edited(case, "spleen"))
    write_nifti(folder / "scan_2_liver.nii.gz", edited(open_case(dataset / "scan_2")))
    before = {name: state for name, state in files_below(dataset).items() if "sqlite" not in name}
    events = worklist.events()
    rows = take_over(dataset, folder, dry_run=True)
    assert [row.state for row in rows] == ["refused", "would be revised", "refused"]
    assert {name: state for name, state in files_below(dataset).items() if "sqlite" not in name} == before
    assert worklist.events() == events
    assert [row.state for row in take_over(dataset, folder)] == ["refused", "revised", "refused"]
    assert "Bob" in rows[0].text
    assert "Reopen" in rows[2].text


def test_what_another_reader_has_or_accepted_is_refused_until_it_is_taken_over_or_reopened(dataset: Path, folder: Path) -> None:
    case = open_case(dataset / "scan")
    worklist = Worklist(dataset)
    task = worklist.take("scan", "liver", "Bob")
    write_nifti(folder / "scan_liver.nii.gz", edited(case))
    assert [row.state for row in take_over(dataset, folder)] == ["refused"]
    assert worklist.task("scan", "liver").reader == "Bob"
    assert [row.state for row in take_over(dataset, folder, take_over=True)] == ["revised"]
    assert "take over" in [event.kind for event in worklist.events(task.case, task.organ)]


def test_of_two_blind_readings_each_reader_revises_their_own(dataset: Path, folder: Path) -> None:
    (dataset / "review.json").write_text(json.dumps({"double_share": 1.0}))
    open_worklist(dataset)[0].close()
    case = open_case(dataset / "scan")
    worklist = Worklist(dataset)
    first = worklist.take("scan", "liver", "Bob")
    second = worklist.take("scan", "liver", "Ada", reading=2)
    for task, reader in ((first, "Bob"), (second, "Ada")):
        worklist.leave(worklist.set_state(task, "revised", reader), reader, keep=True)
    write_nifti(folder / "scan_liver.nii.gz", edited(case))
    rows = import_revised(dataset, folder, ImportOptions("Eve"))
    assert [row.state for row in rows] == ["refused"]
    assert "blind" in rows[0].text
    assert [row.state for row in take_over(dataset, folder)] == ["revised"]
    assert current_revision(case, "liver") is None
    mine = current_revision(reading_case(case, 2), "liver")
    assert mine is not None
    assert mine.reader == "Ada"
    assert Worklist(dataset).task("scan", "liver", 2).revision == mine.id
    assert [row.state for row in take_over(dataset, folder)] == ["unchanged"]


def test_an_empty_mask_and_two_files_of_one_organ_are_refused(dataset: Path, folder: Path) -> None:
    case = open_case(dataset / "scan")
    write_nifti(folder / "scan_liver.nii.gz", edited(case).with_array(np.zeros_like(edited(case).array)))
    write_nifti(folder / "scan_spleen.nii.gz", edited(case, "spleen"))
    (folder / "scan").mkdir()
    write_nifti(folder / "scan" / "spleen.nii.gz", edited(case, "spleen", 2))
    first, empty, second = take_over(dataset, folder)
    assert (first.state, empty.state, second.state) == ("revised", "refused", "refused")
    assert "--allow-empty" in empty.text
    assert "scan/spleen.nii.gz is of the same organ" in second.text
    assert Worklist(dataset).task("scan", "liver").state == "waiting"
    assert told(take_over(dataset, folder, allow_empty=True))[1] == ("scan", "liver", "revised")


def test_a_task_that_was_taken_to_be_edited_elsewhere_comes_back_revised(dataset: Path, folder: Path) -> None:
    worklist = Worklist(dataset)
    worklist.detach(worklist.take("scan", "liver", "Ada"), "Ada", 3600)  # atlas worklist take
    write_nifti(folder / "scan_liver.nii.gz", edited(open_case(dataset / "scan")))
    assert [row.state for row in take_over(dataset, folder)] == ["revised"]
    task = worklist.task("scan", "liver")
    assert (task.state, task.reader, task.session) == ("revised", "Ada", "")


def test_a_dataset_without_a_worklist_gets_revisions_alone(tmp_path: Path, folder: Path) -> None:
    case = make_review_case(tmp_path / "d" / "scan")
    write_nifti(folder / "scan_liver.nii.gz", edited(case))
    assert told(take_over(tmp_path / "d", folder)) == [("scan", "liver", "revised")]
    assert not (tmp_path / "d" / "worklist.sqlite").exists()


def test_whatever_the_files_are_called_nothing_outside_is_read_or_written(dataset: Path, folder: Path, tmp_path: Path) -> None:
    case = open_case(dataset / "scan")
    mask = edited(case)
    outside = tmp_path / "outside"
    outside.mkdir()
    write_nifti(outside / "liver.nii.gz", mask)
    (folder / "scan_spleen.nii.gz").symlink_to(outside / "liver.nii.gz")
    (folder / "scan_2").symlink_to(outside, target_is_directory=True)
    for name in (
        "=cmd()_liver.nii.gz",
        "scan_..%2f..%2fliver.nii.gz",
        "scan_'; DROP TABLE task; --.nii.gz",
        "scan_liver\n.nii.gz",
        "-rf.nii.gz",
    ):
        write_nifti(folder / name, mask)
    (folder / "scan_liver.nii.gz").write_bytes(b"no image")
    (folder / "notes.docx").write_text("x")
    (folder / ".hidden_liver.nii.gz").write_text("x")
    before = files_below(tmp_path / "hospital")
    rows = take_over(dataset, folder)
    assert {row.state for row in rows if row.file != "notes.docx"} == {"refused"}
    assert {name for name in files_below(tmp_path / "hospital") if "sqlite" not in name} == {
        name for name in before if "sqlite" not in name
    }
    assert len(Worklist(dataset).tasks()) == 6
    assert not any("scan_2" in row.file for row in rows)


@pytest.mark.parametrize("place", ["hospital", "hospital/scan", ""])
def test_the_dataset_itself_is_no_folder_to_take_over(dataset: Path, place: str) -> None:
    with pytest.raises(InputError, match="lies in the dataset folder"):
        take_over(dataset, dataset.parent / place)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(APP, ["import-revised", *map(str, arguments)], catch_exceptions=False)


def test_the_command_tells_every_file_and_its_table_holds_no_formula(dataset: Path, folder: Path, tmp_path: Path) -> None:
    write_nifti(folder / "scan_liver.nii.gz", edited(open_case(dataset / "scan")))
    (folder / "=HYPERLINK(1).nii.gz").write_bytes(b"")
    done = run(dataset, folder, "--reader", "Ada", "--csv", tmp_path / "rows.csv", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["counts"] == {"refused": 1, "revised": 1}
    cells = [cell for row in csv.reader((tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()) for cell in row]
    assert "'=HYPERLINK(1).nii.gz" in cells
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    (folder / "=HYPERLINK(1).nii.gz").unlink()
    assert run(dataset, folder, "--reader", "Ada").exit_code == 0
    with pytest.raises(InputError, match="only read"):
        run(dataset, folder, "--reader", "Ada", "--csv", folder / "rows.csv")
