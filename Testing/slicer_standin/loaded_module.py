"""A scripted module as the application holds it, and the widget that its panel lies in."""

from __future__ import annotations

import sys
from pathlib import Path

import qt
import shiboken6
import slicer
from PySide6.QtCore import Property

from .mrml_widget import SceneWidget
from .qt_loader import register


class qSlicerScriptedLoadableModule:
    """The `parent` of a ScriptedLoadableModule; names that Slicer's class does not have are refused."""

    _FIELDS = frozenset(
        {"title", "categories", "dependencies", "contributors", "helpText", "acknowledgementText", "icon", "hidden", "index"}
        | {"associatedNodeTypes", "widgetRepresentationCreationEnabled", "path", "name", "isLoaded", "defaultDocumentationLink"}
    )

    def __init__(self, path: Path) -> None:
        self.path, self.name, self.isLoaded = str(path), path.stem, True
        self.title = self.helpText = self.acknowledgementText = self.defaultDocumentationLink = ""
        self.categories, self.dependencies, self.contributors, self.associatedNodeTypes = [], [], [], []
        self.icon, self.hidden, self.index, self.widgetRepresentationCreationEnabled = qt.QIcon(), False, -1, True
        self._python: object = None
        self._widget: qSlicerScriptedLoadableModuleWidget | None = None
        self._logic = slicer.vtkSlicerScriptedLoadableModuleLogic()

    def __setattr__(self, name: str, value: object) -> None:
        if name not in self._FIELDS and not name.startswith("_"):
            message = f"qSlicerScriptedLoadableModule has no attribute '{name}'"
            raise AttributeError(message)
        object.__setattr__(self, name, value)

    def self(self) -> object:
        """Return the Python object of the module."""
        return self._python

    def logic(self) -> object:
        return self._logic

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        """Return the module's panel, made at the first call."""
        if self._widget is None or not shiboken6.isValid(self._widget):
            self._widget = self.createNewWidgetRepresentation()
            setattr(slicer.modules, self.name + "Widget", self._widget.self())
        return self._widget

    def createNewWidgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        widget = qSlicerScriptedLoadableModuleWidget()
        widget.setModule(self)
        widget.setMRMLScene(slicer.mrmlScene)
        widget.create()
        return widget


@register
class qSlicerScriptedLoadableModuleWidget(SceneWidget):
    """The `parent` of a ScriptedLoadableModuleWidget."""

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        qt.QVBoxLayout(self)
        self._module: qSlicerScriptedLoadableModule | None = None
        self._python: object = None
        self._entered = False

    def setModule(self, module: qSlicerScriptedLoadableModule) -> None:
        self._module = module

    def create(self) -> None:
        """Make the Python widget of the module's class and set it up."""
        name = self._module.name
        self._python = getattr(sys.modules[name], name + "Widget")(self)
        self._python.setup()

    def reload(self) -> None:
        """Make the Python widget again from the reloaded source; like Slicer this does not enter it."""
        name = self._module.name
        self.create()
        setattr(slicer.modules, name + "Widget", self._python)

    def self(self) -> object:
        """Return the Python widget object."""
        return self._python

    isEntered = Property(bool, lambda self: self._entered)

    def enter(self) -> None:
        self._entered = True
        if hasattr(self._python, "enter"):
            self._python.enter()

    def exit(self) -> None:
        self._entered = False
        if hasattr(self._python, "exit"):
            self._python.exit()

    def setEditedNode(self, node: object, role: str = "", context: str = "") -> bool:
        edit = getattr(self._python, "setEditedNode", None)
        return bool(edit(node, role, context)) if edit is not None else False
