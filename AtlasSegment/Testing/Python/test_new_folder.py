"""Folders that are whole or absent."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.new_folder import new_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from AtlasSegmentLib.new_folder import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "part").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_new_folder_is_there_only_when_it_is_whole(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), new_folder(tmp_path / "a" / "out") as folder:
        (folder / "part").write_text("half")
        raise KeyboardInterrupt
    assert list((tmp_path / "a").iterdir()) == []
    with new_folder(tmp_path / "a" / "out") as folder:
        (folder / "part").write_text("whole")
    assert (tmp_path / "a" / "out" / "part").read_text() == "whole"
    (tmp_path / "other").mkdir()
    assert (tmp_path / "a" / "out").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_folder_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="is there already"), new_folder(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_what_a_killed_program_left_is_removed_by_the_next_one_and_what_others_write_is_not(tmp_path: Path) -> None:
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "out")], env=paths, check=False)
    assert [(path / "part").read_text() for path in tmp_path.iterdir()] == ["half"]
    with new_folder(tmp_path / "running") as running:
        with new_folder(tmp_path / "out"):
            pass
        assert {path.name for path in tmp_path.iterdir()} == {"out", running.name}


def test_what_another_machine_left_is_removed_after_a_day(tmp_path: Path) -> None:
    for name, age in (("00000001", 2 * 86400), ("00000002", 60)):
        left = tmp_path / f".atlas-00000000-1-{name}.tmp"
        left.mkdir()
        os.utime(left, (time.time() - age,) * 2)
    with new_folder(tmp_path / "out"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".atlas-00000000-1-00000002.tmp", "out"]
