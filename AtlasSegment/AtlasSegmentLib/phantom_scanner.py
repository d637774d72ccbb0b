"""What a CT scanner adds: noise with the spectrum of filtered back-projection, streaks across wide bodies, and the table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from AtlasSegmentLib.phantom_body import Body
from AtlasSegmentLib.phantom_person import Person, stream
from AtlasSegmentLib.phantom_points import Field, Points, Vectors
from AtlasSegmentLib.phantom_tissue import AIR, share

_WATER = 0.0192  # attenuation per mm at about 70 keV
_CUTOFF = 0.33  # per mm, where a soft kernel ends
_ALONG = 0.35  # share of a slice's noise that its neighbors have
_REFERENCE = 27.0  # mm3, voxels of 3 mm


@dataclass(frozen=True)
class ScanOptions:
    """What is added to the picture of the anatomy.

    Attributes:
        noise: Multiplies the noise; 0 turns it off.
        streaks: Multiplies the streaks between hips and shoulders; 0 turns them off.
        table: Whether the table is seen.
    """

    noise: float = 1.0
    streaks: float = 1.0
    table: bool = True


class Scanner:
    """A scanner set for one person.

    Args:
        person: The seed decides the dose.
        body: Lies on the table.
        spacing: (3,) mm.
        shape: Voxels of the whole volume.
        options: What to add.
    """

    def __init__(self, person: Person, body: Body, spacing: Vectors, shape: tuple[int, int, int], options: ScanOptions) -> None:
        self._person, self._body, self._options, self._spacing = person, body, options, spacing
        dose = float(np.exp(stream(person.seed, "dose").normal(0, 0.22)))
        self.sigma = float(np.clip(11.0 * (_REFERENCE / spacing.prod()) ** 0.2, 5, 30)) * dose * options.noise
        self._grain, self._lines = _ramp(shape[:2], spacing[:2]), _level(shape[:2], spacing[:2])

    def scan(self, hu: Field, points: Points, first: int) -> Field:
        """Return the picture of a slab, HU, float32.

        Args:
            hu: (X, Y, Z) without noise.
            points: Where; only the place of rows and columns counts.
            first: Index of its first slice; decides its noise.
        """
        if self._options.table:
            hu = self._with_table(hu, points)
        if self.sigma == 0:
            return hu
        density = np.maximum(hu * np.float32(0.001) + 1, 0)
        across = density.sum(axis=0, dtype=np.float64) * (self._spacing[0] * _WATER)  # (Y, Z): rays from side to side
        down = density.sum(axis=1, dtype=np.float64) * (self._spacing[1] * _WATER)  # (X, Z)
        level = np.exp(0.14 * (across[None] - 6.0)) + np.exp(0.14 * (down[:, None] - 4.5))
        noise = self._noise(hu.shape, first) * (self.sigma * np.sqrt(level / 2)).astype(np.float32)
        noise += self._streaks(across, hu.shape, first)
        result: Field = hu + noise
        return result

    def _with_table(self, hu: Field, points: Points) -> Field:
        """Return HU with the two thin shells of the table below the person."""
        warp = points.warp
        places = [points.origin[axis] + points.spacing[axis] * np.arange(points.shape[axis]) for axis in range(2)]
        x, y = places[0][:, None] - warp.shift[0], places[1][None, :] - warp.shift[1]
        width = float(points.spacing[:2].mean())
        top = self._body.table_y * warp.scale[1] - 9.0 + (x / 200.0) ** 2 * 24.0
        for below in (0.0, 46.0):
            depth = (1.6 - np.abs(y - (top - below))).astype(np.float32)
            cover = (share(depth, width) * (np.abs(x) < 215))[:, :, None]
            hu = hu + cover * np.where(hu < -500, np.float32(-160) - hu, 0)
        foam = (np.abs(y - top + 23) < 21) & (np.abs(x) < 213)
        return np.where(foam[:, :, None] & (hu < AIR + 60), np.maximum(hu, AIR + 35), hu).astype(np.float32)

    def _noise(self, shape: tuple[int, ...], first: int) -> Field:
        """Return noise of unit deviation, the same for a slice whatever slab it is in."""
        white = [self._white(shape, number, "noise") for number in range(first - 1, first + shape[2] + 1)]
        norm = np.float32(1 / np.sqrt(1 + 2 * _ALONG**2))
        planes = [(white[k] + np.float32(_ALONG) * (white[k - 1] + white[k + 1])) * norm for k in range(1, shape[2] + 1)]
        return np.stack([self._filtered(plane, self._grain) for plane in planes], axis=2)

    def _white(self, shape: tuple[int, ...], number: int, name: str) -> Field:
        seeds = [self._person.seed, number + 1, *name.encode()]
        return np.random.default_rng(seeds).standard_normal(shape[:2], dtype=np.float32)

    @staticmethod
    def _filtered(plane: Field, amplitude: Field) -> Field:
        from scipy import fft

        spectrum = fft.rfft2(plane, workers=1) * amplitude
        result: Field = fft.irfft2(spectrum, s=plane.shape, workers=1).astype(np.float32)
        return result

    def _streaks(self, across: Vectors, shape: tuple[int, ...], first: int) -> Field:
        """Return streaks from side to side where rays meet the most bone and tissue and few photons come through."""
        starved = np.clip(np.exp(0.55 * (across - 7.4)) - 0.6, 0, 4) * self._options.streaks
        result = np.zeros(shape, np.float32)
        for k in np.flatnonzero(starved.any(axis=0)):
            plane = self._filtered(self._white(shape, first + int(k), "streaks"), self._lines)
            result[:, :, k] = plane * (1.1 * self.sigma * starved[:, k]).astype(np.float32)
        return result


def _unit(amplitude: Vectors, shape: tuple[int, ...]) -> Field:
    """Return an amplitude over frequency scaled so that it gives white noise of unit deviation unit deviation."""
    weights = np.full(amplitude.shape, 2.0)  # the half of the spectrum that is left out counts too
    weights[:, 0] = 1
    if shape[1] % 2 == 0:
        weights[:, -1] = 1
    power = float((amplitude**2 * weights).sum()) / (shape[0] * shape[1])
    result: Field = (amplitude / np.sqrt(power)).astype(np.float32)
    return result


def _frequencies(shape: tuple[int, ...], spacing: Vectors) -> tuple[Vectors, Vectors]:
    return np.fft.fftfreq(shape[0], spacing[0])[:, None], np.fft.rfftfreq(shape[1], spacing[1])[None, :]


def _level(shape: tuple[int, ...], spacing: Vectors) -> Field:
    """Return the amplitude of streaks over frequency: long from side to side, thin from front to back."""
    x, y = _frequencies(shape, spacing)
    return _unit(np.exp(-((x * 160) ** 2) - (y * 5.0) ** 2), shape)


def _ramp(shape: tuple[int, ...], spacing: Vectors) -> Field:
    """Return the amplitude of the noise over frequency: the root of a ramp that a soft kernel ends."""
    x, y = _frequencies(shape, spacing)
    f = np.sqrt(x * x + y * y)
    return _unit(np.sqrt(f + 0.01) * np.exp(-((f / _CUTOFF) ** 2)), shape)
