"""The whole job in Slicer on a real CT with real networks: segment, find errors, review, assemble; and cancel.

One story is one test: each step needs what the step before it made. Slicer is the stand-in; MRML, Qt, networks, child processes and
files are real.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from AtlasSegmentLib.markups import read_roi
from AtlasSegmentLib.nifti import read_nifti

CASE_ORGANS = {"spleen", "kidney_left", "gall_bladder", "esophagus", "liver", "stomach", "pancreas", "duodenum"}


@dataclass
class Bench:
    """What a test of the panels works with."""

    open: Callable[[str], Any]
    answers: Any
    wait: Callable[..., None]
    picture: Callable[[str], Path]


@pytest.fixture
def bench(open_module: Any, answers: Any, wait_until: Any, screenshot: Any) -> Bench:
    return Bench(open_module, answers, wait_until, screenshot)


@pytest.fixture
def torso(shared_data: Path, slicer_app: Any) -> tuple[Any, Any]:
    """Load the torso CT and the box around its abdomen; return both nodes."""
    assert slicer_app
    import slicer

    from AtlasSegmentLib.scene_roi import node_from_roi

    folder = shared_data / "data" / "torso-3mm"
    # Slicer itself reads this ROI file, which has no control point, as a box of size 0.
    roi = node_from_roi(read_roi(folder / "abdomen_roi.mrk.json"), "abdomen")
    roi.GetDisplayNode().SetVisibility(False)
    return slicer.util.loadVolume(str(folder / "ct.nii.gz")), roi


def check_models(panel: Any, answers: Any, folders: list[Path]) -> None:
    """Add model folders with the button and check just them: the list remembers those of other tests."""
    import qt

    for folder in folders:
        answers.folder(folder)
        panel.ui.addModelButton.click()
    tree = panel.ui.modelTree
    for row in range(tree.topLevelItemCount):
        item = tree.topLevelItem(row)
        wanted = Path(item.data(0, qt.Qt.UserRole)) in folders
        item.setCheckState(0, qt.Qt.Checked if wanted else qt.Qt.Unchecked)


def ready_to_segment(panel: Any, answers: Any, torso: tuple[Any, Any], models: list[Path], results: Path) -> None:
    """Fill the panel of Atlas Segment until Apply can be pressed."""
    panel.ui.ctSelector.setCurrentNode(torso[0])
    panel.ui.roiSelector.setCurrentNode(torso[1])
    check_models(panel, answers, models)
    panel.ui.resultsFolderEdit.setText(str(results))
    assert panel.ui.applyButton.enabled, panel.ui.reasonLabel.text


def processes_below(pid: int) -> list[int]:
    """Return the processes that descend from one, by /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def test_the_whole_job_from_a_ct_to_an_assembled_case(
    bench: Bench, torso: tuple[Any, Any], shared_models: list[Path], tmp_path: Path
) -> None:
    dataset = tmp_path / "hospital"
    models = [Path(shutil.copytree(folder, tmp_path / "models" / folder.name)) for folder in shared_models]
    segmentation = segment_with_all_models(bench, torso, models, dataset)
    bench.picture("AtlasSegment")
    find_errors(bench, segmentation)
    bench.picture("AtlasQuality")
    desk = bench.open("AtlasReview")
    organ = take_and_edit(bench, desk, dataset)
    bench.picture("AtlasReview")
    accept_and_assemble(bench, desk, dataset, tmp_path / "release", organ)


def segment_with_all_models(bench: Bench, torso: tuple[Any, Any], models: list[Path], dataset: Path) -> Any:
    """Segment with three networks in the child process; return the average's segmentation node."""
    import slicer

    from AtlasSegmentLib.scene import jump_to

    dataset.mkdir()
    panel = bench.open("AtlasSegment")
    ready_to_segment(panel, bench.answers, torso, models, dataset)
    seen: list[int] = []
    panel.ui.progressBar.connect("valueChanged(int)", seen.append)
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "Cancel"
    bench.wait(lambda: not panel.panel.job.running and not panel.panel.run.importing, 240)
    assert len({*seen}) > 5, "progress was not seen to move"
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    roles = sorted(node.GetAttribute("AtlasAnnotator.Role") for node in nodes)
    assert roles == ["average", "model", "model", "model"]
    average = next(node for node in nodes if node.GetAttribute("AtlasAnnotator.Role") == "average")
    ids = average.GetSegmentation().GetSegmentIDs()
    assert {*ids} <= CASE_ORGANS
    assert {"liver", "spleen", "kidney_left"} <= {*ids}
    check_in_place(average, torso[0])
    panel.ui.abdomenButton.click()
    panel.ui.show3DButton.click()
    jump_to(segmentation_center(average, "liver"))
    return average


def segmentation_center(segmentation: Any, organ: str) -> tuple[float, float, float]:
    """Return the center of an organ in world RAS mm."""
    x, y, z = segmentation.GetSegmentCenterRAS(organ)
    return (x, y, z)


def check_in_place(segmentation: Any, ct: Any) -> None:
    """Check that the segments lie where the case folder's masks lie, liver on the right, with AbdomenAtlas' values."""
    from AtlasSegmentLib.classes import abdomenatlas_table
    from AtlasSegmentLib.scene import grid_of_node
    from AtlasSegmentLib.scene_segmentation import mask_of_segment, value_of_segment

    grid, case = grid_of_node(ct), Path(segmentation.GetAttribute("AtlasAnnotator.CaseFolder"))
    centers = {}
    for organ in segmentation.GetSegmentation().GetSegmentIDs():
        mask = mask_of_segment(segmentation, organ, grid)
        stored = read_nifti(case / "average" / "segmentations" / f"{organ}.nii.gz")
        assert mask.array.sum() > 0.8 * stored.array.sum() > 0, organ  # painted into one map, neighbors take a few voxels
        assert value_of_segment(segmentation, organ) == abdomenatlas_table().value_of(organ)
        centers[organ] = (grid.affine @ [*np.argwhere(mask.array).mean(axis=0), 1])[:3]
    assert centers["liver"][0] > centers["spleen"][0], "the liver lies on the right: larger x in RAS"


