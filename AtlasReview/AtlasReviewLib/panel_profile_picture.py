"""One strip of the slice profile as a picture: bars, marks of hot spots and of corrected slices, and where the view is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import qt

from AtlasReviewLib.slice_profile import SliceProfile

HEIGHT = 30
_HOT, _FOOT = 6, 4  # rows above the bars for hot spots, and below for corrected slices
_LOW, _HIGH = (250, 200, 120), (200, 40, 20)
_SPOT, _CORRECTED, _EMPTY = (150, 0, 90), (30, 150, 60), (128, 128, 128)


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
    if not len(profile.values):
        return 0
    place = (offset - profile.start) / profile.step + 0.5
    return int(min(max(place / len(profile.values) * width, 0), width - 1))


def offset_at(profile: SliceProfile, column: float, width: int) -> float | None:
    """Return the center of the slice under a pixel column, mm; None when the profile has no slices."""
    count = len(profile.values)
    if not count or width < 1:
        return None
    return profile.offset_of(int(min(max(column / width * count, 0), count - 1)))


def base_picture(profile: SliceProfile, width: int, corrected: Sequence[float]) -> Any:
    """Return the strip without the place of the view.

    Args:
        profile: What is shown.
        width: Pixels.
        corrected: Positions of corrected slices along the direction, mm.
    """
    picture = qt.QPixmap(max(width, 1), HEIGHT)
    picture.fill(_color((255, 255, 255)))
    painter = qt.QPainter(picture)
    base, room = HEIGHT - _FOOT, HEIGHT - _FOOT - _HOT
    painter.fillRect(0, base, width, 1, _color(_EMPTY))
    heights = column_values(profile.values, width)
    highest = float(heights.max()) if heights.size else 0.0
    for column in np.flatnonzero(heights > 0):
        share = float(heights[column]) / highest
        tall = max(1, round(share * room))
        painter.fillRect(int(column), base - tall, 1, tall, _color(_mixed(share)))
    thick = max(2, round(width / max(len(profile.values), 1)))
    for offset in corrected:
        painter.fillRect(column_of(profile, offset, width) - thick // 2, base + 1, thick, _FOOT - 1, _color(_CORRECTED))
    for index in profile.hot:
        if index >= 0:
            _mark(painter, column_of(profile, profile.offset_of(index), width))
    painter.end()
    return picture


def with_view(base: Any, profile: SliceProfile, offset: float, color: Sequence[int]) -> Any:
    """Return a copy of the strip with a line where the view is."""
    picture = qt.QPixmap(base)
    painter = qt.QPainter(picture)
    column = column_of(profile, offset, base.width())
    painter.fillRect(column - 1, 0, 3, HEIGHT, _color((40, 40, 40)))
    painter.fillRect(column, 0, 1, HEIGHT, _color(color))
    painter.end()
    return picture


def _mark(painter: Any, column: int) -> None:
    """Draw a small triangle that points down at a column."""
    for row in range(_HOT - 1):
        half = (_HOT - 2 - row) // 2 + 1
        painter.fillRect(column - half + 1, row, 2 * half - 1, 1, _color(_SPOT))


def _mixed(share: float) -> tuple[int, int, int]:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(_LOW, _HIGH, strict=True))
    return (red, green, blue)


def _color(rgb: Sequence[int]) -> Any:
    return qt.QColor(*rgb)
