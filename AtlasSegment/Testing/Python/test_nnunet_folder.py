"""nnU-Net's folders: folds and checkpoints are found as nnUNetv2_predict finds them; what is missing is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.nnunet_folder import find_task, open_folder
from nnunet_models import make_dataset, make_plans

MODEL = "nnUNetTrainer__nnUNetPlans__3d_fullres"


def make_folder(root: Path, dataset: str = "Dataset106_TotalBone3", model: str = MODEL, files: tuple[str, ...] = ()) -> Path:
    """Write a model folder whose checkpoints are empty files."""
    folder = root / dataset / model
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(make_plans("new", "plain", (3.0, 3.0, 3.0), (16, 16, 16))))
    (folder / "dataset.json").write_text(json.dumps(make_dataset()))
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).touch()
    return folder


def test_folds_are_found_in_order_and_all_comes_last(tmp_path: Path) -> None:
    files = tuple(f"fold_{fold}/checkpoint_final.pth" for fold in ("all", 10, 2, 0))
    folder = open_folder(make_folder(tmp_path, files=(*files, "fold_1/progress.png", "fold_x/checkpoint_final.pth")))
    assert list(folder.checkpoints) == ["0", "2", "10", "all"]
    assert [path.parent.name for path in folder.chosen()] == ["fold_0", "fold_2", "fold_10"]
    assert [path.parent.name for path in folder.chosen([2, "all", "0", 0])] == ["fold_2", "fold_all", "fold_0"]
    assert (folder.trainer, folder.configuration, folder.dataset.heads) == ("nnUNetTrainer", "3d_fullres", 4)


def test_fold_all_alone_is_taken_when_no_fold_is_asked_for(tmp_path: Path) -> None:
    folder = open_folder(make_folder(tmp_path, files=("fold_all/checkpoint_final.pth",)))
    assert [path.parent.name for path in folder.chosen()] == ["fold_all"]


def test_the_final_checkpoint_goes_before_the_best_and_the_named_one_before_both(tmp_path: Path) -> None:
    names = ("checkpoint_best.pth", "checkpoint_final.pth", "checkpoint_latest.pth")
    folder = make_folder(tmp_path, files=tuple(f"fold_0/{name}" for name in names))
    assert open_folder(folder).chosen()[0].name == "checkpoint_final.pth"
    assert open_folder(folder, "checkpoint_latest.pth").chosen()[0].name == "checkpoint_latest.pth"
    (folder / "fold_0" / "checkpoint_final.pth").unlink()
    assert open_folder(folder).chosen()[0].name == "checkpoint_best.pth"


def test_a_converted_checkpoint_is_preferred_unless_the_original_is_newer(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, files=("fold_0/checkpoint_final.pth", "fold_0/checkpoint_final.safetensors"))
    original, converted = folder / "fold_0/checkpoint_final.pth", folder / "fold_0/checkpoint_final.safetensors"
    os.utime(original, (1000, 1000))
    assert open_folder(folder).chosen() == [converted]
    assert open_folder(folder, "checkpoint_final.pth").chosen() == [converted]
    os.utime(converted, (500, 500))
    assert open_folder(folder).chosen() == [original]


def test_the_folder_of_a_fold_means_its_model(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, files=("fold_0/checkpoint_final.pth",))
    assert open_folder(folder / "fold_0").path == folder


def test_a_fold_without_a_checkpoint_lists_those_with_one(tmp_path: Path) -> None:
    folder = open_folder(make_folder(tmp_path, files=("fold_0/checkpoint_final.pth", "fold_1/checkpoint_final.pth")))
    with pytest.raises(ModelError, match="fold 3, all has no checkpoint; folds with one: 0, 1"):
        folder.chosen([0, 3, "all"])
    with pytest.raises(ModelError, match="none given"):
        folder.chosen([])


def test_a_folder_without_any_fold_says_what_is_there(tmp_path: Path) -> None:
    folder = open_folder(make_folder(tmp_path))
    assert folder.checkpoints == {}
    with pytest.raises(ModelError, match=r"no fold with a checkpoint.*plans\.json"):
        folder.chosen()


@pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
def test_a_folder_without_its_description_is_named(tmp_path: Path, name: str) -> None:
    folder = make_folder(tmp_path)
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        open_folder(folder)


@pytest.mark.parametrize("task", [106, "106", "Dataset106_TotalBone3", " 106 "])
def test_a_task_is_found_by_number_or_full_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: int | str) -> None:
    folder = make_folder(tmp_path)
    make_folder(tmp_path, "Dataset107_Other")
    assert find_task(task, results=tmp_path) == folder
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    assert find_task(task) == folder


def test_small_numbers_are_padded_to_three_digits(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "Dataset004_Hippocampus")
    make_folder(tmp_path, "Dataset400_Other")
    assert find_task(4, results=tmp_path) == folder


def test_trainer_plans_and_configuration_choose_the_folder(tmp_path: Path) -> None:
    make_folder(tmp_path)
    other = make_folder(tmp_path, model="nnUNetTrainerNoMirroring__nnUNetResEncUNetLPlans__3d_lowres")
    assert find_task(106, "nnUNetTrainerNoMirroring", "nnUNetResEncUNetLPlans", "3d_lowres", results=tmp_path) == other


def test_an_unknown_task_or_model_lists_what_there_is(tmp_path: Path) -> None:
    make_folder(tmp_path)
    with pytest.raises(ModelError, match="no dataset '888'; there are Dataset106_TotalBone3"):
        find_task(888, results=tmp_path)
    with pytest.raises(ModelError, match="no dataset 'TotalBone3'"):
        find_task("TotalBone3", results=tmp_path)
    with pytest.raises(ModelError, match="no dataset '99999"):
        find_task("9" * 6000, results=tmp_path)
    with pytest.raises(ModelError, match=f"no model nnUNetTrainer__nnUNetPlans__2d; there are {MODEL}"):
        find_task(106, configuration="2d", results=tmp_path)


def test_two_datasets_of_one_number_are_both_named(tmp_path: Path) -> None:
    make_folder(tmp_path)
    make_folder(tmp_path, "Dataset106_Copy")
    with pytest.raises(ModelError, match="Dataset106_Copy, Dataset106_TotalBone3"):
        find_task(106, results=tmp_path)


def test_without_a_results_folder_the_variable_to_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_results", raising=False)
    with pytest.raises(ModelError, match="nnUNet_results is not set"):
        find_task(106)
    with pytest.raises(ModelError, match="is not there"):
        find_task(106, results=tmp_path / "none")
