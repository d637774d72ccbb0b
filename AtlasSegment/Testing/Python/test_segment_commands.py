"""The commands segment, resample and info: what they write, what they print, and what they refuse with nothing written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import typer
from typer.testing import CliRunner, Result

from atlas_phantoms import FIT, ORGANS, ct, files_below, make_case, make_model, make_roi
from AtlasSegmentLib import commands
from AtlasSegmentLib.errors import AtlasError, DatasetError, InputError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume

APP = typer.Typer(pretty_exceptions_enable=False)
commands.add_to(APP)


def run(*arguments: object) -> Result:
    """Run the program; an AtlasError, which `atlas` prints as one line and leaves with 2, is raised."""
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"), "tiny")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    write_nifti(tmp_path / "in/scan 1.nii.gz", ct("LPS"))
    return tmp_path / "in/scan 1.nii.gz"


def test_a_ct_becomes_a_case_and_the_second_run_skips_it(tmp_path: Path, scan: Path, model: Path) -> None:
    first = run("segment", scan, "--model", model, "--out", tmp_path / "set", "--json")
    assert first.exit_code == 0
    told = json.loads(first.stdout)
    assert (told["done"], told["skipped"], told["failed"]) == (1, 0, 0)
    assert told["cases"][0]["name"] == "scan 1"
    before = files_below(tmp_path / "set")
    assert {"scan 1/ct.nii.gz", "scan 1/backbones/tiny/run.json"} <= set(before)
    again = run("segment", scan, "--model", model, "--out", tmp_path / "set")
    assert "segment: 0 done, 1 skipped (finished before), 0 failed" in again.stdout
    assert files_below(tmp_path / "set") == before


def test_a_dataset_folder_is_segmented_and_one_bad_case_gives_exit_code_1(tmp_path: Path, model: Path) -> None:
    for name in ("a", "b", "c"):
        make_case(tmp_path / "set" / name)
    bad = tmp_path / "set/b/ct.nii.gz"
    bad.write_bytes(bad.read_bytes()[:-500])
    result = run("segment", tmp_path / "set", "--model", model)
    assert result.exit_code == 1
    assert "2 done, 0 skipped (finished before), 1 failed" in result.stdout
    (line,) = [line for line in result.stderr.splitlines() if "error" in line]
    assert str(bad) in line
    assert not (tmp_path / "set/b/backbones").exists()


def test_a_list_puts_cases_below_their_datasets(tmp_path: Path, model: Path) -> None:
    for name in ("x y", "z"):
        write_nifti(tmp_path / f"data/04 Lits/{name}.nii.gz", ct())
    (tmp_path / "list.txt").write_text("04 Lits/x y.nii.gz\n04 Lits/z.nii.gz\n", encoding="utf-8")
    out = tmp_path / "out"
    assert run("segment", "--list", tmp_path / "list.txt", "--data-root", tmp_path / "data", "--out", out, "--model", model).exit_code == 0
    assert {"04 Lits/x y/ct.nii.gz", "04 Lits/z/backbones/tiny/run.json"} <= set(files_below(out))


@pytest.mark.parametrize("line", ["../in/scan 1.nii.gz", "/etc/passwd", "away/scan 1.nii.gz"])
def test_a_list_that_leads_outside_writes_nothing(tmp_path: Path, scan: Path, model: Path, line: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/away").symlink_to(scan.parent)
    (tmp_path / "list.txt").write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="outside"):
        run("segment", "--list", tmp_path / "list.txt", "--data-root", tmp_path / "data", "--out", tmp_path / "out", "--model", model)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../evil", "..", "/tmp/evil", "a/b", ".hidden", "a\nb"])
def test_a_hostile_case_name_writes_nothing(tmp_path: Path, scan: Path, model: Path, name: str) -> None:
    before = files_below(tmp_path)
    with pytest.raises(DatasetError, match="case name"):
        run("segment", scan, "--model", model, "--out", tmp_path / "set", "--case", name)
    assert files_below(tmp_path) == before


def test_a_linked_scan_is_named_after_its_link(tmp_path: Path, scan: Path, model: Path) -> None:
    link = tmp_path / "patient 7.nii.gz"
    link.symlink_to(scan)
    run("segment", link, "--model", model, "--out", tmp_path / "set")
    assert (tmp_path / "set/patient 7/ct.nii.gz").is_file()


def test_a_scan_without_out_is_told_what_is_missing(scan: Path, model: Path) -> None:
    with pytest.raises(InputError, match=r"scan 1\.nii\.gz: is an image.*--out"):
        run("segment", scan, "--model", model)


@pytest.mark.parametrize("missing", ["ct", "model", "data-root"])
def test_what_is_missing_on_the_command_line_is_told(tmp_path: Path, scan: Path, model: Path, missing: str) -> None:
    arguments: dict[str, list[object]] = {
        "ct": ["--model", model, "--out", tmp_path / "set"],
        "model": [scan, "--out", tmp_path / "set"],
        "data-root": ["--list", scan, "--model", model, "--out", tmp_path / "set"],
    }
    with pytest.raises(InputError):
        run("segment", *arguments[missing])
    assert not (tmp_path / "set").exists()


def test_two_scans_of_one_name_are_refused(tmp_path: Path, scan: Path, model: Path) -> None:
    other = tmp_path / "more/scan 1.nii.gz"
    write_nifti(other, ct())
    with pytest.raises(InputError, match="same file name"):
        run("segment", scan, other, "--model", model, "--out", tmp_path / "set")


@pytest.mark.parametrize("broken", ["roi", "model", "ct"])
def test_a_bad_file_gives_one_line_with_its_name_and_exit_code_2(tmp_path: Path, scan: Path, broken: str) -> None:
    folder = make_model(tmp_path / "m", "fit", input=FIT, **({"sha256": "0" * 64} if broken == "model" else {}))
    region = [] if broken == "roi" else ["--roi", make_roi(tmp_path / "box.mrk.json")]
    if broken == "ct":
        scan.write_bytes(scan.read_bytes()[:-900])
    result = run("segment", scan, "--model", folder, *region, "--out", tmp_path / "set")
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert {"roi": "scan 1.nii.gz", "model": "model.onnx", "ct": "scan 1.nii.gz"}[broken] in line
    assert not (tmp_path / "set").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read every folder")
def test_an_unreadable_folder_is_named(tmp_path: Path, model: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(AtlasError, match="closed"):
        run("segment", tmp_path / "closed", "--model", model)


def test_resample_like_brings_an_image_onto_the_grid_of_another(tmp_path: Path, scan: Path) -> None:
    write_nifti(tmp_path / "other.nii.gz", ct("SAR"))
    assert run("resample", scan, tmp_path / "new.nii.gz", "--like", tmp_path / "other.nii.gz").exit_code == 0
    np.testing.assert_allclose(read_nifti(tmp_path / "new.nii.gz").array, ct("SAR").array, atol=1e-3)


def test_resampled_labels_keep_their_values_and_type(tmp_path: Path) -> None:
    array = np.zeros((10, 9, 8), np.uint16)
    array[3:7, 3:7, 3:6] = 300
    write_nifti(tmp_path / "labels.nii.gz", Volume(array, np.diag([2.0, 2.0, 4.0, 1.0])))
    run("resample", tmp_path / "labels.nii.gz", tmp_path / "new.nii.gz", "--spacing", "1x1x1", "--labels")
    found = read_nifti(tmp_path / "new.nii.gz")
    assert found.shape == (20, 18, 32)
    assert found.array.dtype == np.uint16
    assert np.unique(found.array).tolist() == [0, 300]
    assert (found.array > 0).sum() == pytest.approx((array > 0).sum() * 16, rel=0.1)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_device_in_use_is_recorded_and_a_run_on_another_one_is_the_same_result(
    tmp_path: Path, scan: Path, model: Path, device: str
) -> None:
    run("segment", scan, "--model", model, "--out", tmp_path / "set", "--device", device)
    record = json.loads((tmp_path / "set/scan 1/backbones/tiny/run.json").read_text(encoding="utf-8"))
    assert record["results"]["device"] in ("gpu", "cpu")
    again = run("segment", scan, "--model", model, "--out", tmp_path / "set", "--device", "auto")
    assert "0 done, 1 skipped" in again.stdout


def test_a_device_that_is_none_or_not_there_is_refused_with_nothing_written(tmp_path: Path, scan: Path, model: Path) -> None:
    with pytest.raises(InputError, match="'tpu': is no device"):
        run("segment", scan, "--model", model, "--out", tmp_path / "set", "--device", "tpu")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        result = run("segment", scan, "--model", model, "--out", tmp_path / "set", "--device", "gpu")
        assert result.exit_code == 2
        assert "a GPU was asked for" in result.stderr
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("wrong", ["0x2x2", "2x2", "axbxc", "0.5x4x4", "nanx4x4", "infx4x4", "-1x4x4", "4.5x4x4"])
def test_a_shape_that_is_no_shape_is_refused(tmp_path: Path, scan: Path, wrong: str) -> None:
    with pytest.raises(InputError, match=r"--shape '.*' is not three positive whole numbers"):
        run("resample", scan, tmp_path / "new.nii.gz", "--shape", wrong)
    assert not (tmp_path / "new.nii.gz").exists()


@pytest.mark.parametrize("wrong", ["0x2x2", "nanx1x1", "infx1x1", "1x1"])
def test_a_spacing_that_is_no_spacing_is_refused(tmp_path: Path, scan: Path, wrong: str) -> None:
    with pytest.raises(InputError, match=r"--spacing"):
        run("resample", scan, tmp_path / "new.nii.gz", "--spacing", wrong)


@pytest.mark.parametrize("options", [[], ["--shape", "4x4x4", "--spacing", "1x1x1"], ["--shape", "4x4x4", "--orientation", "RAX"]])
def test_a_grid_that_is_not_defined_once_is_refused(tmp_path: Path, scan: Path, options: list[str]) -> None:
    with pytest.raises(AtlasError):
        run("resample", scan, tmp_path / "new.nii.gz", *options)
    with pytest.raises(InputError, match="--like"):
        run("resample", scan, tmp_path / "new.nii.gz", "--like", scan, "--shape", "4x4x4")
    assert not (tmp_path / "new.nii.gz").exists()


def test_resample_never_replaces_a_file(scan: Path) -> None:
    before = scan.read_bytes()
    with pytest.raises(InputError, match="is there already"):
        run("resample", scan, scan, "--spacing", "1x1x1")
    assert scan.read_bytes() == before


def test_info_tells_what_is_there_and_what_is_missing(tmp_path: Path, scan: Path, model: Path) -> None:
    run("segment", scan, "--model", model, "--out", tmp_path / "set")
    (case,) = json.loads(run("info", tmp_path / "set", "--json").stdout)["items"]
    assert case["models"]["tiny"]["organs"] == sorted(ORGANS)
    assert case["missing"] == ["no average: atlas average"]
    (image,) = json.loads(run("info", scan, "--json").stdout)["items"]
    assert (image["orientation"], image["shape"]) == ("LPS", list(ct("LPS").shape))
    (network,) = json.loads(run("info", model, "--json").stdout)["items"]
    assert network["organs"] == list(ORGANS)
    assert "tiny" in run("info", model).stdout


def test_info_reports_damage_instead_of_failing(tmp_path: Path) -> None:
    case = make_case(tmp_path / "set/a")
    case.ct.write_bytes(b"nothing")
    case.backbone("m").folder.mkdir(parents=True)
    case.backbone("m").run_record.write_text("{", encoding="utf-8")
    (found,) = json.loads(run("info", case.folder, "--json").stdout)["items"]
    assert any("ct.nii.gz" in text for text in found["missing"])
    assert any("run.json is damaged" in text for text in found["missing"])
