"""Which CTs a label-quality model was trained on: what it predicts of those is better than it is on others, and the user is told.

A CT is known again by its voxels: their values in HU, rounded to whole numbers and kept within -1024..3071 (what lies outside is padding,
which programs write differently), slice by slice in LPS order, with the numbers of slices, rows and columns. So a copy with another
compression, data type or array order, or one made of the DICOM slices, is the same CT, which a sum over a file's bytes would miss.
Spacing and place are left out: conversion rounds them. A CT that was cropped, resampled or given noise is another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from AtlasQualityLib.quality_slices import axial
from AtlasSegmentLib.volume import Array, Volume

if TYPE_CHECKING:
    from AtlasQualityLib.quality_manifest import QualityManifest, TrainingCt

_LOW, _HIGH = -1024, 3071


def voxels_sha256(ct: Array) -> str:
    """Return what tells a CT from others.

    Args:
        ct: (slices, rows, columns) in LPS order, HU.
    """
    digest = hashlib.sha256(repr(tuple(map(int, ct.shape))).encode())
    for plane in ct:
        values = plane if plane.dtype.kind in "iu" else np.rint(np.nan_to_num(plane, nan=_LOW, posinf=_HIGH, neginf=_LOW))
        digest.update(np.ascontiguousarray(np.clip(values, _LOW, _HIGH), "<i2").data)
    return digest.hexdigest()


def training_ct(ct: Volume, manifest: QualityManifest) -> TrainingCt | None:
    """Return the CT of a model's training that this one is; None when it is none, or the model does not say."""
    if not manifest.training_cts:
        return None
    mark = voxels_sha256(axial(ct.reoriented("LPS").array))
    return next((one for one in manifest.training_cts if one.voxels_sha256 == mark), None)


def too_good(case: str, part: str) -> str:
    """Return what to tell people of a case that is one of the model's training."""
    used = "trained" if part == "train" else "validated"
    return f"{case}: the model was {used} on this CT: its figures here are too good."


def training_cts(masks: Sequence[tuple[str, str]], marks: Mapping[str, str]) -> tuple[TrainingCt, ...]:
    """Return the CTs that a training used, each once, those that only test it left out.

    Args:
        masks: (case, part) of each mask.
        marks: Case to `voxels_sha256`.
    """
    from AtlasQualityLib.quality_manifest import TrainingCt

    found: dict[str, TrainingCt] = {}
    parts: tuple[Literal["train", "val"], ...] = ("train", "val")
    for part in parts:
        for case in dict.fromkeys(case for case, own in masks if own == part):
            if mark := marks.get(case):
                found.setdefault(mark, TrainingCt(name=case, part=part, voxels_sha256=mark))
    return tuple(found.values())
