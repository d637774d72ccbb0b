"""Slices in a row: one series of DICOM slices in order along their normal, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from AtlasSegmentLib.dicom_header import Slice
from AtlasSegmentLib.dicom_pixels import same_pixels
from AtlasSegmentLib.geometry import Matrix

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TILT_DEG = 0.1
"""A gantry tilt below this many degrees is rounding."""
_SAME_POSITION_MM = 0.01
_SAME_PLANE = 1e-4
_PARALLEL = 0.999
_AXIAL = 0.8
_UNEVEN_MM = 0.01
_UNEVEN_SHARE = 0.01
_PROJECTIONS = {"MIP", "MINIP", "MINI", "MPR_THICK", "PROJECTION IMAGE", "VRT", "SSD", "AVERAGE", "MAX_IP", "MIN_IP"}
_HU = {"", "HU", "US", "HU_MOD"}
_SHARP_NAMES = {"BONE", "BONEPLUS", "LUNG", "EDGE", "ULTRA", "CHST"}
_SHARP_FROM = 50


@dataclass(frozen=True)
class Stack:
    """Slices of one series that lie behind each other.

    Attributes:
        slices: In order along their normal.
        key: What `--series` names it by: the SeriesInstanceUID, with "@2" and so on for the parts of one series.
        copies: How many files were copies of others.
    """

    slices: tuple[Slice, ...]
    key: str
    copies: int = 0

    @property
    def first(self) -> Slice:
        """The first slice; what it says of the series holds for all."""
        return self.slices[0]

    @cached_property
    def along(self) -> Matrix:
        """Where each slice lies along the normal, mm, ascending."""
        return np.array([float(item.position @ self.first.axes[:, 2]) for item in self.slices])

    @cached_property
    def step(self) -> Matrix:
        """Step from one slice to the next, (3,) LPS mm."""
        if len(self.slices) == 1:
            return np.asarray(self.first.axes[:, 2] * (self.first.thickness or 1.0))
        return np.asarray((self.slices[-1].position - self.first.position) / (len(self.slices) - 1))

    @property
    def spacing(self) -> float:
        """Distance of the slices along their normal, mm."""
        return float(self.step @ self.first.axes[:, 2])

    @property
    def tilt_deg(self) -> float:
        """Angle between the direction in which slices are stacked and their normal: the gantry tilt."""
        in_plane = self.first.axes[:, :2].T @ self.step
        return float(np.degrees(np.arctan2(np.linalg.norm(in_plane), abs(self.spacing))))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(columns, rows, slices)."""
        return (*self.first.shape, len(self.slices))

    @property
    def affine(self) -> Matrix:
        """Index to RAS mm; sheared when the gantry was tilted, as the slices really lie so."""
        lps = np.eye(4)
        lps[:3, :2] = self.first.axes[:, :2] * self.first.spacing
        lps[:3, 2] = self.step
        lps[:3, 3] = self.first.position
        return RAS_FROM_LPS @ lps

    @property
    def positions(self) -> int:
        """Number of different places along the normal."""
        return 1 + int(np.count_nonzero(np.diff(self.along) >= _SAME_POSITION_MM))

    @property
    def is_axial(self) -> bool:
        """Whether the slices lie across the body, tilted by no more than a gantry is."""
        return abs(float(self.first.axes[2, 2])) > _AXIAL

    @property
    def is_projection(self) -> bool:
        """Whether the slices are thick projections of others."""
        return bool(_PROJECTIONS.intersection(self.first.image_type))

    @property
    def is_hu(self) -> bool:
        """Whether the values may be Hounsfield units (no iodine map or the like)."""
        return self.first.unit in _HU

    @property
    def is_original(self) -> bool:
        """Whether the scanner made the slices, and no workstation."""
        return not self.first.image_type or self.first.image_type[0] == "ORIGINAL"

    @property
    def is_sharp(self) -> bool:
        """Whether the reconstruction kernel is one for bone or lung; False when nobody knows."""
        kernel = self.first.kernel.upper()
        digits = "".join(c for c in kernel.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ") if c.isdigit())[:2]
        return kernel.split(" ")[0] in _SHARP_NAMES or (bool(digits) and int(digits) >= _SHARP_FROM)

    @cached_property
    def missing_mm(self) -> tuple[float, ...]:
        """Where slices are missing, mm along the normal."""
        gaps = np.diff(self.along)
        usual = float(np.quantile(gaps, 0.5, method="lower")) if len(gaps) else 0.0
        found: list[float] = []
        for start, gap in zip(self.along, gaps, strict=False):
            if usual > _SAME_POSITION_MM and gap > 1.5 * usual:
                steps = round(float(gap) / usual)
                found.extend(round(float(start + gap * k / steps), 3) for k in range(1, steps))
        return tuple(found)

    @cached_property
    def problem(self) -> str:
        """Why the stack is no image on a regular grid; "" when it is."""
        checks = (self._mixed, self._doubled, self._flat, self._missing, self._uneven, self._without_rescale)
        return next((text for check in checks if (text := check())), "")

    def _mixed(self) -> str:
        odd = next((item for item in self.slices if not _same_plane(item, self.first)), None)
        if odd is None:
            return ""
        return f"one series mixes slices of different size, spacing or orientation ({self.first.path.name} and {odd.path.name})"

    def _doubled(self) -> str:
        close = np.diff(self.along) < _SAME_POSITION_MM
        if not close.any():
            return ""
        index = int(np.argmax(close))
        names = f"{_label(self.slices[index])} and {_label(self.slices[index + 1])}"
        count = int(np.count_nonzero(close))
        return f"{count} position(s) hold more than one slice ({names}): several phases or reconstructions in one series"

    def _flat(self) -> str:
        return "a single slice without SliceThickness has no volume" if len(self.slices) == 1 and self.first.thickness <= 0 else ""

    def _missing(self) -> str:
        if not self.missing_mm:
            return ""
        listed = ", ".join(f"{value:g}" for value in self.missing_mm[:5]) + (" …" if len(self.missing_mm) > 5 else "")
        return f"{len(self.missing_mm)} slices are missing, at {listed} mm along the normal of the slices"

    def _uneven(self) -> str:
        if len(self.slices) < 2:
            return ""
        tolerance = max(_UNEVEN_MM, _UNEVEN_SHARE * self.spacing)
        gaps = np.diff(self.along)
        worst = int(np.argmax(np.abs(gaps - self.spacing)))
        if abs(gaps[worst] - self.spacing) > tolerance:
            average = f"{self.spacing:.3f} mm on average"
            return f"the slices are unevenly spaced: {gaps[worst]:.3f} mm after {self.along[worst]:.3f} mm, {average}"
        line = self.first.position + np.arange(len(self.slices))[:, None] * self.step
        shift = np.linalg.norm(np.array([item.position for item in self.slices]) - line, axis=1)
        if shift.max() > tolerance:
            return f"the slice at {self.along[int(np.argmax(shift))]:.3f} mm lies {shift.max():.3f} mm beside the line of the others"
        return ""

    def _without_rescale(self) -> str:
        bare = [item for item in self.slices if item.rescale is None]
        if not bare or len(bare) == len(self.slices):
            return ""
        more = f" (and {len(bare) - 1} more)" if len(bare) > 1 else ""
        cause = "its header is truncated or damaged, or its values are in another unit"
        return f"{_label(bare[0])}: has no RescaleSlope and RescaleIntercept{more}, and the other slices have: {cause}"

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """What a reader should know of a stack that can be read, in full sentences."""
        found = []
        if self.copies:
            found.append(f"{self.copies} copies of slices were left out.")
        if self.first.modality == "CT" and self.first.rescale is None:
            found.append("No slice has RescaleSlope and RescaleIntercept: the stored values are taken as Hounsfield units.")
        if self.first.modality == "CT" and not self.is_hu:
            found.append(f"Its values are in {self.first.unit}, not in Hounsfield units.")
        if self.tilt_deg > TILT_DEG:
            found.append(f"The gantry was tilted by {self.tilt_deg:.2f} degrees.")
        return tuple(found)


def _label(item: Slice) -> str:
    return item.path.name if item.frame is None else f"{item.path.name} frame {item.frame + 1}"


def _same_plane(a: Slice, b: Slice) -> bool:
    differences = (np.abs(a.spacing - b.spacing).max(), np.abs(a.axes - b.axes).max())
    return a.shape == b.shape and max(differences) <= _SAME_PLANE


def stacks_of(slices: Iterable[Slice]) -> list[Stack]:
    """Return the stacks of a folder's slices: one for each series, several where one series holds several.

    A series is parted where its planes are not parallel (a scout in it), and, when places are doubled, by acquisition, cardiac
    phase, image type or kernel if that makes every place single. Copies of one image count once.
    """
    groups: dict[str, list[Slice]] = {}
    for item in slices:
        groups.setdefault(item.group, []).append(item)
    found: list[Stack] = []
    for key, members in groups.items():
        single = _without_copies(members)
        parts = [_without_twins(part) for plane in _parallel(single) for part in _phases(plane)]
        parts.sort(key=lambda part: (-len(part), str(part[0].path)))
        for number, part in enumerate(parts, 1):
            name = key if len(parts) == 1 else f"{key}@{number}"
            found.append(Stack(tuple(_ordered(part)), name, len(members) - sum(map(len, parts)) if number == 1 else 0))
    return found


def _without_copies(slices: list[Slice]) -> list[Slice]:
    kept: dict[object, Slice] = {}
    for item in slices:
        kept.setdefault((item.sop_uid, item.frame) if item.sop_uid else (item.path, item.frame), item)
    return list(kept.values())


def _without_twins(slices: list[Slice]) -> list[Slice]:
    """Leave out slices that show what another one shows at the same place, under other UIDs, if that makes every place single."""
    if not _is_doubled(slices):
        return slices
    kept: list[Slice] = []
    for item in _ordered(slices):
        near = bool(kept) and float(np.linalg.norm(item.position - kept[-1].position)) < _SAME_POSITION_MM
        if not near or not same_pixels(item, kept[-1]):
            kept.append(item)
    return kept if not _is_doubled(kept) else slices


def _parallel(slices: list[Slice]) -> list[list[Slice]]:
    groups: list[list[Slice]] = []
    for item in slices:
        for group in groups:
            if abs(float(item.axes[:, 2] @ group[0].axes[:, 2])) > _PARALLEL:
                group.append(item)
                break
        else:
            groups.append([item])
    return groups


def _ordered(slices: list[Slice]) -> list[Slice]:
    normal = slices[0].axes[:, 2]
    return sorted(slices, key=lambda item: (float(item.position @ normal), str(item.path)))


def _is_doubled(slices: list[Slice]) -> bool:
    normal = slices[0].axes[:, 2]
    along = np.sort([float(item.position @ normal) for item in slices])
    return bool((np.diff(along) < _SAME_POSITION_MM).any())


def _phases(slices: list[Slice]) -> list[list[Slice]]:
    if not _is_doubled(slices):
        return [slices]
    keys: tuple[Callable[[Slice], object], ...] = (
        lambda item: item.acquisition[:1],
        lambda item: item.acquisition,
        lambda item: item.image_type,
        lambda item: item.kernel,
        lambda item: (item.shape, *np.round(item.spacing, 4)),
        lambda item: (item.acquisition, item.image_type, item.kernel),
    )
    for key in keys:
        groups: dict[object, list[Slice]] = {}
        for item in slices:
            groups.setdefault(key(item), []).append(item)
        if len(groups) > 1 and not any(_is_doubled(group) for group in groups.values()):
            return list(groups.values())
    return [slices]


def folders_of(stack: Stack) -> set[Path]:
    """Return the folders that the files of a stack lie in."""
    return {item.path.parent for item in stack.slices}
