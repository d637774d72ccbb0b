"""nnU-Net's file of probabilities: <case>.npz with every class at every voxel, and <case>.pkl with the image's geometry."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from AtlasSegmentLib.files import atomic_path, storage_errors, write_bytes
from AtlasSegmentLib.geometry import spacing_of
from AtlasSegmentLib.nnunet_prediction import NnunetPrediction
from AtlasSegmentLib.volume import Grid
from AtlasSegmentLib.volume_io import strip_suffix

_FAST = 1  # zlib level; the numbers hardly get smaller with more


def write_probabilities(target: Path, prediction: NnunetPrediction, image: Grid) -> None:
    """Write both files beside a label map, class by class: no more than two classes are in memory.

    Args:
        target: The label map's file.
        prediction: Of the image, or of a part of it; outside of it background has probability 1.
        image: The image's grid.

    Raises:
        StorageError: The disk is full, or the folder cannot be written to.
    """
    base = target.with_name(strip_suffix(target.name))
    heads = prediction.spec.dataset.heads
    shape = (heads, *image.shape[::-1])
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    path = base.with_name(base.name + ".npz")
    with (
        storage_errors(path),
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST) as archive,
        archive.open("probabilities.npy", "w", force_zip64=True) as file,
    ):
        npy.write_array_header_1_0(file, header)
        for channel in range(heads):
            share = prediction.share(image, channel).dense()
            if channel == 0 and not prediction.spec.dataset.has_regions:
                share = _background(share, prediction, image)
            file.write(np.ascontiguousarray(share.transpose(2, 1, 0), "<f4").tobytes())
    write_bytes(base.with_name(base.name + ".pkl"), pickle.dumps(properties(prediction, image)))


def _background(share: Any, prediction: NnunetPrediction, image: Grid) -> Any:
    """Set background to 1 where the model has not looked."""
    looked = prediction.looked_at(image)
    outside = np.ones(image.shape, bool, order="F")
    outside[looked] = False
    share[outside] = 1
    return share


def properties(prediction: NnunetPrediction, image: Grid) -> dict[str, Any]:
    """Return what nnU-Net's own tools for ensembles and post-processing read: plain numbers, (z, y, x) where there are axes."""
    spacing = [float(value) for value in spacing_of(image.affine)]
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    direction = (lps[:3, :3] / np.array(spacing)).ravel().tolist()
    crop = prediction.layout.crop
    return {
        "sitk_stuff": {"spacing": tuple(spacing), "origin": tuple(lps[:3, 3].tolist()), "direction": tuple(direction)},
        "spacing": spacing[::-1],
        "shape_before_cropping": tuple(image.shape[axis] for axis in prediction.layout.axes),
        "bbox_used_for_cropping": [[part.start, part.stop] for part in crop],
        "shape_after_cropping_and_before_resampling": prediction.layout.cropped,
    }
