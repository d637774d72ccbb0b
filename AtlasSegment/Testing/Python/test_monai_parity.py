"""A bundle gives the masks that MONAI itself gives: at least 99.99 % equal voxels and Dice 0.999 of every class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas_phantoms import ct
from AtlasSegmentLib.inference_settings import PRESETS
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume
from monai_bundles import ARGMAX, RANGE, SOFTMAX, WINDOW, Json, config, invert, make_bundle, metadata, monai_result

pytest.importorskip("monai")

GAUSSIAN = {**WINDOW, "mode": "gaussian", "padding_mode": "replicate", "overlap": 0.25}
CROP = {"_target_": "CropForegroundd", "keys": "@image_key", "source_key": "@image_key"}
SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}
THRESHOLD = {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}
STATISTICS = [
    {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True},
    {"_target_": "ScaleIntensityd", "keys": "@image_key", "minv": -1.0, "maxv": 1.0},
]
EARLY = {**RANGE, "clip": False}
DYNUNET = {
    "_target_": "monai.networks.nets.DynUNet",
    **{"spatial_dims": 3, "in_channels": 1, "out_channels": 4, "kernel_size": [3, 3, 3], "strides": [1, 2, 2]},
    **{"upsample_kernel_size": [2, 2], "filters": [4, 8, 8], "norm_name": "instance", "res_block": True, "deep_supervision": False},
}
SEGRESNET = {
    "_target_": "SegResNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 4,
    "init_filters": 8,
    "blocks_down": [1, 1],
    "blocks_up": [1],
}

# Spacings that the phantom's 3, 3.5 and 5 mm do not fit: where voxels of both grids coincide, MONAI's last bits decide (README).
BUNDLES: dict[str, Json] = {
    "spleen": config(),
    "whole body": config(rules=STATISTICS, inferer=GAUSSIAN, after=[SOFTMAX, ARGMAX, invert(nearest=True)], spacing=(3.1, 3.3, 3.7)),
    "pediatric": config(network=DYNUNET, rules=[RANGE, CROP], spacing=(3.7, 4.1, 4.3), inferer={**WINDOW, "overlap": 0.75}),
    "logits": config(network=SEGRESNET, after=[invert(), SOFTMAX, ARGMAX], axcodes="LPS"),
    "sigmoid": config(after=[SIGMOID, invert(), THRESHOLD], inferer=GAUSSIAN),
    "sigmoid logits": config(after=[invert(), SIGMOID, THRESHOLD]),
    "small image": config(spacing=(6.1, 6.3, 9.7), inferer={**WINDOW, "padding_mode": "reflect", "mode": "gaussian"}),
    "finer": config(spacing=(2.9, 3.1, 2.7), after=[SOFTMAX, invert(), ARGMAX], inferer={**WINDOW, "overlap": 0.25}),
}
PLACES = [("spleen", "RAS", 0.0), ("spleen", "SAL", 0.0), *((name, "LPS", degrees) for name in BUNDLES for degrees in (0.0, 20.0))]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def written(path: Path, volume: Volume) -> Volume:
    write_nifti(path, volume)
    return read_nifti(path)


def padded(volume: Volume) -> Volume:
    """Return the phantom with a border of air wide enough that its foreground does not begin right behind a first voxel."""
    return replace(volume, array=np.pad(volume.array, 3, constant_values=-1000))


def compared(folder: Path, image: Path) -> tuple[float, list[float]]:
    """Return (share of equal voxels, Dice of each structure) of our masks and MONAI's."""
    theirs = monai_result(folder, image)
    volume = read_nifti(image)
    model = load_model(folder, device="cpu")
    ours = model.segment(volume, None, PRESETS["best"]).masks(volume.grid)
    if theirs.shape[0] == 1:
        theirs = np.stack([theirs[0] == value for value in ours])
    masks = np.stack([mask.dense() for mask in ours.values()]) > 0
    theirs = theirs > 0
    assert theirs.any(axis=(1, 2, 3)).all(), "a structure that is nowhere tells nothing"
    dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(masks, theirs, strict=True)]
    return float((masks == theirs).all(axis=0).mean()), dice


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Path] = {}

    def bundle(name: str) -> Path:
        if name not in made:
            facts = metadata(("spleen", "liver", "pancreas", "colon")) if "sigmoid" in name else None
            made[name] = make_bundle(tmp_path_factory.mktemp("bundle"), BUNDLES[name], facts, script=name == "finer")
        return made[name]

    return bundle


@pytest.mark.parametrize(("name", "orientation", "degrees"), PLACES)
def test_a_phantom_is_segmented_as_monai_segments_it(bundles: Any, tmp_path: Path, name: str, orientation: str, degrees: float) -> None:
    written(tmp_path / "ct.nii.gz", padded(ct(orientation, degrees)))
    equal, dice = compared(bundles(name), tmp_path / "ct.nii.gz")
    assert equal >= 0.9999, dice
    assert min(dice) >= 0.999


@pytest.mark.parametrize("name", ["spleen", "whole body"])
def test_a_real_ct_is_segmented_as_monai_segments_it(shared_data: Path, tmp_path: Path, name: str) -> None:
    content = {**BUNDLES[name], "pixdim": [6.3, 7.1, 6.7]}
    folder = make_bundle(tmp_path / "coarse", content)
    equal, dice = compared(folder, shared_data / "data" / "torso-3mm" / "ct.nii.gz")
    assert equal >= 0.9999, dice
    assert min(dice) >= 0.999


def test_rules_before_the_resampling_are_applied_before_it(tmp_path: Path) -> None:
    content = config(rules=[EARLY])
    steps = content["preprocessing"]["transforms"]
    steps.insert(2, steps.pop(4))
    written(tmp_path / "ct.nii.gz", ct("LPS"))
    equal, dice = compared(make_bundle(tmp_path / "b", content), tmp_path / "ct.nii.gz")
    assert equal >= 0.9999, dice


def test_a_grid_that_is_kept_and_shown_at_once_is_segmented_as_monai_does(tmp_path: Path) -> None:
    content = config(rules=[RANGE], inferer={"_target_": "SimpleInferer"}, after=[SOFTMAX, ARGMAX])
    content["preprocessing"]["transforms"] = [step for step in content["preprocessing"]["transforms"] if step["_target_"] != "Spacingd"]
    written(tmp_path / "ct.nii.gz", ct("RAS"))
    equal, _ = compared(make_bundle(tmp_path / "b", content), tmp_path / "ct.nii.gz")
    assert equal == 1


def test_probabilities_are_those_that_monai_brings_back(tmp_path: Path) -> None:
    content = config(after=[SOFTMAX, invert()])
    folder = make_bundle(tmp_path / "b", content)
    volume = written(tmp_path / "ct.nii.gz", ct("PIR"))
    theirs = monai_result(folder, tmp_path / "ct.nii.gz")
    prediction = load_model(folder, device="cpu").segment(volume, None, PRESETS["best"])
    for value in (1, 2, 3):
        np.testing.assert_allclose(prediction.probability(volume.grid, value).dense(), theirs[value], atol=6e-4)


def test_the_balanced_preset_stays_near_it(bundles: Any, tmp_path: Path) -> None:
    volume = written(tmp_path / "ct.nii.gz", ct())
    model = load_model(bundles("spleen"), device="cpu")
    best, balanced = (model.segment(volume, None, PRESETS[preset]).masks(volume.grid) for preset in ("best", "balanced"))
    same = np.mean([(best[value].dense() == balanced[value].dense()).mean() for value in best])
    assert same > 0.9
