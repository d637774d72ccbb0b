"""The Export section: what it offers, what it asks, what it writes, and that the panel stays usable whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.volume import LabelVolume, Volume
from AtlasSegmentLib.volume_io import read_label_volume, read_volume

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
TABLE = load_table("totalsegmentator_v2")
SHAPE = (9, 8, 7)
AFFINE = np.diag([-2.0, -2.0, 3.0, 1.0])


def phantom() -> LabelVolume:
    array = np.zeros(SHAPE, np.uint8)
    array[1:4, 1:4, 1:5] = TABLE.value_of("liver")
    array[5:8, 2:5, 1:3] = TABLE.value_of("kidney_left")
    return LabelVolume(array, AFFINE, "phantom", None, TABLE)


class Scene:
    """A CT and its segmentation in the scene."""

    def __init__(self) -> None:
        from AtlasSegmentLib import scene, scene_segmentation

        self.ct = scene.node_from_volume(Volume(np.zeros(SHAPE, np.int16), AFFINE), "CT")
        self.segmentation = scene_segmentation.segmentation_from_labels(phantom(), "organs")
        self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(self.ct)

    def overlap(self, organ: str = "spleen") -> np.ndarray:
        from AtlasSegmentLib import scene_segmentation

        mask = np.zeros(SHAPE, np.uint8)
        mask[3:5, 1:3, 1:3] = 1
        scene_segmentation.add_segment(self.segmentation, organ, Volume(mask, AFFINE))
        return mask


class Panel:
    """The section with widgets of its own, as the .ui file has them."""

    def __init__(self, segmentation: Callable[[], Any], ct: Callable[[], Any] = lambda: None) -> None:
        import ctk
        import qt

        from AtlasSegmentLib import panel_export

        self.widget = qt.QWidget()
        form = qt.QFormLayout(self.widget)
        self.ui = SimpleNamespace(
            exportFormatCombo=qt.QComboBox(),
            exportTableCombo=qt.QComboBox(),
            exportPathEdit=ctk.ctkPathLineEdit(),
            exportButton=qt.QPushButton("Export"),
            exportStatusLabel=qt.QLabel(),
        )
        for child in vars(self.ui).values():
            form.addRow(child)
        self.section = panel_export.ExportSection(self.ui, segmentation, ct)

    @property
    def status(self) -> str:
        return str(self.ui.exportStatusLabel.text)

    def choose(self, kind: str, path: Path | str = "", table: str = "model") -> None:
        for combo, key in ((self.ui.exportFormatCombo, kind), (self.ui.exportTableCombo, table)):
            combo.setCurrentIndex(next(index for index in range(combo.count) if combo.itemData(index) == key))
        self.ui.exportPathEdit.currentPath = str(path)

    def close(self) -> None:
        self.section.cleanup()
        self.widget.deleteLater()


@pytest.fixture
def scene(slicer_app: Any) -> Scene:  # noqa: ARG001 - nodes need the application
    return Scene()


@pytest.fixture
def panel(scene: Scene) -> Iterator[Panel]:
    made = Panel(lambda: scene.segmentation)
    yield made
    made.close()


@pytest.fixture
def export_of(wait_until: Callable[..., None]) -> Callable[[Panel], str]:
    """Return a function that presses Export on a panel and waits for the end; it returns what the label says then."""

    def press(panel: Panel) -> str:
        panel.ui.exportButton.click()
        wait_until(lambda: not panel.section.running, seconds=60)
        return panel.status

    return press


@pytest.fixture
def export(panel: Panel, export_of: Callable[[Panel], str]) -> Callable[[], str]:
    """Return the same for the one panel of a test."""
    return lambda: export_of(panel)


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep temporary folders of tests that run at the same time apart: here they are counted."""
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))


def temporaries() -> set[str]:
    import tempfile

    return {path.name for path in Path(tempfile.gettempdir()).glob("atlas-export-*")}


