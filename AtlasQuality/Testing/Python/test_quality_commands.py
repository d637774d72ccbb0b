"""The commands average, attention, priority and evaluate: exit codes, messages, JSON, files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from AtlasQualityLib import commands
from AtlasQualityLib.error_map import Calibration, read_calibration, write_calibration
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.encoding import entropy_bytes
from AtlasSegmentLib.errors import DatasetError, GeometryError, InputError
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Volume

SHAPE = (16, 14, 12)
APP = typer.Typer(pretty_exceptions_enable=False)
commands.add_to(APP)


def run(*arguments: object) -> Result:
    """Run the program; an AtlasError, which `atlas` prints as one line and leaves with 2, is raised."""
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)


def write(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, Volume(np.asfortranarray(array), np.eye(4) if affine is None else affine))


def make_case(folder: Path, size: int = 6) -> CaseFolder:
    """Two models that agree about half a liver; `size` is how much they do not agree about."""
    case = CaseFolder(folder)
    write(case.ct, np.zeros(SHAPE, np.int16))
    for model, unsure in (("a", 0.9), ("b", 0.2)):
        p = np.zeros(SHAPE)
        p[2:8, 2:8, 2:8] = 1
        p[8 : 8 + size, 2:8, 2:8] = unsure
        write(case.backbone(model).map("soft_pred", "liver"), (p * 255).astype(np.uint8))
        write(case.backbone(model).map("entropy", "liver"), entropy_bytes(p))
        write(case.backbone(model).mask("liver"), (p > 0.5).astype(np.uint8))
    return case


def finished(folder: Path, size: int = 6) -> CaseFolder:
    case = make_case(folder, size)
    assert run("average", case.folder).exit_code == 0
    assert run("attention", case.folder).exit_code == 0
    return case


def test_the_chain_over_a_dataset_folder_writes_the_list(tmp_path: Path) -> None:
    make_case(tmp_path / "set/few", 5)
    make_case(tmp_path / "set/many", 8)
    assert "average: 2 done, 0 skipped" in run("average", tmp_path / "set").stdout
    assert "attention: 2 done" in run("attention", tmp_path / "set").stdout
    assert "average: 0 done, 2 skipped" in run("average", tmp_path / "set").stdout
    result = run("priority", tmp_path / "set")
    assert result.exit_code == 0
    assert (tmp_path / "set/priority.csv").read_bytes() == b"many,liver\nfew,liver\n"
    assert "priority.csv" in result.stdout


def test_json_is_one_object_on_stdout(tmp_path: Path) -> None:
    make_case(tmp_path / "set/case")
    average = json.loads(run("average", tmp_path / "set", "--json").stdout)
    assert (average["step"], average["done"], average["failed"]) == ("average", 1, 0)
    attention = json.loads(run("attention", tmp_path / "set", "--no-error-maps", "--json").stdout)
    assert attention["cases"][0]["result"]["results"]["organs"]["liver"]["attention_voxels"] > 0
    priority = json.loads(run("priority", tmp_path / "set", "--compare", "--json").stdout)
    assert priority["cases"][0]["organs"][0]["expected_error_mm3"] is None  # NaN is no JSON
    assert set(priority["spearman"].values()) == {None}


def test_each_dataset_gets_the_list_of_its_own_cases(tmp_path: Path) -> None:
    for place, size in (("one/set/case", 5), ("two/set/case", 6), ("two/set/other", 8), ("two/more/case", 5)):
        finished(tmp_path / place, size)
    result = run("priority", tmp_path / "one/set", tmp_path / "two/set", tmp_path / "two/more")
    assert result.exit_code == 0
    lists = {place: (tmp_path / place / "priority.csv").read_text() for place in ("one/set", "two/set", "two/more")}
    assert lists == {"one/set": "case,liver\n", "two/set": "other,liver\ncase,liver\n", "two/more": "case,liver\n"}


def test_a_case_in_which_people_annotated_everything_is_still_a_row(tmp_path: Path) -> None:
    finished(tmp_path / "04_LiTS/case")
    result = run("priority", tmp_path / "04_LiTS", "--order", "gain")
    assert result.exit_code == 0
    assert (tmp_path / "04_LiTS/priority.csv").read_text() == "case\n"


def test_some_failed_cases_exit_1_all_exit_2_and_the_others_are_ranked(tmp_path: Path) -> None:
    finished(tmp_path / "set/good")
    (tmp_path / "set/bad/backbones").mkdir(parents=True)
    for command in ("average", "attention", "priority"):
        both = run(command, tmp_path / "set")
        assert both.exit_code == 1
        assert both.stderr.count("atlas: error:") == 1
        assert "bad" in both.stderr
        assert run(command, tmp_path / "set/bad").exit_code == 2
    assert (tmp_path / "set/priority.csv").read_text() == "good,liver\n"


def test_errors_are_one_line_with_the_next_step(tmp_path: Path) -> None:
    case = make_case(tmp_path / "set/case")
    result = run("attention", case.folder)
    assert result.exit_code == 2
    assert result.stderr.strip() == f"atlas: error: {case.folder}: there is no average yet. Run: atlas average CASE."
    assert "no prediction of model c; there are a, b" in run("average", case.folder, "--model", "c").stderr


def test_unknown_rules_and_orders_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    case = finished(tmp_path / "set/case")
    with pytest.raises(InputError, match=r"--rule 'entropy' is not known.*abdomenatlas"):
        run("attention", case.folder, "--rule", "entropy")
    with pytest.raises(InputError, match=r"--order 'size' is not known.*abdomenatlas, expected-error, gain"):
        run("priority", case.folder, "--order", "size")
    with pytest.raises(DatasetError, match="no case found"):
        run("priority", tmp_path)
    with pytest.raises(DatasetError, match=r"'\.\./x'"):
        run("priority", case.folder.parent, "--name", "../x")
    assert not list(tmp_path.rglob("*.csv"))


def test_a_few_cases_do_not_replace_the_list_of_their_dataset(tmp_path: Path) -> None:
    case = finished(tmp_path / "set/case")
    run("priority", case.folder.parent)
    before = (case.folder.parent / "priority.csv").read_bytes()
    other = finished(tmp_path / "set/other")
    run("priority", other.folder)
    assert (case.folder.parent / "priority.csv").read_bytes() == before


def test_an_order_without_its_numbers_writes_no_list(tmp_path: Path) -> None:
    case = make_case(tmp_path / "set/case")
    run("average", case.folder)
    run("attention", case.folder, "--no-error-maps")
    for order in ("expected-error", "gain"):
        result = CliRunner().invoke(APP, ["priority", str(case.folder), "--order", order])
        assert "has no expected error" in str(result.exception)
    assert not list(tmp_path.rglob("*.csv"))


def test_the_name_of_the_list_can_be_chosen(tmp_path: Path) -> None:
    finished(tmp_path / "set/case")
    run("priority", tmp_path / "set", "--name", "zweite Runde")
    assert sorted(path.name for path in (tmp_path / "set").glob("*.csv")) == ["zweite Runde.csv", "zweite Runde_scores.csv"]


def test_evaluate_prints_agreement_and_writes_a_curve_that_attention_takes(tmp_path: Path) -> None:
    case = finished(tmp_path / "set/case")
    truth = np.zeros(SHAPE, np.uint8)
    truth[2:8, 2:8, 2:8] = 6
    write(tmp_path / "truth.nii.gz", truth)
    curve = tmp_path / "curve.json"
    result = run("evaluate", case.folder, "--reference", tmp_path / "truth.nii.gz", "--calibration", curve, "--json")
    found = json.loads(result.stdout)
    assert found["dice"]["b"]["liver"] == 1
    assert found["organs"] == ["liver"]
    assert found["attention"]["sensitivity"] == 1
    assert found["wrong_voxels"] == 216
    assert read_calibration(curve).source == "set/case"
    assert run("attention", case.folder, "--calibration", curve).exit_code == 0
    with pytest.raises(InputError, match="calibrated already"):
        run("evaluate", case.folder, "--reference", tmp_path / "truth.nii.gz", "--calibration", curve)


def test_evaluate_prints_tables_for_people(tmp_path: Path) -> None:
    case = finished(tmp_path / "set/case")
    write(tmp_path / "truth.nii.gz", np.zeros(SHAPE, np.uint8))
    out = run("evaluate", case.folder, "--reference", tmp_path / "truth.nii.gz").stdout
    assert "Dice against the reference" in out
    assert "expected error" in out


def test_evaluate_refuses_a_reference_on_another_grid(tmp_path: Path) -> None:
    case = finished(tmp_path / "set/case")
    write(tmp_path / "truth.nii.gz", np.zeros(SHAPE, np.uint8), np.diag([2.0, 2, 2, 1]))
    with pytest.raises(GeometryError, match=r"truth.nii.gz does not lie on the grid of .*ct.nii.gz"):
        run("evaluate", case.folder, "--reference", tmp_path / "truth.nii.gz")


def test_a_bad_curve_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    case = make_case(tmp_path / "set/case")
    write_calibration(tmp_path / "curve.json", Calibration((0.0, 0.5), (0.5, 0.0)))
    with pytest.raises(InputError, match="is not a calibration"):
        run("attention", case.folder, "--calibration", tmp_path / "curve.json")
    assert not (case.folder / "average").exists()
