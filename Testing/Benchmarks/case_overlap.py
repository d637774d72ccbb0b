"""Cases overlapped against one after another, in one process each; and what ten thousand cases cost a scheduler.

    python Testing/Benchmarks/case_overlap.py [--shared ../shared] [--cases 8] [--tiny-cases 10000]

Every case is the torso CT (3 mm) resampled to 1.5 mm, so that reading and writing take their share, with one real network in the
region of its ROI. The files of both ways are compared. Then cases that do nothing, on two worker processes of this machine: time for
each, the most tasks that the scheduler held at a time, and the memory of the client (the scheduler runs in the same process).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measured import measure

from AtlasSegmentLib import nifti
from AtlasSegmentLib.case_cluster import local_client
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.case_workers import run_on_workers
from AtlasSegmentLib.cases import run_cases
from AtlasSegmentLib.markups import read_roi
from AtlasSegmentLib.progress import ProgressCallback
from AtlasSegmentLib.regions import spaced_grid, whole_box
from AtlasSegmentLib.resample import resample
from AtlasSegmentLib.segment_case import SegmentOptions
from AtlasSegmentLib.segment_request import SegmentRequest, segment
from AtlasSegmentLib.volume import Volume
from AtlasSegmentLib.worker_setup import WorkerSetup, own_version

_FINE_MM = 1.5


def make_dataset(folder: Path, shared: Path, cases: int) -> None:
    """Write a dataset folder of equal cases."""
    ct = nifti.read_nifti(shared / "data/torso-3mm/ct.nii.gz")
    grid = spaced_grid(ct.grid, "RAS", whole_box(ct.grid), (_FINE_MM,) * 3)
    fine = resample(ct, grid)
    first = CaseFolder(folder / "case000")
    nifti.write_nifti(first.ct, Volume(np.rint(fine.array).astype(np.int16), fine.affine))
    for number in range(1, cases):
        case = CaseFolder(folder / f"case{number:03d}")
        case.folder.mkdir()
        shutil.copy(first.ct, case.ct)


def segment_all(folder: Path, shared: Path, overlap: bool) -> None:
    """Segment a dataset. Raises RuntimeError when a case fails."""
    roi = read_roi(shared / "data/torso-3mm/abdomen_roi.mrk.json")
    model = shared / "models/abdomen-unet-fold1"
    found = (CaseFolder(path) for path in sorted(folder.iterdir()))
    requests = [SegmentRequest(case, case.ct, (model,), SegmentOptions(roi=roi, all_entropies=True)) for case in found]
    for outcome in run_cases(requests, segment, name_of, overlap=overlap):
        if outcome.state != "done":
            raise RuntimeError(outcome.error)


def name_of(item: Any) -> str:
    """Name a request or a number."""
    return item.case.name if isinstance(item, SegmentRequest) else str(item)


def nothing(item: int, progress: ProgressCallback) -> dict[str, Any]:
    """Do nothing with a case and return what a record in brief is like."""
    progress(0.0, str(item))
    return {"model": {"record": f"/data/hospital/case{item:05d}/backbones/model/run.json", "device": "gpu", "organs": 117}}


def many(cases: int) -> int:
    """Run cases that do nothing and return the most tasks that the scheduler held."""
    most = 0
    with local_client(2) as client:
        tasks = client.cluster.scheduler.tasks
        for _ in run_on_workers(client, range(cases), nothing, name_of, WorkerSetup(own_version(), 1), gpu=False):
            most = max(most, len(tasks))
    return most


def same_files(one: Path, other: Path) -> int:
    """Return how many images both datasets hold. Raises AssertionError when one differs."""
    images = sorted(path.relative_to(one) for path in one.rglob("*.nii.gz"))
    assert images == sorted(path.relative_to(other) for path in other.rglob("*.nii.gz"))
    for image in images:
        assert (one / image).read_bytes() == (other / image).read_bytes(), image
    return len(images)


def timed(title: str, function: Callable[..., Any], *arguments: Any) -> float:
    """Measure, print a line, and return the seconds."""
    found = measure(function, *arguments)
    print(f"{title:<34} {found.seconds:8.1f} s  {found.peak_gb:6.2f} GB", flush=True)
    return found.seconds


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[3] / "shared")
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--tiny-cases", type=int, default=10_000)
    arguments = parser.parse_args()
    shared = arguments.shared.resolve()
    with tempfile.TemporaryDirectory() as name:
        folders = {way: Path(name) / way for way in ("one by one", "overlapped")}
        seconds = {}
        for way, folder in folders.items():
            make_dataset(folder, shared, arguments.cases)
            seconds[way] = timed(f"{arguments.cases} cases, {way}", segment_all, folder, shared, way == "overlapped")
        images = same_files(*folders.values())
    print(f"overlapped takes {seconds['overlapped'] / seconds['one by one']:.0%} of the time; {images} images equal byte for byte")
    for cases in (arguments.tiny_cases // 10, arguments.tiny_cases):
        found = measure(many, cases)
        each = 1000 * found.seconds / cases
        print(f"{cases} cases that do nothing: {each:.1f} ms each, at most {found.result} tasks held, {found.peak_gb:.2f} GB here")
    return 0


if __name__ == "__main__":
    sys.exit(main())
