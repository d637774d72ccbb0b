"""Widgets that know the scene: qMRMLWidget and the base of all other qMRML widgets."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QWidget

from .observers import Observers
from .qt_loader import register


class SceneAware:
    """The scene of a widget; a class that mixes this in has the signal mrmlSceneChanged and may override `_scene_set`."""

    _scene: object = None

    def mrmlScene(self) -> object:
        return self._scene

    def setMRMLScene(self, scene: object) -> None:
        if scene is self._scene:
            return
        self._scene = scene
        self._scene_set(scene)
        self.mrmlSceneChanged.emit(scene)

    def _scene_set(self, scene: object) -> None:
        """Observe the new scene, or none."""


class SceneWidget(SceneAware, QWidget):
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._observers = Observers(self)


@register
class qMRMLWidget(SceneWidget):
    pass


@register
class qSlicerWidget(SceneWidget):
    pass
