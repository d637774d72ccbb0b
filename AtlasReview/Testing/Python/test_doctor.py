"""The doctor finds and explains every fault that is planted, changes nothing unless asked, and mends only what loses nothing."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from atlas_phantoms import files_below
from AtlasReviewLib.commands_doctor import doctor_command
from AtlasReviewLib.review_case import load_review_case
from AtlasReviewLib.revision_unlisted import KIND as UNLISTED
from AtlasReviewLib.revisions import current_revision, history, save_revision
from AtlasReviewLib.task_session import TaskSession
from AtlasReviewLib.worklist import Worklist
from AtlasReviewLib.worklist_merge import open_worklist
from AtlasSegmentLib.case_folder import CaseFolder, open_case
from AtlasSegmentLib.nifti import read_nifti
from review_data import make_dataset

APP = typer.Typer(pretty_exceptions_enable=False)
APP.callback()(lambda: None)
APP.command("doctor")(doctor_command)
Json = dict[str, Any]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a dataset whose liver Ada revised twice and accepted."""
    folder = make_dataset(tmp_path / "hospital")
    open_worklist(folder)[0].close()
    worklist, case = Worklist(folder), open_case(folder / "first")
    task = worklist.take("first", "liver", "Ada")
    for step in (1, 2):
        mask = read_nifti(case.average.mask("liver"))
        saved = save_revision(case, "liver", mask.with_array(np.roll(mask.array, step, axis=0)), "Ada")
        worklist.set_state(task, "revised", "Ada", revision=saved.id, sha256=saved.sha256)
    worklist.add_seconds(task, "Ada", 30)
    worklist.set_state(task, "accepted", "Ada")
    worklist.close()
    return folder


def doctor(dataset: Path, *options: str) -> tuple[int, list[Json], int]:
    """Return exit code, findings, and how many were mended."""
    done = CliRunner().invoke(APP, ["doctor", str(dataset), *options, "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    return done.exit_code, found["findings"], found["mended"]


def kinds(dataset: Path, *options: str) -> set[str]:
    return {finding["kind"] for finding in doctor(dataset, *options)[1]}


def liver(dataset: Path) -> CaseFolder:
    return open_case(dataset / "first")


def revisions_of(dataset: Path) -> list[Path]:
    return sorted(liver(dataset).average.revisions("liver").glob("*.nii.gz"))


def test_a_sound_dataset_has_no_findings_and_is_not_touched(dataset: Path) -> None:
    before = {name: state for name, state in files_below(dataset).items() if "sqlite" not in name}
    assert doctor(dataset) == (0, [], 0)
    assert {name: state for name, state in files_below(dataset).items() if "sqlite" not in name} == before


def drop_log_line(dataset: Path) -> None:
    log = liver(dataset).average.revisions("liver") / "log.csv"
    log.write_bytes(b"\n".join(log.read_bytes().split(b"\n")[:-2]) + b"\n")


def put_older_mask_in_place(dataset: Path) -> None:
    liver(dataset).average.revised_mask("liver").write_bytes(revisions_of(dataset)[0].read_bytes())


def remove_current_mask(dataset: Path) -> None:
    liver(dataset).average.revised_mask("liver").unlink()


def put_foreign_mask_in_place(dataset: Path) -> None:
    case = liver(dataset)
    case.average.revised_mask("liver").write_bytes(case.average.mask("spleen").read_bytes())


def leave_unfinished_file(dataset: Path) -> None:
    path = liver(dataset).average.revisions("liver") / ".atlas-00000000-1-00000000.nii.gz.tmp"
    path.write_bytes(b"half")
    os.utime(path, (1, 1))


REPAIRABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a kill before the log line": (drop_log_line, "revision without a log line"),
    "a kill before the mask was put in place": (put_older_mask_in_place, "unfinished revision"),
    "a mask that is gone": (remove_current_mask, "unfinished revision"),
    "a file that a killed writer left": (leave_unfinished_file, "unfinished files"),
    "a mask that another program wrote": (put_foreign_mask_in_place, "mask of another program"),
}


@pytest.mark.parametrize("fault", REPAIRABLE)
def test_what_can_be_repaired_is_found_explained_and_mended_on_request_only(dataset: Path, fault: str) -> None:
    plant, kind = REPAIRABLE[fault]
    plant(dataset)
    kept = {path.name: path.read_bytes() for path in revisions_of(dataset)}
    code, findings, _ = doctor(dataset)
    assert (code, {finding["kind"] for finding in findings}) == (1, {kind})
    assert all(finding["repairable"] and finding["text"] and finding["remedy"] for finding in findings)
    assert doctor(dataset)[1] == findings  # looking mends nothing
    left = [] if kind != "mask of another program" else [UNLISTED]  # kept among the revisions, it is still not what Ada accepted
    code, findings_left, mended = doctor(dataset, "--repair")
    assert (code, [finding["kind"] for finding in findings_left], mended) == (len(left), left, len(findings))
    after = {path.name: path.read_bytes() for path in revisions_of(dataset)}
    assert {name: after[name] for name in kept} == kept
    current = current_revision(liver(dataset), "liver")
    assert current is not None
    assert liver(dataset).average.revised_mask("liver").read_bytes() == current.file.read_bytes()
    if kind != "mask of another program":
        assert current.file == revisions_of(dataset)[-1]


def delete_revision(dataset: Path) -> None:
    revisions_of(dataset)[0].unlink()


def change_revision(dataset: Path) -> None:
    file = revisions_of(dataset)[0]
    file.write_bytes(revisions_of(dataset)[1].read_bytes())


def damage_log(dataset: Path) -> None:
    log = liver(dataset).average.revisions("liver") / "log.csv"
    log.write_bytes(log.read_bytes() + b"20261121T000000.000000Z,Ada,save\n")


def remove_case(dataset: Path) -> None:
    (dataset / "second").rename(dataset.parent / "elsewhere")


def sql(statement: str) -> Callable[[Path], None]:
    """Return what changes the worklist behind the program's back."""

    def change(dataset: Path) -> None:
        with closing(sqlite3.connect(dataset / "worklist.sqlite", isolation_level=None)) as connection:
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f'DROP TRIGGER "{name}"')
            connection.execute(statement)

    return change


