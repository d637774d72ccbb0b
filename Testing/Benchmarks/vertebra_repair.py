"""What the repairs of label maps restore, on real cases, with their time and memory.

    python Testing/Benchmarks/vertebra_repair.py [--shared ../shared] [--picture pieces.png]

1. Vertebra fragments of a real AbdomenAtlas prediction (512x512x391, 24 vertebrae): pieces and Dice against the map that was cleaned
   up by its makers, for our rule, the documented one and removal.
2. The same rules on damage of a known kind: balls of a neighbor's name and specks, put into cleaned maps. Voxels still wrong afterwards.
3. Ribs, sides and noise on torso-3mm, renamed and mirrored.
4. Seconds and peak memory of all repairs, and of merging seven tasks, at the size of 1.

The cleaned map and the labels of torso-3mm are a program's results, not a person's. Exit 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from measured import measure
from scipy import ndimage

from AtlasSegmentLib.components import bounding_box
from AtlasSegmentLib.label_conversion import swap_sides
from AtlasSegmentLib.labels import LabelTable, load_table
from AtlasSegmentLib.nifti import read_nifti, write_nifti
from AtlasSegmentLib.repair import repair_labels
from AtlasSegmentLib.repair_ribs import repair_ribs
from AtlasSegmentLib.repair_sides import repair_sides
from AtlasSegmentLib.repair_vertebrae import FragmentRule, VertebraOptions, repair_vertebrae
from AtlasSegmentLib.volume import LabelVolume, Volume
from AtlasSegmentLib.volume_io import read_label_volume
from AtlasSegmentLib.whole_body import TASKS
from AtlasSegmentLib.whole_body_files import merge_files

CASE = "data/abdomenatlas-labels/BDMAP_00000006"
TORSO = "data/torso-3mm/reference_label.nii.gz"
NAMES = [f"vertebrae_{region}{n}" for region, count in (("L", 5), ("T", 12), ("C", 7)) for n in range(count, 0, -1)]
TABLE = LabelTable("bdmap", "", dict(enumerate(NAMES, 1)))
MAX_SECONDS, MAX_GB = 10.0, 2.0


def main() -> int:
    """Run the parts; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[3] / "shared")
    parser.add_argument("--picture", type=Path, help="write a picture of the fragments here")
    arguments = parser.parse_args()
    real_case(arguments.shared, arguments.picture)
    known_damage(arguments.shared)
    torso(arguments.shared)
    good = cost(arguments.shared)
    print("good" if good else "MISSED")
    return 0 if good else 1


def real_case(shared: Path, picture: Path | None) -> None:
    """Print pieces and Dice of each vertebra for the rules."""
    predicted, cleaned = (read_nifti(shared / CASE / f"{name}.nii.gz") for name in ("combined_labels", "combined_labels_refined"))
    box = bounding_box(predicted.array | cleaned.array)
    labels = LabelVolume(predicted.array[box], predicted.affine, "predicted", None, TABLE)
    truth = cleaned.array[box]
    found = {rule.name.lower(): repair_vertebrae(labels, VertebraOptions(rule)) for rule in FragmentRule}
    maps = {"predicted": labels.array} | {name: item.labels.array for name, item in found.items()}
    print(f"Fragments of a real prediction: Dice against its cleaned map\n{'':12}" + "".join(f"{name:>22}" for name in maps))
    for value, name in reversed(TABLE.labels.items()):
        cells = [f"{pieces(array, value):9} pieces {dice(array, truth, value):.4f}" for array in maps.values()]
        print(f"{name[10:]:12}" + "".join(cells))
    means = [np.mean([dice(array, truth, value) for value in TABLE.labels]) for array in maps.values()]
    print(f"{'mean':12}" + "".join(f"{value:22.5f}" for value in means))
    for change in found["surface"].report.changes:
        print(f"  {change.label} -> {change.to or 'removed'}: {change.voxels} voxels, {change.ml:.3f} ml, {change.reason}")
    if picture is not None:
        draw(picture, maps, truth)


