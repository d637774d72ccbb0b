"""What a model, or the average, says about a case, read for showing: one label map, and masks for what overlaps in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from AtlasSegmentLib.case_folder import CaseFolder, LabelFolder
from AtlasSegmentLib.classes import abdomenatlas_table, class_of
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.labels import LabelTable, catalog, structure_for
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.volume import Array, LabelVolume, Volume

_FIRST_OTHER = 1000
"""Values of structures that AbdomenAtlas does not number start here, in the order of the catalog."""


@dataclass(frozen=True)
class ResultLabels:
    """What to show of a label folder.

    Attributes:
        labels: All organs that do not overlap, (X, Y, Z), with its table.
        layers: (organ, mask uint8 0/1 on the same grid, value) of each organ that another one partly covers.
        missing: Organs of which no voxel was found, sorted.
    """

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
    combined = read_nifti(folder.pseudo_label)
    array = combined.array.astype(np.uint8 if max(values.values(), default=0) < 256 else np.uint16)
    if not any(class_of(organ) for organ in values):  # the combined map holds AbdomenAtlas' values, of which there are none
        array[:] = 0
    counts = np.bincount(array.ravel(order="K"), minlength=1)
    layers, missing = [], []
    for organ, value in values.items():
        expected = _voxels(record, organ)
        found = int(counts[value]) if class_of(organ) and value < len(counts) else 0
        if expected == 0 or (expected is None and found):
            missing += [organ] if expected == 0 else []
            continue
        if found == expected:
            continue
        mask = read_nifti(folder.mask(organ))
        if not mask.array.any():
            missing.append(organ)
        elif not _paint(array, mask.array, value):
            array[array == value] = 0
            layers.append((organ, replace(mask, array=(mask.array != 0).astype(np.uint8)), value))
    table = LabelTable.from_labels(folder.folder.name, {value: organ for organ, value in values.items()} | {0: "background"})
    labels = LabelVolume(array, combined.affine, str(folder.pseudo_label), combined.header, table)
    return ResultLabels(labels, tuple(layers), tuple(sorted(missing)))


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


def _paint(array: Array, mask: Array, value: int) -> bool:
    """Write a mask into a label map when it covers background, or itself, alone; tell whether it did."""
    inside = mask != 0
    covered = array[inside]
    if bool(((covered != 0) & (covered != value)).any()):
        return False
    array[inside] = value
    return True


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
