"""Verify an assembled dataset: derive a random sample of cases again from their sources, voxel by voxel, and check every hash.

The derivation here shares only the reading of files with `merge`: it fills each voxel from the organ of the highest priority down
and never paints over, so a mistake of the one is not repeated by the other.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from AtlasReviewLib.assembly_dataset import source_of
from AtlasReviewLib.assembly_options import AssemblyOptions
from AtlasReviewLib.case_masks import Mask, case_grid, read_mask
from AtlasReviewLib.merge import KINDS, ORIGINAL, REVISED, Labels
from AtlasReviewLib.original_labels import OriginalLabels, original_labels
from AtlasReviewLib.release_layout import ReleaseFolder, release_organs
from AtlasReviewLib.revision_files import ENDING
from AtlasSegmentLib.case_folder import REVISED as REVISED_SUFFIX
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.errors import AtlasError, InputError
from AtlasSegmentLib.files import read_json, sha256_of
from AtlasSegmentLib.names import require_inside
from AtlasSegmentLib.nifti import read_nifti
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Grid, require_same_grid

SHOWN = 20


@dataclass(frozen=True)
class Difference:
    """One difference between what is on the disk and what the sources give.

    Attributes:
        case: The assembled case.
        file: Relative to the case.
        voxel: Index [x, y, z], or None where the difference is no voxel.
        expected, found: Values.
        message: What is wrong, with the next step where it is no voxel.
    """

    case: str
    file: str
    voxel: tuple[int, int, int] | None
    expected: int | str
    found: int | str
    message: str


@dataclass(frozen=True)
class VerifyRequest:
    """One assembled case, its dataset folder, and where its sources are when they were moved."""

    folder: ReleaseFolder
    root: Path
    sources: Path | None = None


def sample_of(cases: Sequence[ReleaseFolder], count: int | None, seed: int) -> list[ReleaseFolder]:
    """Return a random sample of cases, the same for a seed; all of them with None, or when there are no more."""
    ordered = sorted(cases, key=lambda case: case.folder.name)
    if count is None or count >= len(ordered):
        return ordered
    return sorted(random.Random(seed).sample(ordered, count), key=lambda case: case.folder.name)


def verify_case(request: VerifyRequest, progress: ProgressCallback = ignore_progress) -> list[Difference]:
    """Derive one assembled case again and compare it with what is on the disk; nothing is written.

    Returns:
        Differences, at most SHOWN voxels a file.

    Raises:
        DatasetError: The source is not there.
        InputError, GeometryError, LabelError: A file cannot be read.
    """
    manifest = read_json(request.folder.manifest)
    case = source_of(request.root, manifest, request.sources)
    progress(0.1, "derive")
    derived = _Derived(case, manifest)
    found = list(derived.differences)
    if not derived.is_whole:
        return found
    for number, (path, expected) in enumerate(derived.files(request.folder)):
        progress(0.3 + 0.6 * number / (len(derived.masks) + 2), f"compare {path.name}")
        found.extend(_compare(manifest["name"], request.folder, path, expected, derived.grid))
    found.extend(_compare_ct(manifest, request.folder, case))
    return found


class _Derived:
    """What the sources that a manifest names give, derived anew.

    Attributes:
        differences: Sources that are not those that were assembled.
        is_whole: Every source was there.
        masks: Organ to its mask.
    """

    def __init__(self, case: CaseFolder, manifest: Mapping[str, Any]) -> None:
        self.differences: list[Difference] = []
        self._case, self._manifest, self.grid = case, manifest, case_grid(case)
        self._class_of = {organ.name: organ.class_value for organ in release_organs(manifest["parameters"]["release"])}
        self._load_original = cache(self._original)
        inputs = [(entry["role"], entry["organ"], self._found(entry)) for entry in manifest["inputs"] if entry["role"] != "ct"]
        self.is_whole = all(path is not None for _, _, path in inputs)
        self._files = {(role, organ): path for role, organ, path in inputs}
        self.masks: dict[str, Mask] = {}
        if self.is_whole:
            self.masks = {name: self._mask(organ["source"], name) for name, organ in manifest["organs"].items()}

    def files(self, folder: ReleaseFolder) -> Iterator[tuple[Path, Labels]]:
        """Yield each file of voxels with what it must hold."""
        for organ, mask in self.masks.items():
            yield folder.mask(organ), mask.astype(np.uint8)
        combined, provenance = self._maps()
        yield folder.combined, combined
        yield folder.provenance, provenance

    def _maps(self) -> tuple[Labels, Labels]:
        """Fill each voxel once, from the organ of the highest priority down."""
        combined = np.zeros(self.grid.shape, np.int64, order="F")
        drawn, removed = np.zeros_like(combined), np.zeros_like(combined)
        numbers = {(entry["kind"], entry["by"]): entry["value"] for entry in self._manifest["provenance"]}
        for organ in reversed(self._painting_order()):
            entry, mask = self._manifest["organs"][organ], self.masks[organ]
            number = numbers[entry["source"], entry["by"]]
            free = mask & (combined == 0)
            combined[free], drawn[free] = entry["value"], number
            for kind in entry["displaced"]:
                left_out = self._mask(kind, organ) & ~mask & (removed == 0)
                removed[left_out] = number
        return combined, np.where(combined > 0, drawn, removed)

    def _painting_order(self) -> list[str]:
        options = AssemblyOptions(tuple(self._manifest["parameters"].get("paint_order", ())))
        organs = self._manifest["organs"]
        rank = {name: -KINDS.index(organ["source"]) for name, organ in organs.items()}
        return sorted(organs, key=lambda name: (rank[name], options.order_of(name, self._class_of[name])))

    def _mask(self, kind: str, organ: str) -> Mask:
        if kind == ORIGINAL:
            return self._load_original().mask(self._class_of[organ])
        path = self._files.get((kind, organ))
        if path is None:
            message = f"{self._manifest['name']}: the manifest names no {kind} mask of {organ}."
            raise InputError(message, "Assemble the case again with --force.")
        return read_mask(path, self.grid)

    def _original(self) -> OriginalLabels:
        return original_labels(self._case, str(self._manifest["parameters"]["dataset"]))

    def _found(self, entry: Mapping[str, Any]) -> Path | None:
        """Return the file of an input with the bytes that were assembled; a revision that is no longer current is kept by its id."""
        path = require_inside(self._case.folder / entry["file"], self._case.folder)
        if path.is_file() and sha256_of(path) == entry["sha256"]:
            return path
        if entry["role"] == REVISED and entry.get("revision"):
            name = path.name.removesuffix(ENDING).removesuffix(REVISED_SUFFIX)
            kept = self._case.average.revisions(name) / f"{entry['revision']}{ENDING}"
            if kept.is_file() and sha256_of(require_inside(kept, self._case.folder)) == entry["sha256"]:
                return kept
        digest = sha256_of(path) if path.is_file() else "missing"
        message = f"the source {entry['file']} changed since the case was assembled; assemble it again."
        self.differences.append(Difference(self._manifest["name"], entry["file"], None, entry["sha256"], digest, message))
        return None


def _compare(case: str, folder: ReleaseFolder, path: Path, expected: Labels, grid: Grid) -> Iterator[Difference]:
    name = path.relative_to(folder.folder).as_posix()
    try:
        volume = read_nifti(path)
        require_same_grid(volume, grid)
    except AtlasError as error:
        yield Difference(case, name, None, "a readable map on the grid of the case", "none", str(error))
        return
    wrong = volume.array != expected
    count = int(np.count_nonzero(wrong))
    if not count:
        return
    for voxel in np.argwhere(wrong)[:SHOWN]:
        x, y, z = (int(i) for i in voxel)
        message = f"one of {count} wrong voxels"
        yield Difference(case, name, (x, y, z), int(expected[x, y, z]), int(volume.array[x, y, z]), message)


def _compare_ct(manifest: Mapping[str, Any], folder: ReleaseFolder, case: CaseFolder) -> Iterator[Difference]:
    for entry in manifest["inputs"]:
        if entry["role"] != "ct":
            continue
        found = {place: sha256_of(path) if path.is_file() else "missing" for place, path in (("assembled", folder.ct), ("source", case.ct))}
        for place, digest in found.items():
            if digest != entry["sha256"]:
                message = f"the {place} CT is not the one that was assembled"
                yield Difference(manifest["name"], folder.ct.name, None, entry["sha256"], digest, message)


def verify_plainly(request: VerifyRequest, progress: ProgressCallback = ignore_progress) -> dict[str, Any]:
    """Verify a case as a step of `run_cases`: differences as plain values."""
    return {"differences": [vars(difference) for difference in verify_case(request, progress)]}