@pytest.mark.parametrize(("kind", "name"), [("nifti", "a.nii.gz"), ("nrrd", "a.nrrd")])
def test_a_label_map_has_the_published_values_and_its_files_are_named(
    panel: Panel, export: Callable[[], str], tmp_path: Path, kind: str, name: str
) -> None:
    from AtlasSegmentLib import panel_export_texts

    before = temporaries()
    panel.choose(kind, tmp_path / name)
    status = export()
    np.testing.assert_array_equal(read_label_volume(tmp_path / name, TABLE).array, phantom().array)
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert f"Wrote 3 files ({panel_export_texts.sizeText(size)})" in status
    assert name in status
    assert str(tmp_path) in status
    assert panel.ui.exportButton.enabled
    assert panel.ui.exportButton.text == "Export"
    assert temporaries() == before


def test_organs_go_to_files_of_their_own_whole(scene: Scene, panel: Panel, export: Callable[[], str], tmp_path: Path) -> None:
    mask = scene.overlap()
    panel.choose("organs", tmp_path / "case")
    assert "Wrote 3 files" in export()
    np.testing.assert_array_equal(read_volume(tmp_path / "case/segmentations/spleen.nii.gz").array, mask)
    np.testing.assert_array_equal(read_volume(tmp_path / "case/segmentations/liver.nii.gz").array, phantom().array == 5)


def test_a_segmentation_of_slicer_is_written_by_slicer(panel: Panel, export: Callable[[], str], tmp_path: Path) -> None:
    panel.choose("seg-nrrd", tmp_path / "a")
    assert "a.seg.nrrd" in export()
    assert (tmp_path / "a.seg.nrrd").read_bytes().startswith(b"NRRD")


def test_losses_are_said_before_anything_is_written(
    scene: Scene, panel: Panel, export: Callable[[], str], answers: Any, tmp_path: Path
) -> None:
    scene.overlap("My lesion")
    panel.choose("nifti", tmp_path / "a.nii.gz", "abdomenatlas")
    answers.no()
    assert export() == "Nothing was written."
    assert list(tmp_path.iterdir()) == []
    question = answers.shown[-1][1]
    assert "AbdomenAtlas" in question
    assert "My lesion" in question or "my_lesion" in question
    answers.yes()
    assert "Wrote 3 files" in export()
    back = read_label_volume(tmp_path / "a.nii.gz", load_table("abdomenatlas"))
    assert set(np.unique(back.array)) == {0, 3, 6}
    assert answers.unused() == []


def test_overlaps_are_counted_before_anything_is_written(
    scene: Scene, panel: Panel, export: Callable[[], str], answers: Any, tmp_path: Path
) -> None:
    scene.overlap()
    panel.choose("nifti", tmp_path / "a.nii.gz", "totalsegmentator_v2")
    answers.no()
    export()
    assert "spleen over liver (4 voxels)" in answers.shown[-1][1]
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_replaced_only_after_the_question(
    panel: Panel, export: Callable[[], str], answers: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.nii.gz").write_text("mine")
    panel.choose("nifti", tmp_path / "a.nii.gz")
    answers.no()
    export()
    assert (tmp_path / "a.nii.gz").read_text() == "mine"
    assert "a.nii.gz" in answers.shown[-1][1]
    answers.yes()
    assert "Wrote 3 files" in export()
    assert (tmp_path / "a.nii.gz").read_bytes() != b"mine"


def test_what_lies_outside_of_the_ct_is_said_before_it_is_cut_off(
    scene: Scene, panel: Panel, export: Callable[[], str], answers: Any, tmp_path: Path
) -> None:
    from AtlasSegmentLib import scene as nodes

    smaller = nodes.node_from_volume(Volume(np.zeros((3, 8, 7), np.int16), AFFINE), "cropped CT")
    scene.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(smaller)
    panel.choose("nifti", tmp_path / "a.nii.gz")
    answers.no()
    export()
    assert "liver: 12" in answers.shown[-1][1]
    assert list(tmp_path.iterdir()) == []


def test_each_reason_is_on_the_button_and_in_the_label(panel: Panel, scene: Scene) -> None:
    def shown() -> str:
        panel.section.update()
        assert not panel.ui.exportButton.enabled
        assert panel.ui.exportButton.toolTip == panel.status != ""
        return panel.status

    panel.choose("nifti")
    assert "Choose the file" in shown()
    panel.choose("organs")
    assert "Choose the folder" in shown()
    panel.choose("dicom-seg", "a")
    assert "CT was not loaded from DICOM" in shown()
    panel.choose("nifti", "a")
    warp = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "warp")
    scene.segmentation.SetAndObserveTransformNodeID(warp.GetID())
    assert "warp" in shown()
    scene.segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    assert "no segments" in shown()
    scene.segmentation = None
    assert "Choose or make a segmentation" in shown()


