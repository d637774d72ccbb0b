"""Where to look in a task: the hot spots of the panel and the worst slice in words, from the same stored maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from AtlasReviewLib.review_case import load_review_case
from AtlasReviewLib.where_to_look import where_to_look
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.volume import Volume
from review_data import make_review_case, scores


@pytest.mark.parametrize("orientation", ["RAS", "LPS"])
def test_panel_and_command_line_name_the_same_places(tmp_path: Path, orientation: str) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0), orientation=orientation)
    found, shown = where_to_look(case, "liver", 20), load_review_case(case.folder, "liver")
    assert found.spots == shown.hot_spots
    lines = found.lines()
    assert len(lines) == len(shown.hot_spots) + 1
    voxel = {"RAS": "17 15 13 (ITK-SNAP: 18 16 14)", "LPS": "16 14 13 (ITK-SNAP: 17 15 14)"}[orientation]
    assert lines[0] == f"hot spot 1: left of the organ, 4.57 ml, at L 9 A 72 I 45 mm, voxel {voxel}"
    assert [place.voxel for place in found.places] == [spot.voxel for spot in shown.hot_spots]  # maps and CT in one order
    assert lines[-1] == "worst axial slice: I 50 mm, 1.1 cm2"


def test_the_voxel_is_that_of_the_ct_where_the_maps_are_stored_in_another_order(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0))
    before = where_to_look(case, "liver").places
    ct = read_nifti(case.ct)
    turned = np.asarray(ct.affine) @ np.diag([-1.0, 1.0, 1.0, 1.0])
    turned[:3, 3] += np.asarray(ct.affine)[:3, 0] * (ct.array.shape[0] - 1)
    write_nifti(case.ct, Volume(np.asfortranarray(ct.array[::-1]), turned))
    after = where_to_look(case, "liver").places
    assert [place.spot for place in after] == [place.spot for place in before]
    for old, new in zip(before, after, strict=True):
        assert new.voxel == (ct.array.shape[0] - 1 - old.voxel[0], *old.voxel[1:])
        assert np.allclose((turned @ [*new.voxel, 1])[:3], new.spot.center, atol=1e-3)


def test_the_expected_error_is_told_where_there_is_a_map_of_it(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0))
    attention = read_nifti(case.average.map("attention", "liver"))
    assert where_to_look(case, "liver").as_dict()["hot_spots"][0]["expected_error_ml"] is None
    expected = np.asfortranarray((attention.array > 0) * np.float32(0.5))
    write_nifti(case.average.map("expected_error", "liver"), Volume(expected, attention.affine))
    found = where_to_look(case, "liver")
    first = found.as_dict()["hot_spots"][0]
    assert first["expected_error_ml"] == pytest.approx(0.5 * first["volume_ml"], rel=1e-3)
    assert found.lines()[0].endswith(f"expected error {first['expected_error_ml']:.2f} ml")
    assert first["ras_mm"] == list(found.spots[0].center)
    assert first["itk_snap"] == [index + 1 for index in first["voxel"]]


def test_fewer_hot_spots_are_the_first_ones(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0, spleen=1.0))
    for organ in ("liver", "spleen"):
        assert where_to_look(case, organ, 3).spots == load_review_case(case.folder, organ).hot_spots[:3]


def test_only_so_many_hot_spots_as_are_wanted(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0))
    assert len(where_to_look(case, "liver", 1).lines()) == 2


def test_a_task_without_attention_has_nothing_to_say(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case")
    assert where_to_look(case, "liver").lines() == []
    assert where_to_look(CaseFolder(tmp_path / "none"), "liver").lines() == []


def test_a_damaged_map_is_said(tmp_path: Path) -> None:
    case = make_review_case(tmp_path / "case", attention=scores(liver=1.0))
    path = case.average.map("attention", "liver")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError):
        where_to_look(case, "liver")
