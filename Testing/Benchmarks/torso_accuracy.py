"""How right three real networks are on a real CT, and how well attention and expected error find where they are wrong.

    python Testing/Benchmarks/torso_accuracy.py [--shared ../shared]

1. Dice on the model's grid (144^3 over the ROI) against the numbers that came with the networks.
2. The chain on that grid: the resampled CT is the case's CT. Attention and expected error against the true error.
3. Other definitions of uncertainty beside it, as they are and calibrated on another patient (slab-dicom).

The reference labels are another network's predictions: "wrong" means different from that network. Exit 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from AtlasQualityLib.attention import AttentionOptions, attention_case
from AtlasQualityLib.average import average_case
from AtlasQualityLib.error_map import Calibration, fit_calibration
from AtlasQualityLib.evaluation import calibrate, detection, dice, evaluate_case
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.classes import abdomenatlas_table, class_of
from AtlasSegmentLib.encoding import one_sided_entropy, probability_from_bytes
from AtlasSegmentLib.inference import Region, predict
from AtlasSegmentLib.label_conversion import convert_labels
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.markups import Roi, read_roi
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.nifti import read_grid, read_nifti, write_nifti
from AtlasSegmentLib.regions import fitted_grid, roi_box
from AtlasSegmentLib.resample import resample
from AtlasSegmentLib.segment_case import SegmentOptions
from AtlasSegmentLib.segment_request import SegmentRequest, segment
from AtlasSegmentLib.volume import LabelVolume, reorient
from AtlasSegmentLib.volume_io import read_label_volume

ORGANS = ("spleen", "pancreas", "kidney_left", "gall_bladder", "liver", "stomach")
CROP = (slice(5, 113), slice(13, 95), slice(60, 112))  # the ROI in voxels of torso-3mm (RAS)
SIDE = 144
SLAB_ROI = Roi(np.array([4.4, 155.8, -785.5]), np.eye(3), np.array([326.0, 254.0, 40.0]))  # the body without arms and table
MAX_DICE_DEVIATION, MIN_AUROC = 0.01, 0.94


def main() -> int:
    """Run the three parts; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[3] / "shared")
    shared = parser.parse_args().shared
    models = tuple(shared / f"models/abdomen-unet-fold{fold}" for fold in (1, 2, 3))
    with tempfile.TemporaryDirectory(prefix="atlas-accuracy-") as work:
        torso = Torso(shared)
        deviation, mean = compare_dice(torso, models)
        case = make_case(Path(work) / "set/torso", torso.write_ct(Path(work)), models)
        auroc = compare_attention(torso, case, mean)
        compare_candidates(torso, case, make_slab(Path(work), shared, models), mean)
    good = deviation <= MAX_DICE_DEVIATION and auroc >= MIN_AUROC
    print(f"\nlargest Dice deviation {deviation:.4f} (bar {MAX_DICE_DEVIATION}); ", end="")
    print(f"AUROC of the expected error {auroc:.4f} (bar {MIN_AUROC}): {'good' if good else 'MISSED'}")
    return 0 if good else 1


