"""The predicted Dice of masks on a CT: all masks of a case in a few forward passes, with the score of every slice looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from AtlasQualityLib.in_threads import in_threads
from AtlasQualityLib.mask_set import MaskSet
from AtlasQualityLib.quality_embedding import Float32
from AtlasQualityLib.quality_estimate import LookedAt, mask_score, score_spread, slices_to_score
from AtlasQualityLib.quality_model import QualityModel
from AtlasQualityLib.quality_slices import CHANNELS, Box2, axial, mask_box, slice_input
from AtlasQualityLib.slice_scores import ScoredSlice
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.sparse import SparseVolume
from AtlasSegmentLib.volume import Array, Volume

ORDER = "LPS"
_AT_ONCE = 128
"""Slices prepared together: 17 MB at 128 x 128."""


@dataclass(frozen=True)
class MaskQuality:
    """The predicted quality of one mask.

    Attributes:
        organ: Its name.
        dice: Predicted Dice, calibrated, 0..1; NaN for an empty mask, of which nothing can be said.
        score: The same before calibration.
        spread: Standard deviation of the scores of its slices with mask, each weighted as in `score` ("volume": by its area and the slices
            it stands for): how unevenly good it is, and how unsure the number.
        slices: What was looked at, from the feet to the head; their scores are kept within 0..1, which the network's own may leave.
    """

    organ: str
    dice: float
    score: float
    spread: float
    slices: tuple[ScoredSlice, ...]

    @property
    def worst(self) -> ScoredSlice | None:
        """The slice with the lowest score; of equal ones one with mask, and the one nearest to the feet."""
        return min(self.slices, key=lambda one: (one.score, not one.has_mask), default=None)


def predict_quality(
    ct: Volume, masks: MaskSet, model: QualityModel, organs: Sequence[str] | None = None, progress: ProgressCallback = ignore_progress
) -> dict[str, MaskQuality]:
    """Return the predicted quality of the masks of a CT, in the order of `organs`.

    Args:
        ct: HU, any orientation.
        masks: On the CT's grid; their array order may differ. 0 is outside, one other value inside.
        model: Loaded.
        organs: Names of masks; all by default.
        progress: Told the finished share.

    Raises:
        GeometryError: Masks and CT lie on different grids.
        InputError: The CT is not finite near a mask, a mask has several values, an organ is not among the masks, or the model knows no
            text for it.
        ModelError: The network fails.
    """
    names = list(masks.masks if organs is None else organs)
    unknown = [name for name in names if name not in masks.masks]
    if unknown:
        message = f"{masks.name}: there is no mask of {', '.join(unknown)}."
        raise InputError(message, f"Masks: {', '.join(masks.masks) or 'none'}.")
    vectors = {name: model.embedding(name) for name in names}
    turned = ct.reoriented(ORDER)
    onto = masks.onto(turned.grid)
    jobs = [_Mask(name, onto.masks[name], model) for name in names]
    todo = [(job, one) for job in jobs for one in job.looked_at]
    scores: dict[str, list[float]] = {name: [] for name in names}
    for first in range(0, len(todo), _AT_ONCE):
        progress(first / len(todo), "predict quality")
        part = todo[first : first + _AT_ONCE]
        images = _inputs(turned, part, model)
        found = model.scorer.run(images, np.stack([vectors[job.organ] for job, _ in part]))
        for (job, _), score in zip(part, found, strict=True):
            scores[job.organ].append(float(score))
    return {job.organ: _quality(job, scores[job.organ], turned, model) for job in jobs}


class _Mask:
    """A mask in LPS order, with what will be looked at."""

    def __init__(self, organ: str, mask: SparseVolume, model: QualityModel) -> None:
        self.organ, self._rows, self._columns = organ, mask.box[1], mask.box[0]
        require_binary(organ, mask)
        self._crop = axial(mask.crop != 0)
        self._first, self._shape = mask.box[2].start, (mask.grid.shape[1], mask.grid.shape[0])
        self.areas = np.zeros(mask.grid.shape[2], np.int64)
        self.areas[mask.box[2]] = np.count_nonzero(self._crop, axis=(1, 2))
        self.looked_at = slices_to_score(self.areas, model.manifest.estimate, model.manifest.count)

    def slice(self, index: int) -> tuple[Array, Box2]:
        """Return a slice of the mask (rows, columns), and the box of its voxels."""
        whole = np.zeros(self._shape, np.bool_)
        whole[self._rows, self._columns] = self._crop[index - self._first]
        box = mask_box(whole[self._rows, self._columns])
        if box is None:
            raise AssertionError
        row, column = self._rows.start, self._columns.start
        return whole, (box[0] + row, box[1] + row, box[2] + column, box[3] + column)


def require_binary(organ: str, mask: SparseVolume) -> None:
    """Check that a mask has one value beside 0. Raises InputError."""
    inside = mask.crop[mask.crop != 0]
    if inside.size and (inside.min() != inside.max() or not np.isfinite(inside.max())):  # NaN is not equal to itself
        held = f"values of {inside.min()} to {inside.max()}" if np.isfinite(inside).all() else "values that are no numbers"
        message = f"{mask.grid.source or 'masks'}: the mask of {organ} holds {held}; a mask has 0 and one other value."
        raise InputError(message, "Write it as a binary mask; of a label map, one file for each value.")


def _inputs(ct: Volume, part: Sequence[tuple[_Mask, LookedAt]], model: QualityModel) -> Float32:
    rule = model.manifest.slices.rule
    slices, spacing = axial(ct.array), (float(ct.spacing[1]), float(ct.spacing[0]))
    images = np.empty((len(part), CHANNELS, rule.size, rule.size), np.float32)

    def prepare(number: int) -> None:
        job, one = part[number]
        mask, box = job.slice(one.nearest)
        images[number] = slice_input(slices[one.index], mask if one.has_mask else np.zeros_like(mask), spacing, rule, box)

    for _ in in_threads(prepare, range(len(part))):
        pass
    bad = np.flatnonzero(~np.isfinite(images.reshape(len(part), -1)).all(axis=1))
    if len(bad):
        job, one = part[int(bad[0])]
        message = f"{ct.source or 'CT'}: holds values that are not finite near {job.organ}, in axial slice {one.index}."
        raise InputError(message, "Repair the CT: atlas info CT lists what is wrong with it.")
    return images


def _quality(job: _Mask, scores: Sequence[float], ct: Volume, model: QualityModel) -> MaskQuality:
    if not job.looked_at:
        return MaskQuality(job.organ, math.nan, 0.0, 0.0, ())
    score = mask_score(job.looked_at, scores, job.areas, model.manifest.estimate)
    return MaskQuality(
        job.organ,
        float(np.clip(model.manifest.calibration(score), 0, 1)),
        score,
        score_spread(job.looked_at, scores, job.areas, model.manifest.estimate),
        tuple(_slice_scores(job, scores, ct)),
    )


def _slice_scores(job: _Mask, scores: Sequence[float], ct: Volume) -> Iterator[ScoredSlice]:
    x, y, _ = ((n - 1) / 2 for n in ct.shape)
    for one, score in zip(job.looked_at, scores, strict=True):
        position = ct.affine[2] @ np.array([x, y, one.index, 1.0])
        yield ScoredSlice(one.index, float(position), min(max(score, 0.0), 1.0), one.has_mask)
