"""`atlas train` as a whole: it repeats itself, survives a kill, and writes a model that `atlas segment` runs and that finds the organs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="Torch is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

from AtlasSegmentLib import commands_train, train_patches  # noqa: E402
from AtlasSegmentLib.errors import InputError, ModelError, StorageError  # noqa: E402
from AtlasSegmentLib.inference_settings import PRESETS  # noqa: E402
from AtlasSegmentLib.model import load_model  # noqa: E402
from AtlasSegmentLib.network import Float32  # noqa: E402
from AtlasSegmentLib.train_network import NetworkRule, build_network  # noqa: E402
from AtlasSegmentLib.train_options import TrainOptions  # noqa: E402
from AtlasSegmentLib.train_organs import Targets  # noqa: E402
from AtlasSegmentLib.train_patches import NONE, PatchRule, Variation  # noqa: E402
from AtlasSegmentLib.train_run import TrainResult, train_model  # noqa: E402
from AtlasSegmentLib.train_weights import pretrained_weights  # noqa: E402
from AtlasSegmentLib.volume import Volume  # noqa: E402
from train_toys import options, toy, write_toy  # noqa: E402

FILES = ("model.safetensors", "model.onnx")
ORGANS = ("liver", "kidney_right", "kidney_left", "vertebrae")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small networks gain nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four toys; one knows the liver and the spine alone."""
    folder = tmp_path_factory.mktemp("data")
    for seed in range(4):
        write_toy(folder / f"case{seed}", seed, {1: "liver", 5: "vertebrae_L1", 6: "vertebrae_L2"} if seed == 1 else None)
    return folder


@pytest.fixture(scope="module")
def plain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the model of a short training without a break."""
    out = tmp_path_factory.mktemp("plain") / "model"
    train_model([data], out, options(val=("case3",)))
    return out


@pytest.fixture(scope="module")
def taught(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """Return a model that has learned its organs."""
    loop = {"steps": 60, "epoch_steps": 30, "learning_rate": 4e-2, "average": 0.8, "checkpoint_seconds": 60.0, "picture": True}
    asked = options(targets=Targets(ORGANS), patches=PatchRule(24, 0.9, NONE), width=10, loop=loop)
    return train_model([data], tmp_path_factory.mktemp("taught") / "model", replace(asked, val=("case3",)))


def same(one: Path, other: Path) -> bool:
    """Tell whether two models have the same bytes."""
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in FILES)


def test_the_same_seed_gives_the_same_bytes(data: Path, plain: Path, tmp_path: Path) -> None:
    train_model([data], tmp_path / "model", options(val=("case3",)))
    assert same(plain, tmp_path / "model")
    train_model([data], tmp_path / "other", options(val=("case3",), loop={"seed": 4}))
    assert not same(plain, tmp_path / "other")


def test_a_killed_training_resumes_to_the_same_weights(data: Path, plain: Path, tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        import torch
        from AtlasSegmentLib.train_run import train_model
        from train_toys import options
        torch.set_num_threads(1)
        steps = []
        def kill(share, text):
            steps.append(text) if text.startswith("step") else None
            if len(steps) == 5:
                os.kill(os.getpid(), signal.SIGKILL)
        train_model([Path(sys.argv[1])], Path(sys.argv[2]), options(val=("case3",)), kill)
        """
    )
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    killed = subprocess.run([sys.executable, "-c", code, str(data), str(tmp_path / "model")], env={**os.environ, **paths}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "model" / "model.json").exists()
    told: list[str] = []
    train_model([data], tmp_path / "model", options(val=("case3",), resume=True), lambda _, text: told.append(text))
    steps = [text for text in told if text.startswith("step")]
    assert 1 <= len(steps) < 6, "it goes on, and does not begin again"
    assert same(plain, tmp_path / "model")
    rows = [(folder / "training" / "curves.csv").read_text() for folder in (plain, tmp_path / "model")]
    assert rows[0] == rows[1]


