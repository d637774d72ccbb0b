"""One case in memory, as examples of label quality are made of it: its CT and the masks of its reference, in LPS order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from AtlasQualityLib.mask_set import MaskSet, masks_of_labels
from AtlasQualityLib.quality_pairs_find import PairSource
from AtlasQualityLib.quality_slices import axial
from AtlasSegmentLib.components import Mask
from AtlasSegmentLib.label_files import read_stated_labels
from AtlasSegmentLib.volume import Array
from AtlasSegmentLib.volume_io import check_ct, read_volume


@dataclass(frozen=True)
class CaseImage:
    """A case in LPS order.

    Attributes:
        ct: (slices, rows, columns), HU.
        spacing: mm.
        masks: The reference, by canonical name; organs without a voxel included.
    """

    ct: Array
    spacing: tuple[float, float, float]
    masks: MaskSet

    def reference(self, organ: str) -> Mask:
        """Return the mask of an organ, as `ct`; made anew each time, since a CT may have a hundred organs."""
        return np.ascontiguousarray(axial(self.masks.masks[organ].dense() != 0))

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return {name: int(np.count_nonzero(mask.crop)) for name, mask in self.masks.masks.items()}

    def size(self, organ: str) -> int:
        """Return the number of voxels of an organ."""
        return self._sizes[organ]

    def nearest(self, organ: str, count: int, without: set[str]) -> list[str]:
        """Return the organs that lie nearest, by the middles of their boxes."""
        others = [name for name in self.masks.masks if self.size(name) and name != organ and name not in without]
        return sorted(others, key=lambda name: self.distance(name, organ))[:count]

    def distance(self, one: str, other: str) -> float:
        """Return mm between the middles of the boxes of two organs."""
        step = np.array(self.spacing[::-1])
        middles = [step * [(side.start + side.stop) / 2 for side in self.masks.masks[name].box] for name in (one, other)]
        return float(np.linalg.norm(middles[0] - middles[1]))


def read_case(source: PairSource) -> CaseImage:
    """Read the CT and the reference of a case.

    Raises:
        InputError: The CT or the label map cannot be used.
        GeometryError: They do not share one grid.
        LabelError: A value that the table does not have.
    """
    ct = read_volume(source.ct, modality="CT").reoriented("LPS")
    check_ct(ct)
    masks = masks_of_labels(read_stated_labels(source.reference, source.table, ct.grid)).onto(ct.grid)
    x, y, z = (float(s) for s in ct.spacing)
    return CaseImage(np.ascontiguousarray(axial(ct.array)), (z, y, x), masks)
