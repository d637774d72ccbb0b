"""Where to look in a task, in words for a command line: its hot spots as the panel goes through them, and its worst slices. No MRML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.hot_spots import HotSpot, find_hot_spots
from AtlasQualityLib.slice_scores import SliceProfile
from AtlasReviewLib.case_masks import case_grid
from AtlasReviewLib.slice_profile import AXIAL, read_weights, slice_profile
from AtlasSegmentLib.case_folder import CaseFolder


@dataclass(frozen=True)
class Place:
    """One hot spot of a task.

    Attributes:
        spot: The hot spot; its `voxel` counts in the array order of the maps.
        voxel: The same voxel in the array order of the case's CT, from 0, as Slicer's Data Probe shows it; ITK-SNAP counts from 1.
        expected_error_ml: Expected error in the region; None where there is no map of it.
    """

    spot: HotSpot
    voxel: tuple[int, int, int]
    expected_error_ml: float | None

    @property
    def itk_snap(self) -> tuple[int, int, int]:
        """The voxel as ITK-SNAP shows it."""
        i, j, k = self.voxel
        return i + 1, j + 1, k + 1

    def words(self) -> str:
        """Return size, position as R or L, A or P, S or I, voxel and expected error in one line."""
        parts = [self.spot.place, f"{self.spot.volume_mm3 / 1000:.2f} ml", f"at {_position(self.spot.center)}"]
        voxel, snap = (" ".join(map(str, index)) for index in (self.voxel, self.itk_snap))
        parts.append(f"voxel {voxel} (ITK-SNAP: {snap})")
        parts += [f"expected error {self.expected_error_ml:.2f} ml"] if self.expected_error_ml is not None else []
        return ", ".join(part for part in parts if part)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        numbers = {"volume_ml": self.spot.volume_mm3 / 1000, "expected_error_ml": self.expected_error_ml, "peak": self.spot.peak}
        where = {"ras_mm": list(self.spot.center), "voxel": list(self.voxel), "itk_snap": list(self.itk_snap)}
        return {"place": self.spot.place, **where, **numbers, "inside_share": self.spot.inside_share}


@dataclass(frozen=True)
class WhereToLook:
    """The places of one task.

    Attributes:
        places: Hot spots, the most important one first, as in the panel.
        axial: What each axial slice holds, or None without a map.
    """

    places: tuple[Place, ...] = ()
    axial: SliceProfile | None = None

    @property
    def spots(self) -> tuple[HotSpot, ...]:
        """The hot spots alone."""
        return tuple(place.spot for place in self.places)

    @property
    def worst(self) -> tuple[float, float] | None:
        """Height (S, RAS mm) of the worst axial slice, and how much of it is expected to be wrong or marked (square cm)."""
        if self.axial is None or not self.axial.values.any():
            return None
        worst = int(self.axial.values.argmax())
        return self.axial.offset_of(worst), float(self.axial.values[worst]) / 100

    def lines(self) -> list[str]:
        """Return one line for each hot spot and one for the worst axial slice; positions are RAS mm as R or L, A or P, S or I."""
        found = [f"hot spot {number}: {place.words()}" for number, place in enumerate(self.places, 1)]
        if self.worst is not None:
            found.append(f"worst axial slice: {_side(self.worst[0], 'S', 'I')} mm, {self.worst[1]:.1f} cm2")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        worst = None if self.worst is None else {"s_mm": self.worst[0], "cm2": self.worst[1]}
        return {"hot_spots": [place.as_dict() for place in self.places], "worst_axial_slice": worst}


def where_to_look(case: CaseFolder, organ: str, limit: int = 3) -> WhereToLook:
    """Return the places of a task from the stored maps; nothing where there is no attention.

    Args:
        case: The case.
        organ: The organ of the task.
        limit: Hot spots at most.

    Raises:
        InputError: A map is damaged.
        GeometryError: The maps lie on different grids.
        DatasetError: Nothing says where the voxels of the case lie.
    """
    weights = read_weights(case, organ)
    if weights is None:
        return WhereToLook()
    spots = find_hot_spots(case, [organ], limit) if case.average.map("attention", organ).is_file() else []
    expected = weights.kind == "expected_error"
    from_ras = np.linalg.inv(np.asarray(case_grid(case).affine, np.float64)) if spots else np.eye(4)
    places = tuple(Place(spot, _voxel(from_ras, spot.center), spot.score / 1000 if expected else None) for spot in spots)
    return WhereToLook(places, slice_profile(weights, AXIAL, spots))


def _voxel(from_ras: npt.NDArray[np.float64], center: tuple[float, float, float]) -> tuple[int, int, int]:
    i, j, k = (int(index) for index in np.rint(from_ras[:3, :3] @ center + from_ras[:3, 3]))
    return i, j, k


def _position(center: tuple[float, float, float]) -> str:
    x, y, z = center
    return f"{_side(x, 'R', 'L')} {_side(y, 'A', 'P')} {_side(z, 'S', 'I')} mm"


def _side(value: float, positive: str, negative: str) -> str:
    return f"{positive if value >= 0 else negative} {abs(value):.0f}"
