"""Attention maps made ready to be shown: whole percents, uncompressed, in the box that they fill, so that showing one takes no time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.in_threads import in_threads
from AtlasSegmentLib import geometry
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, box_shape, is_empty, read_sparse, relative, union
from AtlasSegmentLib.volume import Grid, Volume, require_same_grid

SHOWN_KINDS = ("attention", "expected_error")
COMBINED = ""
"""In place of an organ: the largest value of all organs."""
PERCENT = 100
_log = logging.getLogger(__name__)
_FULL = {"attention": 255.0, "expected_error": 1.0}


@dataclass(frozen=True)
class OverlayMap:
    """One map that is ready to be shown.

    Attributes:
        kind: "attention" (percent of the organ's own maximum) or "expected_error" (probability in percent).
        organ: Name of the organ, or COMBINED.
        file: Name of the .npy file in the folder of the maps, uint8 (X, Y, Z), 0..100; a marked voxel is at least 1.
        first: Index of its first voxel in the grid of the case.
        marked_ml: Volume of the voxels above zero.
        sum_ml: Sum of the values (as a share of 1) times the voxel volume.
    """

    kind: str
    organ: str
    file: str
    first: tuple[int, int, int]
    marked_ml: float
    sum_ml: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OverlayMap:
        """Make one from what `to_json` returned."""
        x, y, z = data["first"]
        return cls(**{**data, "first": (int(x), int(y), int(z))})


def write_overlays(case: CaseFolder, folder: Path, progress: ProgressCallback = ignore_progress) -> tuple[Grid | None, list[OverlayMap]]:
    """Make every attention and expected-error map of a case ready in `folder`, and for each kind the combined one.

    Returns:
        The grid of the maps (None when there are none), and the maps.

    Raises:
        InputError: A map is damaged.
        GeometryError: The maps lie on different grids.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work = [(kind, organ) for kind in SHOWN_KINDS for organ in case.average.organs(kind)]
    grid: Grid | None = None
    found: list[OverlayMap] = []
    crops: dict[str, list[SparseVolume]] = {kind: [] for kind in SHOWN_KINDS}
    read = in_threads(lambda entry: read_sparse(case.average.map(*entry)), work)
    for number, ((kind, organ), volume) in enumerate(zip(work, read, strict=True)):
        progress(number / len(work), f"prepare {organ}")
        grid = grid or volume.grid
        require_same_grid(volume.grid, grid)
        percent = in_percent(volume, _FULL[kind])
        crops[kind].append(percent)
        found.append(_stored(percent, kind, organ, f"{number}.npy", folder, _total(volume) / _FULL[kind]))
    for kind, volumes in crops.items():
        if volumes:
            together = combined(volumes)
            found.append(_stored(together, kind, COMBINED, f"{kind}.npy", folder, _total(together) / PERCENT))
    return grid, found


def in_percent(volume: SparseVolume, full: float) -> SparseVolume:
    """Return a map as uint8 percents of `full`, 0..100, rounded up so that what is marked stays marked."""
    crop = finite(volume.crop)
    scaled = np.ceil(np.clip(np.asarray(crop, np.float32) * np.float32(PERCENT / full) - np.float32(1e-3), 0, PERCENT))
    percent: npt.NDArray[np.uint8] = np.maximum(scaled.astype(np.uint8), crop > 0)
    return SparseVolume(volume.grid, volume.box, percent)


def finite(crop: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a map with 0, which marks nothing, where its value is no number or infinite; the log says how many there were."""
    if not np.issubdtype(crop.dtype, np.floating):
        return crop
    finite = np.isfinite(crop)
    count = int(finite.size - np.count_nonzero(finite))
    if not count:
        return crop
    _log.warning("%d voxels of a map are not finite numbers; they are shown as 0.", count)
    return np.where(finite, crop, crop.dtype.type(0))


def combined(volumes: Sequence[SparseVolume]) -> SparseVolume:
    """Return the largest value of several maps of one grid at each voxel."""
    box = union([volume.box for volume in volumes])
    result = np.zeros(box_shape(box), np.uint8, order="F")
    for volume in volumes:
        if not is_empty(volume.box):
            part = result[relative(volume.box, box)]
            np.maximum(part, volume.crop, out=part)
    return SparseVolume(volumes[0].grid, box, result)


def _stored(volume: SparseVolume, kind: str, organ: str, name: str, folder: Path, total: float) -> OverlayMap:
    np.save(folder / name, np.asfortranarray(volume.crop))
    unit = volume.grid.voxel_volume_mm3 / 1000
    box = EMPTY_BOX if is_empty(volume.box) else volume.box
    marked = int(np.count_nonzero(volume.crop))
    return OverlayMap(kind, organ, name, (box[0].start, box[1].start, box[2].start), marked * unit, total * unit)


def _total(volume: SparseVolume) -> float:
    """Return the sum of a map's values; what is no finite number counts as 0."""
    return float(volume.crop.sum(dtype=np.float64, where=np.isfinite(volume.crop)))


def read_overlay(folder: Path, shown: OverlayMap, grid: Grid) -> Volume | None:
    """Return a map that `write_overlays` stored, uint8 0..100, in its own box; None when it marks nothing.

    Raises:
        InputError: The file is gone or damaged.
    """
    path = folder / shown.file
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        message = f"{path}: the map cannot be read ({error})."
        raise InputError(message, "Find the errors again.") from error
    if array.size == 0:
        return None
    affine = grid.affine.copy()
    affine[:3, 3] = geometry.apply_affine(grid.affine, shown.first)
    return Volume(array, affine, f"{shown.kind} {shown.organ}".strip())
