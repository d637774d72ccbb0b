"""The rule by which masks become one label map: original > revised > predicted, organ by organ.

Pure: no files. Organs are given as callables that load a mask when its turn comes, so that there is never a stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasReviewLib.case_masks import Mask
from AtlasSegmentLib.components import bounding_box
from AtlasSegmentLib.errors import InputError

ORIGINAL, REVISED, PREDICTED = "original", "revised", "predicted"
KINDS = (ORIGINAL, REVISED, PREDICTED)
MAX_SOURCES = 65535
Labels = npt.NDArray[Any]


@dataclass(frozen=True, order=True)
class Source:
    """Who or what drew a mask.

    Attributes:
        kind: "original", "revised" or "predicted".
        by: The dataset of an original, the reader of a revision, the models of a prediction.
    """

    kind: str
    by: str = ""

    @property
    def rank(self) -> int:
        """0 for an original, 1 for a revision, 2 for a prediction: the lower one wins."""
        return KINDS.index(self.kind)


@dataclass(frozen=True)
class Candidate:
    """One mask of one organ: where it is from, and a callable that loads it as bool (X, Y, Z)."""

    source: Source
    load: Callable[[], Mask] = field(compare=False)


@dataclass(frozen=True)
class OrganCandidates:
    """Every mask there is of one organ.

    Attributes:
        organ: Its name.
        order: Painting order: its value in the AbdomenAtlas inference table, or what `assembly_options` makes of a given order;
            higher values paint over lower ones.
        value: Its value in the combined map, 1..255.
        candidates: In any order, one for each kind at most.
    """

    organ: str
    order: int
    value: int
    candidates: tuple[Candidate, ...]

    @property
    def ranked(self) -> list[Candidate]:
        """The candidates, the one that wins first."""
        return sorted(self.candidates, key=lambda candidate: candidate.source.rank)


@dataclass(frozen=True)
class DrawnOrgan:
    """One organ after merging.

    Attributes:
        organ: Its name.
        source: Who or what drew it.
        mask: bool (X, Y, Z); may be empty.
        removed: Number of voxels that masks of lower priority had and this one has not.
    """

    organ: str
    source: Source
    mask: Mask = field(compare=False)
    removed: int = 0


def source_ids(organs: Iterable[OrganCandidates]) -> dict[Source, int]:
    """Return the number of each source in the provenance map.

    1 is the original (always kept free for it), then the readers by name, then the predictions by name. Only sources that
    win an organ are listed.

    Raises:
        InputError: More than 65535 sources.
    """
    winners = sorted({organ.ranked[0].source for organ in organs if organ.candidates}, key=lambda s: (s.rank, s.by))
    originals = [source for source in winners if source.kind == ORIGINAL] or [Source(ORIGINAL)]
    ordered = [*originals, *(source for source in winners if source.kind != ORIGINAL)]
    if len(ordered) > MAX_SOURCES:
        message = f"A case can have {MAX_SOURCES} sources at most, got {len(ordered)}."
        raise InputError(message)
    return {source: number for number, source in enumerate(ordered, start=1)}


def merge_organs(
    organs: Sequence[OrganCandidates], shape: Sequence[int], on_organ: Callable[[DrawnOrgan], None] = lambda _: None
) -> tuple[Labels, Labels]:
    """Paint all organs into one map, and who drew each voxel into another.

    Predicted organs are painted first, then revised, then original ones, so that a model never covers what a person drew;
    among equals by ascending `order`, later ones over earlier ones. The order of `organs` does not matter. A voxel
    of the provenance map holds the source of what the combined map shows there. Where the combined map is background
    because an original or a revision left out what a mask of lower priority had, it holds the number of that original or
    revision (of the last organ in painting order, where several removed something); 0 where nobody drew anything.

    Args:
        organs: Their candidates; an organ without any is passed over.
        shape: Of the case's grid.
        on_organ: Called with each organ as it is painted, for writing its own mask.

    Returns:
        (combined uint8, provenance uint8, or uint16 with more than 255 sources), both (X, Y, Z) in Fortran order.
    """
    numbers = source_ids(organs)
    combined = np.zeros(shape, dtype=np.uint8, order="F")
    provenance = np.zeros(shape, dtype=np.min_scalar_type(max(numbers.values())), order="F")
    for organ in sorted((organ for organ in organs if organ.candidates), key=lambda item: (-item.ranked[0].source.rank, item.order)):
        winner, *displaced = organ.ranked
        mask = winner.load()
        number = numbers[winner.source]
        removed = _mark_removed(mask, displaced, combined, provenance, number)
        box = bounding_box(mask)
        if box is not None:
            combined[box][mask[box]] = organ.value
            provenance[box][mask[box]] = number
        on_organ(DrawnOrgan(organ.organ, winner.source, mask, removed))
    return combined, provenance


def _mark_removed(mask: Mask, displaced: Sequence[Candidate], combined: Labels, provenance: Labels, number: int) -> int:
    """Write `number` where `displaced` masks have what `mask` has not and nothing is painted; return how many voxels they lost."""
    lost: Mask | None = None
    for candidate in displaced:
        other = candidate.load()
        lost = other & ~mask if lost is None else lost | (other & ~mask)
    box = bounding_box(lost) if lost is not None else None
    if lost is None or box is None:
        return 0
    provenance[box][lost[box] & (combined[box] == 0)] = number
    return int(np.count_nonzero(lost[box]))
