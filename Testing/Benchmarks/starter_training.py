"""The starter models that come with the program: their data, their training, and what they and their average reach on two real CTs.

    python Testing/Benchmarks/starter_training.py WORK --train a      one of a, b, c; half an hour on one core each
    python Testing/Benchmarks/starter_training.py WORK --ship         copy WORK/models to Resources/Models/starter
    python Testing/Benchmarks/starter_training.py WORK --measure      Dice of the shipped models and of their average, into their cards

Three networks of different width, seed and data, so that they disagree as networks do:

    a   phantoms and torso-3mm with its reference; slab-dicom is kept out
    b   phantoms, slab-dicom with its reference, and chest-abdomen-1mm with pseudo-labels of the three real networks, where these agree;
        torso-3mm is kept out
    c   phantoms, torso-3mm with the labels of another network (its second opinion), slab-dicom with its reference

Phantoms 5 and 11 are for validation. References of the real CTs are a network's own labels: Dice is agreement with that network.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from quality_training import SPACINGS
from scipy import ndimage

from AtlasQualityLib.average import average_case
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.cpu_threads import set_threads
from AtlasSegmentLib.files import read_json, write_json
from AtlasSegmentLib.inference import hard_labels, predict
from AtlasSegmentLib.label_files import read_stated_labels
from AtlasSegmentLib.labels import load_table, structure_for
from AtlasSegmentLib.markups import Roi
from AtlasSegmentLib.model import load_model
from AtlasSegmentLib.model_manifest import FILE
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.phantom import phantom
from AtlasSegmentLib.progress import ProgressCallback
from AtlasSegmentLib.segment_case import SegmentOptions
from AtlasSegmentLib.segment_request import SegmentRequest, segment
from AtlasSegmentLib.starter_models import starter_folder
from AtlasSegmentLib.train_options import TrainOptions
from AtlasSegmentLib.train_organs import Targets, reading_of
from AtlasSegmentLib.train_patches import PatchRule
from AtlasSegmentLib.train_rules import LoopRule
from AtlasSegmentLib.train_run import train_model
from AtlasSegmentLib.volume import Volume, require_same_grid
from AtlasSegmentLib.volume_io import read_label_volume, read_volume

ORGANS = ("spleen", "liver", "kidney_left", "kidney_right", "stomach", "pancreas", "gall_bladder", "aorta", "postcava", "lung", "vertebrae")
JUDGED = ("liver", "spleen", "kidney_left", "kidney_right", "lung", "aorta", "vertebrae")
PHANTOMS, VALIDATION = 24, ("phantom-005", "phantom-011")
CHEST_ROI = Roi(np.array([0.0, -110.0, -606.0]), np.eye(3), np.array([324.0, 246.0, 156.0]))
DOUBT_MM = 8.0
"""Around voxels on which the real networks disagree: nothing is said of what lies so near and is no organ."""
EVERY_SECONDS = 30.0
SAME_CT = {"torso-3mm": "torso-second"}
V1, V2 = "totalsegmentator_v1", "totalsegmentator_v2"


@dataclass(frozen=True)
class Recipe:
    """How one of the models is trained.

    Attributes:
        title: For people.
        real: Name of a case to how often it is drawn where a phantom is drawn once.
        width, seed, steps: Of the network and its training.
        test: The real CT that is kept out.
    """

    title: str
    real: dict[str, int]
    width: int
    seed: int
    steps: int
    test: tuple[str, ...] = ()
    learning_rate: float = field(default=0.01)


RECIPES = {
    "a": Recipe("Starter A: phantoms and one CT of a torso", {"torso-3mm": 8}, 12, 1, 2600, ("slab-dicom",)),
    "b": Recipe(
        "Starter B: phantoms, a slab of an abdomen, a chest with pseudo-labels",
        {"slab-dicom": 5, "chest-abdomen": 3},
        12,
        2,
        3000,
        ("torso-3mm",),
    ),
    "c": Recipe("Starter C: phantoms, a torso labeled by another network, a slab", {"torso-second": 6, "slab-dicom": 3}, 10, 3, 2800),
}


class Cases:
    """Makes the cases of WORK/cases once."""

    def __init__(self, work: Path, shared: Path) -> None:
        self.folder, self.data, self.shared = work / "cases", shared / "data", shared

    def of(self, names: list[str]) -> list[str]:
        """Return what `atlas train` is given for these cases."""
        for name in names:
            if not (self.folder / name / "done").is_file():
                self._make(name)
        return [str(self.folder / name) for name in names]

    def _make(self, name: str) -> None:
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if name.startswith("phantom-"):
            seed = int(name[-3:])
            made = phantom(seed, SPACINGS[seed % len(SPACINGS)])
            self._write(folder, made.ct, made.labels.array, made.labels.affine, made.labels.table.to_json())
        elif name == "chest-abdomen":
            self._chest(folder)
        else:
            self._real(folder, name)
        (folder / "done").touch()

    def _real(self, folder: Path, name: str) -> None:
        source = self.data / ("slab-dicom" if name == "slab-dicom" else "torso-3mm")
        ct = read_volume(source / "dicom" if name == "slab-dicom" else source / "ct.nii.gz")
        file, table = ("second_opinion_label_v1.nii.gz", V1) if name == "torso-second" else ("reference_label.nii.gz", V2)
        labels = read_label_volume(source / file, load_table(table))
        self._write(folder, ct, labels.array, labels.affine, labels.table.to_json())

    def _chest(self, folder: Path) -> None:
        """Keep liver and spleen where three networks agree; where they do not, and near it, nothing is said."""
        ct = read_volume(self.data / "chest-abdomen-1mm" / "ct.nii.gz")
        found = []
        for path in sorted((self.shared / "models").glob("*/model.json")):
            model = load_model(path.parent, device="cpu")
            numbers = {organ: value for value, organ in model.spec.table.labels.items()}
            labels = hard_labels(predict(ct, model, CHEST_ROI), ct.grid).dense()
            found.append([labels == numbers[organ] for organ in ("spleen", "liver")])
        result, doubtful = np.zeros(ct.shape, np.uint8), np.zeros(ct.shape, bool)
        for value in (1, 2):
            masks = [model[value - 1] for model in found]
            agreed = np.logical_and.reduce(masks)
            result[agreed] = value
            doubtful |= np.logical_or.reduce(masks) & ~agreed
        near = ndimage.distance_transform_edt(~doubtful, sampling=ct.spacing) <= DOUBT_MM
        result[near & (result == 0)] = 3
        names = {"1": "spleen", "2": "liver", "3": "ignore"}
        table = {"format": "atlas-labels/1", "name": "chest_pseudo", "title": "Agreement of three networks", "source": "", "labels": names}
        self._write(folder, ct, result, ct.affine, table)

    @staticmethod
    def _write(folder: Path, ct: Volume, labels: Any, affine: Any, table: Any) -> None:
        write_nifti(folder / "ct.nii.gz", ct)
        write_nifti(folder / "reference_label.nii.gz", Volume(labels, affine))
        write_json(folder / "reference_label_labels.json", table)
        print(f"{folder.name}: {ct.shape}", flush=True)


def train(work: Path, shared: Path, letter: str) -> None:
    """Train one of the models; what was stopped goes on."""
    recipe = RECIPES[letter]
    names = [f"phantom-{seed:03d}" for seed in range(PHANTOMS)] + [*recipe.real, *recipe.test]
    options = TrainOptions(
        Targets(ORGANS),
        patches=PatchRule(64),
        width=recipe.width,
        loop=LoopRule(recipe.steps, learning_rate=recipe.learning_rate, seed=recipe.seed),
        val=VALIDATION,
        test=recipe.test,
        repeat=recipe.real,
        cubes=work / "cubes",
        device="cpu",
        precision="float16",
        resume=True,
        texts={
            "title": recipe.title,
            "version": "1",
            "license": "Apache-2.0",
            "purpose": "Demonstration only, not for clinical use.",
        },
    )
    result = train_model(Cases(work, shared).of(names), work / "models" / f"starter-{letter}", options, _tell())
    print(json.dumps({part: result.card[part] for part in ("validation", "test")}, indent=1))


def _tell() -> ProgressCallback:
    last = [0.0]

    def tell(share: float, text: str) -> None:
        if time.monotonic() - last[0] > EVERY_SECONDS:
            last[0] = time.monotonic()
            print(f"{share:.0%} {text}", flush=True)

    return tell


def ship(work: Path) -> None:
    """Copy networks and cards into the source tree."""
    for folder in sorted(path.parent for path in (work / "models").glob(f"*/{FILE}")):
        target = starter_folder() / folder.name
        target.mkdir(parents=True, exist_ok=True)
        for file in (FILE, read_json(folder / FILE)["file"]):
            shutil.copyfile(folder / file, target / file)
        print(f"{target}: {sum(path.stat().st_size for path in target.iterdir()) / 1e6:.2f} MB")


def measure(shared: Path) -> None:
    """Print the Dice of models and average on both real CTs, and keep them in the models' cards."""
    models = tuple(sorted(path.parent for path in starter_folder().glob(f"*/{FILE}")))
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="atlas-starter-") as work:
        for name, file in (("torso-3mm", "ct.nii.gz"), ("slab-dicom", "dicom")):
            source = shared / "data" / name
            case = CaseFolder(Path(work) / "set" / name)
            segment(SegmentRequest(case, source / file, models, SegmentOptions(), device="cpu"))
            average_case(case)
            labels = read_stated_labels(source / "reference_label.nii.gz", V2, read_volume(case.ct).grid)
            folders = {model.name: case.backbone(model.name) for model in models} | {"average": case.average}
            found[name] = {who: _dice(folder, labels) for who, folder in folders.items()}
    for name, by_model in found.items():
        print(f"\n{name}: Dice with the reference (a network's labels)\n{'organ':14}" + "".join(f"{who:>12}" for who in by_model))
        for organ in (*ORGANS, "mean", "mean_main"):
            print(f"{organ:14}" + "".join(f"{figures.get(organ, float('nan')):12.3f}" for figures in by_model.values()))
    for model in models:
        card = read_json(model / FILE)
        card["card"]["measured"] = {name: {who: by_model[who] for who in (model.name, "average")} for name, by_model in found.items()}
        names = card["card"]["data"]["train"]["names"]
        card["card"]["measured_on_training_cts"] = [name for name in found if {name, SAME_CT.get(name)} & set(names)]
        write_json(model / FILE, card)


