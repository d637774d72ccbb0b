"""Slicer module Atlas Review: correct labels and assemble the dataset."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class AtlasReview(ScriptedLoadableModule):
    """What Slicer lists about this module."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Atlas Review")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SegmentEditor"]
        self.parent.contributors = ["Atlas Annotator contributors"]
        self.parent.helpText = _(
            "Correct organ labels where models are probably wrong, keep every revision, and assemble the dataset. "
            "Open a dataset folder, take the next task, edit, accept."
        )
        self.parent.acknowledgementText = _("The label order and the case folders follow AbdomenAtlas.")


@parameterNodeWrapper
class AtlasReviewParameterNode:
    """What is kept with the scene.

    Attributes:
        datasetFolder: The open dataset folder, or "".
        caseName, organ: The open task, or "".
        searchText, stateFilter: What the worklist shows.
        overlayShown, maskShown: Whether attention overlay and masks are shown.
        keepOut: Draw only where no other organ is.
        goOn: Open the next unfinished task after a verdict.
    """

    datasetFolder: str = ""
    caseName: str = ""
    organ: str = ""
    searchText: str = ""
    stateFilter: str = "unfinished"
    overlayShown: bool = True
    maskShown: bool = True
    keepOut: bool = True
    goOn: bool = True


class AtlasReviewWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel; what it does is in AtlasReviewLib/panel_review.py."""

    def __init__(self, parent: object = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.ui = self.uiWidget = self.panel = None
        self._parameterNode: Any = None
        self._guiTag: Any = None

    def setup(self) -> None:
        """Load the panel from its .ui file and bring it to life."""
        ScriptedLoadableModuleWidget.setup(self)
        self.uiWidget = slicer.util.loadUI(self.resourcePath("UI/AtlasReview.ui"))
        self.layout.addWidget(self.uiWidget)
        self.ui = slicer.util.childWidgetVariables(self.uiWidget)
        self.uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = AtlasReviewLogic()
        from AtlasReviewLib.panel_review import ReviewPanel

        self.panel = ReviewPanel(self.ui, lambda: self._parameterNode)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Keep unsaved edits and let go of everything; called at exit and before a reload."""
        self.removeObservers()
        self.setParameterNode(None)
        if self.panel is not None:
            self.panel.cleanup()
            self.panel = self.ui = None
            self.uiWidget.setMRMLScene(None)
            self.uiWidget.deleteLater()  # a reload only hides it, and its widgets would go on watching the scene

    def enter(self) -> None:
        """Put keys and clock in force."""
        if self.panel is not None:
            self.initializeParameterNode()
            self.panel.enter()

    def exit(self) -> None:
        """Keep unsaved edits and take keys and clock out of force."""
        if self.panel is not None:
            self.panel.exit()
        self.setParameterNode(None)

    def onSceneStartClose(self, _caller: object, _event: object) -> None:
        """Keep unsaved edits before the nodes vanish."""
        self.setParameterNode(None)
        self.panel.sceneClosing()

    def onSceneEndClose(self, _caller: object, _event: object) -> None:
        """Begin with the empty scene."""
        self.panel.sceneClosed()
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, _caller: object, _event: object) -> None:
        """Go back to what the loaded scene was saved with."""
        if self.parent.isEntered:
            self.setParameterNode(None)
            self.initializeParameterNode()
            self.panel.restore.restore()

    def initializeParameterNode(self) -> None:
        """Make sure that there is a parameter node and that the widgets show it."""
        self.setParameterNode(self.logic.getParameterNode())

    def setParameterNode(self, parameterNode: Any) -> None:
        """Let go of one parameter node and connect the widgets with another one."""
        if self._parameterNode is not None and self._guiTag is not None:
            self._parameterNode.disconnectGui(self._guiTag)
        self._parameterNode, self._guiTag = parameterNode, None
        if parameterNode is not None:
            from AtlasSegmentLib.panel_parameters import connectWidgets

            self._guiTag = connectWidgets(parameterNode, self.ui)


class AtlasReviewLogic(ScriptedLoadableModuleLogic):
    """Calls the libraries; they are imported late, so that Slicer starts fast."""

    def getParameterNode(self) -> AtlasReviewParameterNode:
        """Return the parameters that are kept with the scene."""
        return AtlasReviewParameterNode(super().getParameterNode())

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
    """Runs inside Slicer and in the stand-in: a made-up dataset is reviewed from opening it to an accepted revision."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test of this module (Reload and Test)."""
        self.setUp()
        self.test_organNamesAreChecked()
        self.setUp()
        self.test_aTaskIsReviewed()

    def test_organNamesAreChecked(self) -> None:
        """A name of the table is accepted, a misspelled one is refused with the right one."""
        from AtlasSegmentLib.errors import LabelError

        logic = AtlasReviewLogic()
        with tempfile.TemporaryDirectory() as folder:
            for organ in logic.organNames():
                self.assertEqual(logic.checkedOrgan(Path(folder), organ), organ)
            with self.assertRaisesRegex(LabelError, "gall_bladder"):
                logic.checkedOrgan(Path(folder), "gall_blader")

    def test_aTaskIsReviewed(self) -> None:
        """Read a task, show it, change the mask through the scene, save and accept it."""
        from AtlasReviewLib import scene, scene_mask
        from AtlasReviewLib.review_case import load_review_case
        from AtlasReviewLib.task_session import TaskSession
        from AtlasReviewLib.worklist_merge import open_worklist

        with tempfile.TemporaryDirectory() as place:
            dataset = self.makeDataset(Path(place).resolve() / "hospital")
            worklist, _scan = open_worklist(dataset)
            task = worklist.take_next("tester")
            loaded = load_review_case(dataset / task.case, task.organ)
            nodes = scene.show_task(loaded)
            session = TaskSession(worklist, loaded, task, "tester", Path(place) / "user")
            mask = scene_mask.edited_mask(nodes, loaded)
            self.assertFalse(session.is_changed(mask))
            changed = mask.dense()
            changed[0, 0, 0] = 1
            scene_mask.put_mask(nodes, session.sparse(loaded.ct.with_array(changed)))
            edited = scene_mask.edited_mask(nodes, loaded)
            self.assertTrue(session.is_changed(edited))
            self.assertEqual(session.decide("accepted", edited).state, "accepted")
            self.assertFalse(session.is_changed(edited))
            self.assertTrue(loaded.case.average.revised_mask(task.organ).is_file())
            scene.remove_task(nodes)

    def makeDataset(self, folder: Path) -> Path:
        """Write a dataset with one case: a ball of liver in a box of water."""
        from AtlasSegmentLib.case_folder import CaseFolder
        from AtlasSegmentLib.nifti import write_nifti
        from AtlasSegmentLib.volume import Volume

        case, affine = CaseFolder(folder / "ball"), np.diag([-2.0, -2.0, 3.0, 1.0])
        distance = np.linalg.norm(np.indices((30, 28, 20)) - np.array([14, 13, 9]).reshape(3, 1, 1, 1), axis=0)
        ball = np.asfortranarray((distance < 7).astype(np.uint8))
        write_nifti(case.ct, Volume(np.asfortranarray(60 * ball.astype(np.int16)), affine))
        write_nifti(case.average.mask("liver"), Volume(ball, affine))
        return folder
