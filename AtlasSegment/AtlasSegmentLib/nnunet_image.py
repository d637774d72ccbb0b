"""A CT as nnU-Net's networks see it: axes, crop, intensities and spacing of the plans; and the way back to the CT's voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from AtlasSegmentLib.components import Box
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.network import Float32
from AtlasSegmentLib.nnunet_plans import NO_RESAMPLING, Configuration, IntensityStatistics, Plans
from AtlasSegmentLib.nnunet_resample import Orders, Shape3, axis_orders, new_shape, resize, resize_axis
from AtlasSegmentLib.volume import Array

_EPS = 1e-8
_SLAB_VOXELS = 1 << 22


@dataclass(frozen=True)
class Layout:
    """How an image's voxels and the network's lie to one another.

    Axes are nnU-Net's: those of the image from last to first, then permuted by the plans.

    Attributes:
        axes: For each of nnU-Net's axes the image's.
        crop: What is not zero all around, on nnU-Net's axes.
        spacing: Of the image, mm.
        target: Of the network, mm.
        shape: Of the network's grid, before padding.
    """

    axes: tuple[int, int, int]
    crop: Box
    spacing: tuple[float, float, float]
    target: tuple[float, float, float]
    shape: Shape3

    @property
    def cropped(self) -> Shape3:
        """Shape of the crop."""
        x, y, z = (part.stop - part.start for part in self.crop)
        return (x, y, z)

    @property
    def axes_of_image(self) -> tuple[int, int, int]:
        """For each axis of the image nnU-Net's."""
        return (self.axes.index(0), self.axes.index(1), self.axes.index(2))

    def box(self) -> Box:
        """Return the crop on the image's own axes."""
        x, y, z = (self.crop[axis] for axis in self.axes_of_image)
        return (x, y, z)

    def to_image(self, array: Array) -> Array:
        """Return an array on nnU-Net's axes (..., X, Y, Z) as a view on the image's."""
        extra = array.ndim - 3
        return array.transpose([*range(extra), *(extra + axis for axis in self.axes_of_image)])


def layout(array: Array, spacing: Sequence[float], plans: Plans, configuration: Configuration) -> Layout:
    """Return how an image is laid out for a configuration.

    Args:
        array: (X, Y, Z) of the image, 0 is nothing.
        spacing: Of its axes, mm.
        plans: Give the order of axes.
        configuration: Gives the spacing; one of 2d keeps that of its first axis.

    Raises:
        InputError: It has fewer than two different voxels, or is so thin that nothing is left at the network's spacing.
    """
    axes = (2 - plans.transpose_forward[0], 2 - plans.transpose_forward[1], 2 - plans.transpose_forward[2])
    crop = _nonzero_box(array.transpose(axes))
    own = (float(spacing[axes[0]]), float(spacing[axes[1]]), float(spacing[axes[2]]))
    wanted = configuration.spacing if len(configuration.spacing) == 3 else (own[0], *configuration.spacing)
    target = (float(wanted[0]), float(wanted[1]), float(wanted[2]))
    if configuration.resampling_data.function == NO_RESAMPLING:
        target = own
    shape = new_shape([part.stop - part.start for part in crop], own, target)
    if min(shape) < 1:
        message = f"The image of {' x '.join(map(str, array.shape))} voxels has no voxel left at {' x '.join(f'{t:g}' for t in target)} mm."
        raise InputError(message, "It is too thin for this model; check its spacing.")
    return Layout(axes, crop, own, target, shape)


def _nonzero_box(array: Array) -> Box:
    """Return the box around what is not zero; the whole array when everything is."""
    found = array != 0
    lines = [np.flatnonzero(found.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    if not lines[0].size:
        return (slice(0, array.shape[0]), slice(0, array.shape[1]), slice(0, array.shape[2]))
    x, y, z = (slice(int(line[0]), int(line[-1]) + 1) for line in lines)
    return (x, y, z)


def network_image(array: Array, form: Layout, plans: Plans, configuration: Configuration) -> Float32:
    """Return what the network is shown.

    Args:
        array: (X, Y, Z) of the image, any real dtype; left as it is.
        form: See `layout`.
        plans: Give the intensities of CTs.
        configuration: Gives normalization and resampling.

    Returns:
        (X, Y, Z) on nnU-Net's axes, float32, C order.
    """
    cropped = array.transpose(form.axes)[form.crop]
    orders = axis_orders(configuration.resampling_data, form.spacing, form.target)
    normalize = normalization(cropped, configuration.normalization[0], configuration.use_mask[0], plans.intensities)
    if len(set(orders)) == 1 and not configuration.use_mask[0]:
        return _resized_in_slabs(cropped, form.shape, orders, normalize)
    return resize(normalize(cropped.astype(np.float32)), form.shape, orders)


def _resized_in_slabs(array: Array, shape: Shape3, orders: Orders, normalize: Callable[[Float32], Float32]) -> Float32:
    """Normalize and resize without a float copy of the whole image; its first axis last."""
    limits = normalize(np.array([array.min(), array.max()], np.float32))
    if array.shape == shape:
        return np.ascontiguousarray(normalize(array.astype(np.float32)))
    result = np.empty((array.shape[0], *shape[1:]), np.float32)
    thick = max(1, _SLAB_VOXELS // (array.shape[1] * array.shape[2]))
    for first in range(0, array.shape[0], thick):
        slab = normalize(array[first : first + thick].astype(np.float32, order="C"))
        for axis in (1, 2):
            slab = resize_axis(slab, axis, shape[axis], orders[axis])
        result[first : first + thick] = slab
    result = resize_axis(result, 0, shape[0], orders[0])
    return np.clip(result, limits.min(), limits.max(), out=result)


def normalization(array: Array, scheme: str, use_mask: bool, intensities: Sequence[IntensityStatistics]) -> Callable[[Float32], Float32]:
    """Return nnU-Net's normalization of an image as a function of its float32 values, which may change them in place.

    Args:
        array: The whole cropped image.
        scheme: nnU-Net's name of it.
        use_mask: Take statistics from, and change, what is not zero alone (with filled holes); the function wants the whole image.
        intensities: Of the first channel in the training data.
    """
    if scheme == "CTNormalization":
        rule = intensities[0]
        return lambda values: _scaled(
            np.clip(values, rule.percentile_00_5, rule.percentile_99_5, out=values), rule.mean, max(rule.std, _EPS)
        )
    if scheme == "ZScoreNormalization":
        return _z_score(array, use_mask)
    if scheme == "RescaleTo01Normalization":
        low = np.float32(array.min())
        return lambda values: _scaled(values, float(low), max(float(np.float32(array.max()) - low), _EPS))
    if scheme == "RGBTo01Normalization":
        return lambda values: _scaled(values, 0.0, 255.0)
    return lambda values: values


def _scaled(values: Float32, offset: float, scale: float) -> Float32:
    values -= np.float32(offset)
    values /= np.float32(scale)
    return values


def _z_score(array: Array, use_mask: bool) -> Callable[[Float32], Float32]:
    if not use_mask:
        mean, std = float(array.mean(dtype=np.float64)), float(array.std(dtype=np.float64))
        return lambda values: _scaled(values, mean, max(std, _EPS))
    from scipy.ndimage import binary_fill_holes

    mask = binary_fill_holes(array != 0)

    def normalize(values: Float32) -> Float32:
        inside = values[mask]
        values[mask] = _scaled(inside, float(inside.mean()), max(float(inside.std()), _EPS))
        return values

    return normalize
