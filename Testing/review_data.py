"""Dataset folders ready for review, made of the phantom without any network: masks, attention maps and their record."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from atlas_phantoms import ORGANS, SHAPE, ct, organ, ras_affine
from AtlasQualityLib.attention import attention_folder
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.files import write_json
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.volume import Volume

Attention = Mapping[str, Mapping[str, Any]]


def scores(**organs: float) -> dict[str, dict[str, Any]]:
    """Return an attention record's organs: name to attention in mm3; heat, error and gain grow with it."""
    return {
        name: {
            "attention_voxels": int(size / 50),
            "attention_mm3": size,
            "heat_sum": int(size),
            "expected_error_mm3": size / 2,
            "minutes_to_correct": 0.5,
            "gain_mm3_per_minute": size,
        }
        for name, size in organs.items()
    }


def write_scores(case: CaseFolder, organs: Attention) -> None:
    """Write the record of an attention step."""
    write_json(attention_folder(case).run_record, {"results": {"organs": {name: dict(numbers) for name, numbers in organs.items()}}})


def make_review_case(
    folder: Path, organs: Sequence[str] = ORGANS, attention: Attention | None = None, orientation: str = "RAS"
) -> CaseFolder:
    """Write a case: the phantom's CT, an average mask for each organ that is one voxel short on one side, attention maps.

    Args:
        folder: `<dataset>/<case>`.
        organs: Names of the phantom's organs to predict.
        attention: Scores for the record; None leaves the case without attention.
        orientation: Array order of all files.
    """
    template = _template(tuple(organs), None if attention is None else json.dumps(attention), orientation)
    shutil.copytree(template, folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
    return CaseFolder(folder)


@functools.cache
def _template(organs: tuple[str, ...], attention: str | None, orientation: str) -> Path:
    """Return the case as it was first written in this process: copying it takes a tenth of the time."""
    folder = Path(tempfile.mkdtemp(prefix="atlas-review-case-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _write_review_case(CaseFolder(folder), organs, None if attention is None else json.loads(attention), orientation)
    return folder


def _write_review_case(case: CaseFolder, organs: Sequence[str], attention: Attention | None, orientation: str) -> None:
    volume = ct(orientation)
    write_nifti(case.ct, volume)
    for name in organs:
        truth = organ(ORGANS.index(name))
        mask = truth & np.roll(truth, 1, axis=0)
        write_nifti(case.average.mask(name), _volume(mask.astype(np.uint8), orientation))
        if attention is not None and name in attention:
            heat = np.where(truth & ~mask, 200, 0).astype(np.uint8)
            write_nifti(case.average.map("attention", name), _volume(heat, orientation))
    if attention is not None:
        write_scores(case, attention)


def _volume(array: npt.NDArray[Any], orientation: str) -> Volume:
    assert array.shape == SHAPE
    return Volume(np.asfortranarray(array), ras_affine()).reoriented(orientation)


def make_dataset(folder: Path) -> Path:
    """Write a dataset: `second` has little attention, `first` much, `zlast` none at all."""
    make_review_case(folder / "second", attention=scores(spleen=300.0, liver=100.0, kidney_left=0.0))
    make_review_case(folder / "first", attention=scores(spleen=1000.0, liver=4000.0, kidney_left=2000.0))
    make_review_case(folder / "zlast", organs=("spleen", "liver"))
    return folder
