"""Whole commands side by side: `atlas predict` and nnunetv2's own predictor, same weights, same image, same CPU cores.

    python Testing/Benchmarks/inference.py                      25 classes, 512 x 512 x 275
    python Testing/Benchmarks/inference.py --classes 25 117     with TotalSegmentator's number of classes too
    python Testing/Benchmarks/inference.py --onnx               the same network as ONNX file too, against nnunetv2 and Torch
    python Testing/Benchmarks/inference.py --ct slab/dicom      any image that can be read
    python Testing/Benchmarks/inference.py --model FOLDER       another nnU-Net model folder, such as one that brief_training.py has trained
    python Testing/Benchmarks/inference.py --sizes              cost against image size, ours alone

The network is that of AutoOrgan's skeleton model (its published plans: 3 mm, patch 256 x 80 x 80, six stages, 31 million
parameters) with random weights: the time of a network does not depend on what it has learned. What it predicts is smooth noise all over the
body, which is harder for us than real organs: more borders between classes.

Prints wall time and peak memory of the whole process tree (proportional set size), agreement of the masks, and the ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "Testing"))

import nnunet_models  # noqa: E402
from AtlasSegmentLib import nifti  # noqa: E402
from AtlasSegmentLib.onnx_export import export_onnx  # noqa: E402
from AtlasSegmentLib.regions import sub_grid  # noqa: E402
from AtlasSegmentLib.volume import Volume  # noqa: E402
from AtlasSegmentLib.volume_io import read_volume  # noqa: E402

IMAGE, RESULT = "ct_0000.nii.gz", "ct.nii.gz"
REFERENCE = """
import sys
import torch
import nnunet_models
nnunet_models.skip_transformers()
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
source, out, model = sys.argv[1:]
if __name__ == "__main__":
    cpu = {"perform_everything_on_device": False, "device": torch.device("cpu"), "allow_tqdm": False}
    predictor = nnUNetPredictor(tile_step_size=0.5, use_mirroring=False, **cpu)
    predictor.initialize_from_trained_model_folder(model, (0,), "checkpoint_final.pth")
    one = {"num_processes_preprocessing": 1, "num_processes_segmentation_export": 1}
    predictor.predict_from_files(source, out, save_probabilities=False, overwrite=True, **one)
"""


@dataclass
class Cost:
    """What a command took: seconds, and bytes of the whole process tree at most; `code` is its exit code."""

    seconds: float
    peak: float
    code: int

    def __str__(self) -> str:
        return f"{self.seconds:7.1f} s  {self.peak / 1e9:6.2f} GB" + (f"  (exit code {self.code})" if self.code else "")


def measure(command: list[str], limit: float, memory: float) -> Cost:
    """Run a command and watch the memory of all its processes; it is ended beyond a limit of time or memory."""
    started, peak = time.monotonic(), 0.0
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "Testing"), os.environ.get("PYTHONPATH", "")]),
        "nnUNet_raw": "/tmp",
        "nnUNet_preprocessed": "/tmp",
        "nnUNet_results": "/tmp",
    }
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=None, env=environment)
    highest = 0.0
    while process.poll() is None:
        resident = tree_memory(process, "rss")
        if resident > 1.005 * highest:  # walking the pages of all processes slows them down: only where there may be a new peak
            highest, peak = resident, max(peak, tree_memory(process, "pss"))
        if time.monotonic() - started > limit or peak > memory:
            for child in [*process.children(recursive=True), process]:
                child.kill()
        time.sleep(0.1)
    return Cost(time.monotonic() - started, peak, process.wait())


def tree_memory(process: psutil.Process, measure: str) -> float:
    """Return the resident ("rss") or proportional set size ("pss") of a process and its children, bytes."""
    total = 0.0
    with contextlib.suppress(psutil.Error):  # it has ended
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss if measure == "rss" else one.memory_full_info().pss
    return total


def agreement(ours: Path, theirs: Path) -> str:
    """Return equal voxels and the lowest and mean Dice of two label maps."""
    a, b = nifti.read_nifti(ours).array, nifti.read_nifti(theirs).array
    size = int(max(a.max(), b.max())) + 1
    both = np.bincount(a[a == b].ravel(), minlength=size)
    total = np.bincount(a.ravel(), minlength=size) + np.bincount(b.ravel(), minlength=size)
    dice = (2 * both / np.maximum(total, 1))[total > 0]
    return f"equal voxels {100 * np.mean(a == b):.4f} %, Dice of {len(dice)} classes: lowest {dice.min():.5f}, mean {dice.mean():.5f}"


def ours(source: Path, out: Path, model: Path, *options: str) -> list[str]:
    """Return our command."""
    program = "from AtlasReviewLib.program import main; main()"
    return [sys.executable, "-c", program, "predict", "-i", str(source), "-o", str(out), "-m", str(model), "-device", "cpu", *options]


def compare(ct: Path, classes: int, presets: list[str], folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Run the reference and each preset on one image and print what they took."""
    model = arguments.model or nnunet_models.make_realistic_model(folder / f"model{classes}", classes - 1)
    theirs_out = folder / f"theirs{classes}"
    print(f"\n{arguments.model or f'{classes} classes'}", flush=True)
    theirs = None
    if not arguments.no_reference:
        script = folder / "reference.py"
        script.write_text(REFERENCE, encoding="utf-8")
        command = [sys.executable, "-W", "ignore", str(script), str(ct.parent), str(theirs_out), str(model)]
        theirs = measure(command, arguments.limit, arguments.memory * 1e9)
        print(f"  nnunetv2            {theirs}", flush=True)
    results: dict[str, object] = {"reference": theirs and vars(theirs)}
    runs = {preset: (model, preset) for preset in presets}
    if arguments.onnx:
        runs["best, ONNX"] = (export_onnx(model, folder / f"onnx{classes}").folder, "best")
    found: dict[str, Path] = {}
    for name, (weights, preset) in runs.items():
        out = folder / f"ours-{classes}-{name}"
        cost = measure(ours(ct.parent, out, weights, "--preset", preset, "--disable_tta"), arguments.limit, arguments.memory * 1e9)
        ratio = f"  time x{cost.seconds / theirs.seconds:.2f}, memory x{cost.peak / theirs.peak:.2f}" if theirs else ""
        print(f"  atlas {name:13s} {cost}{ratio}", flush=True)
        found[name] = out / RESULT
        others = {"nnunetv2": theirs_out / RESULT, **found} if found[name].is_file() else {}
        agrees = {other: agreement(found[name], path) for other, path in others.items() if other != name and path.is_file()}
        for other, text in agrees.items():
            print(f"    against {other}: {text}", flush=True)
        results[name] = {**vars(cost), "agreement": agrees}
    return results


