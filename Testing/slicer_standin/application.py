"""slicer.app, and the names that the running application adds to the package `slicer` of the slicer-core wheel."""

from __future__ import annotations

import atexit
import importlib
import os
import shutil
import tempfile
import types
from typing import Any

import qt
import slicer
import slicer.util
from PySide6.QtCore import Property, QSettings, Signal

from . import application_logic, file_io, layout, main_window, module_manager, slicer_modules, subject_hierarchy

DEFAULT_VERSION = (5, 12)


class qSlicerApplication(qt.QApplication):
    startupCompleted = Signal()
    mrmlSceneChanged = Signal(object)

    def __init__(self, version: tuple[int, int]) -> None:
        super().__init__(["Slicer"])
        self.setApplicationName("Slicer")
        self.setOrganizationName("slicer.org")
        self._temporary = tempfile.mkdtemp(prefix="Slicer-standin-")
        atexit.register(shutil.rmtree, self._temporary, ignore_errors=True)
        # Never the user's own settings.
        QSettings.setPath(QSettings.IniFormat, QSettings.UserScope, os.path.join(self._temporary, "settings"))  # noqa: PTH118
        QSettings.setDefaultFormat(QSettings.IniFormat)
        self._version, self._testing = version, False
        self._modules = module_manager.qSlicerModuleManager()
        self._io = file_io.qSlicerCoreIOManager()
        self._scene = slicer.mrmlScene
        self._logic: Any = None
        self._layout: Any = None

    majorVersion = Property(int, lambda self: self._version[0])
    minorVersion = Property(int, lambda self: self._version[1])
    revision = Property(str, lambda _: "33241")
    releaseType = Property(str, lambda _: "Stable")
    temporaryPath = Property(str, lambda self: self._temporary)
    slicerHome = Property(str, lambda self: self._temporary)
    documentationBaseUrl = Property(str, lambda _: "https://slicer.readthedocs.io/en/latest/")

    def mrmlScene(self) -> Any:
        return self._scene

    def applicationLogic(self) -> Any:
        return self._logic

    def moduleManager(self) -> Any:
        return self._modules

    def coreIOManager(self) -> Any:
        return self._io

    def ioManager(self) -> Any:
        return self._io

    def layoutManager(self) -> Any:
        return self._layout

    def mainWindow(self) -> Any:
        return slicer.util.mainWindow()

    def moduleLogic(self, name: str) -> Any:
        return self._modules.module(name).logic()

    def settings(self) -> QSettings:
        return QSettings()

    def userSettings(self) -> QSettings:
        return QSettings()

    def revisionUserSettings(self) -> QSettings:
        return QSettings()

    def translate(self, context: str, text: str) -> str:
        return importlib.import_module("slicer.i18n").translate(context, text)

    def testingEnabled(self) -> bool:
        return self._testing

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def pauseRender(self) -> None:
        """Views are drawn when a picture is asked for: there is nothing to hold back."""

    def resumeRender(self) -> None:
        """Nothing was held back."""

    def setRenderPaused(self, pause: bool) -> None:
        """See pauseRender."""

    def startupEnvironment(self) -> dict[str, str]:
        return dict(os.environ)

    def extensionsManagerModel(self) -> Any:
        return None

    def restart(self) -> None:
        message = "slicer.app.restart() was called"
        raise SystemExit(message)


def install_slicer(version: tuple[int, int] = DEFAULT_VERSION) -> qSlicerApplication:
    """Make `slicer` the running application: app, mrmlScene, modules, qMRML widgets. Calling it again returns the same application."""
    running = getattr(slicer, "app", None)
    if running is not None:
        return running
    slicer.mrmlScene = slicer.vtkMRMLScene()
    slicer.modules, slicer.moduleNames = types.ModuleType("slicer.modules"), types.ModuleType("slicer.moduleNames")
    slicer.selfTests = {}
    slicer_modules.install_widgets()
    app = slicer.app = qSlicerApplication(version)
    slicer_modules.install_python_modules(version)
    app._logic = application_logic.create(slicer.mrmlScene, app._temporary)
    subject_hierarchy.install(slicer.mrmlScene)
    for name, logic in application_logic.module_logics(app._logic, slicer.mrmlScene).items():
        module_manager.add_core_module(app._modules, name, logic)
    app._layout = layout.qSlicerLayoutManager(app._logic)
    main_window.create()
    return app


def complete_startup() -> None:
    """Tell the modules loaded since the last call, once, that Slicer is ready (in Slicer all modules are loaded before that)."""
    slicer.app.startupCompleted.emit()
    slicer.app.disconnect("startupCompleted()")


def set_testing(enabled: bool) -> None:
    """Let slicer.app.testingEnabled() answer this (Slicer: the command-line option --testing)."""
    slicer.app._testing = enabled


def set_version(version: tuple[int, int]) -> None:
    """Be this version of Slicer from now on: it decides whether slicer.packaging can be imported."""
    slicer.app._version = version
    slicer_modules.install_python_modules(version)
