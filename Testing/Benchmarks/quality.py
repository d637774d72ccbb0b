"""Predicted quality of 25 masks of a 512 x 512 x 275 case, against SegAE's documented procedure of one slice at a time, in one run.

    python Testing/Benchmarks/quality.py [--model FOLDER]

The masks are 25 organs of the real torso, brought with its CT to the size of a clinical scan. "One by one" is what the publication
describes: for each mask, which slices of the volume have it; then each of ten slices is cropped, made a picture, resized, and shown to the
network alone. Run with the network that comes along, and with SegAE's own default (ResNet-50 at 256 x 256, random weights). Both
get the CT and the masks as arrays in memory. Medians of three, the contestants taking turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
SHAPE, SPACING = (512, 512, 275), (0.78, 0.78, 1.2)
ORGANS = 25
SECONDS, TIMES = 3.0, 8.0

from AtlasQualityLib.mask_set import MaskSet, masks_of_labels  # noqa: E402
from AtlasQualityLib.quality_model import QualityModel, load_network, open_quality_model, shipped_model  # noqa: E402
from AtlasQualityLib.quality_network import build_network  # noqa: E402
from AtlasQualityLib.quality_predict import predict_quality  # noqa: E402
from AtlasSegmentLib.labels import load_table  # noqa: E402
from AtlasSegmentLib.resample import resample  # noqa: E402
from AtlasSegmentLib.volume import Grid, LabelVolume, Volume, reorient_like  # noqa: E402
from AtlasSegmentLib.volume_io import read_label_volume, read_volume  # noqa: E402


def case(data: Path) -> tuple[Volume, MaskSet]:
    """Return the CT of the torso and its 25 largest organs on a clinical grid."""
    ct = read_volume(data / "torso-3mm" / "ct.nii.gz")
    labels = read_label_volume(data / "torso-3mm" / "reference_label.nii.gz", load_table("totalsegmentator_v2"))
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = ct.affine[:3, 3] - [20, 45, -2]
    grid = Grid(SHAPE, affine)
    fine = resample(ct, grid, "linear").array.round().astype(np.int16)
    turned = Volume(reorient_like(labels.array, labels.affine, ct), ct.affine)
    names = resample(turned, grid, "nearest").array
    masks = masks_of_labels(LabelVolume(names, affine, "torso", None, labels.table))
    largest = sorted(masks.masks, key=lambda organ: -np.count_nonzero(masks.masks[organ].crop))[:ORGANS]
    return Volume(np.asfortranarray(fine), affine), MaskSet("torso", masks.grid, {organ: masks.masks[organ] for organ in largest})


def one_by_one(
    ct: np.ndarray, masks: dict[str, np.ndarray], network: torch.nn.Module, vectors: dict[str, np.ndarray], size: int
) -> dict[str, float]:
    """Score masks [slice, row, column] as the publication describes it."""
    result = {}
    for organ, mask in masks.items():
        embedding = torch.from_numpy(vectors[organ].copy())[None]
        filled = [index for index in range(len(mask)) if (mask[index] > 0).sum() > 0]
        chosen = filled if len(filled) <= 10 else [filled[int(len(filled) / 10 * k)] for k in range(10)]
        scores = [float(network(shown(ct[index], mask[index], size)[None], embedding)) for index in chosen]
        result[organ] = float(np.mean(scores))
    return result


def shown(ct: np.ndarray, mask: np.ndarray, size: int) -> torch.Tensor:
    """Return a slice as the publication's transforms give it."""
    rows, columns = np.where(mask.any(axis=1))[0], np.where(mask.any(axis=0))[0]
    r0, r1 = max(rows[0] - 20, 0), min(rows[-1] + 20, ct.shape[0])
    c0, c1 = max(columns[0] - 20, 0), min(columns[-1] + 20, ct.shape[1])
    more = abs((r1 - r0) - (c1 - c0)) // 2
    if r1 - r0 < c1 - c0:
        r0, r1 = max(r0 - more, 0), min(r1 + more, ct.shape[0])
    else:
        c0, c1 = max(c0 - more, 0), min(c1 + more, ct.shape[1])
    image = (np.clip(ct[r0:r1, c0:c1].astype(np.float32), -200, 200) + 200) / 400
    pictures = [
        Image.fromarray(part).resize((size, size), Image.Resampling.BILINEAR) for part in (image, mask[r0:r1, c0:c1].astype(np.float32))
    ]
    arrays = [np.asarray(picture) for picture in pictures]
    return torch.from_numpy(np.stack([(arrays[0] - 0.5) / 0.25, (arrays[1] - 0.5) / 0.5]))


def contestants(ct: Volume, masks: MaskSet, model: QualityModel) -> dict[str, Callable[[], Any]]:
    """Return what is timed, by name."""
    turned = ct.reoriented("LPS")
    array = np.ascontiguousarray(turned.array.transpose(2, 1, 0))
    onto = masks.onto(turned.grid)
    dense = {organ: np.ascontiguousarray(mask.dense().transpose(2, 1, 0)) for organ, mask in onto.masks.items()}
    vectors = {organ: model.embedding(organ) for organ in masks.masks}
    small = load_network(model.source / "model.safetensors", model.manifest).eval()
    large = build_network("resnet50").eval()
    size = model.manifest.slices.size
    return {
        "ours": lambda: predict_quality(ct, masks, model),
        "one by one, the same network": lambda: one_by_one(array, dense, small, vectors, size),
        "one by one, ResNet-50 at 256": lambda: one_by_one(array, dense, large, vectors, 256),
    }


def main() -> int:
    """Print the times; return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder with model.safetensors; the one that comes along by default")
    chosen = parser.parse_args()
    data = Path(os.environ.get("ATLAS_SHARED", ROOT.parent / "shared")) / "data"
    ct, masks = case(data)
    model = open_quality_model(chosen.model or shipped_model(), threads=2)
    print(f"{len(masks.masks)} masks on {' x '.join(map(str, ct.shape))} voxels; {model.manifest.name}, {model.scorer.engine}", flush=True)
    runs = contestants(ct, masks, model)
    runs["ours"]()  # the first pass of an engine plans its memory
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(3):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            found[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(times) for name, times in found.items()}
    for name, seconds in medians.items():
        print(f"{name}: {seconds:.2f} s, {seconds / medians['ours']:.1f} times ours", flush=True)
    documented = medians["one by one, ResNet-50 at 256"] / medians["ours"]
    is_met = medians["ours"] < SECONDS and documented >= TIMES
    print(f"bars: under {SECONDS} s and at least {TIMES} times faster than the documented procedure: {'met' if is_met else 'MISSED'}")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
