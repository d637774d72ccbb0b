"""HU of phantoms' organs beside those of a real CT with a reference label map: a picture and a table.

    python Testing/Benchmarks/phantom_histograms.py --ct CT --labels REFERENCE --table totalsegmentator_v2 --phase none --out hu.png

Voxels at an organ's border are left out, since they hold two tissues. Without --ct the phantoms are shown alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "AtlasSegment")]

from AtlasSegmentLib.errors import LabelError  # noqa: E402
from AtlasSegmentLib.label_files import read_stated_labels  # noqa: E402
from AtlasSegmentLib.phantom import phantom  # noqa: E402
from AtlasSegmentLib.phantom_person import PHASES  # noqa: E402
from AtlasSegmentLib.volume import LabelVolume, Volume  # noqa: E402
from AtlasSegmentLib.volume_io import read_volume  # noqa: E402

ORGANS = (
    *("liver", "spleen", "kidney_right", "kidney_left", "pancreas", "gall_bladder", "stomach", "duodenum", "colon", "bladder", "aorta"),
    *("postcava", "portal_vein_and_splenic_vein", "heart", "lung_right", "lung_left", "vertebrae_L3", "hip_right"),
    *("autochthon_right", "gluteus_maximus_right"),
)
PARTS = {"lung_right": ("lung_lower_lobe_right",), "lung_left": ("lung_lower_lobe_left",)}  # what a reference has in place of a whole


def values_of(ct: Volume, labels: LabelVolume, organ: str) -> np.ndarray:
    """Return the HU inside an organ, away from its border where enough is left; empty when it is not there."""
    mask = np.zeros(labels.shape, bool)
    for name in (organ, *PARTS.get(organ, ())):
        try:
            mask |= labels.array == labels.table.value_of(name)
        except LabelError:  # this table does not have it
            continue
    core = ndimage.binary_erosion(mask)
    return np.asarray(ct.array[core if np.count_nonzero(core) >= 30 else mask], float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--table", default="totalsegmentator_v2")
    parser.add_argument("--phase", choices=PHASES, default="none")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--spacing", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=Path("phantom_hu.png"))
    arguments = parser.parse_args()
    made: dict[str, list[np.ndarray]] = {organ: [] for organ in ORGANS}
    for seed in range(arguments.seeds):
        case = phantom(seed, arguments.spacing, phase=arguments.phase)
        for organ in ORGANS:
            made[organ].append(values_of(case.ct, case.labels, organ))
    real: dict[str, np.ndarray] = {}
    if arguments.ct is not None:
        ct = read_volume(arguments.ct, modality="CT")
        labels = read_stated_labels(arguments.labels, arguments.table, ct.grid)
        real = {organ: values_of(ct, labels, organ) for organ in ORGANS}
    print_table(made, real)
    draw(made, real, arguments.out)


def print_table(made: dict[str, list[np.ndarray]], real: dict[str, np.ndarray]) -> None:
    print(f"{'organ':32s}{'phantoms: mean':>16s}{'deviation':>11s}{'real: mean':>13s}{'deviation':>11s}")
    for organ, each in made.items():
        values, other = np.concatenate(each), real.get(organ, np.zeros(0))
        found = f"{np.mean(values):16.0f}{np.mean([v.std() for v in each if v.size]):11.0f}" if values.size else " " * 27
        print(f"{organ:32s}{found}" + (f"{other.mean():13.0f}{other.std():11.0f}" if other.size else ""))


def draw(made: dict[str, list[np.ndarray]], real: dict[str, np.ndarray], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(4, 5, figsize=(15, 9), constrained_layout=True)
    for axis, (organ, each) in zip(axes.ravel(), made.items(), strict=True):
        values = np.concatenate(each)
        both = np.concatenate([values, real.get(organ, np.zeros(0))])
        if both.size:
            edges = np.unique(np.round(np.linspace(*np.quantile(both, (0.002, 0.998)), 60))) - 0.5  # HU are whole numbers
            axis.hist(values, edges, density=True, alpha=0.6, label="phantoms", color="tab:blue")
            if real.get(organ, np.zeros(0)).size:
                axis.hist(real[organ], edges, density=True, histtype="step", linewidth=1.5, label="real CT", color="black")
        axis.set_title(organ, fontsize=9)
        axis.set_yticks([])
        axis.set_xlabel("HU", fontsize=8)
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=80)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
