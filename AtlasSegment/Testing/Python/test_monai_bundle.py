"""What a MONAI bundle's files say becomes the facts of a model; what changes the result and is not supported is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_kinds_monai import describe_monai
from AtlasSegmentLib.monai_bundle import check_bundle, load_bundle
from monai_bundles import ARGMAX, RANGE, SOFTMAX, UNET, WINDOW, Json, config, invert, metadata

SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
THRESHOLD = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.4}
CROP = {"_target_": "CropForegroundd", "keys": "@image_key", "source_key": "@image_key"}
Z_SCORE = {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True}
MIN_MAX = {"_target_": "ScaleIntensityd", "keys": "@image_key", "minv": -1.0, "maxv": 1.0}


def bundle(folder: Path, content: Json | None = None, facts: Json | None = None) -> Path:
    """Write a bundle without weights."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(content or config()))
    (folder / "configs" / "metadata.json").write_text(json.dumps(facts or metadata()))
    return folder


def test_the_facts_of_a_bundle_are_its_transforms_inferer_and_channels(tmp_path: Path) -> None:
    spec = check_bundle(bundle(tmp_path / "b", config(spacing=(1.5, 1.5, 2.0), axcodes="LPS")))
    seen = spec.input
    assert (spec.name, spec.title, spec.version, spec.table.names()) == (
        "Tiny bundle",
        "For tests",
        "0.1.0",
        ["spleen", "liver", "pancreas"],
    )
    assert (seen.orientation, seen.spacing, seen.patch, seen.overlap, seen.grid) == ("LPS", (1.5, 1.5, 2.0), (16, 16, 16), 0.5, "centers")
    assert (seen.weights, seen.padding, seen.padding_value, seen.crop_foreground) == ("constant", "constant", 0.0, False)
    assert [(rule.type, rule.a_min, rule.a_max) for rule in seen.rules] == [("clip_scale", -175, 250)]
    assert (spec.output.activation, spec.output.decide, spec.channels) == ("softmax", "probabilities", 4)


