"""The scores of the chosen organ's slices as colors under the axial view, and the way to the worst of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from AtlasQualityLib import panel_quality_model
from AtlasQualityLib.panel_strip import SliceStrip
from AtlasQualityLib.panel_strip_picture import Marks
from AtlasQualityLib.panel_worst import SliceMenu, WorstSlices
from AtlasQualityLib.scene_slice_place import Point, place_in_slice
from AtlasQualityLib.slice_scores import (
    OrganQuality,
    ScoredSlice,
    axial_grid,
    band_at,
    bands_of,
    empty_profile,
    slice_centers,
    slice_normal,
)
from AtlasSegmentLib import geometry
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.scene import grid_of_node

_SAME_WAY = 0.9


def _caption(strip: SliceStrip, offset: float) -> str:
    band = band_at(strip.marks.bands, offset)
    return str(_("not scored") if band is None else _("score {score:.2f}").format(score=band.slice.score))


class SlicesPanel(VTKObservationMixin):
    """Strip, button and text.

    Args:
        ui: The widgets of the module.
    """

    def __init__(self, ui: Any) -> None:
        VTKObservationMixin.__init__(self)
        self._ui = ui
        self._quality: OrganQuality | None = None
        self._segmentation, self._segment, self._organ = "", "", ""
        self._worst: ScoredSlice | None = None
        self._isChanged = False
        self.strip = SliceStrip("Red", ui.scoresLabel, ui.scoresText, _caption)
        self.worst = WorstSlices(ui.worstSliceButton, ui.worstSliceLabel, self._place, self._onGone)
        self._menus = [SliceMenu(ui.scoresLabel, self.worst, self.recolor), SliceMenu(ui.organsTable, self.worst)]
        self.show(None, "", "", None)

    def show(self, segmentation: Any | None, segment: str, organ: str, quality: OrganQuality | None) -> None:
        """Show the scores of an organ.

        Args:
            segmentation: Node of the segmentation, or None.
            segment: Id of the organ's segment, "" when the segmentation lacks it.
            organ: Name to show.
            quality: None shows nothing.
        """
        self._segmentation = segmentation.GetID() if segmentation is not None else ""
        isSame = quality is not None and quality is self._quality
        self._isChanged = self._isChanged and isSame
        self._segment, self._organ, self._quality, self._worst = segment, organ, quality, None
        self.removeObservers()
        if quality is not None and segmentation is not None:
            self.addObserver(segmentation, slicer.vtkSegmentation.SourceRepresentationModified, self._onMasksModified)
        if quality is not None and self.strip.node is not None:
            self.addObserver(self.strip.node, vtk.vtkCommand.ModifiedEvent, self._onViewModified)
        self.worst.show(quality)
        self._make()

    def recolor(self) -> None:
        """Draw the strip in the colors that the user chose."""
        self._make()
        box = self._ui.sliceColorsComboBox
        box.setCurrentIndex(box.findData(panel_quality_model.palette()))

    def _node(self) -> Any | None:
        return slicer.mrmlScene.GetNodeByID(self._segmentation) if self._segmentation else None

    def _make(self) -> None:
        strip, quality = self.strip, self._quality
        strip.profile, strip.marks = None, Marks()
        told = ""
        if quality is not None:
            told = _("{organ}: predicted Dice {text}").format(organ=self._organ, text=quality.text)
            told = told if quality.slices else _("{organ}: the mask is empty").format(organ=self._organ)
            told += "; " + _("the segmentation was changed since") if self._isChanged else ""
            self._color(quality)
        strip.repaint()
        self._ui.scoresNoteLabel.setText(told)
        for widget in (self._ui.scoresNoteLabel, self._ui.worstSliceButton):
            widget.setVisible(quality is not None)
        for widget in (self._ui.scoresLabel, self._ui.scoresText):
            widget.setVisible(strip.profile is not None)

    def _color(self, quality: OrganQuality) -> None:
        """Give the strip its colors; none where the view cuts across the slices, or nobody knows where they lie."""
        node = self._node()
        if node is None or self.strip.node is None:
            return
        try:
            grid = grid_of_node(node)
        except AtlasError:  # whoever needs its place says why it has none
            return
        normal = np.asarray(self.strip.normal())
        if abs(float(slice_normal(grid) @ normal)) <= _SAME_WAY:
            return
        step = float(geometry.spacing_of(axial_grid(grid).affine)[2])
        offsets = [float(x) for x in slice_centers(grid, [one.index for one in quality.slices]) @ normal]
        bands = bands_of(quality, offsets, step, panel_quality_model.palette())
        worst = next((x for x, one in zip(offsets, quality.slices, strict=True) if one == self._worst), None)
        self.strip.marks = Marks(bands=bands, worst=worst)
        self.strip.profile = empty_profile(bands, self.strip.normal(), step) if bands else None

    def _onViewModified(self, _node: Any, _event: Any) -> None:
        profile = self.strip.profile
        if profile is not None and np.allclose(self.strip.normal(), profile.direction, atol=1e-6):
            self.strip.follow()
        else:
            self._make()

    def _onMasksModified(self, *_arguments: Any) -> None:
        if not self._isChanged:
            self._isChanged = True
            self._make()

    def _place(self, one: ScoredSlice) -> Point | None:
        node = self._node()
        return None if node is None else place_in_slice(node, self._segment, one.index)

    def _onGone(self, one: ScoredSlice) -> None:
        self._worst = one
        self._make()

    def cleanup(self) -> None:
        """Let go of views and widgets."""
        self.removeObservers()
        for menu in self._menus:
            menu.cleanup()
        self.worst.cleanup()
        self.strip.cleanup()
