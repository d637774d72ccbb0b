"""A Dask worker that is killed while it assembles costs no case: all are there, whole, and the same as when nothing is killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assembly_steps import KILLER, assemble_and_die_once, name_of
from AtlasReviewLib.assembly_dataset import assembled_cases, finish_dataset
from AtlasReviewLib.assembly_options import AssemblyOptions
from AtlasReviewLib.assembly_verify import VerifyRequest, verify_plainly
from AtlasReviewLib.commands_release import AssemblyRequest, assemble_briefly
from AtlasSegmentLib.cases import run_cases
from Faults import disk_checks
from review_data import make_review_case

pytest.importorskip("distributed")
NAMES = ("a", "b", KILLER, "x", "y", "z")


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_killed_worker_costs_no_case_of_an_assembly(tmp_path: Path) -> None:
    cases = [make_review_case(tmp_path / "hospital" / name) for name in NAMES]
    quiet, out = tmp_path / "quiet" / "assembled", tmp_path / "disturbed" / "assembled"

    def requests(folder: Path) -> list[AssemblyRequest]:
        return [AssemblyRequest(case, folder, "1.0", None, False, AssemblyOptions(verdicts={})) for case in cases]

    outcomes = run_cases(requests(out), assemble_and_die_once, name_of, jobs=2)
    assert (out.parent / "killed").exists()
    assert {outcome.name: outcome.error for outcome in outcomes} == dict.fromkeys(NAMES, "")
    finish_dataset(out, cases)
    assert disk_checks.unreadable(out) == []
    assert not list(out.rglob(".atlas-*.tmp"))
    for folder in assembled_cases(out):
        assert verify_plainly(VerifyRequest(folder, out), lambda *_: None)["differences"] == []
    run_cases(requests(quiet), assemble_briefly, name_of)
    finish_dataset(quiet, cases)
    masks = [name for name in disk_checks.visible(out) if name.endswith(".nii.gz")]
    assert len(masks) > len(NAMES)
    assert {name: (out / name).read_bytes() for name in masks} == {name: (quiet / name).read_bytes() for name in masks}
    assert {outcome.state for outcome in run_cases(requests(out), assemble_briefly, name_of)} == {"skipped"}
