"""The part of the panel that shows attention maps over the CT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from AtlasQualityLib import scene_overlay
from AtlasQualityLib.overlay_maps import COMBINED
from AtlasQualityLib.review_result import ReviewResult
from AtlasQualityLib.scene_focus import SegmentFocus
from AtlasQualityLib.scene_masks import require_same_place, segment_organs
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.labels import structure_for

THRESHOLD_STEP = 10.0


class OverlayPanel:
    """Organ, kind, colors, opacity and threshold of the overlay; shows it while the module is open and gives the views back then.

    Args:
        ui: The widgets of the module.
        onOrganChanged: Called with the organ whose map is shown now.
    """

    def __init__(self, ui: Any, onOrganChanged: Callable[[str], None]) -> None:
        self._ui, self._onOrganChanged = ui, onOrganChanged
        self._parameters: Any = None
        self._result: ReviewResult | None = None
        self._shown: tuple[int, str, str] | None = None
        self._before: dict[str, tuple[str | None, float]] = {}
        self._focus = SegmentFocus()
        self._active, self._updating = False, False
        for key, title in self._colorNames().items():
            ui.colorsComboBox.addItem(title, key)
        ui.organComboBox.connect("currentIndexChanged(int)", self._onChosen)
        ui.kindComboBox.connect("currentIndexChanged(int)", self._onChosen)
        ui.colorsComboBox.connect("currentIndexChanged(int)", self._onChosen)
        ui.legendCheckBox.connect("toggled(bool)", self._onLegend)
        ui.thresholdUpButton.connect("clicked()", self.thresholdUp)
        ui.thresholdDownButton.connect("clicked()", self.thresholdDown)
        ui.legendCheckBox.setVisible(scene_overlay.legend_logic() is not None)
        self._fillChoices()

    @staticmethod
    def _colorNames() -> dict[str, str]:
        return {
            "heat": _("Heat"),
            "yellow-red": _("Red to yellow"),
            "rainbow": _("Rainbow"),
            "magenta": _("Magenta"),
            "cyan": _("Cyan"),
        }

    @staticmethod
    def _kindNames() -> dict[str, str]:
        return {"attention": _("Attention"), "expected_error": _("Expected error")}

    def setParameterNode(self, parameters: Any) -> None:
        """Show what these parameters say from now on; None when the scene closes."""
        if self._parameters is not None:
            self._updating = True
            self._release()
            self._updating = False
        self._parameters, self._result, self._shown = parameters, None, None
        self._fillChoices()

    def setResult(self, result: ReviewResult | None) -> None:
        """Show the maps of a case; None when there are none any more, which removes the overlay."""
        self._result, self._shown = result, None
        self._fillChoices()
        if result is None and self._parameters is not None:
            self.removeOverlay()
        self.update()

    def removeOverlay(self) -> None:
        """Take the overlay out of the views and out of the scene."""
        node = self._node()
        self._focus.restore()
        if node is not None:
            self._updating = True
            scene_overlay.take_away(node)
            self._parameters.overlay = None
            slicer.mrmlScene.RemoveNode(node)
            self._updating = False
        self._before = {}

    def _node(self) -> Any | None:
        """Return the overlay node while it is in the scene."""
        node = self._parameters.overlay if self._parameters is not None else None
        return node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None

    def enter(self) -> None:
        """The module is shown."""
        self._active = True
        self.update()

    def exit(self) -> None:
        """Another module is shown: the views get back what they had."""
        self._active = False
        self.update()

    def thresholdUp(self) -> None:
        """Show less."""
        self._moveThreshold(THRESHOLD_STEP)

    def thresholdDown(self) -> None:
        """Show more."""
        self._moveThreshold(-THRESHOLD_STEP)

    def _moveThreshold(self, step: float) -> None:
        if self._parameters is not None:
            tens = round(self._parameters.threshold / THRESHOLD_STEP) * THRESHOLD_STEP
            self._parameters.threshold = min(100.0, max(1.0, tens + step))

    def update(self) -> None:
        """Make views and widgets say what the parameters say."""
        if self._updating or self._parameters is None:
            return
        self._updating = True
        try:
            if self._shown is not None and self._node() is None:  # its node was deleted: that hides it
                self._shown, self._parameters.overlayShown = None, False
            self._updateWidgets()
            self._updateViews()
            self._ui.overlayLabel.text = self._description()
        except AtlasError as error:
            self._release()
            self._ui.overlayLabel.text = str(error)
        finally:
            self._updating = False
        self._ui.overlayLabel.setVisible(bool(self._ui.overlayLabel.text))

    def _updateViews(self) -> None:
        parameters = self._parameters
        self._loadMap()
        node = self._node()
        if node is None:
            self._release()
            return
        scene_overlay.set_style(node, parameters.colors, parameters.threshold)
        if not (self._active and parameters.overlayShown):
            self._release()
            return
        scene_overlay.lay_over(node, parameters.opacity)
        self._before = scene_overlay.remembered(node)
        self._focus.focus(parameters.segmentation, self._segmentOf(parameters.organ))
        scene_overlay.show_legend(node, self._kindNames()[parameters.kind], self._ui.legendCheckBox.checked)

    def _loadMap(self) -> None:
        """Put the chosen map into the overlay node when it is not there yet."""
        parameters, result = self._parameters, self._result
        if result is None or result.grid is None:
            return
        wanted = (id(result), parameters.kind, parameters.organ)
        if wanted == self._shown or (self._node() is None and not parameters.overlayShown):
            return
        segmentation = parameters.segmentation
        if segmentation is not None:
            require_same_place(segmentation, result.grid)
        title = _("{kind}, {organ}").format(kind=self._kindNames()[parameters.kind], organ=parameters.organ or _("all organs"))
        node = scene_overlay.show_map(self._node(), result.volume(parameters.kind, parameters.organ), title)
        node.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID() if segmentation is not None else None)
        parameters.overlay = node
        self._shown = wanted

    def _release(self) -> None:
        """Give the views back."""
        node = self._node()
        if node is not None:
            scene_overlay.take_away(node)
        elif self._before:
            scene_overlay.give_back(self._before)
        self._before = {}
        self._focus.restore()

    def _segmentOf(self, organ: str) -> str:
        segmentation = self._parameters.segmentation
        if segmentation is None or not organ:
            return ""
        structure = structure_for(organ).name
        return next((found.segment_id for found in segment_organs(segmentation) if found.structure == structure), "")

    def _description(self) -> str:
        result, parameters = self._result, self._parameters
        if result is None:
            return ""
        if not result.maps:
            return str(_("This case has no attention maps yet: press Find errors."))
        shown = result.maps.get((parameters.kind, parameters.organ))
        if shown is None or shown.marked_ml == 0:
            return str(_("Nothing is marked here: the models agree and are sure. They may all miss the same thing."))
        return ""

    def _fillChoices(self) -> None:
        """Offer the kinds and organs that there are."""
        ui, result, names = self._ui, self._result, self._kindNames()
        kinds = result.kinds() if result is not None else []
        parameters = self._parameters
        self._updating = True
        ui.kindComboBox.clear()
        for kind in kinds or list(names):
            ui.kindComboBox.addItem(names[kind], kind)
        ui.organComboBox.clear()
        ui.organComboBox.addItem(_("All organs"), COMBINED)
        organs = list(dict.fromkeys(organ for kind in kinds for organ in result.organs(kind))) if result is not None else []
        for organ in organs:
            ui.organComboBox.addItem(organ.replace("_", " "), organ)
        if parameters is not None and result is not None:
            parameters.organ = parameters.organ if parameters.organ in organs else COMBINED
            parameters.kind = parameters.kind if parameters.kind in kinds or not kinds else kinds[0]
        self._updating = False

    def _updateWidgets(self) -> None:
        ui, parameters = self._ui, self._parameters
        has_maps = bool(self._result is not None and self._result.maps) or self._node() is not None
        for widget in (ui.showOverlayButton, ui.thresholdSlider, ui.opacitySlider, ui.colorsComboBox, ui.thresholdUpButton):
            widget.enabled = has_maps
        ui.thresholdDownButton.enabled = has_maps
        for box, value in (
            (ui.organComboBox, parameters.organ),
            (ui.kindComboBox, parameters.kind),
            (ui.colorsComboBox, parameters.colors),
        ):
            box.enabled = has_maps
            index = box.findData(value)
            if index >= 0 and index != box.currentIndex:
                box.currentIndex = index

    def _onChosen(self, _index: int) -> None:
        if self._updating or self._parameters is None:
            return
        ui, parameters = self._ui, self._parameters
        before = parameters.organ
        parameters.organ = str(ui.organComboBox.currentData or "")
        parameters.kind = str(ui.kindComboBox.currentData or parameters.kind)
        parameters.colors = str(ui.colorsComboBox.currentData or parameters.colors)
        if parameters.organ != before:
            self._onOrganChanged(parameters.organ)

    def _onLegend(self, _shown: bool) -> None:
        self.update()
