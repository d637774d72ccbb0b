"""Predicted quality of the masks of a case: any orientation, any file, and what is wrong with either."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from AtlasQualityLib import tasks
from AtlasQualityLib.mask_set import MaskSet, masks_of_case
from AtlasQualityLib.organ_table import read_predicted_dice
from AtlasQualityLib.phantom_case import write_phantom_case
from AtlasQualityLib.quality_case import QualityOptions, quality_case, quality_folder, write_quality_table
from AtlasQualityLib.quality_embedding import text_embedding
from AtlasQualityLib.quality_embedding_files import EmbeddingTable, write_embeddings
from AtlasQualityLib.quality_manifest import FILE, SAFETENSORS, Curve, QualityManifest, Slices, write_manifest
from AtlasQualityLib.quality_model import QualityModel, open_quality_model
from AtlasQualityLib.quality_network import build_network
from AtlasQualityLib.quality_predict import predict_quality
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, DatasetError, GeometryError, InputError, ModelError
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume
from AtlasSegmentLib.volume import Volume
from AtlasSegmentLib.volume_io import read_volume

SLICES = Slices(kind="isotropic", size=64, margin=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights that looks at everything."""
    folder = tmp_path_factory.mktemp("model") / "random"
    folder.mkdir()
    torch.manual_seed(3)
    save_file(build_network("resnet18", 8).state_dict(), str(folder / SAFETENSORS))
    write_manifest(
        folder, QualityManifest(name="random", backbone="resnet18", width=8, slices=SLICES, calibration=Curve(predicted=(-9, 9)))
    )
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> QualityModel:
    return open_quality_model(folder)


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> CaseFolder:
    case = write_phantom_case(tmp_path_factory.mktemp("data") / "hospital" / "scan")
    tasks.average_files(str(case.folder))
    return case


@pytest.fixture
def case(averaged: CaseFolder, tmp_path: Path) -> CaseFolder:
    shutil.copytree(averaged.folder, tmp_path / "hospital" / "scan")
    return CaseFolder(tmp_path / "hospital" / "scan")


def turned(volume: Volume, code: str) -> Volume:
    found = volume.reoriented(code)
    return replace(found, array=np.asfortranarray(found.array))


@pytest.mark.parametrize("code", ["LPS", "RAS", "SAR", "ILP", "PIR"])
def test_the_axis_order_of_the_ct_changes_nothing(averaged: CaseFolder, model: QualityModel, code: str) -> None:
    ct, masks = read_volume(averaged.ct), masks_of_case(averaged)
    wanted, found = predict_quality(ct, masks, model), predict_quality(turned(ct, code), masks, model)
    assert list(found) == list(wanted)
    for organ, quality in wanted.items():
        assert found[organ].dice == pytest.approx(quality.dice, abs=1e-6)
        assert [one.index for one in found[organ].slices] == [one.index for one in quality.slices]
        assert [one.position_mm for one in found[organ].slices] == pytest.approx([one.position_mm for one in quality.slices])


def test_the_slices_are_where_they_say(averaged: CaseFolder, model: QualityModel) -> None:
    found = predict_quality(read_volume(averaged.ct), masks_of_case(averaged), model, ["liver"])["liver"]
    assert all(one.position_mm == pytest.approx(-60 + 3 * one.index) for one in found.slices)
    assert found.worst == min(found.slices, key=lambda one: one.score)
    assert all(0 <= one.score <= 1 for one in found.slices)


def test_one_mask_alone_scores_as_it_does_among_many(averaged: CaseFolder, model: QualityModel) -> None:
    ct, masks = read_volume(averaged.ct), masks_of_case(averaged)
    together = predict_quality(ct, masks, model)
    for organ in masks.masks:
        assert predict_quality(ct, masks, model, [organ])[organ].score == pytest.approx(together[organ].score, abs=1e-5)


