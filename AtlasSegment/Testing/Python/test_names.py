"""Names from lists, models and users stay one visible component inside their folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasSegmentLib.errors import DatasetError
from AtlasSegmentLib.names import require_inside, safe_name

GOOD = [
    "BDMAP_00000001",
    "liver",
    "case 7",
    "Fall Müller",
    "症例１",
    "a.b",
    "v1.0",
    "-x",
    "_x",
    "a" * 200,
    "é" * 100,
    "x..y",
    "a'b",
    "a&b;c$d",
]
BAD = {
    "empty": "",
    "blank": "   ",
    "parent": "..",
    "here": ".",
    "hidden": ".git",
    "absolute": "/etc",
    "two components": "a/b",
    "back slash": "a\\b",
    "climbing": "a/../../b",
    "drive": "C:x",
    "NUL": "a\0b",
    "line end": "a\nb",
    "tab": "a\tb",
    "escape": "a\x1b[31mb",
    "delete": "a\x7f",
    "text direction": "a\u202egpj.b",
    "lone surrogate": os.fsdecode(b"a\xff"),
    "blank end": "a ",
    "blank start": " a",
    "star": "a*",
    "question mark": "a?",
    "300 bytes": "a" * 300,
    "201 bytes": "é" * 100 + "a",
}


@pytest.mark.parametrize("name", GOOD)
def test_ordinary_names_are_kept_as_they_are(tmp_path: Path, name: str) -> None:
    assert safe_name(name, "case name") == name
    (tmp_path / f"{name}_revised.nii.gz").write_text("")
    assert [p.name for p in tmp_path.iterdir()] == [f"{name}_revised.nii.gz"]


@pytest.mark.parametrize("kind", BAD)
def test_a_name_that_could_leave_its_folder_or_hide_is_refused(kind: str) -> None:
    with pytest.raises(DatasetError, match="organ name") as caught:
        safe_name(BAD[kind], "organ name")
    assert repr(BAD[kind]) in str(caught.value)
    assert caught.value.remedy
    assert caught.value.message.isprintable()


@given(st.text(st.characters(codec=None), max_size=300) | st.text("./\\ a\0", max_size=8))
def test_every_name_that_is_accepted_is_one_component_below_its_folder(name: str) -> None:
    try:
        safe_name(name, "name")
    except DatasetError:
        return
    folder = Path("/data/set")
    assert os.path.normpath(folder / name) == str(folder / name)
    assert (folder / name).parent == folder
    assert (folder / name).name == name
    assert len(os.fsencode(name)) <= 200


def test_a_path_inside_the_folder_is_accepted_whether_it_exists_or_not(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "a", tmp_path / "b" / "c", tmp_path):
        assert require_inside(path, tmp_path) == path


def test_a_path_outside_the_folder_is_refused_with_both_names(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="elsewhere") as caught:
        require_inside(tmp_path / "set" / ".." / "elsewhere", tmp_path / "set")
    assert str(tmp_path / "set") in str(caught.value)


def test_a_folder_whose_name_merely_begins_the_same_is_outside(tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        require_inside(tmp_path / "set2" / "case", tmp_path / "set")


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "set" / "inner").symlink_to(tmp_path / "set" / "case")
    with pytest.raises(DatasetError, match="outside"):
        require_inside(tmp_path / "set" / "link" / "new", tmp_path / "set")
    assert require_inside(tmp_path / "set" / "inner", tmp_path / "set")


def test_a_folder_that_is_itself_a_link_holds_its_cases(tmp_path: Path) -> None:
    (tmp_path / "real" / "case").mkdir(parents=True)
    (tmp_path / "set").symlink_to(tmp_path / "real")
    assert require_inside(tmp_path / "set" / "case", tmp_path / "set")


def test_links_in_a_loop_do_not_escape_as_another_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    message = "cannot be followed"  # Python 3.13 and later leave the loop as it is
    try:
        require_inside(tmp_path / "a", tmp_path)
    except DatasetError as error:
        message = str(error)
    assert "cannot be followed" in message
