"""Slicer module Atlas Review: correct labels and assemble the dataset."""

from __future__ import annotations

import tempfile
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class AtlasReview(ScriptedLoadableModule):
    """What Slicer lists about this module."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Atlas Review")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["Atlas Annotator contributors"]
        self.parent.helpText = _("Correct organ labels, keep every revision, and assemble the dataset.")
        self.parent.acknowledgementText = _("The label order and the case folders follow AbdomenAtlas.")


class AtlasReviewWidget(ScriptedLoadableModuleWidget):
    """The panel: for now one sentence that says which command does the job."""

    def setup(self) -> None:
        """Load the panel from its .ui file."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/AtlasReview.ui"))
        self.layout.addWidget(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = AtlasReviewLogic()


class AtlasReviewLogic(ScriptedLoadableModuleLogic):
    """Calls the libraries; they are imported late, so that Slicer starts fast."""

    def organNames(self) -> tuple[str, ...]:
        """Return the names of the structures that can be revised in every case."""
        from AtlasSegmentLib.labels import load_table

        return tuple(load_table("abdomenatlas").names())

    def checkedOrgan(self, caseFolder: Path, organ: str) -> str:
        """Return `organ` when it can be revised in this case; raise LabelError with the closest names otherwise."""
        from AtlasReviewLib.organ_names import known_organ
        from AtlasSegmentLib.case_folder import CaseFolder

        return known_organ(CaseFolder(caseFolder), organ)


class AtlasReviewTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer: the libraries and shared files are where an installed extension has them."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test of this module (Reload and Test)."""
        self.setUp()
        self.test_organNamesAreChecked()

    def test_organNamesAreChecked(self) -> None:
        """A name of the table is accepted, a misspelled one is refused with the right one."""
        from AtlasSegmentLib.errors import LabelError

        logic = AtlasReviewLogic()
        with tempfile.TemporaryDirectory() as folder:
            for organ in logic.organNames():
                self.assertEqual(logic.checkedOrgan(Path(folder), organ), organ)
            with self.assertRaisesRegex(LabelError, "gall_bladder"):
                logic.checkedOrgan(Path(folder), "gall_blader")
