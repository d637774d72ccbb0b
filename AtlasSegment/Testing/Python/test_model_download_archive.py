"""Zip archives from strangers: unpacked whole inside their folder, or refused with nothing left."""

from __future__ import annotations

import io
import os
import shutil
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from AtlasSegmentLib.errors import AtlasError, InputError, ModelError, StorageError
from AtlasSegmentLib.model_archive import ArchiveLimits, unpack
from model_server import zipped


def write(tmp_path: Path, content: bytes) -> Path:
    """Write an archive and return it."""
    path = tmp_path / "model.zip"
    path.write_bytes(content)
    return path


def refused(tmp_path: Path, content: bytes, words: str, limits: ArchiveLimits = ArchiveLimits()) -> AtlasError:  # noqa: B008
    """Unpack what must be refused; nothing may be left and nothing may be beside the archive."""
    archive = write(tmp_path, content)
    with pytest.raises(ModelError, match=words) as caught:
        unpack(archive, tmp_path / "out" / "model", limits=limits)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["model.zip"]
    assert str(archive) in caught.value.message
    assert caught.value.remedy
    return caught.value


def test_an_archive_is_unpacked_with_its_folders_and_without_what_file_managers_add(tmp_path: Path) -> None:
    content = {"m/configs/a.json": b"{}", "m/models/model.pt": b"w" * 9, "__MACOSX/m/._a": b"x", "m/.DS_Store": b"x", "m/Thumbs.db": b"x"}
    told: list[float] = []
    unpack(write(tmp_path, zipped(content)), tmp_path / "out", lambda share, _: told.append(share))
    found = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"m/configs/a.json": b"{}", "m/models/model.pt": b"w" * 9}
    assert told[-1] == 1.0


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "m/../../evil",
        "/tmp/evil",
        "m//evil",
        "m/./evil",
        "..\\evil",
        "C:\\evil",
        "C:evil",
        "m/a:b",
        "m/nul",
        "m/evil.",
        "a\nb",
        "m/x ",
    ],
)
def test_a_name_that_leads_outside_or_cannot_be_a_file_everywhere_is_refused(tmp_path: Path, name: str) -> None:
    refused(tmp_path, zipped({"m/good": b"1", name: b"evil"}), "lead out|cannot be a file")


@pytest.mark.parametrize("name", [b"\0bcd", b"a\0cd", b"\x7fbcd"])
def test_a_name_with_bytes_that_no_name_has_is_refused(tmp_path: Path, name: bytes) -> None:
    refused(tmp_path, zipped({"abcd": b"1"}).replace(b"abcd", name), "cannot be a file")


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.text(alphabet="ab./\\:é~", min_size=1, max_size=8), min_size=1, max_size=4, unique=True))
def test_whatever_the_names_are_nothing_lands_outside_the_folder(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    tmp_path = tmp_path_factory.mktemp("names")
    archive = write(tmp_path, zipped(dict.fromkeys(names, b"1")))
    try:
        unpack(archive, tmp_path / "out" / "deep" / "model")
    except AtlasError:
        assert not (tmp_path / "out").exists() or not any(path.is_file() for path in (tmp_path / "out").rglob("*"))
    inside = tmp_path / "out" / "deep" / "model"
    assert all(path == archive or path.is_relative_to(inside) for path in tmp_path.rglob("*") if path.is_file())
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("m/link")
    info.external_attr = (kind | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path, buffer.getvalue(), "is a link or a special file")


@pytest.mark.parametrize(
    "names",
    [["m/Model.pt", "m/model.pt"], ["M/a", "m/b"], ["m/a", "m/a/b"], ["m/caf\u00e9", "m/cafe\u0301"]],
    ids=["file", "folder", "both", "form"],
)
def test_names_that_are_one_file_on_other_computers_are_refused(tmp_path: Path, names: list[str]) -> None:
    refused(tmp_path, zipped(dict.fromkeys(names, b"1")), "one name on some computers")


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m/a", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("m/a", "2")
    refused(tmp_path, buffer.getvalue(), "in it twice")


def test_bombs_are_refused_by_ratio_size_and_number_before_anything_is_written(tmp_path: Path) -> None:
    bomb = zipped({"m/zeros": bytes(4_000_000)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 10_000
    refused(tmp_path, bomb, "would become 4 MB", ArchiveLimits(ratio=100, free=1_000_000))
    refused(tmp_path, bomb, "would become 4 MB", ArchiveLimits(size=3_000_000))
    refused(tmp_path, zipped({f"m/{number}": b"" for number in range(12)}), "12 entries", ArchiveLimits(files=10))


def test_what_shrinks_well_because_it_is_text_is_no_bomb(tmp_path: Path) -> None:
    unpack(write(tmp_path, zipped({"m/labels.json": b" " * 4_000_000}, zipfile.ZIP_DEFLATED)), tmp_path / "out")
    assert (tmp_path / "out/m/labels.json").stat().st_size == 4_000_000


def test_an_entry_that_holds_more_than_it_says_is_found(tmp_path: Path) -> None:
    content = bytearray(zipped({"m/a": b"x" * 1000}, zipfile.ZIP_DEFLATED))
    central = content.index(b"PK\x01\x02")
    content[central + 24 : central + 28] = (10).to_bytes(4, "little")  # the unpacked size
    refused(tmp_path, bytes(content), "damaged")


@pytest.mark.parametrize(
    ("damage", "words"),
    [(lambda data: data[:-30], "no zip archive"), (lambda _: b"", "no zip archive"), (lambda _: b"<html>", "no zip archive")],
    ids=["cut", "empty", "page"],
)
def test_a_damaged_archive_is_told(tmp_path: Path, damage: object, words: str) -> None:
    refused(tmp_path, damage(zipped({"m/a": b"x" * 1000})), words)  # type: ignore[operator]


def test_a_damaged_file_in_an_archive_is_found_by_its_checksum_and_what_was_unpacked_before_goes(tmp_path: Path) -> None:
    content = zipped({"m/a": b"good", "m/b": b"x" * 1000})
    refused(tmp_path, content.replace(b"x" * 1000, b"x" * 999 + b"y"), "damaged")


def test_an_encrypted_archive_is_refused_with_what_to_do(tmp_path: Path) -> None:
    content = bytearray(zipped({"m/a": b"x"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    assert "another program" in refused(tmp_path, bytes(content), "encrypted").remedy


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = write(tmp_path, zipped({"m/a": b"x" * 5000}))
    monkeypatch.setattr("AtlasSegmentLib.model_archive.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(StorageError, match="5 KB are needed to unpack"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="everything is readable to this user")
def test_an_archive_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    archive = write(tmp_path, zipped({"m/a": b"x"}))
    archive.chmod(0)
    with pytest.raises(InputError, match="cannot be read"):
        unpack(archive, tmp_path / "out")
