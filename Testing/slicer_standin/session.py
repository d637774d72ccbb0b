"""Between two tests: an application as if it had just been started."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import shiboken6
import slicer
import slicer.util
from PySide6.QtCore import QSettings
from PySide6.QtGui import QShortcut
from PySide6.QtWidgets import QApplication

from . import application, dialogs, installer, leaks, module_manager, sample_data, translation
from .loaded_module import qSlicerScriptedLoadableModule

KEPT = ("vtkMRMLCameraNode", "vtkMRMLAbstractViewNode")
_first_nodes: set[str] = set()
_first_attributes: set[str] = set()
_first_files: set[Path] = set()


def reset() -> None:
    """Close modules, windows and scene, and forget what the last test has set."""
    close_modules()
    _close_windows()
    for shortcut in slicer.util.mainWindow().findChildren(QShortcut):
        shiboken6.delete(shortcut)
    clear_scene()
    QSettings().clear()
    application.set_testing(False)
    application.set_version(application.DEFAULT_VERSION)
    installer.recorder.reset()
    sample_data.files.clear()
    sample_data.requested.clear()
    _forget_what_modules_left()
    translation.set_translations({})
    dialogs.answers.clear()
    leaks.settle()


def open_module(folder: Path) -> Any:
    """Load the module of a folder (as an additional module path does), open its panel and return the Python widget."""
    module = module_manager.load_module(slicer.app.moduleManager(), folder / f"{folder.name}.py")
    application.complete_startup()
    slicer.util.selectModule(module.name)
    return module.widgetRepresentation().self()


def close_modules() -> None:
    """Leave the open module and unload all scripted ones, as when Slicer quits."""
    slicer.util.moduleSelector().selectModule("")
    manager = slicer.app.moduleManager()
    for name in manager.modulesNames():
        if isinstance(manager.module(name), qSlicerScriptedLoadableModule):
            module_manager.unload_module(manager, name)


def clear_scene() -> None:
    """Close the scene and take away the singleton nodes that Slicer would keep, so that no test sees another one's."""
    scene = slicer.mrmlScene = slicer.app.mrmlScene()
    if not _first_nodes:
        _first_nodes.update(node.GetID() for node in slicer.util.getNodesByClass("vtkMRMLNode"))
    scene.Clear(False)
    for node in slicer.util.getNodesByClass("vtkMRMLNode"):
        if node.GetID() not in _first_nodes and not any(node.IsA(kind) for kind in KEPT):
            scene.RemoveNode(node)
    layout = slicer.app.layoutManager()
    layout.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)


def _forget_what_modules_left() -> None:
    """Take away what modules have put into slicer.modules (sample data, the folder of their session) and into the temporary folder."""
    folder = Path(slicer.app.temporaryPath)
    if not _first_attributes:
        _first_attributes.update(vars(slicer.modules))
        _first_files.update(folder.iterdir())
    for name in set(vars(slicer.modules)) - _first_attributes:
        delattr(slicer.modules, name)
    for left in set(folder.iterdir()) - _first_files - {folder / "settings"}:
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _close_windows() -> None:
    for widget in QApplication.topLevelWidgets():
        if widget is not slicer.util.mainWindow():
            widget.close()
            widget.deleteLater()
