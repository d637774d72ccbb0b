"""Slicer's ROI files: the box lands at the same place whatever coordinate system the file uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.markups import Roi, read_roi, write_roi

EYE = [1, 0, 0, 0, 1, 0, 0, 0, 1]


def write_markups(folder: Path, *markups: dict[str, Any]) -> Path:
    path = folder / "roi.mrk.json"
    path.write_text(json.dumps({"markups": list(markups)}))
    return path


def roi_item(**changes: Any) -> dict[str, Any]:
    item = {"type": "ROI", "coordinateSystem": "RAS", "center": [1, 2, 3], "orientation": EYE, "size": [10, 20, 30]}
    return {key: value for key, value in (item | changes).items() if value is not None}


@pytest.mark.parametrize("system", ["RAS", 0, "0"])
def test_a_ras_box_is_taken_as_it_is(tmp_path: Path, system: Any) -> None:
    roi = read_roi(write_markups(tmp_path, roi_item(coordinateSystem=system)))
    assert roi.center.tolist() == [1, 2, 3]
    assert roi.axes.tolist() == np.eye(3).tolist()
    assert roi.size.tolist() == [10, 20, 30]


@pytest.mark.parametrize("system", ["LPS", "lps", 1, "1"])
def test_an_lps_box_is_turned_into_ras(tmp_path: Path, system: Any) -> None:
    turned = [0, -1, 0, 1, 0, 0, 0, 0, 1]  # columns: the box's axes in LPS
    roi = read_roi(write_markups(tmp_path, roi_item(coordinateSystem=system, orientation=turned)))
    assert roi.center.tolist() == [-1, -2, 3]
    assert roi.axes[:, 0].tolist() == [0, -1, 0]
    assert roi.axes[:, 1].tolist() == [1, 0, 0]


def test_the_orientation_is_row_major_with_axes_in_columns(tmp_path: Path) -> None:
    c, s = np.cos(0.3), np.sin(0.3)
    roi = read_roi(write_markups(tmp_path, roi_item(orientation=[c, -s, 0, s, c, 0, 0, 0, 1])))
    np.testing.assert_allclose(roi.axes[:, 0], [c, s, 0])


def test_the_corners_span_the_size_around_the_center() -> None:
    roi = Roi(np.array([1, 2, 3]), np.eye(3), np.array([10, 20, 30]))
    assert roi.corners().shape == (8, 3)
    assert roi.corners().min(axis=0).tolist() == [-4, -8, -12]
    assert roi.corners().max(axis=0).tolist() == [6, 12, 18]


finite = st.floats(-1e3, 1e3)


@given(st.tuples(finite, finite, finite), st.tuples(*[st.floats(0.01, 1e3)] * 3), st.integers(0, 2**31))
def test_a_box_written_and_read_again_has_the_same_corners(
    tmp_path_factory: pytest.TempPathFactory, center: Any, size: Any, seed: int
) -> None:
    axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    roi = Roi(np.array(center), axes, np.array(size))
    path = tmp_path_factory.mktemp("roi") / "a.mrk.json"
    write_roi(path, roi)
    np.testing.assert_allclose(read_roi(path).corners(), roi.corners(), atol=1e-9)


def test_the_first_roi_among_other_markups_is_taken(tmp_path: Path) -> None:
    path = write_markups(tmp_path, {"type": "Fiducial"}, roi_item(center=[7, 7, 7]), roi_item())
    assert read_roi(path).center.tolist() == [7, 7, 7]


def test_a_file_without_roi_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"roi\.mrk\.json: holds no ROI, only Fiducial, Plane"):
        read_roi(write_markups(tmp_path, {"type": "Fiducial"}, {"type": "Plane"}))
    with pytest.raises(InputError, match="only nothing"):
        read_roi(write_markups(tmp_path))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"size": [10, 0, 30]}, "above 0 mm"),
        ({"size": [10, -5, 30]}, "above 0 mm"),
        ({"size": [10, float("nan"), 30]}, "size must be"),
        ({"size": [10, 30]}, "size must be"),
        ({"center": None}, "center must be"),
        ({"center": [1, "x", 2]}, "center must be"),
        ({"center": [1, float("inf"), 2]}, "center must be"),
        ({"orientation": [1, 0, 0]}, "orientation must be"),
        ({"orientation": [2, 0, 0, 0, 1, 0, 0, 0, 1]}, "right angles"),
        ({"coordinateSystem": None}, "RAS or LPS, got 'none'"),
        ({"coordinateSystem": "IJK"}, "RAS or LPS, got 'IJK'"),
        ({"coordinateUnits": "um"}, "expected mm"),
        ({"insideOut": True}, "inside out"),
    ],
)
def test_a_box_that_makes_no_sense_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=rf"roi\.mrk\.json: .*{reason}"):
        read_roi(write_markups(tmp_path, roi_item(**changes)))


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1}', '{"markups": 3}'])
def test_a_file_that_is_not_markups_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "roi.mrk.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"roi\.mrk\.json"):
        read_roi(path)


def test_a_roi_saved_by_hand_for_the_real_torso_is_read(shared_data: Path) -> None:
    roi = read_roi(shared_data / "data" / "torso-3mm" / "abdomen_roi.mrk.json")
    assert roi.center.tolist() == [-2.4563, 171.819, 350.8018]
    assert roi.size.tolist() == [324, 246, 156]
