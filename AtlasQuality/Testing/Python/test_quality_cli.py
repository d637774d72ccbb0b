"""The commands `atlas quality`."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from AtlasQualityLib import tasks
from AtlasQualityLib.phantom_case import phantom_organ, write_phantom_case
from AtlasQualityLib.quality_card import card_lines
from AtlasQualityLib.quality_manifest import read_manifest, write_manifest
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume
from quality_program import run
from quality_random_model import write_plain_model

CLASSES = {"liver": 6, "spleen": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plain_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "hospital"
    for name in ("one", "two"):
        case = write_phantom_case(folder / name)
        tasks.average_files(str(case.folder))
    return folder


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


def test_two_files_that_are_masks_of_one_organ_are_refused(dataset: Path, model: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset / "one", tmp_path / "case")
    case = CaseFolder(tmp_path / "case")
    shutil.copyfile(case.average.mask("spleen"), case.average.mask("liver").with_name("Liver.nii.gz"))
    with pytest.raises(AssertionError, match=r"1 failed\n.*Liver\.nii\.gz and liver\.nii\.gz are both masks of liver"):
        run("predict", case.folder, "--model", model, "--force")


def test_a_pickle_of_embeddings_is_rewritten_once(tmp_path: Path) -> None:
    (tmp_path / "label_embedding.pkl").write_bytes(pickle.dumps({13: np.ones((1, 512), np.float32)}))
    assert "with 1 names" in run("convert-embeddings", tmp_path / "label_embedding.pkl")
    with pytest.raises(InputError, match="is there already"):
        run("convert-embeddings", tmp_path / "label_embedding.pkl")


def test_the_report_shows_every_mask_and_pictures_of_the_worst(dataset: Path, model: Path, tmp_path: Path) -> None:
    run("predict", dataset, "--model", model)
    run("report", dataset, "--out", tmp_path / "q.html", "--pictures", 2)
    page = (tmp_path / "q.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert page.count("<tr>") == 1 + 2 * 3  # a heading, and the masks of two cases
    assert "never that a mask is right" in page


def test_a_hostile_name_in_what_was_predicted_stays_text(dataset: Path, model: Path, tmp_path: Path) -> None:
    case = tmp_path / "set" / "<b>case"
    shutil.copytree(dataset / "one", case)
    run("predict", case, "--model", model, "--force")
    run("report", case, "--out", tmp_path / "q.html")
    assert "<b>" not in (tmp_path / "q.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["{half", "[]", '{"details": {"liver": {}}}', '{"details": {"liver": {"slices": 3}}}'])
def test_a_report_of_something_else_is_refused(dataset: Path, tmp_path: Path, content: str) -> None:
    shutil.copytree(dataset / "one", tmp_path / "set" / "one")
    case = CaseFolder(tmp_path / "set" / "one")
    case.average.predicted_dice.unlink(missing_ok=True)
    with pytest.raises(DatasetError, match=r"was not predicted.*atlas quality predict"):
        run("report", case.folder, "--out", tmp_path / "q.html")
    case.average.predicted_dice.write_text(content)
    with pytest.raises(DatasetError, match=r"is not what atlas quality predict writes"):
        run("report", case.folder, "--out", tmp_path / "q.html")


def test_an_agreement_is_one_line_of_the_card_and_what_is_not_defined_says_so() -> None:
    figures = {"pearson": 0.9, "low": None, "high": None, "spearman": 0.8, "mae": 0.1234, "masks": 3, "cases": 1}
    lines = list(card_lines({"test": {"all": figures, "note": "one case"}, "organs": ["liver", "spleen"], "sizes": {"train": 2}}))
    assert lines == [
        "test:",
        "  all: Pearson 0.900 (undefined to undefined), Spearman 0.800, mean error 0.123, of 3 masks",
        "  note: one case",
        "organs: liver, spleen",
        "sizes: train 2",
    ]


def test_a_model_shows_its_card(model: Path, tmp_path: Path) -> None:
    card = {"data": "toy ellipses", "test": {"pearson": 0.5}}
    shutil.copytree(model, tmp_path / "carded")
    write_manifest(tmp_path / "carded", read_manifest(model).model_copy(update={"card": card}))
    text = run("show", tmp_path / "carded")
    assert "data: toy ellipses" in text
    assert "pearson 0.5" in text
    assert json.loads(run("show", tmp_path / "carded", "--json"))["card"] == card
