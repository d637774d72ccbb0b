"""ROI boxes and Slicer: a box means the same place in the body to Slicer and to us, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.markups import Roi, read_roi, write_roi

pytestmark = pytest.mark.usefixtures("slicer_app")


@st.composite
def rois(draw: st.DrawFn) -> Roi:
    """Draw a box anywhere, turned by any angle."""
    a, b = draw(st.floats(-3, 3)), draw(st.floats(-1.5, 1.5))
    around_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    around_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    center = draw(st.lists(st.floats(-400, 400), min_size=3, max_size=3))
    size = draw(st.lists(st.floats(10, 400), min_size=3, max_size=3))
    return Roi(np.array(center), around_z @ around_x, np.array(size))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(roi=rois())
def test_slicer_reads_what_we_write_and_we_read_what_slicer_writes(tmp_path: Path, roi: Roi) -> None:
    import slicer

    from AtlasSegmentLib.scene_roi import roi_of_node

    write_roi(tmp_path / "ours.mrk.json", roi)
    node = slicer.util.loadMarkups(str(tmp_path / "ours.mrk.json"))
    np.testing.assert_allclose(roi_of_node(node).corners(), roi.corners(), atol=1e-2)
    assert slicer.util.saveNode(node, str(tmp_path / "slicers.mrk.json"))
    np.testing.assert_allclose(read_roi(tmp_path / "slicers.mrk.json").corners(), roi.corners(), atol=1e-2)
    slicer.mrmlScene.RemoveNode(node)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(roi=rois())
def test_a_box_comes_back_from_its_node(roi: Roi) -> None:
    import slicer

    from AtlasSegmentLib.scene_roi import node_from_roi, roi_of_node

    node = node_from_roi(roi, "box")
    np.testing.assert_allclose(roi_of_node(node).corners(), roi.corners(), atol=1e-3)
    slicer.mrmlScene.RemoveNode(node)


def test_a_box_that_is_not_placed_yet_is_refused_with_the_way_out() -> None:
    import slicer

    from AtlasSegmentLib.scene_roi import roi_of_node

    with pytest.raises(InputError, match="not placed yet") as caught:
        roi_of_node(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R"))
    assert "Create ROI" in caught.value.remedy


def test_a_transformed_box_is_taken_where_the_viewer_shows_it() -> None:
    import slicer

    from AtlasSegmentLib.scene import vtk_matrix
    from AtlasSegmentLib.scene_roi import node_from_roi, roi_of_node

    node: Any = node_from_roi(Roi(np.zeros(3), np.eye(3), np.array([10.0, 20, 30])), "box")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    transform.SetMatrixTransformToParent(vtk_matrix(np.array([[2.0, 0, 0, 5], [0, 2, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1]])))
    node.SetAndObserveTransformNodeID(transform.GetID())
    roi = roi_of_node(node)
    np.testing.assert_allclose(roi.center, [5, 6, 7])
    np.testing.assert_allclose(roi.size, [20, 40, 60])
