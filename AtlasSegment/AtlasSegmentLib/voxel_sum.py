"""Whether two files are the same CT: a sum over the voxels, whatever the format.

A CT is known again by its voxels: their values in HU, rounded to whole numbers and kept within -1024..3071 (what lies outside is padding,
which programs write differently), slice by slice in LPS order, with the numbers of slices, rows and columns. So a copy with another
compression, data type or array order, or one made of the DICOM slices, is the same CT, which a sum over a file's bytes would miss.
Spacing and place are left out: conversion rounds them. A CT that was cropped, resampled or given noise is another one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from AtlasSegmentLib.volume import Array, Volume
from AtlasSegmentLib.volume_io import read_volume

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


def volume_sum(ct: Volume) -> str:
    """Return the sum of a CT."""
    return voxels_sha256(ct.reoriented("LPS").array.transpose(2, 1, 0))


def ct_sum(path: Path) -> str:
    """Return the sum of a CT's file or DICOM folder. Raises InputError when it cannot be read."""
    return volume_sum(read_volume(path))
