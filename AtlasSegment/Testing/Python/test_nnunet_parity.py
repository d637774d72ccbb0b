"""Our nnU-Net gives nnunetv2's own masks: same networks, same image, both run here. Torch on one core, tiny random networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnunet_models
from AtlasSegmentLib import nifti
from AtlasSegmentLib.inference_settings import PRESETS, InferenceSettings
from AtlasSegmentLib.nnunet_load import load_nnunet
from AtlasSegmentLib.nnunet_model import NnunetModel
from AtlasSegmentLib.regions import sub_grid
from AtlasSegmentLib.volume import Volume

Arrays = tuple[Any, Any]
SMALL = {"spacing": (4.0, 3.6, 3.6), "patch": (32, 32, 32)}
MODELS: dict[str, dict[str, Any]] = {
    "plain network, new plans": {},
    "residual network, old plans": {"dialect": "old", "network": "residual", "seed": 1},
    "plain network, old plans": {"dialect": "old", "seed": 2, "patch": (32, 24, 40)},
    "residual network, two folds": {"network": "residual", "folds": (0, 1), "seed": 3},
    "mirrored along two axes": {"mirror_axes": (0, 2), "seed": 4, "patch": (48, 48, 48)},
    "transposed axes": {"transpose": (2, 0, 1), "seed": 5, "spacing": (4, 3.5, 3.7)},
    "thick slices": {"spacing": (12, 3, 3), "patch": (8, 40, 40), "seed": 6},
    "2d": {"configuration": "2d", "seed": 7, "patch": (32, 48, 48)},
    "low resolution": {"configuration": "3d_lowres", "seed": 8},
    "regions": {
        "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "middle": 3},
        "regions_class_order": (1, 2, 3),
        "seed": 9,
    },
    "a label to ignore": {"labels": {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}, "seed": 11},
}


@pytest.fixture(scope="module", autouse=True)
def _one_core() -> Iterator[None]:
    """Tiny networks run faster on one core, beside other tests above all."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def torso(shared_data: Path) -> Volume:
    """Return the middle of a real CT, so that a dozen networks can look at it on one core."""
    ct = nifti.read_nifti(shared_data / "data" / "torso-3mm" / "ct.nii.gz")
    box = (slice(25, 90), slice(20, 80), slice(40, 85))
    return Volume(ct.array[box], sub_grid(ct.grid, box).affine)


def reference(folder: Path, ct: Volume, folds: tuple[int, ...] = (0,), before: Any = None) -> Any:
    """Return the label map of nnunetv2's predictor with its own pre- and post-processing, (X, Y, Z)."""
    predictor = nnunet_models.reference_predictor(folder, folds, use_mirroring=True)
    properties = {"spacing": [float(value) for value in ct.spacing[::-1]]}
    image = np.ascontiguousarray(ct.array.transpose(2, 1, 0)[None]).astype(np.float32)
    previous = None if before is None else before.transpose(2, 1, 0)[None].astype(np.int16)
    return predictor.predict_single_npy_array(image, properties, previous, None, False).transpose(2, 1, 0)


def load(folder: Path) -> NnunetModel:
    """Return our model on the CPU."""
    return load_nnunet(folder, device="cpu")


def require_same(ours: Any, theirs: Any) -> None:
    """Check what the masks must hold: 99.99 % equal voxels, Dice of every class 0.999; and that the comparison means something."""
    values = np.unique(theirs)
    assert len(values) >= 3, "the network of this test predicts next to nothing"
    assert (ours == theirs).mean() >= 0.9999
    for value in values:
        assert 2 * np.sum((ours == value) & (theirs == value)) / (np.sum(ours == value) + np.sum(theirs == value)) >= 0.999


@pytest.mark.parametrize("name", MODELS)
def test_masks_equal_those_of_nnunetv2(name: str, torso: Volume, tmp_path: Path) -> None:
    options = SMALL | MODELS[name]
    folder = nnunet_models.make_nnunet_model(tmp_path, **options)
    ours = load(folder).labels(torso, PRESETS["best"])
    require_same(ours, reference(folder, torso, options.get("folds", (0,))))


