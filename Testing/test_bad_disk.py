"""Folders that cannot be read, and disks that are full, through the program in a process of its own."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import tiny_inputs
from Faults import disk_checks
from run_program import listing
from tiny_inputs import TinyInputs

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions and limits")
_NOBODY = 65534
_START = """
import json, os, resource, sys, traceback
import onnxruntime, scipy.ndimage, scipy.special, cc3d, nibabel, SimpleITK, isal.igzip_threaded, pydicom
from AtlasReviewLib import program

def run(folder, user, size, arguments):
    os.chdir(folder)
    if size:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    if user:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    sys.argv = ["atlas", *arguments]
    program.main()

for line in sys.stdin:
    call = json.loads(line)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(call[name], os.O_WRONLY), number)
            run(*call["run"])
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder that other users can reach (those that pytest makes are closed to them)."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder).resolve()
        for path in Path(folder).rglob("*"):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | stat.S_IRWXU)


@pytest.fixture
def inputs(place: Path) -> TinyInputs:
    return tiny_inputs.make_inputs(place / "inputs", models=1)


@functools.cache
def _program() -> subprocess.Popen[str]:
    """Return a process that has loaded everything and runs each call of the program in a fork of its own; loading takes seconds."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    process = subprocess.Popen([sys.executable, "-c", _START], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.communicate)  # its stdin is closed, and it ends
    return process


def atlas(arguments: list[str], folder: Path, user: int = 0, size: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the program, as another user when this one is root and `user` is given, with a limit to the size of files."""
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
        run = [str(folder), user if os.geteuid() == 0 else 0, size, arguments]
        process = _program()
        process.stdin.write(json.dumps({"run": run, "out": out.name, "err": err.name}) + "\n")
        process.stdin.flush()
        code = int(process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, out.read(), err.read())


def check(done: subprocess.CompletedProcess[str], file: str, step: str) -> None:
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert file in done.stderr
    assert step in done.stderr


def scan(inputs: TinyInputs, out: Path | str) -> list[str]:
    return ["segment", str(inputs.ct), "--model", str(inputs.models[0]), "--roi", str(inputs.roi), "--out", str(out)]


@pytest.mark.parametrize("closed", ["scans", "model1", "regions", "data"])
def test_a_folder_without_permissions_is_named(place: Path, inputs: TinyInputs, closed: str) -> None:
    for name in ("scans", "regions"):
        (place / name).mkdir()
    ct, roi = place / "scans/ct.nii.gz", place / "regions/roi.mrk.json"
    shutil.copy(inputs.ct, ct)
    shutil.copy(inputs.roi, roi)
    (place / "data").mkdir()
    before = listing(place)
    folder = inputs.models[0] if closed == "model1" else place / closed
    folder.chmod(0)
    arguments = ["segment", str(ct), "--model", str(inputs.models[0]), "--roi", str(roi), "--out", str(place / "data")]
    check(atlas(arguments, place, _NOBODY), str(folder), "permissions")
    folder.chmod(0o755)
    assert listing(place) == before


@pytest.mark.parametrize("command", ["average", "attention", "priority", "assemble"])
def test_a_dataset_folder_without_permissions_is_named(place: Path, command: str) -> None:
    dataset = place / "hospital"
    dataset.mkdir()
    dataset.chmod(0)
    arguments = [command, str(dataset), *(["--out", str(place / "release")] if command == "assemble" else [])]
    check(atlas(arguments, place, _NOBODY), "hospital", "permissions")


def test_files_that_cannot_get_their_size_leave_no_remains_and_the_next_run_goes_on(place: Path, inputs: TinyInputs) -> None:
    size = inputs.ct.stat().st_size + 100
    inputs.ct.write_bytes(inputs.ct.read_bytes())
    done = atlas(scan(inputs, "data"), place, size=size // 2)
    check(done, "ct.nii.gz", "then run the command again")
    assert [path for path in (place / "data").rglob("*") if path.is_file()] == []
    assert atlas(scan(inputs, "data"), place).returncode == 0


@pytest.fixture
def small_disk(place: Path) -> Iterator[Path]:
    """Mount a file system of 128 KB, or skip."""
    disk = place / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here (needs root on Linux)")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("free", [10_000, 45_000, 90_000])
def test_a_full_disk_leaves_whole_files_only_and_the_next_run_goes_on(small_disk: Path, inputs: TinyInputs, free: int) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(bytes(131_072 - free))
    done = atlas(scan(inputs, small_disk / "set"), inputs.folder)
    check(done, str(small_disk / "set"), "Free space")
    assert "No space left" in done.stderr
    assert disk_checks.unreadable(small_disk / "set") == []
    assert list(small_disk.rglob(".atlas-*.tmp")) == []
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert atlas(scan(inputs, small_disk / "set"), inputs.folder).returncode == 0
