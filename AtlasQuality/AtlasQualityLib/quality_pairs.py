"""One case as examples of label quality: its masks, real and damaged, with their true Dice, and the slices that stand for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from AtlasQualityLib.quality_damage import Damage, Scene, damaged, dice_of
from AtlasQualityLib.quality_damage_places import elsewhere
from AtlasQualityLib.quality_estimate import LookedAt, slices_to_score
from AtlasQualityLib.quality_pairs_find import PairSource, Part
from AtlasQualityLib.quality_pairs_image import CaseImage, read_case
from AtlasQualityLib.quality_pairs_names import misnamed_masks, read_prediction
from AtlasQualityLib.quality_slices import Box2, Float32, SliceRule, compat_crop, mask_box, slice_input
from AtlasQualityLib.surface_metrics import surface_dice, surface_distances
from AtlasSegmentLib.components import Mask, bounding_box
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.train_random import generator
from AtlasSegmentLib.volume import Array

REFERENCE = "reference"
ABSENT = "absent"
MODEL = "model:"
_LEAST_VOXELS = 30
_LEAST_MM3 = 200.0
_MISSED_MM2 = 50.0
"""A slice without mask is wrongly empty when the reference has so much in the crop; less counts in part."""
_MARGINS_MM = (10.0, 60.0)
_HELD_OUT = 4  # every so many organs of an only case
_NSD_MM = 2.0
_NEAR_ORGANS = 4  # that a mask may be mistaken for


@dataclass(frozen=True)
class PairOptions:
    """How examples are made of a case.

    Attributes:
        rule: How slices become the network's input.
        damages: Damaged masks of each organ of the reference.
        slices: Slices that a mask is trained with at most; all that are scored are kept for validation.
        absent: Organs that the table knows and the image does not have, for each of which a false mask is made, at most.
        misnamed: Masks of other organs under the name of each organ; see `quality_pairs_names`.
        most_organs: Organs of one case whose references are damaged, drawn by chance where it has more; 0, and a test case, take all.
        seed: Of everything that is drawn.
    """

    rule: SliceRule = field(default_factory=lambda: SliceRule(size=128))
    damages: int = 8
    slices: int = 6
    absent: int = 8
    misnamed: int = 4
    most_organs: int = 0
    seed: int = 0


@dataclass(frozen=True)
class Example:
    """One mask with its truth.

    Attributes:
        organ: Canonical name that the mask claims to be.
        source: A `Damage`, a `Misnamed`, "reference" (undamaged), "absent" (the image does not have the organ), or "model:" and its name.
        dice: Against the reference, 0..1.
        nsd: The same, at 2 mm; None in training, which does not use it and would take half as long again.
        part: "train", "val" or "test".
        looked_at: Its slices.
        areas: Voxels of the mask in the slice whose area counts for each, int64 (n,).
        targets: What the network should say of each, float32 (n,), 0..1.
        images: Its inputs and, last, the reference in the same crop, uint8 (n, 3, size, size); see `as_bytes`.
    """

    organ: str
    source: str
    dice: float
    nsd: float | None
    part: Part
    looked_at: tuple[LookedAt, ...]
    areas: Array
    targets: Float32
    images: Array


def examples_of(source: PairSource, options: PairOptions, image: CaseImage | None = None) -> Iterator[Example]:
    """Yield the examples of a case, the same ones for the same options, whatever is done before.

    Args:
        source: The case.
        options: How they are made.
        image: The same case, where it has been read already.

    Raises:
        InputError, GeometryError, LabelError: As `read_case`; a mask that does not lie on the grid of the CT.
    """
    image = image or read_case(source)
    organs = _organs(image)
    drawn = _drawn(organs, source, options)
    for number, organ in enumerate(organs):
        part: Part = source.part or "train"
        if part == "organs":
            part = "val" if number % _HELD_OUT == _HELD_OUT - 1 or number == len(organs) - 1 else "train"
        reference = image.reference(organ)
        for name, mask in _masks(image, organ, options, source.name) if organ in drawn else ():
            yield _example(image, (organ, name), (mask, reference), part, options, source.name)
        real = [found for found in source.predictions if found.organ == organ]
        for found in real:
            mask = read_prediction(found.path, image.masks.grid)
            if mask.any():
                yield _example(image, (organ, f"{MODEL}{found.source}"), (mask, reference), part, options, source.name)
        if organ in drawn or real:
            for name, mask in _misnamed(image, organ, organs, source, options):
                yield _example(image, (organ, name), (mask, reference), part, options, source.name)
    yield from _absent(image, organs, source, options)


def _organs(image: CaseImage) -> list[str]:
    """Return the organs of the reference that are large enough, sorted."""
    least = max(_LEAST_VOXELS, _LEAST_MM3 / float(np.prod(image.spacing)))
    return sorted(organ for organ in image.masks.masks if image.size(organ) >= least)


def _drawn(organs: list[str], source: PairSource, options: PairOptions) -> set[str]:
    """Return the organs whose references are damaged: all of a test case, else those that were drawn where there are too many."""
    if not 0 < options.most_organs < len(organs) or source.part == "test":
        return set(organs)
    return {organs[number] for number in generator(options.seed, source.name, "organs").permutation(len(organs))[: options.most_organs]}


def _masks(image: CaseImage, organ: str, options: PairOptions, case: str) -> Iterator[tuple[str, Mask]]:
    """Yield the reference itself, and damaged copies whose Dice is spread evenly over 0..1."""
    reference = image.reference(organ)
    yield REFERENCE, reference
    partner = structure_for(organ).partner
    twin = image.reference(partner) if partner and partner in image.masks.masks else None
    others = tuple(image.reference(name) for name in image.nearest(organ, _NEAR_ORGANS, {partner or ""}))
    scene = Scene(image.ct, reference, image.spacing, twin, others)
    rng = generator(options.seed, case, organ)
    kinds: list[Damage] = []
    possible = scene.possible()
    while len(kinds) < options.damages:
        kinds += [possible[number] for number in rng.permutation(len(possible))]
    severities = rng.permutation((np.arange(options.damages) + rng.uniform(size=options.damages)) / max(options.damages, 1))
    for kind, severity in zip(kinds[: options.damages], severities, strict=True):
        yield kind.value, damaged(scene, kind, float(severity), rng)


def _misnamed(image: CaseImage, organ: str, organs: list[str], source: PairSource, options: PairOptions) -> Iterator[tuple[str, Mask]]:
    real: dict[str, list[Path]] = {}
    for found in source.predictions:
        real.setdefault(found.organ, []).append(found.path)
    rng = generator(options.seed, source.name, organ, "names")
    yield from misnamed_masks(image, organ, organs, real, options.misnamed, rng)


def _absent(image: CaseImage, present: list[str], source: PairSource, options: PairOptions) -> Iterator[Example]:
    """Yield false masks of organs that the image does not have: of another organ, or of none."""
    if source.part == "organs" or not present:
        return
    rng = generator(options.seed, source.name, ABSENT)
    empty = np.zeros(image.ct.shape, np.bool_)
    absent = sorted(organ for organ in image.masks.masks if not image.size(organ))
    for number in sorted(rng.permutation(len(absent))[: options.absent].tolist()):
        other = image.reference(present[int(rng.integers(len(present)))])
        mask = other if rng.integers(2) else elsewhere(image.ct, empty, image.spacing, int(np.count_nonzero(other)), rng)
        yield _example(image, (absent[number], ABSENT), (mask, empty), source.part or "train", options, source.name)
    for found in source.predictions:
        if found.organ in absent and (mask := read_prediction(found.path, image.masks.grid)).any():
            yield _example(image, (found.organ, f"{MODEL}{found.source}"), (mask, empty), source.part or "train", options, source.name)


def _example(image: CaseImage, what: tuple[str, str], masks: tuple[Mask, Mask], part: Part, options: PairOptions, case: str) -> Example:
    """Return a mask (organ, source) with its slices and, against its reference, its truth."""
    mask, reference = masks
    areas = _areas(mask)
    looked_at = slices_to_score(areas)
    rng = generator(options.seed, case, *what, int(areas.sum()))
    if part == "train" and len(looked_at) > options.slices:
        drawn = rng.permutation(len(looked_at))[: options.slices]
        looked_at = [looked_at[number] for number in sorted(drawn.tolist())]
    pixels = np.empty((len(looked_at), 3, options.rule.size, options.rule.size), np.uint8)
    targets = np.empty(len(looked_at), np.float32)
    for number, one in enumerate(looked_at):
        pixels[number], targets[number] = _slice(image, (mask, reference), one, options.rule, rng if part == "train" else None)
    nsd = None if part == "train" else surface_dice(surface_distances(mask, reference, image.spacing), _NSD_MM)
    kept = np.array([areas[one.nearest] for one in looked_at], np.int64)
    return Example(*what, dice_of(mask, reference), nsd, part, tuple(looked_at), kept, targets, pixels)


def _areas(mask: Mask) -> npt.NDArray[np.int64]:
    """Return the voxels of each slice of a mask."""
    areas = np.zeros(len(mask), np.int64)
    box = bounding_box(mask)
    if box is not None:
        areas[box[0]] = np.count_nonzero(mask[box], axis=(1, 2))
    return areas


def _slice(
    image: CaseImage, masks: tuple[Mask, Mask], one: LookedAt, rule: SliceRule, rng: np.random.Generator | None
) -> tuple[Array, float]:
    """Return the bytes of one slice and what the network should say of it; `rng` draws the margin in training."""
    mask, reference = masks[0][one.index], masks[1][one.index]
    box = mask_box(masks[0][one.nearest])
    spacing = (image.spacing[1], image.spacing[2])
    margins = _margins(rule, rng)
    seen, truth = (slice_input(image.ct[one.index], shown, spacing, rule, box, margins) for shown in (mask, reference))
    pixels = as_bytes(np.concatenate([seen, truth[1:]]))
    if one.has_mask:
        return pixels, dice_of(mask, reference)
    assert box is not None
    missed = np.count_nonzero(reference[_seen(box, mask.shape, spacing, rule, margins)]) * spacing[0] * spacing[1]
    return pixels, 1 - min(1.0, missed / _MISSED_MM2)


def _margins(rule: SliceRule, rng: np.random.Generator | None) -> tuple[float, float]:
    if rng is None:
        return (rule.margin, rule.margin)
    low, high = np.log(_MARGINS_MM)
    if rule.kind == "compat":
        return (float(rng.integers(10, 61)), float(rng.integers(10, 61)))
    margin = float(np.exp(rng.uniform(low, high)))
    return (margin, margin)


def _seen(
    box: Box2, shape: tuple[int, ...], spacing: tuple[float, float], rule: SliceRule, margins: tuple[float, float]
) -> tuple[slice, slice]:
    """Return the rows and columns that a crop shows."""
    if rule.kind == "compat":
        r0, r1, c0, c1 = compat_crop(box, (shape[0], shape[1]), (int(margins[0]), int(margins[1])))
        return slice(r0, r1), slice(c0, c1)
    sizes = [(box[2 * i + 1] + 1 - box[2 * i]) * spacing[i] + 2 * margins[i] for i in (0, 1)]
    side = max(sizes)
    ranges = []
    for i in (0, 1):
        middle, half = (box[2 * i] + box[2 * i + 1] + 1) / 2, side / spacing[i] / 2
        ranges.append(slice(max(0, int(np.floor(middle - half))), min(shape[i], int(np.ceil(middle + half)))))
    return ranges[0], ranges[1]


_SCALE = np.array([255 / 4, 255 / 2, 255 / 2], np.float32)[:, None, None]
_MIDDLE = np.array([2, 1, 1], np.float32)[:, None, None]


def as_bytes(image: Float32) -> Array:
    """Return CT, mask and, if it is there, reference (..., 2 or 3, size, size) as uint8: -2..2 of the CT and -1..1 of masks as 0..255."""
    count = image.shape[-3]
    return np.asarray(np.clip(np.rint((image + _MIDDLE[:count]) * _SCALE[:count]), 0, 255), np.uint8)


def from_bytes(image: Array) -> Float32:
    """Return what `as_bytes` was given, float32; off by 1/128 of the CT's window at most."""
    count = image.shape[-3]
    return np.asarray(image.astype(np.float32) / _SCALE[:count] - _MIDDLE[:count], np.float32)
