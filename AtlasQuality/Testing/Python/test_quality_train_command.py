"""`atlas quality train`, from folders to a model that scores masks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from AtlasQualityLib import commands_quality_train, quality_training_run
from AtlasQualityLib.quality_manifest import read_manifest
from AtlasQualityLib.quality_model import open_quality_model
from AtlasSegmentLib.errors import InputError
from quality_toys import write_toy_case

SMALL = ("--width", "2", "--size", "64", "--epochs", "2", "--batch", "16", "--damages", "2", "--slices", "2", "--table", "abdomenatlas")


def run(*arguments: str, size: str = "64") -> dict[str, object]:
    app = typer.Typer()
    commands_quality_train.add_to(app)
    app.callback()(lambda: None)
    result = CliRunner().invoke(app, ["train", *arguments, *SMALL, "--size", size, "--device", "cpu", "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_model_comes_from_folders_and_says_how_good_it_is(tmp_path: Path) -> None:
    for number in range(3):
        write_toy_case(tmp_path / "data" / f"case{number}", seed=number)
    out = tmp_path / "model"
    found = run(str(tmp_path / "data"), "--out", str(out))
    assert found["data"]["train"]["cases"] == 2
    assert found["data"]["val"]["cases"] == 1
    assert found["validation"]["all"]["masks"] == found["data"]["val"]["masks"]
    wrong = found["validation"]["wrong_names"]
    assert wrong["masks"] > 0
    assert wrong["mean_true"] < 0.02
    assert found["validation"]["synthetic_damage"]["masks"] == found["data"]["val"]["masks"] - wrong["masks"]
    assert sorted(one.part for one in read_manifest(out).training_cts) == ["train", "train", "val"]
    assert found["test"] is None
    assert read_manifest(out).card["recipe"]["epochs"] == 2
    assert len(read_manifest(out).calibration.dice) >= 2
    assert open_quality_model(out).scorer.engine
    table = (out / "training/masks.csv").read_text().splitlines()
    assert table[0].startswith("case,organ,source,part,true_dice")
    assert len(table) == 1 + found["data"]["val"]["masks"]

    with pytest.raises(InputError, match="started here"):
        run(str(tmp_path / "data"), "--out", str(out))
    weights, made = (out / "model.safetensors").read_bytes(), (out / "model.onnx").stat().st_mtime_ns
    again = run(str(tmp_path / "data"), "--out", str(out), "--resume")
    assert again["finished_before"]
    assert again["validation"] == found["validation"]
    assert (out / "model.onnx").stat().st_mtime_ns == made
    (out / "model.onnx").write_bytes(b"cut")  # as a full disk leaves it
    again = run(str(tmp_path / "data"), "--out", str(out), "--resume")
    assert not again["finished_before"]
    assert again["validation"] == found["validation"]
    assert (out / "model.safetensors").read_bytes() == weights
    assert open_quality_model(out).scorer.engine


def test_a_training_that_is_stopped_while_its_examples_are_made_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    write_toy_case(tmp_path / "data/case", shape=(48, 44, 6))
    monkeypatch.setattr(quality_training_run, "build_pairs", stopped)
    app = typer.Typer()
    commands_quality_train.add_to(app)
    app.callback()(lambda: None)
    arguments = ["train", str(tmp_path / "data"), "--out", str(tmp_path / "model"), *SMALL, "--device", "cpu"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 130
    assert "run the same command with --resume to go on" in result.output
    with pytest.raises(InputError, match=r"started here.*--resume"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert CliRunner().invoke(app, [*arguments, "--resume"], catch_exceptions=False).exit_code == 130


def test_folders_say_which_part_a_case_is_and_a_broken_case_is_told(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "val", "test")):
        write_toy_case(tmp_path / "data" / part / "case", seed=number)
    broken = write_toy_case(tmp_path / "data/train/broken", seed=9)
    (broken / "reference_label.nii.gz").write_bytes(b"broken")
    app = typer.Typer()
    commands_quality_train.add_to(app)
    app.callback()(lambda: None)
    arguments = ["train", str(tmp_path / "data"), "--out", str(tmp_path / "model"), *SMALL, "--device", "cpu", "--json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [found["data"][part]["cases"] for part in ("train", "val", "test")] == [1, 1, 1]
    assert found["test"]["all"]["masks"] > 0
    assert [one["case"] for one in found["failed"]] == ["broken"]


def test_a_folder_without_references_and_wrong_choices_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="nothing to learn from"):
        run(str(tmp_path / "data"), "--out", str(tmp_path / "model"))
    with pytest.raises(InputError, match="resnet19"):
        run(str(tmp_path / "data"), "--out", str(tmp_path / "model"), "--backbone", "resnet19")
    with pytest.raises(InputError, match="multiple of 32"):
        run(str(tmp_path / "data"), "--out", str(tmp_path / "model"), "--rule", "compat", size="65")
    assert not (tmp_path / "model").exists()
