"""The label-quality model that comes with the program: small, honest in its card, and right about what is plainly bad."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from AtlasQualityLib.mask_set import MaskSet
from AtlasQualityLib.quality_embedding import text_embedding
from AtlasQualityLib.quality_manifest import ONNX, read_manifest
from AtlasQualityLib.quality_model import open_quality_model, shipped_model
from AtlasQualityLib.quality_predict import MaskQuality, predict_quality
from AtlasQualityLib.quality_training_cts import training_ct
from AtlasSegmentLib.phantom import PhantomCase, phantom
from AtlasSegmentLib.sparse import from_dense
from AtlasSegmentLib.volume import Array
from AtlasSegmentLib.volume_io import read_volume

ORGANS = ("liver", "spleen", "kidney_left", "kidney_right", "aorta")


@pytest.fixture(scope="module")
def unseen() -> PhantomCase:
    """Return a phantom of a seed that the model was not trained on."""
    return phantom(4711, 3.0)


def predicted(case: PhantomCase, masks: dict[str, Array]) -> dict[str, MaskQuality]:
    grid = case.ct.grid
    found = MaskSet("masks", grid, {organ: from_dense(mask.astype(np.uint8), grid) for organ, mask in masks.items()})
    return predict_quality(case.ct, found, open_quality_model(shipped_model(), threads=1))


def masks_of(case: PhantomCase) -> dict[str, Array]:
    return {organ: case.labels.array == case.labels.table.value_of(organ) for organ in ORGANS}


def test_it_is_small_and_both_engines_give_the_same_scores() -> None:
    folder = shipped_model()
    assert (folder / ONNX).stat().st_size <= 6_000_000
    manifest = read_manifest(folder)
    size = manifest.slices.size
    images = np.random.default_rng(0).uniform(-1, 1, (4, 2, size, size)).astype(np.float32)
    embeddings = np.stack([text_embedding(organ) for organ in ORGANS[:4]])
    scores = [open_quality_model(folder, engine=engine).scorer.run(images, embeddings) for engine in ("onnx", "torch")]
    assert np.abs(scores[0] - scores[1]).max() < 1e-4


def test_its_card_says_what_it_was_trained_on_and_how_good_it_is_on_what_it_never_saw() -> None:
    card = read_manifest(shipped_model()).card
    assert "not for clinical use" in card["use"]
    assert card["trained_on"]
    assert card["tested_on"]
    for kind in ("real_predictions", "synthetic_damage"):
        figures = card["test"][kind]
        assert -1 <= figures["low"] <= figures["pearson"] <= figures["high"] <= 1
        assert {"spearman", "mae", "masks"} <= set(figures)
    assert card["real_predictions_of_both_folds"]["pearson"] >= 0.8


def test_masks_that_are_plainly_bad_are_predicted_to_be_worse(unseen: PhantomCase) -> None:
    good = masks_of(unseen)
    moved = {organ: np.roll(mask, (12, 9), (0, 1)) for organ, mask in good.items()}
    right, wrong = predicted(unseen, good), predicted(unseen, moved)
    assert np.mean([right[organ].dice for organ in ORGANS]) > np.mean([wrong[organ].dice for organ in ORGANS]) + 0.25
    assert all(right[organ].dice > wrong[organ].dice for organ in ORGANS)


def test_a_mask_that_was_cut_in_half_is_predicted_to_be_worse_and_its_worst_slice_lies_where_it_was_cut(unseen: PhantomCase) -> None:
    good = masks_of(unseen)
    liver = good["liver"]
    slices = np.flatnonzero(liver.any(axis=(0, 1)))
    middle = int(slices.mean())
    half = liver.copy()
    half[:, :, middle:] = False
    whole, cut = (predicted(unseen, {"liver": mask})["liver"] for mask in (liver, half))
    assert cut.dice < whole.dice - 0.15
    assert cut.worst is not None
    assert cut.worst.score < 0.5


def test_exchanged_sides_make_good_masks_bad(unseen: PhantomCase) -> None:
    good = masks_of(unseen)
    sides = ("kidney_left", "kidney_right")
    right = predicted(unseen, {side: good[side] for side in sides})
    wrong = predicted(unseen, dict(zip(sides, (good[side] for side in reversed(sides)), strict=True)))
    assert all(wrong[side].dice < right[side].dice - 0.15 for side in sides)


def test_it_knows_the_ct_that_it_was_trained_on_in_any_order_of_voxels(shared_data: Path) -> None:
    manifest = read_manifest(shipped_model())
    torso = read_volume(shared_data / "data" / "torso-3mm" / "ct.nii.gz")
    for code in ("RAS", "PIL"):
        found = training_ct(torso.reoriented(code), manifest)
        assert found is not None
        assert (found.name, found.part) == ("torso-3mm", "train")
    assert training_ct(read_volume(shared_data / "data" / "slab-dicom" / "dicom"), manifest) is None
