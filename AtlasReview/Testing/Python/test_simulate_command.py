"""The command simulate: what it prints and writes, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from AtlasReviewLib import commands_simulate
from AtlasReviewLib.simulation_output import CURVES, PICTURE, SUMMARY, SUMMARY_COLUMNS
from AtlasReviewLib.simulation_output import ORGANS as ORGAN_TABLE
from AtlasReviewLib.simulation_read import organs_to_simulate, read_predictions, read_truth
from AtlasReviewLib.simulation_strategies import GAIN, ORACLE, RANDOM
from AtlasSegmentLib.case_folder import open_case
from AtlasSegmentLib.classes import class_of
from AtlasSegmentLib.errors import AtlasError, DatasetError, GeometryError, InputError
from AtlasSegmentLib.files import write_json
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import LabelVolume, Volume
from AtlasSegmentLib.volume_io import read_label_volume
from simulation_phantom import ORGANS, SHAPE, affine, phantom, write_case

TABLE = "abdomenatlas"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A dataset with a case in RAS and the same one in LPS; the references lie beside it."""
    folder = tmp_path_factory.mktemp("simulate") / "hospital"
    write_case(folder / "first")
    write_case(folder / "second", "LPS")
    return folder


@pytest.fixture(scope="module")
def truth(dataset):
    return dataset.parent / "truth"


def run(*arguments: object) -> Result:
    """Run the command; an AtlasError, which `atlas` prints as one line and leaves with 2, is raised."""
    app = typer.Typer(pretty_exceptions_enable=False)
    commands_simulate.add_to(app)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def fast(*arguments: object) -> Result:
    return run(*arguments, "--strategies", GAIN)


def test_one_case_with_everything(dataset, truth, tmp_path):
    before = {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}
    done = run(
        dataset / "first", "--reference", truth / "first.nii.gz", "--carry", "--out", tmp_path / "out", "--strategies", f"{GAIN},entropy"
    )
    assert done.exit_code == 0
    assert "1 case, 4 masks, 192 slices, against first.nii.gz" in done.output
    assert "Strategies see predictions only; expected-gain and carrying also what was corrected so far." in done.output
    assert "Time assumed: 20.0 s a mask" in done.output
    rows = rows_of(tmp_path / "out" / SUMMARY)
    assert tuple(rows[0]) == SUMMARY_COLUMNS
    assert {row["strategy"] for row in rows} == {RANDOM, "entropy", GAIN, ORACLE}  # the bounds are always there
    assert {row["carried"] for row in rows} == {"True", "False"}
    assert (tmp_path / "out" / PICTURE).read_bytes().startswith(b"\x89PNG")
    assert {row["organ"] for row in rows_of(tmp_path / "out" / ORGAN_TABLE)} == set(ORGANS)
    last = [row for row in rows_of(tmp_path / "out" / CURVES) if row["strategy"] == GAIN][-1]
    assert float(last["share_removed"]) == 1
    assert before == {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}  # nothing of the case is changed


def test_what_an_order_looks_at_and_is_not_there_is_said(dataset, truth):
    arguments = (dataset / "first", "--reference", truth / "first.nii.gz")
    assert "Left out, for what it looks at is not there: predicted-dice." in run(*arguments).output
    with pytest.raises(InputError, match="needs predicted_dice of every organ"):
        run(*arguments, "--strategies", "predicted-dice")


def test_json_says_all_that_the_table_says(dataset, truth):
    done = fast(dataset / "first", "--reference", truth / "first.nii.gz", "--json")
    found = json.loads(done.stdout)
    assert found["units"] == 192
    assert found["time_source"] == "assumed"
    assert set(found["strategies"]) == {RANDOM, GAIN, ORACLE}
    assert {row["strategy"] for row in found["summary"]} == {RANDOM, GAIN, ORACLE}
    assert {row["organ"] for row in found["organs"]} == set(ORGANS)


def test_an_lps_case_gives_the_numbers_of_the_ras_case(dataset, truth):
    both = [json.loads(fast(dataset / name, "--reference", truth / f"{name}.nii.gz", "--json").stdout) for name in ("first", "second")]
    assert both[0]["summary"] == both[1]["summary"]


def test_predictions_from_files_are_those_of_the_arrays_up_to_their_bytes(dataset, truth):
    reference = read_label_volume(truth / "first.nii.gz", load_table(TABLE))
    case = open_case(dataset / "first")
    organs = organs_to_simulate(case, reference)
    found = read_predictions(case, organs)
    arrays, true = phantom()
    same_of = {p.organ: (p, mask) for p, mask in zip(arrays.organs, true, strict=True)}
    for prediction, mask in zip(found.organs, read_truth(reference, organs, found.axes), strict=True):
        same, same_mask = same_of[prediction.organ]
        np.testing.assert_array_equal(prediction.mask.pixels(), same.mask.pixels())
        np.testing.assert_array_equal(mask.pixels(), same_mask.pixels())
        assert prediction.profiles["expected"].sum() == pytest.approx(same.profiles["expected"].sum(), rel=0.1)


