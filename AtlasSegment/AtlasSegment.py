"""Slicer module Atlas Segment: label the organs of a CT."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class AtlasSegment(ScriptedLoadableModule):
    """What Slicer lists about this module."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Atlas Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["Atlas Annotator contributors"]
        self.parent.helpText = _(
            "Label the organs of a CT with one or several models. Several models give an average and, in Atlas Quality, a map of where "
            "they are probably wrong. Nothing leaves this computer."
        )
        self.parent.acknowledgementText = _("The label order and the case folders follow AbdomenAtlas.")
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    """Add this extension's samples to Slicer's module Sample Data."""
    from AtlasSegmentLib.scene_samples import register_samples

    register_samples(Path(__file__).parent / "Resources" / "Icons")


class AtlasSegmentWidget(ScriptedLoadableModuleWidget):
    """The panel; what it does is in AtlasSegmentLib.panel_segment."""

    def setup(self) -> None:
        """Load the panel from its .ui file and bring it to life."""
        from AtlasSegmentLib.panel_segment import SegmentPanel

        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/AtlasSegment.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = AtlasSegmentLogic()
        self.panel = SegmentPanel(self.ui, self.logic.getParameterNode)
        if self.parent.isEntered:  # reloaded while it is open: Slicer does not call enter again
            self.enter()

    def enter(self) -> None:
        """Open the panel."""
        self.panel.open()

    def exit(self) -> None:
        """Leave the panel; a run goes on."""
        self.panel.close()

    def cleanup(self) -> None:
        """Let go of everything: the module is reloaded, or Slicer quits."""
        self.panel.cleanup()
        self.uiWidget.deleteLater()  # a reload only hides the old widgets, and their selectors would go on watching the scene


class AtlasSegmentLogic(ScriptedLoadableModuleLogic):
    """Calls the libraries; they are imported late, so that Slicer starts fast."""

    def labelTableNames(self) -> list[str]:
        """Return the names of the label tables that come with the extension."""
        from AtlasSegmentLib.labels import table_names

        return sorted(table_names())

    def importCase(self, folder: str, models: list[str], ct: object = None) -> list[object]:
        """Import what a case folder has of these models; return the segmentation nodes, that to be shown first."""
        from AtlasSegmentLib.case_folder import open_case
        from AtlasSegmentLib.scene_results import import_results

        return [imported.node for imported in import_results(open_case(Path(folder)), models, ct)]


class AtlasSegmentTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer and needs no network, no download and no package that Slicer lacks."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test of this module (Reload and Test)."""
        for test in (
            self.test_labelTablesAreInstalled,
            self.test_aResultIsImported,
            self.test_aRegionKeepsItsPlace,
            self.test_modelsAreListed,
        ):
            self.setUp()
            test()

    def test_labelTablesAreInstalled(self) -> None:
        """The shared Resources folder lies beside the library."""
        self.assertIn("abdomenatlas", AtlasSegmentLogic().labelTableNames())

    def test_aResultIsImported(self) -> None:
        """A case folder becomes a segmentation at the right place, with published values, and is not doubled by the next import."""
        from AtlasSegmentLib.ct_check import ct_doubt
        from AtlasSegmentLib.scene import grid_of_node, node_from_volume, volume_from_node
        from AtlasSegmentLib.scene_segmentation import mask_of_segment, value_of_segment

        with tempfile.TemporaryDirectory() as folder:
            case, ct, ball = self.makeCase(Path(folder))
            node = node_from_volume(ct, "phantom")
            self.assertEqual(ct_doubt(volume_from_node(node).array), "")
            for _time in range(2):
                shown = AtlasSegmentLogic().importCase(str(case), ["ball"], node)
            self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")), 1)
            self.assertEqual(value_of_segment(shown[0], "liver"), 6)
            np.testing.assert_array_equal(mask_of_segment(shown[0], "liver", grid_of_node(node)).array, ball)

    def test_aRegionKeepsItsPlace(self) -> None:
        """A region around the body becomes a node and comes back as it was."""
        from AtlasSegmentLib.scene_roi import node_from_roi, roi_around_body, roi_of_node

        with tempfile.TemporaryDirectory() as folder:
            _case, ct, _ball = self.makeCase(Path(folder))
        box = roi_around_body(ct)
        back = roi_of_node(node_from_roi(box, "region"))
        np.testing.assert_allclose(back.corners(), box.corners(), atol=1e-6)

    def test_modelsAreListed(self) -> None:
        """What is no model is told so, and a list that is kept in a folder is there again."""
        from AtlasSegmentLib.errors import ModelError
        from AtlasSegmentLib.model_list import ModelList

        with tempfile.TemporaryDirectory() as folder:
            models = ModelList(Path(folder) / "settings")
            with self.assertRaises(ModelError):
                models.add(Path(folder))
            self.assertEqual(models.models(), [])

    def makeCase(self, folder: Path) -> tuple[Path, object, np.ndarray]:
        """Write a case that a model named "ball" has segmented; return its folder, the CT and the liver."""
        from AtlasSegmentLib.case_folder import CaseFolder
        from AtlasSegmentLib.nifti import write_nifti
        from AtlasSegmentLib.volume import Volume

        case, affine = CaseFolder(folder / "data" / "phantom"), np.diag([-2.0, -2.0, 3.0, 1.0])
        distance = np.linalg.norm(np.indices((30, 28, 20)) - np.array([14, 13, 9]).reshape(3, 1, 1, 1), axis=0)
        ball = np.asfortranarray((distance < 7).astype(np.uint8))
        hounsfield = np.where(distance < 7, 60, np.where(distance < 10, -100, -1000)).astype(np.int16)
        ct = Volume(np.asfortranarray(hounsfield), affine)
        labels = case.backbone("ball")
        write_nifti(case.ct, ct)
        write_nifti(labels.pseudo_label, Volume(ball * np.uint8(6), affine))
        write_nifti(labels.mask("liver"), Volume(ball, affine))
        return case.folder, ct, ball
