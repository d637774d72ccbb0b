"""One pipeline for every model: region -> model grid -> intensity -> network -> probabilities -> back to the CT, class by class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib import regions
from AtlasSegmentLib.components import Box, bounding_box, grow_box
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.intensity import normalized
from AtlasSegmentLib.model import Float32, Model
from AtlasSegmentLib.model_manifest import ModelManifest
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.resample import resample
from AtlasSegmentLib.sliding_window import sliding_window
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume
from AtlasSegmentLib.volume import Array, Grid, Volume

if TYPE_CHECKING:
    from AtlasSegmentLib.markups import Roi

Region = Literal["whole"]

FAINT = np.float32(5e-4)
"""Probabilities up to this are stored as 0 in both byte maps (255 * p < 1 and -255 p ln p < 1), so nothing is lost by skipping them."""


@dataclass(frozen=True)
class Prediction:
    """What a model says about a CT, on the model's own grid.

    Attributes:
        spec: The model's manifest.
        grid: The model's grid over the region it saw.
        probabilities: (C, X, Y, Z), float32 or float16, 0..1; see `ModelManifest.channel_of`.
    """

    spec: ModelManifest
    grid: Grid
    probabilities: Array

    def of(self, value: int) -> Array:
        """Return the probability of a label value on the model grid, (X, Y, Z)."""
        result: Array = self.probabilities[self.spec.channel_of(value)]
        return result


def predict(ct: Volume, model: Model, roi: Roi | Region | None = None, progress: ProgressCallback = ignore_progress) -> Prediction:
    """Run a model over a CT.

    Args:
        ct: HU, any orientation and spacing.
        model: A loaded model.
        roi: The region to look at, "whole" for the whole image, or None: the body box for models that slide a window.
        progress: Told the finished share and the stage.

    Raises:
        InputError: The model needs an ROI and none was given, or it lies outside the CT.
        ModelError: The network fails.
    """
    spec = model.spec
    progress(0.0, "resample")
    grid = _model_grid(ct, spec, _box(ct, spec, roi))
    image = normalized(resample(ct, grid).array, spec.input.intensity)
    progress(0.1, "infer")
    if spec.input.patch is None:
        return Prediction(spec, grid, _activated(model.predict(image), spec))
    probabilities = np.zeros((spec.channels, *grid.shape), np.float16)
    windows = sliding_window(image, spec.input.patch, spec.input.overlap, model.predict, lambda done: progress(0.1 + 0.9 * done, "infer"))
    for first, logits in windows:
        probabilities[:, first : first + logits.shape[1]] = _activated(logits, spec)
    return Prediction(spec, grid, probabilities)


def _box(ct: Volume, spec: ModelManifest, roi: Roi | Region | None) -> npt.NDArray[np.float64]:
    if roi == "whole":
        return regions.whole_box(ct.grid)
    if roi is not None:
        return regions.roi_box(ct.grid, roi)
    require_region(ct, spec, roi)
    return regions.body_box(ct)


def require_region(ct: Volume, spec: ModelManifest, roi: Roi | Region | None) -> None:
    """Check that a model gets the region it needs, inside the CT. Raises InputError."""
    if roi is None and spec.needs_roi:
        message = f"{ct.source or 'CT'}: model {spec.name} needs a region of interest and none was given."
        raise InputError(message, "Give --roi FILE.mrk.json (a Slicer ROI around the region), or --roi whole.")
    if roi is not None and roi != "whole":
        regions.require_covered(ct.grid, regions.roi_box(ct.grid, roi))


def _model_grid(ct: Volume, spec: ModelManifest, box: npt.NDArray[np.float64]) -> Grid:
    if spec.input.fit_shape is not None:
        return regions.fitted_grid(ct.grid, spec.input.orientation, box, spec.input.fit_shape)
    return regions.spaced_grid(ct.grid, spec.input.orientation, box, spec.input.spacing or (1.0, 1.0, 1.0))


def _activated(logits: Float32, spec: ModelManifest) -> Float32:
    """Turn logits (C, ...) into probabilities in place."""
    if spec.output.activation == "softmax":
        logits -= logits.max(axis=0)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=0)
        return logits
    np.clip(logits, -80, 80, out=logits)  # exp overflows float32 beyond that, and sigmoid is 0 or 1 there
    np.negative(logits, out=logits)
    np.exp(logits, out=logits)
    logits += 1
    return np.reciprocal(logits, out=logits)


def on_ct(prediction: Prediction, ct: Grid, value: int) -> SparseVolume:
    """Return the probability of one label value on the CT's grid, by linear interpolation; float32.

    Only the box where it exceeds FAINT is resampled; outside it the value is 0. Outside the model's region it is 0 too.
    """
    probability = prediction.of(value)
    found = bounding_box(probability > FAINT)
    if found is None:
        return SparseVolume(ct, EMPTY_BOX, np.zeros((0, 0, 0), np.float32))
    return _resampled(probability, prediction.grid, grow_box(found, 1, prediction.grid.shape), ct)


def _resampled(probability: Array, model_grid: Grid, model_box: Box, ct: Grid) -> SparseVolume:
    source = regions.sub_grid(model_grid, model_box)
    box = regions.covered_voxels(ct, source)
    crop = Volume(probability[model_box].astype(np.float32, copy=False), source.affine)
    return SparseVolume(ct, box, resample(crop, regions.sub_grid(ct, box)).array)


def hard_labels(prediction: Prediction, ct: Grid) -> SparseVolume:
    """Return the label map of a softmax model on the CT's grid: the class with the largest interpolated probability.

    A running arg-max over the classes: three volumes of the region in memory, however many classes there are. The first of
    equal classes wins, as with numpy.argmax.
    """
    whole = (slice(0, prediction.grid.shape[0]), slice(0, prediction.grid.shape[1]), slice(0, prediction.grid.shape[2]))
    background = _resampled(prediction.probabilities[0], prediction.grid, whole, ct)
    best = background.crop
    dtype = np.uint8 if max(prediction.spec.table.labels) < 256 else np.uint16
    labels = SparseVolume(ct, background.box, np.zeros(best.shape, dtype, order="F"))
    for value in sorted(prediction.spec.table.labels):
        share = on_ct(prediction, ct, value)
        inner = tuple(slice(s.start - r.start, s.stop - r.start) for s, r in zip(share.box, labels.box, strict=True))
        wins = share.crop > best[inner]
        labels.crop[inner][wins] = value
        best[inner][wins] = share.crop[wins]
    return labels
