"""How the result is shown: opacity, outline, window, 3D; and the keys for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from AtlasSegmentLib.panel_shortcuts import PanelShortcuts
from AtlasSegmentLib.scene_display import WINDOWS, set_style, set_window, toggle_visible

SHOW_KEY, OUTLINE_KEY = "M", "O"


class ResultSection:
    """Controls of the shown segmentation.

    Args:
        ui: The panel's widgets.
        getSegmentation: Returns the chosen segmentation node or None.
        getVolume: Returns the CT or None.
    """

    def __init__(self, ui: Any, getSegmentation: Callable[[], Any], getVolume: Callable[[], Any]) -> None:
        self._ui, self._getSegmentation, self._getVolume = ui, getSegmentation, getVolume
        self.shortcuts = PanelShortcuts()
        self.shortcuts.bind(SHOW_KEY, ui.showHideButton)
        self.shortcuts.bind(OUTLINE_KEY, ui.outlineButton)
        windows = {"abdomen": ui.abdomenButton, "liver": ui.liverButton, "bone": ui.boneButton, "lung": ui.lungButton}
        self._connections = [(button, self._windowSlot(name)) for name, button in windows.items()]
        self._connections.append((ui.showHideButton, self._toggleVisible))
        for button, slot in self._connections:
            button.connect("clicked(bool)", slot)

    def cleanup(self) -> None:
        """Let go of widgets and keys."""
        self.shortcuts.remove()
        for button, slot in self._connections:
            button.disconnect("clicked(bool)", slot)
        self._ui.show3DButton.setSegmentationNode(None)

    def update(self, segmentation: Any | None, volume: Any | None) -> None:
        """Enable what can be used with these nodes."""
        ui = self._ui
        for widget in (ui.showHideButton, ui.outlineButton, ui.opacitySlider, ui.show3DButton):
            widget.setEnabled(segmentation is not None)
        for button in (ui.abdomenButton, ui.liverButton, ui.boneButton, ui.lungButton):
            button.setEnabled(volume is not None)
        ui.show3DButton.setSegmentationNode(segmentation)

    def applyStyle(self, opacity: float, outline: bool) -> None:
        """Draw the chosen segmentation this way."""
        self.applyStyleTo(self._getSegmentation(), opacity, outline)

    @staticmethod
    def applyStyleTo(segmentation: Any | None, opacity: float, outline: bool) -> None:
        """Draw a segmentation this way."""
        if segmentation is not None:
            set_style(segmentation, opacity, outline)

    def _windowSlot(self, name: str) -> Callable[..., None]:
        def show(_checked: bool = False) -> None:
            volume = self._getVolume()
            if volume is not None:
                set_window(volume, WINDOWS[name])

        return show

    def _toggleVisible(self, _checked: bool = False) -> None:
        segmentation = self._getSegmentation()
        if segmentation is not None:
            toggle_visible(segmentation)
