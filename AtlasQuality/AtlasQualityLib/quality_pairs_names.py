"""Masks under the wrong name: whole and sound by themselves, but of another organ, or of no organ at all.

Damage of a mask always leaves it about where its organ is, so a network that has seen nothing else learns to look at the mask's border and
not at its name: it calls a spleen a good liver. These masks have a true Dice of about 0, and the same masks are seen under their own names
too, so that the name is all that tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.quality_damage_places import shifted
from AtlasQualityLib.quality_pairs_image import CaseImage
from AtlasQualityLib.quality_slices import axial
from AtlasSegmentLib.components import Mask
from AtlasSegmentLib.labels import name_key, structure_for
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.volume import Grid, require_same_grid

_LIKE = 4  # among so many of similar size and place one is drawn
_LIKE_MM = 100.0  # apart as much as a volume e times as large
_LEAST_VOXELS = 30


class Misnamed(str, Enum):
    """What bears the name."""

    OTHER_SIDE = "other_side"
    """The organ of the other side."""
    SIMILAR_ORGAN = "similar_organ"
    """An organ of similar size near by."""
    OTHER_ORGAN = "other_organ"
    """Any organ; large ones more often."""
    OTHER_SLICES = "other_slices"
    """Another organ, only in slices where the right one is not."""
    MOVED_AWAY = "moved_away"
    """The organ's own mask, moved off it."""


KINDS = frozenset(kind.value for kind in Misnamed)
"""The `source` of examples of this kind."""


def misnamed_masks(
    image: CaseImage, organ: str, others: Sequence[str], real: Mapping[str, Sequence[Path]], count: int, rng: np.random.Generator
) -> Iterator[tuple[str, Mask]]:
    """Yield masks that are called by an organ's name and are not that organ, with what they are.

    Vertebrae and ribs of another level are left out: nothing in a slice tells them apart, so they would teach nothing but doubt.

    Args:
        image: The case.
        organ: The name; the image has this organ.
        others: Organs of the image that are large enough.
        real: Real predictions of organs; where an organ has some, its mask is one of these half of the time.
        count: How many masks, if the image has so many.
        rng: Decides all of it.
    """
    partner = structure_for(organ).partner
    known = [name for name in others if name not in {organ, partner} and _series(name) != _series(organ)]
    ways = [way for way in Misnamed if way is not Misnamed.OTHER_SIDE or partner in others]
    chosen: list[Misnamed] = []
    while len(chosen) < count:
        chosen += [ways[number] for number in rng.permutation(len(ways))]
    reference, unused = image.reference(organ), known
    for way in chosen[:count]:
        if way is Misnamed.MOVED_AWAY:
            mask = shifted(reference, image.spacing, 0.0, rng)
        elif way is Misnamed.OTHER_SIDE and partner:
            mask = _mask(image, partner, real, rng)
        else:
            name = _drawn(image, organ, unused, way, rng) or _drawn(image, organ, known, way, rng)
            if name is None:
                continue
            unused = [other for other in unused if other != name]
            mask = _mask(image, name, real, rng)
        if way is Misnamed.OTHER_SLICES:
            mask = mask & np.logical_not(reference.any(axis=(1, 2), keepdims=True))
        if np.count_nonzero(mask) >= _LEAST_VOXELS:
            yield way.value, mask


def read_prediction(path: Path, grid: Grid) -> Mask:
    """Return a mask of a file as [slice, row, column]. Raises GeometryError when it lies on another grid."""
    volume = read_nifti(path).reoriented("LPS")
    require_same_grid(volume, grid)
    return np.asarray(axial(np.nan_to_num(volume.array) > 0.5))


def _mask(image: CaseImage, organ: str, real: Mapping[str, Sequence[Path]], rng: np.random.Generator) -> Mask:
    files = real.get(organ, ())
    if files and rng.integers(2):
        return read_prediction(files[int(rng.integers(len(files)))], image.masks.grid)
    return image.reference(organ)


def _drawn(image: CaseImage, organ: str, known: Sequence[str], way: Misnamed, rng: np.random.Generator) -> str | None:
    """Return the organ whose mask is taken; None when the image has none for this way."""
    if way is Misnamed.OTHER_SLICES:
        known = [name for name in known if _sticks_out(image, name, organ)]
    if not known:
        return None
    if way is Misnamed.SIMILAR_ORGAN:
        alike = sorted(known, key=lambda name: abs(np.log(image.size(name) / image.size(organ))) + image.distance(name, organ) / _LIKE_MM)
        return alike[int(rng.integers(min(_LIKE, len(alike))))]
    weights: npt.NDArray[np.float64] = np.cbrt([image.size(name) for name in known])
    return known[int(np.searchsorted(np.cumsum(weights), rng.uniform(0, weights.sum()), side="right"))]


def _sticks_out(image: CaseImage, name: str, organ: str) -> bool:
    """Tell whether an organ reaches above or below another one."""
    one, other = image.masks.masks[name].box[2], image.masks.masks[organ].box[2]
    return bool(one.start < other.start or one.stop > other.stop)


def _series(organ: str) -> str:
    """Return a name without its level: that of all lumbar and thoracic vertebrae, or of the ribs of a side, is the same."""
    return "_".join(word for word in name_key(organ).split("_") if not any(letter.isdigit() for letter in word))
