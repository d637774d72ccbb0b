"""Dataset lists may hold any name a person gives a file, and none that leads out of the data root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from AtlasSegmentLib.datalist import read_datalist
from AtlasSegmentLib.errors import AtlasError, DatasetError, InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data/04_LiTS").mkdir(parents=True)
    return tmp_path / "data"


def write(root: Path, *lines: str, end: str = "\n") -> Path:
    path = root.parent / "list.txt"
    path.write_bytes(end.join((*lines, "")).encode())
    return path


def test_a_line_names_dataset_case_and_image(root: Path) -> None:
    (case,) = read_datalist(write(root, "04_LiTS/scan_1.nii.gz"), root)
    assert (case.dataset, case.name, case.image, case.label) == ("04_LiTS", "scan_1", root / "04_LiTS/scan_1.nii.gz", None)


def test_a_label_stands_after_a_tab(root: Path) -> None:
    (case,) = read_datalist(write(root, "04_LiTS/img/a.nii.gz\t04_LiTS/label/a.nii.gz"), root)
    assert case.label == root / "04_LiTS/label/a.nii.gz"
    assert (case.dataset, case.name) == ("04_LiTS", "a")


@pytest.mark.parametrize("name", ["patient 7 (late)", "Müller", "患者一", "a.b.c", "x'y", "100%"])
def test_spaces_and_any_script_are_kept(root: Path, name: str) -> None:
    (case,) = read_datalist(write(root, f"my data/{name}.nii.gz\tmy data/{name} labels.nii.gz"), root)
    assert (case.dataset, case.name) == ("my data", name)
    assert case.label == root / f"my data/{name} labels.nii.gz"


def test_windows_line_ends_a_byte_order_mark_and_empty_lines_do_no_harm(root: Path) -> None:
    path = write(root, "\ufeffa/1.nii.gz", "", "  ", "a/2.nii.gz", end="\r\n")
    assert [(case.dataset, case.name) for case in read_datalist(path, root)] == [("a", "1"), ("a", "2")]


def test_the_order_of_the_list_is_kept(root: Path) -> None:
    names = ["z", "a", "m"]
    assert [c.name for c in read_datalist(write(root, *(f"d/{n}.nii.gz" for n in names)), root)] == names


def test_a_case_folder_gives_its_own_name(root: Path) -> None:
    (case,) = read_datalist(write(root, "set/case 5/ct.nii.gz"), root)
    assert (case.dataset, case.name) == ("set", "case 5")


@pytest.mark.parametrize(
    "line",
    [
        "../secret/a.nii.gz",
        "d/../../a.nii.gz",
        "d/..\\..\\a.nii.gz",
        "/etc/a.nii.gz",
        "C:/data/a.nii.gz",
        "C:a/b.nii.gz",
        "\\\\server\\share\\a.nii.gz",
        "d/a.nii.gz\t../labels.nii.gz",
        "d/a.nii.gz\t/etc/passwd",
        "d/a\0b.nii.gz",
        "a.nii.gz",
        "d/.hidden.nii.gz",
        ".d/a.nii.gz",
        "d/..nii.gz",
        "d/\x1b[2J.nii.gz",
        f"d/{'n' * 250}.nii.gz",
    ],
)
def test_a_line_that_leads_outside_or_makes_no_name_is_refused_with_its_number(root: Path, line: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read_datalist(write(root, "d/good.nii.gz", line), root)
    assert "\n" not in str(caught.value)


def test_the_message_says_the_line(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"list\.txt, line 2: '\.\./a\.nii\.gz' leads outside the data root"):
        read_datalist(write(root, "d/good.nii.gz", "../a.nii.gz"), root)


def test_a_link_that_leads_out_is_refused_and_one_inside_is_not(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (root / "away").symlink_to(outside)
    (root / "near").symlink_to(root / "04_LiTS")
    with pytest.raises(DatasetError, match="leads outside"):
        read_datalist(write(root, "away/a.nii.gz"), root)
    assert read_datalist(write(root, "near/a.nii.gz"), root)[0].dataset == "near"


@pytest.mark.parametrize("lines", [("d/a.nii.gz", "d/a.nii.gz"), ("d/a.nii.gz", "d/sub/a.nii.gz"), ("d/a.nii.gz", "d/a.nrrd")])
def test_two_lines_that_would_become_one_case_are_refused(root: Path, lines: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="case d/a is listed twice"):
        read_datalist(write(root, *lines), root)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\x00"])
def test_an_empty_list_or_one_that_is_no_text_is_refused(root: Path, content: bytes) -> None:
    path = root.parent / "list.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"list\.txt"):
        read_datalist(path, root)


def test_a_missing_list_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.txt"):
        read_datalist(root / "nowhere.txt", root)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("./\\ab \t:~\0é\n"), max_size=14))
def test_no_list_whatsoever_leads_out(root: Path, text: str) -> None:
    try:
        cases = read_datalist(write(root, text), root)
    except AtlasError:
        return
    for case in cases:
        for path in filter(None, (case.image, case.label)):
            assert os.path.realpath(path).startswith(f"{os.path.realpath(root)}{os.sep}")
        for name in (case.dataset, case.name):
            assert Path(name).name == name
            assert name not in {"", ".", ".."}
