"""What is plausible for an organ: volume, mean HU, number of pieces, side, and where along the body it lies.

Volumes start from published means of adults and are widened: beyond a third or three times of them is unusual (disease and
surgery do that), beyond a sixth of the smallest or six times the largest is taken for an error of the mask. Organs whose filling
varies are widened further. Children below about five years fall under the adult ranges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

GERAGHTY = "Geraghty et al., Normal organ volume assessment from abdominal CT, Abdom Imaging 2004;29:482-490"
ICRP = "ICRP Publication 89 (2002), reference masses of adults, at 1.05 g/ml"
ICRP_AIR = "ICRP Publication 89 (2002): lung volumes between functional residual and total capacity, one lung"
HU_SOURCE = (
    "Prokop and Galanski, Spiral and Multislice Computed Tomography of the Body (2003), widened for contrast agent and partial volume"
)


@dataclass(frozen=True)
class VolumeRange:
    """Published means (smallest and largest of the groups) of a whole organ in ml, and how far a plausible one may be from them."""

    low: float
    high: float
    source: str
    shrink: float = 3.0
    grow: float = 3.0

    @property
    def usual(self) -> tuple[float, float]:
        """Volumes in ml beyond which a whole organ is unusual."""
        return self.low / self.shrink, self.high * self.grow

    @property
    def possible(self) -> tuple[float, float]:
        """Volumes in ml beyond which the mask is taken for wrong."""
        return self.low / (2 * self.shrink), self.high * 2 * self.grow


_KIDNEY = VolumeRange(156.5, 193.1, GERAGHTY)
_ADRENAL = VolumeRange(4.4, 7.0 / 1.05, f"{GERAGHTY} (smallest mean); {ICRP}", grow=4)
_LUNG = VolumeRange(1200, 3700, ICRP_AIR, shrink=4, grow=1.5)
VOLUMES: Mapping[str, VolumeRange] = MappingProxyType(
    {
        "liver": VolumeRange(1411, 1710, GERAGHTY),
        "spleen": VolumeRange(179.8, 238.4, GERAGHTY, shrink=4, grow=4),
        "pancreas": VolumeRange(64.4, 87.4, GERAGHTY),
        "kidney_left": _KIDNEY,
        "kidney_right": _KIDNEY,
        "adrenal_gland_left": _ADRENAL,
        "adrenal_gland_right": _ADRENAL,
        "gall_bladder": VolumeRange(53, 65, ICRP, shrink=12, grow=4),
        "stomach": VolumeRange(350, 380, ICRP, shrink=8, grow=6),
        "esophagus": VolumeRange(33, 38, ICRP, shrink=4, grow=4),
        "colon": VolumeRange(500, 520, ICRP, shrink=4, grow=6),
        "rectum": VolumeRange(138, 143, ICRP, shrink=10, grow=5),
        "intestine": VolumeRange(838, 952, ICRP, shrink=4, grow=4),
        "bladder": VolumeRange(229, 238, f"{ICRP}, with 200 ml of content", shrink=30, grow=5),
        "prostate": VolumeRange(16, 16, ICRP, grow=10),
        "uterus": VolumeRange(76, 76, ICRP, shrink=6, grow=10),
        "heart": VolumeRange(590, 800, ICRP),
        "thyroid_gland": VolumeRange(16, 19, ICRP, shrink=4, grow=6),
        "brain": VolumeRange(1238, 1381, ICRP, shrink=1.6, grow=1.4),
        "lung_left": _LUNG,
        "lung_right": _LUNG,
    }
)

HU_ERROR_MARGIN = 150.0
_BONE, _VESSEL = (50.0, 1000.0), (0.0, 700.0)
HU: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "liver": (-30, 250),
        "spleen": (10, 300),
        "pancreas": (-60, 250),
        "kidney_left": (0, 400),
        "kidney_right": (0, 400),
        "adrenal_gland_left": (-70, 200),
        "adrenal_gland_right": (-70, 200),
        "gall_bladder": (-30, 200),
        "stomach": (-600, 400),
        "duodenum": (-200, 400),
        "esophagus": (-350, 250),
        "intestine": (-200, 500),
        "colon": (-900, 600),
        "rectum": (-700, 500),
        "bladder": (-30, 1500),
        "prostate": (-30, 250),
        "aorta": _VESSEL,
        "postcava": _VESSEL,
        "celiac_trunk": (-30, 700),
        "portal_vein_and_splenic_vein": (-20, 400),
        "hepatic_vessel": (-20, 400),
        "heart": (0, 500),
        "brain": (0, 120),
        "spinal_cord": (-20, 150),
        "trachea": (-1024, -600),
        "lung_left": (-970, -400),
        "lung_right": (-970, -400),
        **dict.fromkeys(("femur_left", "femur_right", "hip_left", "hip_right", "sacrum", "sternum"), _BONE),
    }
)
"""Plausible mean HU inside a mask, native to arterial phase; a canonical organ name each. Source: HU_SOURCE."""

_LUNGS = ("lung_left", "lung_right")
PIECES: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("liver", "pancreas", "gall_bladder", "stomach", "bladder", "prostate", "heart", "brain", "postcava", "uterus"), 1),
        **dict.fromkeys(("kidney_left", "kidney_right", "adrenal_gland_left", "adrenal_gland_right", "femur_left", "femur_right"), 1),
        **dict.fromkeys((*_LUNGS, "hip_left", "hip_right", "sacrum", "trachea", "spinal_cord"), 1),
        "spleen": 2,  # an accessory spleen is common
        "aorta": 2,  # a scan that cuts the arch shows two
        "esophagus": 2,  # collapsed in between
        "duodenum": 2,
        "rectum": 1,
        "colon": 8,  # collapsed segments
        "portal_vein_and_splenic_vein": 3,
        "celiac_trunk": 2,
    }
)
"""Most components that anatomy allows when the whole organ is in the image."""
HOLLOW = frozenset({"stomach", "duodenum", "esophagus", "intestine", "colon", "rectum", "bladder", "gall_bladder", "heart", *_LUNGS})
"""Organs with a content: a hole in their mask is drawn by some annotators on purpose."""
RIGHT_ONLY, LEFT_ONLY = frozenset({"liver", "gall_bladder"}), frozenset({"spleen"})
MAY_BE_ABSENT = frozenset({"gall_bladder", "prostate", "uterus"})
"""Removed often, or of one sex."""

LEVELS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("lung_left", "lung_right", "heart"), 1),
        **dict.fromkeys(("liver", "spleen", "stomach"), 2),
        **dict.fromkeys(("adrenal_gland_left", "adrenal_gland_right", "gall_bladder", "pancreas", "celiac_trunk", "duodenum"), 3),
        **dict.fromkeys(("kidney_left", "kidney_right", "portal_vein_and_splenic_vein"), 4),
        **dict.fromkeys(("bladder", "rectum"), 6),
        **dict.fromkeys(("prostate", "femur_left", "femur_right"), 7),
    }
)
"""Order from head to feet: an organ between two that are there must be in the image."""


def hu_range(organ: str) -> tuple[float, float] | None:
    """Return the plausible mean HU of a canonical organ, or None where nothing is known."""
    return _BONE if organ.startswith("vertebrae_") else HU.get(organ)


def most_pieces(organ: str) -> int | None:
    """Return how many components anatomy allows, or None where any number is fine (vessels, lesions, bowel)."""
    return 1 if organ.startswith("vertebrae_") else PIECES.get(organ)
