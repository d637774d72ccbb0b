"""The commands `atlas quality`."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from AtlasQualityLib import tasks
from AtlasQualityLib.commands_quality import quality_app
from AtlasQualityLib.phantom_case import phantom_organ, write_phantom_case
from AtlasQualityLib.quality_manifest import SAFETENSORS, QualityManifest, Slices, write_manifest
from AtlasQualityLib.quality_network import build_network
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume

CLASSES = {"liver": 6, "spleen": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "random"
    folder.mkdir()
    torch.manual_seed(5)
    save_file(build_network("resnet18", 8).state_dict(), str(folder / SAFETENSORS))
    write_manifest(folder, QualityManifest(name="random", backbone="resnet18", width=8, slices=Slices(size=64)))
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "hospital"
    for name in ("one", "two"):
        case = write_phantom_case(folder / name)
        tasks.average_files(str(case.folder))
    return folder


def run(*arguments: object) -> str:
    done = CliRunner().invoke(quality_app(), [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_predict_lists_the_worst_first_and_writes_segaes_table(dataset: Path, model: Path, tmp_path: Path) -> None:
    text = run("predict", dataset, "--model", model, "--csv", tmp_path / "q.csv")
    assert "Predicted Dice, the worst first" in text
    assert "quality: 2 done" in text
    with (tmp_path / "q.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["CT_Sample"] for row in rows] == ["one", "two"]
    assert all(0 <= float(row["liver"]) <= 1 for row in rows)
    again = json.loads(run("predict", dataset, "--model", model, "--json"))
    assert (again["done"], again["skipped"]) == (0, 2)


def test_predict_runs_in_several_processes(dataset: Path, model: Path) -> None:
    assert json.loads(run("predict", dataset, "--model", model, "--force", "--jobs", 2, "--json"))["done"] == 2


def test_evaluate_holds_every_mask_against_the_reference(dataset: Path, model: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        ct = read_nifti(CaseFolder(dataset / name).ct)
        truth = sum(phantom_organ(organ) * np.uint8(value) for organ, value in CLASSES.items())
        write_nifti(dataset / name / "truth.nii.gz", Volume(np.asfortranarray(truth), ct.affine))
    found = json.loads(run("evaluate", dataset, "--reference", "truth.nii.gz", "--table", "abdomenatlas", "--model", model, "--json"))
    assert len(found["masks"]) == 2 * 3 * 3  # cases, two models and the average, organs
    exact = {row["organ"]: row["dice"] for row in found["masks"] if row["masks"] == "first"}
    assert min(exact["liver"], exact["spleen"]) > 0.99
    assert exact["kidney_left"] == 0  # the reference knows it and has none
    assert set(found["rankings"]) == {"predicted Dice", "entropy", "inconsistency", "random"}
    text = run("evaluate", dataset, "--reference", "truth.nii.gz", "--table", "abdomenatlas", "--model", model, "--csv", tmp_path / "m.csv")
    assert "Pearson" in text
    assert len((tmp_path / "m.csv").read_text().splitlines()) == 19
    with pytest.raises(InputError, match=r"there is no gone\.nii\.gz"):
        run("evaluate", dataset, "--reference", "gone.nii.gz", "--model", model)


def test_a_pickle_of_embeddings_is_rewritten_once(tmp_path: Path) -> None:
    (tmp_path / "label_embedding.pkl").write_bytes(pickle.dumps({13: np.ones((1, 512), np.float32)}))
    assert "with 1 names" in run("convert-embeddings", tmp_path / "label_embedding.pkl")
    with pytest.raises(InputError, match="is there already"):
        run("convert-embeddings", tmp_path / "label_embedding.pkl")
