"""Where the voxels of a phantom lie in the anatomy: the warp of a person, and the points of a part of a grid.

Anatomical coordinates are mm with x to the right, y to the front and z to the head; the origin is the middle of the body of
vertebra L2 of a reference adult. A warp takes a position in the scan to them, one smooth function for all organs, so that what
touches goes on touching, and a position means the same at every spacing and in every crop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float64]
Slices = tuple[slice, slice, slice]

BELLY = 22.0
"""Front of the spine: what lies before it is pushed together in lean people."""
_SLOPE = 0.22  # no displacement changes faster than this, mm per mm
_STEPS = 3


@dataclass(frozen=True)
class Warp:
    """From scan to anatomy: shift, turn, scale, smooth waves, depth of the belly.

    Attributes:
        shift: (3,) RAS mm of the anatomical origin in the scan.
        scale: (3,) size of the person, 1 is the reference adult.
        turn: Rotation about the long axis, radians.
        belly: Depth of what lies before the spine, 1 is the reference.
        waves: (N, 3) wave vectors in radians per mm.
        sways: (N, 3) amplitude of each wave along x, y, z in mm.
        phases: (N,) radians.
    """

    shift: Vectors
    scale: Vectors
    turn: float
    belly: float
    waves: Vectors
    sways: Vectors
    phases: Vectors

    def anatomy(self, places: Vectors) -> Vectors:
        """Return the anatomical coordinates (N, 3) of RAS places (N, 3), mm."""
        p = (places - self.shift) / self.scale
        c, s = np.cos(self.turn), np.sin(self.turn)
        q = np.stack([c * p[:, 0] - s * p[:, 1], s * p[:, 0] + c * p[:, 1], p[:, 2]], axis=1)
        sines = np.sin((places[:, None, :] * self.waves).sum(axis=2) + self.phases)
        q += (sines[:, :, None] * self.sways).sum(axis=1)
        q[:, 1] = np.where(q[:, 1] > BELLY, BELLY + (q[:, 1] - BELLY) / self.belly, q[:, 1])
        return q

    def places(self, points: Vectors) -> Vectors:
        """Return the RAS places (N, 3) of anatomical points (N, 3), to about 0.1 mm."""
        wanted = np.asarray(points, float)
        unpushed = wanted.copy()
        unpushed[:, 1] = np.where(wanted[:, 1] > BELLY, BELLY + (wanted[:, 1] - BELLY) * self.belly, wanted[:, 1])
        found = unpushed * self.scale + self.shift
        for _ in range(_STEPS):
            error = wanted - self.anatomy(found)
            error[:, 1] *= np.where(wanted[:, 1] > BELLY, self.belly, 1.0)
            found += error * self.scale
        return found

    def boxes(self, low: Vectors, high: Vectors) -> tuple[Vectors, Vectors]:
        """Return RAS boxes (N, 3), (N, 3) that hold the anatomical boxes from `low` to `high`."""
        low, high = np.atleast_2d(low), np.atleast_2d(high)
        corners = [np.where(np.array(pick), high, low) for pick in np.ndindex(2, 2, 2)]
        found = self.places(np.concatenate(corners)).reshape(8, -1, 3)
        margin = _SLOPE * np.max(high - low, axis=1, keepdims=True) * 0.25 + 1.5
        return found.min(axis=0) - margin, found.max(axis=0) + margin


@dataclass(frozen=True)
class Points:
    """The voxel centers of a box of a grid, in anatomical coordinates.

    Attributes:
        x: (X, Y, Z) float32, mm to the right; `y` to the front, `z` to the head likewise.
        warp: Where they come from.
        origin: (3,) RAS mm of the first voxel.
        spacing: (3,) mm; the axes are those of RAS.
        known: What was computed for these points before, by name.
        parent: The points these are a part of, or None.
        chosen: Which of them.
    """

    x: Field
    y: Field
    z: Field
    warp: Warp
    origin: Vectors
    spacing: Vectors
    known: dict[str, Field] = field(default_factory=dict, compare=False, repr=False)
    parent: Points | None = None
    chosen: Slices | npt.NDArray[np.bool_] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y, z."""
        x, y, z = self.x.shape
        return (x, y, z)

    def windows(self, low: Vectors, high: Vectors) -> list[Slices | None]:
        """Return the voxels that hold each anatomical box (N, 3)..(N, 3), None where a box lies outside."""
        first, last = self.warp.boxes(low, high)
        start = np.floor((first - self.origin) / self.spacing).astype(int).clip(0)
        stop = np.minimum(np.ceil((last - self.origin) / self.spacing).astype(int) + 1, self.shape)
        filled = (stop > start).all(axis=1)
        return [
            (slice(a[0], b[0]), slice(a[1], b[1]), slice(a[2], b[2])) if some else None
            for a, b, some in zip(start.tolist(), stop.tolist(), filled.tolist(), strict=True)
        ]

    def once(self, name: str, compute: Callable[[Points], Field]) -> Field:
        """Return what `compute` gives for these points; computed once for each name, for all points that these are a part of."""
        if name not in self.known:
            self.known[name] = self._computed(name, compute)
        return self.known[name]

    def _computed(self, name: str, compute: Callable[[Points], Field]) -> Field:
        if self.parent is None or self.chosen is None:
            return compute(self)
        found = self.parent.once(name, compute)[self.chosen]
        return found[:, None, None] if found.ndim == 1 else found

    def some(self, chosen: npt.NDArray[np.bool_]) -> Points:
        """Return the chosen points in one row (N, 1, 1): for paints, which look at one point at a time."""
        x, y, z = (axis[chosen][:, None, None] for axis in (self.x, self.y, self.z))
        return Points(x, y, z, self.warp, self.origin, self.spacing, parent=self, chosen=chosen)

    def part(self, window: Slices) -> Points:
        """Return the points of a window, as views."""
        if all(s.start == 0 and s.stop == n for s, n in zip(window, self.shape, strict=True)):
            return self
        start = np.array([s.start for s in window])
        x, y, z = self.x[window], self.y[window], self.z[window]
        return Points(x, y, z, self.warp, self.origin + start * self.spacing, self.spacing, parent=self, chosen=window)


