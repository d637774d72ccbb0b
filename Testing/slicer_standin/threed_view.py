"""A 3D view: the real view logic, camera node and displayable managers, drawn offscreen."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from .render_view import RenderView

MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)
AXES = ("Left", "Right", "Posterior", "Anterior", "Inferior", "Superior")


class ThreeDController:
    """The bar above a 3D view."""

    __slots__ = ("_view",)

    def __init__(self, view: ThreeDView) -> None:
        self._view = view

    def resetFocalPoint(self) -> None:
        self._view.resetFocalPoint()

    def setVisible(self, visible: bool) -> None:
        """Show or hide the bar, which the stand-in does not draw."""


class ThreeDWidget:
    """What `layoutManager().threeDWidget(0)` gives."""

    __slots__ = ("_logic", "_view")

    def __init__(self, application_logic: Any, node: Any) -> None:
        self._logic = slicer.vtkMRMLViewLogic()
        self._logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetViewLogics().AddItem(self._logic)
        self._logic.SetName(node.GetLayoutName())
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._view = ThreeDView(self._logic)  # at once: its camera manager makes the camera node

    def viewLogic(self) -> Any:
        return self._logic

    def mrmlViewNode(self) -> Any:
        return self._logic.GetViewNode()

    def threeDView(self) -> ThreeDView:
        return self._view

    def threeDController(self) -> ThreeDController:
        return ThreeDController(self._view)


class ThreeDView(RenderView):
    """The picture of a view node."""

    def __init__(self, logic: Any) -> None:
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(), MANAGERS, logic.GetViewNode())
        self._logic = logic

    def mrmlViewNode(self) -> Any:
        return self._logic.GetViewNode()

    def cameraNode(self) -> Any:
        return slicer.modules.cameras.logic().GetViewActiveCameraNode(self.mrmlViewNode())

    def resetCamera(self, resetRotation: bool = True, resetTranslation: bool = True, resetDistance: bool = True) -> None:
        """Turn to the front and fit everything that is shown."""
        self.cameraNode().Reset(resetRotation, resetTranslation, resetDistance, self._renderer)

    def resetFocalPoint(self) -> None:
        """Look at the middle of everything that is shown, from where the camera is."""
        bounds = self._visible_bounds()
        if vtk.vtkMath.AreBoundsInitialized(bounds):
            self.cameraNode().SetFocalPoint([(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)])

    def _visible_bounds(self) -> list[float]:
        node = self.mrmlViewNode()
        box, labels = node.GetBoxVisible(), node.GetAxisLabelsVisible()
        node.SetBoxVisible(0)
        node.SetAxisLabelsVisible(0)
        self._window.Render()
        bounds = list(self._renderer.ComputeVisiblePropBounds())
        node.SetBoxVisible(box)
        node.SetAxisLabelsVisible(labels)
        return bounds

    def rotateToViewAxis(self, axis: int) -> None:
        """Look from -X, +X, -Y, +Y, -Z or +Z (0 to 5)."""
        self.cameraNode().RotateTo(getattr(slicer.vtkMRMLCameraNode, AXES[axis]))
