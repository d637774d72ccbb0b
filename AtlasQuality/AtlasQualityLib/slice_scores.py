"""The predicted quality of an organ slice by slice, as panels show it: read from plain values, ordered, placed and colored. No MRML.

It is here and not with the network, since a stored prediction is shown where the packages that run the network are not installed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib import geometry
from AtlasSegmentLib.volume import Grid

Float64 = npt.NDArray[np.float64]
Color = tuple[int, int, int]
RED_GREEN, ORANGE_BLUE = "red-green", "orange-blue"
PALETTES: Mapping[str, Sequence[tuple[float, Color]]] = {
    RED_GREEN: ((0.4, (200, 20, 30)), (0.6, (240, 100, 65)), (0.75, (254, 224, 120)), (0.9, (70, 170, 85)), (1.0, (0, 110, 55))),
    ORANGE_BLUE: ((0.4, (190, 75, 0)), (0.6, (235, 135, 70)), (0.75, (240, 230, 215)), (0.9, (80, 150, 205)), (1.0, (10, 70, 150))),
}
"""Score to color, linear between the stops and constant beyond them. Orange and blue stay apart for readers with any color blindness."""


@dataclass(frozen=True)
class SliceProfile:
    """One number for each slice across a direction.

    Attributes:
        direction: Unit vector across the slices, RAS.
        start: Position of the first slice's center along the direction, mm: the dot product with a point of it in RAS mm.
        step: Distance of slices in mm, positive.
        values: float64 (N,), not negative; of the attention in square mm.
        hot: For each hot spot, in its order, the slice that holds its center; -1 where that is beyond the profile.
    """

    direction: tuple[float, float, float]
    start: float
    step: float
    values: Float64
    hot: tuple[int, ...] = ()

    def index_at(self, offset: float) -> int:
        """Return the slice nearest to a position along the direction (mm), -1 beyond the profile."""
        index = int(np.floor(round((offset - self.start) / self.step, 6) + 0.5))
        return index if 0 <= index < len(self.values) else -1

    def offset_of(self, index: int) -> float:
        """Return the position of a slice's center along the direction, mm."""
        return self.start + self.step * index


@dataclass(frozen=True)
class ScoredSlice:
    """One slice that the quality model looked at.

    Attributes:
        index: Of the axial slice, counted from the feet.
        position_mm: Superior coordinate (RAS) of its center, where its files say.
        score: Raw; near 1 is good. Of a slice without mask: how surely it is rightly empty.
        has_mask: Whether the mask has voxels in it.
    """

    index: int
    position_mm: float
    score: float
    has_mask: bool


@dataclass(frozen=True)
class OrganQuality:
    """The predicted quality of one organ's mask.

    Attributes:
        dice: Predicted Dice, 0..1; None for an empty mask.
        spread: Standard deviation of the scores of its slices with mask; None when it is not known.
        slices: From the feet to the head.
    """

    dice: float | None
    spread: float | None = None
    slices: tuple[ScoredSlice, ...] = field(default=())

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> OrganQuality:
        """Make it from what `quality_case.described_quality` returned. Raises KeyError, TypeError or ValueError for anything else."""
        dice = None if described["dice"] is None else float(described["dice"])
        if dice is not None and not 0 <= dice <= 1:
            message = f"a Dice of {dice}"
            raise ValueError(message)
        slices = [
            ScoredSlice(int(one["index"]), float(one["position_mm"]), float(one["score"]), bool(one["has_mask"]))
            for one in described["slices"]
        ]
        spread = None if described["spread"] is None or dice is None else float(described["spread"])
        return cls(dice, spread, tuple(sorted(slices, key=lambda one: one.index)))

    def worst_first(self) -> tuple[ScoredSlice, ...]:
        """Return the slices, the one with the lowest score first; of equal ones the one nearest to the feet."""
        return tuple(sorted(self.slices, key=lambda one: (one.score, one.index)))

    @property
    def text(self) -> str:
        """Such as "0.87 ± 0.05", "" for an empty mask."""
        if self.dice is None:
            return ""
        return f"{self.dice:.2f}" if self.spread is None else f"{self.dice:.2f} \N{PLUS-MINUS SIGN} {self.spread:.2f}"


