"""Hand an export from the panel to the child process: masks packed as bits in a temporary file, written there by `export_packed`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from AtlasSegmentLib.components import bounding_box
from AtlasSegmentLib.dicom_seg import SegDetails
from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.export_formats import ExportRequest, export_organs
from AtlasSegmentLib.export_organs import Organ
from AtlasSegmentLib.files import storage_errors
from AtlasSegmentLib.labels import Snomed, Structure
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.volume import Array, Grid

CALL = "AtlasSegmentLib.export_job:export_packed"
"""The call that the child process is sent."""
_META = "meta.json"


def pack_organs(folder: Path, organs: Sequence[Organ], grid: Grid) -> Iterator[tuple[float, str]]:
    """Write organs to an empty folder, one at a time, so that a panel can answer in between.

    Yields:
        (share done, organ) before each organ is read.

    Raises:
        StorageError: The disk is full.
    """
    described = []
    for number, organ in enumerate(organs):
        yield number / len(organs), organ.name
        mask = organ.mask(grid.shape)
        box = bounding_box(mask)
        sides = [] if box is None else [[side.start, side.stop] for side in box]
        if box is not None:
            with storage_errors(folder):
                np.save(folder / f"{number}.npy", np.packbits(mask[box]))
        described.append({"name": organ.name, "structure": asdict(organ.structure), "value": organ.value, "box": sides})
    grid_data = {"shape": grid.shape, "affine": grid.affine.tolist(), "source": grid.source}
    with storage_errors(folder):
        (folder / _META).write_text(json.dumps({"organs": described, "grid": grid_data}), encoding="utf-8")


def unpack_organs(folder: Path) -> tuple[list[Organ], Grid]:
    """Return what `pack_organs` wrote. Raises InputError when it is not complete."""
    try:
        data = json.loads((Path(folder) / _META).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{folder}: the masks handed over for the export are missing ({error})."
        raise InputError(message, "Start the export again.") from error
    x, y, z = data["grid"]["shape"]
    grid = Grid((x, y, z), np.array(data["grid"]["affine"]), data["grid"]["source"])
    return [_organ(Path(folder) / f"{n}.npy", item, grid) for n, item in enumerate(data["organs"])], grid


def _organ(path: Path, item: dict[str, Any], grid: Grid) -> Organ:
    return Organ(item["name"], _structure(item["structure"]), _reader(path, item["box"], grid), item["value"])


def _structure(data: dict[str, Any]) -> Structure:
    snomed = data["snomed"]
    if snomed is not None:
        snomed = Snomed(**{**snomed, "region": tuple(snomed["region"]) if snomed["region"] else None})
    return Structure(**{**data, "color": tuple(data["color"]), "aliases": tuple(data["aliases"]), "snomed": snomed})


def _reader(path: Path, sides: Iterable[Sequence[int]], grid: Grid) -> Callable[[], Array]:
    box = tuple(slice(first, last) for first, last in sides)

    def read() -> Array:
        mask = np.zeros(grid.shape, np.bool_, order="F")
        if box:
            inside = mask[box]
            inside[...] = np.unpackbits(np.load(path), count=inside.size).reshape(inside.shape)
        return mask

    return read


def as_arguments(request: ExportRequest) -> dict[str, Any]:
    """Return a request as plain values for `export_packed`."""
    return {**asdict(request), "path": str(request.path), "source_files": [str(path) for path in request.source_files]}


def export_packed(folder: str, request: dict[str, Any], progress: ProgressCallback = ignore_progress) -> dict[str, Any]:
    """Write what `pack_organs` left in a folder. Runs in the child process.

    Args:
        folder: Where the packed masks are.
        request: What `as_arguments` returned.
        progress: Called with the share done and the stage.

    Returns:
        {"files": paths written, "bytes": their size, "remarks": sentences, "organs": how many}; no files when the request does
        not accept losses and there are some.

    Raises:
        AtlasError: As `export_organs`.
    """
    organs, grid = unpack_organs(Path(folder))
    files = tuple(Path(path) for path in request["source_files"])
    made = ExportRequest(**{**request, "path": Path(request["path"]), "source_files": files, "details": SegDetails(**request["details"])})
    outcome = export_organs(organs, grid, made, progress)
    return {
        "files": [str(path) for path in outcome.files],
        "bytes": outcome.bytes,
        "remarks": list(outcome.remarks),
        "organs": outcome.organs,
    }
