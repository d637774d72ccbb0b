"""Bad input, through the program: exit code 2, one line that names the file and the next step, and nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import tiny_inputs
from AtlasQualityLib.attention import attention_case
from AtlasQualityLib.average import average_case
from AtlasSegmentLib.case_folder import new_case
from AtlasSegmentLib.markups import Roi, read_roi, write_roi
from AtlasSegmentLib.segment_case import SegmentOptions
from AtlasSegmentLib.segment_request import SegmentRequest, segment
from run_program import Done, listing, run_program
from tiny_inputs import ORGANS, SHAPE, TinyInputs, affine, make_model

CASE = "04_LiTS/scan"
Break = Callable[[Path], list[str]]
"""Puts bad input into a folder that holds inputs/ and a finished case, and returns the arguments."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with inputs/ and the case 04_LiTS/scan: segmented, averaged, with attention."""
    folder = tmp_path_factory.mktemp("finished")
    inputs = tiny_inputs.make_inputs(folder / "inputs")
    case = new_case(folder / "04_LiTS", "scan")
    segment(SegmentRequest(case, inputs.ct, inputs.models, SegmentOptions(read_roi(inputs.roi)), inputs.original))
    average_case(case)
    attention_case(case)
    return folder


@pytest.fixture
def work(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of `finished`."""
    return Path(shutil.copytree(finished, tmp_path / "work"))


def save(path: Path, array: Any, matrix: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine() if matrix is None else matrix), path)
    return path


def inputs_of(work: Path) -> TinyInputs:
    folder = work / "inputs"
    models = tuple(sorted(folder.glob("model*")))
    return TinyInputs(folder, folder / "ct.nii.gz", folder / "roi.mrk.json", models, folder / "original.nii.gz")


def moved() -> Any:
    matrix = affine()
    matrix[0, 3] += 7
    return matrix


def new_scan(work: Path, **changes: Any) -> list[str]:
    """Return CT, model, ROI and output of a new case; a change replaces one of them, None leaves it out."""
    given = inputs_of(work)
    values: dict[str, Any] = {
        "ct": given.ct,
        "model": given.models[0],
        "roi": given.roi,
        "out": work / "04_new",
        "case": "scan2",
        **changes,
    }
    arguments = [str(values.pop("ct"))]
    for name, value in values.items():
        arguments += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    return arguments


def truncated_ct(work: Path) -> list[str]:
    ct = work / "short.nii.gz"
    ct.write_bytes(inputs_of(work).ct.read_bytes()[:-2000])
    return new_scan(work, ct=ct)


def four_dimensional(work: Path) -> list[str]:
    return new_scan(work, ct=save(work / "film.nii.gz", np.ones((4, 4, 4, 3), np.int16)))


def with_nan(work: Path) -> list[str]:
    array = np.zeros(SHAPE, np.float32)
    array[3, 2, 1] = np.nan
    return new_scan(work, ct=save(work / "holes.nii.gz", array))


def constant(work: Path) -> list[str]:
    return new_scan(work, ct=save(work / "blank.nii.gz", np.full(SHAPE, -1000, np.int16)))


def no_bytes(work: Path) -> list[str]:
    (work / "nothing.nii.gz").touch()
    return new_scan(work, ct=work / "nothing.nii.gz")


def not_an_image(work: Path) -> list[str]:
    (work / "notes.txt").write_text("a CT")
    return new_scan(work, ct=work / "notes.txt")


def original(array: Any, matrix: Any = None) -> Break:
    return lambda work: new_scan(work, original=save(work / "drawn.nii.gz", array, matrix))


def roi_outside(work: Path) -> list[str]:
    write_roi(work / "far.mrk.json", Roi(np.array([5000.0, 0, 0]), np.eye(3), np.full(3, 50.0)))
    return new_scan(work, roi=work / "far.mrk.json")


def roi_of(text: str) -> Break:
    def write(work: Path) -> list[str]:
        (work / "torn.mrk.json").write_text(text)
        return new_scan(work, roi=work / "torn.mrk.json")

    return write


def two_series(work: Path) -> list[str]:
    write_series(work / "dicom", "1.2.3.1")
    write_series(work / "dicom", "1.2.3.2")
    return new_scan(work, ct=work / "dicom")


def write_series(folder: Path, uid: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    folder.mkdir(exist_ok=True)
    for k in range(3):
        image = sitk.GetImageFromArray(np.full((1, 8, 8), k, np.int16))
        tags = {"0008|0060": "CT", "0020|000e": uid, "0020|0032": f"0\\0\\{k}", "0020|0037": "1\\0\\0\\0\\1\\0", "0020|0013": str(k)}
        for tag, value in {**tags, "0008|0018": f"{uid}.{k}"}.items():
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{uid}-{k}.dcm"))
        writer.Execute(image)


def other_weights(work: Path) -> list[str]:
    model = make_model(work / "swapped", "swapped")
    make_model(work / "other", "other", softness=9.0)
    shutil.copy(work / "other/model.onnx", model)
    return new_scan(work, model=model)


def model_with(file: str, text: str | None) -> Break:
    def write(work: Path) -> list[str]:
        model = make_model(work / "half", "half")
        (model / file).unlink()
        if text is not None:
            (model / file).write_text(text)
        return new_scan(work, model=model)

    return write


def broken_network(work: Path) -> list[str]:
    model = make_model(work / "half", "half")
    manifest = json.loads((model / "model.json").read_text())
    (model / "model.onnx").write_bytes(b"\x08\x08junk")
    manifest["sha256"] = "0e3cde0f2c5dbbd7cf9d4a8a0af4d9a5bd6bd3f6d9a3a1e0e9b8f8f6e8c7d6a5"
    (model / "model.json").write_text(json.dumps(manifest))
    return new_scan(work, model=model)


OTHER = np.zeros((9, 9, 9), np.uint8)
LABELS = np.ones(SHAPE, np.uint8)
SCANS: dict[str, tuple[Break, str, str]] = {  # what is wrong -> (how it is made, the file that is named, the next step)
    "truncated gzip": (truncated_ct, "short.nii.gz", "Copy or export the file again"),
    "4-D image": (four_dimensional, "film.nii.gz", "Extract one 3-D volume"),
    "NaN voxels": (with_nan, "holes.nii.gz", "Replace them"),
    "empty image": (constant, "blank.nii.gz", "export it again"),
    "empty file": (no_bytes, "nothing.nii.gz", "Give a .nii or .nii.gz file"),
    "not an image": (not_an_image, "notes.txt", "Give one of .nii.gz"),
    "no CT": (lambda work: new_scan(work, ct=work / "absent.nii.gz"), "absent.nii.gz", "Check the path"),
    "original of another shape": (original(OTHER), "drawn.nii.gz", "Resample"),
    "original of another affine": (original(LABELS, moved()), "drawn.nii.gz", "Resample"),
    "original with fractions": (original(np.full(SHAPE, 0.5, np.float32)), "drawn.nii.gz", "Give the label map"),
    "original with negative values": (original(np.full(SHAPE, -3, np.int16)), "drawn.nii.gz", "Give the label map"),
    "original with an unknown value": (original(LABELS * 9), "drawn.nii.gz", "--dataset-id"),
    "no ROI": (lambda work: new_scan(work, roi=None), "ct.nii.gz", "Give --roi"),
    "ROI outside of the CT": (roi_outside, "far.mrk.json", "Draw the ROI on this CT"),
    "broken ROI": (roi_of('{"markups": ['), "torn.mrk.json", "Restore the file"),
    "ROI without a box": (roi_of('{"markups": []}'), "torn.mrk.json", "Draw the box in Slicer"),
    "no ROI file": (lambda work: new_scan(work, roi=work / "absent.mrk.json"), "absent.mrk.json", "Check the path"),
    "two DICOM series": (two_series, "dicom", "--series"),
    "model with another sha256": (other_weights, "model.onnx", "Copy the model again"),
    "model folder without model.json": (model_with("model.json", None), "half", "Give a folder that holds model.json"),
    "model with a broken model.json": (model_with("model.json", "{"), "model.json", "Restore the file"),
    "model with a strange model.json": (model_with("model.json", "[]"), "model.json", "Mend model.json"),
    "model without its network": (model_with("model.onnx", None), "model.onnx", "Copy the whole model folder"),
    "model with a broken network": (broken_network, "model.onnx", "Copy the model again"),
    "no model folder": (lambda work: new_scan(work, model=work / "absent"), "absent", "Give a folder that holds model.json"),
    "no model": (lambda work: new_scan(work, model=None), "No model", "Add --model FOLDER"),
    "unsafe case name": (lambda work: new_scan(work, case="../x"), "../x", "Use one name"),
}


def check(done: Done, file: str, step: str) -> None:
    """Check the exit code, that one line names the file and the step, and that stdout is of use to a program."""
    assert done.code == 2, done
    assert len(done.err.splitlines()) == 1, done.err
    assert done.err.startswith("atlas: error: ")
    assert file in done.err
    assert step in done.err
    assert "Traceback" not in done.out
    if done.as_json and done.out:
        assert json.loads(done.out).get("failed") in {None, 1}


def both_ways(work: Path, arguments: list[str], file: str, step: str) -> None:
    before = listing(work)
    for flags in ([], ["--json"]):
        check(run_program([*arguments, *flags], work), file, step)
        assert listing(work) == before


@pytest.mark.parametrize("command", ["segment", "run"])
@pytest.mark.parametrize("wrong", SCANS)
def test_a_scan_that_cannot_be_segmented_is_refused_before_anything_is_written(work: Path, command: str, wrong: str) -> None:
    make, file, step = SCANS[wrong]
    arguments = [command, *make(work)]
    if command == "run" and "--original" in arguments:
        arguments += ["--dataset-id", "04"]
    both_ways(work, arguments, file, step)


def reference(array: Any, matrix: Any = None, table: str = "abdomenatlas") -> Break:
    return lambda work: new_scan(work, reference=save(work / "truth.nii.gz", array, matrix), table=table)


RUNS: dict[str, tuple[Break, str, str]] = {
    "reference of another shape": (reference(OTHER), "truth.nii.gz", "Resample"),
    "reference of another affine": (reference(LABELS, moved()), "truth.nii.gz", "Resample"),
    "reference with a value outside its table": (reference(LABELS * 77), "truth.nii.gz", "Choose the table"),
    "unknown table": (reference(LABELS, None, "my_table"), "my_table", "abdomenatlas_1_1"),
    "unknown release": (lambda work: new_scan(work, release="2.0"), "2.0", "Use one of 1.0, 1.1"),
    "unknown dataset id": (lambda work: new_scan(work, original=inputs_of(work).original, dataset_id="77"), "77", "Use one of 01"),
    "labels of an unknown dataset": (lambda work: new_scan(work, original=inputs_of(work).original), "original", "--dataset-id"),
}


@pytest.mark.parametrize("wrong", RUNS)
def test_a_run_is_refused_before_its_first_step(work: Path, wrong: str) -> None:
    make, file, step = RUNS[wrong]
    both_ways(work, ["run", *make(work)], file, step)


def mask(array: Any, matrix: Any = None, organ: str = "spleen", reader: str = "Ada") -> Break:
    return lambda work: ["revise", CASE, organ, "--mask", str(save(work / "mask.nii.gz", array, matrix)), "--reader", reader]


def damaged(file: str, arguments: list[str]) -> Break:
    def cut(work: Path) -> list[str]:
        path = work / CASE / file
        path.write_bytes(path.read_bytes()[:-20])
        return arguments

    return cut


def unknown_dataset(work: Path) -> list[str]:
    (work / "04_LiTS").rename(work / "hospital")
    return ["assemble", "hospital", "--out", "release"]


def strange_original(array: Any, matrix: Any = None) -> Break:
    def write(work: Path) -> list[str]:
        save(work / CASE / "original_label.nii.gz", array, matrix)
        return ["assemble", CASE, "--out", "release"]

    return write


REVISE = ["revise", CASE, "spleen", "--reader", "Ada"]
MASK = np.pad(np.ones((3, 3, 3), np.uint8), [(5, n - 8) for n in SHAPE])
FINISHED: dict[str, tuple[Break, str, str]] = {
    "mask of another shape": (mask(OTHER), "mask.nii.gz", "Resample"),
    "mask of another affine": (mask(MASK, moved()), "mask.nii.gz", "Resample"),
    "mask with value 2": (mask(MASK * 2), "mask.nii.gz", "Export one segment"),
    "mask with NaN": (mask(np.full(SHAPE, np.nan, np.float32)), "mask.nii.gz", "Export one segment"),
    "empty mask": (mask(MASK * 0), "spleen.nii.gz", "--allow-empty"),
    "unknown organ": (mask(MASK, organ="splean"), "splean", "Did you mean spleen"),
    "unsafe reader": (mask(MASK, reader="../Ada"), "../Ada", "Use one name"),
    "no mask": (lambda _: [*REVISE, "--mask", "absent.nii.gz"], "absent.nii.gz", "Check the path"),
    "no such revision": (lambda _: [*REVISE, "--roll-back", "yesterday"], "yesterday", "List them with"),
    "no case": (lambda _: ["revise", "absent", "spleen"], "absent", "atlas segment"),
    "no dataset": (lambda _: ["average", "absent"], "absent", "Check the path"),
    "no case in a dataset": (lambda _: ["attention", "inputs/model1"], "inputs/model1", "Give a case folder"),
    "unknown model name": (lambda _: ["average", CASE, "--model", "tiny-9"], "scan", "Run: atlas segment"),
    "truncated soft prediction": (
        damaged("backbones/tiny-1/soft_pred/liver.nii.gz", ["average", CASE]),
        "liver.nii.gz",
        "Copy or export the file again",
    ),
    "truncated entropy": (
        damaged("backbones/tiny-2/entropy/spleen.nii.gz", ["attention", CASE]),
        "spleen.nii.gz",
        "Copy or export the file again",
    ),
    "torn record": (damaged("average/attention/run.json", ["priority", CASE]), "run.json", "Restore the file or remove it"),
    "unknown order": (lambda _: ["priority", CASE, "--order", "size"], "size", "Use one of abdomenatlas"),
    "unsafe list name": (lambda _: ["priority", CASE, "--name", "../x"], "../x", "Use one name"),
    "unknown dataset id": (lambda _: ["assemble", CASE, "--out", "release", "--dataset-id", "77"], "77", "Use one of 01"),
    "unknown dataset folder": (unknown_dataset, "original_label.nii.gz", "--dataset-id"),
    "unknown release": (lambda _: ["assemble", CASE, "--out", "release", "--release", "2.0"], "2.0", "Use one of 1.0, 1.1"),
    "release among the sources": (lambda _: ["assemble", CASE, "--out", "04_LiTS"], "04_LiTS", "outside of the dataset"),
    "original with an unknown value": (strange_original(LABELS * 9), "original_label.nii.gz", "--dataset-id"),
    "original of another shape": (strange_original(OTHER), "original_label.nii.gz", "Resample"),
    "original of another affine": (strange_original(LABELS, moved()), "original_label.nii.gz", "Resample"),
    "damaged average": (
        damaged("average/segmentations/spleen.nii.gz", ["assemble", CASE, "--out", "release"]),
        "spleen.nii.gz",
        "--force",
    ),
}


@pytest.mark.parametrize("wrong", FINISHED)
def test_a_case_that_cannot_be_worked_on_is_left_as_it_is(work: Path, wrong: str) -> None:
    make, file, step = FINISHED[wrong]
    both_ways(work, make(work), file, step)


@pytest.mark.parametrize("command", ["segment", "average", "assemble", "run"])
def test_zero_jobs_are_a_usage_error(work: Path, command: str) -> None:
    before = listing(work)
    done = run_program([command, "inputs/ct.nii.gz", "--out", "new", "--jobs", "0"][: 4 if command == "average" else None], work)
    assert done.code == 2
    assert done.out == ""
    assert "Error: " in done.err
    assert listing(work) == before


def test_one_bad_scan_among_three_does_not_stop_the_others(work: Path) -> None:
    inputs = inputs_of(work)
    scans = [work / f"{name}.nii.gz" for name in ("a", "b", "c")]
    for scan in scans:
        shutil.copy(inputs.ct, scan)
    scans[1].write_bytes(scans[1].read_bytes()[:500])
    arguments = [*map(str, scans), *inputs.model_options(), "--roi", str(inputs.roi), "--out", "set", "--json"]
    done = run_program(["segment", *arguments], work)
    assert done.code == 1
    assert {case["name"]: case["state"] for case in json.loads(done.out)["cases"]} == {"a": "done", "b": "failed", "c": "done"}
    assert len(done.err.splitlines()) == 1
    assert "b.nii.gz" in done.err
    assert sorted(path.name for path in (work / "set").iterdir()) == ["a", "c"]


def test_one_damaged_case_among_three_does_not_stop_the_average_of_the_others(work: Path) -> None:
    case = work / CASE
    shutil.rmtree(case / "average")
    for name in ("a", "c"):
        shutil.copytree(case, case.parent / name)
    soft = case / f"backbones/tiny-1/soft_pred/{ORGANS[0]}.nii.gz"
    soft.write_bytes(soft.read_bytes()[:-9])
    done = run_program(["average", "04_LiTS"], work)
    assert done.code == 1
    assert done.out == "average: 2 done, 0 skipped (finished before), 1 failed\n"
    assert len(done.err.splitlines()) == 1
    assert str(soft) in done.err
    assert [(case.parent / name / "average/run.json").is_file() for name in ("a", "c", "scan")] == [True, True, False]
