"""The lean way to run nnU-Net's networks gives the very bits of their own, and holds fewer feature maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import nnunet_models
from AtlasSegmentLib.lean_unet import made_lean
from AtlasSegmentLib.nnunet_labels import read_dataset
from AtlasSegmentLib.nnunet_network import build_network, load_weights
from AtlasSegmentLib.nnunet_plans import read_plans
from AtlasSegmentLib.torch_checkpoint import load_checkpoint


def network(folder: Path) -> Any:
    """Return the network of a tiny model with its weights."""
    configuration = read_plans(folder).configuration("3d_fullres")
    path = folder / "fold_0" / "checkpoint_final.pth"
    return load_weights(build_network(configuration.architecture, 1, read_dataset(folder).heads), load_checkpoint(path).weights, path)


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_a_lean_network_gives_the_same_bits(kind: Any, tmp_path: Path) -> None:
    module = network(nnunet_models.make_nnunet_model(tmp_path, network=kind))
    image = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = module(image)
        assert torch.equal(made_lean(module)(image), expected)


def test_a_lean_network_lets_go_of_what_is_joined(tmp_path: Path) -> None:
    import gc
    import weakref

    module = made_lean(network(nnunet_models.make_nnunet_model(tmp_path)))
    joined: list[Any] = []
    first, second = module.decoder.stages[-1].convs[0].all_modules[:2]
    alive: list[bool] = []
    first.register_forward_pre_hook(lambda _, inputs: joined.append(weakref.ref(inputs[0])))
    second.register_forward_hook(lambda *_: alive.append(joined[0]() is not None))
    with torch.inference_mode():
        module(torch.randn(1, 1, 16, 16, 16))
    gc.collect()
    assert alive == [False]