def test_a_mask_of_one_voxel_and_an_empty_one_have_defined_results(averaged: CaseFolder, model: QualityModel) -> None:
    ct = read_volume(averaged.ct)
    empty = SparseVolume(ct.grid, EMPTY_BOX, np.zeros((0, 0, 0), np.bool_))
    voxel = SparseVolume(ct.grid, (slice(0, 1), slice(55, 56), slice(39, 40)), np.ones((1, 1, 1), np.uint8))
    found = predict_quality(ct, MaskSet("", ct.grid, {"liver": empty, "spleen": voxel}), model)
    assert math.isnan(found["liver"].dice)
    assert found["liver"].score == 0
    assert found["liver"].worst is None
    assert 0 <= found["spleen"].dice <= 1


def test_wrong_input_is_said(averaged: CaseFolder, model: QualityModel) -> None:
    ct, masks = read_volume(averaged.ct), masks_of_case(averaged)
    with pytest.raises(InputError, match=r"no mask of pancreas.*liver"):
        predict_quality(ct, masks, model, ["pancreas"])
    shifted = ct.affine.copy()
    shifted[0, 3] += 5
    with pytest.raises(GeometryError):
        predict_quality(Volume(ct.array, shifted), masks, model)
    holed = ct.array.astype(np.float32)
    holed[masks.masks["liver"].box] = np.nan
    with pytest.raises(InputError, match=r"not finite near liver, in axial slice \d+"):
        predict_quality(Volume(holed, ct.affine), masks, model, ["liver"])


@pytest.mark.parametrize("wrong", [np.array([1, 2], np.uint8), np.array([0.5, 1.0]), np.array([1.0, np.nan])])
def test_a_mask_of_several_values_is_said(averaged: CaseFolder, model: QualityModel, wrong: np.ndarray) -> None:
    ct = read_volume(averaged.ct)
    mask = SparseVolume(ct.grid, (slice(3, 5), slice(4, 5), slice(5, 6)), wrong.reshape(2, 1, 1))
    with pytest.raises(InputError, match=r"the mask of liver holds values .* one other value"):
        predict_quality(ct, MaskSet("", ct.grid, {"liver": mask}), model)


def test_a_case_keeps_what_was_predicted_and_the_worklist_can_read_it(case: CaseFolder, model: QualityModel) -> None:
    record = quality_case(case, model)
    assert record is not None
    found = read_predicted_dice(case)
    assert set(found) == set(case.average.organs())
    content = json.loads(case.average.predicted_dice.read_text())
    assert content["model"] == "random"
    assert {slice_["index"] for slice_ in content["details"]["liver"]["slices"]} >= {content["details"]["liver"]["worst_slice"]}
    assert quality_case(case, model) is None
    assert quality_case(case, model, QualityOptions(force=True)) is not None
    assert quality_folder(case).run_record.is_file()


def test_a_new_average_takes_the_old_prediction_away(case: CaseFolder, model: QualityModel) -> None:
    quality_case(case, model)
    tasks.average_files(str(case.folder), ["first"])
    assert not case.average.predicted_dice.exists()
    quality_case(case, model)
    assert case.average.predicted_dice.exists()


def test_the_masks_of_one_model_and_some_organs_can_be_scored(case: CaseFolder, model: QualityModel) -> None:
    quality_case(case, model, QualityOptions(backbone="second", organs=("liver",)))
    assert set(json.loads(case.backbone("second").predicted_dice.read_text())["organs"]) == {"liver"}
    assert not case.average.predicted_dice.exists()
    with pytest.raises(DatasetError, match=r"no masks of pancreas.*liver"):
        quality_case(case, model, QualityOptions(organs=("pancreas",)))


def test_a_case_without_masks_or_ct_is_said(case: CaseFolder, model: QualityModel) -> None:
    with pytest.raises(DatasetError, match="there are no masks"):
        quality_case(case, model, QualityOptions(backbone="nobody"))
    case.ct.unlink()
    with pytest.raises(DatasetError, match=r"no ct\.nii\.gz"):
        quality_case(case, model)


