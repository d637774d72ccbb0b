"""Slicer module Atlas Quality: show where labels are probably wrong."""

from __future__ import annotations

import importlib.util

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


class AtlasQuality(ScriptedLoadableModule):
    """What Slicer lists about this module."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Atlas Quality")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["Atlas Annotator contributors"]
        self.parent.helpText = _("Show where organ labels are probably wrong, and rank what to correct first.")
        self.parent.acknowledgementText = _("The label order and the case folders follow AbdomenAtlas.")


class AtlasQualityWidget(ScriptedLoadableModuleWidget):
    """The panel: for now one sentence that says which command does the job."""

    def setup(self) -> None:
        """Load the panel from its .ui file."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/AtlasQuality.ui"))
        self.layout.addWidget(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = AtlasQualityLogic()


class AtlasQualityLogic(ScriptedLoadableModuleLogic):
    """Calls the libraries; they are imported late, so that Slicer starts fast."""

    def attentionThresholds(self) -> dict[str, float]:
        """Return the standard deviation and the mean entropy above which the AbdomenAtlas rule marks a voxel."""
        from AtlasQualityLib import attention_rule

        return {
            "inconsistency": attention_rule.INCONSISTENCY_THRESHOLD,
            "uncertainty": attention_rule.UNCERTAINTY_THRESHOLD,
        }


class AtlasQualityTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer: the libraries and shared files are where an installed extension has them."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run every test of this module (Reload and Test)."""
        self.setUp()
        self.test_ruleIsThatOfAbdomenAtlas()

    def test_ruleIsThatOfAbdomenAtlas(self) -> None:
        """The library is importable and carries the documented numbers."""
        if importlib.util.find_spec("nibabel") is None:
            self.skipTest("the library needs nibabel, which this Slicer has not installed")
        self.assertEqual(AtlasQualityLogic().attentionThresholds(), {"inconsistency": 0.1, "uncertainty": 0.05})