def test_the_list_of_models_gives_a_bundle_the_name_that_its_results_get(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b", facts=metadata(name="Abdomen: all organs"))
    assert describe_monai_name(folder) == check_bundle(folder).name == "b"


def describe_monai_name(folder: Path) -> str:
    (folder / "models" / "model.pt").write_bytes(b"\x80\x02")
    return describe_monai(folder).name


def test_rules_of_the_whole_body_bundle_are_understood(tmp_path: Path) -> None:
    content = config(
        spacing="$[1.5, 1.5, 1.5] if @displayable_configs#highres else [3.0, 3.0, 3.0]",
        rules=[Z_SCORE, MIN_MAX],
        inferer={**WINDOW, "overlap": "@displayable_configs#sw_overlap", "mode": "gaussian", "padding_mode": "replicate"},
        after=[SOFTMAX, ARGMAX, invert(nearest=True)],
    )
    spec = check_bundle(bundle(tmp_path / "b", {**content, "displayable_configs": {"highres": True, "sw_overlap": 0.25}}))
    assert spec.input.spacing == (1.5, 1.5, 1.5)
    assert [(rule.type, rule.nonzero, rule.b_min) for rule in spec.input.rules] == [("z_score", True, 0), ("min_max", False, -1)]
    assert (spec.input.overlap, spec.input.weights, spec.input.padding) == (0.25, "gaussian_unscaled", "edge")
    assert spec.output.decide == "labels"


def test_overlapping_structures_are_one_channel_each(tmp_path: Path) -> None:
    names = ("spleen", "liver", "pancreas")
    spec = check_bundle(bundle(tmp_path / "b", config(after=[invert(), SIGMOID, THRESHOLD]), metadata(names)))
    assert [spec.channel_of(value) for value in spec.table.labels] == [0, 1, 2]
    assert (spec.output.activation, spec.output.threshold, spec.output.decide, spec.channels) == ("sigmoid", 0.4, "logits", 3)


def test_a_background_channel_among_sigmoids_is_no_structure(tmp_path: Path) -> None:
    spec = check_bundle(bundle(tmp_path / "b", config(after=[SIGMOID, invert(), THRESHOLD]), metadata()))
    assert {value: spec.channel_of(value) for value in spec.table.labels} == {1: 1, 2: 2, 3: 3}


def test_a_bundle_that_keeps_the_grid_and_shows_all_at_once(tmp_path: Path) -> None:
    content = config(inferer={"_target_": "SimpleInferer"}, after=[SOFTMAX, ARGMAX])
    content["preprocessing"]["transforms"] = [{"_target_": "LoadImaged", "keys": "@image_key"}, MIN_MAX]
    seen = check_bundle(bundle(tmp_path / "b", content)).input
    assert (seen.orientation, seen.spacing, seen.patch) == ("", None, None)


def test_rules_before_the_resampling_stay_before_it(tmp_path: Path) -> None:
    content = config()
    steps = content["preprocessing"]["transforms"]
    steps.insert(2, steps.pop(4))
    seen = check_bundle(bundle(tmp_path / "b", content)).input
    assert [rule.type for rule in seen.source_intensity] == ["clip_scale"]
    assert [rule.type for rule in seen.rules] == ["none"]


def test_transforms_of_other_keys_do_not_count(tmp_path: Path) -> None:
    content = config(rules=[RANGE, {"_target_": "scripts.Odd", "keys": "label"}, {"_target_": "Resized", "keys": ["label", "mask"]}])
    assert check_bundle(bundle(tmp_path / "b", content)).input.crop_foreground is False


def before(**changes: Any) -> Json:
    """Return a config one of whose transforms has other arguments."""
    target = changes.pop("target")
    content = config(rules=[RANGE, CROP])
    step = next(step for step in content["preprocessing"]["transforms"] if step["_target_"] == target)
    step.update(changes)
    return content


REFUSED: list[tuple[str, Json]] = [
    (r"\(scripts\.transforms\.Odd\): it changes the result", config(rules=[{"_target_": "scripts.transforms.Odd", "keys": "image"}])),
    (r"\(RandFlipd\): it changes the result", config(rules=[{"_target_": "RandFlipd", "keys": "image"}])),
    (r"\(scripts\.LoadImaged\)", config(rules=[{"_target_": "scripts.LoadImaged", "keys": "image"}])),
    (r"\(Spacingd\): mode = 'nearest'", before(target="Spacingd", mode="nearest")),
    (r"\(Spacingd\): pixdim = \[1, 1, -1\]", before(target="Spacingd", pixdim=[1, 1, -1])),
    (r"\(Spacingd\): diagonal", before(target="Spacingd", diagonal=True)),
    (r"\(Orientationd\): axcodes = 7", before(target="Orientationd", axcodes=7)),
    (r"field input\.orientation", before(target="Orientationd", axcodes="XYZ")),
    (r"\(CropForegroundd\): margin = 10", before(target="CropForegroundd", margin=10)),
    (r"\(CropForegroundd\): select_fn = '\$lambda x: x > -500'", before(target="CropForegroundd", select_fn="$lambda x: x > -500")),
    (r"\(ScaleIntensityRanged\): after CropForeground", config(rules=[CROP, RANGE])),
    (r"\(ScaleIntensityRanged\): a_min = 'x' is no number", before(target="ScaleIntensityRanged", a_min="x")),
    (r"field input\.intensity", before(target="ScaleIntensityRanged", a_min=250)),
    (r"\(EnsureTyped\): dtype = 'int32'", before(target="EnsureTyped", dtype="$torch.int32")),
    (r"\(SliceInferer\): this inferer is not supported", config(inferer={"_target_": "SliceInferer", "roi_size": [16, 16]})),
    (r"roi_size = \[16, 16\]", config(inferer={**WINDOW, "roi_size": [16, 16]})),
    (r"sigma_scale = 0\.25", config(inferer={**WINDOW, "sigma_scale": 0.25})),
    (r"padding_mode 'circular'", config(inferer={**WINDOW, "padding_mode": "circular"})),
    (r"field input\.overlap", config(inferer={**WINDOW, "overlap": 1.5})),
    (
        r"\(KeepLargestConnectedComponentd\)",
        config(after=[SOFTMAX, ARGMAX, {"_target_": "KeepLargestConnectedComponentd", "keys": "pred"}]),
    ),
    (r"labels cannot be interpolated", config(after=[SOFTMAX, ARGMAX, invert()])),
    (r"argmax of sigmoids", config(after=[SIGMOID, invert(), ARGMAX])),
    (r"threshold without Activations", config(after=[SOFTMAX, invert(), THRESHOLD])),
    (r"would have to be run as Python", config(spacing="$numpy.ones(3)")),
]


@pytest.mark.parametrize(("message", "content"), REFUSED)
def test_what_changes_the_result_and_is_not_supported_is_named_with_the_next_step(tmp_path: Path, message: str, content: Json) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        check_bundle(bundle(tmp_path / "b", content))
    assert "inference.json" in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("names no structures", {"network_data_format": {}}),
        ("wants 3 images together", {"network_data_format": {"inputs": {"image": {"num_channels": 3}}}}),
        ("wants image, click", {"network_data_format": {"inputs": {"image": {}, "click": {}}}}),
        ("field labels", metadata(("background", "a/b"))),
        ("field labels", metadata(("background", "liver", "liver"))),
    ],
)
def test_metadata_that_is_of_no_ct_segmentation_is_refused(tmp_path: Path, message: str, changes: Json) -> None:
    with pytest.raises(ModelError, match=message):
        check_bundle(bundle(tmp_path / "b", facts=metadata(**changes) if "version" not in changes else changes))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({**UNET, "_target_": "os.system"}, "os.system is not on the list"),
        ({**UNET, "_target_": "scripts.networks.UNet"}, "scripts.networks.UNet is not on the list"),
        ({**UNET, "_target_": "monai.networks.nets.DiNTS"}, "DiNTS is not on the list"),
        ({**UNET, "act": "$torch.nn.ReLU"}, r"network_def#act: the expression '\$torch.nn.ReLU'"),
        ({**UNET, "width": 3}, "knows no argument 'width'"),
        ({**UNET, "channels": [10**9, 8]}, "is no plain value"),
        ({**UNET, "spatial_dims": 2}, "only networks for volumes"),
        ({**UNET, "strides": "two"}, "cannot be built"),
    ],
)
def test_a_network_that_is_not_on_the_list_or_cannot_be_built_is_refused(tmp_path: Path, network: Json, message: str) -> None:
    folder = bundle(tmp_path / "b", config(network=network))
    write_weights(folder, {"a": [1.0]})
    with pytest.raises(ModelError, match=message):
        load_bundle(folder)


