"""What the presets cost and how far they agree, with a network that has learned something (see brief_training), beside nnunetv2.

    python Testing/Benchmarks/presets.py                    train for half an hour, then torso-3mm, slab-dicom and chest-abdomen-1mm
    python Testing/Benchmarks/presets.py --keep FOLDER      keep the trained model

Prints for each CT and preset: wall time of the whole command, peak memory, equal voxels and Dice against "best", and Dice against the
reference labels that come with the CT (the output of another network, one of them the labels that it was trained on).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "Testing" / "Benchmarks")]

from brief_training import ORGANS, merged, train  # noqa: E402
from inference import IMAGE, REFERENCE, RESULT, agreement, measure, ours  # noqa: E402

from AtlasSegmentLib import nifti  # noqa: E402
from AtlasSegmentLib.labels import load_table  # noqa: E402
from AtlasSegmentLib.volume import Volume, reorient_like  # noqa: E402
from AtlasSegmentLib.volume_io import read_label_volume, read_volume  # noqa: E402

CTS = {"torso-3mm": "ct.nii.gz", "slab-dicom": "dicom", "chest-abdomen-1mm": "ct.nii.gz"}
RUNS: dict[str, tuple[str, ...]] = {
    "best": ("--preset", "best"),
    "best without mirroring": ("--preset", "best", "--disable_tta"),
    "balanced": ("--preset", "balanced"),
    "fast": ("--preset", "fast"),
}


def mean_dice(found: Path, ct: Volume, folder: Path) -> str:
    """Return the mean Dice against the reference labels, where there are some."""
    path = folder / "reference_label.nii.gz"
    if not path.is_file():
        return "no reference"
    labels = read_label_volume(path, load_table("totalsegmentator_v2"))
    truth = reorient_like(merged(labels), labels.affine, ct)
    result = nifti.read_nifti(found).array
    here = [value for value in range(1, len(ORGANS) + 1) if (truth == value).sum() > 500]
    values = [2 * np.sum((truth == v) & (result == v)) / (np.sum(truth == v) + np.sum(result == v)) for v in here]
    return f"mean Dice of {len(here)} organs against the reference {np.mean(values):.3f}"


def compare(name: str, data: Path, model: Path, folder: Path, *, reference: bool) -> None:
    """Run the presets on one CT and print what they took."""
    ct = read_volume(data / name / CTS[name])
    source = folder / name / "images" / IMAGE
    source.parent.mkdir(parents=True)
    nifti.write_nifti(source, ct)
    print(f"\n{name}: {' x '.join(map(str, ct.shape))} voxels", flush=True)
    results: dict[str, Path] = {}
    if reference:
        script = folder / "reference.py"
        script.write_text(REFERENCE.replace("use_mirroring=False", "use_mirroring=True"), encoding="utf-8")
        out = folder / name / "nnunetv2"
        cost = measure([sys.executable, "-W", "ignore", str(script), str(source.parent), str(out), str(model)], 3600, 22e9)
        results["nnunetv2"] = out / RESULT
        print(f"  nnunetv2                {cost}", flush=True)
    for run, options in RUNS.items():
        out = folder / name / run
        cost = measure(ours(source.parent, out, model, *options), 3600, 22e9)
        print(f"  {run:23s} {cost}  {mean_dice(out / RESULT, ct, data / name)}", flush=True)
        others = {other: agreement(out / RESULT, path) for other, path in results.items()} if run == "best" else {}
        others |= {"best": agreement(out / RESULT, results["best"])} if run != "best" else {}
        for other, text in others.items():
            print(f"    against {other}: {text}", flush=True)
        results[run] = out / RESULT


def main() -> None:
    """Train, then run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("ATLAS_SHARED", ROOT.parent / "shared")) / "data")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--keep", type=Path, help="folder for the trained model; one that is there already is used")
    parser.add_argument("--cts", nargs="+", choices=CTS, default=list(CTS))
    parser.add_argument("--no-reference", action="store_true", help="without nnunetv2")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = sorted((arguments.keep or folder).glob("*/*/plans.json"))
        model = kept[0].parent if kept else train(arguments.keep or folder, arguments.data, arguments.steps)
        for ct in arguments.cts:
            compare(ct, arguments.data, model, folder, reference=not arguments.no_reference)


if __name__ == "__main__":
    main()