def test_only_label_maps_offer_values(panel: Panel) -> None:
    for kind, offered in (
        ("nifti", True),
        ("organs", False),
        ("nrrd", True),
        ("seg-nrrd", False),
        ("dicom-seg", False),
        ("rtstruct", False),
    ):
        panel.choose(kind)
        assert panel.ui.exportTableCombo.enabled is offered
        assert panel.ui.exportTableCombo.toolTip


def test_the_ending_follows_the_format(panel: Panel) -> None:
    panel.choose("nifti", "/data/case.nii.gz")
    panel.ui.exportFormatCombo.setCurrentIndex(1)
    assert panel.ui.exportPathEdit.currentPath == "/data/case.nrrd"


def test_a_folder_that_cannot_be_written_is_said_once_and_the_panel_stays_usable(
    panel: Panel, export: Callable[[], str], answers: Any, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    panel.choose("nifti", tmp_path / "file" / "a.nii.gz")
    export()
    errors = [text for kind, text in answers.shown if kind == "error"]
    assert len(errors) == 1
    assert "cannot be written" in errors[0]
    panel.choose("nifti", tmp_path / "a.nii.gz")
    assert "Wrote 3 files" in export()


@pytest.mark.parametrize("kind", ["nifti", "nrrd", "organs", "seg-nrrd"])
def test_a_name_that_is_too_long_is_said_once_in_every_format_and_the_panel_stays_usable(
    panel: Panel, export: Callable[[], str], answers: Any, tmp_path: Path, kind: str
) -> None:
    panel.choose(kind, tmp_path / ("n" * 300))
    assert "shorter name" in export()
    ((shown, text),) = answers.shown
    assert shown == "error"
    assert "too long" in text
    panel.choose(kind, tmp_path / "short")
    assert "Wrote" in export()


@pytest.mark.parametrize("kind", ["nifti", "nrrd", "organs", "seg-nrrd"])
def test_every_format_asks_before_it_replaces_a_file(
    panel: Panel, export: Callable[[], str], answers: Any, tmp_path: Path, kind: str
) -> None:
    panel.choose(kind, tmp_path / "a")
    export()
    files = {path: path.write_bytes(b"mine") for path in tmp_path.rglob("*") if path.is_file()}
    assert files
    asked = len(answers.shown)
    answers.no()
    export()
    assert len(answers.shown) == asked + 1
    assert {path.read_bytes() for path in files} == {b"mine"}


def test_cancel_leaves_no_file_and_the_next_export_works(
    panel: Panel, export: Callable[[], str], wait_until: Callable[..., None], tmp_path: Path
) -> None:
    before = temporaries()
    panel.choose("nifti", tmp_path / "a.nii.gz")
    panel.ui.exportButton.click()
    assert panel.section.running
    assert panel.ui.exportButton.text == "Cancel"
    wait_until(lambda: not panel.section._timer.active)
    panel.ui.exportButton.click()
    assert not panel.section.running
    assert panel.status == "Export cancelled."
    assert list(tmp_path.iterdir()) == []
    assert temporaries() == before
    assert "Wrote 3 files" in export()


def test_a_segmentation_that_vanishes_while_it_is_read_is_said_once(
    scene: Scene, panel: Panel, export: Callable[[], str], answers: Any, tmp_path: Path
) -> None:
    panel.choose("organs", tmp_path / "case")
    panel.ui.exportButton.click()
    scene.segmentation.GetSegmentation().RemoveSegment("liver")
    while panel.section.running:
        slicer.app.processEvents()
    errors = [text for kind, text in answers.shown if kind == "error"]
    assert len(errors) == 1
    assert "liver" in errors[0]
    assert "Wrote kidney_left.nii.gz (" in export()


def test_closing_the_panel_during_an_export_stops_it(scene: Scene, tmp_path: Path, wait_until: Callable[..., None]) -> None:
    before = temporaries()
    made = Panel(lambda: scene.segmentation)
    made.choose("nifti", tmp_path / "a.nii.gz")
    made.ui.exportButton.click()
    wait_until(lambda: not made.section._timer.active)
    made.close()
    assert temporaries() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["dicom-seg", "rtstruct"])
