"""AbdomenAtlas' universal model: parameters as published, weights found by name, the heads of each class as their formula says."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas_phantoms import ct
from AtlasSegmentLib import universal_network
from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.inference_settings import PRESETS
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.model_manifest import ModelManifest
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.universal_manifest import universal_manifest
from AtlasSegmentLib.universal_model import plain_names, read_embeddings
from AtlasSegmentLib.universal_network import Architecture

torch = pytest.importorskip("torch")
CLASSES = 32
SMALL: dict[str, Any] = {"patch": [16, 16, 16], "overlap": 0.5, "spacing": [4.3, 4.1, 4.7]}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the U-Net a quarter of its channels, for speed."""
    monkeypatch.setattr(universal_network, "_UNET", (16, 32, 64, 128))


def network(architecture: Architecture = "universal-unet", seed: int = 0) -> Any:
    """Return a network with random weights whose heads are of some contrast."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's own, when it is imported
        torch.manual_seed(seed)
        made = universal_network.universal_network(architecture, CLASSES).eval()
        made.organ_embedding.normal_()
        with torch.no_grad():
            made.controller.weight *= 4
    return made


def weights_of(made: Any) -> dict[str, Any]:
    return {name: tensor.clone() for name, tensor in made.state_dict().items()}


def make_folder(folder: Path, weights: Any, *, text: Any = None, architecture: str = "universal-unet", **changes: Any) -> Path:
    """Write a model folder as people get it: a checkpoint with the key "net", and the text embeddings beside it."""
    folder.mkdir()
    if "net" not in weights:
        weights = {"net": {f"module.{name}": tensor for name, tensor in weights.items()}, "epoch": 1, "optimizer": {"state": {}}}
    torch.save(weights, folder / "model.pth")
    sha256 = hashlib.sha256((folder / "model.pth").read_bytes()).hexdigest()
    if text is not None:
        torch.save(text, folder / "txt_encoding.pth")
    content = universal_manifest("universal", architecture, "model.pth", sha256, "" if text is None else "txt_encoding.pth")  # type: ignore[arg-type]
    content["input"] |= SMALL
    (folder / "model.json").write_text(json.dumps(content | changes))
    return folder


def parameters(part: Any) -> int:
    return sum(tensor.numel() for tensor in part.parameters())


@pytest.fixture(scope="module")
def swin() -> Any:
    return network("universal-swinunetr")


def test_the_unet_has_the_published_number_of_parameters() -> None:
    own_output = 64 * CLASSES + CLASSES  # the published number counts an output layer that the heads replace
    assert round((parameters(network().backbone) + own_output) / 1e6, 2) == 19.08


def test_the_swinunetr_has_the_published_number_of_parameters(swin: Any) -> None:
    assert round((parameters(swin.backbone) + 48 * CLASSES + CLASSES) / 1e6, 2) == 62.19


def test_the_swinunetr_is_monais_up_to_its_output_layer(swin: Any) -> None:
    seen: dict[str, Any] = {}
    swin.precls_conv.register_forward_pre_hook(lambda _, inputs: seen.update(shallow=inputs[0]))
    swin.GAP.register_forward_pre_hook(lambda _, inputs: seen.update(deepest=inputs[0]))
    image = torch.rand(1, 1, 64, 32, 32)
    with torch.inference_mode():
        assert swin(image).shape == (1, CLASSES, 64, 32, 32)
        swin.backbone.out = torch.nn.Identity()
        torch.testing.assert_close(seen["shallow"], swin.backbone(image))
    assert seen["deepest"].shape == (1, 768, 2, 1, 1)


def test_the_controller_makes_153_numbers_for_each_class(swin: Any) -> None:
    assert swin.controller.weight.shape == (153, 512, 1, 1, 1)


def test_the_settings_are_those_of_abdomenatlas() -> None:
    spec = ModelManifest.model_validate(universal_manifest("u", "universal-unet", "m.pth", "0" * 64))
    seen, rule = spec.input, spec.input.intensity
    assert (seen.orientation, seen.spacing, seen.patch, seen.overlap) == ("RAS", (1.5, 1.5, 1.5), (96, 96, 96), 0.75)
    assert (rule.type, rule.a_min, rule.a_max, rule.b_min, rule.b_max) == ("clip_scale", -175, 250, 0, 1)
    assert (seen.grid, seen.crop_foreground, spec.output.activation, spec.output.threshold) == ("centers", True, "sigmoid", 0.5)
    assert (spec.channels, spec.channel_of(1), spec.table.name_of(1), spec.table.name_of(32)) == (CLASSES, 0, "spleen", "kidney_cyst")


@pytest.mark.usefixtures("narrow")
def test_each_head_is_three_convolutions_made_of_the_window_and_the_text() -> None:
    made = network()
    image = torch.rand(2, 1, 16, 8, 24, generator=torch.Generator().manual_seed(1))
    seen: dict[str, Any] = {}
    made.GAP.register_forward_hook(lambda *call: seen.update(pooled=call[2]))
    made.precls_conv.register_forward_hook(lambda *call: seen.update(maps=call[2]))
    with torch.inference_mode():
        logits = made(image)
        text = torch.relu(made.organ_embedding @ made.text_to_vision.weight.T + made.text_to_vision.bias)
        for number, organ in ((0, 0), (1, 7), (1, 31)):
            condition = torch.cat([seen["pooled"][number].flatten(), text[organ]])
            p = made.controller.weight.flatten(1) @ condition + made.controller.bias
            first, second, third, biases = p[:64].reshape(8, 8), p[64:128].reshape(8, 8), p[128:136], p[136:]
            maps = seen["maps"][number].flatten(1)
            hidden = torch.relu(first @ maps + biases[:8, None])
            hidden = torch.relu(second @ hidden + biases[8:16, None])
            expected = (third @ hidden + biases[16]).reshape(image.shape[2:])
            torch.testing.assert_close(logits[number, organ], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("prefix", ["module.", "", "_orig_mod.module."])
def test_weights_are_found_by_name_in_any_order(tmp_path: Path, prefix: str) -> None:
    weights = weights_of(network(seed=3))
    shuffled = {f"{prefix}{name}": weights[name] for name in sorted(weights, reverse=True)}
    model = load_model(make_folder(tmp_path / "u", {"net": shuffled}), device="cpu")
    loaded = model._network.module.state_dict()  # type: ignore[attr-defined]
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


def test_names_of_early_checkpoints_and_unused_output_layers_are_understood() -> None:
    given = {"swinViT.a": 1, "encoder10.b": 2, "decoder1.c": 3, "out.conv.conv.weight": 4, "backbone.out_tr.x": 5, "controller.weight": 6}
    assert plain_names(given) == {"backbone.swinViT.a": 1, "backbone.encoder10.b": 2, "backbone.decoder1.c": 3, "controller.weight": 6}  # type: ignore[arg-type, comparison-overlap]


@pytest.mark.usefixtures("narrow")
def test_missing_and_foreign_weights_are_named(tmp_path: Path) -> None:
    weights = weights_of(network())
    weights["GAP.9.weight"] = weights.pop("GAP.0.weight")
    with pytest.raises(ModelError, match=r"1 missing \(GAP.0.weight\), 1 unexpected \(GAP.9.weight\)"):
        load_model(make_folder(tmp_path / "u", weights), device="cpu")


@pytest.mark.usefixtures("narrow")
def test_the_text_comes_from_its_file_when_the_checkpoint_has_none(tmp_path: Path) -> None:
    weights = weights_of(network())
    text = weights.pop("organ_embedding")
    model = load_model(make_folder(tmp_path / "u", weights, text=text.half()), device="cpu")
    torch.testing.assert_close(model._network.module.organ_embedding, text.half().float())  # type: ignore[attr-defined]


@pytest.mark.usefixtures("narrow")
def test_without_any_text_the_model_says_which_file_it_needs(tmp_path: Path) -> None:
    weights = weights_of(network())
    del weights["organ_embedding"]
    with pytest.raises(ModelError, match="holds no text embeddings") as caught:
        load_model(make_folder(tmp_path / "u", weights), device="cpu")
    assert "txt_encoding.pth" in caught.value.remedy


@pytest.mark.usefixtures("narrow")
def test_text_of_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    weights = weights_of(network())
    del weights["organ_embedding"]
    with pytest.raises(ModelError, match=r"shape \(31, 512\), expected \(32, 512\)"):
        load_model(make_folder(tmp_path / "u", weights, text=torch.zeros(31, 512)), device="cpu")


def test_embeddings_are_read_from_npz_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", text=np.eye(4, 512, dtype=np.float16))
    np.testing.assert_array_equal(read_embeddings(tmp_path / "t.npz"), np.eye(4, 512))


class Trap:
    """What makes a file when a pickle of it is read."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


