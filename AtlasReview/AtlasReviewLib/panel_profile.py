"""The slice profile in the panel: for each slice view a strip that shows where the attention is, follows the view, and leads it there."""

from __future__ import annotations

from typing import Any

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from AtlasReviewLib import panel_profile_picture as picture
from AtlasReviewLib.panel_carry import CarryPanel
from AtlasReviewLib.panel_task import TaskPanel
from AtlasReviewLib.scene_mask import grid_in_scene
from AtlasReviewLib.slice_carry import slice_points
from AtlasReviewLib.slice_profile import SliceProfile, slice_profile
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.scene import matrix_of

VIEWS = {"Red": (243, 74, 51), "Yellow": (237, 213, 76), "Green": (110, 176, 75)}
"""Slice views that get a strip, with Slicer's colors of them."""
_SAME_WAY = 0.9
_TAILS = 0.01


class _Mouse(qt.QObject):  # type: ignore[misc]  # Qt has no types here
    """Tells where a strip is pressed or dragged, and when its size changes; events go on to where they were going."""

    def __init__(self, onColumn: Any, onResize: Any) -> None:
        qt.QObject.__init__(self)
        self._onColumn, self._onResize = onColumn, onResize

    def eventFilter(self, _receiver: Any, event: Any) -> bool:
        kind = event.type()
        if kind == qt.QEvent.Resize:
            self._onResize()
        elif kind == qt.QEvent.MouseButtonPress or (kind == qt.QEvent.MouseMove and event.buttons() & qt.Qt.LeftButton):
            place = event.position() if hasattr(event, "position") else event.pos()  # Qt 6 and Qt 5
            self._onColumn(int(place.x()))
        return False


class _Strip:
    """The strip of one slice view.

    Args:
        view: Name of the view, such as "Red".
        label: QLabel with the picture.
        text: QLabel with what the slice of the view holds.
    """

    def __init__(self, view: str, label: Any, text: Any) -> None:
        self.view, self.label, self._text = view, label, text
        self.profile: SliceProfile | None = None
        self.corrected: tuple[float, ...] = ()
        self._base: Any = None
        self._mouse = _Mouse(self._go, self.repaint)
        label.installEventFilter(self._mouse)

    @property
    def node(self) -> Any:
        """The slice node, or None."""
        return slicer.mrmlScene.GetSingletonNode(self.view, "vtkMRMLSliceNode")

    def normal(self) -> tuple[float, float, float]:
        """Return the direction across the view's slices, RAS."""
        column = matrix_of(self.node.GetSliceToRAS())[:3, 2]
        return (float(column[0]), float(column[1]), float(column[2]))

    def repaint(self) -> None:
        """Draw the bars anew, and the place of the view over them."""
        self._base = None if self.profile is None else picture.base_picture(self.profile, max(self.label.width, 1), self.corrected)
        self.follow()

    def follow(self) -> None:
        """Draw where the view is."""
        node = self.node
        if self.profile is None or self._base is None or node is None:
            self.label.clear()
            self._text.setText("")
            return
        offset = float(node.GetSliceOffset())
        self.label.setPixmap(picture.with_view(self._base, self.profile, offset, VIEWS[self.view]))
        index = self.profile.index_at(offset)
        area = float(self.profile.values[index]) / 100 if index >= 0 else 0.0
        self._text.setText(_("{direction}: {area:.1f} cm\u00b2").format(direction=_directionText(str(node.GetOrientation())), area=area))

    def _go(self, column: int) -> None:
        offset = None if self.profile is None else picture.offset_at(self.profile, column, self.label.width)
        if offset is not None and self.node is not None:
            self.node.SetSliceOffset(offset)

    def cleanup(self) -> None:
        """Let go of the label."""
        self.label.removeEventFilter(self._mouse)
        self.profile = self._base = None


def _directionText(orientation: str) -> str:
    names = {"Axial": _("Axial"), "Sagittal": _("Sagittal"), "Coronal": _("Coronal")}
    return names.get(orientation, _("Oblique"))


class ProfilePanel(VTKObservationMixin):
    """The strips of all slice views.

    Args:
        ui: The widgets of the panel.
        task: The open task.
        carry: Knows which slices were corrected.
    """

    def __init__(self, ui: Any, task: TaskPanel, carry: CarryPanel) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self._task, self._carry = ui, task, carry
        labels = [(ui.profileRedLabel, ui.profileRedText), (ui.profileYellowLabel, ui.profileYellowText)]
        labels.append((ui.profileGreenLabel, ui.profileGreenText))
        self.strips = [_Strip(view, *pair) for view, pair in zip(VIEWS, labels, strict=True)]
        self._session: Any = None
        self._stamps: tuple[Any, Any] = (None, None)
        self._observed: list[Any] = []
        self.update()

    def update(self) -> None:
        """Show the profile of the task that is open now."""
        if self._task.session is self._session:
            return
        self._session, self._stamps = self._task.session, (self._task.stamp, self._task.stamp)
        self._observe()
        for strip in self.strips:
            strip.profile, strip.corrected = None, ()
            self._make(strip)
        weights = self._session.loaded.weights if self._session is not None else None
        self.ui.profileFrame.setVisible(weights is not None)
        if weights is not None:
            calibrated = weights.kind == "expected_error"
            self.ui.profileNoteLabel.setText(_("Expected error of each slice") if calibrated else _("Attention of each slice"))

    def _observe(self) -> None:
        self.removeObservers()
        if self._session is not None:
            for strip in self.strips:
                if strip.node is not None:
                    self.addObserver(strip.node, vtk.vtkCommand.ModifiedEvent, self._onViewModified)

    def _make(self, strip: _Strip) -> None:
        """Sum the map along the direction of a view."""
        session, nodes = self._session, self._task.nodes
        if session is not None and nodes is not None and strip.node is not None and session.loaded.weights is not None:
            loaded = session.loaded
            affine = grid_in_scene(nodes, loaded.grid).affine
            strip.profile = slice_profile(loaded.weights, strip.normal(), loaded.hot_spots, loaded.baseline.mask, affine, _TAILS)
        strip.repaint()

    def _onViewModified(self, node: Any, _event: Any) -> None:
        for strip in self.strips:
            if strip.profile is not None and strip.node is node:
                if np.allclose(strip.normal(), strip.profile.direction, atol=1e-6):
                    strip.follow()
                else:
                    self._make(strip)

    def tick(self) -> None:
        """Once a second: mark the corrected slices anew when the mask was changed and no stroke is being made."""
        before, shown = self._stamps
        now = self._task.stamp
        self._stamps = (now, shown)
        if self._session is not None and self._session is self._task.session and now == before and now != shown:
            self._stamps = (now, now)
            self.markCorrected()

    def markCorrected(self) -> None:
        """Mark the slices that the reader corrected, in the views that cut along them."""
        try:
            found = self._carry.corrected()
        except AtlasError:  # the nodes were moved or removed; the panel says so where it matters
            found = None
        loaded, nodes = self._session.loaded, self._task.nodes
        for strip in self.strips:
            marks: tuple[float, ...] = ()
            if found is not None and strip.profile is not None and nodes is not None:
                normal = np.asarray(strip.profile.direction)
                points, across = slice_points(grid_in_scene(nodes, loaded.grid), *found)
                marks = tuple(float(x) for x in points @ normal) if abs(float(across @ normal)) > _SAME_WAY else ()
            if marks != strip.corrected:
                strip.corrected = marks
                strip.repaint()

    def cleanup(self) -> None:
        """Let go of the views and the labels."""
        self.removeObservers()
        for strip in self.strips:
            strip.cleanup()
        self._session = None