def grid_points(warp: Warp, origin: Vectors, spacing: Vectors, shape: tuple[int, int, int]) -> Points:
    """Return the points of a RAS grid.

    A wave over a grid is a product of three one-dimensional ones, so that no sine is computed for each voxel.
    """
    axes = [origin[axis] + spacing[axis] * np.arange(shape[axis]) for axis in range(3)]
    ahead = [(axes[axis] - warp.shift[axis]) / warp.scale[axis] for axis in range(3)]
    c, s = np.cos(warp.turn), np.sin(warp.turn)
    first, second = ahead[0][:, None], ahead[1][None, :]
    q = [np.zeros(shape, np.float32) for _ in range(3)]
    q[0] += (c * first - s * second).astype(np.float32)[:, :, None]
    q[1] += (s * first + c * second).astype(np.float32)[:, :, None]
    q[2] += ahead[2].astype(np.float32)
    for wave, sway, phase in zip(warp.waves, warp.sways, warp.phases, strict=True):
        angles = [wave[axis] * axes[axis] for axis in range(3)]
        plane = np.exp(1j * (angles[0][:, None] + angles[1][None, :] + phase)).astype(np.complex64)
        line = np.exp(1j * angles[2]).astype(np.complex64)
        sine = plane.imag[:, :, None] * line.real + plane.real[:, :, None] * line.imag
        for axis in np.flatnonzero(sway):
            q[axis] += np.float32(sway[axis]) * sine
    depth = q[1] - np.float32(BELLY)
    np.maximum(depth, 0, out=depth)
    q[1] += depth * np.float32(1 / warp.belly - 1)
    return Points(q[0], q[1], q[2], warp, origin, spacing)
