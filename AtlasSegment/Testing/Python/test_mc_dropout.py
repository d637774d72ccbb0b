"""MC dropout: maps of what several passes with dropout disagree about, while everything else stays what the plain pass makes it."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from atlas_phantoms import FIT, ORGANS, ct, make_case, make_model, softmax_network
from AtlasSegmentLib import commands
from AtlasSegmentLib.case_folder import MC_DROPOUT, CaseFolder
from AtlasSegmentLib.dropout_layers import dropout_layers, dropout_on
from AtlasSegmentLib.encoding import entropy_bytes
from AtlasSegmentLib.errors import InputError, ModelError, StorageError
from AtlasSegmentLib.inference_settings import PRESETS
from AtlasSegmentLib.mc_dropout import DropoutPasses, ProbabilitySums
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.segment_case import SegmentOptions, segment_case
from AtlasSegmentLib.sparse import SparseVolume
from dropout_models import make_dropping_nnunet

torch = pytest.importorskip("torch")
NAME = "Dataset001_dropping-3d_fullres"
PASSES = DropoutPasses(2, seed=4)
APP = typer.Typer(pretty_exceptions_enable=False)
commands.add_to(APP)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)


class Scripted(torch.nn.Module):  # type: ignore[misc]
    """Logits of the nearest mean HU, from which dropout takes some away."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor((20.0, 150.0, 300.0, 450.0)).reshape(1, -1, 1, 1, 1))
        self.normalization = torch.nn.BatchNorm3d(1)
        self.dropout = torch.nn.Dropout3d(0.5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = self.normalization(image)
        return self.dropout((2 * self.means * image - self.means**2) / 5000.0)  # type: ignore[no-any-return]


def make_script(folder: Path, *, traced: bool = False) -> Path:
    module = Scripted().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.trace(module, torch.zeros(1, 1, 4, 4, 4)) if traced else torch.jit.script(module)
        script.save(str(folder.parent / "script.ts"))
    content = (folder.parent / "script.ts").read_bytes()
    return make_model(folder, folder.name, content, engine="torchscript", input=FIT)


@pytest.fixture(scope="module")
def dropping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an nnU-Net of two folds with dropout."""
    torch.set_num_threads(1)
    made = {"dataset": "Dataset001_dropping", "folds": (0, 1)}
    return make_dropping_nnunet(tmp_path_factory.mktemp("m"), 0.3, (6.0, 6.0, 6.0), **made)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one whose dropout layers take nothing away."""
    return make_dropping_nnunet(tmp_path_factory.mktemp("m"), 0.0, dataset="Dataset002_steady")


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a TorchScript model with dropout."""
    return make_script(tmp_path_factory.mktemp("m") / "scripted")


@pytest.fixture(scope="module")
def done(dropping: Path, tmp_path_factory: pytest.TempPathFactory) -> CaseFolder:
    """Return a case that was segmented with passes; for reading only."""
    case = make_case(tmp_path_factory.mktemp("set") / "case", ct("LPS"))
    assert segment_case(case, load_model(dropping, device="cpu"), SegmentOptions(dropout=PASSES)) is not None
    return case


def maps(case: CaseFolder, model: str = NAME, kind: str = MC_DROPOUT) -> dict[str, bytes]:
    folder = case.backbone(model)
    return {organ: folder.map(kind, organ).read_bytes() for organ in folder.organs(kind)}


def test_a_map_is_the_entropy_of_the_mean_probability_and_not_zero_where_passes_disagree(done: CaseFolder, dropping: Path) -> None:
    model, image = load_model(dropping, device="cpu"), ct("LPS")
    means, masks = np.zeros((3, *image.shape), np.float32), []
    for number in range(PASSES.count):
        with dropout_on(model.networks, PASSES.seed_of(number)):
            prediction = model.segment(image, None, PRESETS["balanced"])
        means += [prediction.probability(image.grid, value).dense() for value in (1, 2, 3)]
        masks.append(np.stack([mask.dense() for mask in prediction.masks(image.grid).values()]))
    means /= PASSES.count
    apart = np.any([mask != masks[0] for mask in masks], axis=0)
    for organ, mean, differs in zip(ORGANS, means, apart, strict=True):
        found = read_nifti(done.backbone(NAME).map(MC_DROPOUT, organ))
        assert differs.sum() > 100, organ
        assert (found.array[differs] > 0).all(), organ
        assert found.array.dtype == np.uint8
        np.testing.assert_array_less(np.abs(found.array.astype(int) - entropy_bytes(mean)), 2)
        np.testing.assert_allclose(found.affine, image.affine, atol=1e-5)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(done: CaseFolder, dropping: Path, tmp_path: Path) -> None:
    found = {}
    for seed in (4, 5):
        torch.manual_seed(seed)  # what came before does not matter
        torch.rand(seed)
        case = make_case(tmp_path / str(seed), ct("LPS"))
        segment_case(case, load_model(dropping, device="cpu"), SegmentOptions(dropout=DropoutPasses(PASSES.count, seed)))
        found[seed] = maps(case)
    assert set(found[4]) == set(ORGANS)
    assert found[4] == maps(done)
    assert all(found[5][organ] != found[4][organ] for organ in ORGANS)


def test_every_other_file_is_that_of_the_plain_pass(done: CaseFolder, dropping: Path, tmp_path: Path) -> None:
    case = make_case(tmp_path / "plain", ct("LPS"))
    segment_case(case, load_model(dropping, device="cpu"))
    assert case.backbone(NAME).organs(MC_DROPOUT) == []
    assert case.backbone(NAME).pseudo_label.read_bytes() == done.backbone(NAME).pseudo_label.read_bytes()
    for kind in ("segmentations", "soft_pred", "entropy"):
        assert set(maps(case, kind=kind)) == set(ORGANS)
        assert maps(case, kind=kind) == maps(done, kind=kind)


def test_a_turned_ct_has_the_same_map(scripted: Path, tmp_path: Path) -> None:
    found = []
    for code in ("LPS", "SAR"):
        case = make_case(tmp_path / code, ct(code))
        segment_case(case, load_model(scripted, device="cpu"), SegmentOptions("whole", dropout=PASSES))
        folder = case.backbone("scripted")
        found.append([read_nifti(folder.map(MC_DROPOUT, organ)).reoriented("RAS").array for organ in ORGANS])
    np.testing.assert_array_equal(found[0], found[1])
    assert np.any(found[0], axis=(1, 2, 3)).all()


def test_only_dropout_is_switched_on_and_everything_is_as_before_afterwards(scripted: Path) -> None:
    model = load_model(scripted, device="cpu")
    module: Any = model.networks[0].module  # type: ignore[attr-defined]
    layers = dropout_layers(model.networks)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert any("running_mean" in name for name in before)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    with pytest.raises(KeyError), dropout_on(model.networks, 1):  # noqa: PT012 - what happens before is looked at
        assert {layer for layer in module.modules() if layer.training} == set(layers) != set()
        model.segment(ct(), "whole", PRESETS["balanced"])
        raise KeyError
    assert not any(layer.training for layer in module.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(torch.rand(3), expected)


def test_the_record_says_how_often_with_what_seed_and_how_long(done: CaseFolder) -> None:
    record = json.loads(done.backbone(NAME).run_record.read_text(encoding="utf-8"))
    assert record["parameters"]["mc_dropout"] == {"passes": 2, "seed": 4}
    said = record["results"]["mc_dropout"]
    assert (said["passes"], said["seed"]) == (2, 4)
    assert said["seconds"] > 0


def test_finished_passes_are_not_made_again_and_maps_go_when_they_are_no_longer_wanted(dropping: Path, tmp_path: Path) -> None:
    case, model = make_case(tmp_path / "case"), load_model(dropping, device="cpu")
    options = SegmentOptions(dropout=DropoutPasses(1))
    assert segment_case(case, model, options) is not None
    assert segment_case(case, model, options) is None
    case.backbone(NAME).map(MC_DROPOUT, "liver").unlink()
    assert segment_case(case, model, options) is not None
    assert segment_case(case, model) is not None
    assert case.backbone(NAME).organs(MC_DROPOUT) == []


def test_a_traced_network_has_no_dropout_left(tmp_path: Path) -> None:
    case = make_case(tmp_path / "case")
    traced = load_model(make_script(tmp_path / "traced", traced=True), device="cpu")
    with pytest.raises(ModelError, match="model traced has no dropout layers that can be switched on"):
        segment_case(case, traced, SegmentOptions("whole", dropout=PASSES))
    assert not case.backbone("traced").folder.exists()


def test_all_folds_of_an_nnunet_drop(dropping: Path) -> None:
    networks = load_model(dropping, device="cpu").networks
    assert len(networks) == 2
    assert len(dropout_layers(networks)) == 2 * len(dropout_layers(networks[:1])) > 0


def test_a_model_without_dropout_is_refused_before_anything_is_written(tmp_path: Path, steady: Path) -> None:
    write_nifti(tmp_path / "torso.nii.gz", ct())
    onnx = make_model(tmp_path / "folded", "folded", softmax_network())
    for model, said in (
        (steady, "Dataset002_steady-3d_fullres has no dropout layers"),
        (onnx, "folded is an ONNX file, in which dropout layers are folded"),
    ):
        result = run("segment", tmp_path / "torso.nii.gz", "--model", model, "--out", tmp_path / "set", "--dropout-passes", 2)
        assert result.exit_code == 2
        assert said in result.stderr
        assert "leave --dropout-passes out" in result.stderr
    assert not (tmp_path / "set").exists()


def test_of_several_models_those_with_dropout_run_it_and_the_others_are_named(
    tmp_path: Path, dropping: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_nifti(tmp_path / "torso.nii.gz", ct())
    onnx = make_model(tmp_path / "other", "other", softmax_network())
    models = ("--model", dropping, "--model", onnx, "--device", "cpu")
    with caplog.at_level(logging.WARNING):
        options = ("--dropout-passes", 2, "--dropout-seed", 9)
        result = run("segment", tmp_path / "torso.nii.gz", *models, "--out", tmp_path / "set", *options)
    assert result.exit_code == 0
    assert "MC dropout is left out: model other is an ONNX file" in caplog.text
    case = CaseFolder(tmp_path / "set" / "torso")
    assert case.backbone(NAME).organs(MC_DROPOUT) == sorted(ORGANS)
    assert case.backbone("other").organs(MC_DROPOUT) == []
    records = [json.loads(case.backbone(name).run_record.read_text()) for name in (NAME, "other")]
    assert records[0]["parameters"]["mc_dropout"] == {"passes": 2, "seed": 9}
    assert "mc_dropout" not in records[1]["parameters"] | records[1]["results"]
    again = run("segment", case.folder, "--model", onnx)
    assert "1 skipped" in again.stdout  # passes that it has not are no other parameters


@pytest.mark.parametrize("wrong", [{"count": -1}, {"seed": -1}])
def test_negative_numbers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="neither can be negative"):
        DropoutPasses(**wrong)


def test_sums_are_the_same_in_memory_and_in_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, rng = ct().grid, np.random.default_rng(0)
    boxes = [(slice(a, a + 5), slice(b, b + 6), slice(c, c + 7)) for a, b, c in ((3, 4, 5), (20, 9, 1), (1, 1, 1))]
    dense = np.zeros(grid.shape)
    sums = [ProbabilitySums(), ProbabilitySums(in_memory=0)]
    for box in boxes:
        one = SparseVolume(grid, box, rng.uniform(0.1, 1, (5, 6, 7)).astype(np.float32))
        dense += one.dense()
        for each in sums:
            each.add(1, one)
    for each in sums:
        np.testing.assert_allclose(each.of(grid, 1).dense(), dense, rtol=1e-6)
        assert each.of(grid, 2).crop.size == 0
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StorageError, match="TMPDIR"):
        ProbabilitySums(in_memory=0).add(1, SparseVolume(grid, boxes[0], np.ones((5, 6, 7), np.float32)))


def test_one_sum_an_organ_is_kept_however_many_passes_there_are() -> None:
    sums, image = ProbabilitySums(), ct()
    one = SparseVolume(image.grid, (slice(2, 9),) * 3, np.full((7, 7, 7), 0.25, np.float32))
    for _ in range(40):
        sums.add(1, one)
    kept = sums._sums[1].crop
    assert kept.nbytes == one.crop.nbytes
    assert kept.max() == 10
