"""One organ brought forward in the slice views while the overlay is shown: outlines in place of filled masks, the others fainter."""

from __future__ import annotations

from typing import Any

import slicer

FAINT = 0.35


class SegmentFocus:
    """Changes how a segmentation is drawn, and gives it back as it was."""

    def __init__(self) -> None:
        self._node_id = ""
        self._filled = True
        self._outlines: dict[str, float] = {}

    def focus(self, node: Any | None, segment_id: str = "") -> None:
        """Draw outlines only, all alike or those beside `segment_id` faint."""
        display = node.GetDisplayNode() if node is not None else None
        if node is None or display is None:
            self.restore()
            return
        if self._node_id != node.GetID():
            self.restore()
            identifiers = node.GetSegmentation().GetSegmentIDs()
            self._node_id, self._filled = node.GetID(), bool(display.GetVisibility2DFill())
            self._outlines = {identifier: display.GetSegmentOpacity2DOutline(identifier) for identifier in identifiers}
        with slicer.util.NodeModify(display):
            display.SetVisibility2DFill(False)
            for identifier, opacity in self._outlines.items():
                display.SetSegmentOpacity2DOutline(identifier, opacity if segment_id in ("", identifier) else opacity * FAINT)

    def restore(self) -> None:
        """Draw the segmentation as before, where it is still there."""
        node = slicer.mrmlScene.GetNodeByID(self._node_id) if self._node_id else None
        display = None if node is None else node.GetDisplayNode()
        if node is not None and display is not None:
            with slicer.util.NodeModify(display):
                display.SetVisibility2DFill(self._filled)
                for identifier, opacity in self._outlines.items():
                    if node.GetSegmentation().GetSegment(identifier) is not None:
                        display.SetSegmentOpacity2DOutline(identifier, opacity)
        self.forget()

    def forget(self) -> None:
        """Let go of the segmentation without a change, as when the scene is closed."""
        self._node_id, self._outlines = "", {}
