"""The organs of one segmentation, wherever it lies: a case folder, a label map, or arrays that a Slicer scene left on the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from AtlasQualityLib.metrics_boxes import label_boxes
from AtlasSegmentLib import geometry
from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.resample import resample
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, from_dense, is_empty, read_sparse, union
from AtlasSegmentLib.volume import Array, Grid, LabelVolume, Volume, require_same_grid

SCENE_FORMAT = "atlas-scene-masks/1"


@dataclass(frozen=True)
class MaskSet:
    """Binary masks of one grid.

    Attributes:
        name: What it is, for messages and tables.
        grid: The grid of all masks.
        masks: Canonical organ name to its mask, uint8 or bool, 0 outside; a known organ that was not found has an empty one.
    """

    name: str
    grid: Grid
    masks: Mapping[str, SparseVolume]

    def onto(self, grid: Grid) -> MaskSet:
        """Return the set on a grid that has the same voxels, perhaps in another array order; nothing is resampled.

        Raises:
            GeometryError: The grids differ.
        """
        order, sign = geometry.reorientation(self.grid.orientation, grid.orientation)
        shape = (self.grid.shape[order[0]], self.grid.shape[order[1]], self.grid.shape[order[2]])
        turned = replace(self.grid, shape=shape, affine=geometry.reorient_affine(self.grid.affine, self.grid.shape, order, sign))
        require_same_grid(turned, grid)
        return MaskSet(self.name, grid, {organ: _turned(mask, order, sign, grid) for organ, mask in self.masks.items()})

    def resampled(self, grid: Grid) -> MaskSet:
        """Return the set on any other grid; the nearest voxel decides."""
        return MaskSet(self.name, grid, {organ: _nearest(mask, grid) for organ, mask in self.masks.items()})

    def united(self, groups: Mapping[str, Sequence[str]]) -> MaskSet:
        """Return a set with one mask for each group of organs: the union of those that are here."""
        return MaskSet(self.name, self.grid, {name: _union([self.masks[organ] for organ in organs]) for name, organs in groups.items()})


def _turned(mask: SparseVolume, order: Sequence[int], sign: Sequence[int], grid: Grid) -> SparseVolume:
    crop = mask.crop.transpose(order)[tuple(slice(None, None, step) for step in sign)]
    sides = [mask.box[axis] for axis in order]
    x, y, z = (s if d > 0 else slice(n - s.stop, n - s.start) for s, d, n in zip(sides, sign, grid.shape, strict=True))
    return SparseVolume(grid, (x, y, z) if not is_empty(mask.box) else EMPTY_BOX, crop)


def _nearest(mask: SparseVolume, grid: Grid) -> SparseVolume:
    if is_empty(mask.box):
        return SparseVolume(grid, EMPTY_BOX, mask.crop)
    start = np.array([side.start for side in mask.box], float)
    to_target = np.linalg.inv(grid.affine) @ mask.grid.affine
    reach = geometry.apply_affine(to_target, geometry.corners([n + 2 for n in mask.crop.shape]) + start - 1)
    low = np.clip(np.floor(reach.min(axis=0)).astype(int), 0, grid.shape)
    high = np.clip(np.ceil(reach.max(axis=0)).astype(int) + 1, low, grid.shape)
    source = Volume((mask.crop > 0).astype(np.uint8), _shifted(mask.grid.affine, start), mask.grid.source)
    size = high - low
    target = Grid((int(size[0]), int(size[1]), int(size[2])), _shifted(grid.affine, low), grid.source)
    return from_dense(resample(source, target, "nearest").array, grid, (int(low[0]), int(low[1]), int(low[2])))


def _shifted(affine: geometry.Matrix, start: Any) -> geometry.Matrix:
    result = affine.copy()
    result[:3, 3] = geometry.apply_affine(affine, start)
    return result


def _union(masks: Sequence[SparseVolume]) -> SparseVolume:
    if len(masks) == 1:
        return masks[0]
    box = union([mask.box for mask in masks])
    return SparseVolume(masks[0].grid, box, np.logical_or.reduce([mask.within(box) > 0 for mask in masks]))


def masks_of_labels(labels: LabelVolume, name: str = "") -> MaskSet:
    """Return the organs of a label map; every organ of its table is known, also where no voxel has its value.

    Raises:
        InputError: The label map has no table.
    """
    what = name or labels.source or "label map"
    if labels.table is None:
        message = f"{what}: the label map has no table that names its values."
        raise InputError(message, "Choose the table that belongs to this label map.")
    organs = {value: labels.table.structure_of(value).name for value in labels.table.labels}
    return MaskSet(what, labels.grid, _masks_of_values(labels.array, organs, labels.grid, (0, 0, 0)))


def _masks_of_values(array: Array, organs: Mapping[int, str], grid: Grid, first: Sequence[int]) -> dict[str, SparseVolume]:
    """Return the mask of each value of an array of whole numbers that lies at `first` in `grid`."""
    boxes = label_boxes(array)
    masks = {}
    for value, organ in organs.items():
        box = boxes.get(value)
        if box is None:
            masks[organ] = SparseVolume(grid, EMPTY_BOX, np.zeros((0, 0, 0), np.bool_))
            continue
        x, y, z = (slice(side.start + start, side.stop + start) for side, start in zip(box, first, strict=True))
        masks[organ] = SparseVolume(grid, (x, y, z), array[box] == value)
    return masks


def masks_of_case(case: CaseFolder, model: str = "") -> MaskSet:
    """Return the average masks of a case, or those of one of its models.

    Raises:
        DatasetError: There are none, or two are masks of one organ under different names.
        GeometryError: They do not share one grid.
    """
    folder = case.backbone(model) if model else case.average
    organs = folder.organs()
    if not organs:
        message = f"{folder.folder}: there are no masks."
        raise DatasetError(
            message, "Run: atlas average CASE." if not model else f"Models of this case: {', '.join(case.models()) or 'none'}."
        )
    require_one_mask_each(folder, organs)
    masks = {organ: read_sparse(folder.mask(organ)) for organ in organs}
    grid = masks[organs[0]].grid
    for mask in masks.values():
        require_same_grid(mask.grid, grid)
    return MaskSet(f"{case.name}, {model or 'average'}", grid, {structure_for(organ).name: mask for organ, mask in masks.items()})


def require_one_mask_each(folder: LabelFolder, organs: Sequence[str]) -> None:
    """Check that no two files are masks of one organ. Raises DatasetError."""
    by_name: dict[str, str] = {}
    for organ in organs:
        other = by_name.setdefault(structure_for(organ).name, organ)
        if other != organ:
            message = f"{folder.mask(other)} and {folder.mask(organ).name} are both masks of {structure_for(organ).name}."
            raise DatasetError(message, "Move one of them elsewhere: which one is meant cannot be told.")


@dataclass(frozen=True)
class SceneLayer:
    """One array of a segmentation node: several organs that do not overlap.

    Attributes:
        array: Whole numbers, (X, Y, Z).
        first: Index of its first voxel in the grid.
        organs: Value to canonical organ name.
    """

    array: Array
    first: tuple[int, int, int]
    organs: Mapping[int, str]


def write_scene_masks(folder: Path, name: str, grid: Grid, layers: Sequence[SceneLayer]) -> Path:
    """Leave the layers of a segmentation in a folder for a child process, uncompressed, since that takes no time.

    Returns:
        The file for `read_scene_masks`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, layer in enumerate(layers):
        file = folder / f"layer{number}.npy"
        np.save(file, layer.array)
        entries.append({"file": file.name, "first": list(layer.first), "organs": {str(v): o for v, o in layer.organs.items()}})
    path = folder / "masks.json"
    described = {"shape": list(grid.shape), "affine": grid.affine.tolist(), "source": grid.source}
    content = {"format": SCENE_FORMAT, "name": name, "grid": described, "layers": entries}
    path.write_text(json.dumps(content), encoding="utf-8")  # not made safe against a crash: that waits for the disk, and the panel for it
    return path


def read_scene_masks(path: Path) -> MaskSet:
    """Read what `write_scene_masks` left. Raises InputError when it is not that."""
    content = read_json(path)
    try:
        described = content["grid"]
        x, y, z = described["shape"]
        grid = Grid((x, y, z), geometry.check_affine(np.array(described["affine"]), str(path)), described["source"])
        masks: dict[str, SparseVolume] = {}
        for layer in content["layers"]:
            array = np.load(path.parent / layer["file"], mmap_mode="r", allow_pickle=False)
            masks.update(_masks_of_values(array, {int(v): organ for v, organ in layer["organs"].items()}, grid, layer["first"]))
        return MaskSet(content["name"], grid, masks)
    except (KeyError, TypeError, ValueError, OSError) as error:
        message = f"{path}: is not a segmentation of the scene ({error})."
        raise InputError(message, "Start the comparison again.") from error