class Torso:
    """The CT of torso-3mm, the grid the networks see it on, and its reference on that grid."""

    def __init__(self, shared: Path) -> None:
        folder = shared / "data/torso-3mm"
        self.ct = read_nifti(folder / "ct.nii.gz")
        self.roi = read_roi(folder / "abdomen_roi.mrk.json")
        self.grid = fitted_grid(self.ct.grid, "LAI", roi_box(self.ct.grid, self.roi), (SIDE,) * 3)
        self.reference = read_label_volume(folder / "reference_label.nii.gz", load_table("totalsegmentator_v2"))

    def truth_as_measured(self) -> LabelVolume:
        """The reference as it was sampled for the published numbers: floor(i n / 144), then flipped, half a voxel off."""
        array = self.reference.array[CROP]
        for axis in range(3):
            array = np.take(array, np.arange(SIDE) * array.shape[axis] // SIDE, axis=axis)
        return LabelVolume(array[::-1, :, ::-1], self.grid.affine, "reference (as measured)", None, self.reference.table)

    def truth_centered(self) -> LabelVolume:
        """The reference at the centers of the model's voxels."""
        array = resample(self.reference, self.grid, "nearest").array
        return LabelVolume(array, self.grid.affine, "reference (voxel centers)", None, self.reference.table)

    def write_ct(self, folder: Path) -> Path:
        """Write the CT on the model's grid, float32."""
        path = folder / "resampled.nii.gz"
        write_nifti(path, resample(self.ct, self.grid))
        return path


def compare_dice(torso: Torso, models: Sequence[Path]) -> tuple[float, LabelVolume]:
    """Print Dice beside the published one; return the largest deviation and the arg-max of the mean softmax."""
    print("Dice on the model's grid\n model  organ            published  reproduced  voxel-centered")
    worst, total, table = 0.0, np.float32(0), None
    for folder in models:
        model = load_model(folder)
        probability = predict(torso.ct, model, torso.roi).probabilities
        total, table = total + probability, model.spec.table
        labels = probability.argmax(axis=0)
        truths = [convert_labels(t, model.spec.table).array for t in (torso.truth_as_measured(), torso.truth_centered())]
        published = json.loads((folder / "model.json").read_text())["measured"]["dice"]
        for organ, expected in published.items():
            value = model.spec.table.value_of(organ)
            found = [dice(labels == value, truth == value) for truth in truths]
            worst = max(worst, abs(found[0] - expected))
            print(f" {folder.name[-5:]}  {organ:<15}{expected:11.3f}{found[0]:12.3f}{found[1]:16.3f}")
    return worst, LabelVolume(total.argmax(axis=0).astype(np.uint8), torso.grid.affine, "mean of the networks", None, table)


def make_case(folder: Path, source: Path, models: tuple[Path, ...], roi: Roi | Region = "whole") -> CaseFolder:
    """Segment the region with all networks, average, and make the maps."""
    case = CaseFolder(folder)
    segment(SegmentRequest(case, source, models, SegmentOptions(roi=roi)))
    average_case(case)
    attention_case(case)
    return case


def make_slab(work: Path, shared: Path, models: tuple[Path, ...]) -> tuple[CaseFolder, LabelVolume]:
    """Make the case that calibrations are fitted on, and its reference."""
    folder = shared / "data/slab-dicom"
    case = make_case(work / "set/slab", folder / "dicom", models, SLAB_ROI)
    reference = read_label_volume(folder / "reference_label.nii.gz", load_table("totalsegmentator_v2"))  # y runs the other way
    array, affine = reorient(reference.array, reference.affine, read_grid(case.ct).orientation)
    turned = LabelVolume(array, affine, reference.source, reference.header, reference.table)
    agreement = evaluate_case(case, turned).dice["average"]
    print("\nDice of the average on slab-dicom: " + ", ".join(f"{organ} {agreement[organ]:.2f}" for organ in ORGANS))
    return case, turned


def as_classes(labels: LabelVolume) -> np.ndarray:
    """Return AbdomenAtlas values of the six organs, 0 elsewhere."""
    array = convert_labels(labels, abdomenatlas_table()).array
    return np.where(np.isin(array, [class_of(organ) for organ in ORGANS]), array, 0)


def wrong_of_mean(mean: LabelVolume, truth: LabelVolume) -> np.ndarray:
    """Return where the arg-max of the mean softmax is wrong about the six organs."""
    return as_classes(mean) != as_classes(truth)


def dense(case: CaseFolder, kind: str, organ: str) -> np.ndarray:
    """Read a map of the average."""
    return read_nifti(case.average.map(kind, organ)).array


def compare_attention(torso: Torso, case: CaseFolder, mean: LabelVolume) -> float:
    """Print how the documented maps find the true error; return the AUROC of the expected error."""
    attention = np.any([dense(case, "attention", organ) > 0 for organ in ORGANS], axis=0)
    expected = sum(dense(case, "expected_error", organ) for organ in ORGANS)
    print("\nFinding the voxels where the mean of three networks is wrong (six organs)")
    print(f" {'reference, map':<58}{'AUROC':>8}{'sens.':>8}{'spec.':>8}{'prec.':>8}")
    aurocs = []
    for truth in (torso.truth_as_measured(), torso.truth_centered()):
        wrong = wrong_of_mean(mean, truth)
        show(f"{truth.source}: attention (binary)", detection(attention.astype(np.uint16), wrong))
        scaled = np.round(np.minimum(expected, 1) * 65535).astype(np.uint16)
        found = detection(scaled, wrong)
        show(f"{truth.source}: expected error", found)
        aurocs.append(found.auroc)
        cleaned = evaluate_case(case, truth)
        show("  against the cleaned average: attention (binary)", cleaned.attention)
        if cleaned.expected_error is not None:
            show("  against the cleaned average: expected error", cleaned.expected_error)
    return aurocs[0]


def show(name: str, found: object) -> None:
    """Print a row."""
    print(f" {name:<58}" + "".join(f"{number:8.4f}" for number in vars(found).values()))


Candidate = Callable[[np.ndarray], np.ndarray]


def binary_entropy(p: np.ndarray) -> np.ndarray:
    """Return -p ln p - (1 - p) ln(1 - p)."""
    return one_sided_entropy(p) + one_sided_entropy(1 - p)


HALF_PER_NAT = 0.5 / np.log(2)  # brings entropies to 0..0.5, the range that calibration expects
CANDIDATES: dict[str, Candidate] = {
    "min(q, 1 - q) of the mean q (expected error)": lambda p: np.minimum(p.mean(0), 1 - p.mean(0)),
    "binary entropy of the mean": lambda p: binary_entropy(p.mean(0)) * HALF_PER_NAT,
    "mean one-sided entropy": lambda p: one_sided_entropy(p).mean(0),
    "standard deviation": lambda p: p.std(0),
    "mutual information": lambda p: np.maximum(binary_entropy(p.mean(0)) - binary_entropy(p).mean(0), 0) * HALF_PER_NAT,
}


def probabilities(case: CaseFolder, organ: str) -> np.ndarray:
    """Read the models' probabilities back from their stored bytes, (M, X, Y, Z) float32."""
    maps = [[read_nifti(case.backbone(m).map(kind, organ)).array for kind in ("soft_pred", "entropy")] for m in case.models()]
    return np.stack([probability_from_bytes(*pair) for pair in maps])


def auroc(scores: np.ndarray, wrong: np.ndarray) -> float:
    """Return the area under the ROC curve; ties count half."""
    ranks, positive = rankdata(scores.ravel()), int(wrong.sum())
    return float((ranks[wrong.ravel()].sum() - positive * (positive + 1) / 2) / (positive * (wrong.size - positive)))


def organ_errors(case: CaseFolder, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Return where the average mask of each organ is wrong."""
    return {organ: (dense(case, "segmentations", organ) > 0) != (truth == class_of(organ)) for organ in ORGANS}


def fit(candidate: Candidate, case: CaseFolder, truth: np.ndarray) -> Calibration:
    """Fit candidate to share of wrong voxels, over the voxels where any network says anything."""
    errors = organ_errors(case, truth)
    values = {organ: candidate(probabilities(case, organ)) for organ in ORGANS}
    used = {organ: value > 0 for organ, value in values.items()}
    observed = np.concatenate([errors[organ][used[organ]] for organ in ORGANS])
    return fit_calibration(np.concatenate([values[organ][used[organ]] for organ in ORGANS]), observed, case.name)


def compare_candidates(torso: Torso, case: CaseFolder, slab: tuple[CaseFolder, LabelVolume], mean: LabelVolume) -> None:
    """Print AUROC and estimated error volume of each candidate, as it is and calibrated on the slab."""
    truth = torso.truth_as_measured()
    wrong, slab_truth = wrong_of_mean(mean, truth), as_classes(slab[1])
    ml = torso.grid.voxel_volume_mm3 / 1000
    true_volume = sum(int(error.sum()) for error in organ_errors(case, as_classes(truth)).values()) * ml
    print(f"\nOther maps, calibrated on slab-dicom, tested on torso-3mm; true error of the average masks {true_volume:.0f} ml")
    print(f" {'map':<48}{'AUROC':>8}{'calibrated':>12}{'volume ml':>11}{'calibrated ml':>15}")
    for name, candidate in CANDIDATES.items():
        curve = fit(candidate, slab[0], slab_truth)
        values = [candidate(probabilities(case, organ)) for organ in ORGANS]
        plain, calibrated = sum(values), sum(np.where(value > 0, curve(value), 0) for value in values)
        volume = f"{plain.sum(dtype=np.float64) * ml:11.0f}" if name.startswith("min") else f"{'-':>11}"
        print(f" {name:<48}{auroc(plain, wrong):8.4f}{auroc(calibrated, wrong):12.4f}{volume}{calibrated.sum(dtype=np.float64) * ml:15.0f}")
    pipeline_volumes(case, slab, true_volume)


def pipeline_volumes(case: CaseFolder, slab: tuple[CaseFolder, LabelVolume], true_volume: float) -> None:
    """Print what the attention step itself says with and without the curve of `atlas evaluate --calibration`."""
    for name, curve in (("as it is", Calibration()), ("calibrated on slab-dicom", calibrate(*slab))):
        record = attention_case(case, AttentionOptions(calibration=curve, force=True)) or {}
        volume = sum(organ["expected_error_mm3"] for organ in record["results"]["organs"].values()) / 1000
        print(f" expected error of the attention step, {name}: {volume:.0f} ml, {volume / true_volume:.2f} of the true error")


if __name__ == "__main__":
    sys.exit(main())