def write_weights(folder: Path, weights: Any) -> None:
    torch = pytest.importorskip("torch")
    torch.save({name: torch.tensor(values) for name, values in weights.items()}, folder / "models" / "model.pt")


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    write_weights(folder, {"conv.weight": [1.0]})
    with pytest.raises(ModelError, match=r"do not fit the network: \d+ missing \(model.0.*1 unexpected \(conv.weight\)"):
        load_bundle(folder)


def test_weights_that_are_a_program_are_refused_and_not_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = bundle(tmp_path / "b")
    touched = tmp_path / "touched"
    torch.save({"model": Trap(str(touched))}, folder / "models" / "model.pt")
    with pytest.raises(ModelError, match="refused, nothing of it was run"):
        load_bundle(folder)
    assert not touched.exists()


class Trap:
    """What creates a file when a pickle of it is read."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


def test_weights_outside_of_the_bundle_are_refused(tmp_path: Path) -> None:
    content = config()
    content["checkpointloader"]["load_path"] = "$@bundle_root + '/../other.pt'"
    (tmp_path / "other.pt").write_bytes(b"x")
    with pytest.raises(ModelError, match="lie outside of the bundle"):
        load_bundle(bundle(tmp_path / "b", content))


def test_missing_weights_are_named_with_where_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no models/model.pt and no models/model.ts") as caught:
        load_bundle(bundle(tmp_path / "b"))
    assert "large_files.yml" in caught.value.remedy


def test_a_bundle_for_training_alone_says_so(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    (folder / "configs" / "inference.json").unlink()
    with pytest.raises(ModelError, match=r"has configs/inference.json or .yaml; it is missing"):
        load_bundle(folder)
