"""What a prediction says beside its numbers: empty masks, masks that cannot be read, a CT that is none or that the model was trained on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from AtlasQualityLib import tasks
from AtlasQualityLib.commands_quality import quality_app
from AtlasQualityLib.commands_quality_evaluate import empty_masks
from AtlasQualityLib.phantom_case import phantom_ct, phantom_organ, write_phantom_case
from AtlasQualityLib.quality_calibration import interval_note, score_agreement
from AtlasQualityLib.quality_case_masks import doubts_of
from AtlasQualityLib.quality_manifest import TrainingCt, read_manifest, write_manifest
from AtlasQualityLib.quality_model import open_quality_model
from AtlasQualityLib.quality_settings import SETTINGS, require_shapes, require_size, settings_sha256
from AtlasQualityLib.quality_slices import axial
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, ModelError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume
from AtlasSegmentLib.voxel_sum import voxels_sha256
from quality_random_model import write_plain_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plain_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> CaseFolder:
    case = write_phantom_case(tmp_path_factory.mktemp("data") / "scan")
    tasks.average_files(str(case.folder))
    return case


@pytest.fixture
def case(averaged: CaseFolder, tmp_path: Path) -> CaseFolder:
    return CaseFolder(Path(shutil.copytree(averaged.folder, tmp_path / "hospital" / "scan")))


def run(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(quality_app(), [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


def rewritten(path: Path, array: np.ndarray) -> None:
    write_nifti(path, read_nifti(path).with_array(np.asfortranarray(array)))


def test_an_empty_mask_is_named_and_has_a_defined_result(case: CaseFolder, model: Path) -> None:
    rewritten(case.average.mask("spleen"), np.zeros(phantom_ct().shape, np.uint8))
    text = run("predict", case.folder, "--model", model).output
    assert "1 empty mask has no predicted Dice: scan: spleen" in text
    assert any("spleen" in line and "empty" in line for line in text.splitlines() if line.startswith("│"))
    (found,) = json.loads(run("predict", case.folder, "--model", model, "--json").stdout)["cases"]
    assert found["result"]["results"]["empty"] == ["spleen"]
    assert found["result"]["results"]["organs"]["spleen"]["dice"] is None
    truth = phantom_organ("liver") * np.uint8(6) + phantom_organ("spleen") * np.uint8(1)
    write_nifti(case.folder / "truth.nii.gz", Volume(np.asfortranarray(truth), read_nifti(case.ct).affine))
    told = run("evaluate", case.folder, "--reference", "truth.nii.gz", "--table", "abdomenatlas", "--model", model).output
    assert "1 empty mask has no predicted Dice: scan, average: spleen (counted as 0)" in told
    assert "masks as independent; they are of 1 case only" in " ".join(told.split())


def test_many_empty_masks_are_counted_and_the_first_ones_named() -> None:
    assert empty_masks(["a", "b"]) == "2 empty masks have no predicted Dice: a, b"
    assert empty_masks([str(n) for n in range(20)]).endswith("10, 11 and 8 more")


def test_a_case_that_was_finished_before_gives_what_is_there(case: CaseFolder, model: Path) -> None:
    first, again = (json.loads(run("predict", case.folder, "--model", model, "--json").stdout)["cases"][0] for _ in range(2))
    assert (first["state"], again["state"]) == ("done", "skipped")
    assert again["result"]["results"] == first["result"]["results"]


@pytest.mark.parametrize("damage", ["several values", "no file", "another grid"])
def test_one_mask_that_cannot_be_scored_does_not_stop_the_others(case: CaseFolder, model: Path, damage: str) -> None:
    path = case.average.mask("spleen")
    mask = read_nifti(path)
    if damage == "several values":
        rewritten(path, mask.array * 2 + np.roll(mask.array, 1, axis=0))
    elif damage == "no file":
        path.write_bytes(b"broken")
    else:
        write_nifti(path, Volume(mask.array, mask.affine + np.diag([1.0, 0, 0, 0])))
    for state in ("done", "skipped"):
        result = run("predict", case.folder, "--model", model, "--json", code=1)
        (found,) = json.loads(result.stdout)["cases"]
        assert found["state"] == state
        assert set(found["result"]["results"]["organs"]) == {"kidney_left", "liver"}
        assert "spleen" in found["result"]["results"]["failed"]
        assert "scan: spleen was not scored:" in result.stderr
    for path in (case.average.mask("liver"), case.average.mask("kidney_left")):
        path.write_bytes(b"broken")
    assert "0 done, 0 skipped (finished before), 1 failed" in run("predict", case.folder, "--model", model, code=2).output


def test_a_ct_that_the_model_was_trained_on_is_told_everywhere(case: CaseFolder, model: Path, tmp_path: Path) -> None:
    ct = read_nifti(case.ct)
    mark = voxels_sha256(axial(ct.reoriented("LPS").array))
    known = Path(shutil.copytree(model, tmp_path / "known"))
    seen = (TrainingCt(name="patient-7", part="val", voxels_sha256=mark),)
    write_manifest(known, read_manifest(model).model_copy(update={"training_cts": seen}))
    sentence = "scan: the model was validated on this CT: its figures here are too good."
    write_nifti(case.ct, ct.with_array(np.asfortranarray(ct.array.astype(np.float32))))  # the same CT in another file
    assert sentence in run("predict", case.folder, "--model", known).stderr
    content = json.loads(case.average.predicted_dice.read_text())
    assert content["training_ct"] == {"name": "patient-7", "part": "val"}
    run("report", case.folder, "--out", tmp_path / "q.html", "--pictures", 0)
    assert sentence in (tmp_path / "q.html").read_text(encoding="utf-8")
    shutil.copyfile(case.average.mask("liver"), case.folder / "truth.nii.gz")
    (tmp_path / "table.json").write_text('{"format": "atlas-labels/1", "name": "toy", "labels": {"1": "liver"}}')
    found = run("evaluate", case.folder, "--reference", "truth.nii.gz", "--table", tmp_path / "table.json", "--json", "--model", known)
    assert json.loads(found.stdout)["warnings"] == [sentence]
    assert "too good" not in run("predict", case.folder, "--model", model, "--force").output


def test_a_ct_that_is_none_in_hu_or_mm_is_doubted(case: CaseFolder, model: Path) -> None:
    ct = phantom_ct()
    assert doubts_of(ct) == []
    assert "with 1024 added" in doubts_of(ct.with_array((np.clip(ct.array, -1024, 3071) + 1024).astype(np.int16)))[0]
    assert "rescaled" in doubts_of(ct.with_array((ct.array - ct.array.min()) / 4000.0))[0]
    for scale in (0.001, 1000.0):
        (doubt,) = doubts_of(replace(ct, affine=ct.affine * np.array([scale, scale, scale, 1])))
        assert "no CT of a person" in doubt
    stored = read_nifti(case.ct)
    rewritten(case.ct, stored.array + 1024)
    assert "atlas: warning: scan: Its values run from" in run("predict", case.folder, "--model", model).stderr


def test_a_model_that_a_case_does_not_have_is_answered_with_those_it_has(case: CaseFolder, model: Path, tmp_path: Path) -> None:
    text = run("predict", case.folder, "--of", "nope", "--model", model, code=2).output
    assert "no masks of a model 'nope'" in text
    assert "Models of this case: first, second" in text
    with pytest.raises(DatasetError, match=r"no masks of a model 'nope'.*first, second"):
        run("report", case.folder, "--of", "nope", "--out", tmp_path / "q.html")
    with pytest.raises(DatasetError, match=rf"Run: atlas quality predict {case.folder} --of first"):
        run("report", case.folder, "--of", "first", "--out", tmp_path / "q.html")


def test_a_picture_of_a_slice_without_mask_says_so(case: CaseFolder, model: Path, tmp_path: Path) -> None:
    run("predict", case.folder, "--model", model)
    content = json.loads(case.average.predicted_dice.read_text())
    liver = content["details"]["liver"]
    liver["dice"], liver["worst_slice"] = 0.0, next(one["index"] for one in liver["slices"] if not one["has_mask"])
    case.average.predicted_dice.write_text(json.dumps(content))
    run("report", case.folder, "--out", tmp_path / "q.html", "--pictures", 1)
    assert "the mask is empty in this slice" in (tmp_path / "q.html").read_text(encoding="utf-8")


def test_settings_that_were_edited_by_hand_are_refused(model: Path, tmp_path: Path) -> None:
    manifest = read_manifest(model)
    signed = manifest.model_copy(update={"sha256": {**manifest.sha256, SETTINGS: settings_sha256(manifest)}})
    edited = Path(shutil.copytree(model, tmp_path / "edited"))
    write_manifest(edited, signed)
    assert open_quality_model(edited).manifest == signed
    for slices in ({"size": manifest.slices.size + 32}, {"kind": "compat"}):
        write_manifest(edited, signed.model_copy(update={"slices": manifest.slices.model_copy(update=slices)}))
        with pytest.raises(ModelError, match="the file was edited"):
            open_quality_model(edited)
    require_shapes(model, manifest)
    for said in ({"width": manifest.width * 2}, {"backbone": "resnet34"}, {"outline": not manifest.outline}):
        with pytest.raises(ModelError, match=r"is not the network of model\.safetensors, which is resnet18"):
            require_shapes(model, manifest.model_copy(update=said))
    size = manifest.slices.size
    require_size(model / "model.onnx", ("batch", 2, size, size), manifest)
    with pytest.raises(ModelError, match=rf"states slices of {size} x {size}, model\.onnx takes 32 x 32"):
        require_size(model / "model.onnx", ("batch", 2, 32, 32), manifest)
    (edited / "model.safetensors").write_bytes(b"\x05\0\0\0\0\0\0\0[[[[[")
    with pytest.raises(ModelError, match="no safetensors file"):
        require_shapes(edited, manifest)


def test_an_interval_over_cases_needs_no_note() -> None:
    x = np.linspace(0, 1, 30)
    assert "30 masks as independent; they are of 3 cases only" in interval_note(score_agreement(x, x**2, [str(n % 3) for n in range(30)]))
    assert interval_note(score_agreement(x, x**2, [str(n % 6) for n in range(30)])) == ""
