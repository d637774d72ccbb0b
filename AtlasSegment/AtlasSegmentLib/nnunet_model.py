"""nnU-Net v2 models: plans, labels and the networks of their folds, run exactly as nnU-Net runs them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.inference_settings import InferenceSettings
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.network import Float32, Network, use_precision
from AtlasSegmentLib.nnunet_back import Blocks, LabelSlab, labels_of, largest, on_host, painted
from AtlasSegmentLib.nnunet_device import DeviceLabels, gpu_of, mirrored_on_device, sums_on
from AtlasSegmentLib.nnunet_image import Layout, layout, network_image
from AtlasSegmentLib.nnunet_labels import Dataset
from AtlasSegmentLib.nnunet_plans import Configuration, Plans
from AtlasSegmentLib.nnunet_prediction import LogitStore, NnunetPrediction
from AtlasSegmentLib.nnunet_region import looked_at
from AtlasSegmentLib.nnunet_resample import Shape3, axis_orders, resize_labels
from AtlasSegmentLib.nnunet_window import Half, Place, merged_planes, mirrored
from AtlasSegmentLib.prediction import Region
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Array, Grid, Volume

if TYPE_CHECKING:
    from torch import Tensor

    from AtlasSegmentLib.markups import Roi

_STEP = 0.5
_AIR_HU = -900
_SURE = 30.0  # logit of background where no window was predicted


@dataclass(frozen=True)
class NnunetSpec:
    """See `prediction.ModelSpec`; and what nnU-Net's own files say.

    Attributes:
        name: Its name in a case folder.
        dataset: dataset.json.
        plans: plans.json.
        configuration: The one that it was trained with.
        mirror_axes: Spatial axes that may be flipped; None when it was trained without mirroring.
        folds: Names of its folds.
        sha256: Of all its weights.
        orientation: Axis codes of its training images, such as "RAS"; None when nobody knows: then the file's order is kept.
    """

    name: str
    dataset: Dataset
    plans: Plans
    configuration: Configuration
    mirror_axes: tuple[int, ...] | None
    folds: tuple[str, ...]
    sha256: str
    orientation: str | None = None
    title: str = ""
    version: str = ""
    license: str = ""
    citation: str = ""
    needs_roi: bool = False

    @property
    def table(self) -> LabelTable:
        """Label value to structure name."""
        return self.dataset.table

    @property
    def window(self) -> tuple[int, int, int]:
        """Shape of a window on nnU-Net's axes; one plane for 2d."""
        patch = self.configuration.patch
        return (patch[0], patch[1], patch[2]) if len(patch) == 3 else (1, patch[0], patch[1])

    def channel_of(self, value: int) -> int:
        """Return the channel that predicts a label value."""
        return self.dataset.regions_class_order.index(value) if self.dataset.has_regions else value

    def record(self) -> dict[str, Any]:
        """Return what decides the result."""
        return {
            "nnunet": {"configuration": self.configuration.name, "spacing": self.configuration.spacing, "patch": self.configuration.patch},
            "folds": self.folds,
            "orientation": self.orientation,
            "labels": {str(value): name for value, name in self.table.labels.items()},
        }


@dataclass(frozen=True)
class Job:
    """One image to predict: the image, how it is laid out, and what `NnunetModel.labels` was given beside it."""

    image: Volume
    form: Layout
    settings: InferenceSettings
    progress: ProgressCallback
    before: Array | None


