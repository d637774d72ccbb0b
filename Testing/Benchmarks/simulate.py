"""How many slices a perfect editor opens until the error of three real networks on a real CT is gone, for every order of looking.

    python Testing/Benchmarks/simulate.py [--shared ../shared] [--out FOLDER] [--quick]

1. The measurement that the bars are from: torso-3mm on the networks' grid (144^3), six organs, 864 (organ, axial slice) units.
   Conventions: the CT is cut to the ROI, then resampled as a whole (linear, border voxels repeated); the mask is the arg-max of the
   mean softmax; the reference is sampled at floor(i n / 144) before both are flipped to LAI.
2. Every strategy, slice by slice and with corrections carried to the slices between, and where the best one fails.
3. The same strategies in situations that they were not made for (not with --quick): other directions, another reference, single
   networks, another patient.

The references are other networks' predictions: "error" means difference from them. Exit 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torso_accuracy import CROP, ORGANS, SIDE, SLAB_ROI, Torso

from AtlasReviewLib.simulation import Curve, PerfectEditor, replay
from AtlasReviewLib.simulation_carry import replay_carried
from AtlasReviewLib.simulation_case import OrganPrediction, Stack
from AtlasReviewLib.simulation_figure import simulation_png
from AtlasReviewLib.simulation_output import PICTURE, SHARES, summary, write_tables
from AtlasReviewLib.simulation_read import OrganArrays, predictions_of_arrays
from AtlasReviewLib.simulation_strategies import DESCRIPTIONS, GAIN, ORACLE, RANDOM, SHARPENED, available
from AtlasReviewLib.simulation_time import ReviewTime
from AtlasSegmentLib.files import write_bytes
from AtlasSegmentLib.inference import predict
from AtlasSegmentLib.label_conversion import convert_labels
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.regions import fitted_grid, roi_box
from AtlasSegmentLib.resample import resample
from AtlasSegmentLib.sparse import from_dense
from AtlasSegmentLib.volume import Grid, LabelVolume, Volume
from AtlasSegmentLib.volume_io import read_label_volume, read_volume

PUBLISHED = {ORACLE: (14.0, 38.1), "expected-error": (16.8, 42.5), "entropy": (17.6, 43.5), RANDOM: (49.8, 90.2)}  # 50 and 90 %
MOST_TIMES_ORACLE, MOST_CARRIED = 1.08, 2 / 3
REFERENCE_NOTE = "The reference is a network's prediction, so error is difference from that network."


def main() -> int:
    """Run the parts; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[3] / "shared")
    parser.add_argument("--out", type=Path, help="folder for the CSV tables and the picture")
    parser.add_argument("--quick", action="store_true", help="only the torso, axially")
    options = parser.parse_args()
    setup = Setup(options.shared)
    review = setup.torso(setup.probabilities)
    curves = [replay(name, review.predictions, review.editor, ReviewTime()) for name in reversed(available(review.predictions))]
    carried = [replay_carried(curve.strategy, review.predictions, review.editor, ReviewTime()) for curve in curves]
    good = show_published(curves)
    good = show_strategies(curves, carried) and good
    show_failures([curve for curve in (*curves, *carried) if curve.strategy in {ORACLE, "expected-error", GAIN}], review)
    if options.out is not None:
        write_tables(options.out, [*curves, *carried])
        title = f"torso-3mm, three networks, six organs, {curves[0].units} slices on the networks' grid"
        write_bytes(options.out / PICTURE, simulation_png([*curves, *carried], title, f"Perfect editor. {REFERENCE_NOTE}"))
    if not options.quick:
        show_elsewhere(setup)
    print("\nbars: " + ("good" if good else "MISSED"))
    return 0 if good else 1


class Review:
    """Predictions for strategies, and an editor with the reference."""

    def __init__(self, probabilities: np.ndarray, truth: np.ndarray, grid: Grid, table: LabelTable, slices: str = "axial") -> None:
        labels, mean = probabilities.argmax(axis=1), probabilities.mean(axis=0)
        chosen = mean.argmax(axis=0)
        values = {organ: table.value_of(organ) for organ in ORGANS}
        arrays = {organ: OrganArrays(probabilities[:, value], labels == value, chosen == value) for organ, value in values.items()}
        found = predictions_of_arrays("case", arrays, grid, slices)
        self.predictions: Sequence[OrganPrediction] = found.organs
        truths = [Stack(found.axes.turned(from_dense(truth == value, grid))) for value in values.values()]
        self.editor = PerfectEditor(self.predictions, truths)


