"""The commands merge and repair: files in, files out, and nothing overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from AtlasSegmentLib.commands_merge import merge_command
from AtlasSegmentLib.commands_repair import repair_command
from AtlasSegmentLib.errors import InputError, LabelError
from AtlasSegmentLib.files import sha256_of, write_json
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume
from AtlasSegmentLib.whole_body import task_of, whole_body_table
from thorax_phantom import RIBS, TABLE, relabeled, thorax

APP = typer.Typer(pretty_exceptions_enable=False)
APP.command("merge")(merge_command)
APP.command("repair")(repair_command)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def run(*arguments: object) -> Result:
    """Run a command; an AtlasError, which `atlas` prints as one line, is raised."""
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)


def write_task(path: Path, task: str, name: str, rows: slice = slice(None)) -> Path:
    array = np.zeros((4, 4, 4), np.uint8)
    array[rows] = task_of(task).table.value_of(name)
    write_nifti(path, Volume(array, AFFINE))
    return path


def test_merge_writes_the_map_its_names_the_task_of_each_voxel_and_a_record(tmp_path: Path) -> None:
    organ, rib = write_task(tmp_path / "o.nii.gz", "organ", "liver"), write_task(tmp_path / "r.nii.gz", "rib", "rib_left_5", slice(0, 1))
    out = tmp_path / "body.nii.gz"
    result = run("merge", out, "--task", f"organ={organ}", "--task", f"rib={rib}", "--provenance")
    assert "2 structures from organ, rib" in result.stdout
    written = {path.name for path in tmp_path.iterdir()}
    assert written >= {"body.nii.gz", "body_labels.csv", "body_labels.json", "body_run.json", "body_task.nii.gz", "body_task_labels.json"}
    table = LabelTable.from_json(json.loads((tmp_path / "body_labels.json").read_text()))
    assert table.labels == whole_body_table().labels
    values = read_nifti(out).array[:, 0, 0].tolist()
    assert [table.name_of(value) for value in values] == ["rib_left_5", "liver", "liver", "liver"]
    assert read_nifti(tmp_path / "body_task.nii.gz").array[:, 0, 0].tolist() == [6, 1, 1, 1]
    record = json.loads((tmp_path / "body_run.json").read_text())
    assert record["inputs"]["rib"]["sha256"] == sha256_of(rib)
    assert record["results"] == {"tasks": ["organ", "rib"], "voxels": {"liver": 48, "rib_left_5": 16}, "covered": {"organ < rib": 16}}


def test_merging_again_skips_what_is_finished_and_force_does_it_again(tmp_path: Path) -> None:
    organ = write_task(tmp_path / "o.nii.gz", "organ", "liver")
    command = ("merge", tmp_path / "body.nii.gz", "--task", f"organ={organ}", "--json")
    states = [json.loads(run(*command, *extra).stdout)["cases"][0]["state"] for extra in ((), (), ("--force",))]
    assert states == ["done", "skipped", "done"]
    write_task(organ, "organ", "spleen")
    result = run(*command)
    assert result.exit_code == 2
    assert "is there already" in result.stderr


def test_merge_takes_folders_of_nnunet_output_and_one_bad_case_does_not_stop_the_others(tmp_path: Path) -> None:
    for case in ("a", "b", "c"):
        write_task(tmp_path / "organ" / f"{case}.nii.gz", "organ", "liver")
    write_task(tmp_path / "rib" / "a.nii.gz", "rib", "rib_left_5", slice(0, 1))
    (tmp_path / "rib" / "b.nii.gz").write_bytes((tmp_path / "rib" / "a.nii.gz").read_bytes()[:-12])
    result = run("merge", tmp_path / "out", "--task", f"organ={tmp_path / 'organ'}", "--task", f"998={tmp_path / 'rib'}")
    assert result.exit_code == 1
    assert "c.nii.gz: 1 structures from organ; without rib" in result.stdout
    assert "truncated or damaged" in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == ["a.nii.gz", "c.nii.gz"]


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        (["rib"], "does not name a task and a file"),
        (["ribs=x.nii.gz"], "no AutoOrgan task"),
        (["rib=x.nii.gz", "998=y.nii.gz"], "given twice"),
        (["rib=x.nii.gz", "hip=."], "is a folder, and other tasks are files"),
    ],
)
def test_merge_refuses_what_it_cannot_mean(tmp_path: Path, tasks: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run("merge", tmp_path / "out.nii.gz", *(part for task in tasks for part in ("--task", task)))


def test_merge_never_writes_over_its_input(tmp_path: Path) -> None:
    organ = write_task(tmp_path / "o.nii.gz", "organ", "liver")
    before = organ.read_bytes()
    result = run("merge", organ, "--task", f"organ={organ}", "--force")
    assert result.exit_code == 2
    assert "never overwritten" in result.stderr
    assert organ.read_bytes() == before


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Return a thorax whose ribs are called by wrong numbers, with its table beside it."""
    names = np.random.default_rng(0).permutation(RIBS).tolist()
    write_nifti(tmp_path / "chest.nii.gz", relabeled(thorax(), dict(zip(RIBS, names, strict=True))))
    write_json(tmp_path / "chest_labels.json", TABLE.to_json())
    return tmp_path / "chest.nii.gz"


