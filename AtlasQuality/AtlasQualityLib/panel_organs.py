"""The table of organs: numbers of the case, and volumes of the segmentation counted one segment at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from AtlasQualityLib.organ_table import OrganRow
from AtlasQualityLib.panel_strip import scoreText
from AtlasQualityLib.panel_tables import Cell, Figure, SortableTable, rounded
from AtlasQualityLib.review_result import ReviewResult, merged_rows
from AtlasQualityLib.scene_masks import segment_organs, volume_ml
from AtlasQualityLib.slice_scores import OrganQuality
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
            (
                _("Dice"),
                _("Dice that a quality model predicts without a reference, and the standard deviation of the scores of its slices"),
            ),
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
        self.showQuality({row.structure: row.quality for _id, row in self._rows.values() if row.quality is not None})
        for column in range(_VOLUME + 1, _DICE):
            self._table.showColumn(column, result is not None)
        self._waiting = [key for key, (identifier, _row) in self._rows.items() if identifier]
        if self._waiting:
            self._timer.start()

    def showQuality(self, found: Mapping[str, OrganQuality]) -> None:
        """Show predicted Dice with its spread by structure; where there is none the number that its case folder has stays.

        The column is hidden when nothing is predicted.
        """
        for key, (_id, row) in self._rows.items():
            quality = found.get(row.structure)
            if quality is not None:
                self._table.setCell(key, _DICE, Figure(quality.text), _told(quality))
            else:
                self._table.setCell(key, _DICE, _plain(row))
        self._table.sortable()
        known = any(row.predicted_dice is not None for _id, row in self._rows.values())
        self._table.showColumn(_DICE, known or any(row.structure in found for _id, row in self._rows.values()))

    def select(self, organ: str) -> None:
        """Mark the row of an organ."""
        self._table.select(organ)

    def structureOf(self, organ: str, segmentId: str) -> str:
        """Return the canonical name behind what `onChosen` was called with; "" when there is no such row."""
        return next((row.structure for identifier, row in self._rows.values() if (row.organ, identifier) == (organ, segmentId)), "")

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
        _plain(row),
    ]


def _plain(row: OrganRow) -> Cell:
    return None if row.predicted_dice is None else Figure(f"{row.predicted_dice:.2f}")


def _told(quality: OrganQuality) -> str:
    """Return what is behind the number."""
    if quality.dice is None:
        return str(_("The mask is empty: nothing can be predicted of it."))
    text = _("Predicted Dice {dice:.2f}").format(dice=quality.dice)
    if quality.spread is not None:
        text += "; " + _("standard deviation of the scores of its slices {spread:.2f}").format(spread=quality.spread)
    worst = quality.worst_first()[:1]
    return "\n".join([text, *(_("Worst: {slice}").format(slice=scoreText(one)) for one in worst)])
