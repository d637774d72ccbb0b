"""A slice view: the real slice logic and displayable managers, drawn offscreen."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from .render_view import SIZE, RenderView

MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
)


class SliceController:
    """The bar above a slice view."""

    __slots__ = ("_widget",)

    def __init__(self, widget: SliceWidget) -> None:
        self._widget = widget

    def fitSliceToBackground(self) -> None:
        self._widget.fitSliceToBackground()

    def setSliceVisible(self, visible: bool) -> None:
        self._widget.mrmlSliceNode().SetSliceVisible(int(visible))

    def setSliceLink(self, linked: bool) -> None:
        self._widget.mrmlSliceCompositeNode().SetLinkedControl(int(linked))

    def setVisible(self, visible: bool) -> None:
        """Show or hide the bar, which the stand-in does not draw."""


class SliceWidget:
    """What `layoutManager().sliceWidget("Red")` gives."""

    __slots__ = ("_logic", "_view")

    def __init__(self, application_logic: Any, node: Any) -> None:
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetSliceLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.SetSliceNode(node)
        self._logic.ResizeSliceNode(*SIZE)
        self._view = SliceView(self._logic)

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceController(self) -> SliceController:
        return SliceController(self)

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()

    def sliceView(self) -> SliceView:
        return self._view


class SliceView(RenderView):
    """The picture of a slice logic with everything that is drawn over it."""

    def __init__(self, logic: Any) -> None:
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(), MANAGERS, logic.GetSliceNode())
        self._logic = logic
        self._add_image()
        logic.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._connect())
        self._connect()

    def _add_layers(self) -> None:
        self._renderer.GetActiveCamera().ParallelProjectionOn()
        overlay = vtk.vtkRenderer()
        overlay.SetLayer(1)
        overlay.GetActiveCamera().ParallelProjectionOn()
        self._window.SetNumberOfLayers(2)
        self._window.AddRenderer(overlay)

    def resize(self, side: int) -> None:
        super().resize(side)
        self.mrmlSliceNode().SetDimensions(side, side, 1)  # the field of view in mm stays

    def _add_image(self) -> None:
        # In Slicer CTK's light box renderer manager shows the image; it is not in the wheel.
        self._mapper, self._actor = vtk.vtkImageMapper(), vtk.vtkActor2D()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(self._actor)

    def _connect(self) -> None:
        connection = self._logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        self._actor.SetVisibility(connection is not None)

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def convertRASToXYZ(self, ras: list[float]) -> list[float]:
        """Return view pixels and slice number of a place in RAS mm."""
        matrix = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.mrmlSliceNode().GetXYToRAS(), matrix)
        return list(matrix.MultiplyPoint((*ras, 1.0))[:3])

    def convertXYZToRAS(self, xyz: list[float]) -> list[float]:
        """Return the place in RAS mm of view pixels."""
        return list(self.mrmlSliceNode().GetXYToRAS().MultiplyPoint((*xyz, 1.0))[:3])
