"""A reader's correction of the worst place of a case, simulated: it shows what review does, and says that nobody looked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from AtlasQualityLib.evaluation import dice
from AtlasQualityLib.hot_spots import HotSpot, find_hot_spots
from AtlasQualityLib.mask_set import masks_of_case, masks_of_labels
from AtlasQualityLib.quality_model import cached_quality_model, shipped_model
from AtlasQualityLib.quality_predict import predict_quality
from AtlasReviewLib.case_masks import case_grid, read_mask
from AtlasReviewLib.revisions import save_revision
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.components import Mask, box_dilate, find_components
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.sparse import read_sparse
from AtlasSegmentLib.volume import LabelVolume, Volume
from AtlasSegmentLib.volume_io import read_volume

READER = "simulated reader"
REFERENCE = "the reference"
_GROWN_VOXELS = 2


@dataclass(frozen=True)
class Correction:
    """What was corrected.

    Attributes:
        spot: The place.
        source: Whose labels the region was given: "the reference", or the name of a model.
        voxels: That changed.
        before, after: Dice with the reference; NaN without one.
    """

    spot: HotSpot
    source: str
    voxels: int
    before: float
    after: float


def correct_worst(case: CaseFolder, reference: LabelVolume | None = None) -> Correction | None:
    """Correct the hot spot with the highest score and save that as a revision by the "simulated reader".

    Args:
        case: With average masks and attention maps.
        reference: On the grid of the CT: the region gets its labels there. Without, those of the model whose mask of the organ has the
            highest predicted Dice.

    Returns:
        What was done; None where no map marks a place, or where its organ has been revised before.

    Raises:
        InputError, GeometryError, ModelError, StorageError: As reading, predicting and saving.
    """
    spots = find_hot_spots(case, limit=1)
    if not spots or case.average.revised_mask(spots[0].organ).is_file():
        return None
    spot, grid = spots[0], case_grid(case)
    mask = read_mask(case.average.mask(spot.organ), grid)
    truth = _reference_mask(case, reference, spot.organ)
    source, taken = (REFERENCE, truth) if truth is not None else _best_model(case, spot.organ)
    corrected = np.where(_region(case, spot), taken, mask)
    comment = f"simulated: the labels of {source} in the worst place; nobody looked at it"
    save_revision(case, spot.organ, Volume(corrected.astype(np.uint8), grid.affine, comment), READER, comment=comment, allow_empty=True)
    before, after = (float("nan") if truth is None else dice(one, truth) for one in (mask, corrected))
    return Correction(spot, source, int(np.count_nonzero(mask != corrected)), before, after)


def _region(case: CaseFolder, spot: HotSpot) -> Mask:
    """Return the marked region around a hot spot, and what touches it: errors end a little beyond what is marked."""
    attention = read_sparse(case.average.map("attention", spot.organ)).dense() > 0
    labels = find_components(attention).labels
    own = np.zeros(attention.shape, np.bool_)
    own[attention] = labels[attention] == labels[spot.voxel]
    return box_dilate(own, _GROWN_VOXELS)


def _reference_mask(case: CaseFolder, reference: LabelVolume | None, organ: str) -> Mask | None:
    if reference is None:
        return None
    masks = masks_of_labels(reference).onto(case_grid(case)).masks
    parts = [masks[organ]] if organ in masks else [mask for name, mask in masks.items() if structure_for(name).part_of == organ]
    return np.any([part.dense() != 0 for part in parts], axis=0) if parts else None


def _best_model(case: CaseFolder, organ: str) -> tuple[str, Mask]:
    """Return the model whose mask of an organ is predicted to be best, and that mask."""
    network, ct = cached_quality_model(shipped_model()), read_volume(case.ct)
    found: dict[str, float] = {}
    for name in case.models():
        masks = masks_of_case(case, name)
        if organ in masks.masks:
            found[name] = np.nan_to_num(predict_quality(ct, masks, network, [organ])[organ].dice)
    best = max(sorted(found), key=lambda name: found[name])
    return best, read_mask(case.backbone(best).mask(organ), case_grid(case))