def test_several_cases_are_one_review_and_one_without_reference_does_not_stop_the_others(dataset, truth, tmp_path):
    done = fast(dataset, "--reference", truth)
    assert done.exit_code == 0
    assert "2 cases, 8 masks, 384 slices" in done.output
    only = tmp_path / "some"
    only.mkdir()
    os.link(truth / "first.nii.gz", only / "first.nii.gz")
    done = fast(dataset, "--reference", only)
    assert done.exit_code == 1
    assert "1 case, 4 masks" in done.output
    assert "no reference is named second" in done.stderr


def test_only_some_organs_and_another_direction(dataset, truth):
    done = fast(dataset / "first", "--reference", truth / "first.nii.gz", "--organ", "spleen", "--slices", "coronal")
    assert f"1 case, 1 mask, {SHAPE[1]} slices" in done.output


def test_a_predicted_dice_makes_its_order_available(dataset, truth):
    file = dataset / "first" / "average" / "predicted_dice.json"
    write_json(file, {"organs": dict(zip(ORGANS, (0.8, 0.4, 0.9, 0.9), strict=True))})
    try:
        done = run(dataset / "first", "--reference", truth / "first.nii.gz", "--json", "--strategies", "predicted-dice")
    finally:
        file.unlink()
    assert "predicted-dice" in json.loads(done.stdout)["strategies"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--strategies", "best"], "'best' is not known"),
        (["--slices", "oblique"], "'oblique' are not known"),
        (["--table", "nothing"], "nothing"),
        (["--reference", "nowhere.nii.gz"], "there is no such reference"),
    ],
)
def test_options_that_are_not_known_are_refused_before_anything_is_read(dataset, truth, arguments, text):
    with pytest.raises(AtlasError, match=text):
        run(dataset / "first", "--reference", truth / "first.nii.gz", *arguments)


@pytest.mark.parametrize("organ", ["aorta", "../liver", "=1+1", ""])
def test_an_organ_that_cannot_be_simulated_is_refused_in_one_line(dataset, truth, organ):
    done = fast(dataset / "first", "--reference", truth / "first.nii.gz", "--organ", organ)
    assert done.exit_code == 2
    assert f"{organ} cannot be simulated" in done.stderr


@pytest.mark.parametrize("fault", ["other grid", "truncated", "nan", "empty", "equal"])
def test_hostile_references_are_refused(dataset, truth, tmp_path, fault):
    path = tmp_path / "first.nii.gz"
    labels = read_nifti(truth / "first.nii.gz")
    if fault == "other grid":
        moved = affine()
        moved[0, 3] += 5
        write_nifti(path, Volume(labels.array, moved))
    elif fault == "truncated":
        path.write_bytes((truth / "first.nii.gz").read_bytes()[:500])
    elif fault == "nan":
        array = labels.array.astype(np.float32)
        array[3, 3, 3] = np.nan
        write_nifti(path, Volume(array, labels.affine))
    elif fault == "empty":
        path.write_bytes(b"")
    else:
        array = np.zeros(SHAPE, np.uint8)
        array[read_nifti(dataset / "first" / "average" / "segmentations" / "spleen.nii.gz").array > 0] = class_of("spleen")
        write_nifti(path, Volume(array, labels.affine))
    arguments = (dataset / "first", "--reference", path, "--organ", "spleen")
    if fault == "equal":
        with pytest.raises(InputError, match="no error to remove"):
            fast(*arguments)
        return
    done = fast(*arguments)
    assert done.exit_code == 2
    assert "error:" in done.stderr
    assert "unexpectedly" not in done.stderr


def test_an_organ_without_probabilities_is_refused(dataset):
    with pytest.raises(DatasetError, match="no model left soft_pred"):
        read_predictions(open_case(dataset / "first"), ["aorta"])


def test_a_reference_on_another_grid_is_refused(dataset, truth):
    reference = read_label_volume(truth / "first.nii.gz", load_table(TABLE))
    axes = read_predictions(open_case(dataset / "first"), ["spleen"]).axes
    with pytest.raises(GeometryError, match="does not lie on the grid"):
        read_truth(LabelVolume(reference.array[1:], reference.affine, "cut", None, reference.table), ["spleen"], axes)
