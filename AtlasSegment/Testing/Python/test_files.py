"""Files are whole or absent: killed writers, full disks and failing blocks leave the old content and no remains."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasSegmentLib import files
from AtlasSegmentLib.errors import InputError, StorageError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals, limits and permission bits")


def child(code: str, *arguments: Any) -> subprocess.Popen[str]:
    """Start Python code in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def names(folder: Path) -> list[str]:
    """Return everything that is in a folder, hidden files too."""
    return sorted(p.name for p in folder.iterdir())


def largest(folder: Path) -> int:
    """Return the size of the largest temporary file in a folder."""
    sizes = [0]
    for path in folder.glob(".atlas-*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # renamed in this moment
            sizes.append(path.stat().st_size)
    return max(sizes)


def noise(shape: tuple[int, int, int]) -> Any:
    """Return voxels that do not compress."""
    return np.random.default_rng(1).integers(-32768, 32767, shape, dtype=np.int16)


def killed_writer(path: Path) -> int:
    """Kill a process in the middle of writing `path` and return its process id."""
    writer = child(
        """
        import sys, time
        from pathlib import Path
        from AtlasSegmentLib.files import atomic_path
        with atomic_path(Path(sys.argv[1]), ".nii.gz") as temporary, temporary.open("wb") as file:
            file.write(b"half of the new content"); file.flush()
            print("half", flush=True)
            time.sleep(60)
        """,
        path,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "half\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    return writer.pid


@POSIX
def test_a_killed_writer_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(b"old")
    killed_writer(path)
    assert path.read_bytes() == b"old"
    assert files.remove_stale_temporaries(tmp_path) == 1
    assert names(tmp_path) == ["mask.nii.gz"]


@POSIX
def test_a_killed_writer_of_a_new_file_leaves_nothing_under_its_name(tmp_path: Path) -> None:
    killed_writer(tmp_path / "mask.nii.gz")
    assert not (tmp_path / "mask.nii.gz").exists()
    assert [name for name in names(tmp_path) if not name.startswith(".")] == []


@POSIX
def test_a_writer_killed_while_it_compresses_a_volume_leaves_the_old_volume(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii.gz"
    old = Volume(np.ones((4, 4, 4), np.int16), np.eye(4))
    write_nifti(path, old)
    writer = child(
        """
        import sys
        from pathlib import Path
        import numpy as np
        from AtlasSegmentLib.nifti import write_nifti
        from AtlasSegmentLib.volume import Volume
        volume = Volume(np.random.default_rng(0).integers(0, 30000, (256, 256, 300), dtype=np.int16), np.eye(4))
        print("ready", flush=True)
        while True:
            write_nifti(Path(sys.argv[1]).with_name("other.nii.gz"), volume)
        """,
        path,
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    deadline = time.monotonic() + 20
    while largest(tmp_path) < 100_000:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    writer.kill()
    writer.communicate()
    np.testing.assert_array_equal(read_nifti(path).array, old.array)
    files.remove_stale_temporaries(tmp_path)
    if (tmp_path / "other.nii.gz").exists():  # the kill came in a later round: then the file is whole
        assert read_nifti(tmp_path / "other.nii.gz").shape == (256, 256, 300)
    assert set(names(tmp_path)) <= {"ct.nii.gz", "other.nii.gz"}


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), StorageError("full")])
def test_an_exception_in_the_block_leaves_the_old_content_and_no_remains(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_halfway() -> None:
        with files.atomic_path(path) as temporary:
            temporary.write_text("new")
            raise error

    with pytest.raises(type(error)):
        fail_halfway()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_os_error_in_the_block_names_the_final_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"a\.txt") as caught, files.atomic_path(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")
    assert "No space left" in str(caught.value)
    assert caught.value.remedy
    assert names(tmp_path) == []


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError), files.atomic_path(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_a_reader_in_the_meantime_sees_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with files.atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(".tmp")
    assert path.read_text() == "new"


def test_missing_folders_are_made(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a" / "b" / "c.txt", "x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_a_folder_in_the_place_of_the_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="taken"):
        files.write_text(tmp_path / "taken", "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="below"):
        files.write_text(tmp_path / "file" / "below", "x")
    assert names(tmp_path) == ["file", "taken"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        sys.platform == "linux"
        and not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False).returncode
    )
    if not mounted:
        pytest.skip("a small file system cannot be mounted here (needs root on Linux)")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nii"])
@pytest.mark.parametrize("depth", [6, 400])
def test_a_full_disk_keeps_the_old_volume_and_leaves_no_remains(tiny_disk: Path, name: str, depth: int) -> None:
    path = tiny_disk / name
    old = Volume(np.ones((4, 4, 4), np.int16), np.eye(4))
    write_nifti(path, old)
    with pytest.raises(StorageError, match=rf"{name}.*No space left"):
        write_nifti(path, Volume(noise((400, 300, depth)), np.eye(4)))
    np.testing.assert_array_equal(read_nifti(path).array, old.array)
    assert names(tiny_disk) == [name]


def test_a_full_disk_keeps_the_old_bytes_and_leaves_no_remains(tiny_disk: Path) -> None:
    path = tiny_disk / "run.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(StorageError, match=r"run\.json.*No space left"):
        files.write_bytes(path, bytes(2 << 20))
    source = tiny_disk.parent / "big"
    source.write_bytes(bytes(2 << 20))
    with pytest.raises(StorageError, match=r"run\.json.*No space left"):
        files.copy_file(source, path)
    assert files.read_json(path) == {"a": 1}
    assert names(tiny_disk) == ["run.json"]


@POSIX
@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.nii", "plain.bin"])
def test_a_file_size_limit_is_a_storage_error_and_leaves_no_remains(tmp_path: Path, name: str) -> None:
    writer = child(
        """
        import resource, signal, sys
        from pathlib import Path
        import numpy as np
        from AtlasSegmentLib.errors import StorageError
        from AtlasSegmentLib.files import write_bytes
        from AtlasSegmentLib.nifti import write_nifti
        from AtlasSegmentLib.volume import Volume
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        path = Path(sys.argv[1])
        voxels = np.random.default_rng(0).integers(0, 30000, (128, 128, 200), dtype=np.int16)
        try:
            write_nifti(path, Volume(voxels, np.eye(4))) if ".nii" in path.name else write_bytes(path, voxels.tobytes())
        except StorageError as error:
            print(error)
        """,
        tmp_path / name,
    )
    out, err = writer.communicate(timeout=60)
    assert (writer.returncode, err) == (0, "")
    assert name in out
    assert "too large" in out
    assert names(tmp_path) == []


def temporary_of(folder: Path, pid: int, host: str | None = None, age: float = 0) -> Path:
    """Make a temporary file as the process `pid` would have left it."""
    path = folder / f".atlas-{host or files._host()}-{pid}-0123abcd.nii.gz.tmp"
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


@POSIX
def test_temporaries_of_living_writers_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (tmp_path / "deeper").mkdir()
    gone = temporary_of(tmp_path / "deeper", dead.pid)
    kept = [temporary_of(tmp_path, alive.pid), temporary_of(tmp_path, os.getpid()), temporary_of(tmp_path, dead.pid, "00000000")]
    try:
        assert files.remove_stale_temporaries(tmp_path) == 1
    finally:
        alive.communicate()
    assert not gone.exists()
    assert all(path.exists() for path in kept)


def test_a_temporary_of_another_machine_goes_after_a_day(tmp_path: Path) -> None:
    young, old = temporary_of(tmp_path, 1, "00000000", 3600), temporary_of(tmp_path, 2, "00000000", 90000)
    assert files.remove_stale_temporaries(tmp_path) == 1
    assert young.exists()
    assert not old.exists()


def test_files_that_are_not_our_temporaries_stay(tmp_path: Path) -> None:
    for name in (".atlas-notes.tmp", "x.tmp", ".atlas-settings.json", "ct.nii.gz"):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (0, 0))
    assert files.remove_stale_temporaries(tmp_path) == 0
    assert len(names(tmp_path)) == 4


def test_a_temporary_that_is_being_written_is_recognized_as_one(tmp_path: Path) -> None:
    with files.atomic_path(tmp_path / "a.mha", ".nii.gz") as temporary:
        assert files._TEMPORARY.match(temporary.name)
        temporary.touch()


@POSIX
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permission_bits_follow_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "a.txt", "x")
        write_nifti(tmp_path / "a.nii.gz", Volume(np.zeros((2, 2, 2), np.uint8), np.eye(4)))
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "a.nii.gz")] == [mode, mode]