def find_errors(bench: Bench, segmentation: Any) -> None:
    """Show attention over the CT and jump to the first hot spot."""
    import slicer

    panel = bench.open("AtlasQuality")
    panel.ui.segmentationSelector.setCurrentNode(segmentation)
    panel.ui.findErrorsButton.click()
    bench.wait(lambda: panel.ui.findErrorsButton.text == "Find errors", 120)
    composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
    overlay = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID())
    assert overlay.GetAttribute("AtlasAnnotator.Role") == "attention"
    assert panel.ui.spotsTable.rowCount > 0
    table = panel.ui.organsTable
    bench.wait(lambda: all(table.item(row, 1).text() for row in range(table.rowCount)))
    slices = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    before = [node.GetSliceOffset() for node in slices]
    panel.ui.nextSpotButton.click()
    assert [node.GetSliceOffset() for node in slices] != before
    from AtlasSegmentLib.scene import volume_from_node

    heat = volume_from_node(overlay)
    center = [node.GetSliceToRAS().GetElement(axis, 3) for node in slices[:1] for axis in range(3)]
    index = np.rint(np.linalg.inv(heat.affine) @ [*center, 1])[:3].astype(int)
    around = heat.array[tuple(slice(max(0, i - 4), i + 5) for i in index)]
    assert around.max() > 0, "the views jumped to a place without attention"


def take_and_edit(bench: Bench, desk: Any, dataset: Path) -> str:
    """Open the dataset, take the first task, draw with the editor's logic, undo and redo; return the organ."""
    from slicer_standin.segment_editor_effects import stroke

    ui, task = desk.ui, desk.panel.task
    ui.folderPath.setCurrentPath(str(dataset))
    ui.readerEdit.setText("Ada")
    ui.openButton.click()
    bench.wait(lambda: not desk.panel.dataset.opening)
    ui.takeNextButton.click()
    bench.wait(lambda: task.opening is None and task.session is not None)
    organ = str(task.task.organ)
    others = neighbors(task)

    def voxels() -> int:
        return int(np.count_nonzero(task.mask().crop))

    before = voxels()
    ui.segmentEditor.setActiveEffectByName("Paint")
    stroke(ui.segmentEditor.activeEffect(), task.session.loaded.hot_spots[0].center, 12.0)
    painted = voxels()
    assert painted > before
    ui.segmentEditor.undo()
    assert voxels() == before
    ui.segmentEditor.redo()
    assert voxels() == painted
    assert neighbors(task) == others, "a neighbor was changed"
    return organ


def neighbors(task: Any) -> dict[str, int]:
    """Return the voxels of all other organs that are shown."""
    from AtlasSegmentLib.scene_segmentation import mask_of_segment

    node, loaded = task.nodes.segmentation, task.session.loaded
    ids = [i for i in node.GetSegmentation().GetSegmentIDs() if i != task.nodes.segment]
    return {i: int(mask_of_segment(node, i, loaded.grid).array.sum()) for i in ids}


def accept_and_assemble(bench: Bench, desk: Any, dataset: Path, out: Path, organ: str) -> None:
    """Save, accept, assemble; the revision is on the disk, credited, and in the assembled label map."""
    import slicer

    ui = desk.ui
    ui.saveButton.click()
    ui.goOnCheckBox.setChecked(False)
    ui.acceptButton.click()
    assert desk.panel.task.task.state == "accepted"
    case = next(path for path in dataset.iterdir() if (path / "ct.nii.gz").is_file())
    revised = case / "average" / "segmentations" / f"{organ}_revised.nii.gz"
    assert revised.is_file()
    ui.outputPath.setCurrentPath(str(out))
    ui.applyButton.click()
    bench.wait(lambda: not desk.panel.assemble.job.running, 120)
    manifest = json.loads(next(out.rglob("manifest.json")).read_text())
    assert "Ada" in json.dumps(manifest)
    roles = [node.GetAttribute("AtlasAnnotator.Role") for node in slicer.util.getNodesByClass("vtkMRMLDisplayableNode")]
    assert "assembled" in roles


@pytest.mark.parametrize("how", ["cancel", "killed"])
def test_a_running_segmentation_is_stopped_and_leaves_no_process(
    bench: Bench, torso: tuple[Any, Any], shared_models: list[Path], tmp_path: Path, how: str
) -> None:
    import slicer

    (tmp_path / "results").mkdir()
    panel = bench.open("AtlasSegment")
    ready_to_segment(panel, bench.answers, torso, shared_models, tmp_path / "results")
    before = {*processes_below(os.getpid())}
    panel.ui.applyButton.click()
    bench.wait(lambda: "infer" in panel.ui.statusLabel.text, 60)
    running = {*processes_below(os.getpid())} - before
    assert running
    if how == "cancel":
        panel.ui.applyButton.click()
    else:
        os.kill(max(running), signal.SIGKILL)
        bench.wait(lambda: not panel.panel.job.running)
        assert any("SIGKILL" in text for _, text in bench.answers.shown), bench.answers.shown
    bench.wait(lambda: not ({*processes_below(os.getpid())} - before), 10)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert panel.ui.applyButton.enabled
    assert panel.ui.applyButton.text == "Apply"
