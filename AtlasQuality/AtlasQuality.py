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
        scored: Masks whose quality is predicted: "case", those of its folder, or "scene", as they are here.
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
    scored: str = "case"


class AtlasQualityWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel; its parts are in AtlasQualityLib.panel_*."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: AtlasQualityLogic | None = None
        self._parameterNode: Any = None
        self._guiTag: Any = None
        self._shownSegmentation: Any = None
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
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodeRemoved)
        self.initializeParameterNode()

    def _makeParts(self) -> None:
        from AtlasQualityLib.panel_case import CasePanel
        from AtlasQualityLib.panel_compare import ComparePanel
        from AtlasQualityLib.panel_organs import OrgansPanel
        from AtlasQualityLib.panel_overlay import OverlayPanel
        from AtlasQualityLib.panel_quality import QualityPanel
        from AtlasQualityLib.panel_spots import SpotsPanel
        from AtlasQualityLib.work_folders import WorkFolders
        from AtlasSegmentLib.panel_shortcuts import PanelShortcuts

        self._folders = WorkFolders(Path(slicer.app.temporaryPath))
        self._organs = OrgansPanel(self.ui.organsTable, self._onOrganChosen)
        self._overlay = OverlayPanel(self.ui, self._onMapOfOrgan)
        self._spots = SpotsPanel(self.ui, self._onSpotChosen)
        self._quality = QualityPanel(self.ui, self._folders.make, self._organs)
        self._case = CasePanel(self.ui, self._folders.make, self._onResult)
        self._compare = ComparePanel(self.ui, self._folders.make)
        self._shortcuts = PanelShortcuts()
        self._shortcuts.bind("H", self.ui.showOverlayButton)
        self._shortcuts.bind(".", self.ui.thresholdUpButton, repeat=True)
        self._shortcuts.bind(",", self.ui.thresholdDownButton, repeat=True)
        self._shortcuts.bind("N", self.ui.nextSpotButton, repeat=True)
        self._shortcuts.bind("Shift+N", self.ui.previousSpotButton, repeat=True)
        self._shortcuts.bind("J", self.ui.worstSliceButton)
        self._shortcuts.bindCall("Shift+J", self._quality.slices.worst.previous)

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
        for part in (self._compare, self._quality, self._case, self._organs):
            part.cleanup()
        self.removeObservers()
        self._folders.remove()

    def onSceneStartClose(self, _caller: Any, _event: Any) -> None:
        """Stop what works on nodes that are about to go."""
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
        old = self._parameterNode
        if old is not None and parameterNode is not None and parameterNode.parameterNode is old.parameterNode:
            return
        if old is not None:
            old.disconnectGui(self._guiTag)
            self.removeObserver(old.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
        self._parameterNode = parameterNode
        for part in (self._case, self._overlay, self._compare, self._quality):
            part.setParameterNode(parameterNode)
        self._showTables(None)
        if parameterNode is not None:
            from AtlasSegmentLib.panel_parameters import connectWidgets

            self._guiTag = connectWidgets(parameterNode, self.ui)
            self.addObserver(parameterNode.parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParametersChanged)
            self._onParametersChanged()

    def _onParametersChanged(self, _caller: Any = None, _event: Any = None) -> None:
        if self._parameterNode is None:
            return
        segmentation = self._parameterNode.segmentation
        if segmentation is not None and not slicer.mrmlScene.IsNodePresent(segmentation):
            self._parameterNode.segmentation = None  # it was deleted; this method is called again
            return
        if segmentation is not self._shownSegmentation:
            self._showTables(self._case.result)
        for part in (self._case, self._overlay, self._compare, self._quality):
            part.update()

    def _onResult(self, result: ReviewResult | None) -> None:
        """Show what is in the case of the chosen segmentation."""
        self._overlay.setResult(result)
        self._showTables(result)

    def _showTables(self, result: ReviewResult | None) -> None:
        parameters = self._parameterNode
        self._shownSegmentation = parameters.segmentation if parameters is not None else None
        self._organs.show(self._shownSegmentation, result)
        self._quality.show(self._shownSegmentation, result)
        self._spots.show(result.spots if result is not None else [])
        if parameters is not None and parameters.organ:
            self._organs.select(parameters.organ)

    def _onOrganChosen(self, organ: str, segmentId: str) -> None:
        self._parameterNode.organ = organ
        self._quality.choose(self._organs.structureOf(organ, segmentId))

    def _onMapOfOrgan(self, organ: str) -> None:
        self._organs.select(organ)
        if organ:
            from AtlasSegmentLib.labels import structure_for

            self._quality.choose(structure_for(organ).name)

    def _onSpotChosen(self, spot: HotSpot) -> None:
        if self._parameterNode.organ:
            self._parameterNode.organ = spot.organ
            self._onMapOfOrgan(spot.organ)
        self.logic.jumpTo(spot.center, self._parameterNode.segmentation)


class AtlasQualityLogic(ScriptedLoadableModuleLogic):
    """What the module does without a widget; the libraries are imported late, so that Slicer starts fast."""

    def getParameterNode(self) -> AtlasQualityParameterNode:
        """Return the parameter node of the scene."""
        return AtlasQualityParameterNode(super().getParameterNode())

    def jumpTo(self, center: tuple[float, float, float], segmentation: Any | None) -> None:
        """Bring all views to a position of the case, RAS mm, where its segmentation stands now."""
        from AtlasQualityLib.scene_masks import to_world
        from AtlasSegmentLib.scene import jump_to

        jump_to(to_world(segmentation, center) if segmentation is not None else center)


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
        for test in (self.test_errorsAreFoundAndShown, self.test_aSegmentationAgreesWithItself, self.test_theViewsGoToASliceOfAMask):
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

    def test_theViewsGoToASliceOfAMask(self) -> None:
        """The place in a slice of the liver is in the liver, and one above it is above it."""
        from AtlasQualityLib.scene_slice_place import place_in_slice
        from AtlasSegmentLib.scene import jump_to

        _result, segmentation = self._openedCase()
        inside, above = place_in_slice(segmentation, "liver", 20), place_in_slice(segmentation, "liver", 39)
        self.assertAlmostEqual(above[2] - inside[2], 19 * 3.0, places=3)
        jump_to(inside)
        red = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode")
        self.assertAlmostEqual(red.GetSliceOffset(), inside[2], places=3)
