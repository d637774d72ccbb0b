"""Slicer's markups ROI files (.mrk.json): a box in the body."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.files import read_json, write_json
from AtlasSegmentLib.geometry import Matrix

_SCHEMA = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"
_REMEDY = "Draw the box in Slicer (Markups, ROI) and save it as .mrk.json."
_RAS_FROM = {
    "RAS": np.diag([1.0, 1.0, 1.0]),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
}
_SYSTEM_NUMBERS = {"0": "RAS", "1": "LPS"}  # older files hold the number of Slicer's enumeration
_AXES_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Roi:
    """A box in RAS mm.

    Attributes:
        center: (3,) float64, RAS mm.
        axes: (3, 3) float64; the columns are the unit directions of the box's own axes.
        size: (3,) float64, full edge lengths in mm along those axes, all above 0.
        source: The file it came from, for messages.
    """

    center: Matrix
    axes: Matrix
    size: Matrix
    source: str = ""

    def __post_init__(self) -> None:
        what = self.source or "ROI"
        for name, shape in (("center", (3,)), ("axes", (3, 3)), ("size", (3,))):
            value = _numbers(getattr(self, name), shape, name, what)
            object.__setattr__(self, name, value)
        if self.size.min() <= 0:
            message = f"{what}: the ROI's size must be above 0 mm on every axis, got {self.size.tolist()}."
            raise InputError(message, _REMEDY)
        if np.abs(self.axes.T @ self.axes - np.eye(3)).max() > _AXES_TOLERANCE:
            message = f"{what}: the ROI's axes are not unit vectors at right angles: {self.axes.round(4).tolist()}."
            raise InputError(message, _REMEDY)

    def corners(self) -> Matrix:
        """Return the eight corners of the box in RAS mm, shape (8, 3)."""
        signs = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3, indexing="ij"), axis=-1).reshape(8, 3)
        return np.asarray(self.center + (signs * self.size) @ self.axes.T)


def read_roi(path: Path) -> Roi:
    """Read the first ROI of a Slicer markups file, in RAS mm whatever the file's coordinate system is.

    Raises:
        InputError: Missing, not a markups file, no ROI in it, or a box without position or size.
    """
    content = read_json(Path(path))
    found = content.get("markups") if isinstance(content, dict) else None
    if not isinstance(found, list):
        message = f"{path}: is not a Slicer markups file (it has no list named markups)."
        raise InputError(message, _REMEDY)
    markups = [item for item in found if isinstance(item, dict)]
    roi = next((item for item in markups if str(item.get("type", "")).upper() == "ROI"), None)
    if roi is None:
        kinds = ", ".join(sorted({str(item.get("type", "unknown")) for item in markups})) or "nothing"
        message = f"{path}: holds no ROI, only {kinds}."
        raise InputError(message, _REMEDY)
    return _roi_of(roi, path)


def _roi_of(item: dict[str, Any], path: Path) -> Roi:
    units = item.get("coordinateUnits", "mm")
    if units not in ("mm", ["mm", "UCUM", "millimeter"]):
        message = f"{path}: the ROI is given in {units!r}, expected mm."
        raise InputError(message, "Save it again in millimeters.")
    if item.get("insideOut"):
        message = f"{path}: the ROI is turned inside out."
        raise InputError(message, "Clear 'Inside out' on the ROI in Slicer and save it again.")
    to_ras = _RAS_FROM[_system_of(item, path)]
    center = _numbers(item.get("center"), (3,), "center", str(path))
    axes = _numbers(item.get("orientation", [1, 0, 0, 0, 1, 0, 0, 0, 1]), (9,), "orientation", str(path)).reshape(3, 3)
    return Roi(to_ras @ center, to_ras @ axes, _numbers(item.get("size"), (3,), "size", str(path)), str(path))


def _system_of(item: dict[str, Any], path: Path) -> str:
    given = str(item.get("coordinateSystem", "")).upper()
    system = _SYSTEM_NUMBERS.get(given, given)
    if system not in _RAS_FROM:  # never guessed: the wrong one would mirror the box in the body
        message = f"{path}: the ROI's coordinateSystem must be RAS or LPS, got {given or 'none'!r}."
        raise InputError(message, "Save the ROI again with a current Slicer.")
    return system


def _numbers(value: Any, shape: tuple[int, ...], name: str, what: str) -> Matrix:
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.shape != shape or not np.isfinite(array).all():
        message = f"{what}: the ROI's {name} must be {' x '.join(map(str, shape))} finite numbers, got {value!r}."
        raise InputError(message, _REMEDY)
    return array


def write_roi(path: Path, roi: Roi) -> None:
    """Write a box as a Slicer markups file in LPS, the coordinate system that Slicer itself writes, atomically.

    The center is written as a control point, too: Slicer reads a file without one as a box of size 0 at the mirrored place.

    Raises:
        StorageError: The file cannot be written.
    """
    to_lps = _RAS_FROM["LPS"]  # its own inverse
    center = (to_lps @ roi.center).tolist()
    item = {
        "type": "ROI",
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "roiType": "Box",
        "center": center,
        "orientation": (to_lps @ roi.axes).ravel().tolist(),
        "size": roi.size.tolist(),
        "insideOut": False,
        "controlPoints": [{"id": "1", "label": "ROI-1", "position": center, "positionStatus": "defined"}],
    }
    write_json(Path(path), {"@schema": _SCHEMA, "markups": [item]})