def test_repair_writes_a_new_map_its_names_and_what_changed(damaged: Path) -> None:
    before, out = damaged.read_bytes(), damaged.with_name("repaired.nii.gz")
    printed = json.loads(run("repair", damaged, "--ribs", "--vertebrae", "--sides", "--noise", "--out", out, "--json").stdout)
    assert np.array_equal(read_nifti(out).array, thorax().array)
    assert damaged.read_bytes() == before
    assert [Path(path).name for path in printed["files"]] == [
        "repaired.nii.gz",
        "repaired_labels.csv",
        "repaired_labels.json",
        "repaired_run.json",
    ]
    assert {change["step"] for change in printed["changes"]} == {"sides", "ribs"}
    record = json.loads(damaged.with_name("repaired_run.json").read_text())
    assert record["results"]["changes"] == printed["changes"]
    assert record["parameters"]["steps"] == ["vertebrae", "sides", "ribs", "noise"]
    assert record["inputs"]["labels"]["sha256"] == sha256_of(damaged)


def test_repair_says_for_people_what_it_did(damaged: Path) -> None:
    result = run("repair", damaged, "--ribs", "--out", damaged.with_name("repaired.nii.gz"))
    assert "from vertebrae_T5" in " ".join(result.stdout.split())
    result = run("repair", damaged, "--noise", "--out", damaged.with_name("clean.nii.gz"))
    assert result.stdout.endswith("clean.nii.gz: nothing to repair\n")


def test_repair_takes_a_table_by_name_with_hyphens(tmp_path: Path) -> None:
    path = write_task(tmp_path / "r.nii.gz", "rib", "rib_left_5")
    assert run("repair", path, "--table", "autoorgan-rib", "--noise", "--out", tmp_path / "x.nii.gz").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--out", "new.nii.gz"], InputError, "No repair is chosen"),
        (["--ribs", "--out", "chest.nii.gz"], InputError, "an original is never overwritten"),
        (["--ribs", "--out", "new.dcm"], InputError, "cannot be written|can be written"),
        (["--ribs", "--out", "new.nii.gz", "--table", "autoorgan-hip"], LabelError, "are not in the table 'autoorgan_hip'"),
        (["--ribs", "--out", "new.nii.gz", "--table", "nothing"], LabelError, "no label table 'nothing'"),
        (["--vertebrae", "--out", "new.nii.gz", "--fragments", "keep"], InputError, "no rule 'keep'"),
        (["--noise", "--out", "new.nii.gz", "--noise-mm3", "-5"], InputError, "-5"),
    ],
)
def test_repair_refuses_before_it_writes(damaged: Path, arguments: list[str], error: type[Exception], words: str) -> None:
    there = [str(damaged.parent / text) if text.endswith((".nii.gz", ".dcm")) else text for text in arguments]
    before = {path: path.read_bytes() for path in damaged.parent.iterdir()}
    with pytest.raises(error, match=words):
        run("repair", damaged, *there)
    assert {path: path.read_bytes() for path in damaged.parent.iterdir()} == before


def test_repair_asks_what_the_values_mean(damaged: Path) -> None:
    damaged.with_name("chest_labels.json").unlink()
    with pytest.raises(InputError, match="nobody says what its values mean"):
        run("repair", damaged, "--ribs", "--out", damaged.with_name("new.nii.gz"))
