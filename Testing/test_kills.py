"""Commands killed at random moments: a few kills of Testing/Faults/kill_commands.py, and the proof that its checks see damage."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from Faults import disk_checks

_SCRIPT = Path(__file__).resolve().parent / "Faults/kill_commands.py"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX process groups")
def test_killed_commands_lose_nothing_and_finish_when_they_run_again() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    command = [sys.executable, str(_SCRIPT), "--kills", "15", "--quick"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    total = next(line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["all"])
    assert int(total[1]) >= 12  # killed before the end


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """Return a folder with one whole file of each kind."""
    revisions = tmp_path / "average/revisions/liver"
    revisions.mkdir(parents=True)
    for path in (tmp_path / "ct.nii.gz", revisions / "20261121T070502.123456Z_Ada.nii.gz"):
        nib.save(nib.Nifti1Image(np.arange(8000, dtype=np.int16).reshape(20, 20, 20), np.eye(4)), path)
    (tmp_path / "run.json").write_text('{"started": "a", "results": {"organs": 1}}\n')
    (tmp_path / "priority.csv").write_text("scan,liver\n")
    (tmp_path / "priority_scores.csv").write_text("1,1,d,scan,liver,1,2,3,4,5,6,7\n")
    (tmp_path / "report.html").write_text("<html>\n</html>\n")
    (revisions / "log.csv").write_text("a,b,c,d,e,f,g,h\n")
    return tmp_path


NAMES = ["ct.nii.gz", "run.json", "priority.csv", "priority_scores.csv", "report.html", "average/revisions/liver/log.csv"]


def test_whole_files_are_taken_for_whole(case: Path) -> None:
    assert disk_checks.unreadable(case) == []
    (case / ".atlas-1-2-3.tmp").write_bytes(b"half")
    assert disk_checks.unreadable(case) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part", [0.0, 0.6])
def test_half_a_file_is_seen(case: Path, name: str, part: float) -> None:
    path = case / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)] + (b"\n" if name.endswith("log.csv") and part else b""))
    assert [problem.partition(":")[0] for problem in disk_checks.unreadable(case)] == [name]


def test_a_wrong_checksum_is_seen(case: Path) -> None:
    data = bytearray((case / "ct.nii.gz").read_bytes())
    data[-6] ^= 1
    (case / "ct.nii.gz").write_bytes(data)
    assert len(disk_checks.unreadable(case)) == 1


def test_a_torn_last_line_of_a_log_is_what_the_next_append_expects(case: Path) -> None:
    with (case / NAMES[-1]).open("a") as log:
        log.write("x,y")
    assert disk_checks.unreadable(case) == []


def test_other_bytes_of_an_original_are_seen(case: Path) -> None:
    before, revisions = disk_checks.originals(case), disk_checks.revision_hashes(case)
    assert (len(before), len(revisions)) == (2, 1)
    for name in before:
        with (case / name).open("ab") as file:
            file.write(b"\0")
    assert disk_checks.changed(before, case) == list(before)
    assert disk_checks.lost_revisions(revisions, case) == list(revisions)


def test_content_is_compared_and_times_and_compression_are_not(case: Path) -> None:
    before = disk_checks.content(case)
    (case / "run.json").write_text('{"started": "b", "results": {"organs": 1}}')
    (case / "ct.nii.gz").write_bytes(gzip.compress(gzip.decompress((case / "ct.nii.gz").read_bytes()), 1))
    assert disk_checks.differences(before, disk_checks.content(case)) == []
    (case / "run.json").write_text('{"results": {"organs": 2}}')
    (case / "priority.csv").unlink()
    (case / "more.csv").write_text("x\n")
    found = disk_checks.differences(before, disk_checks.content(case))
    assert found == ["more.csv is too many", "priority.csv is missing", "run.json differs"]