def _dice(folder: Any, labels: Any) -> dict[str, float]:
    """Return the Dice of each organ that the reference has, their mean, and that of those the models are judged by."""
    targets = Targets(ORGANS)
    turned = labels.reoriented("RAS")  # the slab's reference is stored with y the other way round
    reference = reading_of(labels.table, targets).of(turned.array)
    found = {}
    for channel, organ in enumerate(ORGANS, 1):
        truth = reference == channel
        if not truth.any():
            continue
        path = folder.mask(structure_for(organ).name)
        mask = np.zeros(truth.shape, bool)
        if path.is_file():
            volume = read_nifti(path).reoriented("RAS")
            require_same_grid(volume, turned)
            mask = volume.array.astype(bool)
        found[organ] = round(float(2 * (mask & truth).sum() / (mask.sum() + truth.sum())), 4)
    judged = [value for organ, value in found.items() if organ in JUDGED]
    return {**found, "mean": round(float(np.mean(list(found.values()))), 4), "mean_main": round(float(np.mean(judged)), 4)}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[3] / "shared")
    parser.add_argument("--train", choices=tuple(RECIPES))
    parser.add_argument("--ship", action="store_true")
    parser.add_argument("--measure", action="store_true")
    given = parser.parse_args()
    if given.train:
        set_threads(1)
        train(given.work, given.shared, given.train)
    if given.ship:
        ship(given.work)
    if given.measure:
        measure(given.shared)


if __name__ == "__main__":
    main()
