"""Where the mask comes from that an adjudicator has in the editor: a reading, with or without edits, or none that anybody chose. No Qt."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from AtlasSegmentLib.sparse import SparseVolume, union


class Source:
    """Follows the mask in the editor from change to change; Undo and Redo are changes like others.

    Args:
        first: The mask that was there at first, which nobody chose; None without one.

    Attributes:
        name: "A" or "B", the reading that the adjudicator went on from; "" where they did not, or undid it.
        undecided: The mask is nobody's choice.
    """

    def __init__(self, first: SparseVolume | None = None) -> None:
        self._first = first
        self.name = ""
        self.undecided = True
        self._started = ""
        self._chosen = ""  # a reading that is the same mask as the first one: choosing it stands, as nothing tells its Undo from its Redo

    def start(self, name: str) -> None:
        """Say that the next change puts a reading into the editor."""
        self._started = name

    def follow(self, mask: SparseVolume, readings: Mapping[str, SparseVolume]) -> None:
        """Take note of a change.

        Args:
            mask: In the editor now.
            readings: "A" and "B" to their masks; {} before they are read.
        """
        started, self._started = self._started, ""
        is_first = self._first is not None and same_voxels(mask, self._first)
        if started:
            self.name, self.undecided = started, False
            self._chosen = started if is_first else self._chosen
        elif is_first:
            self.name, self.undecided = self._chosen, not self._chosen
        else:
            whole = (name for name, reading in readings.items() if same_voxels(mask, reading))
            self.name, self.undecided = next(whole, self.name), False


def same_voxels(a: SparseVolume, b: SparseVolume) -> bool:
    """Tell whether two masks on one grid have the same voxels."""
    box = union([a.box, b.box])
    return bool(np.array_equal(a.within(box) != 0, b.within(box) != 0))
