"""An anatomical phantom: the CT of a torso and its exact labels, made from a seed.

Everything is a formula of a position in mm, so that any spacing, size and crop shows the same person; a voxel's label is that of
the front part at its middle, so that organs touch and never overlap. It is drawn for software: shapes and gray values are those of
textbooks and of what CTs look like, no measured person's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from AtlasSegmentLib.errors import InputError
from AtlasSegmentLib.labels import LabelTable
from AtlasSegmentLib.phantom_body import BOTTOM, LEVELS, TOP, Body
from AtlasSegmentLib.phantom_bones import RIBS, bone_parts
from AtlasSegmentLib.phantom_bowel import Bowel
from AtlasSegmentLib.phantom_muscles import MUSCLES, lung_parts, muscle_parts, wall_parts
from AtlasSegmentLib.phantom_organs import Organs
from AtlasSegmentLib.phantom_person import Person, person_of, warp_of
from AtlasSegmentLib.phantom_pieces import keep_connected
from AtlasSegmentLib.phantom_points import Field, Points, Vectors, Warp
from AtlasSegmentLib.phantom_render import label_slabs, slabs
from AtlasSegmentLib.phantom_scanner import Scanner, ScanOptions
from AtlasSegmentLib.phantom_shapes import sparse, union
from AtlasSegmentLib.phantom_spine import spine_parts
from AtlasSegmentLib.phantom_tissue import Paint, Part, Tissues, blend, share
from AtlasSegmentLib.phantom_vessels import Vessels
from AtlasSegmentLib.volume import LabelVolume, Volume

_MOST_VOXELS = 1 << 31
_NAMES = (
    *("spleen", "kidney_right", "kidney_left", "gall_bladder", "esophagus", "liver", "stomach", "aorta", "postcava"),
    *("portal_vein_and_splenic_vein", "pancreas", "adrenal_gland_right", "adrenal_gland_left", "duodenum", "lung_right", "lung_left"),
    *("colon", "intestine", "rectum", "bladder", "prostate", "uterus", "heart"),
    *("iliac_artery_right", "iliac_artery_left", "iliac_vena_right", "iliac_vena_left"),
    *("hip_right", "hip_left", "femur_right", "femur_left", "sacrum", "spinal_canal", "sternum", "costal_cartilages"),
    *(f"vertebrae_{level}" for level in LEVELS),
    *(f"rib_{side}_{number}" for side in ("right", "left") for number in RIBS),
    *(f"{muscle}_{side}" for muscle in MUSCLES for side in ("right", "left")),
)
"""Labels in the order of their values, from 1; AbdomenAtlas' organs first."""


@dataclass(frozen=True)
class PhantomCase:
    """A phantom.

    Attributes:
        ct: int16 HU, RAS.
        labels: uint8 on the same grid, with its table.
        parameters: What the seed decided, and what was asked for; JSON.
    """

    ct: Volume
    labels: LabelVolume
    parameters: dict[str, Any]


def phantom(
    seed: int,
    spacing: float | tuple[float, float, float] = 3.0,
    shape: tuple[int, int, int] | None = None,
    *,
    origin: tuple[float, float, float] | None = None,
    phase: str | None = None,
    stones: bool | None = None,
    scan: ScanOptions | None = None,
) -> PhantomCase:
    """Make the phantom of a seed; the same arguments give the same bytes, whatever the number of threads.

    Args:
        seed: Decides age, sex, build, pose, organs, contrast phase and noise.
        spacing: mm, one number or one for each axis (x to the right, y to the front, z to the head).
        shape: Voxels along x, y, z; None takes as many as the torso from above T8 to the hip joints needs.
        origin: RAS mm of the first voxel; None puts the torso in the middle.
        phase: "none", "arterial" or "venous" instead of the seed's choice.
        stones: Whether there are stones, instead of the seed's choice.
        scan: Noise, streaks and table; None takes the usual ones.

    Returns:
        The CT, int16 HU, and its labels, uint8, on one RAS grid.

    Raises:
        InputError: A seed, spacing, shape or phase that cannot be.
    """
    person = person_of(seed, phase, stones)
    mm, warp, body = _spacing(spacing), warp_of(person), Body(person)
    size, start = _grid(warp, body, mm, shape, origin)
    scanner = Scanner(person, body, mm, size, scan or ScanOptions())
    ct, labels = np.empty(size, np.int16, order="F"), np.empty(size, np.uint8, order="F")
    for slab in slabs(anatomy(person, body), _numbers(), warp, start, mm, size):
        place = slice(slab.first, slab.first + slab.hu.shape[2])
        ct[:, :, place] = np.clip(np.rint(scanner.scan(slab.hu, slab.points, slab.first)), -1024, 3071)
        labels[:, :, place] = slab.values
    affine = np.diag([*mm, 1.0])
    affine[:3, 3] = start
    parameters = {"person": person.record(), "spacing": mm.tolist(), "shape": list(size), "origin": start.tolist()}
    name = f"phantom {seed}"
    return PhantomCase(Volume(ct, affine, name), _label_volume(labels, affine, name), parameters)