def test_a_folder_with_another_training_is_left_alone(data: Path, plain: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in plain.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="has been started here"):
        train_model([data], plain, options(val=("case3",)))
    with pytest.raises(InputError, match=r"had learning_rate 0\.01, this one has 0\.005"):
        train_model([data], plain, options(val=("case3",), resume=True, loop={"learning_rate": 0.005}))
    write_toy(tmp_path / "more" / "case9", 9)
    with pytest.raises(InputError, match="had train"):
        train_model([data, tmp_path / "more"], plain, options(val=("case3",), resume=True))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    with pytest.raises(InputError, match="not trained here"):
        train_model([data], tmp_path / "model", options())
    assert before == {path: path.read_bytes() for path in before}


def test_organs_are_found_on_a_case_that_was_not_trained_on(taught: TrainResult) -> None:
    dice = taught.card["validation"]["dice"]
    assert set(dice) == set(ORGANS)
    assert min(dice[name] for name in ("liver", "vertebrae")) > 0.7
    assert min(dice.values()) > 0.35
    assert taught.card["data"]["train"]["organs"]["kidney_left"] == 2, "one of three references cannot tell it"
    assert taught.card["data"]["val"]["names"] == ["case3"]
    assert taught.card["export"]["same_class"] > 0.9999
    drawn = taught.folder / "training" / "curves.png"
    assert drawn.read_bytes().startswith(b"\x89PNG")
    assert not (taught.folder / "training" / "cubes").exists(), "what can be made again is not kept"


@pytest.mark.parametrize("code", ["LPS", "SAR"])
def test_the_model_runs_on_any_orientation_and_knows_left_from_right(code: str, taught: TrainResult) -> None:
    ct, labels = toy(3)
    turned = Volume(ct.array, ct.affine).reoriented(code)
    truth = ct.with_array(labels).reoriented(code).array
    model = load_model(taught.folder, 1, "cpu")
    masks = model.segment(turned, None, PRESETS["balanced"]).masks(turned.grid)
    for value, wanted in ((1, 1), (2, 3), (3, 4)):
        found = np.zeros(turned.shape, bool)
        found[masks[value].box] = masks[value].crop
        assert 2 * (found & (truth == wanted)).sum() / (found.sum() + (truth == wanted).sum()) > 0.35


def test_fine_tuning_begins_with_what_was_learned_of_each_organ(taught: TrainResult) -> None:
    targets = Targets(("kidney_left", "heart", "liver"))
    rule = NetworkRule(4, 10, 2)
    torch.manual_seed(0)
    network = build_network(rule)
    fresh = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(pretrained_weights(taught.folder, rule, targets, network))
    network.eval()
    image: Float32 = np.random.default_rng(0).standard_normal((24, 24, 24), np.float32)
    old = load_model(taught.folder, 1, "cpu")
    expected: Any = old.predict(image)  # type: ignore[attr-defined]
    with torch.inference_mode():
        found = network(torch.from_numpy(image)[None, None])[0].numpy()
    for channel, source in ((0, 0), (1, 3), (3, 1)):
        assert np.allclose(found[channel], expected[source], atol=1e-3)
    assert torch.equal(network.state_dict()["head.2.bias"][16:24], fresh["head.2.bias"][16:24])
    with pytest.raises(InputError, match="--width 10"):
        pretrained_weights(taught.folder, NetworkRule(4, 8, 2), targets, build_network(NetworkRule(4, 8, 2)))
    with pytest.raises(ModelError, match="holds no weights"):
        pretrained_weights(taught.folder.parent, rule, targets, network)


def test_the_command_trains_fine_tunes_and_says_what_it_is_for(data: Path, plain: Path, tmp_path: Path) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    commands_train.add_to(app)
    app.command("other")(lambda: None)
    asked = ["train", str(data), "--out", str(tmp_path / "tuned"), "--organs", "spleen,liver", "--spacing", "6", "--patch", "16"]
    asked += ["--width", "2", "--depth", "2", "--steps", "2", "--epoch-steps", "2", "--test", "case3", "--pretrained", str(plain)]
    asked += ["--deep-supervision", "--amp", "--onnx-precision", "fp16", "--purpose", "demonstration", "--device", "cpu", "--json"]
    result = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["use"] == "Demonstration only, not for clinical use."
    assert set(found["test"]["dice"]) <= {"spleen", "liver"}
    manifest = json.loads((tmp_path / "tuned" / "model.json").read_text())
    assert manifest["labels"] == {"0": "background", "1": "spleen", "2": "liver"}
    assert manifest["card"]["recipe"]["pretrained"] == "model"
    assert (tmp_path / "tuned" / "model.onnx").stat().st_size < 0.8 * (plain / "model.onnx").stat().st_size
    assert load_model(tmp_path / "tuned", 1, "cpu").spec.table.names() == ["spleen", "liver"]


