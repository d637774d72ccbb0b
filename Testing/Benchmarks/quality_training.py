"""The label-quality model that ships with the program: its data, its training, and the test on a real CT that it never saw.

    python Testing/Benchmarks/quality_training.py WORK --fold torso    trained with torso-3mm, tested on slab-dicom: what ships
    python Testing/Benchmarks/quality_training.py WORK --fold slab     the other way round, for the model card
    python Testing/Benchmarks/quality_training.py WORK --fold torso --quick    a few steps, to see that all of it runs

Data: the real CT of the fold with its reference, copies of it with noise, and phantoms; of each the predictions of the three real networks,
and synthetic damage of the references. Some phantoms are held out for validation and calibration. The other real CT is the test: damage of
its reference, and what the networks predict on it. Its references are a network's own labels, so "true Dice" is agreement with that. One
thread for each fold, side by side, is faster on two cores than two threads for one.

Everything is kept in WORK: a stopped run goes on when it is started again. The model is WORK/FOLD/quality-small.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from AtlasQualityLib.quality_pairs import PairOptions
from AtlasQualityLib.quality_slices import SliceRule
from AtlasQualityLib.quality_training import TrainingOptions
from AtlasQualityLib.quality_training_run import RunOptions, train_quality
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.cpu_threads import set_threads
from AtlasSegmentLib.files import write_json
from AtlasSegmentLib.inference import hard_labels, predict
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.markups import Roi, read_roi
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.nifti import write_nifti
from AtlasSegmentLib.regions import body_box
from AtlasSegmentLib.volume import LabelVolume, Volume
from AtlasSegmentLib.volume_io import read_label_volume, read_volume

REAL = {"slab": "slab-dicom", "torso": "torso-3mm"}
SPACINGS = ((3.0, 3.0, 3.0), (2.0, 2.0, 3.0), (1.5, 1.5, 5.0), (2.5, 2.5, 2.5))
NOISES_HU = (25.0, 60.0)
COPIES, NOISY_COPIES = 8, 2  # of the real CT in training, each with damage of its own
VALIDATION = 6  # every so many phantoms
ABDOMEN = ("liver", "spleen", "kidney_left", "kidney_right", "stomach", "pancreas")
MARGIN_MM = 25.0


class Preparation:
    """Makes the cases of WORK/cases once."""

    def __init__(self, work: Path, shared: Path, threads: int) -> None:
        self.cases, self.shared = work / "cases", shared
        paths = sorted(path.parent for path in (shared / "models").glob("*/model.json"))
        self.models = [load_model(path, threads=threads, device="cpu") for path in paths]

    def real(self, fold: str, noise: float = 0.0, copy: int = 0) -> str:
        """Make a case of a real CT, with noise or without, and return its name."""
        name = REAL[fold] + (f"-noise{noise:.0f}" if noise else "") + (f"-{copy + 1}" if copy else "")
        if self._is_made(name):
            return name
        if copy:
            shutil.copytree(self.cases / self.real(fold, noise), self.cases / name, dirs_exist_ok=True)
            return name
        folder = self.shared / "data" / REAL[fold]
        ct = read_volume(folder / ("dicom" if fold == "slab" else "ct.nii.gz"))
        labels = read_label_volume(folder / "reference_label.nii.gz", load_table("totalsegmentator_v2"))
        roi = read_roi(folder / "abdomen_roi.mrk.json") if fold == "torso" else _box(body_box(ct))
        if noise:
            rng = np.random.default_rng(round(noise))
            ct = ct.with_array(np.asarray(np.clip(ct.array + rng.normal(0, noise, ct.shape), -1024, 3071), np.int16))
        self._write(name, ct, labels, roi)
        return name

    def phantom(self, seed: int) -> str:
        """Make a phantom and return its name."""
        from AtlasSegmentLib.phantom import phantom

        name = f"phantom-{seed:03d}"
        if not self._is_made(name):
            made = phantom(seed, SPACINGS[seed % len(SPACINGS)])
            self._write(name, made.ct, made.labels, _abdomen(made.labels))
        return name

    def _is_made(self, name: str) -> bool:
        return (self.cases / name / "run.json").is_file()

    def _write(self, name: str, ct: Volume, labels: LabelVolume, roi: Roi | None) -> None:
        start = time.monotonic()
        case = CaseFolder(self.cases / name)
        shutil.rmtree(case.folder, ignore_errors=True)
        case.folder.mkdir(parents=True)
        write_nifti(case.ct, ct)
        write_nifti(case.folder / "reference_label.nii.gz", labels)
        write_json(case.folder / "reference_label_labels.json", labels.table.to_json())
        for model in self.models if roi is not None else ():
            found = hard_labels(predict(ct, model, roi), ct.grid).dense()
            for value, organ in model.spec.table.labels.items():
                path = case.backbone(model.spec.name).mask(organ)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_nifti(path, ct.with_array(np.asarray(found == value, np.uint8)))
        write_json(case.folder / "run.json", {"roi": roi is not None})
        print(f"{name}: {ct.shape}, {time.monotonic() - start:.0f} s", flush=True)


def _box(corners: np.ndarray) -> Roi:
    low, high = corners.min(axis=0), corners.max(axis=0)
    return Roi((low + high) / 2, np.eye(3), high - low)


def _abdomen(labels: LabelVolume) -> Roi | None:
    """Return the box of the body from the lowest to the highest of the organs that the networks know; None when they are not there."""
    values = [labels.table.value_of(organ) for organ in ABDOMEN if organ in labels.table.names()]
    places = np.argwhere(np.isin(labels.array, values))
    if not len(places):
        return None
    world = places @ labels.affine[:3, :3].T + labels.affine[:3, 3]
    low, high = world.min(axis=0) - MARGIN_MM, world.max(axis=0) + MARGIN_MM
    return Roi((low + high) / 2, np.eye(3), high - low)


def link_parts(work: Path, fold: str, phantoms: int, preparation: Preparation) -> Path:
    """Make the folder of a fold, with train, val and test in it, as links to the cases."""
    test = next(name for name in REAL if name != fold)
    train = [preparation.real(fold, copy=copy) for copy in range(COPIES)]
    train += [preparation.real(fold, noise, copy) for noise in NOISES_HU for copy in range(NOISY_COPIES)]
    names = [preparation.phantom(seed) for seed in range(phantoms)]
    parts = {
        "train": train + [name for number, name in enumerate(names) if number % VALIDATION != VALIDATION - 1],
        "val": names[VALIDATION - 1 :: VALIDATION],
        "test": [preparation.real(test)],
    }
    folder = work / fold / "data"
    shutil.rmtree(folder, ignore_errors=True)
    for part, members in parts.items():
        (folder / part).mkdir(parents=True)
        for name in members:
            (folder / part / name).symlink_to(os.path.relpath(work / "cases" / name, folder / part), target_is_directory=True)
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare, train, test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--fold", choices=sorted(REAL), default="torso", help="the real CT that is trained on; the other one is the test")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[3] / "shared")
    parser.add_argument("--phantoms", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--damages", type=int, default=6)
    parser.add_argument("--misnamed", type=int, default=4, help="masks of other organs under the name of each organ")
    parser.add_argument("--organs", type=int, default=12, help="drawn from each case")
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--prepare-only", action="store_true", help="make the cases, which takes longest, and stop")
    parser.add_argument("--quick", action="store_true", help="6 phantoms, 2 epochs, few masks")
    given = parser.parse_args(arguments)
    if given.quick:
        given.phantoms, given.epochs, given.damages, given.misnamed, given.organs, given.slices = 6, 2, 2, 2, 3, 2
    set_threads(given.threads)
    work = given.work.absolute()
    data = link_parts(work, given.fold, given.phantoms, Preparation(work, given.shared, given.threads))
    if given.prepare_only:
        return 0
    pairs = PairOptions(
        SliceRule(size=given.size),
        given.damages,
        given.slices,
        misnamed=given.misnamed,
        most_organs=given.organs,
        seed=given.seed,
    )
    training = TrainingOptions(width=given.width, epochs=given.epochs, learning_rate=given.learning_rate, seed=given.seed)
    options = RunOptions(pairs, training, examples=work / "examples", device="auto", jobs=given.jobs, resume=True)
    last = [0.0]

    def tell(share: float, text: str) -> None:
        if time.monotonic() - last[0] > 20:
            last[0] = time.monotonic()
            print(f"{time.monotonic() - start:6.0f} s {100 * share:5.1f} % {text}", flush=True)

    start = time.monotonic()
    out = work / given.fold / ("quality-small-quick" if given.quick else "quality-small")
    result = train_quality([data], out, options, tell)
    if result is not None:
        print(json.dumps(result.card, indent=1))
        print(f"{out}: {(out / 'model.onnx').stat().st_size / 1e6:.2f} MB, {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
