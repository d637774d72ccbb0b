"""Counts of what a module may leave behind: nodes, observers, windows, shortcuts, timers and child processes."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import gc
import importlib.util
from collections.abc import Mapping
from typing import Any

import shiboken6
import slicer
import slicer.util
from PySide6.QtCore import QCoreApplication, QEvent, QObject, QTimer
from PySide6.QtGui import QShortcut
from PySide6.QtWidgets import QApplication

from .scripted_module import ScriptedLoadableModuleLogic, ScriptedLoadableModuleWidget


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Counts at one moment; two of them compare equal when nothing was left behind.

    VTK does not tell who observes a node. But an observer that is a method of a panel keeps the panel alive, and the panels that are
    alive are counted here: widgets and logics of modules and objects of
    classes from panel_*.py. Drop your own references before you count.
    """

    nodes: Mapping[str, int]
    scene_observers: int
    view_observers: int
    panels: Mapping[str, int]
    windows: tuple[str, ...]
    shortcuts: int
    timers: int
    processes: int

    def grown(self, before: Snapshot) -> dict[str, Any]:
        """Return what there is now beyond what was there before; {} when there is nothing more."""
        more = {
            "nodes": dict(collections.Counter(self.nodes) - collections.Counter(before.nodes)),
            "panels": dict(collections.Counter(self.panels) - collections.Counter(before.panels)),
            "windows": list((collections.Counter(self.windows) - collections.Counter(before.windows)).elements()),
        }
        for name in ("scene_observers", "view_observers", "shortcuts", "timers", "processes"):
            more[name] = max(getattr(self, name) - getattr(before, name), 0)
        return {name: value for name, value in more.items() if value}


def snapshot() -> Snapshot:
    """Count now, after deferred deletions and garbage collection."""
    settle()
    objects = [item for item in gc.get_objects() if issubclass(type(item), QObject) and shiboken6.isValid(item)]
    window = slicer.util.mainWindow()
    owned = [*window.findChildren(QObject), *objects] if window is not None else objects
    alive = {shiboken6.getCppPointer(item)[0]: item for item in owned}.values()
    return Snapshot(
        nodes=collections.Counter(node.GetClassName() for node in slicer.util.getNodesByClass("vtkMRMLNode")),
        scene_observers=_observers([slicer.mrmlScene]),
        view_observers=_observers(_interactors()),
        panels=collections.Counter(type(item).__name__ for item in gc.get_objects() if _is_panel(type(item))),
        windows=tuple(sorted(type(widget).__name__ for widget in QApplication.topLevelWidgets())),
        shortcuts=sum(isinstance(item, QShortcut) for item in alive),
        timers=sum(isinstance(item, QTimer) and item.active for item in alive),
        processes=_processes(),
    )


def settle() -> None:
    """Let Qt delete what was asked to be deleted later, and Python collect what nobody holds."""
    gc.collect()
    QCoreApplication.sendPostedEvents(None, QEvent.DeferredDelete)
    QCoreApplication.processEvents()
    gc.collect()


def _is_panel(kind: type) -> bool:
    if issubclass(kind, ScriptedLoadableModuleLogic | ScriptedLoadableModuleWidget):
        return True
    return ".panel_" in str(getattr(kind, "__module__", ""))


def _observers(subjects: list[Any]) -> int:
    return sum(str(subject).count("vtkObserver (") for subject in subjects)


def _interactors() -> list[Any]:
    layout = slicer.app.layoutManager()
    views = [layout.sliceWidget(name).sliceView() for name in layout.sliceViewNames()]
    return [view.interactor() for view in views]


def _processes() -> int:
    if importlib.util.find_spec("psutil") is None:
        return 0
    import psutil

    count = 0
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            count += child.status() != psutil.STATUS_ZOMBIE
    return count