def pieces(array: np.ndarray, value: int) -> int:
    """Return the number of 26-connected pieces of a label."""
    box = bounding_box(array == value)
    return 0 if box is None else int(ndimage.label(array[box] == value, np.ones((3, 3, 3)))[1])


def dice(a: np.ndarray, b: np.ndarray, value: int) -> float:
    """Return the Dice of a label."""
    one, two = a == value, b == value
    return float(2 * np.count_nonzero(one & two) / (np.count_nonzero(one) + np.count_nonzero(two)))


def draw(path: Path, maps: dict[str, np.ndarray], truth: np.ndarray) -> None:
    """Draw sagittal cuts through the largest fragments near the spine, before and after."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    different = maps["predicted"] != maps["surface"]
    parts, _ = ndimage.label(different, np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    places = [ndimage.center_of_mass(parts == n + 1) for n in np.argsort(-sizes)[:8]]
    shown = maps | {"cleaned": truth}
    figure, axes = plt.subplots(len(places), len(shown), figsize=(3 * len(shown), 3 * len(places)), squeeze=False)
    for row, place in zip(axes, places, strict=True):
        x, y, z = (round(c) for c in place)
        for cell, (name, array) in zip(row, shown.items(), strict=True):
            cut = array[x, max(y - 40, 0) : y + 40, max(z - 14, 0) : z + 14]
            cell.imshow(np.where(cut > 0, cut % 10 + 1, 0).T, origin="lower", cmap="tab20", vmin=0, vmax=11, aspect=3.2)
            cell.set_title(name)
            cell.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def known_damage(shared: Path) -> None:
    """Print the share of damaged voxels that each rule leaves wrong."""
    torso_map = read_label_volume(shared / TORSO, load_table("totalsegmentator_v2"))
    cleaned = read_nifti(shared / CASE / "combined_labels_refined.nii.gz")
    atlas = LabelVolume(cleaned.array[bounding_box(cleaned.array)], cleaned.affine, "cleaned", None, TABLE)
    spine = [torso_map.table.value_of(f"vertebrae_{name}") for name in ("T12", "L1", "L2", "L3", "L4", "L5")]
    print("\nVoxels still wrong after balls of a neighbor's name and specks, mean of 8 seeds")
    for name, labels, values in (("torso-3mm", torso_map, spine), ("BDMAP_00000006, cleaned", atlas, list(TABLE.labels))):
        left = dict.fromkeys(FragmentRule, 0.0)
        for seed in range(8):
            damaged = damage(labels, values, seed)
            before = np.count_nonzero(damaged.array != labels.array)
            for rule in FragmentRule:
                found = repair_vertebrae(damaged, VertebraOptions(rule)).labels.array
                left[rule] += np.count_nonzero(found != labels.array) / before / 8
        print(f"  {name:26}" + ", ".join(f"{rule.name.lower()} {share:.1%}" for rule, share in left.items()))


def damage(labels: LabelVolume, values: list[int], seed: int) -> LabelVolume:
    """Return a map with twenty balls (3-7 mm) of a neighbor's name in bone and twenty specks (2-5 mm) around it."""
    random, array, spacing = np.random.default_rng(seed), labels.array.copy(), labels.spacing
    bone = np.isin(labels.array, values)
    around = ndimage.binary_dilation(bone, iterations=2) & (labels.array == 0)
    for places, sizes, of_bone in ((np.argwhere(bone), (3, 7), True), (np.argwhere(around), (2, 5), False)):
        for _ in range(20):
            center, radius = places[random.integers(len(places))], random.uniform(*sizes)
            reach = np.ceil(np.maximum(radius, 7) / spacing).astype(int)
            low = np.maximum(center - reach, 0)
            box = tuple(slice(a, b) for a, b in zip(low, center + reach + 1, strict=True))
            index = np.indices(array[box].shape)
            near = sum(((i + a - c) * s) ** 2 for i, a, c, s in zip(index, low, center, spacing, strict=True)) <= radius**2
            here = labels.array[box]
            own = int(labels.array[tuple(center)]) if of_bone else int(np.bincount(here[np.isin(here, values)]).argmax())
            place = values.index(own) + random.choice([-1, 1])
            array[box][near & (here == (own if of_bone else 0))] = values[int(np.clip(place, 0, len(values) - 1))]
    return replace(labels, array=array)


