"""The table of organs: numbers of the case, and volumes of the segmentation counted one segment at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AtlasQualityLib.organ_table import OrganRow
from AtlasQualityLib.panel_tables import Cell, SortableTable, rounded
from AtlasQualityLib.review_result import ReviewResult, merged_rows
from AtlasQualityLib.scene_masks import segment_organs, volume_ml
from AtlasSegmentLib.errors import AtlasError

_VOLUME, _DICE = 1, 5


class OrgansPanel:
    """Fills the table and counts volumes in the pauses of the event loop, so that nothing blocks.

    Args:
        table: QTableWidget.
        onChosen: Called with the organ (as the files of its case are named) and the segment id of a row that the user chooses.
    """

    def __init__(self, table: Any, onChosen: Callable[[str, str], None]) -> None:
        self._onChosen = onChosen
        columns = (
            (_("Organ"), _("Name of the structure")),
            (_("ml"), _("Volume of the segment")),
            (_("Attn."), _("Volume that the attention marks, ml")),
            (_("Dis. %"), _("How far the models disagree: 100 % - mean Dice of all pairs of models")),
            (_("Error"), _("Expected volume of wrong voxels, ml")),
            (_("Dice"), _("Predicted Dice, where a quality model left one")),
        )
        self._table = SortableTable(table, columns, self._onSelected)
        self._rows: dict[str, tuple[str, OrganRow]] = {}
        self._segmentation = ""
        self._waiting: list[str] = []
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._countNext)

    def show(self, segmentation: Any | None, result: ReviewResult | None) -> None:
        """Show the organs of a segmentation and of its case; either may be None."""
        self._timer.stop()
        segments = [(found.segment_id, found.structure) for found in segment_organs(segmentation)] if segmentation is not None else []
        merged = merged_rows(segments, result.rows if result is not None else [])
        self._rows = {row.organ or f"segment {identifier}": (identifier, row) for identifier, row in merged}
        self._segmentation = segmentation.GetID() if segmentation is not None else ""
        self._table.fill([(key, _cells(row)) for key, (_id, row) in self._rows.items()])
        self._table.showColumn(_DICE, any(row.predicted_dice is not None for _id, row in self._rows.values()))
        for column in range(_VOLUME + 1, _DICE):
            self._table.showColumn(column, result is not None)
        self._waiting = [key for key, (identifier, _row) in self._rows.items() if identifier]
        if self._waiting:
            self._timer.start()

    def select(self, organ: str) -> None:
        """Mark the row of an organ."""
        self._table.select(organ)

    def cleanup(self) -> None:
        """Stop counting."""
        self._timer.stop()
        self._timer.disconnect("timeout()", self._countNext)

    def _countNext(self) -> None:
        node = slicer.mrmlScene.GetNodeByID(self._segmentation) if self._segmentation else None
        if not self._waiting or node is None:
            self._timer.stop()
            self._table.sortable()
            return
        key = self._waiting.pop(0)
        identifier = self._rows[key][0]
        if node.GetSegmentation().GetSegment(identifier) is None:
            return
        try:
            self._table.setCell(key, _VOLUME, rounded(volume_ml(node, identifier), 1))
        except AtlasError:  # under a transform that is not linear: whoever needs its place says so
            self._waiting = []

    def _onSelected(self, key: str) -> None:
        identifier, row = self._rows[key]
        self._onChosen(row.organ, identifier)


def _cells(row: OrganRow) -> list[Cell]:
    percent = None if row.disagreement is None else rounded(100 * row.disagreement, 0)
    return [
        (row.organ or row.structure).replace("_", " "),
        rounded(row.volume_ml, 1),
        rounded(row.attention_ml, 1),
        percent,
        rounded(row.expected_error_ml, 1),
        rounded(row.predicted_dice, 2),
    ]
