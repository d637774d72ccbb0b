"""The AbdomenAtlas case folder: where its files lie, which folders are cases, and that nothing leads out of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder, find_cases, new_case, open_case
from AtlasSegmentLib.errors import DatasetError

WITH_LINKS = pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")


def made(folder: Path, kind: str = "ct") -> Path:
    """Make a case folder."""
    folder.mkdir(parents=True)
    if kind == "ct":
        (folder / "ct.nii.gz").write_bytes(b"ct")
    else:
        (folder / "backbones" / "model").mkdir(parents=True)
    return folder.resolve()


def touched(folder: Path, *names: str) -> None:
    """Make empty files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")


def test_every_file_lies_where_abdomenatlas_expects_it() -> None:
    case = CaseFolder(Path("/data/FLARE/BDMAP_1"))
    relative = {
        case.ct: "ct.nii.gz",
        case.original_label: "original_label.nii.gz",
        case.average.pseudo_label: "average/pseudo_label.nii.gz",
        case.average.mask("liver"): "average/segmentations/liver.nii.gz",
        case.average.map("attention", "liver"): "average/attention/liver.nii.gz",
        case.average.revised_mask("liver"): "average/segmentations/liver_revised.nii.gz",
        case.average.revisions("liver"): "average/revisions/liver",
        case.average.run_record: "average/run.json",
        case.backbone("nnunet").pseudo_label: "backbones/nnunet/pseudo_label.nii.gz",
        case.backbone("nnunet").map("soft_pred", "liver"): "backbones/nnunet/soft_pred/liver.nii.gz",
        case.backbone("nnunet").map("entropy", "liver"): "backbones/nnunet/entropy/liver.nii.gz",
        case.backbone("nnunet").run_record: "backbones/nnunet/run.json",
    }
    for path, expected in relative.items():
        assert path == case.folder / expected
    assert (case.name, case.dataset) == ("BDMAP_1", "FLARE")


@pytest.mark.parametrize("name", ["..", "../x", "/etc/passwd", "", ".x", "a\0b", "a/b"])
def test_names_of_models_organs_and_cases_cannot_leave_the_case(tmp_path: Path, name: str) -> None:
    case = CaseFolder(tmp_path / "set" / "case")
    places = [case.backbone, case.average.mask, case.average.revised_mask, case.average.revisions, lambda n: case.average.map("entropy", n)]
    for place in places:
        with pytest.raises(DatasetError):
            place(name)
    with pytest.raises(DatasetError, match="case name"):
        new_case(tmp_path, name)


def test_an_organ_cannot_take_the_name_of_another_organs_revision(tmp_path: Path) -> None:
    labels = LabelFolder(tmp_path)
    with pytest.raises(DatasetError, match="_revised"):
        labels.mask("liver_revised")
    with pytest.raises(DatasetError, match="_revised"):
        labels.revised_mask("liver_revised")


def test_organs_and_revised_organs_are_told_apart(tmp_path: Path) -> None:
    labels = LabelFolder(tmp_path)
    touched(tmp_path / "segmentations", "spleen.nii.gz", "liver.nii.gz", "liver_revised.nii.gz", ".hidden.nii.gz", "notes.txt")
    touched(tmp_path / "entropy", "liver.nii.gz")
    assert labels.organs() == ["liver", "spleen"]
    assert labels.organs("entropy") == ["liver"]
    assert labels.organs("attention") == []
    assert labels.revised_organs() == ["liver"]


def test_models_are_the_visible_folders(tmp_path: Path) -> None:
    for name in ("swin", "nnunet", ".cache"):
        (tmp_path / "backbones" / name).mkdir(parents=True)
    touched(tmp_path / "backbones", "readme.txt")
    assert CaseFolder(tmp_path).models() == ["nnunet", "swin"]
    assert CaseFolder(tmp_path / "absent").models() == []


@pytest.mark.parametrize("kind", ["ct", "predictions"])
def test_a_folder_with_a_ct_or_predictions_is_a_case(tmp_path: Path, kind: str) -> None:
    folder = made(tmp_path / "Fall 7 Größe", kind)
    assert open_case(folder).folder == folder
    assert find_cases([folder]) == [CaseFolder(folder)]


