"""A view drawn into an offscreen render window by Slicer's own displayable managers."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from PySide6.QtGui import QImage
from vtk.util.numpy_support import vtk_to_numpy

SIZE = (400, 400)


class RenderView:
    """A render window with a group of displayable managers."""

    def __init__(self, factory: Any, managers: tuple[str, ...], node: Any) -> None:
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._renderer, self._window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.ShowWindowOff()
        self._window.SetMultiSamples(0)  # the same pixels on every machine
        self._window.SetSize(*SIZE)
        self._window.AddRenderer(self._renderer)
        self._add_layers()
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        self._interactor.Initialize()
        register_managers(factory, managers)
        self._managers = slicer.vtkMRMLDisplayableManagerGroup()
        self._managers.Initialize(factory, self._renderer)
        self._managers.SetMRMLDisplayableNode(node)

    def _add_layers(self) -> None:
        """Add renderers that displayable managers draw into; they must be there before the managers are."""

    def renderWindow(self) -> Any:
        return self._window

    def resize(self, side: int) -> None:
        """Make the view a square of so many pixels that shows the same as before."""
        self._window.SetSize(side, side)

    def interactor(self) -> Any:
        return self._interactor

    def renderer(self) -> Any:
        return self._renderer

    def forceRender(self) -> None:
        self._window.Render()

    def scheduleRender(self) -> None:
        """Draw later: that is, when a picture is asked for."""

    def displayableManagerByClassName(self, className: str) -> Any:
        count = self._managers.GetDisplayableManagerCount()
        managers = [self._managers.GetNthDisplayableManager(index) for index in range(count)]
        return next((manager for manager in managers if manager.IsA(className)), None)


def register_managers(factory: Any, managers: tuple[str, ...]) -> None:
    """Tell a factory the displayable managers of its views, once."""
    for name in managers:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)


def pixels(window: Any) -> np.ndarray:
    """Return what a render window shows, drawn now: uint8 [row from the top, column, rgb]."""
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()


def picture(window: Any) -> QImage:
    """Return what a render window shows as an image that owns its pixels."""
    array = np.ascontiguousarray(pixels(window))
    height, width, _ = array.shape
    return QImage(array.data, width, height, width * 3, QImage.Format_RGB888).copy()