def phantom_labels(
    seed: int,
    spacing: float | tuple[float, float, float] = 3.0,
    shape: tuple[int, int, int] | None = None,
    *,
    origin: tuple[float, float, float] | None = None,
) -> LabelVolume:
    """Return the labels of `phantom` alone, in half the time: where only shapes matter. Arguments and errors are the same."""
    person = person_of(seed)
    mm, warp, body = _spacing(spacing), warp_of(person), Body(person)
    size, start = _grid(warp, body, mm, shape, origin)
    labels = np.empty(size, np.uint8, order="F")
    for first, values in label_slabs(anatomy(person, body), _numbers(), warp, start, mm, size):
        labels[:, :, first : first + values.shape[2]] = values
    affine = np.diag([*mm, 1.0])
    affine[:3, 3] = start
    return _label_volume(labels, affine, f"phantom {seed}")


def _spacing(spacing: float | tuple[float, float, float]) -> Vectors:
    mm: Vectors = np.broadcast_to(np.asarray(spacing, float), (3,)).copy()
    if not (np.isfinite(mm).all() and (mm >= 0.2).all() and (mm <= 20).all()):
        message = f"A spacing of {' x '.join(f'{value:g}' for value in mm)} mm is not between 0.2 and 20 mm."
        raise InputError(message, "Give mm, such as 3.0.")
    return mm


def _numbers() -> dict[str, int]:
    return {name: value for value, name in phantom_table().labels.items()}


def _label_volume(labels: npt.NDArray[np.uint8], affine: Vectors, name: str) -> LabelVolume:
    """Return labels with their table, each in one piece."""
    table = phantom_table()
    keep_connected(labels, (table.value_of("costal_cartilages"),))
    return LabelVolume(labels, affine, name, None, table)


def _grid(
    warp: Warp, body: Body, spacing: Vectors, shape: tuple[int, int, int] | None, origin: tuple[float, float, float] | None
) -> tuple[tuple[int, int, int], Vectors]:
    """Return shape and origin of a grid that holds the torso, or the given ones."""
    low, high = body.limits()
    corners = warp.places(np.array([np.where(pick, high, low) for pick in np.ndindex(2, 2, 2)]))
    start, stop = corners.min(axis=0), corners.max(axis=0)
    start[2], stop[2] = warp.places(np.array([[0, 0, BOTTOM], [0, 0, TOP]], float))[:, 2]
    needed = tuple(int(n) for n in np.ceil((stop - start) / spacing))
    size = needed if shape is None else tuple(int(n) for n in shape)
    if len(size) != 3 or min(size) < 1 or int(np.prod(size, dtype=np.int64)) > _MOST_VOXELS:
        message = f"A phantom of {size} voxels cannot be made."
        raise InputError(message, f"Give three numbers of voxels, at most {_MOST_VOXELS} in all.")
    first = (start + stop) / 2 - (np.array(size) - 1) / 2 * spacing if origin is None else np.asarray(origin, float)
    return (size[0], size[1], size[2]), first


@cache
def phantom_table() -> LabelTable:
    """Return the label table of phantoms: value to canonical name."""
    return LabelTable("phantom", "Anatomical phantom", dict(enumerate(_NAMES, start=1)), "AtlasSegmentLib.phantom")


def anatomy(person: Person, body: Body) -> list[Part]:
    """Return everything there is to draw, front to back."""
    tissues = Tissues(person)
    organs, bowel, vessels = Organs(person, tissues, body), Bowel(person, tissues, body), Vessels(person, tissues)
    vessel_parts = vessels.parts()
    esophagus, (heart, heart_paint) = bowel.esophagus(), organs.heart()
    middle = union([heart, vessel_parts[0].shape, esophagus[0].shape, vessels.cava()])
    gall_bladder, stones = organs.gall_bladder()
    bladder, bladder_paint = organs.bladder()
    parts = [*spine_parts(person, tissues), *bone_parts(person, tissues), *vessel_parts[:-2], *stones]
    parts.append(Part("gall_bladder", gall_bladder, organs.bile_paint()))
    parts += [Part(f"adrenal_gland_{side}", gland, tissues.plain("adrenal")) for side, gland in organs.adrenals().items()]
    for side, (kidney, sinus) in organs.kidneys().items():
        parts += [*organs.sinus_parts(side, sinus), Part(f"kidney_{side}", kidney, organs.kidney_paint())]
    parts += [*bowel.duodenum(), *esophagus, *bowel.stomach()]
    parts.append(Part("pancreas", organs.pancreas(), organs.pancreas_paint()))
    parts += [Part("heart", heart, heart_paint, windowed=True), Part("spleen", organs.spleen(), organs.spleen_paint())]
    parts += [
        Part("liver", organs.liver(), _liver_paint(tissues, vessels), windowed=True),
        *organs.genitals(),
        Part("bladder", bladder, bladder_paint),
    ]
    parts += [*bowel.colon(), *muscle_parts(person, tissues, body), *bowel.small_bowel(), *vessel_parts[-2:]]
    return [*parts, *lung_parts(person, tissues, body, (middle, *vessels.in_chest())), *wall_parts(person, tissues, body)]


def _liver_paint(tissues: Tissues, vessels: Vessels) -> Paint:
    """Return the paint of the liver: parenchyma with branches of portal and hepatic veins."""
    portal, hepatic = vessels.in_liver()
    hu, noise = tissues.hu, tissues.noise

    def paint(points: Points, _depth: Field, width: float) -> Field:
        value = np.float32(hu["liver"]) + 3 * noise(points, 8.0, 2.0)
        value = blend(value, hu["portal"], share(sparse(portal, points), width))
        return blend(value, hu["hepatic"], share(sparse(hepatic, points), width))

    return paint