class NnunetModel:
    """A trained nnU-Net; see `model.Model`.

    Args:
        spec: What its files say.
        networks: One for each fold.
        previous: The model of the stage before in a cascade.
    """

    def __init__(self, spec: NnunetSpec, networks: Sequence[Network], previous: NnunetModel | None = None) -> None:
        self._spec, self._networks, self._previous = spec, tuple(networks), previous

    @property
    def spec(self) -> NnunetSpec:
        """What its files say."""
        return self._spec

    @property
    def engine(self) -> str:
        """The engine and device really in use."""
        return self._networks[0].engine

    @property
    def device(self) -> Literal["gpu", "cpu"]:
        """Where it really runs."""
        return self._networks[0].device

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks of its folds and of the stage before; see `Model`."""
        return (*self._networks, *(() if self._previous is None else self._previous.networks))

    def require_region(self, ct: Volume, roi: Roi | Region | None) -> None:
        """Check that the region lies in the CT; see `Model`."""
        if roi is not None and roi != "whole":
            from AtlasSegmentLib import regions

            regions.require_covered(ct.grid, regions.roi_box(ct.grid, roi))

    def segment(
        self, ct: Volume, roi: Roi | Region | None, settings: InferenceSettings, progress: ProgressCallback = ignore_progress
    ) -> NnunetPrediction:
        """Run it over a CT; see `Model`."""
        return self.predict(looked_at(ct, roi, settings, self._spec.orientation), settings, progress)

    def predict(
        self, image: Volume, settings: InferenceSettings, progress: ProgressCallback = ignore_progress, before: Array | None = None
    ) -> NnunetPrediction:
        """Return labels and logits of an image; arguments as of `labels`."""
        form = self._layout(image)
        store = LogitStore(self._spec.dataset.heads, form.shape)
        labels, blocks = self._labels(Job(image, form, settings, progress, before), store)
        return NnunetPrediction(self._spec, network_grid(form, image.grid), image.grid, form, labels, store.array, blocks)

    def labels(
        self, image: Volume, settings: InferenceSettings, progress: ProgressCallback = ignore_progress, before: Array | None = None
    ) -> Array:
        """Return the label map alone, (X, Y, Z) on the image's grid; uint8, or uint16 with 255 labels or more.

        Args:
            image: HU, in the voxel order that the model wants; the whole of it, or the body's box where the settings say so.
            settings: Step, mirroring, folds, body and air.
            progress: Told the finished share and the stage.
            before: Labels of the stage before in a cascade, on the image's grid; None computes them.
        """
        return self._labels(Job(image, self._layout(image), settings, progress, before), None)[0]

    def _layout(self, image: Volume) -> Layout:
        return layout(image.array, image.spacing.tolist(), self._spec.plans, self._spec.configuration)

    def _labels(self, job: Job, store: LogitStore | None) -> tuple[Array, Blocks]:
        form = job.form
        dataset, rule = self._spec.dataset, self._spec.configuration.resampling_probabilities
        orders = axis_orders(rule, form.target, form.spacing)
        blocks = Blocks.between(form.shape, form.cropped, orders)
        planes = self._planes(job)
        highest = max(dataset.regions_class_order) if dataset.has_regions else len(dataset.foreground)
        dtype = np.uint8 if highest < 255 else np.uint16
        found = labels_of(planes if store is None else store.keep(planes), blocks, self._label_slab(blocks), dtype)
        labels = np.zeros(job.image.shape, dtype, order="F")
        labels[form.box()] = form.to_image(found)
        return labels, blocks

    def _label_slab(self, blocks: Blocks) -> LabelSlab:
        order = self._spec.dataset.regions_class_order if self._spec.dataset.has_regions else None
        host = on_host(blocks, largest if order is None else painted(order))
        device = gpu_of(self._networks)
        return host if device is None else DeviceLabels(device, blocks, order, host)

    def _planes(self, job: Job) -> Iterator[tuple[int, Half]]:
        """Yield finished planes of logits on the network's grid, without padding, averaged over folds."""
        form, settings, progress = job.form, job.settings, job.progress
        networks = self._networks[: settings.folds]
        for network in networks:
            use_precision(network, settings.precision)
        shown = self._shown(job)
        padded, first = _padded(shown, self._spec.window)
        del shown
        progress(0.05, "infer")
        device = gpu_of(networks)
        sums = [sums_on(device, self._spec.dataset.heads, (self._spec.window[0], padded.shape[2], padded.shape[3])) for _ in networks]
        axes = self._spec.mirror_axes if settings.mirror else None
        flat = len(self._spec.configuration.patch) == 2
        air = _air(job.image, form, first) if settings.skip_air else None

        def predict(window: Float32, place: Place) -> list[Float32 | Tensor] | None:
            if air is not None and air(place):
                return None
            batch = window[:, :, 0] if flat else window
            run = mirrored if device is None else mirrored_on_device
            found = (self._checked(run(network, batch, axes)) for network in networks)
            return [logits[:, None] if flat else logits for logits in found]

        merged = merged_planes(
            padded, self._spec.window, settings.step or _STEP, predict, sums, lambda done: progress(0.05 + 0.9 * done, "infer")
        )
        inner = tuple(slice(a, a + n) for a, n in zip(first, form.shape, strict=True))
        for plane, folds in merged:
            begin, stop = max(plane, inner[0].start), min(plane + folds[0].shape[1], inner[0].stop)
            if begin < stop:
                part = (slice(None), slice(begin - plane, stop - plane), *inner[1:])
                yield begin - inner[0].start, self._finished([fold[part] for fold in folds])

    def _checked(self, logits: Float32 | Tensor) -> Float32 | Tensor:
        heads = self._spec.dataset.heads
        if len(logits) != heads:
            message = f"{self._spec.name}: the network gives {len(logits)} channels, dataset.json has {heads} labels."
            raise ModelError(message, "Copy network and dataset.json again; they are not of one model.")
        return logits

    def _shown(self, job: Job) -> Float32:
        """Return what the network sees, (C, X, Y, Z): the image, and in a cascade each label of the stage before."""
        spec, form, image, before = self._spec, job.form, job.image, job.before
        cascade = spec.configuration.previous_stage is not None
        if before is None and self._previous is not None:
            before = self._previous.labels(image, job.settings, lambda done, stage: job.progress(0.04 * done, f"first stage: {stage}"))
        job.progress(0.04, "resample")
        shown = network_image(image.array, form, spec.plans, spec.configuration)
        if before is None or not cascade:
            return shown[None]
        orders = axis_orders(spec.configuration.resampling_seg, form.spacing, form.target)
        labels = resize_labels(before.transpose(form.axes)[form.crop], form.shape, orders)
        return np.stack([shown, *((labels == value).astype(np.float32) for value in spec.dataset.foreground)])

    def _finished(self, folds: list[Half]) -> Half:
        total = np.ascontiguousarray(folds[0])
        for fold in folds[1:]:
            total += fold
        if len(folds) > 1:
            total /= np.float16(len(folds))
        empty = np.isnan(total[0])
        if empty.any():  # no window looked there
            total[:, empty] = -_SURE if self._spec.dataset.has_regions else 0
            if not self._spec.dataset.has_regions:
                total[0, empty] = _SURE
        if np.isinf(total).any():
            message = f"{self._spec.name}: the network gives logits beyond half precision (65504)."
            raise ModelError(message, "Its weights are damaged, or the image is no CT in Hounsfield units.")
        return total


