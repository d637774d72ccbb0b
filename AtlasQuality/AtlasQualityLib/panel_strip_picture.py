"""A strip of slices as a picture: bars, marks, the scores of the slices as colors, and where the view is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import qt

from AtlasQualityLib.slice_scores import Band, SliceProfile

HEIGHT = 30
SCORES = 10
"""Rows below the bars for the scores of slices; a strip of scores alone has twice as many."""
_HOT, _FOOT = 6, 4  # rows above the bars for hot spots, and below for corrected slices
_LOW, _HIGH = (250, 200, 120), (200, 40, 20)
_SPOT, _CORRECTED, _EMPTY, _WORST = (150, 0, 90), (30, 150, 60), (128, 128, 128), (20, 20, 20)


@dataclass(frozen=True)
class Marks:
    """What is drawn beside the bars.

    Attributes:
        corrected: Positions of corrected slices along the direction, mm.
        bands: Colors of the scored slices; low ones where the mask has no voxels.
        worst: Position of the slice that is gone to as the worst, mm; None for none.
    """

    corrected: Sequence[float] = ()
    bands: Sequence[Band] = ()
    worst: float | None = None


def height_of(profile: SliceProfile, marks: Marks) -> int:
    """Return how high a strip is, in pixels."""
    if not marks.bands:
        return HEIGHT
    return HEIGHT + SCORES if profile.values.any() else _HOT + 2 * SCORES


def column_values(values: np.ndarray, width: int) -> np.ndarray:
    """Return for each pixel column the highest value of the slices in it; float64 (width,)."""
    count = len(values)
    if not count or width < 1:
        return np.zeros(max(width, 0))
    edges = np.arange(width + 1) * count / width
    first = np.floor(edges[:-1]).astype(int)
    stop = np.maximum(np.ceil(edges[1:] - 1e-9).astype(int), first + 1)
    return np.asarray([values[a:b].max() for a, b in zip(first, stop, strict=True)])


def column_of(profile: SliceProfile, offset: float, width: int) -> int:
    """Return the pixel column of a position along the direction; those beyond the profile get the first or the last one."""
    return int(min(max(_place(profile, offset, width), 0), width - 1))


def _place(profile: SliceProfile, offset: float, width: int) -> float:
    if not len(profile.values):
        return 0.0
    return ((offset - profile.start) / profile.step + 0.5) / len(profile.values) * width


def offset_at(profile: SliceProfile, column: float, width: int) -> float | None:
    """Return the center of the slice under a pixel column, mm; None when the profile has no slices."""
    count = len(profile.values)
    if not count or width < 1:
        return None
    return profile.offset_of(int(min(max(column / width * count, 0), count - 1)))


def base_picture(profile: SliceProfile, width: int, marks: Marks) -> Any:
    """Return the strip without the place of the view.

    Args:
        profile: What is shown.
        width: Pixels.
        marks: What else.
    """
    tall = height_of(profile, marks)
    picture = qt.QPixmap(max(width, 1), tall)
    picture.fill(_color((255, 255, 255)))
    painter = qt.QPainter(picture)
    if tall != _HOT + 2 * SCORES or not marks.bands:
        _draw_bars(painter, profile, width)
    _draw_bands(painter, profile, marks.bands, width, tall)
    thick = max(2, round(width / max(len(profile.values), 1)))
    for offset in marks.corrected:
        painter.fillRect(column_of(profile, offset, width) - thick // 2, HEIGHT - _FOOT + 1, thick, _FOOT - 1, _color(_CORRECTED))
    for index in profile.hot:
        if index >= 0:
            _mark(painter, column_of(profile, profile.offset_of(index), width), _SPOT)
    if marks.worst is not None:
        _mark(painter, column_of(profile, marks.worst, width), _WORST)
    painter.end()
    return picture


def _draw_bars(painter: Any, profile: SliceProfile, width: int) -> None:
    base, room = HEIGHT - _FOOT, HEIGHT - _FOOT - _HOT
    painter.fillRect(0, base, width, 1, _color(_EMPTY))
    heights = column_values(profile.values, width)
    highest = float(heights.max()) if heights.size else 0.0
    for column in np.flatnonzero(heights > 0):
        share = float(heights[column]) / highest
        tall = max(1, round(share * room))
        painter.fillRect(int(column), base - tall, 1, tall, _color(_mixed(share)))


def _draw_bands(painter: Any, profile: SliceProfile, bands: Sequence[Band], width: int, tall: int) -> None:
    room = SCORES if profile.values.any() else 2 * SCORES
    for band in bands:
        low, high = (min(max(round(_place(profile, place, width)), 0), width) for place in (band.low, band.high))
        rows = room if band.slice.has_mask else room // 3
        painter.fillRect(low, tall - rows, max(high - low, 1), rows, _color(band.color))


def with_view(base: Any, profile: SliceProfile, offset: float, color: Sequence[int]) -> Any:
    """Return a copy of the strip with a line where the view is."""
    picture = qt.QPixmap(base)
    painter = qt.QPainter(picture)
    column, tall = column_of(profile, offset, base.width()), base.height()
    painter.fillRect(column - 1, 0, 3, tall, _color((40, 40, 40)))
    painter.fillRect(column, 0, 1, tall, _color(color))
    painter.end()
    return picture


def _mark(painter: Any, column: int, color: Sequence[int]) -> None:
    """Draw a small triangle that points down at a column."""
    for row in range(_HOT - 1):
        half = (_HOT - 2 - row) // 2 + 1
        painter.fillRect(column - half + 1, row, 2 * half - 1, 1, _color(color))


def _mixed(share: float) -> tuple[int, int, int]:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(_LOW, _HIGH, strict=True))
    return (red, green, blue)


def _color(rgb: Sequence[int]) -> Any:
    return qt.QColor(*rgb)
