"""SHA256SUMS: read by sha256sum itself, whatever the files are called, and every change is found."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasReviewLib.release_sums import check_sums, read_sums, sum_line, write_sums
from AtlasSegmentLib.errors import InputError

NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: name not in {".", "..", "SHA256SUMS"} and not name.startswith((".atlas-", ".assembling"))
)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum of GNU coreutils")
@settings(max_examples=8)
@given(names=st.lists(NAMES, min_size=1, max_size=6, unique=True))
def test_sha256sum_itself_confirms_the_file_whatever_the_names(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("sums")
    for number, name in enumerate(names):
        (root / str(number)).mkdir()
        (root / str(number) / name).write_text(name, encoding="utf-8")
    write_sums(root)
    subprocess.run(["sha256sum", "--strict", "--status", "-c", "SHA256SUMS"], cwd=root, check=True)
    assert set(read_sums(root / "SHA256SUMS")) == {f"{number}/{name}" for number, name in enumerate(names)}
    assert check_sums(root).is_whole


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum of GNU coreutils")
def test_line_breaks_backslashes_and_bytes_that_are_no_text_are_written_as_sha256sum_writes_them(tmp_path):
    names = [b"a\nb", b"c\\d", b"e\rf", b" g ", b"\xff\xfe", b"-h", b"*i", "ü".encode()]
    for name in names:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:  # noqa: PTH118, PTH123 - bytes
            file.write(name)
    wanted = subprocess.run([b"sha256sum", b"--", *sorted(names)], cwd=tmp_path, capture_output=True, check=True).stdout
    assert write_sums(tmp_path).read_bytes() == wanted
    assert check_sums(tmp_path).checked == len(names)


def test_every_change_is_found(tmp_path):
    for name in ("same", "changed", "lost"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    (tmp_path / ".atlas-release").mkdir()
    (tmp_path / ".atlas-release" / "release.json").write_text("{}", encoding="utf-8")
    write_sums(tmp_path)
    (tmp_path / "changed").write_text("Changed", encoding="utf-8")
    (tmp_path / "lost").unlink()
    (tmp_path / "new").touch()
    report = check_sums(tmp_path)
    assert (report.checked, report.changed, report.missing, report.unlisted) == (1, ["changed"], ["lost"], ["new"])
    assert not report.is_whole


def test_the_same_files_leave_the_file_untouched(tmp_path):
    (tmp_path / "a").touch()
    first = write_sums(tmp_path).stat()
    assert write_sums(tmp_path).stat().st_mtime_ns == first.st_mtime_ns


@settings(max_examples=40)
@given(st.text(min_size=1))
def test_a_line_is_one_line(name):
    encodable = name.encode("utf-8", "ignore").decode("utf-8")
    assert sum_line("0" * 64, encodable).count(b"\n") == 1


@pytest.mark.parametrize("content", [b"no sums\n", b"abc  file\n", b"0" * 64 + b"file\n"])
def test_a_file_that_is_none_is_refused_with_its_line(tmp_path, content):
    (tmp_path / "SHA256SUMS").write_bytes(content)
    with pytest.raises(InputError, match="line 1"):
        check_sums(tmp_path)


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(InputError) as caught:
        check_sums(tmp_path)
    assert "atlas card" in caught.value.remedy