def network_grid(form: Layout, image: Grid) -> Grid:
    """Return the network's grid on the image's axes: its outer faces are those of the crop."""
    steps = [form.cropped[axis] / form.shape[axis] for axis in form.axes_of_image]
    first = [form.crop[axis].start for axis in form.axes_of_image]
    affine = np.eye(4)
    affine[:3, :3] = np.diag(steps)
    affine[:3, 3] = [start + step / 2 - 0.5 for start, step in zip(first, steps, strict=True)]
    x, y, z = (form.shape[axis] for axis in form.axes_of_image)
    return Grid((x, y, z), image.affine @ affine, image.source)


def _padded(image: Float32, window: Shape3) -> tuple[Float32, Shape3]:
    """Return an image (C, X, Y, Z) padded with 0 to the size of a window, and where its first voxel lies now."""
    missing = [max(0, w - n) for n, w in zip(image.shape[1:], window, strict=True)]
    x, y, z = (n // 2 for n in missing)
    if any(missing):
        image = np.pad(image, [(0, 0), *((n // 2, n - n // 2) for n in missing)])
    return image, (x, y, z)


def _air(image: Volume, form: Layout, first: Shape3) -> Any:
    """Return what tells whether the image holds air alone at a place of the padded network grid."""
    array = image.array.transpose(form.axes)[form.crop]

    def only_air(place: Place) -> bool:
        box = []
        for part, pad, size, grown in zip(place, first, form.shape, array.shape, strict=True):
            low, high = max(0, part.start - pad) * grown / size, min(size, part.stop - pad) * grown / size
            box.append(slice(int(low), max(int(low) + 1, int(np.ceil(high)))))
        seen = array[tuple(box)]
        return seen.size == 0 or bool(seen.max() <= _AIR_HU)

    return only_air
