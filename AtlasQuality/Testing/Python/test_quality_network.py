"""The label-quality network is SegAE's: its numbers, its names."""

from __future__ import annotations

import re
from types import ModuleType

import pytest
import torch
from torch import library as operators
from torch import nn

from AtlasQualityLib.quality_losses import outline_loss
from AtlasQualityLib.quality_network import BACKBONES, Backbone, build_network, network_shape
from AtlasQualityLib.quality_outline import drawn_dice, shrunk
from AtlasSegmentLib.errors import ModelError

_MISSING = ("nms", "qnms")


@pytest.fixture(scope="module")
def resnets() -> ModuleType:
    """Give torchvision's residual networks, also where its compiled operators, which these do not need, do not fit Torch's build."""
    fragment = vars(operators)["Library"]("torchvision", "FRAGMENT")
    try:
        import torchvision
    except RuntimeError:
        for name in _MISSING:
            fragment.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision.models


class Written(nn.Module):
    """SegAE as its description says it, on torchvision's network."""

    def __init__(self, resnets: ModuleType, backbone: str) -> None:
        super().__init__()
        self.net = getattr(resnets, backbone)(weights=None)
        features = self.net.fc.in_features
        self.conv1, self.bn1 = nn.Conv2d(2, 64, 7, 2, 3), nn.BatchNorm2d(64)
        self.attention1, self.attention2 = nn.Linear(features + 512, features), nn.Linear(features + 512, 50)
        self.fc1, self.fc2 = nn.Linear(features, 50), nn.Linear(50, 1)

    def forward(self, image: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        x = self.net.maxpool(self.net.relu(self.bn1(self.conv1(image))))
        x = self.net.layer4(self.net.layer3(self.net.layer2(self.net.layer1(x))))
        x = torch.flatten(self.net.avgpool(x), 1)
        both = torch.cat([x, embedding], 1)
        return self.fc2(self.attention2(both) * self.fc1(self.attention1(both) * x)).squeeze(1)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_forward_pass_and_the_names_are_those_of_the_published_network(resnets: ModuleType, backbone: Backbone) -> None:
    torch.manual_seed(4)
    written = Written(resnets, backbone).eval()
    network = build_network(backbone).eval()
    state = {name: value for name, value in written.state_dict().items() if not name.startswith(("net.conv1", "net.bn1", "net.fc"))}
    assert sorted(network.state_dict()) == sorted(state)
    network.load_state_dict(state)
    images, embeddings = torch.randn(2, 2, 96, 96), torch.randn(2, 512)
    with torch.inference_mode():
        wanted, found = written(images, embeddings), network(images, embeddings)
    assert found.shape == (2,)
    assert float((found - wanted).abs().max()) <= 1e-5 * max(1.0, float(wanted.abs().max()))
    assert network_shape(written.state_dict()) == (backbone, 64)


def test_a_batch_of_one_gives_one_number() -> None:
    network = build_network("resnet18", 8).eval()
    assert network(torch.randn(1, 2, 256, 256), torch.randn(1, 512)).shape == (1,)
    assert network_shape(network.state_dict()) == ("resnet18", 8)


def test_what_is_no_quality_network_is_said() -> None:
    with pytest.raises(ModelError, match=re.escape("backbone 'vgg' and width 64")):
        build_network("vgg")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="width 0"):
        build_network("resnet18", 0)
    with pytest.raises(ModelError, match="no quality network"):
        network_shape({"net.layer1.0.conv1.weight": torch.zeros(1)})
    without = {name: value for name, value in build_network("resnet18", 8).state_dict().items() if not name.startswith("net.layer4.1")}
    with pytest.raises(ModelError, match="blocks"):
        network_shape(without)


def test_a_network_that_draws_the_organ_scores_a_mask_by_what_it_draws() -> None:
    """A drawing that is the mask gives Dice 1, one elsewhere 0; an empty mask is right where nothing is drawn."""
    mask = torch.full((3, 64, 64), -1.0)
    mask[0, 10:30, 10:30] = mask[1, 8:14, 40:50] = 1.0
    there = shrunk(mask)
    drawn = torch.where(torch.stack([there[0], there[1].flip(1), there[2]]) > 0.5, 20.0, -20.0)
    found = drawn_dice(drawn, mask)
    assert found.tolist() == pytest.approx([1.0, 0.0, 1.0], abs=1e-4)
    drawn[2, :10, :10] = 20.0
    assert float(drawn_dice(drawn, mask)[2]) == pytest.approx(0.0, abs=1e-4)


def test_the_drawing_is_half_as_large_as_the_slice_and_part_of_the_score_for_any_backbone() -> None:
    torch.manual_seed(0)
    image, embedding = torch.randn(2, 2, 96, 96).clamp(-1, 1), torch.randn(2, 512)
    for backbone in ("resnet18", "resnet50"):
        network = build_network(backbone, 8, outline=True).eval()
        assert network_shape(network.state_dict()) == (backbone, 8)
        score, logits = network(image, embedding, True)
        assert logits.shape == (2, 48, 48)
        plain = build_network(backbone, 8).eval()
        plain.load_state_dict({name: value for name, value in network.state_dict().items() if not name.startswith("outline.")})
        assert torch.allclose(score - plain(image, embedding), drawn_dice(logits, image[:, 1]), atol=1e-5)
        assert torch.equal(network(image, embedding), score)


def test_a_perfect_drawing_costs_nothing_and_a_worse_one_more() -> None:
    truth = torch.zeros(2, 32, 32)
    truth[:, 8:20, 8:20] = 1.0
    perfect = torch.where(truth > 0, 30.0, -30.0)
    losses = [float(outline_loss(logits, truth)) for logits in (perfect, perfect.roll(4, 2), -perfect)]
    assert losses[0] == pytest.approx(0.0, abs=1e-3)
    assert losses[0] < losses[1] < losses[2]
