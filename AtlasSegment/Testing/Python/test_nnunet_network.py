"""Networks of nnU-Net plans: the same numbers as nnU-Net's own, only parts on the list, weights that fit or a message."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.nnunet_architecture import Architecture, trained_by
from AtlasSegmentLib.nnunet_folder import NnunetFolder, open_folder
from AtlasSegmentLib.nnunet_network import build_network, load_weights
from AtlasSegmentLib.nnunet_plans import parse_plans
from AtlasSegmentLib.torch_checkpoint import load_checkpoint
from AtlasSegmentLib.torch_convert import convert_checkpoint
from nnunet_models import Shape, make_nnunet_model, make_plans, reference_predictor

REGIONS: dict[str, int | list[int]] = {"whole": [1, 2, 3], "core": [2, 3], "enhancing": 3, "ignore": 4}
CONFIGURATIONS = ("2d", "3d_lowres", "3d_fullres", "3d_cascade_fullres")


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """Keep sums in one order, so that equal networks give equal numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def loaded(folder: NnunetFolder, fold: int | str = 0) -> tuple[nn.Module, Tensor]:
    """Return the network of a model folder with the weights of a fold, and an input for it."""
    (path,) = folder.chosen([fold])
    checkpoint = load_checkpoint(path)
    chosen = folder.plans.configuration(checkpoint.configuration)
    channels = folder.dataset.channels_in(cascade=chosen.previous_stage is not None)
    network = build_network(trained_by(chosen.architecture, checkpoint.trainer), channels, folder.dataset.heads)
    image = torch.randn(2, channels, *chosen.patch, generator=torch.Generator().manual_seed(5))
    return load_weights(network, checkpoint.weights, path), image


@pytest.mark.parametrize("dialect", ["new", "old"])
@pytest.mark.parametrize("network", ["plain", "residual"])
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_network_gives_the_numbers_of_nnunets_own(tmp_path: Path, dialect: Any, network: Any, configuration: Any) -> None:
    model = make_nnunet_model(tmp_path, dialect=dialect, network=network, configuration=configuration, seed=3)
    ours, image = loaded(open_folder(model))
    theirs = reference_predictor(model).network.eval()
    with torch.no_grad():
        logits = ours(image)
        assert torch.equal(logits, theirs(image))
    assert logits.shape == (2, 4, *image.shape[2:])
    assert len(logits.argmax(1).unique()) == 4, "the maker's weights must let every class win somewhere"


@pytest.mark.parametrize(
    "options",
    [
        {"labels": REGIONS, "regions_class_order": (1, 2, 3)},
        {"labels": REGIONS, "regions_class_order": (1, 2, 3), "configuration": "3d_cascade_fullres"},
        {"spacing": (6.0, 1.0, 1.0), "patch": (8, 32, 32), "transpose": (1, 0, 2), "mirror_axes": (0, 1, 2)},
        {"channels": ("CT", "PET"), "shape": Shape(features=6, most=10, stages=4, blocks=2), "network": "residual"},
        {"trainer": "nnUNetTrainerBN"},
        {"trainer": "nnUNetTrainerBN", "configuration": "2d", "dialect": "old", "network": "residual"},
        {"folds": (0, 3, "all")},
    ],
)
def test_variants_of_models_give_the_numbers_of_nnunets_own(tmp_path: Path, options: Any) -> None:
    model = make_nnunet_model(tmp_path, seed=4, **options)
    fold = options.get("folds", (0,))[-1]
    ours, image = loaded(open_folder(model), fold)
    predictor = reference_predictor(model, (fold,))
    with torch.no_grad():
        assert torch.equal(ours(image), predictor.network.eval()(image))
    assert predictor.allowed_mirroring_axes == load_checkpoint(model / f"fold_{fold}" / "checkpoint_final.pth").mirror_axes


