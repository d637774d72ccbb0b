"""What an adult's organs measure, for tests of the anatomical phantom.

Ranges in ml that hold nearly all healthy adults. Measured ones, by CT: means of women and men are 1411 and 1710 for the liver, 180 and
238 for the spleen, 157 and 193 for a kidney, 64 and 87 for the pancreas, 4.4 and more for an adrenal gland (Geraghty et al., "Normal organ
volume assessment from abdominal CT", Abdominal Imaging 2004; 149 adults); spleen 198 +- 88 (Caglar et al., Folia Morphologica 2014; 212
adults); pancreas 72 +- 26 (Saisho et al., Clinical Anatomy 2007; 1,886 adults) and 19 to 140 (Abdominal Radiology 2019; 204 adults).
Hollow organs are as full as they happen to be; theirs, and those of vessels and vertebrae, follow from the lengths and diameters of
textbooks. What a scan from T8 to the hips cuts (lungs, femora, hips) has no range.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from AtlasSegmentLib.volume import LabelVolume

RANGES: dict[str, tuple[float, float]] = {
    "liver": (800, 2500),
    "spleen": (60, 480),
    "kidney_right": (85, 280),
    "kidney_left": (85, 280),
    "pancreas": (35, 140),
    "gall_bladder": (8, 75),
    "adrenal_gland_right": (1.2, 9),
    "adrenal_gland_left": (1.2, 10),
    "stomach": (100, 1000),
    "duodenum": (25, 140),
    "colon": (250, 1500),
    "intestine": (250, 1300),
    "rectum": (25, 150),
    "bladder": (40, 600),
    "prostate": (12, 60),
    "uterus": (15, 140),
    "heart": (380, 1000),
    "aorta": (40, 230),
    "postcava": (35, 160),
    "portal_vein_and_splenic_vein": (12, 70),
    "esophagus": (8, 60),
    "sacrum": (100, 290),
    "vertebrae_L5": (38, 105),
    "vertebrae_L4": (38, 105),
    "vertebrae_L3": (38, 105),
    "vertebrae_L2": (35, 100),
    "vertebrae_L1": (32, 95),
    "vertebrae_T12": (24, 75),
    "vertebrae_T11": (20, 65),
    "vertebrae_T10": (17, 60),
    "vertebrae_T9": (15, 55),
    "vertebrae_T8": (14, 50),
}
_MANY = {"costal_cartilages"}  # several pieces in people
_RIGHT = ("liver", "gall_bladder", "postcava", "kidney_right", "adrenal_gland_right", "lung_right", "hip_right", "femur_right")
_LEFT = ("spleen", "stomach", "aorta", "kidney_left", "adrenal_gland_left", "lung_left", "hip_left", "femur_left")


def volumes_ml(labels: LabelVolume) -> dict[str, float]:
    """Return the volume of each label that has a voxel, by name."""
    assert labels.table is not None
    counts = np.bincount(labels.array.ravel(), minlength=max(labels.table.labels) + 1)
    return {name: counts[value] * labels.voxel_volume_mm3 / 1000 for value, name in labels.table.labels.items() if counts[value]}


def centroids(labels: LabelVolume) -> dict[str, np.ndarray]:
    """Return the RAS centroid (3,) of each label that has a voxel, mm."""
    assert labels.table is not None
    from scipy import ndimage

    values = [value for value in labels.table.labels if np.any(labels.array == value)]
    middles = ndimage.center_of_mass(np.ones(labels.shape, np.uint8), labels.array, values)
    return {
        labels.table.name_of(value): labels.affine[:3, :3] @ np.array(middle) + labels.affine[:3, 3]
        for value, middle in zip(values, middles, strict=True)
    }


def labels_in_pieces(labels: LabelVolume) -> list[str]:
    """Return what is wrong: labels with more than one 26-connected piece; pieces that the border of the scan cuts off do not count."""
    import cc3d

    assert labels.table is not None
    pieces, count = cc3d.connected_components(labels.array, connectivity=26, return_N=True)
    first = np.zeros(count + 1, np.int64)
    flat = pieces.ravel()
    first[flat] = labels.array.ravel()
    inside = np.ones(count + 1, bool)
    for axis in range(3):
        for end in (0, -1):
            inside[np.unique(pieces.take(end, axis=axis))] = False
    cut = {int(value) for value in first[~inside]}
    numbers = np.bincount(first[1:][inside[1:]], minlength=256) + np.isin(np.arange(256), list(cut))
    return [f"{name} has {numbers[v]} pieces" for v, name in labels.table.labels.items() if numbers[v] > 1 and name not in _MANY]


def sides_wrong(labels: LabelVolume) -> list[str]:
    """Return what is wrong: organs on the other side of the spine, vertebrae out of order, something on the wrong side of the diaphragm."""
    middle = centroids(labels)
    spine = float(np.mean([place[0] for name, place in middle.items() if name.startswith("vertebrae_L")]))
    wrong = [f"{name} is not on the right" for name in _RIGHT if name in middle and middle[name][0] <= spine]
    wrong += [f"{name} is not on the left" for name in _LEFT if name in middle and middle[name][0] >= spine]
    order = [middle[f"vertebrae_{level}"][2] for level in ("L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9", "T8")]
    if not all(a < b for a, b in pairwise(order)):
        wrong.append("vertebrae are out of order")
    for above, below in (
        ("heart", "liver"),
        ("lung_right", "kidney_right"),
        ("stomach", "bladder"),
        ("liver", "colon"),
        ("aorta", "bladder"),
    ):
        if middle[above][2] <= middle[below][2]:
            wrong.append(f"{above} is not above {below}")
    return wrong
