"""Slicer module Atlas Segment: label the organs of a CT."""

from __future__ import annotations

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
        self.parent.helpText = _("Label the organs of a CT with one or several models.")
        self.parent.acknowledgementText = _("The label order and the case folders follow AbdomenAtlas.")


class AtlasSegmentWidget(ScriptedLoadableModuleWidget):
    """The panel: for now one sentence that says which command does the job."""

    def setup(self) -> None:
        """Load the panel from its .ui file."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/AtlasSegment.ui"))
        self.layout.addWidget(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = AtlasSegmentLogic()


class AtlasSegmentLogic(ScriptedLoadableModuleLogic):
    """Calls the libraries; they are imported late, so that Slicer starts fast."""

    def labelTableNames(self) -> list[str]:
        """Return the names of the label tables that come with the extension."""
        from AtlasSegmentLib.labels import table_names

        return sorted(table_names())


class AtlasSegmentTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer: the libraries and shared files are where an installed extension has them."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test of this module (Reload and Test)."""
        self.setUp()
        self.test_labelTablesAreInstalled()
        self.setUp()
        self.test_geometryKeepsWorldPositions()

    def test_labelTablesAreInstalled(self) -> None:
        """The shared Resources folder lies beside the library."""
        self.assertIn("abdomenatlas", AtlasSegmentLogic().labelTableNames())

    def test_geometryKeepsWorldPositions(self) -> None:
        """Turning a grid from LPS to RAS moves no voxel."""
        from AtlasSegmentLib.volume import Volume

        volume = Volume(np.zeros((3, 4, 5)), np.diag([-2.0, -2.0, 3.0, 1.0]))
        turned = volume.reoriented("RAS")
        self.assertEqual((volume.orientation, turned.orientation), ("LPS", "RAS"))
        np.testing.assert_allclose(turned.affine @ [2, 3, 0, 1], volume.affine @ [0, 0, 0, 1])