@pytest.mark.parametrize("name", ["t.pth", "t.npz"])
def test_embeddings_that_are_a_program_are_refused_and_not_run(tmp_path: Path, name: str) -> None:
    trap = Trap(str(tmp_path / "touched"))
    if name == "t.pth":
        torch.save(trap, tmp_path / name)
    else:
        np.savez(tmp_path / name, text=np.array([trap], dtype=object))
    with pytest.raises(ModelError, match=name):
        read_embeddings(tmp_path / name)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02N.", b"<html>"])
def test_damaged_embeddings_are_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.pth").write_bytes(content)
    with pytest.raises(ModelError, match=r"t.pth"):
        read_embeddings(tmp_path / "t.pth")


def test_an_architecture_that_is_not_known_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "u", {"net": {"a": torch.zeros(1)}}, architecture="universal-dints")
    with pytest.raises(ModelError, match="architecture 'universal-dints' is not known; universal-unet and universal-swinunetr are"):
        load_model(folder, device="cpu")


@pytest.mark.usefixtures("narrow")
def test_a_ct_is_segmented_as_monais_transforms_and_window_do_it(tmp_path: Path) -> None:
    made = network(seed=1)
    folder = make_folder(tmp_path / "u", weights_of(made))
    volume = ct("LPS")
    write_nifti(tmp_path / "ct.nii.gz", volume.with_array(volume.array))
    volume = read_nifti(tmp_path / "ct.nii.gz")
    expected = by_monai(made, tmp_path / "ct.nii.gz")
    prediction = load_model(folder, device="cpu").segment(volume, None, PRESETS["best"])
    masks = np.stack([mask.dense() for mask in prediction.masks(volume.grid).values()])
    both = expected[:, 1:-1, 1:-1, 2:-2]  # MONAI's last bits decide on the border layer; see test_monai_parity
    ours = masks[:, 1:-1, 1:-1, 2:-2]
    assert both.any(axis=(1, 2, 3)).sum() >= 5
    assert (ours == both).all(axis=0).mean() >= 0.9999