def test_a_dicom_object_takes_the_folder_that_the_user_chose(
    kind: str, slicer_app: Any, shared_data: Path, answers: Any, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    pytest.importorskip("highdicom")
    from AtlasSegmentLib import scene as nodes
    from AtlasSegmentLib import scene_segmentation
    from AtlasSegmentLib.dicom_labels import read_label_object

    del slicer_app
    folder = shared_data / "data" / "slab-dicom"
    labels = read_label_volume(folder / "reference_label.nii.gz", TABLE)
    ct = nodes.node_from_volume(read_volume(folder / "dicom"), "CT")
    segmentation = scene_segmentation.segmentation_from_labels(labels, "organs")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    made = Panel(lambda: segmentation)
    try:
        made.choose(kind, tmp_path / "a.dcm")
        assert not made.ui.exportButton.enabled
        answers.folder(folder / "dicom")
        made.section._folderButton.click()
        assert made.ui.exportButton.enabled
        made.ui.exportButton.click()
        wait_until(lambda: not made.section.running, seconds=90)
        assert "a.dcm" in made.status
        assert "anonymized" in made.status
    finally:
        made.close()
    found, _ = read_label_object(tmp_path / "a.dcm", labels.grid)
    assert len(found) == 31
    for one in found:
        np.testing.assert_array_equal(one.mask(labels.shape), labels.array == TABLE.value_of(one.name))


def test_a_segmentation_without_a_ct_takes_the_one_on_the_panel(scene: Scene, export_of: Callable[[Panel], str], tmp_path: Path) -> None:
    scene.segmentation.SetNodeReferenceID(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole(), None)
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    scene.segmentation.GetSegmentation().SetConversionParameter(name, "")
    made = Panel(lambda: scene.segmentation, lambda: scene.ct)
    made.choose("nifti", tmp_path / "a.nii.gz")
    assert "Wrote 3 files" in export_of(made)
    np.testing.assert_array_equal(read_label_volume(tmp_path / "a.nii.gz", TABLE).array, phantom().array)
    made.close()


def test_without_highdicom_the_user_is_asked_and_may_decline(
    scene: Scene, panel: Panel, answers: Any, tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from AtlasSegmentLib import panel_packages

    del scene, answers, shared_data

    def declined(requirements: Any, requester: str, **_: Any) -> bool:
        assert [text.partition(">")[0] for text in requirements] == ["highdicom"]
        message = f"{requester}: not installed"
        raise panel_packages.PackagesDeclined(message)

    monkeypatch.setattr(panel_packages, "ensurePackages", declined)
    monkeypatch.setattr(panel.section, "_sourceFiles", lambda _node: [])
    panel.choose("dicom-seg", tmp_path / "a.dcm")
    panel.section.update()
    panel.ui.exportButton.click()
    assert "not installed" in panel.status
    assert not panel.section.running
    assert list(tmp_path.iterdir()) == []