def test_both_stages_of_a_cascade_equal_those_of_nnunetv2(torso: Volume, tmp_path: Path) -> None:
    first = nnunet_models.make_nnunet_model(tmp_path, configuration="3d_lowres", seed=8, **SMALL)
    second = nnunet_models.make_nnunet_model(tmp_path, configuration="3d_cascade_fullres", seed=10, **SMALL)
    before = reference(first, torso)
    require_same(load(second).labels(torso, PRESETS["best"]), reference(second, torso, before=before))


def test_probabilities_are_those_of_nnunetv2(torso: Volume, tmp_path: Path) -> None:
    folder = nnunet_models.make_nnunet_model(tmp_path, **SMALL)
    predictor = nnunet_models.reference_predictor(folder, (0,), use_mirroring=True)
    properties = {"spacing": [float(value) for value in torso.spacing[::-1]]}
    image = np.ascontiguousarray(torso.array.transpose(2, 1, 0)[None]).astype(np.float32)
    _, theirs = predictor.predict_single_npy_array(image, properties, None, None, True)
    prediction = load(folder).segment(torso, "whole", PRESETS["best"])
    for value in prediction.spec.table.labels:
        ours = prediction.probability(torso.grid, value).dense()
        assert np.abs(ours - theirs[value].transpose(2, 1, 0)).max() < 2e-3
    masks = prediction.masks(torso.grid)
    assert all(np.array_equal(masks[value].dense(), prediction.labels == value) for value in masks)


def test_air_that_is_not_looked_at_is_background_and_the_rest_stays(torso: Volume, tmp_path: Path) -> None:
    array = np.pad(torso.array, ((0, 0), (60, 0), (0, 0)), constant_values=-1024)
    ct = Volume(array, torso.affine)
    model = load(nnunet_models.make_nnunet_model(tmp_path, **SMALL))
    lean = model.labels(ct, InferenceSettings("best", mirror=True, body=False))
    full = model.labels(ct, PRESETS["best"])
    assert not lean[:, :20].any()
    assert (lean[:, 60:] == full[:, 60:]).mean() > 0.999


@pytest.mark.parametrize("code", ["RAS", "LPS", "LAI", "SPR"])
def test_a_model_that_states_its_orientation_gives_the_same_place_for_every_order_of_voxels(
    code: str, torso: Volume, tmp_path: Path
) -> None:
    from dataclasses import replace

    from AtlasSegmentLib.volume import reorient, reorient_like

    model = load(nnunet_models.make_nnunet_model(tmp_path, **SMALL))
    stated = NnunetModel(replace(model.spec, orientation="RAS"), model._networks)
    array, affine = reorient(torso.array, torso.affine, code)
    turned = Volume(array, affine)
    expected = stated.segment(torso, "whole", PRESETS["best"]).masks(torso.grid)
    found = stated.segment(turned, "whole", PRESETS["best"]).masks(turned.grid)
    for value, mask in expected.items():
        assert np.array_equal(reorient_like(found[value].dense(), affine, torso), mask.dense())


def test_a_region_is_segmented_as_if_it_were_the_image(torso: Volume, tmp_path: Path) -> None:
    from AtlasSegmentLib.markups import Roi

    box = (slice(10, 55), slice(5, 50), slice(5, 40))
    part = Volume(torso.array[box], sub_grid(torso.grid, box).affine)
    center = part.affine @ np.array([*(np.array(part.shape) - 1) / 2, 1])
    roi = Roi(center[:3], np.eye(3), np.array(part.shape) * part.spacing, "a box")
    model = load(nnunet_models.make_nnunet_model(tmp_path, **SMALL))
    alone = model.labels(part, PRESETS["best"])
    masks = model.segment(torso, roi, PRESETS["best"]).masks(torso.grid)
    for value, mask in masks.items():
        assert np.array_equal(mask.dense()[box], alone == value)
        assert mask.dense().sum() == (alone == value).sum()
