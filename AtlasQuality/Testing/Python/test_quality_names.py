"""Masks under another organ's name, from which the network learns that the name counts, and the CTs that a model keeps in mind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from AtlasQualityLib.mask_set import masks_of_labels
from AtlasQualityLib.quality_damage import dice_of
from AtlasQualityLib.quality_estimate import LookedAt, mask_score, score_spread
from AtlasQualityLib.quality_manifest import QualityManifest, TrainingCt
from AtlasQualityLib.quality_pairs import PairOptions, examples_of
from AtlasQualityLib.quality_pairs_find import PairSource, find_pairs
from AtlasQualityLib.quality_pairs_image import CaseImage, read_case
from AtlasQualityLib.quality_pairs_names import KINDS, Misnamed, misnamed_masks
from AtlasQualityLib.quality_pairs_store import build_pairs, case_folder_of, is_built, read_pairs
from AtlasQualityLib.quality_slices import SliceRule, axial
from AtlasQualityLib.quality_training_cts import training_ct, training_cts
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.train_random import generator
from AtlasSegmentLib.volume import LabelVolume, Volume
from AtlasSegmentLib.voxel_sum import voxels_sha256
from quality_toys import write_toy_case

OPTIONS = PairOptions(SliceRule(size=32), damages=0, slices=2, absent=0, misnamed=5)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PairSource:
    folder = write_toy_case(tmp_path_factory.mktemp("data") / "patient")
    return replace(find_pairs([folder], "abdomenatlas")[0], part="train")


@pytest.fixture(scope="module")
def image(source: PairSource) -> CaseImage:
    return read_case(source)


def test_every_organs_name_is_given_to_masks_that_are_not_the_organ(source: PairSource, image: CaseImage) -> None:
    found = [one for one in examples_of(source, OPTIONS, image) if one.source in KINDS]
    assert {one.organ for one in found} == {"liver", "spleen", "kidney_left", "kidney_right"}
    assert all(one.dice < 0.02 for one in found)
    assert all((one.targets[[looked.has_mask for looked in one.looked_at]] < 0.05).all() for one in found)
    kinds = {one.source for one in found if one.organ == "kidney_left"}
    assert kinds == KINDS
    assert not any(one.source == Misnamed.OTHER_SIDE for one in found if one.organ == "liver")


def test_a_wrong_name_is_borne_by_a_whole_organ_or_by_its_slices_without_the_right_one(image: CaseImage) -> None:
    organs = ["kidney_left", "kidney_right", "liver", "spleen"]
    whole = {name: image.reference(name) for name in organs}
    for name, mask in misnamed_masks(image, "kidney_left", organs, {}, 5, generator(3, "names")):
        if name == Misnamed.OTHER_SIDE:
            assert np.array_equal(mask, whole["kidney_right"])
        elif name in (Misnamed.SIMILAR_ORGAN, Misnamed.OTHER_ORGAN):
            assert any(np.array_equal(mask, whole[other]) for other in ("liver", "spleen"))
        elif name == Misnamed.OTHER_SLICES:
            assert not (mask.any(axis=(1, 2)) & whole["kidney_left"].any(axis=(1, 2))).any()
        else:
            assert np.count_nonzero(mask) > 0.5 * np.count_nonzero(whole["kidney_left"])
        assert dice_of(mask, whole["kidney_left"]) < 0.02


def test_a_real_prediction_of_another_organ_is_taken_too(image: CaseImage, tmp_path: Path) -> None:
    marked = image.reference("spleen").copy()
    marked[0, 0, :40] = True  # a mark that the reference does not have
    grid = image.masks.grid
    write_nifti(tmp_path / "spleen.nii.gz", Volume(np.asfortranarray(marked.transpose(2, 1, 0).astype(np.uint8)), grid.affine))
    real = {"spleen": [tmp_path / "spleen.nii.gz"]}
    found = [
        bool(mask[0, 0, 0])
        for seed in range(8)
        for name, mask in misnamed_masks(image, "liver", ["liver", "spleen"], real, 4, generator(seed, "x"))
        if name in (Misnamed.SIMILAR_ORGAN, Misnamed.OTHER_ORGAN)
    ]
    assert {True, False} == set(found)


def test_a_vertebra_of_another_level_is_no_wrong_name() -> None:
    labels = np.zeros((40, 40, 40), np.uint8)
    names = {1: "vertebrae_L1", 2: "vertebrae_L2", 3: "vertebrae_T12", 4: "liver"}
    for value in names:
        labels[10:20, 10:20, 8 * value : 8 * value + 7] = value
    table = LabelTable.from_labels("toy", {str(value): name for value, name in names.items()})
    volume = LabelVolume(labels, np.diag([-1.0, -1, 1, 1]), "toy", table=table)
    spine = CaseImage(np.zeros((40, 40, 40), np.int16), (1.0, 1.0, 1.0), masks_of_labels(volume))
    liver = spine.reference("liver")
    for seed in range(4):
        for name, mask in misnamed_masks(spine, "vertebrae_L1", list(names.values()), {}, 4, generator(seed, "x")):
            assert name == Misnamed.MOVED_AWAY or not (mask & ~liver).any()


def test_examples_of_before_are_not_taken_for_those_of_now(source: PairSource, tmp_path: Path) -> None:
    options = replace(OPTIONS, misnamed=1)
    build_pairs([source], tmp_path, options)
    assert is_built(tmp_path, source, options)
    assert not is_built(tmp_path, source, replace(options, misnamed=2))
    path = case_folder_of(tmp_path, source) / "masks.json"
    path.write_text(path.read_text().replace("atlas-quality-pairs/4", "atlas-quality-pairs/3"))
    assert not is_built(tmp_path, source, options)


def test_a_ct_is_known_again_whatever_file_it_lies_in(source: PairSource, image: CaseImage, tmp_path: Path) -> None:
    ct = read_nifti(source.ct)
    mark = voxels_sha256(image.ct)
    write_nifti(tmp_path / "copy.nii", ct.with_array(np.asfortranarray(ct.array.astype(np.float32) + np.float32(0.01))))
    turned = read_nifti(tmp_path / "copy.nii").reoriented("RSP")
    write_nifti(tmp_path / "turned.nii.gz", Volume(np.asfortranarray(turned.array), turned.affine))
    again = read_nifti(tmp_path / "turned.nii.gz")
    manifest = QualityManifest(name="m", backbone="resnet18", training_cts=(TrainingCt(name="patient", part="train", voxels_sha256=mark),))
    found = training_ct(again, manifest)
    assert found is not None
    assert (found.name, found.part) == ("patient", "train")
    padded = ct.array.copy()
    padded[padded == padded.min()] = -2000
    assert voxels_sha256(axial(np.where(padded < -1024, -3000, padded))) == voxels_sha256(axial(np.where(padded < -1024, -1024, padded)))
    other = ct.array.copy()
    other[5, 5, 5] += 1
    assert training_ct(ct.with_array(other), manifest) is None
    assert training_ct(again, manifest.model_copy(update={"training_cts": ()})) is None


def test_a_model_keeps_the_cts_that_it_was_trained_and_validated_with(source: PairSource, image: CaseImage, tmp_path: Path) -> None:
    build_pairs([source], tmp_path, replace(OPTIONS, misnamed=0))
    pairs = read_pairs(tmp_path, [source])
    assert pairs.cts == {"patient": voxels_sha256(image.ct)}
    masks = [("a", "train"), ("copy of a", "train"), ("b", "val"), ("c", "test"), ("a", "val")]
    kept = training_cts(masks, {"a": "1", "copy of a": "1", "b": "2", "c": "3"})
    assert [(one.name, one.part) for one in kept] == [("a", "train"), ("b", "val")]


def test_the_spread_weighs_slices_as_the_score_does() -> None:
    looked_at = [LookedAt(0, 0, 2.0), LookedAt(1, 1, 1.0), LookedAt(2, 1, 1.0)]
    areas, scores = [10, 60, 0], [0.2, 1.4, -3.0]
    expected = np.sqrt((20 * (0.2 - 0.8) ** 2 + 60 * (1.0 - 0.8) ** 2) / 80)
    assert score_spread(looked_at, scores, areas) == pytest.approx(expected)
    assert mask_score(looked_at[:2], scores[:2], areas) == pytest.approx(0.8)
    assert score_spread(looked_at, scores, areas, "mean") == pytest.approx(0.4)
    assert score_spread([], [], areas) == 0
