"""How a CT and its segmentation are shown: window presets, opacity, outline or fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WindowPreset:
    """Which HU become black and white.

    Attributes:
        window: Width, HU.
        level: Center, HU.
    """

    window: float
    level: float

    @property
    def text(self) -> str:
        """As radiologists write it."""
        return f"W {self.window:g}, L {self.level:g}"


WINDOWS = {
    "abdomen": WindowPreset(400, 40),
    "liver": WindowPreset(160, 60),
    "bone": WindowPreset(1800, 400),
    "lung": WindowPreset(1500, -600),
}


def set_window(volume: Any, preset: WindowPreset) -> None:
    """Show a volume node with a window preset in all slice views."""
    if volume.GetDisplayNode() is None:
        volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(preset.window, preset.level)


def set_style(segmentation: Any, opacity: float, outline: bool) -> None:
    """Show a segmentation node in the slice views filled, or as outlines alone.

    Args:
        segmentation: The segmentation node.
        opacity: 0..1, of the fill, or of the outlines when there is no fill.
        outline: Outlines alone.
    """
    display = _display(segmentation)
    display.SetVisibility2DFill(not outline)
    display.SetVisibility2DOutline(True)
    display.SetOpacity2DFill(opacity)
    display.SetOpacity2DOutline(opacity if outline else 1.0)


def toggle_visible(segmentation: Any) -> bool:
    """Show a hidden segmentation node or hide a shown one; return whether it is shown now."""
    display = _display(segmentation)
    shown = not display.GetVisibility()
    display.SetVisibility(shown)
    return bool(shown)


def _display(segmentation: Any) -> Any:
    if segmentation.GetDisplayNode() is None:
        segmentation.CreateDefaultDisplayNodes()
    return segmentation.GetDisplayNode()
