"""Slicer module Atlas Segment: label the organs of a CT."""

from __future__ import annotations

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
            "Label the organs of a CT with one or several models. Several models give an average and, in Atlas Quality, a map of where they "
            "are probably wrong. Nothing leaves this computer."
        )
        self.parent.acknowledgementText = _("The label order and the case folders follow AbdomenAtlas.")


class AtlasSegmentWidget(ScriptedLoadableModuleWidget):
    """The panel; what it does is in AtlasSegmentLib.panel_segment."""

    def setup(self) -> None:
        """Load the panel from its .ui file and bring it to life."""
        from AtlasSegmentLib.panel_segment import SegmentPanel

        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/AtlasSegment.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
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


class AtlasSegmentLogic(ScriptedLoadableModuleLogic):
    """Calls the libraries; they are imported late, so that Slicer starts fast."""

    def labelTableNames(self) -> list[str]:
        """Return the names of the label tables that come with the extension."""
        from AtlasSegmentLib.labels import table_names

        return sorted(table_names())

    def importCase(self, folder: str, models: list[str], ct: object = None) -> list[object]:
        """Import what a case folder has of these models; return the segmentation nodes, that to be shown first."""
        from pathlib import Path

        from AtlasSegmentLib.case_folder import open_case
        from AtlasSegmentLib.scene_results import import_results

        return [imported.node for imported in import_results(open_case(Path(folder)), models, ct)]


class AtlasSegmentTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer: the libraries and shared files are where an installed extension has them."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()
