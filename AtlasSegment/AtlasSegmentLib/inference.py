"""One pipeline for models on a grid: region -> grid -> intensity -> network -> probabilities -> back to the CT, class by class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib import regions
from AtlasSegmentLib.components import Box, bounding_box, grow_box
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.geometry import same_grid
from AtlasSegmentLib.inference_settings import PRESETS, InferenceSettings
from AtlasSegmentLib.model_manifest import ModelManifest
from AtlasSegmentLib.network import Float32
from AtlasSegmentLib.prediction import Region
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.resample import resample
from AtlasSegmentLib.sliding_window import WindowRules, sliding_window
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, trimmed
from AtlasSegmentLib.volume import Array, Grid, Volume
from AtlasSegmentLib.window_input import NetworkInput, network_input
from AtlasSegmentLib.window_nearest import nearest
from AtlasSegmentLib.window_result import FAINT, Kept, Order, activated, faint_limit, nothing_logits, sigmoid
from AtlasSegmentLib.window_stack import ChannelStack

if TYPE_CHECKING:
    from AtlasSegmentLib.markups import Roi
    from AtlasSegmentLib.window_model import WindowModel

__all__ = ["FAINT", "GridPrediction", "hard_labels", "on_ct", "predict", "require_region"]


@dataclass(frozen=True)
class GridPrediction:
    """Probabilities on the model's own grid; see `prediction.Prediction`.

    Attributes:
        spec: The model's manifest.
        grid: The model's grid over the region it saw.
        probabilities: (C, X, Y, Z), float32 or float16, 0..1; see `ModelManifest.channel_of`. Logits of a model that decides on
            interpolated logits.
        decided: (X, Y, Z), the most likely class of each voxel, of a softmax model that decides on its own grid; else None.
        labels: The label map on the CT, where it was made together with the probabilities.
    """

    spec: ModelManifest
    grid: Grid
    probabilities: Array | ChannelStack
    decided: Array | None = None
    labels: SparseVolume | None = None
    _cache: dict[str, Float32] = field(default_factory=dict, repr=False, compare=False)

    def of(self, value: int) -> Array:
        """Return the probability of a label value on the model grid, (X, Y, Z)."""
        return self.crop(self.spec.channel_of(value), self.whole)

    @property
    def whole(self) -> Box:
        """The box of the whole model grid."""
        return (slice(0, self.grid.shape[0]), slice(0, self.grid.shape[1]), slice(0, self.grid.shape[2]))

    def crop(self, channel: int, box: Box) -> Array:
        """Return the values of a channel in a box of the model grid."""
        if isinstance(self.probabilities, ChannelStack):
            return self.probabilities.crop(channel, box)
        result: Array = self.probabilities[channel][box]
        return result

    def found(self, channel: int) -> Box | None:
        """Return the box in which a channel is more than faint, or None."""
        if isinstance(self.probabilities, ChannelStack):
            return self.probabilities.found(channel)
        return bounding_box(self.probabilities[channel] > np.float32(faint_limit(self.spec)))

    def probability(self, ct: Grid, value: int) -> SparseVolume:
        """Return the probability of one label value on the CT's grid; see `on_ct`."""
        if self.spec.output.decide != "logits":
            return on_ct(self, ct, value)
        if self.spec.output.activation == "sigmoid":
            share = on_ct(self, ct, value)
            return SparseVolume(ct, share.box, sigmoid(share.crop))
        logits = _resampled(self.of(value), self.grid, self.whole, ct)
        return SparseVolume(ct, logits.box, np.exp(logits.crop - self._normalizer(ct)))

    def _normalizer(self, ct: Grid) -> Float32:
        """Return the log of the sum of exp of all interpolated logits."""
        if "normalizer" not in self._cache:
            total = _resampled(self.crop(0, self.whole), self.grid, self.whole, ct).crop
            for value in sorted(self.spec.table.labels):
                np.logaddexp(total, _resampled(self.of(value), self.grid, self.whole, ct).crop, out=total)
            self._cache["normalizer"] = total
        return self._cache["normalizer"]

    def masks(self, ct: Grid) -> dict[int, SparseVolume]:
        """Return the mask of each label value: p > threshold of a sigmoid model, the most likely class of a softmax model."""
        values = self.spec.table.labels
        if self.spec.output.activation == "sigmoid":
            return {value: trimmed(self._above_threshold(ct, value)) for value in values}
        labels = self._labels(ct)
        return {value: trimmed(SparseVolume(ct, labels.box, labels.crop == value)) for value in values}

    def _labels(self, ct: Grid) -> SparseVolume:
        if self.decided is not None:
            return nearest(self.decided, self.grid, ct)
        if self.labels is not None and same_grid(self.labels.grid.shape, self.labels.grid.affine, ct.shape, ct.affine):
            return self.labels
        return hard_labels(self, ct)

    def _above_threshold(self, ct: Grid, value: int) -> SparseVolume:
        threshold = self.spec.output.threshold
        if self.spec.output.decide == "labels":
            return nearest(self.of(value) > np.float32(threshold), self.grid, ct)
        if self.spec.output.decide == "logits":
            threshold = float(np.log(threshold / (1 - threshold)))
        share = on_ct(self, ct, value)
        return SparseVolume(ct, share.box, share.crop > np.float32(threshold))


