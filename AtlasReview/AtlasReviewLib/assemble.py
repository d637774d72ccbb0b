"""Assemble a case for release: original > revised > predicted for each organ, with a record of who drew every voxel.

Everything is read, checked and merged before the first byte is written. The manifest is removed first and written last,
so it also says that the case is finished. Nothing in it depends on the time or the place: the same inputs give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from AtlasReviewLib.assembly_conflicts import lost_voxels
from AtlasReviewLib.assembly_options import AssemblyOptions
from AtlasReviewLib.assembly_plan import AssemblyPlan, plan_assembly
from AtlasReviewLib.case_masks import case_grid
from AtlasReviewLib.merge import REVISED, DrawnOrgan, Labels, OrganCandidates, merge_organs, source_ids
from AtlasReviewLib.provenance import legend
from AtlasReviewLib.release_layout import FORMAT, VERSIONS, ReleaseFolder, ReleaseOrgan, release_folder, release_organs
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.components import Box, bounding_box
from AtlasSegmentLib.errors import AtlasError, DatasetError
from AtlasSegmentLib.files import copy_file, read_json, remove_stale_temporaries, sha256_of, storage_errors, sync_folder, write_json
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.run_record import software_versions
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, write_sparse
from AtlasSegmentLib.volume import Grid, Volume

_COMPARED = ("format", "name", "inputs", "models", "parameters", "left_out", "missing", "notes")
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class AssembledCase:
    """A finished case.

    Attributes:
        folder: `<out_root>/<name>`.
        manifest: What manifest.json holds.
        skipped: It was there already, made from the same inputs.
    """

    folder: Path
    manifest: dict[str, Any]
    skipped: bool = False


def assemble_case(
    case: CaseFolder,
    out_root: Path,
    version: str = "1.1",
    *,
    dataset: str | None = None,
    name: str | None = None,
    force: bool = False,
    options: AssemblyOptions = AssemblyOptions(),  # noqa: B008 - frozen
    progress: Progress = lambda _fraction, _message: None,
) -> AssembledCase:
    """Write one case in the layout of an AbdomenAtlas release, with provenance.nii.gz and manifest.json.

    Args:
        case: The source; nothing in it is changed.
        out_root: Folder of the assembled dataset, outside of the source.
        version: "1.0" (9 structures) or "1.1" (25).
        dataset: Key of the dataset that the original labels are of; told by the folder names when None.
        name: Name of the assembled case, such as BDMAP_00000001; the case's own by default.
        force: Write it again although it is up to date.
        options: Painting order and verdicts.
        progress: Told a fraction 0..1 and what is done.

    Raises:
        DatasetError: The output lies among the sources or holds something else, there is nothing to assemble, or a
            source changed meanwhile.
        InputError, GeometryError, LabelError: A source cannot be used; the message names it. Nothing was written.
        StorageError: The disk is full or the folder cannot be written; running it again finishes the work.
    """
    folder = release_folder(case, out_root, name)
    plan = plan_assembly(case, version, dataset, options)
    head = _head(plan, folder.folder.name)
    found = None if force else _up_to_date(folder, head)
    if found is not None:
        folder.marker.unlink(missing_ok=True)
        return AssembledCase(folder.folder, found, skipped=True)
    merged = _Merged(plan, progress)
    _require_unchanged(plan)
    _write(merged, folder, progress)
    manifest = {**head, **merged.results, "outputs": _hashes(folder), "software": _software()}
    write_json(folder.manifest, manifest)
    folder.marker.unlink(missing_ok=True)
    progress(1.0, f"assembled {folder.folder.name}")
    return AssembledCase(folder.folder, manifest)


class _Merged:
    """The merged case in memory: two label maps, and each organ as the packed bits of its box."""

    def __init__(self, plan: AssemblyPlan, progress: Progress) -> None:
        self.case, self.grid = plan.case, case_grid(plan.case)
        self.masks: dict[str, tuple[Box, Labels]] = {}
        self.organs: dict[str, dict[str, Any]] = {}
        self._plan, self._progress = plan, progress
        self._by_name: dict[str, OrganCandidates] = {organ.organ: organ for organ in plan.organs}
        self.combined, self.provenance = merge_organs(plan.organs, self.grid.shape, self._take)
        entries = legend(source_ids(plan.organs), self.provenance, self.combined)
        self.results = {"organs": dict(sorted(self.organs.items())), "provenance": entries, "conflicts": self._conflicts()}

    def _take(self, drawn: DrawnOrgan) -> None:
        self._progress(0.6 * len(self.masks) / len(self._by_name), f"merge {drawn.organ}")
        box = bounding_box(drawn.mask) or EMPTY_BOX
        crop = drawn.mask[box]
        self.masks[drawn.organ] = (box, np.packbits(crop))
        self.organs[drawn.organ] = self._described(drawn, int(np.count_nonzero(crop)))

    def _described(self, drawn: DrawnOrgan, voxels: int) -> dict[str, Any]:
        candidates = self._by_name[drawn.organ]
        revision, reader = self._plan.revisions.get(drawn.organ, (None, ""))
        is_revised = drawn.source.kind == REVISED
        return {
            "value": candidates.value,
            "source": drawn.source.kind,
            "by": drawn.source.by,
            "readers": [reader] if is_revised and reader else [],
            "review": self._plan.parameters["verdicts"].get(drawn.organ),
            "revision": revision if is_revised else None,
            "displaced": [candidate.source.kind for candidate in candidates.ranked[1:]],
            "voxels": voxels,
            "volume_ml": round(voxels * self.grid.voxel_volume_mm3 / 1000, 3),
            "removed_voxels": drawn.removed,
        }

    def _conflicts(self) -> list[dict[str, Any]]:
        """Return how many voxels each organ lost to which other one in the combined map."""
        names = {candidates.value: organ for organ, candidates in self._by_name.items()}
        found = []
        for organ, (box, _) in sorted(self.masks.items()):
            lost = lost_voxels(self._crop(organ).astype(np.bool_), box, self._by_name[organ].value, self.combined)
            for value, voxels in lost.items():
                ml = round(voxels * self.grid.voxel_volume_mm3 / 1000, 3)
                found.append({"lost": organ, "won": names[value], "voxels": voxels, "ml": ml})
        return found

    def _crop(self, organ: str) -> Labels:
        box, bits = self.masks[organ]
        shape = [side.stop - side.start for side in box]
        return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape)

    def mask(self, organ: str) -> SparseVolume:
        """Return one organ, uint8 0/1 on the grid of the case."""
        return SparseVolume(_named(self.grid, organ), self.masks[organ][0], self._crop(organ))


def _head(plan: AssemblyPlan, name: str) -> dict[str, Any]:
    """Return the part of the manifest that is known before anything is merged, as JSON gives it back."""
    head = {
        "format": FORMAT,
        "name": name,
        "source": {"dataset": plan.case.dataset, "case": plan.case.name},
        "inputs": plan.inputs,
        "models": plan.models,
        "parameters": plan.parameters,
        "left_out": plan.left_out,
        "missing": plan.missing,
        "notes": plan.notes,
    }
    result: dict[str, Any] = json.loads(json.dumps(head))
    return result


def _up_to_date(folder: ReleaseFolder, head: dict[str, Any]) -> dict[str, Any] | None:
    """Return the manifest on the disk when it is of these inputs and all its files are whole."""
    if not folder.manifest.is_file():
        return None
    try:
        manifest = read_json(folder.manifest)
    except AtlasError:
        return None
    if not isinstance(manifest, dict) or "conflicts" not in manifest or any(manifest.get(part) != head[part] for part in _COMPARED):
        return None
    outputs = manifest.get("outputs")
    return manifest if isinstance(outputs, dict) and outputs == _hashes(folder) else None


def _hashes(folder: ReleaseFolder) -> dict[str, str]:
    files = [folder.ct, folder.combined, folder.provenance, *sorted(folder.mask("x").parent.glob("[!.]*.nii.gz"))]
    return {path.relative_to(folder.folder).as_posix(): sha256_of(path) for path in files if path.is_file()}


def _require_unchanged(plan: AssemblyPlan) -> None:
    for entry in plan.inputs:
        path = plan.case.folder / entry["file"]
        if sha256_of(path) != entry["sha256"]:
            message = f"{path}: changed while it was read."
            raise DatasetError(message, "Wait until it is saved, then assemble the case again; nothing was written.")


def _write(merged: _Merged, folder: ReleaseFolder, progress: Progress) -> None:
    with storage_errors(folder.folder):
        folder.folder.mkdir(parents=True, exist_ok=True)
        folder.marker.touch()
        sync_folder(folder.folder)
        remove_stale_temporaries(folder.folder)
        if folder.manifest.exists():
            folder.manifest.unlink()
            sync_folder(folder.folder)
        _remove_older(folder, set(merged.masks))
    if merged.case.ct.is_file():
        copy_file(merged.case.ct, folder.ct)
    for number, organ in enumerate(merged.masks):
        progress(0.6 + 0.35 * number / len(merged.masks), f"write {organ}")
        write_sparse(folder.mask(organ), merged.mask(organ))
    for path, array in ((folder.combined, merged.combined), (folder.provenance, merged.provenance)):
        write_nifti(path, Volume(array, merged.grid.affine, str(path), merged.grid.header))


def _remove_older(folder: ReleaseFolder, organs: set[str]) -> None:
    """Remove masks that an earlier assembly (such as of another release) left and this one does not have."""
    released: list[ReleaseOrgan] = [organ for version in VERSIONS for organ in release_organs(version)]
    for organ in released:
        path = folder.mask(organ.name)
        if organ.name not in organs and path.exists():
            path.unlink()


@cache
def _software() -> dict[str, str]:
    """Return the versions of the software, looked up once in a process."""
    return software_versions()


def _named(grid: Grid, organ: str) -> Grid:
    return Grid(grid.shape, grid.affine, organ, grid.header)
