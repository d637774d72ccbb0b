"""nnU-Net's sums and arg-max on the GPU that the network runs on: the same numbers as on the host, which gets planes and labels only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from AtlasSegmentLib.engine_memory import memory_full
from AtlasSegmentLib.network import Float32, Network
from AtlasSegmentLib.nnunet_back import Blocks, LabelSlab
from AtlasSegmentLib.nnunet_resample import LinearAxis
from AtlasSegmentLib.nnunet_window import Half, HalfSums, Place, Sums, flips
from AtlasSegmentLib.torch_device import is_gpu
from AtlasSegmentLib.torch_network import TorchNetwork
from AtlasSegmentLib.volume import Array

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_log = logging.getLogger(__name__)
_FULL = "GPU memory is full; the windows of this image are merged in host memory, which takes longer."


def gpu_of(networks: Sequence[Network]) -> torch.device | None:
    """Return the GPU that all networks run on as Torch modules; None where one runs elsewhere."""
    devices = {network.torch_device if isinstance(network, TorchNetwork) else None for network in networks}
    device = devices.pop()
    return device if not devices and device is not None and is_gpu(device) else None


def sums_on(device: torch.device | None, channels: int, shape: tuple[int, int, int]) -> Sums:
    """Return sums of windows on a GPU, or in host memory where there is none or it is full."""
    if device is None:
        return HalfSums(channels, shape)
    try:
        return DeviceSums(channels, shape, device)
    except RuntimeError as error:
        if memory_full(error, on_gpu=True) is None:
            raise
    _log.warning(_FULL)
    return HalfSums(channels, shape)


class DeviceSums:
    """`HalfSums` on a device."""

    def __init__(self, channels: int, shape: tuple[int, int, int], device: torch.device) -> None:
        import torch

        self._sums = torch.zeros((channels, *shape), dtype=torch.float16, device=device)

    def add(self, place: Place, logits: Float32 | Tensor, weights: Float32) -> None:
        """Add logits (C, *window) on any device, times weights (window), at a place."""
        import torch

        device = self._sums.device
        factor = torch.from_numpy(weights).to(device)
        for channel, values in enumerate(torch.as_tensor(logits)):
            self._sums[channel][place].add_(values.to(device, torch.float32) * factor)

    def take(self, planes: int, weights: Half) -> Half:
        """Return the first planes divided by their weights (planes, Y, Z), on the host, and move the rest to the front."""
        import torch

        divisor = torch.from_numpy(weights.astype(np.float32)).to(self._sums.device)
        finished = np.empty((len(self._sums), planes, *self._sums.shape[2:]), np.float16)
        for channel, sums in enumerate(self._sums):
            finished[channel] = (sums[:planes].float() / divisor).half().cpu().numpy()
            sums[: len(sums) - planes] = sums[planes:].clone()
            sums[len(sums) - planes :] = 0
        return finished


def mirrored_on_device(network: Network, batch: Float32, axes: Sequence[int] | None) -> Tensor:
    """Run a network on a batch and its flips; as `nnunet_window.mirrored`, but the result (channels, *patch) stays on the device."""
    import torch

    assert isinstance(network, TorchNetwork)
    sets = flips(axes)
    total = network.run_tensor(torch.from_numpy(batch))[0]
    for flipped in sets[1:]:
        turned = [axis + 2 for axis in flipped]
        result = network.run_tensor(torch.from_numpy(batch).flip(turned))[0]
        total = total + result.to(total.device).flip([axis - 1 for axis in turned])
    return total / len(sets) if len(sets) > 1 else total


class DeviceLabels:
    """Decides the labels of slabs on a device: class by class, keeping the best one so far. See `nnunet_back.LabelSlab`.

    Args:
        device: Where.
        blocks: From the network's grid to the image's.
        order: The label of each region in the order of the channels; None takes the class with the largest logit.
        host: Takes over when the device's memory is full.
    """

    def __init__(self, device: torch.device, blocks: Blocks, order: Sequence[int] | None, host: LabelSlab) -> None:
        self._device: torch.device | None = device
        self._blocks, self._order, self._host = blocks, order, host

    def __call__(self, labels: Array, slab: Half, number: int) -> None:
        """Write the labels (X, Y, Z) of a slab of logits (C, samples, Y, Z)."""
        if self._device is not None and labels.size:
            try:
                labels[...] = self._decided(slab, number, self._device, small=labels.dtype == np.uint8)
                return
            except RuntimeError as error:
                if memory_full(error, on_gpu=True) is None:
                    raise
            self._device = None  # only here are the tensors of the failed attempt gone
            _log.warning(_FULL)
        self._host(labels, slab, number)

    def _decided(self, slab: Half, number: int, device: torch.device, *, small: bool) -> Array:
        import torch

        axes = [_Axis(axis, part, device) for axis, part in zip(self._blocks.axes, self._parts(number), strict=True)]
        labels: Tensor | None = None
        best: Tensor | None = None
        for channel, values in enumerate(torch.from_numpy(np.ascontiguousarray(slab)).to(device)):
            value = _interpolated(values.float(), axes)
            if labels is None:
                labels = torch.zeros(value.shape, dtype=torch.uint8 if small else torch.int32, device=device)
            if self._order is not None:
                labels[value > 0] = self._order[channel]
            elif best is None:
                best = value
            else:
                labels[value > best] = channel
                best = torch.maximum(best, value, out=best)
        assert labels is not None
        result: Array = labels.cpu().numpy()
        return result

    def _parts(self, number: int) -> list[tuple[slice, int]]:
        """Return which voxels of the image, and which first sample, the slab has along each axis."""
        (x, y, z), first = self._blocks.shape, self._blocks.samples[0][number].start
        voxels = self._blocks.voxels[0][number]
        return [(slice(voxels.start, min(voxels.stop, x)), first), (slice(0, y), 0), (slice(0, z), 0)]


class _Axis:
    """Neighbors and weights of a part of an axis, on a device."""

    def __init__(self, axis: LinearAxis, part: tuple[slice, int], device: torch.device) -> None:
        import torch

        where, first = part
        lower = axis.lower[where] - first
        self.lower = torch.from_numpy(lower).to(device)
        self.upper = torch.from_numpy(np.minimum(lower + 1, axis.source - 1 - first)).to(device)
        self.weight = torch.from_numpy(axis.weight[where]).to(device) if axis.weight[where].any() else None


def _interpolated(values: Tensor, axes: Sequence[_Axis]) -> Tensor:
    """Interpolate values (samples) to voxels, with the same operations in the same order as `Blocks.interpolated`."""
    for number, axis in enumerate(axes):
        low = values.index_select(number, axis.lower)
        if axis.weight is not None:
            high = values.index_select(number, axis.upper)
            high -= low
            high *= axis.weight.reshape([-1 if other == number else 1 for other in range(3)])
            low += high
        values = low
    return values.half().float()