def predict(
    ct: Volume,
    model: WindowModel,
    roi: Roi | Region | None = None,
    progress: ProgressCallback = ignore_progress,
    settings: InferenceSettings = PRESETS["balanced"],
) -> GridPrediction:
    """Run a model over a CT.

    Windows that hold nothing but air are not predicted when `settings` says so: a voxel that no other window covers is background
    there, for certain (its probability is 1 in a softmax, and every sigmoid's is 0); other voxels are decided by the other windows.

    Args:
        ct: HU, any orientation and spacing.
        model: A loaded model.
        roi: The region to look at, "whole" for the whole image, or None: what the settings say for models that slide a window.
        progress: Told the finished share and the stage.
        settings: What it may cost.

    Raises:
        InputError: The model needs an ROI and none was given, or it lies outside the CT.
        ModelError: The network fails.
    """
    spec = model.spec
    progress(0.0, "resample")
    seen = network_input(ct, spec.input, _box(ct, spec, roi, settings), find_air=settings.skip_air and spec.input.patch is not None)
    progress(0.1, "infer")
    mirror = spec.input.mirror_axes if settings.mirror else ()
    if spec.input.fit_shape is not None and spec.output.decide == "probabilities":
        return GridPrediction(spec, seen.grid, activated(model.predict(seen.image, mirror), spec))
    order = _order(seen.image, spec)
    kept = Kept(spec, seen, order)
    streamed = ct.grid if spec.input.grid == "centers" else None  # models on "faces" are decided on in half precision, as ever
    kept.take(_planes(model, seen, order, mirror, settings, progress), streamed)
    return GridPrediction(spec, seen.grid, kept.values, kept.decided, kept.labels)


def _order(image: Float32, spec: ModelManifest) -> Order:
    """Return the axes with the longest first, so that few voxels wait for later windows; models on "faces" keep their order of sums."""
    if spec.input.grid == "faces":
        return (0, 1, 2)
    first = int(np.argmax(image.shape))
    others = [axis for axis in range(3) if axis != first]
    return (first, others[0], others[1])


def _planes(
    model: WindowModel, seen: NetworkInput, order: Order, mirror: tuple[int, ...], settings: InferenceSettings, progress: ProgressCallback
) -> Iterator[tuple[int, Float32]]:
    """Yield merged logits with axes in `order`."""
    rule, back = model.spec.input, np.argsort(order)

    def run(window: Float32) -> Float32:
        return model.predict(window.transpose(back), mirror).transpose(0, *(1 + axis for axis in order))

    if rule.patch is None:
        yield 0, run(seen.image.transpose(order))
        return
    air = None if seen.air is None else seen.air.transpose(order)
    rules = WindowRules(rule.weights, rule.padding, rule.padding_value, air, nothing_logits(model.spec))
    yield from sliding_window(
        seen.image.transpose(order),
        [rule.patch[axis] for axis in order],
        rule.overlap if settings.step is None else 1 - settings.step,
        run,
        lambda done: progress(0.1 + 0.9 * done, "infer"),
        rules=rules,
    )


def _box(ct: Volume, spec: ModelManifest, roi: Roi | Region | None, settings: InferenceSettings) -> npt.NDArray[np.float64]:
    if roi is not None and roi != "whole":
        return regions.roi_box(ct.grid, roi)
    if roi == "whole":
        return regions.whole_box(ct.grid)
    require_region(ct, spec, roi)
    return regions.body_box(ct) if settings.body else regions.whole_box(ct.grid)


def require_region(ct: Volume, spec: ModelManifest, roi: Roi | Region | None) -> None:
    """Check that a model gets the region it needs, inside the CT. Raises InputError."""
    if roi is None and spec.needs_roi:
        message = f"{ct.source or 'CT'}: model {spec.name} needs a region of interest and none was given."
        raise InputError(message, "Give --roi FILE.mrk.json (a Slicer ROI around the region), or --roi whole.")
    if roi is not None and roi != "whole":
        regions.require_covered(ct.grid, regions.roi_box(ct.grid, roi))


def on_ct(prediction: GridPrediction, ct: Grid, value: int) -> SparseVolume:
    """Return the probability of one label value on the CT's grid, by linear interpolation; float32.

    Only the box where it exceeds FAINT is resampled; outside it the value is 0. Outside the model's region it is 0 too.
    """
    channel = prediction.spec.channel_of(value)
    found = prediction.found(channel)
    if found is None:
        return SparseVolume(ct, EMPTY_BOX, np.zeros((0, 0, 0), np.float32))
    box = grow_box(found, 1, prediction.grid.shape)
    return _resampled(prediction.crop(channel, box), prediction.grid, box, ct)


def _resampled(values: Array, model_grid: Grid, model_box: Box, ct: Grid) -> SparseVolume:
    """Return values in a box of the model's grid on the CT."""
    source = regions.sub_grid(model_grid, model_box)
    box = regions.covered_voxels(ct, source)
    crop = Volume(values.astype(np.float32, copy=False), source.affine)
    return SparseVolume(ct, box, resample(crop, regions.sub_grid(ct, box)).array)


def hard_labels(prediction: GridPrediction, ct: Grid) -> SparseVolume:
    """Return the label map of a softmax model on the CT's grid: the class with the largest interpolated probability.

    A running arg-max over the classes: three volumes of the region in memory, however many classes there are. The first of
    equal classes wins, as with numpy.argmax.
    """
    background = _resampled(prediction.crop(0, prediction.whole), prediction.grid, prediction.whole, ct)
    best = background.crop
    dtype = np.uint8 if max(prediction.spec.table.labels) < 256 else np.uint16
    labels = SparseVolume(ct, background.box, np.zeros(best.shape, dtype, order="F"))
    dense = prediction.spec.output.decide == "logits"
    for value in sorted(prediction.spec.table.labels):
        share = _resampled(prediction.of(value), prediction.grid, prediction.whole, ct) if dense else on_ct(prediction, ct, value)
        inner = tuple(slice(s.start - r.start, s.stop - r.start) for s, r in zip(share.box, labels.box, strict=True))
        wins = share.crop > best[inner]
        labels.crop[inner][wins] = value
        best[inner][wins] = share.crop[wins]
    return labels
