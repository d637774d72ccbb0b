"""The slice profile in the panel: for each slice view a strip that shows where the attention is, follows the view, and leads it there.

The strip of a view along the axial slices also shows how good each slice of the mask probably is, where a quality model has looked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from AtlasQualityLib.panel_strip import VIEWS, SliceStrip
from AtlasQualityLib.panel_strip_picture import Marks
from AtlasQualityLib.slice_scores import (
    RED_GREEN,
    Band,
    OrganQuality,
    ScoredSlice,
    axial_grid,
    band_at,
    bands_of,
    empty_profile,
    slice_centers,
    slice_normal,
)
from AtlasReviewLib.panel_carry import CarryPanel
from AtlasReviewLib.panel_task import TaskPanel
from AtlasReviewLib.scene_mask import grid_in_scene
from AtlasReviewLib.slice_carry import slice_points
from AtlasReviewLib.slice_profile import slice_profile
from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import AtlasError

_SAME_WAY = 0.9
_TAILS = 0.01


def _caption(strip: SliceStrip, offset: float) -> str:
    """Return what the slice of a view holds."""
    profile = strip.profile
    lines = []
    if profile is not None and (profile.values.any() or not strip.marks.bands):
        index = profile.index_at(offset)
        area = float(profile.values[index]) / 100 if index >= 0 else 0.0
        direction = _directionText(str(strip.node.GetOrientation()))
        lines.append(_("{direction}: {area:.1f} cm\u00b2").format(direction=direction, area=area))
    if strip.marks.bands:
        band = band_at(strip.marks.bands, offset)
        lines.append(_("not scored") if band is None else _("score {score:.2f}").format(score=band.slice.score))
    return "\n".join(lines)


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
        self.strips = [SliceStrip(view, *pair, _caption) for view, pair in zip(VIEWS, labels, strict=True)]
        self._labels = labels
        self._session: Any = None
        self._quality: OrganQuality | None = None
        self._palette = RED_GREEN
        self._worst: ScoredSlice | None = None
        self._stamps: tuple[Any, Any] = (None, None)
        self.update()

    def update(self) -> None:
        """Show the profile of the task that is open now."""
        if self._task.session is self._session:
            return
        self._session, self._stamps = self._task.session, (self._task.stamp, self._task.stamp)
        self._quality, self._worst = None, None
        self._observe()
        for strip in self.strips:
            strip.profile, strip.marks = None, Marks()
            self._make(strip)
        self._showFrame()

    def setQuality(self, quality: OrganQuality | None, palette: str) -> None:
        """Color the axial slices by these scores of the task's mask; None shows none."""
        self._quality, self._palette, self._worst = quality, palette, None
        for strip in self.strips:
            self._color(strip)
            strip.repaint()
        self._showFrame()

    def setWorst(self, worst: ScoredSlice | None) -> None:
        """Mark the slice that was gone to as the worst."""
        self._worst = worst
        for strip in self.strips:
            self._color(strip)
            strip.repaint()

    def _showFrame(self) -> None:
        weights = self._session.loaded.weights if self._session is not None else None
        scored = any(strip.marks.bands for strip in self.strips)
        self.ui.profileFrame.setVisible(weights is not None or scored)
        for strip, (label, text) in zip(self.strips, self._labels, strict=True):
            for widget in (label, text):
                widget.setVisible(strip.profile is not None)
        said = _("Attention of each slice")
        if weights is None:
            said = _("Score of each slice of the mask")
        elif weights.kind == "expected_error":
            said = _("Expected error of each slice")
        self.ui.profileNoteLabel.setText(_("{bars}; below: its score").format(bars=said) if scored and weights is not None else said)

    def _observe(self) -> None:
        self.removeObservers()
        if self._session is not None:
            for strip in self.strips:
                if strip.node is not None:
                    self.addObserver(strip.node, vtk.vtkCommand.ModifiedEvent, self._onViewModified)

    def _make(self, strip: SliceStrip) -> None:
        """Sum the map along the direction of a view, and color its slices where they are those that were scored."""
        session, nodes = self._session, self._task.nodes
        strip.profile = None
        if session is not None and nodes is not None and strip.node is not None:
            loaded = session.loaded
            if loaded.weights is not None:
                affine = grid_in_scene(nodes, loaded.grid).affine
                strip.profile = slice_profile(loaded.weights, strip.normal(), loaded.hot_spots, loaded.baseline.mask, affine, _TAILS)
        self._color(strip)
        strip.repaint()

    def _thickness(self) -> float:
        return float(geometry.spacing_of(axial_grid(self._session.loaded.grid).affine)[2])

    def _color(self, strip: SliceStrip) -> None:
        """Give a strip the colors of the scored slices; none where its view cuts across them."""
        bands: tuple[Band, ...] = ()
        worst = None
        nodes, quality = self._task.nodes, self._quality
        if quality is not None and self._session is not None and nodes is not None and strip.node is not None:
            grid, normal = grid_in_scene(nodes, self._session.loaded.grid), np.asarray(strip.normal())
            if abs(float(slice_normal(grid) @ normal)) > _SAME_WAY:
                offsets = slice_centers(grid, [one.index for one in quality.slices]) @ normal
                bands = bands_of(quality, [float(x) for x in offsets], self._thickness(), self._palette)
                worst = next((float(x) for x, one in zip(offsets, quality.slices, strict=True) if one == self._worst), None)
        strip.marks = replace(strip.marks, bands=bands, worst=worst)
        if self._session is None or self._session.loaded.weights is None:  # nothing but the scores says which slices there are
            strip.profile = empty_profile(bands, strip.normal(), self._thickness()) if bands else None

    def _onViewModified(self, node: Any, _event: Any) -> None:
        for strip in self.strips:
            if strip.node is node and (strip.profile is not None or self._quality is not None):
                if strip.profile is not None and np.allclose(strip.normal(), strip.profile.direction, atol=1e-6):
                    strip.follow()
                else:
                    self._make(strip)
                    self._showFrame()

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
            if marks != strip.marks.corrected:
                strip.marks = replace(strip.marks, corrected=marks)
                strip.repaint()

    def cleanup(self) -> None:
        """Let go of the views and the labels."""
        self.removeObservers()
        for strip in self.strips:
            strip.cleanup()
        self._session = self._quality = None
