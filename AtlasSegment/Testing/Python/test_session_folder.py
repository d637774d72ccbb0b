"""Temporary results go when their session is over, and nobody else's folder goes with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from AtlasSegmentLib.session_folder import is_stale, make_session_folder

PROGRAM = "import sys; from pathlib import Path; from AtlasSegmentLib.session_folder import make_session_folder\n"


def run(program: str, parent: Path, repository: Path) -> str:
    """Run a program in another process and return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(repository / "AtlasSegment")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program, str(parent)], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_session_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    first, second = make_session_folder(tmp_path / "new"), make_session_folder(tmp_path / "new")
    assert first != second
    assert first.is_dir()
    assert not is_stale(first)


def test_the_folder_goes_when_the_process_ends(tmp_path: Path, repository: Path) -> None:
    folder = run("f = make_session_folder(Path(sys.argv[1])); (f / 'ct.nii').write_text('x'); print(f)", tmp_path, repository)
    assert folder
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_session_left_goes_with_the_next_one_and_nothing_else(tmp_path: Path, repository: Path) -> None:
    program = "import os; f = make_session_folder(Path(sys.argv[1])); (f / 'ct.nii').write_text('x'); print(f, flush=True); os._exit(1)"
    environment = {**os.environ, "PYTHONPATH": str(repository / "AtlasSegment")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    left = Path(done.stdout.strip())
    assert (left / "ct.nii").is_file()
    others = [tmp_path / "AtlasAnnotator-notes", tmp_path / "Slicer-1-x", tmp_path / "AtlasAnnotator-12"]
    for other in others:
        other.mkdir()
    (tmp_path / "AtlasAnnotator-999999999-link").symlink_to(others[0], target_is_directory=True)
    kept = make_session_folder(tmp_path)
    assert not left.exists()
    assert kept.is_dir()
    assert all(other.is_dir() for other in others)
