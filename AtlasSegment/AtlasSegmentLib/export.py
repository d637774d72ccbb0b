"""Organs into files: one label map with published values and its table, or a folder with one mask an organ.

What a single label map cannot hold (organs that the chosen table lacks, voxels where organs overlap) is known before anything
is written: `merge_organs` returns it, and `MergedLabels.remarks` says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from AtlasSegmentLib.components import bounding_box
from AtlasSegmentLib.errors import InputError, LabelError
from AtlasSegmentLib.export_organs import Organ, file_names, painting_order, unique_name, wholes_of
from AtlasSegmentLib.export_table import LabelEntry, table_paths, write_tables
from AtlasSegmentLib.files import storage_errors
from AtlasSegmentLib.labels import MAX_VALUE, LabelTable, name_key, structure_for
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Array, Grid, LabelVolume, Volume
from AtlasSegmentLib.volume_io import suffix_of, write_volume

_ENDING = ".nii.gz"
_SHOWN = 5
_Values = list[tuple[Organ, int]]


@dataclass(frozen=True)
class MergedLabels:
    """All organs in one label map, and what did not fit into it.

    Attributes:
        labels: uint8 or uint16 (X, Y, Z) with its table.
        entries: Every value that an organ was given, in ascending order.
        left_out: Names of organs that the table has no value for.
        joined: Organ to the larger structure whose value it got (a lung lobe to its lung).
        numbered: Organ to the new value it got, as it had none or another organ has it.
        covered: (organ below, organ above) to the number of voxels that the organ below lost.
        title: Name of the values, for people.
    """

    labels: LabelVolume
    entries: tuple[LabelEntry, ...]
    left_out: tuple[str, ...]
    joined: Mapping[str, str]
    numbered: Mapping[str, int]
    covered: Mapping[tuple[str, str], int]
    title: str

    def remarks(self) -> list[str]:
        """Say in full sentences what the label map does not hold as it was; empty when it holds everything."""
        found = []
        if self.left_out:
            found.append(f"{self.title} has no value for {_listed(self.left_out)}: left out.")
        if self.joined:
            found.append(f"Part of a larger structure in {self.title}: {_listed([f'{a} in {b}' for a, b in self.joined.items()])}.")
        if self.numbered:
            found.append(f"Without a value of their own, now: {_listed([f'{a} = {v}' for a, v in self.numbered.items()])}.")
        if self.covered:
            pairs = [f"{above} over {below} ({count} voxels)" for (below, above), count in self.covered.items()]
            found.append(f"Organs overlap and a label map holds one a voxel: {_listed(pairs)}.")
        return found


def _listed(items: Sequence[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else "")


def merge_organs(
    organs: Sequence[Organ], grid: Grid, table: LabelTable | None = None, progress: ProgressCallback = ignore_progress
) -> MergedLabels:
    """Paint organs into one label map.

    Published values are never changed: an organ gets the value that `table` publishes for it, else the value of the smallest
    structure around it that the table has; without both it is left out. With no table every organ keeps its own
    value; one that has none, or whose value an organ before it in the list has, gets the next number above all others. Where
    organs overlap, `painting_order` decides.

    Args:
        organs: In the order of the list of segments.
        grid: The grid of all masks and of the result.
        table: Whose values to use; None keeps the organs' own.
        progress: Called with the fraction done and the organ.

    Raises:
        InputError: There are no organs.
        LabelError: A table has no value for any of them, or there are more than 65535 values.
        GeometryError: A mask does not fit the grid.
    """
    if not organs:
        message = "There is no organ to export."
        raise InputError(message, "Segment the CT first, or choose another segmentation.")
    values, joined, numbered = _own_values(organs) if table is None else _table_values(organs, table)
    title = "The values of the model" if table is None else table.title
    if not values:
        message = f"{title} has no value for any of {_listed([organ.name for organ in organs])}."
        raise LabelError(message, "Choose another table, or export one file for each organ.")
    final = _final_table(values, table)
    array, covered = _paint(values, grid, final, progress)
    counts = np.bincount(array.ravel(order="K"), minlength=max(final.labels) + 1)
    structures = {value: organ.structure for organ, value in reversed(values) if organ.name not in joined}
    entries = tuple(LabelEntry(v, name, structures.get(v, structure_for(name)), int(counts[v])) for v, name in final.labels.items())
    kept = {id(organ) for organ, _ in values}
    left_out = tuple(organ.name for organ in organs if id(organ) not in kept)
    return MergedLabels(LabelVolume(array, grid.affine, "", grid.header, final), entries, left_out, joined, numbered, covered, title)


def _table_values(organs: Sequence[Organ], table: LabelTable) -> tuple[_Values, dict[str, str], dict[str, int]]:
    """Return (organ and value in the order of the list, organs that became part of a whole, nothing)."""
    published = {table.structure_of(value).name: value for value in table.labels}
    values: _Values = []
    joined: dict[str, str] = {}
    for organ in organs:
        known = [s.name for s in (organ.structure, *wholes_of(organ.structure)) if s.name in published]
        if not known:
            continue
        values.append((organ, published[known[0]]))
        if known[0] != organ.structure.name:
            joined[organ.name] = table.name_of(published[known[0]])
    return values, joined, {}


def _own_values(organs: Sequence[Organ]) -> tuple[_Values, dict[str, str], dict[str, int]]:
    """Return (organ and value in the order of the list, nothing, organs that got a new value)."""
    found: dict[int, int] = {}
    taken: set[int] = set()
    for index, organ in enumerate(organs):
        if organ.value is not None and 0 < organ.value <= MAX_VALUE and organ.value not in taken:
            found[index] = organ.value
            taken.add(organ.value)
    following = max(taken, default=0) + 1
    numbered: dict[str, int] = {}
    for index, organ in enumerate(organs):
        if index not in found:
            found[index] = numbered[organ.name] = following
            following += 1
    if following - 1 > MAX_VALUE:
        message = f"The organs need values up to {following - 1}, and a label map goes to {MAX_VALUE}."
        raise LabelError(message, "Choose a label table for the export.")
    return [(organ, found[index]) for index, organ in enumerate(organs)], {}, numbered


def _final_table(values: _Values, table: LabelTable | None) -> LabelTable:
    if table is not None:
        used = {value for _, value in values}
        return LabelTable(table.name, table.title, {v: name for v, name in table.labels.items() if v in used}, table.source)
    taken: set[str] = set()
    labels: dict[int, str] = {}
    for name, (_, value) in zip(file_names(organ for organ, _ in values), values, strict=True):
        # An alias and the canonical name ("gallbladder", "gall_bladder") are two segments here, but one structure of a table.
        canonical = structure_for(name).name
        labels[value] = name if name_key(canonical) not in taken else unique_name(canonical, taken)
        taken.update((name_key(labels[value]), name_key(structure_for(labels[value]).name)))
    return LabelTable("own_values", "The values of the model", labels)


def _paint(values: _Values, grid: Grid, table: LabelTable, progress: ProgressCallback) -> tuple[Array, dict[tuple[str, str], int]]:
    array = np.zeros(grid.shape, np.min_scalar_type(max(value for _, value in values)), order="F")
    value_of = {id(organ): value for organ, value in values}
    covered: dict[tuple[str, str], int] = {}
    ordered = painting_order([organ for organ, _ in values])
    for number, organ in enumerate(ordered):
        progress(number / len(ordered), organ.name)
        value, mask = value_of[id(organ)], organ.mask(grid.shape)
        box = bounding_box(mask)
        if box is None:
            continue
        inside = mask[box]
        counts = np.bincount(array[box][inside])
        for below in np.flatnonzero(counts).tolist():
            if below not in {0, value}:
                pair = (table.name_of(below), organ.name)
                covered[pair] = covered.get(pair, 0) + int(counts[below])
        array[box][inside] = value
    return array, covered


def label_map_paths(path: Path) -> list[Path]:
    """Return the files that `write_label_map` writes: the label map and its two tables."""
    return [Path(path), *table_paths(path)]


def write_label_map(path: Path, merged: MergedLabels, *, overwrite: bool = False, source: str = "") -> list[Path]:
    """Write a label map (.nii.gz, .nii, .nrrd, .mha) and its table as CSV and JSON, each atomically.

    Args:
        path: The label map; `<name>_labels.csv` and `<name>_labels.json` go beside it.
        merged: What `merge_organs` returned.
        overwrite: Replace files that are there.
        source: What it was made from, for the table.

    Returns:
        The files written.

    Raises:
        InputError: A file is there already, or the name has no known ending.
        GeometryError: A sheared grid in a format other than NIfTI.
        StorageError: A file cannot be written.
    """
    paths = label_map_paths(path)
    if not suffix_of(Path(path).name):
        message = f"{path}: its name does not end in a format that can be written."
        raise InputError(message, "Use .nii.gz or .nrrd.")
    require_free(paths, overwrite)
    for old in paths[1:]:
        with storage_errors(old):
            old.unlink(missing_ok=True)  # stopped halfway, there must not be the table of another label map
    write_volume(paths[0], merged.labels)
    write_tables(paths[0], merged.entries, merged.title, source)
    return paths


def organ_paths(folder: Path, organs: Sequence[Organ]) -> list[Path]:
    """Return the files that `write_organ_files` writes, one for each organ, in the layout of AbdomenAtlas."""
    return [Path(folder) / "segmentations" / f"{name}{_ENDING}" for name in file_names(organs)]


def write_organ_files(
    folder: Path, organs: Sequence[Organ], grid: Grid, *, overwrite: bool = False, progress: ProgressCallback = ignore_progress
) -> list[Path]:
    """Write one binary mask for each organ, uint8 0/1, as `<folder>/segmentations/<organ>.nii.gz`, each atomically.

    Organs may overlap: nothing is lost. An organ without voxels gets an empty mask, as in AbdomenAtlas.

    Raises:
        InputError: There are no organs, a file is there already, or masks of other organs lie in the folder.
        GeometryError: A mask does not fit the grid.
        StorageError: A file cannot be written.
    """
    paths = organ_paths(folder, organs)
    if not paths:
        message = "There is no organ to export."
        raise InputError(message, "Segment the CT first, or choose another segmentation.")
    require_no_strangers(paths)
    require_free(paths, overwrite)
    there = {path for path in paths if path.exists()}
    try:
        for number, (path, organ) in enumerate(zip(paths, organs, strict=True)):
            progress(number / len(paths), organ.name)
            write_nifti(path, Volume(organ.mask(grid.shape).astype(np.uint8), grid.affine, "", grid.header))
    except BaseException:
        for path in paths:  # a full disk: what this call made would be in the way of the next one
            if path not in there:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        raise
    return paths


def require_no_strangers(paths: Sequence[Path]) -> None:
    """Refuse a folder with masks that are not among `paths`: masks of two cases would be taken for one. Raises InputError."""
    names = {path.name for path in paths}
    strange = sorted(path.name for path in paths[0].parent.glob(f"*{_ENDING}") if path.name not in names and not path.name.startswith("."))
    if strange:
        message = f"{paths[0].parent}: holds masks of other organs ({_listed(strange)})."
        raise InputError(message, "Choose an empty folder for this case.")


def require_free(paths: Sequence[Path], overwrite: bool) -> None:
    """Check that no file would be replaced unasked. Raises InputError naming the first; StorageError for an impossible name."""
    there = []
    for path in paths:
        with storage_errors(path):
            there += [path] if path.exists() else []
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        message = f"{there[0]}{more}: is there already."
        raise InputError(message, "Choose another name, or allow replacing it (--replace).")
