"""A loaded scene and the review panel: its CT and its edits are removed only when the mask is in the editor, and never silently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasReviewLib.autosave import find_autosaves
from AtlasReviewLib.worklist import Worklist
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from review_data import make_dataset
from review_desk import Desk

pytestmark = pytest.mark.usefixtures("slicer_app")
KEPT = "first liver (from the loaded scene)"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "hospital")


@pytest.fixture
def desk(open_module: Callable[[str], Any], wait_until: Callable[..., None], dataset: Path) -> Desk:
    desk = Desk(open_module("AtlasReview"), wait_until)
    desk.open(dataset)
    desk.take_next()
    desk.stroke()
    return desk


@pytest.fixture
def saved(desk: Desk, tmp_path: Path) -> Path:  # noqa: ARG001 - the task must be edited
    """A scene saved with an edited task."""
    import slicer

    assert slicer.util.saveScene(str(tmp_path / "work.mrb"))
    return tmp_path / "work.mrb"


def close(desk: Desk, dataset: Path) -> None:
    """Close scene and dataset; the edits are in the saved scene alone."""
    import slicer

    slicer.mrmlScene.Clear()
    desk.panel.closeDataset()
    desk.panel.dataset.close()
    for autosave in find_autosaves(dataset, "Ada", desk.panel.context.fallback):
        autosave.file.unlink()


def load(desk: Desk, scene: Path) -> None:
    import slicer

    slicer.util.loadScene(str(scene))
    desk.wait(lambda: not desk.panel.dataset.opening)
    desk.ready()


def add_empty_scene(tmp_path: Path) -> None:
    import slicer

    scene = tmp_path / "other.mrml"
    scene.write_text('<MRML version="Volumes4" userTags=""></MRML>')
    slicer.mrmlScene.SetURL(str(scene))
    slicer.mrmlScene.Import()


def names(kind: str) -> list[str]:
    import slicer

    return sorted(node.GetName() for node in slicer.util.getNodesByClass(f"vtkMRML{kind}Node"))


@pytest.mark.parametrize("why", ["folder gone", "no reader", "no cases", "damaged list"])
def test_a_scene_whose_dataset_cannot_be_opened_stays_as_it_is(desk: Desk, dataset: Path, saved: Path, why: str, answers: Any) -> None:
    close(desk, dataset)
    if why == "no reader":
        desk.ui.readerEdit.setText("")
    elif why == "damaged list":
        (dataset / "worklist.sqlite").write_bytes(b"junk" * 1000)
        answers.no()
    else:
        dataset.rename(dataset.with_name("away"))
    if why == "no cases":
        dataset.mkdir()
    load(desk, saved)
    assert names("Segmentation") == ["first liver"]
    assert "first" in names("ScalarVolume")
    assert desk.name == ""
    assert len(answers.shown) == 1


def test_the_open_task_stays_open_when_a_scene_is_added(desk: Desk, tmp_path: Path) -> None:
    mask, nodes = desk.mask(), desk.panel.task.nodes
    add_empty_scene(tmp_path)
    assert desk.panel.task.opening is None
    assert desk.panel.task.nodes is nodes
    assert np.array_equal(desk.mask(), mask)


def test_an_added_scene_of_the_open_task_is_kept_beside_it_and_said(desk: Desk, saved: Path, answers: Any) -> None:
    import slicer

    desk.stroke(radius=14.0)
    mask = desk.mask()
    slicer.util.loadScene(str(saved))
    desk.ready()
    assert np.array_equal(desk.mask(), mask)
    assert names("Segmentation") == ["first liver", KEPT]
    assert len(answers.shown) == 1
    desk.stroke(effect="Erase", radius=14.0)
    assert not np.array_equal(desk.mask(), mask)


def test_the_mask_of_a_scene_lies_where_it_lay_when_the_array_order_changed(desk: Desk, dataset: Path, saved: Path) -> None:
    mask, before = desk.mask(), desk.panel.task.session.loaded.grid.affine
    close(desk, dataset)
    case = CaseFolder(dataset / "first")
    for path in [case.ct, *case.average.folder.rglob("*.nii.gz")]:
        volume = read_nifti(path)
        path.unlink()
        write_nifti(path, volume.reoriented("LPS"))
    load(desk, saved)
    after = desk.panel.task.session.loaded.grid.affine
    assert not np.allclose(before, after)
    assert np.allclose(before @ [*np.argwhere(mask).mean(axis=0), 1], after @ [*np.argwhere(desk.mask()).mean(axis=0), 1])
    assert desk.voxels() == np.count_nonzero(mask)


def test_a_scene_of_another_ct_is_refused_and_kept(desk: Desk, dataset: Path, saved: Path, answers: Any) -> None:
    close(desk, dataset)
    case = CaseFolder(dataset / "first")
    for path in [case.ct, *case.average.folder.rglob("*.nii.gz")]:
        volume = read_nifti(path)
        affine = volume.affine.copy()
        affine[0, 3] += 25.0
        path.unlink()
        write_nifti(path, type(volume)(volume.array, affine))
    load(desk, saved)
    assert KEPT in names("Segmentation")
    assert "does not lie on the grid" in answers.shown[-1][1]


@pytest.mark.parametrize("wanted", [True, False])
def test_a_mask_older_than_the_newest_revision_goes_into_the_editor_only_when_wanted(
    desk: Desk, dataset: Path, saved: Path, wanted: bool, answers: Any
) -> None:
    old = desk.mask()
    desk.stroke(radius=14.0)
    new = desk.mask()
    assert not np.array_equal(old, new)
    desk.click(desk.ui.saveButton)
    close(desk, dataset)
    if wanted:
        answers.yes()
    else:
        answers.no()
    load(desk, saved)
    assert np.array_equal(desk.mask(), old if wanted else new)
    assert (KEPT in names("Segmentation")) is not wanted
    assert (KEPT in desk.status) is not wanted


def test_a_mask_that_began_with_the_newest_revision_comes_back_without_a_question(desk: Desk, dataset: Path, tmp_path: Path) -> None:
    import slicer

    desk.click(desk.ui.saveButton)
    desk.stroke(radius=14.0)
    mask = desk.mask()
    assert slicer.util.saveScene(str(tmp_path / "later.mrb"))
    close(desk, dataset)
    load(desk, tmp_path / "later.mrb")
    assert np.array_equal(desk.mask(), mask)
    assert names("Segmentation") == ["first liver"]


def test_the_mask_of_a_task_that_another_reader_has_meanwhile_is_kept_and_said(
    desk: Desk, dataset: Path, saved: Path, answers: Any
) -> None:
    close(desk, dataset)
    Worklist(dataset).take("first", "liver", "Bob", take_over=True)
    load(desk, saved)
    assert names("Segmentation") == ["first liver", KEPT]
    assert KEPT in answers.shown[-1][1]


def test_the_panel_remembers_again_after_the_dataset_of_a_scene_could_not_be_opened(
    desk: Desk, dataset: Path, saved: Path, tmp_path: Path
) -> None:
    close(desk, dataset)
    dataset.rename(tmp_path / "away")
    dataset.mkdir()
    load(desk, saved)
    other = make_dataset(tmp_path / "two")
    desk.open(other)
    desk.take_next()
    assert desk.panel.parameters().datasetFolder == str(other)