class Setup:
    """The networks' probabilities on the torso, and references."""

    def __init__(self, shared: Path) -> None:
        self.shared, self.data = shared, Torso(shared)
        self.models = [load_model(shared / f"models/abdomen-unet-fold{fold}") for fold in (1, 2, 3)]
        self.table = self.models[0].spec.table
        affine = self.data.ct.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [part.start for part in CROP]
        cut = Volume(self.data.ct.array[CROP], affine, "torso-3mm, cut to the ROI")
        self.probabilities = self.predicted(cut, "whole")

    def predicted(self, ct: Volume, roi: object) -> np.ndarray:
        """Return the softmax of each network, (3, 9, 144, 144, 144)."""
        return np.stack([predict(ct, model, roi).probabilities for model in self.models])

    def torso(self, probabilities: np.ndarray, truth: np.ndarray | None = None, slices: str = "axial") -> Review:
        """Return the torso with the reference as the published numbers saw it, or another one."""
        if truth is None:
            truth = convert_labels(self.data.truth_as_measured(), self.table).array
        return Review(probabilities, truth, self.data.grid, self.table, slices)

    def second_opinion(self) -> np.ndarray:
        """Return another network's labels on the same grid."""
        labels = read_label_volume(self.shared / "data/torso-3mm/second_opinion_label_v1.nii.gz", load_table("totalsegmentator_v1"))
        array = convert_labels(labels, self.table).array[CROP]
        for axis in range(3):
            array = np.take(array, np.arange(SIDE) * array.shape[axis] // SIDE, axis=axis)
        return array[::-1, :, ::-1]

    def slab(self) -> Review:
        """Return another patient: 40 mm of a contrast-enhanced CT, axial slices of 2 mm stretched to 144."""
        folder = self.shared / "data/slab-dicom"
        ct = read_volume(folder / "dicom")
        grid = fitted_grid(ct.grid, "LAI", roi_box(ct.grid, SLAB_ROI), (SIDE,) * 3)
        labels = read_label_volume(folder / "reference_label.nii.gz", load_table("totalsegmentator_v2"))
        placed = LabelVolume(resample(labels, grid, "nearest").array, grid.affine, "slab", None, labels.table)
        return Review(self.predicted(ct, SLAB_ROI), convert_labels(placed, self.table).array, grid, self.table, "coronal")


def percent(curve: Curve, share: float) -> float:
    """Return the slices that a share needs, in percent of all."""
    at = curve.reached(share)
    return float("nan") if at is None else 100 * at / curve.units


def show_published(curves: Sequence[Curve]) -> bool:
    """Print measured numbers beside the published ones; tell whether they are equal (random: within one)."""
    print("Slices opened, % of 864, until a share of the error is gone\n order            published 50, 90 %   reproduced 50, 90 %")
    good = True
    for curve in curves:
        if curve.strategy in PUBLISHED:
            found = [percent(curve, share) for share in (0.5, 0.9)]
            expected = PUBLISHED[curve.strategy]
            allowed = 1.0 if curve.strategy == RANDOM else 0.051  # a published random order is one of many
            good &= all(abs(a - b) <= allowed for a, b in zip(found, expected, strict=True))
            print(f" {curve.strategy:<17}{expected[0]:8.1f}{expected[1]:8.1f}{found[0]:16.1f}{found[1]:8.1f}")
    return good


def show_strategies(curves: Sequence[Curve], carried: Sequence[Curve]) -> bool:
    """Print every strategy, slice by slice and carried; tell whether the bars are met."""
    oracle = next(curve for curve in curves if curve.strategy == ORACLE)
    bounds = [oracle.reached(share) or 0 for share in SHARES]
    rows = {(row["strategy"], row["carried"], row["share_removed"]): row for row in summary([*curves, *carried])}
    for title, group in (("Slice by slice", curves), ("Corrections carried to the slices between", carried)):
        print(f"\n{title}: slices opened until 50, 80, 90 % of the error is gone; times the slice-by-slice oracle; masks; minutes at 90 %")
        for curve in group:
            found = [rows[curve.strategy, curve.carried, share] for share in SHARES]
            slices = "".join(f"{row['slices']:5d} ({row['percent_of_slices']:4.1f} %)" for row in found)
            times = "".join(f"{row['times_oracle']:7.3f}" for row in found)
            about = DESCRIPTIONS[curve.strategy]
            print(f" {curve.strategy:<16}{slices}{times}{found[-1]['masks']:5.0f}{found[-1]['minutes']:7.1f}   {about}")
    best = next(curve for curve in curves if curve.strategy == GAIN)
    fixed = next(curve for curve in curves if curve.strategy == SHARPENED)
    between = next(curve for curve in carried if curve.strategy == GAIN)
    times = [max((curve.reached(share) or 0) / bound for share, bound in zip(SHARES, bounds, strict=True)) for curve in (best, fixed)]
    saved = (between.reached(0.9) or 0) / bounds[-1]
    print(f"\n {GAIN}: at most {times[0]:.3f} times the oracle (bar {MOST_TIMES_ORACLE}); {SHARPENED}, before the review: {times[1]:.3f}")
    print(f" {GAIN}, carried: {saved:.3f} of the oracle's slices at 90 % (bar {MOST_CARRIED:.3f})")
    return times[0] <= MOST_TIMES_ORACLE and saved <= MOST_CARRIED


def show_failures(curves: Sequence[Curve], review: Review) -> None:
    """Print how much of each organ's own error is gone when 90 % of the whole is, and how blind the models are."""
    print("\nWhere it fails: share of its own error that an organ has lost when 90 % of the whole is gone")
    names = [f"{curve.strategy}{', carried' if curve.carried else ''}" for curve in curves]
    print(f" {'organ':<14}{'error ml':>9}{'expected ml':>12}" + "".join(f"{name:>24}" for name in names))
    for prediction, wrong in zip(review.predictions, review.editor.wrong, strict=True):
        volume = prediction.spacing[2] / 1000
        cells = [curve.by_organ[prediction.organ][at] if (at := curve.reached(0.9)) is not None else float("nan") for curve in curves]
        numbers = f"{wrong.sum() * volume:9.1f}{prediction.profiles['expected'].sum() * volume:12.1f}"
        print(f" {prediction.organ:<14}{numbers}" + "".join(f"{cell:24.2f}" for cell in cells))


def show_elsewhere(setup: Setup) -> None:
    """Print the best strategies in other situations, against their own oracles."""
    softmax = setup.probabilities
    situations = {
        "coronal slices": lambda: setup.torso(softmax, slices="coronal"),
        "sagittal slices": lambda: setup.torso(softmax, slices="sagittal"),
        "reference: another network": lambda: setup.torso(softmax, setup.second_opinion()),
        "only network 1": lambda: setup.torso(softmax[:1]),
        "only network 2": lambda: setup.torso(softmax[1:2]),
        "networks 1 and 2, network 3 as reference": lambda: setup.torso(softmax[:2], softmax[2].argmax(axis=0)),
        "slab-dicom, coronal slices": setup.slab,
    }
    print("\nElsewhere: times the slice-by-slice oracle at 50, 80, 90 %")
    print(f" {'situation':<42}{'expected error':>24}{'sharpened':>24}{'expected gain':>24}{'expected gain, carried':>26}")
    for name, make in situations.items():
        review = make()
        curves = [replay(one, review.predictions, review.editor, ReviewTime()) for one in (ORACLE, "expected-error", SHARPENED, GAIN)]
        rows = summary([*curves, replay_carried(GAIN, review.predictions, review.editor, ReviewTime())])
        cells = [row["times_oracle"] for row in rows][len(SHARES) :]
        groups = [cells[i : i + len(SHARES)] for i in range(0, len(cells), len(SHARES))]
        print(f" {name:<42}" + "".join("      " + "".join(f"{cell:6.2f}" for cell in group) for group in groups))


if __name__ == "__main__":
    sys.exit(main())