def sizes(ct: Volume, folder: Path, arguments: argparse.Namespace) -> None:
    """Print our cost for the image, and for it two and three times one above the other.

    The window is a quarter as thick as that of the other measurements: with the real one these images are one window thick, so that the
    network would cost the same for all of them.
    """
    model = nnunet_models.make_realistic_model(folder / "model-sizes", 24, thickness=64)
    costs = []
    for times in (1, 2, 3):
        source = folder / f"size{times}" / IMAGE
        source.parent.mkdir()
        nifti.write_nifti(source, Volume(np.concatenate([ct.array] * times, axis=2), ct.affine))
        cost = measure(ours(source.parent, folder / f"out{times}", model, "--preset", "best"), arguments.limit, arguments.memory * 1e9)
        costs.append(cost.seconds)
        print(f"  {ct.array.size * times / 1e6:6.1f} million voxels {cost}", flush=True)
    first, second = np.diff(costs)
    print(f"  the second {ct.shape[2]} slices more cost {second / first:.2f} times as much as the first (linear: 1)")


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--ct", type=Path, default=Path(os.environ.get("ATLAS_SHARED", ROOT.parent / "shared")) / "data/chest-abdomen-1mm/ct.nii.gz"
    )
    parser.add_argument("--classes", type=int, nargs="+", default=[25], help="with background")
    parser.add_argument("--model", type=Path, help="instead of random weights")
    parser.add_argument("--presets", nargs="+", default=["best", "balanced", "fast"])
    parser.add_argument("--planes", type=int, help="only so many slices of the image")
    parser.add_argument("--onnx", action="store_true", help="the best preset with ONNX Runtime too")
    parser.add_argument("--no-reference", action="store_true", help="ours alone")
    parser.add_argument("--sizes", action="store_true", help="cost against image size")
    parser.add_argument("--limit", type=float, default=3600, help="seconds a command may take")
    parser.add_argument("--memory", type=float, default=22, help="GB a command may take")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    arguments = parser.parse_args()
    ct = read_volume(arguments.ct)
    if arguments.planes:
        box = (slice(0, ct.shape[0]), slice(0, ct.shape[1]), slice(0, arguments.planes))
        ct = Volume(ct.array[box], sub_grid(ct.grid, box).affine)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "images" / IMAGE
        source.parent.mkdir()
        nifti.write_nifti(source, ct)
        print(f"{arguments.ct.parent.name}: {' x '.join(map(str, ct.shape))} voxels, {os.cpu_count()} cores", flush=True)
        results = {} if arguments.sizes else {n: compare(source, n, arguments.presets, folder, arguments) for n in arguments.classes}
        if arguments.sizes:
            sizes(ct, folder, arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
