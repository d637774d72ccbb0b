"""`atlas predict` with the options that users of nnU-Net type, on a tiny model and phantoms."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import nnunet_models
from atlas_phantoms import ct
from AtlasReviewLib.program import build
from AtlasSegmentLib import nifti


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder with three images under nnU-Net's names."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("b", "a", "c"):
        nifti.write_nifti(folder / f"{name}_0000.nii.gz", ct())
    return folder


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return nnU-Net's results folder with one model in it."""
    folder = tmp_path / "results"
    nnunet_models.make_nnunet_model(folder, patch=(32, 32, 32), spacing=(4, 4, 4))
    monkeypatch.setenv("nnUNet_results", str(folder))
    return folder


def run(*arguments: object) -> Any:
    """Run the program as a user does, on the CPU."""
    return CliRunner().invoke(build(), ["predict", *map(str, arguments), "-device", "cpu"])


def names(folder: Path) -> list[str]:
    """Return the label maps in a folder."""
    return sorted(path.name for path in folder.glob("*.nii.gz"))


def test_the_documented_command_writes_label_maps_on_the_images_grid_and_says_what_they_mean(images: Path, results: Path) -> None:
    out = results.parent / "labels"
    done = run("-i", images, "-o", out, "-d", 111, "-tr", "nnUNetTrainerNoMirroring", "-f", 0, "-c", "3d_fullres", "--c")
    assert done.exit_code == 0, done.output
    assert names(out) == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    labels = nifti.read_nifti(out / "a.nii.gz")
    assert labels.array.dtype == np.uint8
    assert labels.shape == ct().shape
    assert np.allclose(labels.affine, ct().affine)
    assert {path.name for path in out.glob("*.json")} == {"dataset.json", "plans.json", "predict_from_raw_data_args.json"}


def test_finished_images_are_skipped_with_c_and_done_again_without(images: Path, results: Path) -> None:
    model, out = next(results.glob("*/*")), results.parent / "labels"
    run("-i", images, "-o", out, "-m", model)
    (out / "b.nii.gz").write_bytes(b"mine")
    run("-i", images, "-o", out, "-m", model, "--c")
    assert (out / "b.nii.gz").read_bytes() == b"mine"
    assert run("-i", images, "-o", out, "-m", model).exit_code == 0
    assert nifti.read_nifti(out / "b.nii.gz").shape == ct().shape


def test_parts_are_those_of_nnunet(images: Path, results: Path) -> None:
    model, out = next(results.glob("*/*")), results.parent / "labels"
    assert run("-i", images, "-o", out, "-m", model, "-part_id", 1, "-num_parts", 2).exit_code == 0
    assert names(out) == ["b.nii.gz"]
    outside = run("-i", images, "-o", out, "-m", model, "-part_id", 2, "-num_parts", 2)
    assert "parts are numbered from 0 to 1" in str(outside.exception)


def test_probabilities_are_nnunets_files(images: Path, results: Path) -> None:
    model, out = next(results.glob("*/*")), results.parent / "labels"
    assert run("-i", images / "a_0000.nii.gz", "-o", out, "-m", model, "--save_probabilities").exit_code == 0
    shares = np.load(out / "a.npz")["probabilities"]
    labels = nifti.read_nifti(out / "a.nii.gz").array
    assert shares.shape == (len(nnunet_models.ORGANS) + 1, *labels.shape[::-1])
    assert np.allclose(shares.sum(axis=0), 1, atol=2e-3)
    sure = np.sort(shares, axis=0)[-1] > 0.51
    assert (shares.argmax(axis=0) == labels.transpose(2, 1, 0))[sure].all()
    saved = pickle.loads((out / "a.pkl").read_bytes())
    assert saved["spacing"] == pytest.approx(ct().spacing[::-1])


def test_the_presets_that_look_at_the_body_alone_write_whole_label_maps(images: Path, results: Path) -> None:
    model, out = next(results.glob("*/*")), results.parent / "labels"
    assert run("-i", images / "a_0000.nii.gz", "-o", out, "-m", model, "--preset", "fast").exit_code == 0
    assert nifti.read_nifti(out / "a.nii.gz").shape == ct().shape


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "No model given"),
        (("-d", 7), "Dataset111"),
        (("-d", 111), "nnUNetTrainerNoMirroring"),
        (("-d", 111, "-tr", "nnUNetTrainerNoMirroring", "-f", 3), "fold 3 has no checkpoint"),
    ],
)
def test_a_model_that_is_not_there_is_said_with_what_there_is(
    arguments: tuple[object, ...], said: str, images: Path, results: Path
) -> None:
    done = run("-i", images, "-o", results.parent / "labels", *arguments)
    assert done.exit_code != 0
    assert said in done.output + str(done.exception) + str(getattr(done.exception, "remedy", ""))


def test_results_never_go_among_the_images(images: Path, results: Path) -> None:
    done = run("-i", images, "-o", images, "-m", next(results.glob("*/*")))
    assert "is the folder of the images" in str(done.exception)
    assert len(list(images.iterdir())) == 3


def test_a_folder_without_images_under_nnunets_names_is_said(tmp_path: Path, results: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    nifti.write_nifti(empty / "scan.nii.gz", ct())
    done = run("-i", empty, "-o", tmp_path / "labels", "-m", next(results.glob("*/*")))
    assert "scan.nii.gz" in str(done.exception)


def test_what_was_asked_for_is_recorded(images: Path, results: Path) -> None:
    out = results.parent / "labels"
    run("-i", images / "a_0000.nii.gz", "-o", out, "-m", next(results.glob("*/*")), "-step_size", 0.7)
    assert json.loads((out / "predict_from_raw_data_args.json").read_text())["step_size"] == 0.7
