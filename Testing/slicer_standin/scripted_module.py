"""`slicer.ScriptedLoadableModule`: the four base classes of a scripted module."""

from __future__ import annotations

import logging
import sys
import unittest
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util

__all__ = ["ScriptedLoadableModule", "ScriptedLoadableModuleLogic", "ScriptedLoadableModuleTest", "ScriptedLoadableModuleWidget"]


class ScriptedLoadableModule:
    """What Slicer knows of a module: its name, place in the menu, help and tests."""

    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title = parent.helpText = parent.acknowledgementText = ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []
        icons = [Path(self.resourcePath(f"Icons/{self.moduleName}{extension}")) for extension in (".svg", ".png")]
        icon = next((path for path in icons if path.is_file()), None)
        if icon is not None:
            parent.icon = qt.QIcon(str(icon))
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        """Return the path of a file in the module's Resources folder."""
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        url = slicer.app.documentationBaseUrl + docPage if docPage else slicer.app.moduleDocumentationUrl(self.moduleName)
        return f'<p>For more information see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100, **kwargs: Any) -> None:
        """Run the class <ModuleName>Test of the module's file."""
        case_class = getattr(sys.modules[type(self).__module__], self.moduleName + "Test", None)
        if case_class is None:
            message = f"Test case class not found: {type(self).__module__}.{self.moduleName}Test"
            raise AssertionError(message)
        case = case_class()
        case.messageDelay = msec
        case.runTest(**kwargs)


class ScriptedLoadableModuleWidget:
    """The panel of a module; `parent` is the Qt widget that it lies in."""

    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        self.parent = parent if parent is not None else _top_level_parent()
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        """Return the path of a file in the module's Resources folder."""
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        """Make the panel; a derived class calls this first."""
        self.setupDeveloperSection()

    def setupDeveloperSection(self) -> None:
        if not self.developerMode:
            return
        self.reloadButton = qt.QPushButton("Reload")
        self.layout.addWidget(self.reloadButton)
        self.reloadButton.connect("clicked()", self.onReload)

    def cleanup(self) -> None:
        """Called when the module is reloaded or the application quits."""

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def onReload(self) -> None:
        """Read the source again and make a new panel in the same place."""
        slicer.util.reloadScriptedModule(self.moduleName)


def _top_level_parent() -> Any:
    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    parent.setMRMLScene(slicer.mrmlScene)
    return parent


class ScriptedLoadableModuleLogic:
    """What a module does, without its panel; keeps its parameters in the scene."""

    def __init__(self, parent: Any = None) -> None:  # noqa: ARG002 - Slicer's signature
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """Return the parameter node of this module, made when there is none."""
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
            if node is not None:
                if node.GetAttribute("ModuleName") != self.moduleName:  # closing the scene takes the attribute away
                    node.SetAttribute("ModuleName", self.moduleName)
                return node
        else:
            nodes = self.getAllParameterNodes()
            if nodes:
                return nodes[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)  # the Python variable owns it
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The tests of a module that run inside Slicer."""

    messageDelay: int = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.moduleTestNames = [name for name in dir(self) if "test" in name and callable(getattr(self, name))]

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:  # noqa: ARG002
        """Log a message and let the application work; the stand-in never waits."""
        slicer.util.delayDisplay(message, 0)

    def runTest(self) -> None:
        """Run every method with `test` in its name."""
        if not self.moduleTestNames:
            logging.warning("No test is defined in %s", type(self).__name__)
        for name in self.moduleTestNames:
            self.setUp()
            getattr(self, name)()
            self.tearDown()