def test_the_table_is_segaes_and_no_name_runs_in_a_spreadsheet(tmp_path: Path) -> None:
    write_quality_table(tmp_path / "q.csv", [("a", {"liver": 0.5, "spleen": None}), ("=b", {"aorta": 0.25, "liver": 1.0})])
    assert (tmp_path / "q.csv").read_text() == "CT_Sample,liver,spleen,aorta\na,0.500000,n/a,n/a\n'=b,1.000000,n/a,0.250000\n"


def changed(folder: Path, target: Path, **said: object) -> Path:
    shutil.copytree(folder, target)
    (target / FILE).write_text(json.dumps({**json.loads((target / FILE).read_text()), **said}))
    return target


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"width": 16}, "the weights do not fit the network of resnet18, width 16"),
        ({"backbone": "vgg"}, "backbone"),
        ({"slices": {"size": 100}}, "multiple of 32|slice rule"),
        ({"calibration": {"predicted": [0, 0], "dice": [0, 1]}}, "must rise"),
        ({"calibration": {"predicted": [0, 1], "dice": [1, 0]}}, "must not fall"),
        ({"name": "../up"}, "name"),
        ({"format": "atlas-quality/9"}, "format"),
    ],
)
def test_a_manifest_that_cannot_be_is_said(folder: Path, tmp_path: Path, said: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        open_quality_model(changed(folder, tmp_path / "m", **said))


def test_a_folder_that_is_no_model_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is no label-quality model.*quality\.json"):
        open_quality_model(tmp_path)
    shutil.copy(folder / FILE, tmp_path / FILE)
    with pytest.raises(ModelError, match=r"no model\.onnx or model\.safetensors"):
        open_quality_model(tmp_path)
    with pytest.raises(ModelError, match=r"there is no model\.onnx"):
        open_quality_model(folder, engine="onnx")


def published(path: Path, backbone: str = "resnet18") -> Path:
    """Write a checkpoint as SegAE publishes it: the whole ImageNet network beside, and the prefix of parallel training."""
    torch.manual_seed(1)
    state = build_network(backbone).state_dict()  # type: ignore[arg-type]
    state["fc2.bias"] += 0.5  # scores within 0..1
    extra = {"net.conv1.weight": torch.zeros(64, 3, 7, 7), "net.bn1.weight": torch.zeros(64), "net.fc.weight": torch.zeros(1000, 512)}
    torch.save({f"module.{name}": value for name, value in {**state, **extra}.items()}, path)
    return path


def test_a_published_checkpoint_runs_with_segaes_slices_and_the_users_embeddings(averaged: CaseFolder, tmp_path: Path) -> None:
    path = published(tmp_path / "model.pth")
    with pytest.raises(ModelError, match=r"needs the text embeddings.*--embeddings"):
        open_quality_model(path)
    write_embeddings(tmp_path / "e.npz", EmbeddingTable("", {"liver": text_embedding("liver")}))
    opened = open_quality_model(path, tmp_path / "e.npz")
    assert (opened.manifest.slices.kind, opened.manifest.slices.size, opened.manifest.estimate) == ("compat", 256, "mean")
    found = predict_quality(read_volume(averaged.ct), masks_of_case(averaged), opened, ["liver"])["liver"]
    assert len(found.slices) == 10
    assert found.score == pytest.approx(np.mean([one.score for one in found.slices]))
    with pytest.raises(InputError, match=r"no embedding for 'spleen'.*"):
        predict_quality(read_volume(averaged.ct), masks_of_case(averaged), opened, ["spleen"])


@pytest.mark.parametrize("content", [{"a": torch.zeros(1)}, {}, b"no checkpoint"])
def test_a_checkpoint_of_something_else_is_said(tmp_path: Path, content: object) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(AtlasError, match=r"model\.pth|no quality network"):
        open_quality_model(path, tmp_path / "none.npz")