NOT_REPAIRABLE: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "a revision that was deleted": (delete_revision, {"lost revision", "lost revision of a task"}),
    "a revision that was changed": (change_revision, {"changed revision", "changed revision of a task"}),
    "a line that was written half": (damage_log, {"damaged log line"}),
    "a case that was moved away": (remove_case, {"task without a case"}),
    "a state that was changed by hand": (sql("UPDATE task SET state = 'rejected' WHERE state = 'accepted'"), {"state without an event"}),
    "an event that was removed": (sql("DELETE FROM event WHERE kind = 'take'"), {"gap in the history"}),
    "time that was added by hand": (sql("UPDATE task SET active_seconds = 9000 WHERE state = 'accepted'"), {"time without events"}),
    "a task that nobody added": (
        sql("DELETE FROM event WHERE case_name = 'first' AND organ = 'spleen'"),
        {"task without a history"},
    ),
}


@pytest.mark.parametrize("fault", NOT_REPAIRABLE)
def test_what_needs_a_person_is_found_and_left_alone(dataset: Path, fault: str) -> None:
    plant, expected = NOT_REPAIRABLE[fault]
    plant(dataset)
    before = {name: state for name, state in files_below(dataset).items() if "sqlite" not in name}
    code, findings, mended = doctor(dataset, "--repair")
    assert expected <= {finding["kind"] for finding in findings}
    assert (code, mended) == (1, 0)
    assert not any(finding["repairable"] for finding in findings)
    assert {name: state for name, state in files_below(dataset).items() if "sqlite" not in name} == before


def test_a_dataset_without_a_worklist_is_examined_by_its_files(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "hospital")
    case = open_case(folder / "first")
    save_revision(case, "liver", read_nifti(case.average.mask("liver")), "Ada")
    assert doctor(folder) == (0, [], 0)
    history(case, "liver")[0].file.unlink()
    assert kinds(folder) == {"lost revision", "mask of another program"}


def test_a_revision_that_its_program_could_not_tell_the_list_is_found_until_somebody_accepts_it(dataset: Path) -> None:
    case = open_case(dataset / "first")
    worklist = Worklist(dataset)
    worklist.take("first", "spleen", "Ada")
    saved = save_revision(case, "spleen", read_nifti(case.average.mask("liver")), "Ada")  # and here the program is killed
    assert kinds(dataset) == {UNLISTED}
    assert saved.id in doctor(dataset)[1][0]["text"]
    session = TaskSession(worklist, load_review_case(case.folder, "spleen"), worklist.take("first", "spleen", "Ada"), "Ada", dataset)
    session.decide("accepted", session.saved)
    assert kinds(dataset) == set()
    assert worklist.task("first", "spleen").revision == saved.id
    assert worklist.events("first", "spleen")[-1].sha256 == saved.sha256
    worklist.close()
