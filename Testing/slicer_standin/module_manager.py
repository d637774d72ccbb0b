"""slicer.app.moduleManager(): the modules that are loaded, and loading our own from their folders."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import qt
import shiboken6
import slicer
from PySide6.QtCore import Signal

from .core_module import CoreModule
from .loaded_module import qSlicerScriptedLoadableModule

Module = CoreModule | qSlicerScriptedLoadableModule
_hidden: dict[str, types.ModuleType | None] = {}


class _FactoryManager:
    """What `moduleManager().factoryManager()` gives."""

    __slots__ = ("_manager",)

    def __init__(self, manager: qSlicerModuleManager) -> None:
        self._manager = manager

    def loadedModuleNames(self) -> list[str]:
        return self._manager.modulesNames()

    def isLoaded(self, name: str) -> bool:
        return name in self._manager.modulesNames()

    def loadModules(self, names: list[str]) -> bool:
        return all(name in self._manager.modulesNames() for name in names)


class qSlicerModuleManager(qt.QObject):
    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)
    moduleUnloaded = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, Module] = {}

    def module(self, name: str) -> Module | None:
        return self._modules.get(name)

    def modulesNames(self) -> list[str]:
        return list(self._modules)

    def factoryManager(self) -> _FactoryManager:
        return _FactoryManager(self)

    def _add(self, module: Module) -> None:
        self._modules[module.name] = module
        setattr(slicer.modules, module.name.lower(), module)
        setattr(slicer.moduleNames, module.name, module.name)
        self.moduleLoaded.emit(module.name)


def add_core_module(manager: qSlicerModuleManager, name: str, logic: object) -> None:
    """Make one of Slicer's own modules known under slicer.modules.<lower case name>."""
    manager._add(CoreModule(name, logic))


def load_module(manager: qSlicerModuleManager, file: Path) -> qSlicerScriptedLoadableModule:
    """Load a scripted module from its .py file as Slicer does at start; a module that is loaded already is returned."""
    known = manager.module(file.stem)
    if known is not None:
        return known
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    source = _load_source(file)
    module = qSlicerScriptedLoadableModule(file)
    module._python = getattr(source, file.stem)(module)
    setattr(slicer.modules, file.stem + "Instance", module._python)
    manager._add(module)
    if hasattr(module._python, "setup"):
        module._python.setup()
    return module


def _load_source(file: Path) -> types.ModuleType:
    """Load a file as the module of its name, whatever there is under that name (a test runner makes a package of the folder)."""
    specification = importlib.util.spec_from_file_location(file.stem, file)
    source = importlib.util.module_from_spec(specification)
    hidden = sys.modules.get(file.stem)
    sys.modules[file.stem] = source
    try:
        specification.loader.exec_module(source)
    except BaseException:
        _put_back(file.stem, hidden)
        raise
    _hidden[file.stem] = hidden
    return source


def _put_back(name: str, hidden: types.ModuleType | None) -> None:
    sys.modules.pop(name, None)
    if hidden is not None:
        sys.modules[name] = hidden


def unload_module(manager: qSlicerModuleManager, name: str) -> None:
    """Take a module away as Slicer does when it quits: cleanup, then its panel is deleted."""
    module = manager._modules.pop(name)
    destroy_panel(manager, module)
    for attribute in (name.lower(), name + "Instance"):
        delattr(slicer.modules, attribute)
    delattr(slicer.moduleNames, name)
    slicer.selfTests.pop(name, None)
    _put_back(name, _hidden.pop(name, None))
    manager.moduleUnloaded.emit(name)


def destroy_panel(manager: qSlicerModuleManager, module: qSlicerScriptedLoadableModule) -> None:
    """Clean up and delete the panel of a module that was left; the next use makes a new one."""
    widget = module._widget
    if widget is None:
        return
    if shiboken6.isValid(widget):
        manager.moduleAboutToBeUnloaded.emit(module.name)
        shiboken6.delete(widget)
    module._widget = None
    if hasattr(slicer.modules, module.name + "Widget"):
        delattr(slicer.modules, module.name + "Widget")
