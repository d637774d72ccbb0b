"""Where to look in a task, in words for a command line: its hot spots as the panel goes through them, and its worst slices. No MRML."""

from __future__ import annotations

from dataclasses import dataclass

from AtlasQualityLib.hot_spots import HotSpot, find_hot_spots
from AtlasReviewLib.slice_profile import AXIAL, SliceProfile, read_weights, slice_profile
from AtlasSegmentLib.case_folder import CaseFolder


@dataclass(frozen=True)
class WhereToLook:
    """The places of one task.

    Attributes:
        spots: Hot spots, the most important one first, as in the panel.
        axial: What each axial slice holds, or None without a map.
    """

    spots: tuple[HotSpot, ...]
    axial: SliceProfile | None

    def lines(self) -> list[str]:
        """Return one line for each hot spot and one for the worst axial slice; positions are RAS mm as R or L, A or P, S or I."""
        found = []
        for number, spot in enumerate(self.spots, 1):
            words = ", ".join(part for part in (spot.place, f"{spot.volume_mm3 / 1000:.2f} ml") if part)
            found.append(f"hot spot {number}: {words}, at {_position(spot.center)}")
        if self.axial is not None and self.axial.values.any():
            worst = int(self.axial.values.argmax())
            height = _side(self.axial.offset_of(worst), "S", "I")
            found.append(f"worst axial slice: {height} mm, {self.axial.values[worst] / 100:.1f} cm2")
        return found


def where_to_look(case: CaseFolder, organ: str, limit: int = 3) -> WhereToLook:
    """Return the places of a task from the stored maps; nothing where there is no attention.

    Args:
        case: The case.
        organ: The organ of the task.
        limit: Hot spots at most.

    Raises:
        InputError: A map is damaged.
        GeometryError: The maps lie on different grids.
    """
    weights = read_weights(case, organ)
    if weights is None or not case.average.map("attention", organ).is_file():
        return WhereToLook((), None if weights is None else slice_profile(weights, AXIAL))
    spots = tuple(find_hot_spots(case, [organ], limit))
    return WhereToLook(spots, slice_profile(weights, AXIAL, spots))


def _position(center: tuple[float, float, float]) -> str:
    x, y, z = center
    return f"{_side(x, 'R', 'L')} {_side(y, 'A', 'P')} {_side(z, 'S', 'I')} mm"


def _side(value: float, positive: str, negative: str) -> str:
    return f"{positive if value >= 0 else negative} {abs(value):.0f}"
