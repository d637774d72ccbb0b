"""Small datasets to assemble and release: a CT of a thousand voxels and a few boxes as organs, different in every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.files import write_json
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Volume

AFFINE = np.array([[-5.0, 0, 0, 30], [0, -5.0, 0, 25], [0, 0, 5.0, -7], [0, 0, 0, 1]])  # LPS
SHAPE = (12, 10, 8)
VOXEL_ML = 0.125
MODEL_SHA = "ab" * 32
Mask = npt.NDArray[np.uint8]


def box(x: Sequence[int], y: Sequence[int], z: Sequence[int]) -> Mask:
    """Return a mask that is 1 in a box of voxels (start, stop)."""
    array = np.zeros(SHAPE, np.uint8)
    array[slice(*x), slice(*y), slice(*z)] = 1
    return array


LIVER, SPLEEN, STOMACH = box((1, 5), (2, 8), (2, 7)), box((7, 10), (2, 5), (2, 5)), box((6, 9), (3, 7), (3, 6))
ORGANS: Mapping[str, Mask] = {"liver": LIVER, "spleen": SPLEEN, "stomach": STOMACH}  # the last two share voxels


_written: dict[tuple[bytes, str], bytes] = {}


def write_mask(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array on the grid of all these cases; one that was written before is copied from memory."""
    key = (array.tobytes(), array.dtype.str)
    if key in _written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_written[key])
        return
    write_nifti(path, Volume(np.asfortranarray(array), AFFINE))
    _written[key] = path.read_bytes()


def make_case(folder: Path, organs: Mapping[str, Mask] = ORGANS, number: int = 0) -> CaseFolder:
    """Write a case that one model predicted and that is averaged.

    Args:
        folder: `<dataset>/<case>`.
        organs: Name to mask.
        number: Makes the CT, and where the liver ends, its own.
    """
    case = CaseFolder(folder)
    ct = np.full(SHAPE, 40 + number % 100, np.int16)
    ct[0] = -1000
    write_mask(case.ct, ct)
    for name, mask in organs.items():
        own = mask.copy()
        if name == "liver" and own.any():
            own[1, 2, 2 + number % 5] = 0
        write_mask(case.average.mask(name), own)
    write_json(case.average.run_record, {"parameters": {"models": ["unet"]}, "finished": "2026"})
    model = {"name": "unet", "version": "3", "sha256": MODEL_SHA}
    write_json(case.backbone("unet").run_record, {"parameters": {"model": model}, "results": {"model": {"license": "Apache-2.0"}}})
    return case


def make_dataset(folder: Path, names: Sequence[str]) -> list[CaseFolder]:
    """Write a case for each name."""
    return [make_case(folder / name, number=number) for number, name in enumerate(names)]
