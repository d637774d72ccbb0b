"""Ctrl-C says how the work goes on, whatever the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from AtlasQualityLib import commands_quality_train
from AtlasSegmentLib import commands_phantom, train_run
from run_program import run_program


def stopped(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_command_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands_phantom, "run_cases", stopped)
    done = run_program(["phantom", "--out", "set"], tmp_path)
    assert done.code == 130
    assert done.err.count("interrupted; run the same command again to go on.") == 1


@pytest.mark.parametrize("command", [["train"], ["quality", "train"]], ids=" ".join)
def test_a_training_goes_on_with_resume(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="Torch is not installed")
    monkeypatch.setattr(train_run, "train_model", stopped)
    monkeypatch.setattr(commands_quality_train, "train_quality", stopped, raising=False)
    monkeypatch.setattr("AtlasQualityLib.quality_training_run.train_quality", stopped)
    organs = ["--organs", "liver"] if len(command) == 1 else []
    done = run_program([*command, "set", "--out", "model", *organs], tmp_path)
    assert done.code == 130
    assert done.err.count("interrupted") == 1
    assert "--resume" in done.err