@pytest.mark.parametrize("name", ["肝" * 66 + "ab", "é" * 100, "Leber links ü.nii", "a" * 255])
def test_long_and_unicode_names_work(tmp_path: Path, name: str) -> None:
    files.write_text(tmp_path / name, "x")
    assert names(tmp_path) == [name]


def test_a_name_too_long_for_the_file_system_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="too long"):
        files.write_text(tmp_path / ("a" * 256), "x")
    assert names(tmp_path) == []


@POSIX
def test_writing_over_a_symbolic_link_replaces_the_link_and_not_its_target(tmp_path: Path) -> None:
    target, link = tmp_path / "original.txt", tmp_path / "link.txt"
    target.write_text("original")
    link.symlink_to(target)
    files.write_text(link, "new")
    assert target.read_text() == "original"
    assert link.read_text() == "new"
    assert not link.is_symlink()


@POSIX
def test_writing_over_a_hard_link_does_not_alter_the_other_name(tmp_path: Path) -> None:
    (tmp_path / "original").write_text("original")
    os.link(tmp_path / "original", tmp_path / "copy")
    files.write_text(tmp_path / "copy", "new")
    assert (tmp_path / "original").read_text() == "original"


def test_json_keeps_order_and_unicode_and_is_read_back(tmp_path: Path) -> None:
    value = {"b": "Größe", "a": [1, 2.5, None, True]}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value
    raw = (tmp_path / "a.json").read_bytes()
    assert raw.index(b'"b"') < raw.index(b'"a"')
    assert "Größe".encode() in raw
    assert b"\r" not in raw


