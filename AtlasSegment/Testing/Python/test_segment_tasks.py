"""What the panel asks of its child process: a CT segmented by several models into a case folder, in this process and in a child."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas_phantoms import FIT, ct, files_below, make_model, make_roi, roi
from AtlasSegmentLib import model_cache
from AtlasSegmentLib.child_process import ChildProcess, Event
from AtlasSegmentLib.errors import AtlasError, InputError, ModelError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.tasks import segment_files
from child_tools import running

CALL = "AtlasSegmentLib.tasks:segment_files"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    write_nifti(tmp_path / "in/scan.nii.gz", ct("LPS"))
    return tmp_path / "in/scan.nii.gz"


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    folders = [make_model(tmp_path / "models/one", "one"), make_model(tmp_path / "models/two", "two", input=FIT)]
    return [str(folder) for folder in folders]


def test_a_ct_becomes_a_case_with_every_model(tmp_path: Path, scan: Path, models: list[str]) -> None:
    told: list[tuple[float, str]] = []
    result = segment_files(
        str(scan), str(tmp_path / "set"), "case 1", models, roi="whole", device="cpu", progress=lambda *step: told.append(step)
    )
    assert result["case"] == str(tmp_path / "set/case 1")
    assert result["models"] == result["computed"] == ["one", "two"]
    assert result["devices"] == {"one": "cpu", "two": "cpu"}
    assert all("CPUExecutionProvider" in engine for engine in result["engines"].values())
    assert result["seconds"] > 0
    assert {f"case 1/backbones/{name}/run.json" for name in result["models"]} <= set(files_below(tmp_path / "set"))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert (fractions[0], told[0][1]) == (0.0, "load models")
    assert any(stage == "two: infer" for _, stage in told)


def test_every_organ_has_its_entropy_so_that_attention_needs_no_other_run(tmp_path: Path, scan: Path, models: list[str]) -> None:
    segment_files(str(scan), str(tmp_path / "all"), "a", models[:1])
    segment_files(str(scan), str(tmp_path / "few"), "a", models[:1], all_organs=False)
    every = [name for name in files_below(tmp_path / "all") if "/entropy/" in name]
    assert len(every) == 3
    assert len([name for name in files_below(tmp_path / "few") if "/entropy/" in name]) <= 3


def test_what_is_there_is_not_computed_again_unless_it_shall_be(tmp_path: Path, scan: Path, models: list[str]) -> None:
    def run(**options: Any) -> list[str]:
        return list(segment_files(str(scan), str(tmp_path / "set"), "a", models, roi="whole", **options)["computed"])

    assert run() == ["one", "two"]
    assert run() == []
    assert run(device="cpu") == []
    assert run(force=True) == ["one", "two"]


def test_a_region_is_taken_from_a_file_or_from_the_scene(tmp_path: Path, scan: Path, models: list[str]) -> None:
    box = roi()
    path = make_roi(tmp_path / "box.mrk.json")
    plain = {"center": box.center.tolist(), "axes": box.axes.tolist(), "size": box.size.tolist()}
    masks = []
    for name, region in (("file", str(path)), ("scene", plain)):
        segment_files(str(scan), str(tmp_path / "set"), name, models[1:], roi=region)
        masks.append(read_nifti(tmp_path / f"set/{name}/backbones/two/pseudo_label.nii.gz").array)
    assert masks[0].any()
    np.testing.assert_array_equal(masks[0], masks[1])


@pytest.mark.parametrize(
    ("region", "text"),
    [
        ({"center": [0, 0, 0], "axes": np.eye(3).tolist(), "size": [0, 1, 1]}, "size must be above 0"),
        ({"center": [0, 0]}, "region of interest"),
        ({}, "region of interest"),
        ("no.mrk.json", "no.mrk.json"),
    ],
)
def test_a_region_that_is_none_is_refused(tmp_path: Path, scan: Path, models: list[str], region: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        segment_files(str(scan), str(tmp_path / "set"), "a", models, roi=region)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(("name", "folder"), [("", "CT"), ("..", "CT"), ("a/b", "a_b"), ("5: Abd  Pel", "5_ Abd Pel")])
def test_a_name_that_can_be_no_folder_is_made_one(tmp_path: Path, scan: Path, models: list[str], name: str, folder: str) -> None:
    result = segment_files(str(scan), str(tmp_path / "set"), name, models[:1])
    assert result["case"] == str(tmp_path / "set" / folder)


def test_another_image_of_the_same_name_gets_a_case_of_its_own(tmp_path: Path, scan: Path, models: list[str]) -> None:
    other = tmp_path / "in/other.nii.gz"
    write_nifti(other, ct("LPS", degrees=5.0))
    cases = [segment_files(str(source), str(tmp_path / "set"), "a", models[:1])["case"] for source in (scan, other, scan, other)]
    assert [Path(case).name for case in cases] == ["a", "a 2", "a", "a 2"]


def test_a_model_is_loaded_once_for_several_cases(tmp_path: Path, scan: Path, models: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Path] = []
    load = model_cache.load_model
    monkeypatch.setattr(model_cache, "load_model", lambda folder, *rest: loads.append(folder) or load(folder, *rest))
    for name in ("a", "b"):
        segment_files(str(scan), str(tmp_path / "set"), name, models[:1])
    assert len(loads) == 1


def test_a_model_that_vanished_or_changed_is_not_answered_from_memory(tmp_path: Path, scan: Path, models: list[str]) -> None:
    segment_files(str(scan), str(tmp_path / "set"), "a", models[:1])
    network = Path(models[0]) / "model.onnx"
    network.write_bytes(network.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="SHA-256"):
        segment_files(str(scan), str(tmp_path / "set"), "b", models[:1])
    shutil.rmtree(models[0])
    with pytest.raises(ModelError, match=r"model\.json is missing"):
        segment_files(str(scan), str(tmp_path / "set"), "b", models[:1])
    assert not (tmp_path / "set/b").exists()


def finished(child: ChildProcess, arguments: dict[str, Any], stop_at: str = "") -> list[Event]:
    """Run the task in a child; return its events up to the end, or up to a stage."""
    child.send(CALL, arguments)
    found: list[Event] = []
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        found += child.events()
        if not child.busy or (stop_at and any(stop_at in event.text for event in found if event.kind == "progress")):
            return found
        time.sleep(0.02)
    message = f"not finished: {found[-5:]}"
    raise AssertionError(message)


def test_bad_input_is_an_error_of_the_child_and_the_next_job_runs(tmp_path: Path, scan: Path, models: list[str]) -> None:
    child = ChildProcess()
    arguments = {"ct": tmp_path / "no.nii.gz", "dataset_folder": tmp_path / "set", "case": "a", "models": models}
    error = finished(child, arguments)[-1]
    assert (error.kind, error.value) == ("error", "InputError")
    assert "no.nii.gz" in error.text
    assert error.remedy
    assert finished(child, {**arguments, "ct": scan, "roi": "whole"})[-1].value["computed"] == ["one", "two"]
    child.close()


def test_real_networks_run_in_the_child_and_leave_no_process_when_cancelled(
    tmp_path: Path, shared_data: Path, shared_models: list[Path]
) -> None:
    torso = shared_data / "data/torso-3mm"
    arguments = {
        "ct": torso / "ct.nii.gz",
        "dataset_folder": tmp_path / "set",
        "case": "torso",
        "models": [str(folder) for folder in shared_models],
        "roi": str(torso / "abdomen_roi.mrk.json"),
    }
    child = ChildProcess()
    finished(child, {**arguments, "case": "cancelled"}, stop_at="infer")
    pid = child.pid or 0
    assert pid
    child.kill()
    if Path("/proc/self/stat").is_file():
        assert running([pid]) == []
    assert not list((tmp_path / "set/cancelled").rglob("run.json"))  # nothing passes for finished

    result = finished(child, arguments)[-1]
    assert result.kind == "result", result.text
    names = [str(read_json(folder / "model.json")["name"]) for folder in shared_models]
    assert result.value["models"] == names
    assert set(result.value["devices"].values()) <= {"gpu", "cpu"}
    liver = read_nifti(tmp_path / "set/torso/backbones" / names[0] / "segmentations/liver.nii.gz")
    assert np.count_nonzero(liver.array) > 10_000
    warm = finished(child, arguments)[-1].value
    assert warm["computed"] == []
    child.close()


def test_a_dataset_folder_that_cannot_be_is_told_by_the_child(tmp_path: Path, scan: Path, models: list[str]) -> None:
    (tmp_path / "set").write_text("a file where the folder shall be")
    child = ChildProcess()
    error = finished(child, {"ct": scan, "dataset_folder": tmp_path / "set", "case": "a", "models": models, "roi": "whole"})[-1]
    child.close()
    assert error.kind == "error"
    assert str(tmp_path / "set") in error.text
    with pytest.raises(AtlasError):
        segment_files(str(scan), str(tmp_path / "set"), "a", models, roi="whole")
