"""What a model, or the average, says about a case, read for showing: one label map, and masks for what overlaps in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.classes import abdomenatlas_table, class_of
from AtlasSegmentLib.components import Box
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.labels import LabelTable, catalog, structure_for
from AtlasSegmentLib.regions import sub_grid
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, is_empty, read_sparse, relative, union
from AtlasSegmentLib.volume import Array, Grid, LabelVolume, Volume

_FIRST_OTHER = 1000
"""Values of structures that AbdomenAtlas does not number start here, in the order of the catalog."""


@dataclass(frozen=True)
class ResultLabels:
    """What to show of a label folder. Only the box that is filled is kept: a whole-body label map is mostly background.

    Attributes:
        grid: The case's grid.
        labels: All organs that do not overlap, on a part of the grid, with its table.
        layers: (organ, mask on a part of the grid, value) of each organ that another one partly covers.
        missing: Organs of which no voxel was found, sorted.
    """

    grid: Grid
    labels: LabelVolume
    layers: tuple[tuple[str, Volume, int], ...]
    missing: tuple[str, ...]


def result_folders(case: CaseFolder, models: Iterable[str]) -> list[tuple[str, str, LabelFolder]]:
    """Return (role, model, folder) of what a case has of these models: the average first, where there is one of several models."""
    names = [name for name in models if case.backbone(name).pseudo_label.is_file()]
    average = [("average", "", case.average)] if len(names) > 1 and case.average.pseudo_label.is_file() else []
    return [*average, *(("model", name, case.backbone(name)) for name in names)]


def read_result(folder: LabelFolder) -> ResultLabels:
    """Read a finished label folder. Raises InputError."""
    record = _record(folder)
    values = published_values(folder.organs(), _own_values(record))
    combined = _labels(read_sparse(folder.pseudo_label), values)
    grid, layers, missing = combined.grid, [], []
    for organ, value in values.items():
        expected = _voxels(record, organ)
        found = int(np.count_nonzero(combined.crop == value)) if class_of(organ) else 0
        if found == expected or (expected is None and found):
            missing += [] if found else [organ]
            continue
        mask = read_sparse(folder.mask(organ))
        if is_empty(mask.box):
            missing.append(organ)
            continue
        combined = _grown(combined, mask.box)
        if _covers_others(combined.within(mask.box), mask.crop, value):
            combined.crop[combined.crop == value] = 0
            layers.append((organ, _part(replace(mask, crop=(mask.crop != 0).astype(np.uint8))), value))
        else:
            combined.crop[relative(mask.box, combined.box)][mask.crop != 0] = value
    table = LabelTable.from_labels(folder.folder.name, {0: "background"} | {value: organ for organ, value in values.items()})
    part = _part(combined)
    labels = LabelVolume(part.array, part.affine, str(folder.pseudo_label), None, table)
    return ResultLabels(grid, labels, tuple(layers), tuple(sorted(missing)))


def _labels(combined: SparseVolume, values: Mapping[str, int]) -> SparseVolume:
    """Return the combined map in a type that has room for all values; empty when it can hold none of the organs."""
    crop = combined.crop.astype(np.uint8 if max(values.values(), default=0) < 256 else np.uint16, copy=False)
    if not any(class_of(organ) for organ in values):  # the combined map holds AbdomenAtlas' values, of which there are none
        return SparseVolume(combined.grid, EMPTY_BOX, crop[:0, :0, :0])
    return replace(combined, crop=crop)


def _grown(volume: SparseVolume, box: Box) -> SparseVolume:
    whole = union([volume.box, box])
    return SparseVolume(volume.grid, whole, volume.within(whole))


def _part(volume: SparseVolume) -> Volume:
    """Return the filled box as a volume; one voxel of background when nothing is filled."""
    box: Box = (slice(0, 1), slice(0, 1), slice(0, 1)) if is_empty(volume.box) else volume.box
    return Volume(volume.within(box), sub_grid(volume.grid, box).affine, volume.grid.source)


def published_values(organs: Iterable[str], own: Mapping[str, int]) -> dict[str, int]:
    """Return the value of each organ: AbdomenAtlas' where it has any of them, else the model's own.

    Beside AbdomenAtlas' organs, others get values from 1000 on, the same in every case.
    """
    names = list(organs)
    known = {organ: value for organ in names if (value := class_of(organ)) is not None}
    if not known and {*names} <= {*own}:
        return {organ: own[organ] for organ in names}
    order = {name: number for number, name in enumerate(catalog())}
    others: dict[str, int] = {}
    for organ in names:
        if organ not in known:
            value = _FIRST_OTHER + order.get(structure_for(organ).name, len(order))
            while value in others.values():
                value += 1
            others[organ] = value
    return dict(sorted((known | others).items(), key=lambda item: item[1]))


def _covers_others(labels: Array, mask: Array, value: int) -> bool:
    """Tell whether a mask lies on voxels of another organ."""
    covered = labels[mask != 0]
    return bool(((covered != 0) & (covered != value)).any())


def _record(folder: LabelFolder) -> dict[str, object]:
    try:
        record = read_json(folder.run_record)
    except AtlasError:  # another program made the folder
        return {}
    return record if isinstance(record, dict) else {}


def _voxels(record: Mapping[str, object], organ: str) -> int | None:
    """Return how many voxels an organ's mask has, None when the record does not say."""
    found: object = record
    for key in ("results", "organs", organ, "voxels"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, int) else None


def _own_values(record: Mapping[str, object]) -> dict[str, int]:
    found: object = record
    for key in ("parameters", "manifest", "labels"):
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        return {}
    names = abdomenatlas_table().names()
    return {str(name): int(value) for value, name in found.items() if str(value).isdecimal() and int(value) and name not in names}