def test_json_keeps_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"M\xfcller.nii.gz")
    files.write_json(tmp_path / "a.json", {"file": name})
    assert files.read_json(tmp_path / "a.json") == {"file": name}


def test_json_without_meaning_is_refused_before_the_file_is_touched(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"dice": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == 1


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe\x00", b"nonsense"])
def test_damaged_json_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(InputError, match=r"run\.json.*not valid JSON"):
        files.read_json(tmp_path / "run.json")


def test_missing_files_name_themselves(tmp_path: Path) -> None:
    for read in (files.read_json, files.sha256_of, lambda p: files.copy_file(p, tmp_path / "target")):
        with pytest.raises(InputError, match="absent"):
            read(tmp_path / "absent")
    assert names(tmp_path) == []


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_copy_has_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(3_000_000))
    files.copy_file(tmp_path / "a", tmp_path / "deep" / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "deep" / "b").read_bytes()


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a": ' * 100_000, b"\xff\xfe{}", b"{", b""], ids=range(5))
def test_json_that_is_nested_too_deeply_or_no_text_is_an_input_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json"):
        files.read_json(tmp_path / "a.json")


def test_a_name_that_is_too_long_for_the_disk_is_a_storage_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        files.write_bytes(tmp_path / ("n" * 300), b"")
    assert "shorter name" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


@POSIX
def test_a_shared_folder_that_cannot_be_flushed_is_written_to_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flush = os.fsync

    def fail_for_folders(descriptor: int, number: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", lambda descriptor: fail_for_folders(descriptor, errno.EINVAL))
    files.write_bytes(tmp_path / "new" / "mask", b"x")
    assert (tmp_path / "new" / "mask").read_bytes() == b"x"
    monkeypatch.setattr(os, "fsync", lambda descriptor: fail_for_folders(descriptor, errno.EIO))
    with pytest.raises(StorageError, match="cannot be written"):
        files.write_bytes(tmp_path / "mask", b"x")
