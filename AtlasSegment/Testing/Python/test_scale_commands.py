"""`atlas segment` over a dataset: parts of a job array, overlapped cases, and workers of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from atlas_phantoms import files_below, make_case, make_model
from AtlasSegmentLib import commands
from AtlasSegmentLib.cases import run_cases
from AtlasSegmentLib.cpu_threads import threads_for
from AtlasSegmentLib.errors import InputError
from scale_steps import name_of, where

APP = typer.Typer(pretty_exceptions_enable=False)
commands.add_to(APP)
NAMES = ["a", "b", "c", "d", "e"]


def run(*arguments: object) -> Result:
    """Run the program; an AtlasError is raised."""
    return CliRunner().invoke(APP, ["segment", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a dataset folder of five cases."""
    for name in NAMES:
        make_case(tmp_path / "set" / name)
    return tmp_path / "set"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model folder."""
    return make_model(tmp_path / "model", "tiny")


def test_parts_of_a_job_array_do_every_case_once(dataset: Path, model: Path) -> None:
    done = [json.loads(run(dataset, "--model", model, "--part", f"{part}/2", "--json").stdout) for part in (1, 2)]
    assert [[case["name"] for case in told["cases"]] for told in done] == [["a", "c", "e"], ["b", "d"]]
    assert {case["state"] for told in done for case in told["cases"]} == {"done"}
    again = run(dataset, "--model", model)
    assert "0 done, 5 skipped" in again.stdout


def test_a_part_without_cases_is_no_error(dataset: Path, model: Path) -> None:
    result = run(dataset, "--model", model, "--part", "9/9")
    assert result.exit_code == 0
    assert "0 done, 0 skipped (finished before), 0 failed" in result.stdout


def test_a_wrong_part_is_refused_before_anything_is_written(dataset: Path, model: Path) -> None:
    before = files_below(dataset)
    with pytest.raises(InputError, match="counted from 1"):
        run(dataset, "--model", model, "--part", "0/2")
    assert files_below(dataset) == before


def test_overlapped_cases_are_the_same_files_as_one_after_another(tmp_path: Path, dataset: Path, model: Path) -> None:
    for name in NAMES:
        make_case(tmp_path / "other" / name)
    assert "5 done" in run(dataset, "--model", model).stdout
    assert "5 done" in run(tmp_path / "other", "--model", model, "--no-overlap").stdout
    images = [name for name in files_below(dataset) if name.endswith(".nii.gz")]
    assert len(images) > 5 * len(NAMES)
    assert all((dataset / name).read_bytes() == (tmp_path / "other" / name).read_bytes() for name in images)


def test_workers_of_this_machine_share_its_gpus_and_cores_and_say_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    outcomes = run_cases([f"case{number}" for number in range(8)], where, name_of, jobs=2, gpu=True)
    assert {outcome.result["gpu"] for outcome in outcomes} == {"3", "5"}
    assert {outcome.result["threads"] for outcome in outcomes} == {threads_for(2)}
    assert capfd.readouterr().err == ""
