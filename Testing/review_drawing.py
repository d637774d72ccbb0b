"""Drawing whole slices in the review panel of the stand-in, as a reader who corrects a slice here and there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atlas_phantoms import organ as phantom_organ
from AtlasSegmentLib.volume import Volume
from review_desk import Desk

SLICES = (10, 15)
TRUTH = phantom_organ(1)  # the liver in RAS order, in its middle as wide as anywhere
TRUTH[:, :, 8:18] = TRUTH.any(axis=2, keepdims=True)


def correct(desk: Desk, indices: Sequence[int], axis: int = 2, truth: Any = TRUTH) -> None:
    """Draw the true organ on slices of the RAS case, one step of the editor each."""
    from AtlasSegmentLib.scene import scalars_of

    editor = desk.ui.segmentEditor
    editor.setActiveEffectByName("Paint")
    effect, grid = editor.activeEffect(), desk.panel.task.session.loaded.grid
    for index in indices:
        effect.saveStateForUndo()
        labelmap = effect.defaultModifierLabelmap()
        drawn = np.zeros(grid.shape, np.uint8)
        at = (*(slice(None),) * axis, index)
        drawn[at] = Volume(truth.astype(np.uint8), np.eye(4)).array[at]
        extent = labelmap.GetExtent()
        crop = drawn[tuple(slice(extent[2 * i], extent[2 * i + 1] + 1) for i in range(3))]
        labelmap.GetPointData().SetScalars(scalars_of(np.asfortranarray(crop)))
        effect.modifySelectedSegmentByLabelmap(labelmap, effect.ModificationModeAdd)