def test_options_and_cases_that_cannot_be_are_refused_before_the_work(data: Path, tmp_path: Path) -> None:
    def refused(match: str, **changed: Any) -> None:
        asked: TrainOptions = options(**changed)
        with pytest.raises(InputError, match=match):
            train_model([data], tmp_path / "model", asked)

    refused("does not fit a network", patches=PatchRule(18))
    refused("spacing of 0.1", spacing=0.1)
    refused("partner kidney_left", targets=Targets(("kidney_right",)), patches=PatchRule(16, variation=Variation(flips=True)))
    refused("none of 4 cases is left", targets=Targets(("heart",)))
    refused("spleen: no training case has it", val=("case0", "case2", "case3"))
    with pytest.raises(InputError, match="cannot be trained"):
        options(loop={"steps": 0})
    write_toy(tmp_path / "bad" / "holes", ct=toy()[0].with_array(np.full((28, 24, 26), np.nan, np.float32)))
    with pytest.raises(InputError, match="holes: was to be held out and cannot be used"):
        train_model([data, tmp_path / "bad"], tmp_path / "model", options(test=("holes",)))
    assert not (tmp_path / "model" / "model.json").exists()


def test_a_case_that_is_repeated_is_drawn_so_much_more_often(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    patch_of = train_patches._patch
    monkeypatch.setattr(train_patches, "_patch", lambda cube, *rest: (drawn.append(cube.name), patch_of(cube, *rest))[1])
    rounds = 2
    result = train_model(
        [data],
        tmp_path / "model",
        options(repeat={"case1": 3}, val=("case3",), loop={"steps": 5 * rounds, "batch": 1}),
    )
    assert Counter(drawn) == {"case0": rounds, "case1": 3 * rounds, "case2": rounds}
    assert result.card["recipe"]["repeat"] == {"case1": 3}
    with pytest.raises(InputError, match="case3: is to be drawn 2 times and is no training case"):
        train_model([data], tmp_path / "other", options(repeat={"case3": 2}, val=("case3",)))


@pytest.mark.parametrize("text", ["case1", "=2", "case1=0", "case1=1001", "case1=x"])
def test_what_is_no_number_of_repeats_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not NAME=TIMES"):
        commands_train._repeated([text])


def test_a_bad_case_is_named_and_the_others_are_trained_on(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_toy(tmp_path / "bad" / "empty", labels=toy()[1] * 0)
    result = train_model([data, tmp_path / "bad"], tmp_path / "model", options(loop={"steps": 1}))
    assert [outcome.name for outcome in result.failed] == ["empty"]
    assert "none of the organs" in caplog.text
    assert result.card["data"]["train"]["cases"] == 4
    assert result.card["validation"] is None


def test_a_loss_that_is_no_number_ends_the_training(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("AtlasSegmentLib.train_loop.network_values", lambda hu: hu * np.float32("nan"))
    with pytest.raises(ModelError, match="no longer a number in step 1"):
        train_model([data], tmp_path / "model", options())


def test_a_full_disk_keeps_the_last_checkpoint(data: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync
    held = {"full": False}

    def fsync(descriptor: int) -> None:
        if held["full"]:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    def fill(_: float, text: str) -> None:
        held["full"] = text.startswith("step 4")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="No space left"):
        train_model([data], tmp_path / "model", options(val=("case3",)), fill)
    held["full"] = False
    train_model([data], tmp_path / "model", options(val=("case3",), resume=True))
    assert same(plain, tmp_path / "model")


def test_monais_network_can_be_chosen(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("monai", reason="MONAI is not installed")
    result = train_model([data], tmp_path / "model", options(architecture="dynunet", deep=True, depth=3, loop={"steps": 1}))
    assert result.card["export"]["same_class"] > 0.999
