"""Slicer module Atlas Quality: show where labels are probably wrong, and how far they agree with a reference."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

import slicer
import vtk
from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLPlotChartNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if TYPE_CHECKING:
    from AtlasQualityLib.hot_spots import HotSpot
    from AtlasQualityLib.review_result import ReviewResult


class AtlasQuality(ScriptedLoadableModule):
    """What Slicer lists about this module."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Atlas Quality")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["Atlas Annotator contributors"]
        self.parent.helpText = _(
            "Show where organ labels are probably wrong: attention maps over the CT, a table of organs, and a ranked list of places to "
            "look at. Compare a segmentation with a reference: Dice, surface Dice, distances and volumes. Not for clinical use."
        )
        self.parent.acknowledgementText = _(
            "The label order and the attention rule follow AbdomenAtlas; the surface metrics follow DeepMind's surface-distance."
        )


@parameterNodeWrapper
class AtlasQualityParameterNode:
    """What is kept with the scene.

    Attributes:
        segmentation: The segmentation to judge.
        overlay: Volume node of the map that is shown.
        overlayShown: Whether the overlay is shown while the module is open.
        kind: "attention" or "expected_error".
        organ: Organ whose map is shown, "" for all together.
        colors: Key of `scene_overlay.COLORS`.
        opacity: 0..1.
        threshold: Lowest value shown, percent.
        allOrgans: Look for errors in every organ, not only AbdomenAtlas' nine.
        reference: Segmentation or label map to compare with; None for a file.
        referenceFile: Its path.
        referenceTable: Name of the label table of a label map; "" for the names in the color table of a node.
        comparison: Table of the last comparison.
        chart: Plot of it.
    """

    segmentation: vtkMRMLSegmentationNode
    overlay: vtkMRMLScalarVolumeNode
    overlayShown: bool = True
    kind: str = "attention"
    organ: str = ""
    colors: str = "heat"
    opacity: Annotated[float, WithinRange(0.0, 1.0)] = 0.6
    threshold: Annotated[float, WithinRange(1.0, 100.0)] = 10.0
    allOrgans: bool = True
    reference: Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode]  # noqa: UP007 - Slicer reads no other spelling
    referenceFile: str = ""
    referenceTable: str = ""
    comparison: vtkMRMLTableNode
    chart: vtkMRMLPlotChartNode


class AtlasQualityWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel; its parts are in AtlasQualityLib.panel_*."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: AtlasQualityLogic | None = None
        self._parameterNode: Any = None
        self._guiTag: Any = None
        self._result: ReviewResult | None = None
        self._loadedFor: tuple[str, str] | None = None
        self._entered = False

    def setup(self) -> None:
        """Load the panel from its .ui file and connect its parts."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/AtlasQuality.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = AtlasQualityLogic()
        self._makeParts()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self.onNodeRemoved)
        self.ui.openCaseButton.connect("clicked(bool)", self.onOpenCase)
        self.ui.caseFolderEdit.connect("currentPathChanged(QString)", self._updateReasons)
        self.initializeParameterNode()

    def _makeParts(self) -> None:
        from AtlasQualityLib.panel_compare import ComparePanel
        from AtlasQualityLib.panel_organs import OrgansPanel
        from AtlasQualityLib.panel_overlay import OverlayPanel
        from AtlasQualityLib.panel_spots import SpotsPanel
        from AtlasSegmentLib.panel_job import ApplyCancel, PanelJob
        from AtlasSegmentLib.panel_shortcuts import PanelShortcuts

        self.job = PanelJob(self.ui.progressBar, self.ui.statusLabel, onStateChanged=self._onJobState)
        self._findErrors = ApplyCancel(self.ui.findErrorsButton, self.job, self.onFindErrors, self.ui.reasonLabel)
        self._organs = OrgansPanel(self.ui.organsTable, self._onOrganChosen)
        self._overlay = OverlayPanel(self.ui, self._organs.select)
        self._spots = SpotsPanel(self.ui, self._onSpotChosen)
        self._compare = ComparePanel(self.ui, self.logic.makeFolder)
        self._shortcuts = PanelShortcuts()
        self._shortcuts.bind("H", self.ui.showOverlayButton)
        self._shortcuts.bind(".", self.ui.thresholdUpButton, repeat=True)
        self._shortcuts.bind(",", self.ui.thresholdDownButton, repeat=True)
        self._shortcuts.bind("N", self.ui.nextSpotButton, repeat=True)
        self._shortcuts.bind("Shift+N", self.ui.previousSpotButton, repeat=True)

    def enter(self) -> None:
        """Show the overlay and put the keys in force."""
        self._entered = True
        self.initializeParameterNode()
        self._shortcuts.install()
        self._overlay.enter()

    def exit(self) -> None:
        """Give views and keys back."""
        self._entered = False
        self._shortcuts.remove()
        self._overlay.exit()

    def cleanup(self) -> None:
        """Leave nothing behind: no process, key, observer or file."""
        self.exit()
        self.setParameterNode(None)
        self._compare.cleanup()
        self._findErrors.cleanup()
        self.job.cleanup()
        self._organs.cleanup()
        self.removeObservers()
        self.logic.removeFolders()

    def onSceneStartClose(self, _caller: Any, _event: Any) -> None:
        """Stop what works on nodes that are about to go."""
        self.job.cancel()
        self.setParameterNode(None)

    def onSceneEndClose(self, _caller: Any, _event: Any) -> None:
        """Begin anew when the panel is shown."""
        if self._entered:
            self.initializeParameterNode()

    def onSceneEndImport(self, _caller: Any, _event: Any) -> None:
        """Show what a loaded scene holds."""
        if self._entered:
            self.setParameterNode(None)
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, _caller: Any, _event: Any, node: Any) -> None:
        """Let go of a segmentation, overlay or table that is deleted."""
        if not slicer.mrmlScene.IsClosing() and node.IsA("vtkMRMLStorableNode"):
            self._onParametersChanged()

    def initializeParameterNode(self) -> None:
        """Use the parameter node of the scene; a segmentation is chosen when there is none yet."""
        self.setParameterNode(self.logic.getParameterNode())
        if self._parameterNode.segmentation is None:
            self._parameterNode.segmentation = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")

    def setParameterNode(self, parameterNode: Any) -> None:
        """Connect the panel with a parameter node, or with none."""
        if (
            parameterNode is not None
            and self._parameterNode is not None
            and parameterNode.parameterNode is self._parameterNode.parameterNode
        ):
            return
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
        self._parameterNode = parameterNode
        self._loadedFor = None
        self._result = None
        self._overlay.setParameterNode(parameterNode)
        self._compare.setParameterNode(parameterNode)
        if parameterNode is None:
            self._organs.show(None, None)
            self._spots.show([])
            return
        self._guiTag = parameterNode.connectGui(self.ui)
        self.addObserver(parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
        self._onParametersChanged()

    def _onParametersChanged(self, _caller: Any = None, _event: Any = None) -> None:
        if self._parameterNode is None:
            return
        segmentation = self._parameterNode.segmentation
        if segmentation is not None and not slicer.mrmlScene.IsNodePresent(segmentation):
            self._parameterNode.segmentation = None  # it was deleted; this method is called again
            return
        folder = self.logic.caseFolderOf(segmentation)
        chosen = (segmentation.GetID() if segmentation is not None else "", folder)
        if chosen != self._loadedFor:
            isOther, self._loadedFor = self._loadedFor is not None, chosen
            if isOther and (self._result is None or self._result.case != folder):
                self._setResult(None)
            self._loadResult(folder)
        self._overlay.update()
        self._compare.update()
        self._updateReasons()

    def _loadResult(self, folder: str) -> None:
        """Show the segmentation, and the maps that its case has already."""
        self._organs.show(self._parameterNode.segmentation, self._result)
        if folder and self._result is None and self.logic.hasAttention(folder) and not self.job.running:
            self._startTask("review_files", {"case": folder}, self._onReviewed)

    def _setResult(self, result: ReviewResult | None) -> None:
        self._result = result
        self._overlay.setResult(result)
        self._organs.show(self._parameterNode.segmentation, result)
        self._spots.show(result.spots if result is not None else [])
        if self._parameterNode.organ:
            self._organs.select(self._parameterNode.organ)

    def _startTask(self, task: str, arguments: dict[str, Any], onResult: Any) -> None:
        work = self.logic.makeFolder("maps")
        self.job.start(f"AtlasQualityLib.tasks:{task}", {**arguments, "work": str(work)}, lambda answer: onResult(answer, work))

    def onFindErrors(self) -> None:
        """Average and find attention in the child process."""
        folder = self.logic.caseFolderOf(self._parameterNode.segmentation)
        self._startTask("find_errors", {"case": folder, "all_organs": self._parameterNode.allOrgans}, self._onReviewed)

    def onOpenCase(self, _checked: bool = False) -> None:
        """Load a case folder: CT, average and attention."""
        self._startTask("open_files", {"case": self.ui.caseFolderEdit.currentPath}, self._onOpened)

    def _onOpened(self, answer: dict[str, Any], work: Path) -> None:
        from AtlasQualityLib import scene_case
        from AtlasQualityLib.review_result import ReviewResult

        ct, segmentation = scene_case.add_case(answer, work)
        if ct is not None:
            scene_case.show_background(ct)
        self.ui.caseFolderEdit.addCurrentPathToHistory()
        self._result = ReviewResult.from_json(answer, work)
        self._loadedFor = (segmentation.GetID(), self._result.case)
        self._parameterNode.segmentation = segmentation
        self._setResult(self._result)
        self._sayFound()

    def _onReviewed(self, answer: dict[str, Any], work: Path) -> None:
        from AtlasQualityLib.review_result import ReviewResult

        if self._parameterNode is None:
            return
        folder = self.logic.caseFolderOf(self._parameterNode.segmentation)
        if folder != answer["case"]:  # another segmentation was chosen meanwhile
            self._loadResult(folder)
            return
        self._setResult(ReviewResult.from_json(answer, work))
        self._sayFound()

    def _sayFound(self) -> None:
        count = len(self._result.spots)
        self.ui.statusLabel.text = _("{count} hot spots").format(count=count) if self._result.maps else ""
        self._updateReasons()

    def _onOrganChosen(self, organ: str, _segmentId: str) -> None:
        self._parameterNode.organ = organ

    def _onSpotChosen(self, spot: HotSpot) -> None:
        if self._parameterNode.organ:
            self._parameterNode.organ = spot.organ
            self._organs.select(spot.organ)
        self.logic.jumpTo(spot.center, self._parameterNode.segmentation)

    def _onJobState(self, _state: Any) -> None:
        self._updateReasons()

    def _updateReasons(self, _value: Any = None) -> None:
        """Say what is missing for each button."""
        if self._parameterNode is None:
            return
        segmentation = self._parameterNode.segmentation
        self._findErrors.setReason(self.logic.whyNoErrors(segmentation))
        self.ui.sourceLabel.text = self.logic.describe(segmentation, self._result)
        self.ui.sourceLabel.setVisible(bool(self.ui.sourceLabel.text))
        reason = self.logic.whyNotOpened(self.ui.caseFolderEdit.currentPath)
        self.ui.openCaseButton.enabled = not reason and not self.job.running
        self.ui.openCaseButton.toolTip = reason or _("Load CT, average masks and attention of this case folder")


class AtlasQualityLogic(ScriptedLoadableModuleLogic):
    """What the panel knows and does without a widget; the libraries are imported late, so that Slicer starts fast."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._folders: list[Path] = []

    def getParameterNode(self) -> AtlasQualityParameterNode:
        """Return the parameter node of the scene."""
        return AtlasQualityParameterNode(super().getParameterNode())

    def caseFolderOf(self, segmentation: Any | None) -> str:
        """Return the case folder that a segmentation was made from, "" when it has none."""
        from AtlasSegmentLib.scene import CASE_FOLDER

        return "" if segmentation is None else str(segmentation.GetAttribute(CASE_FOLDER) or "")

    def hasAttention(self, folder: str) -> bool:
        """Tell whether a case folder has attention maps already."""
        from AtlasSegmentLib.case_folder import CaseFolder

        return bool(CaseFolder(Path(folder)).average.organs("attention"))

    def whyNoErrors(self, segmentation: Any | None) -> str:
        """Return why errors cannot be looked for, "" when they can."""
        from AtlasSegmentLib.case_folder import CaseFolder

        folder = self.caseFolderOf(segmentation)
        if segmentation is None:
            return _("Choose a segmentation, or open a case folder.")
        if not folder:
            return _(
                "Finding errors needs the predictions of the models. Segment the CT with Atlas Segment, or open its case folder; volumes "
                "and comparison work without."
            )
        if not Path(folder).is_dir():
            return _("The case folder {folder} is not there any more.").format(folder=folder)
        if not CaseFolder(Path(folder)).models():
            return _("The case folder {folder} holds no predictions of models.").format(folder=folder)
        return ""

    def describe(self, segmentation: Any | None, result: ReviewResult | None) -> str:
        """Return in a line what the numbers are of."""
        if result is None or segmentation is None:
            return ""
        models = ", ".join(result.models)
        return _("Case {case}; {count} models: {models}").format(case=Path(result.case).name, count=len(result.models), models=models)

    def whyNotOpened(self, folder: str) -> str:
        """Return why a case folder cannot be opened, "" when it can be tried."""
        if not folder.strip():
            return _("Choose a case folder.")
        return "" if Path(folder).is_dir() else _("There is no folder {folder}.").format(folder=folder)

    def jumpTo(self, center: tuple[float, float, float], segmentation: Any | None) -> None:
        """Bring all views to a position of the case, RAS mm."""
        from AtlasQualityLib.scene_masks import to_world
        from AtlasSegmentLib.scene import jump_to

        jump_to(to_world(segmentation, center) if segmentation is not None else center)

    def makeFolder(self, purpose: str) -> Path:
        """Return a new empty folder for files that the child process and the panel share; `removeFolders` removes it."""
        folder = Path(tempfile.mkdtemp(prefix=f"AtlasQuality-{purpose}-", dir=slicer.app.temporaryPath))
        for old in [one for one in self._folders if f"-{purpose}-" in one.name][:-1]:  # the last one may still be shown
            self._remove(old)
        self._folders.append(folder)
        return folder

    def removeFolders(self) -> None:
        """Remove all of them."""
        for folder in list(self._folders):
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._folders.remove(folder)


class AtlasQualityTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer (Reload and Test), on a phantom and without a network."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()
        self.folder = Path(tempfile.mkdtemp(prefix="AtlasQualityTest-", dir=slicer.app.temporaryPath))

    def tearDown(self) -> None:
        """Leave nothing on the disk."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def runTest(self) -> None:
        """Run every test of this module."""
        for test in (self.test_errorsAreFoundAndShown, self.test_aSegmentationAgreesWithItself):
            self.setUp()
            test()
            self.tearDown()

    def _openedCase(self) -> tuple[Any, Any]:
        """Return (result, segmentation) of the phantom, made in this process."""
        from AtlasQualityLib import scene_case, tasks
        from AtlasQualityLib.phantom_case import write_phantom_case
        from AtlasQualityLib.review_result import ReviewResult

        case = write_phantom_case(self.folder / "phantoms" / "phantom")
        tasks.find_errors(str(case.folder), str(self.folder / "work"))
        answer = tasks.open_files(str(case.folder), str(self.folder / "work"))
        _ct, segmentation = scene_case.add_case(answer, self.folder / "work")
        return ReviewResult.from_json(answer, self.folder / "work"), segmentation

    def test_errorsAreFoundAndShown(self) -> None:
        """The overlay is the foreground, the hot spot lies in the liver, and the views get back what they had."""
        from AtlasQualityLib import scene_overlay

        result, segmentation = self._openedCase()
        self.assertEqual(result.spots[0].organ, "liver")
        node = scene_overlay.show_map(None, result.volume("attention", ""), "Attention")
        scene_overlay.set_style(node, "heat", 10.0)
        scene_overlay.lay_over(node, 0.5)
        self.assertTrue(scene_overlay.is_laid_over(node))
        AtlasQualityLogic().jumpTo(result.spots[0].center, segmentation)
        scene_overlay.take_away(node)
        self.assertFalse(any(composite.GetForegroundVolumeID() for composite in scene_overlay.composites()))

    def test_aSegmentationAgreesWithItself(self) -> None:
        """A segmentation that was written and read is equal to itself in every number."""
        from AtlasQualityLib import scene_masks, tasks

        _result, segmentation = self._openedCase()
        source = {"scene": str(scene_masks.write_segmentation(segmentation, self.folder / "scene"))}
        rows = tasks.compare_files(source, source)["rows"]
        self.assertEqual({row["organ"] for row in rows}, {"liver", "spleen", "kidney_left"})
        self.assertEqual({row["dice"] for row in rows}, {1.0})
