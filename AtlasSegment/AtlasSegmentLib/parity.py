"""How far two networks, or two models, agree: patch by patch in their values, and on a CT in the masks that people get."""

from __future__ import annotations

import copy
import heapq
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from AtlasSegmentLib.network import Float32, Network

if TYPE_CHECKING:
    from AtlasSegmentLib.labels import LabelTable
    from AtlasSegmentLib.model import Model
    from AtlasSegmentLib.sparse import SparseVolume
    from AtlasSegmentLib.volume import Grid

SAME = 0.9999
"""Share of voxels from which on two ways to compute one network count as the same."""

_COARSE = 4  # a smooth patch is noise of this many times fewer voxels, enlarged


@dataclass(frozen=True)
class PatchParity:
    """How two networks agree on patches.

    Attributes:
        patches: How many.
        max_difference: Largest difference of two values.
        largest: Largest value of the first network, for comparison.
        same_class: Share of voxels for which both decide the same.
    """

    patches: int
    max_difference: float
    largest: float
    same_class: float


@dataclass(frozen=True)
class MaskParity:
    """How two models agree on a CT.

    Attributes:
        ct: Its file.
        equal_voxels: Share of its voxels for which both decide the same.
        dice: Structure to the Dice coefficient of its two masks; None where neither finds it.
    """

    ct: str
    equal_voxels: float
    dice: dict[str, float | None]

    @property
    def worst(self) -> tuple[str, float] | None:
        """The structure with the smallest Dice; None when none is found."""
        found = [(value, name) for name, value in self.dice.items() if value is not None]
        return (min(found)[1], min(found)[0]) if found else None


def random_patches(shape: Sequence[int], count: int = 4, seed: int = 0) -> Iterator[Float32]:
    """Yield batches of one patch with mean 0 and deviation 1: noise and smooth shapes in turn, the same ones each time.

    Args:
        shape: (channels in, *patch).
        count: How many.
        seed: Of the random numbers.
    """
    from scipy.ndimage import zoom

    random = np.random.default_rng(seed)
    for number in range(count):
        if number % 2 == 0:
            yield random.standard_normal((1, *shape), np.float32)
            continue
        coarse = random.standard_normal((shape[0], *(max(2, -(-n // _COARSE)) for n in shape[1:])), np.float32)
        factors = [1.0, *(n / c for n, c in zip(shape[1:], coarse.shape[1:], strict=True))]
        smooth = zoom(coarse, factors, order=1, grid_mode=False)
        yield np.ascontiguousarray((smooth - smooth.mean()) / max(float(smooth.std()), 1e-6), np.float32)[None]


def compare_networks(one: Network, other: Network, batches: Iterable[Float32], *, overlapping: bool = False) -> PatchParity:
    """Run two networks on the same batches; see `PatchParity`.

    Args:
        one: The one to compare with.
        other: The one that shall give the same.
        batches: (N, channels in, *patch) each.
        overlapping: Channels decide by themselves whether they are there (above 0) in place of the largest one.

    Raises:
        ModelError: A network fails.
    """
    patches, voxels, same, difference, largest = 0, 0, 0, 0.0, 0.0
    for batch in batches:
        first, second = one.run(batch), other.run(batch)
        patches += len(batch)
        difference = max(difference, float(np.abs(first - second).max()))
        largest = max(largest, float(np.abs(first).max()))
        equal = ((first > 0) == (second > 0)).all(1) if overlapping else first.argmax(1) == second.argmax(1)
        voxels, same = voxels + equal.size, same + int(equal.sum())
    return PatchParity(patches, difference, largest, same / max(voxels, 1))


def compare_masks(grid: Grid, table: LabelTable, one: Mapping[int, SparseVolume], other: Mapping[int, SparseVolume], ct: str) -> MaskParity:
    """Compare the masks of two models on one grid; see `MaskParity`.

    Args:
        grid: The CT's.
        table: Label value to name; both models' own.
        one: Label value to mask.
        other: The same of the second model.
        ct: Name of the CT.
    """
    from AtlasSegmentLib.sparse import union

    different = np.zeros(grid.shape, np.bool_, order="F")
    dice: dict[str, float | None] = {}
    for value, name in table.labels.items():
        box = union([one[value].box, other[value].box])
        first, second = one[value].within(box).astype(bool), other[value].within(box).astype(bool)
        total = int(first.sum()) + int(second.sum())
        dice[name] = 2 * int((first & second).sum()) / total if total else None
        different[box] |= first != second
    return MaskParity(ct, 1 - int(different.sum()) / different.size, dice)


class Recorder:
    """A network that keeps those patches it is shown that hold most, such as for calibration, and the time that it takes.

    Args:
        network: The network that does the work.
        keep: How many patches to keep.

    Attributes:
        seconds: Of the fastest run, for one patch; infinite before the first.
    """

    def __init__(self, network: Network, keep: int = 0) -> None:
        self._network, self._keep = network, keep
        self.seconds = math.inf
        self._seen: list[tuple[float, int, Float32]] = []
        self._count = 0

    @property
    def engine(self) -> str:
        """Of the network within."""
        return self._network.engine

    @property
    def device(self) -> Literal["gpu", "cpu"]:
        """Of the network within."""
        return self._network.device

    @property
    def patches(self) -> list[Float32]:
        """Batches of one patch, the one with most in it first."""
        return [patch for _, _, patch in sorted(self._seen, key=lambda entry: (-entry[0], entry[1]))]

    def run(self, batch: Float32) -> Float32:
        """Run the network within and keep a copy of what it was shown."""
        for patch in batch[: None if self._keep else 0]:
            self._count += 1
            spread = float(patch[0].std())  # a patch of air alone teaches nothing
            if len(self._seen) < self._keep or spread > self._seen[0][0]:
                keep = heapq.heappush if len(self._seen) < self._keep else heapq.heapreplace
                keep(self._seen, (spread, self._count, patch[None].copy()))
        begin = time.perf_counter()
        result = self._network.run(batch)
        self.seconds = min(self.seconds, (time.perf_counter() - begin) / len(batch))
        return result


def networks_of(model: Model) -> tuple[Network, ...]:
    """Return the networks of a model: one, or one for each fold."""
    inner: Any = model
    return tuple(inner._networks) if hasattr(inner, "_networks") else (inner._network,)


def with_networks(model: Model, networks: Sequence[Network]) -> Model:
    """Return a model like this one that runs other networks, as many as it has."""
    other: Any = copy.copy(model)
    if hasattr(other, "_networks"):
        other._networks = tuple(networks)
    else:
        (other._network,) = networks
    result: Model = other
    return result
