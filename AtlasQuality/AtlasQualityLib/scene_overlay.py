"""The attention overlay in the slice views: one volume node as foreground, and what the user had there given back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import slicer

from AtlasSegmentLib.scene import ROLE, update_volume_node
from AtlasSegmentLib.volume import Volume

FULL = 100.0
"""Maps are in percent."""
_BEFORE = "AtlasAnnotator.ForegroundBefore."
_OPACITY = "AtlasAnnotator.ForegroundOpacityBefore."

COLORS = {
    "heat": "vtkMRMLColorTableNodeIron",
    "yellow-red": "vtkMRMLColorTableNodefMRIPA",
    "rainbow": "vtkMRMLColorTableNodeRainbow",
    "magenta": "vtkMRMLColorTableNodeMagenta",
    "cyan": "vtkMRMLColorTableNodeCyan",
}
"""Name of a color map to the id of Slicer's node."""


def show_map(node: Any | None, volume: Volume | None, name: str) -> Any:
    """Put a map into the overlay node and return it; the node is made when there is none.

    Args:
        node: The overlay node, or None.
        volume: uint8 0..100, affine to RAS mm of the case; None shows nothing.
        name: Name of the node.
    """
    if volume is None:
        volume = Volume(np.zeros((1, 1, 1), np.uint8), np.eye(4), name)
    if node is None:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetAttribute(ROLE, "attention")
        node.CreateDefaultDisplayNodes()  # before the voxels, so that no window is guessed from them
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetInterpolate(False)
    update_volume_node(node, volume)
    node.SetName(name)
    node.GetDisplayNode().SetWindowLevelMinMax(0.0, FULL)
    return node


def set_style(node: Any, colors: str, threshold: float) -> None:
    """Set the color map (a key of COLORS) and the lowest value shown, percent."""
    display = node.GetDisplayNode()
    with slicer.util.NodeModify(display):
        display.SetAndObserveColorNodeID(COLORS.get(colors, COLORS["heat"]))
        display.SetAutoThreshold(0)
        display.SetApplyThreshold(1)
        display.SetThreshold(max(1.0, threshold), FULL)  # 0 is where nothing is marked


def composites() -> Iterator[Any]:
    """Yield the composite node of every slice view."""
    yield from slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")


def lay_over(node: Any, opacity: float) -> None:
    """Show the overlay as foreground in all slice views; what was there is remembered on the node, also when the scene is saved."""
    for composite in composites():
        layout = composite.GetLayoutName()
        if composite.GetForegroundVolumeID() != node.GetID():
            node.SetNodeReferenceID(_BEFORE + layout, composite.GetForegroundVolumeID())
            node.SetAttribute(_OPACITY + layout, str(composite.GetForegroundOpacity()))
        with slicer.util.NodeModify(composite):
            composite.SetForegroundVolumeID(node.GetID())
            composite.SetForegroundOpacity(opacity)


def is_laid_over(node: Any) -> bool:
    """Tell whether the overlay is the foreground of a slice view."""
    return any(composite.GetForegroundVolumeID() == node.GetID() for composite in composites())


def remembered(node: Any) -> dict[str, tuple[str | None, float]]:
    """Return layout name to (id of the volume, opacity) that the slice views had before; for when the overlay node is deleted."""
    found = {}
    for composite in composites():
        layout = composite.GetLayoutName()
        before = node.GetNodeReference(_BEFORE + layout)
        found[layout] = (before.GetID() if before is not None else None, float(node.GetAttribute(_OPACITY + layout) or 0.0))
    return found


def give_back(before: Mapping[str, tuple[str | None, float]]) -> None:
    """Give slice views without a foreground what `remembered` said."""
    for composite in composites():
        identifier, opacity = before.get(composite.GetLayoutName(), (None, 0.0))
        if composite.GetForegroundVolumeID() is None or slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID()) is None:
            with slicer.util.NodeModify(composite):
                composite.SetForegroundVolumeID(identifier if identifier and slicer.mrmlScene.GetNodeByID(identifier) else None)
                composite.SetForegroundOpacity(opacity)


def take_away(node: Any) -> None:
    """Give every slice view that shows the overlay its foreground and opacity back; others are left as the user set them."""
    for composite in composites():
        if composite.GetForegroundVolumeID() != node.GetID():
            continue
        layout = composite.GetLayoutName()
        before = node.GetNodeReference(_BEFORE + layout)
        with slicer.util.NodeModify(composite):
            composite.SetForegroundVolumeID(before.GetID() if before is not None else None)
            composite.SetForegroundOpacity(float(node.GetAttribute(_OPACITY + layout) or 0.0))


def show_legend(node: Any, title: str, shown: bool) -> None:
    """Show or hide Slicer's color legend for the overlay, where this Slicer has one."""
    logic = legend_logic()
    if logic is None:
        return
    legend = logic.GetColorLegendDisplayNode(node)
    if legend is None and shown:
        legend = logic.AddDefaultColorLegendDisplayNode(node)
    if legend is not None:
        legend.SetTitleText(title)
        legend.SetVisibility(shown)


def legend_logic() -> Any | None:
    """Return the logic that makes color legends, or None."""
    module = getattr(slicer.modules, "colors", None)
    logic = module.logic() if module is not None else None
    return logic if hasattr(logic, "AddDefaultColorLegendDisplayNode") else None