def test_other_folders_are_no_case_and_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(DatasetError, match=path.name):
            open_case(path)
        with pytest.raises(DatasetError, match=path.name):
            find_cases([path])
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="file"):
        find_cases([tmp_path / "file"])


def test_a_relative_path_opens_with_its_full_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path / "set" / "case")
    monkeypatch.chdir(tmp_path / "set" / "case")
    case = open_case(Path())
    assert (case.name, case.dataset) == ("case", "set")


def test_a_dataset_gives_its_cases_in_order_and_nothing_else(tmp_path: Path) -> None:
    names = ["b", "a", "c 1"]
    for name in names:
        made(tmp_path / "set" / name, "ct" if name != "b" else "predictions")
    made(tmp_path / "set" / ".hidden")
    (tmp_path / "set" / "exports").mkdir()
    (tmp_path / "set" / "priority.csv").write_text("")
    assert [case.name for case in find_cases([tmp_path / "set"])] == sorted(names)


def test_a_case_that_is_named_twice_is_found_once(tmp_path: Path) -> None:
    first, second = made(tmp_path / "set" / "a"), made(tmp_path / "set" / "b")
    found = find_cases([second, tmp_path / "set", tmp_path / "set" / "." / "a"])
    assert [case.folder for case in found] == [second, first]


def test_cases_of_several_datasets_keep_their_datasets(tmp_path: Path) -> None:
    made(tmp_path / "one" / "case")
    made(tmp_path / "two" / "case")
    assert [c.dataset for c in find_cases([tmp_path / "one", tmp_path / "two"])] == ["one", "two"]


def test_one_path_without_a_case_refuses_the_whole_call(tmp_path: Path) -> None:
    made(tmp_path / "one" / "case")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="empty"):
        find_cases([tmp_path / "one", tmp_path / "empty"])


def test_a_new_case_is_named_and_not_made(tmp_path: Path) -> None:
    case = new_case(tmp_path, "Fall 7")
    assert case.folder == tmp_path.resolve() / "Fall 7"
    assert not case.folder.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_case_whose_name_cannot_be_used_is_left_out_of_its_dataset_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("good", "what?", "line\nbreak"):
        made(tmp_path / "set" / name)
    assert [case.name for case in find_cases([tmp_path / "set"])] == ["good"]
    assert caplog.text.count("left out") == 2


@WITH_LINKS
def test_a_linked_case_outside_the_dataset_is_refused(tmp_path: Path) -> None:
    outside = made(tmp_path / "elsewhere" / "case")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "case").symlink_to(outside)
    with pytest.raises(DatasetError, match="outside its dataset"):
        new_case(tmp_path / "set", "case")
    with pytest.raises(DatasetError, match="outside its dataset"):
        find_cases([tmp_path / "set"])


@WITH_LINKS
def test_a_dataset_behind_a_link_works(tmp_path: Path) -> None:
    made(tmp_path / "disk" / "set" / "case")
    (tmp_path / "set").symlink_to(tmp_path / "disk" / "set")
    assert [case.name for case in find_cases([tmp_path / "set"])] == ["case"]


@WITH_LINKS
def test_a_dead_link_and_a_loop_in_a_dataset_are_passed_over(tmp_path: Path) -> None:
    made(tmp_path / "case")
    (tmp_path / "dead").symlink_to(tmp_path / "absent")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert [case.name for case in find_cases([tmp_path])] == ["case"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root, to give up its rights in a child process")
def test_a_folder_without_read_permission_in_a_dataset_is_passed_over() -> None:
    code = (
        "import os, sys; from pathlib import Path; from AtlasSegmentLib.case_folder import find_cases; os.setuid(65534); "
        "print([case.name for case in find_cases([Path(sys.argv[1])])])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with tempfile.TemporaryDirectory() as folder:  # the folders that pytest makes are closed to others
        Path(folder).chmod(0o755)
        made(Path(folder) / "case")
        (Path(folder) / "lost+found").mkdir(mode=0o700)
        done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("['case']\n", "")
