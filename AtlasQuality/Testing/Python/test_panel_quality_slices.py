"""Scores of slices as panels show them: read, ordered, placed in any orientation, colored; and the tasks of the child process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasQualityLib import tasks, tasks_quality
from AtlasQualityLib.mask_set import SceneLayer, masks_of_case, write_scene_masks
from AtlasQualityLib.organ_table import OrganRow, organ_rows, read_predicted_quality
from AtlasQualityLib.phantom_case import phantom_affine, write_phantom_case
from AtlasQualityLib.quality_manifest import QualityManifest, Slices, write_manifest
from AtlasQualityLib.quality_network import build_network
from AtlasQualityLib.slice_scores import (
    PALETTES,
    OrganQuality,
    ScoredSlice,
    band_at,
    bands_of,
    color_of,
    empty_profile,
    slice_centers,
    slice_normal,
)
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import DatasetError, GeometryError, InputError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.volume import Grid, Volume
from AtlasSegmentLib.volume_io import read_volume

CODES = ("LPS", "RAS", "LAS", "SAR", "ILP", "PIR", "RSA")


def quality(*scores: float, step: int = 2) -> OrganQuality:
    slices = [ScoredSlice(step * number, 3.0 * step * number, score, True) for number, score in enumerate(scores)]
    return OrganQuality(0.5, 0.1, tuple(slices))


def grid(code: str, angle: float = 0.0) -> Grid:
    """Return the same voxels in another array order, turned about the left-right axis by an angle, degrees."""
    volume = Volume(np.zeros((12, 10, 8), np.uint8), np.diag([-1.0, -1.5, 3.0, 1.0])).reoriented(code)
    turn = np.eye(4)
    radians = np.radians(angle)
    turn[1:3, 1:3] = [[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]]
    return Grid(volume.shape, turn @ volume.affine)


@given(st.sampled_from(CODES), st.floats(-25, 25), st.lists(st.integers(0, 7), max_size=4))
def test_slices_lie_in_the_same_place_whatever_the_order_of_the_array(code: str, angle: float, indices: list[int]) -> None:
    np.testing.assert_allclose(slice_centers(grid(code, angle), indices), slice_centers(grid("LPS", angle), indices), atol=1e-9)
    np.testing.assert_allclose(slice_normal(grid(code, angle)), slice_normal(grid("LPS", angle)), atol=1e-9)
    assert slice_normal(grid(code, angle))[2] > 0.9


def test_the_first_slice_is_at_the_feet() -> None:
    assert slice_centers(grid("RAS"), [0, 7])[:, 2] == pytest.approx([0, 21])


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=12), st.booleans(), st.floats(0.5, 10))
def test_bands_cover_the_strip_without_gaps_and_each_holds_its_own_slice(scores: list[float], is_turned: bool, step: float) -> None:
    found = quality(*scores)
    offsets = [(-step if is_turned else step) * one.index for one in found.slices]
    bands = bands_of(found, offsets, step)
    assert [a.high for a in bands[:-1]] == [b.low for b in bands[1:]]
    for one, offset in zip(found.slices, offsets, strict=True):
        band = band_at(bands, offset)
        assert band is not None
        assert band.slice == one
        assert band.color == color_of(one.score)
    profile = empty_profile(bands, (0, 0, 1), step)
    assert profile.start - step / 2 == pytest.approx(bands[0].low)
    assert profile.offset_of(len(profile.values) - 1) + step / 2 == pytest.approx(bands[-1].high)
    assert band_at(bands, bands[0].low - 0.01) is None
    assert band_at(bands, bands[-1].high + 0.01) is None


def test_nothing_scored_has_no_bands() -> None:
    assert bands_of(OrganQuality(None), [], 1.0) == ()
    assert len(empty_profile((), (0, 0, 1), 1.0).values) == 0


@given(st.floats(-1, 2), st.floats(-1, 2), st.sampled_from(sorted(PALETTES)))
def test_worse_is_redder_or_more_orange_and_better_greener_or_bluer(a: float, b: float, palette: str) -> None:
    good = 1 if palette == "red-green" else 2
    low, high = sorted((a, b))
    worse, better = color_of(low, palette), color_of(high, palette)
    assert worse[0] - worse[good] >= better[0] - better[good]
    assert all(0 <= part <= 255 for part in (*worse, *better))


def test_the_worst_slice_is_first_and_of_equal_ones_the_one_nearest_to_the_feet() -> None:
    assert [one.index for one in quality(0.5, 0.2, 0.9, 0.2).worst_first()] == [2, 6, 0, 4]


def test_the_text_has_two_digits_and_the_spread_where_it_is_known() -> None:
    assert OrganQuality(0.874, 0.046).text == "0.87 \u00b1 0.05"
    assert OrganQuality(1.0).text == "1.00"
    assert OrganQuality(None).text == ""


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> CaseFolder:
    case = write_phantom_case(tmp_path_factory.mktemp("data") / "hospital" / "scan")
    tasks.average_files(str(case.folder))
    return case


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("model") / "random"
    folder.mkdir()
    torch.manual_seed(3)
    save_file(build_network("resnet18", 8).state_dict(), str(folder / "model.safetensors"))
    write_manifest(folder, QualityManifest(name="random", backbone="resnet18", width=8, slices=Slices(size=64)))
    return folder


@pytest.fixture
def case(averaged: CaseFolder, tmp_path: Path) -> CaseFolder:
    shutil.copytree(averaged.folder, tmp_path / "hospital" / "scan")
    return CaseFolder(tmp_path / "hospital" / "scan")


def left(case: CaseFolder, folder: Path) -> str:
    masks = masks_of_case(case)
    layers = [
        SceneLayer(mask.crop.astype(np.uint8), (mask.box[0].start, mask.box[1].start, mask.box[2].start), {1: organ})
        for organ, mask in masks.masks.items()
    ]
    return str(write_scene_masks(folder, "scene", masks.grid, layers))


def test_a_case_is_predicted_and_what_is_kept_is_what_is_returned_and_what_the_table_shows(case: CaseFolder, model: Path) -> None:
    told: list[float] = []
    answer = tasks_quality.predict_quality_files(str(case.folder), str(model), progress=lambda share, _text: told.append(share))
    again = tasks_quality.predict_quality_files(str(case.folder), str(model))
    assert answer == again == json.loads(json.dumps(answer))
    assert answer["model"] == "random"
    assert answer["organs"] == read_json(case.average.predicted_dice)["details"]
    assert told == sorted(told)
    rows = {row.organ: row for row in organ_rows(case, [])}
    for organ, described in answer["organs"].items():
        assert rows[organ].quality == OrganQuality.from_json(described)
        assert rows[organ].predicted_dice == described["dice"]
        assert OrganRow.from_json(json.loads(json.dumps(rows[organ].to_json()))) == rows[organ]


def test_masks_of_a_scene_score_as_those_of_the_case_and_nothing_is_written(case: CaseFolder, model: Path, tmp_path: Path) -> None:
    files = sorted(case.folder.rglob("*"))
    volume = read_volume(case.ct)
    scene = tasks_quality.write_scene_volume(tmp_path / "ct", volume.reoriented("LAS"))
    masks = left(case, tmp_path / "masks")
    by_file = tasks_quality.score_scene_masks(str(case.ct), masks, str(model))
    by_scene = tasks_quality.score_scene_masks(str(scene), masks, str(model))
    stored = tasks_quality.score_scene_masks(str(case.ct), masks, str(model), organs=["liver"])
    assert by_file["organs"] == by_scene["organs"]
    assert stored["organs"] == {"liver": by_file["organs"]["liver"]}
    assert sorted(case.folder.rglob("*")) == files
    assert tasks_quality.predict_quality_files(str(case.folder), str(model))["organs"] == by_file["organs"]


def test_a_ct_is_read_once_until_it_changes(case: CaseFolder, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from AtlasSegmentLib import volume_io

    reads: list[Path] = []
    real = volume_io.read_volume
    monkeypatch.setattr(volume_io, "read_volume", lambda path: (reads.append(path), real(path))[1])
    masks = left(case, tmp_path / "masks")
    assert tasks_quality.score_scene_masks(str(case.ct), None, str(model))["organs"] == {}
    first = tasks_quality.score_scene_masks(str(case.ct), masks, str(model))
    assert len(reads) == 1
    volume = real(case.ct)
    from AtlasSegmentLib.nifti import write_nifti

    write_nifti(case.ct, Volume(np.asfortranarray(volume.array[::-1]), volume.affine))
    assert tasks_quality.score_scene_masks(str(case.ct), masks, str(model)) != first
    assert len(reads) == 2


def test_what_is_missing_or_does_not_fit_is_named(case: CaseFolder, model: Path, tmp_path: Path) -> None:
    masks = left(case, tmp_path / "masks")
    with pytest.raises(DatasetError, match=r"gone\.nii\.gz: cannot be read"):
        tasks_quality.score_scene_masks(str(tmp_path / "gone.nii.gz"), masks, str(model))
    other = tasks_quality.write_scene_volume(tmp_path / "other", Volume(np.random.default_rng(0).normal(size=(5, 6, 7)), phantom_affine()))
    with pytest.raises(GeometryError):
        tasks_quality.score_scene_masks(str(other), masks, str(model))
    (tmp_path / "other" / "volume.npy").unlink()
    with pytest.raises(InputError, match="is not a volume of the scene"):
        tasks_quality.read_scene_volume(other)
    with pytest.raises(InputError, match="there is no mask of brain"):
        tasks_quality.score_scene_masks(str(case.ct), masks, str(model), organs=["brain"])


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"organs": {"liver": 0.5}}', '{"details": {"liver": {"dice": 2, "spread": 0, "slices": []}}}', '{"details": {"liver": 3}}'],
)
def test_a_file_that_is_no_prediction_gives_none(case: CaseFolder, content: str) -> None:
    case.average.predicted_dice.write_text(content)
    assert read_predicted_quality(case) == {}


def test_the_module_of_the_tasks_loads_with_what_slicer_ships(repository: Path) -> None:
    names = ("pydantic", "torch", "onnxruntime", "safetensors")
    code = f"import sys; sys.modules.update(dict.fromkeys({names!r}))\nfrom AtlasQualityLib import tasks_quality, slice_scores, organ_table"
    path = os.pathsep.join(str(repository / name) for name in ("AtlasSegment", "AtlasQuality"))
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