@dataclass(frozen=True)
class Band:
    """A piece of a strip that has the color of one slice.

    Attributes:
        low: Where it begins along the direction, mm.
        high: Where it ends.
        color: Red, green and blue, 0..255.
        slice: The slice.
    """

    low: float
    high: float
    color: Color
    slice: ScoredSlice


def color_of(score: float, palette: str = RED_GREEN) -> Color:
    """Return the color of a score in one of PALETTES."""
    stops = PALETTES[palette]
    places = [place for place, _color in stops]
    red, green, blue = (round(float(np.interp(score, places, [color[part] for _place, color in stops]))) for part in range(3))
    return (red, green, blue)


def axial_grid(grid: Grid) -> Grid:
    """Return the same voxels in LPS order, in which the quality model counts its slices."""
    order, sign = geometry.reorientation(grid.orientation, "LPS")
    shape = (grid.shape[order[0]], grid.shape[order[1]], grid.shape[order[2]])
    return Grid(shape, geometry.reorient_affine(grid.affine, grid.shape, order, sign), grid.source)


def slice_centers(grid: Grid, indices: Sequence[int]) -> Float64:
    """Return the centers of axial slices of a grid in any axis order, RAS mm, (N, 3)."""
    turned = axial_grid(grid)
    x, y = ((size - 1) / 2 for size in turned.shape[:2])
    points = np.array([[x, y, index] for index in indices], np.float64).reshape(-1, 3)
    return np.asarray(geometry.apply_affine(turned.affine, points), np.float64)


def slice_normal(grid: Grid) -> Float64:
    """Return the direction from one axial slice of a grid to the next, RAS, of length 1."""
    column = axial_grid(grid).affine[:3, 2]
    return np.asarray(column / np.linalg.norm(column), np.float64)


def bands_of(quality: OrganQuality, offsets: Sequence[float], step: float, palette: str = RED_GREEN) -> tuple[Band, ...]:
    """Return what a strip is colored with: each slice that was looked at stands for those nearest to it.

    Args:
        quality: Of the organ.
        offsets: Of its slices along the strip's direction, mm, in the same order.
        step: Distance of slices, mm: at the ends a band reaches half a slice, or half way to its neighbor where that is less.
        palette: Key of PALETTES.
    """
    order = np.argsort(offsets, kind="stable")
    places = np.asarray(offsets, np.float64)[order]
    if not len(places):
        return ()
    middles = (places[1:] + places[:-1]) / 2
    edges = np.concatenate([[places[0] - step / 2], middles, [places[-1] + step / 2]])
    chosen = [quality.slices[int(number)] for number in order]
    return tuple(
        Band(float(low), float(high), color_of(one.score, palette), one)
        for one, low, high in zip(chosen, edges[:-1], edges[1:], strict=True)
    )


def band_at(bands: Sequence[Band], offset: float) -> Band | None:
    """Return the band at a position along the direction, mm; None beyond them."""
    number = bisect_right([band.low for band in bands], offset) - 1
    return bands[number] if number >= 0 and offset <= bands[number].high else None


def empty_profile(bands: Sequence[Band], direction: Sequence[float], step: float) -> SliceProfile:
    """Return a profile without values over the slices that bands cover, for a strip that shows nothing else."""
    x, y, z = (float(part) for part in direction)
    if not bands:
        return SliceProfile((x, y, z), 0.0, step, np.zeros(0))
    start = bands[0].low + step / 2
    count = max(1, round((bands[-1].high - bands[0].low) / step))
    return SliceProfile((x, y, z), start, step, np.zeros(count))
