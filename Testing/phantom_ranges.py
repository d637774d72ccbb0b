"""What an adult's organs measure, for tests of the anatomical phantom: ranges in ml that hold nearly all healthy adults, with sources.

Published means and deviations of women and men were taken and widened to about two deviations. Where only lengths and diameters are
published, a range is that of the tube they give. What a scan from T8 to the hips cuts (lungs, femora, hips) has no range; of the aorta,
the esophagus and the heart's neighbors the range is that of what such a scan shows.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from AtlasSegmentLib.volume import LabelVolume

GERAGHTY = "Geraghty et al., Abdom Imaging 2004;29:482-490 (149 adults, CT: means of women and men {})"
ICRP = "ICRP Publication 89 (2002), reference woman and man {}"
PANCREAS = "Saisho et al., Clin Anat 2007;20:933-942 (1,886 adults, CT: 72 +- 26)"
SPLEEN = "Caglar et al., Folia Morphol 2014;73(3) (212 adults, CT: 198 +- 88)"
GALL_BLADDER = "Idris et al., Niger J Basic Clin Sci 2016;13:23-29 (400 adults, fasting, ultrasound: 11 to 51, mean 24)"
COLON = "Pritchard et al., Neurogastroenterol Motil 2014;26:124-130 (75 adults, MRI: 203 +- 75, 198 +- 79, 160 +- 86 without the sigmoid)"
AORTA = "Rogers et al., Am J Cardiol 2013;111:1510-1516 (3,431 adults, CT: 23-26 mm wide in the chest, 16-19 mm below), 25-33 cm long"
CAVA = "Xiao et al., Eur Radiol 2019;29:3281-3286 (1,503 adults, CT: 20.4 +- 2.8 mm wide), 18-25 cm long"
PORTAL = "Stamm et al., Abdom Radiol 2016 (191 adults, CT: portal vein 15.5 +- 1.9 mm wide), 8 cm, with the splenic vein"
VERTEBRA = "body from Kunkel et al., J Anat 2010;216:320-328 (widths, depths, heights by level), arch and processes up to as much again"
LENGTHS = "lengths and widths of textbooks of anatomy; no study of volumes was found"


class Range(NamedTuple):
    """Volumes in ml between which adults lie, and who says so."""

    low: float
    high: float
    source: str


def _vertebrae() -> dict[str, Range]:
    limits = {"L5": (38, 105), "L4": (38, 105), "L3": (38, 105), "L2": (35, 100), "L1": (32, 95)}
    limits |= {"T12": (24, 75), "T11": (20, 65), "T10": (17, 60), "T9": (15, 55), "T8": (14, 50)}
    return {f"vertebrae_{level}": Range(low, high, VERTEBRA) for level, (low, high) in limits.items()}


_KIDNEY = Range(85, 280, GERAGHTY.format("157, 193"))
_ADRENAL = GERAGHTY.format("4.4 and more") + "; " + ICRP.format("6.5 g, 7 g")
RANGES: dict[str, Range] = {
    "liver": Range(800, 2500, GERAGHTY.format("1411, 1710")),
    "spleen": Range(60, 480, f"{GERAGHTY.format('180, 238')}; {SPLEEN}"),
    "kidney_right": _KIDNEY,
    "kidney_left": _KIDNEY,
    "pancreas": Range(35, 140, f"{GERAGHTY.format('64, 87')}; {PANCREAS}"),
    "gall_bladder": Range(8, 75, f"{GALL_BLADDER}; {ICRP.format('56 g, 68 g')}"),
    "adrenal_gland_right": Range(1.2, 9, _ADRENAL),
    "adrenal_gland_left": Range(1.2, 10, _ADRENAL),
    "stomach": Range(100, 1000, ICRP.format("370 g, 400 g; as full as it happens to be")),
    "duodenum": Range(25, 140, f"{LENGTHS}: 20-30 cm long, 12-25 mm wide"),
    "colon": Range(250, 1500, COLON),
    "intestine": Range(250, 1300, ICRP.format("880 g, 1000 g with content; as full as it happens to be")),
    "rectum": Range(25, 150, ICRP.format("145 g, 150 g with the sigmoid's end")),
    "bladder": Range(40, 600, ICRP.format("wall 40 g, 50 g; as full as it happens to be")),
    "prostate": Range(12, 60, f"{ICRP.format('17 g')}; larger in the old"),
    "uterus": Range(15, 140, f"{ICRP.format('80 g')}; smaller after the menopause"),
    "heart": Range(380, 1000, ICRP.format("620 g, 840 g with blood")),
    "aorta": Range(40, 230, AORTA),
    "postcava": Range(35, 160, CAVA),
    "portal_vein_and_splenic_vein": Range(12, 70, PORTAL),
    "esophagus": Range(8, 60, ICRP.format("35 g, 40 g, of which the scan shows half")),
    "sacrum": Range(100, 290, f"{LENGTHS}: 10-11 cm wide, 10-12 cm long"),
    **_vertebrae(),
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

    values = [int(value) for value in np.flatnonzero(np.bincount(labels.array.ravel())) if value in labels.table.labels]
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