def test_a_converted_checkpoint_gives_the_same_numbers(tmp_path: Path) -> None:
    model = make_nnunet_model(tmp_path, network="residual")
    before, image = loaded(open_folder(model))
    convert_checkpoint(model / "fold_0" / "checkpoint_final.pth")
    folder = open_folder(model)
    assert folder.checkpoints["0"].suffix == ".safetensors"
    after, _ = loaded(folder)
    with torch.no_grad():
        assert torch.equal(before(image), after(image))


def parts(network: str = "plain") -> tuple[Architecture, dict[str, Tensor]]:
    """Return a small architecture for one channel and 3 heads, and weights that fit."""
    architecture = parse_plans(make_plans("new", network, (3.0, 2.0, 2.0), (16, 16, 16))).configuration("3d_fullres").architecture
    empty = build_network(architecture, 1, 3)
    return architecture, {name: torch.full(value.shape, 0.5) for name, value in empty.state_dict().items()}


def test_a_network_takes_no_memory_before_its_weights_are_there_and_is_ready_after() -> None:
    architecture, weights = parts()
    network = build_network(architecture, 1, 3)
    assert all(parameter.is_meta for parameter in network.parameters())
    load_weights(network, weights, "a.pth")
    assert not network.training
    assert not any(parameter.is_meta or parameter.requires_grad for parameter in network.parameters())


def test_the_next_folds_weights_replace_those_of_the_last() -> None:
    architecture, weights = parts()
    network = load_weights(build_network(architecture, 1, 3), weights, "fold 0")
    load_weights(network, {name: value * 3 for name, value in weights.items()}, "fold 1")
    assert all(bool((parameter == 1.5).all()) for parameter in network.parameters())


def test_weights_are_copied_so_that_the_checkpoint_can_go() -> None:
    architecture, weights = parts()
    network = load_weights(build_network(architecture, 1, 3), weights, "a.pth")
    for value in weights.values():
        value.zero_()
    assert all(bool((parameter == 0.5).all()) for parameter in network.parameters())


def test_weights_of_half_precision_are_run_in_single() -> None:
    architecture, weights = parts()
    network = load_weights(build_network(architecture, 1, 3), {name: value.half() for name, value in weights.items()}, "a.pth")
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_heads_of_deep_supervision_are_passed_over_but_the_last_is_needed() -> None:
    architecture, weights = parts()
    lower = {"decoder.seg_layers.0.weight": torch.zeros(9), "decoder.seg_layers.0.bias": torch.zeros(9)}
    network = load_weights(build_network(architecture, 1, 3), {**weights, **lower}, "a.pth")
    assert [name for name in network.state_dict() if "seg_layers" in name] == [
        "decoder.seg_layers.1.weight",
        "decoder.seg_layers.1.bias",
    ]
    kept = {name: value for name, value in weights.items() if "seg_layers.1" not in name}
    with pytest.raises(ModelError, match=r"2 missing \(decoder\.seg_layers\.1\.weight"):
        load_weights(network, kept, "a.pth")


def test_what_does_not_fit_is_listed_and_the_network_stays_as_it_was() -> None:
    architecture, weights = parts()
    network = load_weights(build_network(architecture, 1, 3), weights, "a.pth")
    wrong = {name: value * 7 for name, value in weights.items()}
    del wrong["encoder.stages.0.0.convs.0.conv.weight"], wrong["encoder.stages.0.0.convs.0.conv.bias"]
    wrong |= {f"extra.{number}": torch.zeros(1) for number in range(5)}
    wrong["decoder.seg_layers.1.bias"] = torch.zeros(8)
    with pytest.raises(ModelError) as caught:
        load_weights(network, wrong, "some/checkpoint.pth")
    message = caught.value.message
    assert "some/checkpoint.pth" in message
    assert "2 missing (encoder.stages.0.0.convs.0.conv.weight; encoder.stages.0.0.convs.0.conv.bias)" in message
    assert "5 unexpected (extra.0; extra.1; extra.2 ...)" in message
    assert "1 of another shape (decoder.seg_layers.1.bias is (8,), expected (3,))" in message
    assert all(bool((parameter == 0.5).all()) for parameter in network.parameters())