def by_monai(made: Any, path: Path) -> Any:
    """Return masks (32, X, Y, Z) by MONAI's transforms, with probabilities brought back by linear interpolation."""
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        from monai import transforms as t
        from monai.inferers import SlidingWindowInferer

        before = t.Compose(
            [
                t.LoadImaged("image"),
                t.EnsureChannelFirstd("image"),
                t.Orientationd("image", "RAS"),
                t.Spacingd("image", SMALL["spacing"], mode="bilinear"),
                t.ScaleIntensityRanged("image", -175, 250, 0, 1, clip=True),
                t.CropForegroundd("image", "image"),
            ]
        )
        data = before({"image": str(path)})
        logits = SlidingWindowInferer(SMALL["patch"], 1, SMALL["overlap"], mode="gaussian")(data["image"][None], made)[0]
        data["pred"] = torch.sigmoid(logits)
        return np.asarray(t.Invertd("pred", before, "image", nearest_interp=False)(data)["pred"]) > 0.5


@pytest.mark.usefixtures("narrow")
def test_one_map_at_a_time_is_made_for_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = network()
    kept: list[int] = []
    with torch.inference_mode():
        original = universal_network._head

        def counted(maps: Any, numbers: Any) -> Any:
            result = original(maps, numbers)
            kept.append(result.untyped_storage().nbytes())
            return result

        monkeypatch.setattr(universal_network, "_head", counted)
        made(torch.rand(1, 1, 16, 16, 16))
    assert kept == [4 * 16**3] * CLASSES
