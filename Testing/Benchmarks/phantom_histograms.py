"""HU of phantoms' organs beside those of real CTs with reference label maps: a picture and a table.

    python Testing/Benchmarks/phantom_histograms.py --real CT LABELS none torso-3mm --real CT LABELS venous slab-dicom --out hu.png

Each real CT is set beside phantoms of its contrast phase. It is averaged to about the phantoms' spacing first, so that noise can be
compared; voxels at an organ's border are left out, since they hold two tissues. Without --real the phantoms are shown alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
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
    *("postcava", "portal_vein_and_splenic_vein", "lung_right", "lung_left", "vertebrae_L3", "hip_right"),
    *("autochthon_right", "gluteus_maximus_right", "iliopsoas_right"),
)
PARTS = {"lung_right": ("lung_lower_lobe_right",), "lung_left": ("lung_lower_lobe_left",)}  # what a reference has in place of a whole
FEW = 200  # voxels that tell nothing
COLORS = {"none": ("tab:blue", "navy"), "arterial": ("tab:green", "darkgreen"), "venous": ("tab:red", "darkred")}
WORDS = {"none": "no contrast", "arterial": "arterial phase", "venous": "portal venous phase"}
Values = dict[str, np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """HU by organ in one contrast phase: of each phantom, and of a real CT (empty without one)."""

    phase: str
    name: str
    made: tuple[Values, ...]
    real: Values

    def of_phantoms(self, organ: str) -> np.ndarray:
        """Return the values of all phantoms together."""
        return np.concatenate([one[organ] for one in self.made])


def values_of(ct: np.ndarray, labels: np.ndarray, names: Mapping[int, str], organ: str) -> np.ndarray:
    """Return the HU inside an organ, away from its border where enough is left; empty when it is not there."""
    wanted = (organ, *PARTS.get(organ, ()))
    mask = np.isin(labels, [value for value, name in names.items() if name in wanted])
    if not mask.any():
        return np.zeros(0)
    core = ndimage.binary_erosion(mask)
    return np.asarray(ct[core if np.count_nonzero(core) >= 30 else mask], float)


def coarse(ct: Volume, labels: LabelVolume, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a CT averaged to about a spacing, and the labels of the middles of its voxels, in RAS order."""
    image, label = ct.reoriented("RAS"), labels.reoriented("RAS")
    factors = [max(1, round(spacing / mm)) for mm in image.spacing]
    size = [n // f * f for n, f in zip(image.shape, factors, strict=True)]
    window = tuple(slice(0, n) for n in size)
    blocks = np.asarray(image.array[window], np.float32).reshape([n for s, f in zip(size, factors, strict=True) for n in (s // f, f)])
    middles = tuple(slice(f // 2, n, f) for n, f in zip(size, factors, strict=True))
    return blocks.mean(axis=(1, 3, 5)), label.array[middles]


def real_values(path: Path, label_path: Path, table: str, spacing: float) -> Values:
    """Return the HU by organ of a real CT."""
    ct = read_volume(path, modality="CT")
    labels = read_stated_labels(label_path, table, ct.grid)
    image, label = coarse(ct, labels, spacing)
    names = {}
    for organ in {*ORGANS, *(part for parts in PARTS.values() for part in parts)}:
        try:
            names[labels.table.value_of(organ)] = organ
        except LabelError:  # this table does not have it
            continue
    found = {organ: values_of(image, label, names, organ) for organ in ORGANS}
    return {organ: values if values.size >= FEW else np.zeros(0) for organ, values in found.items()}


def compare(phase: str, name: str, real: Values, seeds: int, spacing: float) -> Comparison:
    """Return a real CT beside phantoms of its phase."""
    made = []
    for seed in range(seeds):
        case = phantom(seed, spacing, phase=phase)
        made.append({organ: values_of(case.ct.array, case.labels.array, case.labels.table.labels, organ) for organ in ORGANS})
        print(f"{phase} {seed}", file=sys.stderr, flush=True)
    return Comparison(phase, name, tuple(made), real)


def print_table(comparison: Comparison) -> None:
    """Print mean, deviation inside a person and deviation between the means of persons, and those of the real CT."""
    print(f"{WORDS[comparison.phase]}, {comparison.name or 'no real CT'}")
    print(f"{'organ':32s}{'phantoms: mean':>16s}{'inside':>8s}{'between':>9s}{'real: mean':>13s}{'inside':>8s}")
    for organ in ORGANS:
        each, other = [one[organ] for one in comparison.made if one[organ].size], comparison.real.get(organ, np.zeros(0))
        means = [values.mean() for values in each]
        row = f"{np.mean(means):16.0f}{np.mean([v.std() for v in each]):8.0f}{np.std(means):9.0f}" if each else " " * 33
        print(f"{organ:32s}{row}" + (f"{other.mean():13.0f}{other.std():8.0f}" if other.size else ""))


def draw(comparisons: list[Comparison], spacing: float, path: Path) -> None:
    """Draw one small histogram for each organ: phantoms filled, real CTs as lines."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(4, 5, figsize=(12.5, 8.2), constrained_layout=True)
    for axis, organ in zip(axes.ravel(), ORGANS, strict=True):
        everything = [values for c in comparisons for values in (c.of_phantoms(organ), c.real.get(organ, np.zeros(0))) if values.size]
        low, high = min(np.quantile(v, 0.004) for v in everything), max(np.quantile(v, 0.996) for v in everything)
        step = max(1, round((high - low) / 55))
        edges = np.arange(np.floor(low), np.ceil(high) + step, step) - 0.5  # HU are whole numbers
        for comparison in comparisons:
            filled, line = COLORS[comparison.phase]
            axis.hist(comparison.of_phantoms(organ), edges, density=True, alpha=0.4, color=filled)
            if comparison.real.get(organ, np.zeros(0)).size:
                axis.hist(comparison.real[organ], edges, density=True, histtype="step", linewidth=1.3, color=line)
        axis.set_title(organ.replace("_", " "), fontsize=9)
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
    for axis in axes[-1]:
        axis.set_xlabel("HU", fontsize=8)
    figure.legend(handles=_legend(comparisons), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    seeds = len(comparisons[0].made)
    figure.suptitle(f"HU inside organs: phantoms (seeds 0 to {seeds - 1}, {spacing:g} mm) and real CTs", fontsize=11)
    figure.savefig(path, dpi=72, pil_kwargs={"optimize": True})
    print(f"wrote {path}")


def _legend(comparisons: list[Comparison]) -> list[object]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[object] = []
    for c in comparisons:
        handles.append(Patch(color=COLORS[c.phase][0], alpha=0.4, label=f"phantoms, {WORDS[c.phase]}"))
        if c.name:
            handles.append(Line2D([], [], color=COLORS[c.phase][1], label=f"{c.name}, {WORDS[c.phase]}"))
    return handles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", nargs=4, action="append", metavar=("CT", "LABELS", "PHASE", "NAME"), default=[])
    parser.add_argument("--table", default="totalsegmentator_v2", help="label table of the reference label maps")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--spacing", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=Path("phantom_hu.png"))
    arguments = parser.parse_args()
    for _, _, phase, _ in arguments.real:
        if phase not in PHASES:
            parser.error(f"{phase} is no phase; use one of {', '.join(PHASES)}")
    asked = [
        (phase, name, real_values(Path(ct), Path(labels), arguments.table, arguments.spacing)) for ct, labels, phase, name in arguments.real
    ]
    comparisons = [compare(*one, arguments.seeds, arguments.spacing) for one in asked or [(phase, "", {}) for phase in PHASES]]
    for comparison in comparisons:
        print_table(comparison)
    draw(comparisons, arguments.spacing, arguments.out)


if __name__ == "__main__":
    main()
