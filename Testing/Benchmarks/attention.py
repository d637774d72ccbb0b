"""AbdomenAtlas' attention and averaging, written naively, against ours: same inputs, same bytes, one run.

    python Testing/Benchmarks/attention.py [--shared ../shared] [--classes 32] [--rounds 1]

512x512x275 CT (chest-abdomen-1mm), predictions of the three real networks for 8 organs. Their upper-abdomen box is drawn here.
For averaging, 32 classes are made by shifting the 8 real predictions: as many bytes and shapes as real ones, not real anatomy.
The original stacks all classes in float64 and cannot hold 32 of this size in 24 GB, so the two are compared on 8 classes.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import naive_abdomenatlas as naive
import numpy as np
from measured import measure

from AtlasQualityLib.attention import AttentionOptions, attention_case
from AtlasQualityLib.average import AverageOptions, average_case
from AtlasQualityLib.priority import prioritize, read_scores, write_priority
from AtlasSegmentLib import nifti
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.classes import abdomenatlas_table
from AtlasSegmentLib.markups import Roi
from AtlasSegmentLib.postprocess import RuleKind, rule_of
from AtlasSegmentLib.segment_case import SegmentOptions
from AtlasSegmentLib.segment_request import SegmentRequest, segment

NAIVE_CLASSES = 8  # its two float64 stacks take 1.15 GB a class: 32 would need 37 GB


def predict(shared: Path, case: CaseFolder) -> None:
    """Make the case: CT and the three networks' predictions over the lowest 180 mm of the scan."""
    source = shared / "data/chest-abdomen-1mm/ct.nii.gz"
    grid = nifti.read_grid(source)
    corners = np.array([[0, 0, 0], [grid.shape[0] - 1, grid.shape[1] - 1, grid.shape[2] - 1]])
    low, high = np.sort(corners @ grid.affine[:3, :3].T + grid.affine[:3, 3], axis=0)
    low, high = low + np.array([40, 60, 0]), np.array([high[0] - 40, high[1] - 60, low[2] + 180])
    roi = Roi((low + high) / 2, np.eye(3), high - low)
    folders = tuple(shared / f"models/abdomen-unet-fold{fold}" for fold in (1, 2, 3))
    segment(SegmentRequest(case, source, folders, SegmentOptions(roi=roi, all_entropies=True)))
    average_case(case)


def ours_attention(case: CaseFolder) -> None:
    """Our attention step and list, all organs, without the maps the original does not have."""
    attention_case(case, AttentionOptions(all_organs=True, error_maps=False, force=True))
    write_priority(case.folder.parent, "ours", prioritize([read_scores(case)], "abdomenatlas"))


def naive_attention(case: CaseFolder, models: list[str], organs: list[str], out: Path) -> None:
    """The original's."""
    scores = naive.attention(case.folder, models, organs, out)
    naive.write_priority(case.folder.parent / "naive.csv", case.name, scores)


def ours_average(case: CaseFolder) -> None:
    """Our average."""
    average_case(case, AverageOptions(force=True))


def naive_average(case: CaseFolder, models: list[str], organs: list[str], out: Path) -> None:
    """The original's average; only the rules that both sides share on any orientation are used."""
    largest = {organ for organ in organs if rule_of(abdomenatlas_table().value_of(organ)).kind is RuleKind.LARGEST}
    naive.average(case.folder, models, organs, out, largest)


def many_classes(case: CaseFolder, target: CaseFolder, names: list[str]) -> None:
    """Make a case whose classes are shifted copies of the real soft predictions."""
    organs = case.average.organs()
    for model in case.models():
        for index, name in enumerate(names):
            volume = nifti.read_nifti(case.backbone(model).map("soft_pred", organs[index % len(organs)]))
            shifted = np.roll(volume.array, (3 * index, 2 * index), axis=(0, 1))
            nifti.write_nifti(target.backbone(model).map("soft_pred", name), volume.with_array(shifted))


def same_voxels(a: Path, b: Path) -> bool:
    """Tell whether two files hold equal bytes after decompression of the voxels."""
    return np.array_equal(nifti.read_nifti(a).array, nifti.read_nifti(b).array)


def report(title: str, reference: tuple[float, float], own: tuple[float, float], equal: bool) -> None:
    """Print one comparison."""
    print(f"{title:<34}{reference[0]:9.1f} s {reference[1]:6.2f} GB   {own[0]:7.2f} s {own[1]:6.2f} GB   ", end="")
    print(f"{reference[0] / own[0]:6.1f}x faster, 1/{reference[1] / own[1]:.1f} of the memory, same bytes: {equal}", flush=True)


def main() -> int:
    """Run both comparisons; exit 1 when a bar is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[3] / "shared")
    parser.add_argument("--classes", type=int, default=32)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="atlas-benchmark-"))
    try:
        return compare(options.shared, CaseFolder(work / "set/case"), options.classes)
    finally:
        shutil.rmtree(work)


def compare(shared: Path, case: CaseFolder, classes: int) -> int:
    """Measure and print; return the exit code."""
    predict(shared, case)
    models, organs = case.models(), case.average.organs()
    print(f"attention of {len(organs)} organs, {len(models)} models; naive | ours", flush=True)
    out = case.folder.parent / "naive"
    own = measure(ours_attention, case)
    reference = measure(naive_attention, case, models, organs, out)
    equal = all(same_voxels(out / f"{o}.nii.gz", case.average.map("attention", o)) for o in organs)
    lists = [(case.folder.parent / f"{name}.csv").read_bytes() for name in ("ours", "naive")]
    equal = equal and lists[0] == lists[1]
    report("attention and priority list", (reference.seconds, reference.peak_gb), (own.seconds, own.peak_gb), equal)
    good = equal and reference.seconds >= 50 * own.seconds and reference.peak_gb >= 10 * own.peak_gb
    return 0 if good and compare_average(case, classes) else 1


def compare_average(case: CaseFolder, classes: int) -> bool:
    """Measure averaging with few classes on both sides, and with many on ours; tell whether the bars are met."""
    table = abdomenatlas_table()
    few = [name for value, name in table.labels.items() if rule_of(value).kind is RuleKind.LARGEST][:NAIVE_CLASSES]
    narrow, wide = (CaseFolder(case.folder.parent / name) for name in ("narrow", "wide"))
    many_classes(case, narrow, few)
    many_classes(case, wide, list(table.labels.values())[:classes])
    out = case.folder.parent / "naive-average"
    own = measure(ours_average, narrow)
    reference = measure(naive_average, narrow, narrow.models(), few, out)
    equal = all(same_voxels(out / f"{name}.nii.gz", narrow.average.mask(name)) for name in few)
    report(f"average of {len(few)} classes", (reference.seconds, reference.peak_gb), (own.seconds, own.peak_gb), equal)
    many = measure(ours_average, wide)
    print(f"ours alone, {classes} classes: {many.seconds:.1f} s, {many.peak_gb:.2f} GB; ", end="")
    print(f"the naive stack of {classes} classes would need {2 * classes * 8 * np.prod(nifti.read_grid(case.ct).shape) / 1e9:.0f} GB")
    return equal and many.peak_gb < 2 and reference.seconds >= 50 * own.seconds and reference.peak_gb >= 10 * own.peak_gb


if __name__ == "__main__":
    sys.exit(main())