@pytest.mark.parametrize(("channels", "heads", "part"), [(2, 3, "convs.0.conv.weight"), (1, 4, "seg_layers.1.weight")])
def test_a_checkpoint_of_other_channels_or_labels_is_refused(channels: int, heads: int, part: str) -> None:
    architecture, weights = parts()
    with pytest.raises(ModelError, match="of another shape") as caught:
        load_weights(build_network(architecture, channels, heads), weights, "a.pth")
    assert part in caught.value.message


def changed(**arguments: Any) -> Architecture:
    """Return the small architecture with other arguments."""
    architecture, _ = parts()
    return Architecture(architecture.class_name, {**copy.deepcopy(architecture.arguments), **arguments}, architecture.requires_import)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("conv_op", "os.system"),
        ("conv_op", "torch.hub.load"),
        ("conv_op", "torch.nn.modules.conv.os"),
        ("conv_op", "torch.nn.Linear"),
        ("conv_op", "Conv3d"),
        ("conv_op", "torch.nn.functional.Conv3d.x"),
        ("conv_op", 3),
        ("norm_op", "torch.nn.Conv3d"),
        ("norm_op", "atlas_not_imported.InstanceNorm3d"),
        ("nonlin", "builtins.eval"),
        ("dropout_op", "dynamic_network_architectures.building_blocks.residual.BasicBlockD"),
        ("block", "torch.nn.BasicBlockD"),
    ],
)
def test_a_part_that_is_not_on_the_list_is_refused_and_not_imported(key: str, name: Any) -> None:
    with pytest.raises(ModelError) as caught:
        build_network(changed(**{key: name}), 1, 3)
    assert f"{key} {name!r}" in caught.value.message
    assert "supported" in caught.value.message
    assert "atlas_not_imported" not in sys.modules


@pytest.mark.parametrize(
    "arguments",
    [
        {"conv_op": "torch.nn.Conv3d", "norm_op": "torch.nn.BatchNorm3d", "nonlin": "torch.nn.ReLU"},
        {"norm_op": None, "norm_op_kwargs": None},
        {"dropout_op": "torch.nn.Dropout3d", "dropout_op_kwargs": {"p": 0.2}},
        {"nonlin_first": True, "deep_supervision": True},
    ],
)
def test_parts_on_the_list_are_built(arguments: dict[str, Any]) -> None:
    network = build_network(changed(**arguments), 1, 3)
    weights = {name: torch.full(value.shape, 0.1) for name, value in network.state_dict().items()}
    with torch.no_grad():
        assert load_weights(network, weights, "a.pth")(torch.randn(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


def test_a_residual_network_may_name_its_blocks() -> None:
    architecture, _ = parts("residual")
    block = "dynamic_network_architectures.building_blocks.residual.BottleneckD"
    arguments = {**architecture.arguments, "block": block, "bottleneck_channels": 4}
    network = build_network(Architecture(architecture.class_name, arguments, architecture.requires_import), 1, 3)
    assert any(type(module).__name__ == "BottleneckD" for module in network.modules())


@pytest.mark.parametrize(
    "arguments", [{"surprise": 1}, {"norm_op_kwargs": 3}, {"nonlin_kwargs": {"slope": 1}}, {"conv_op": None}, {"n_conv_per_stage": [1]}]
)
def test_arguments_that_the_network_does_not_take_are_a_model_error(arguments: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="cannot be built"):
        build_network(changed(**arguments), 1, 3)


def test_a_network_of_another_class_is_refused() -> None:
    architecture, _ = parts()
    with pytest.raises(ModelError, match="SwinUNETR"):
        build_network(Architecture("monai.networks.nets.SwinUNETR", architecture.arguments, ()), 1, 3)


@pytest.mark.parametrize("package", ["torch", "dynamic_network_architectures"])
def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    architecture, _ = parts()
    monkeypatch.setitem(sys.modules, package, None)
    if package != "torch":
        monkeypatch.delitem(sys.modules, f"{package}.architectures")
    with pytest.raises(ModelError, match=rf"needs the package {package}.*pip install"):
        build_network(architecture, 1, 3)