def torso(shared: Path) -> None:
    """Print wrong voxels before and after ribs are renumbered and sides mirrored."""
    truth = read_label_volume(shared / TORSO, load_table("totalsegmentator_v2"))
    ribs = [value for value, name in truth.table.labels.items() if name.startswith("rib_")]
    print("\ntorso-3mm (12 ribs, all cut by the image; T12 alone is whole): wrong voxels before and after")
    for seed in range(4):
        lookup = np.arange(256, dtype=np.uint8)
        lookup[ribs] = np.random.default_rng(seed).permutation(ribs) if seed else ribs[1:] + ribs[:1]
        damaged = replace(truth, array=lookup[truth.array])
        print(
            f"  ribs {'shuffled' if seed else 'shifted by one'}: {differ(damaged, truth)} -> {differ(repair_ribs(damaged).labels, truth)}"
        )
    lookup = np.arange(256, dtype=np.uint8)
    for value, other in swap_sides(truth.table).items():
        lookup[value] = other
    damaged = replace(truth, array=lookup[truth.array])
    print(f"  all sides swapped: {differ(damaged, truth)} -> {differ(repair_sides(damaged).labels, truth)}")


def differ(a: LabelVolume, b: LabelVolume) -> int:
    """Return the number of different voxels."""
    return int(np.count_nonzero(a.array != b.array))


def cost(shared: Path) -> bool:
    """Print seconds and peak memory; tell whether they are below the bars."""
    good = True
    print(f"\nCost at 512x512x391 (bars {MAX_SECONDS:.0f} s, {MAX_GB:.0f} GB)")
    with tempfile.TemporaryDirectory(prefix="atlas-repair-") as work:
        folder = Path(work)
        make_tasks(shared, folder)
        for name, function in (("vertebrae", vertebrae_alone), ("all repairs", all_repairs), ("merge of 7 tasks", merge_all)):
            found = measure(function, shared, folder)
            peak, seconds = found.peak_gb, found.result
            good = good and seconds < MAX_SECONDS and peak < MAX_GB
            print(f"  {name:18}{seconds:6.1f} s{peak:7.2f} GB, reading included in the memory")
    return good


def vertebrae_alone(shared: Path, _: Path) -> float:
    """Return the seconds of repairing fragments of the real case."""
    import time

    labels = read_label_volume(shared / CASE / "combined_labels.nii.gz", TABLE)
    start = time.perf_counter()
    repair_vertebrae(labels)
    return time.perf_counter() - start


def all_repairs(_: Path, folder: Path) -> float:
    """Return the seconds of all repairs of a map with vertebrae, ribs and organs."""
    import time

    labels = read_label_volume(folder / "torso.nii.gz", load_table("totalsegmentator_v2"))
    start = time.perf_counter()
    repair_labels(labels)
    return time.perf_counter() - start


def merge_all(_: Path, folder: Path) -> float:
    """Return the seconds of merging, files read."""
    import time

    start = time.perf_counter()
    merge_files({task: folder / f"{task.key}.nii.gz" for task in TASKS}, keep_tasks=True)
    return time.perf_counter() - start


def make_tasks(shared: Path, folder: Path) -> None:
    """Write torso-3mm enlarged to 512x512x391, and the real case's vertebrae as all seven tasks (values within each)."""
    torso_map = read_nifti(shared / TORSO)
    index = [np.arange(n) * m // n for n, m in zip((512, 512, 391), torso_map.shape, strict=True)]
    affine = torso_map.affine.copy()
    affine[:3, :3] *= np.array(torso_map.shape) / (512, 512, 391)
    write_nifti(folder / "torso.nii.gz", Volume(torso_map.array[np.ix_(*index)], affine))
    labels = read_nifti(shared / CASE / "combined_labels.nii.gz")
    for task in TASKS:
        write_nifti(folder / f"{task.key}.nii.gz", labels.with_array(np.minimum(labels.array, len(task.table))))


if __name__ == "__main__":
    sys.exit(main())
