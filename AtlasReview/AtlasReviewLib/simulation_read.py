"""Reading a case for a simulated review: what strategies may see, and, kept apart from it, what the perfect editor draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from AtlasQualityLib.attention_rule import attention_of
from AtlasQualityLib.average import as_bytes, models_of
from AtlasQualityLib.evaluation import case_grid
from AtlasQualityLib.organ_table import read_predicted_dice
from AtlasReviewLib.simulation_case import AUTO, OrganPrediction, SliceAxes, Stack, profiles_of, slice_axes
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.classes import abdomenatlas_table, class_of
from AtlasSegmentLib.dataset_annotations import OVERLAP_CLASSES
from AtlasSegmentLib.encoding import entropy_bytes, probability_from_bytes, soft_bytes
from AtlasSegmentLib.errors import DatasetError, InputError
from AtlasSegmentLib.label_conversion import convert_labels, value_mapping
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.sparse import SparseVolume, from_dense, read_sparse, union
from AtlasSegmentLib.volume import Array, Grid, LabelVolume, reorient, require_same_grid

MOST_SLICES = 2000
"""What is learned of an organ takes memory with the square of its slices."""


@dataclass(frozen=True)
class CasePredictions:
    """The organs of a case without any reference, and how its arrays are turned."""

    axes: SliceAxes
    organs: tuple[OrganPrediction, ...]


def read_predictions(
    case: CaseFolder, organs: Sequence[str], slices: str = AUTO, progress: ProgressCallback = ignore_progress
) -> CasePredictions:
    """Read what the models say about organs of a case; original labels, revisions and references are not opened.

    Args:
        case: Predicted by some models, and averaged.
        organs: Which; each must have an average mask.
        slices: See `simulation_case.slice_axes`.
        progress: Told the finished share.

    Raises:
        DatasetError: An organ has no probabilities (soft_pred and entropy) of any model.
        InputError: There are more than 2000 slices.
    """
    axes = slice_axes(case_grid(case), slices)
    if axes.shape[2] > MOST_SLICES:
        message = f"{case.folder}: {axes.shape[2]} slices are more than the {MOST_SLICES} that can be simulated."
        raise InputError(message, "Resample the case, or choose another direction with --slices.")
    occupied, dice = _occupied(case, axes.grid), read_predicted_dice(case)
    found = []
    for number, organ in enumerate(organs):
        progress(number / len(organs), f"read {organ}")
        found.append(_organ(case, organ, axes, occupied, dice.get(organ)))
    return CasePredictions(axes, tuple(found))


def _organ(case: CaseFolder, organ: str, axes: SliceAxes, occupied: Array, dice: float | None) -> OrganPrediction:
    folders = [case.backbone(model) for model in models_of(case, None)]
    both = [f for f in folders if f.map("soft_pred", organ).is_file() and f.map("entropy", organ).is_file()]
    if not both:
        message = f"{case.folder}: no model left soft_pred and entropy of {organ}."
        raise DatasetError(message, "Run: atlas segment CASE --model MODEL --all-organs, or leave the organ out with --organ.")
    soft = [_on(axes.grid, read_sparse(f.map("soft_pred", organ))) for f in both]
    entropy = [_on(axes.grid, read_sparse(f.map("entropy", organ))) for f in both]
    average = _binary(_on(axes.grid, read_sparse(case.average.mask(organ))))
    own = 1 if class_of(organ) in OVERLAP_CLASSES else 0
    shared = from_dense(average.crop & (occupied[average.box] > own), axes.grid, _start(average))
    attention = attention_of([as_bytes(s) for s in soft], [as_bytes(e) for e in entropy], shared)
    mask = Stack(axes.turned(average))
    models = [axes.turned(_probability(as_bytes(s), as_bytes(e))) for s, e in zip(soft, entropy, strict=True)]
    profiles = profiles_of(models, mask, axes, attention, dice)
    return OrganPrediction(case.name, organ, mask, axes.spacing, profiles)


def _on(grid: Grid, volume: SparseVolume) -> SparseVolume:
    require_same_grid(volume.grid, grid)
    return volume


def _binary(volume: SparseVolume) -> SparseVolume:
    return SparseVolume(volume.grid, volume.box, np.asarray(volume.crop > 0))


def _start(volume: SparseVolume) -> tuple[int, int, int]:
    x, y, z = (part.start for part in volume.box)
    return (x, y, z)


def _probability(soft: SparseVolume, entropy: SparseVolume) -> SparseVolume:
    box = union([soft.box, entropy.box])
    return SparseVolume(soft.grid, box, probability_from_bytes(soft.within(box), entropy.within(box)))


def _occupied(case: CaseFolder, grid: Grid) -> Array:
    """Return how many of AbdomenAtlas' overlap structures claim each voxel, uint8 (X, Y, Z)."""
    count = np.zeros(grid.shape, np.uint8, order="F")
    for organ in case.average.organs():
        if class_of(organ) in OVERLAP_CLASSES:
            mask = _on(grid, read_sparse(case.average.mask(organ)))
            count[mask.box] += mask.crop > 0
    return count


def organs_to_simulate(case: CaseFolder, reference: LabelVolume, wanted: Sequence[str] = ()) -> list[str]:
    """Return the organs that have an average mask and probabilities and that the table of the reference knows, in class order.

    Raises:
        InputError: There is none, or a wanted one is not among them.
    """
    models = case.models()
    spoken = {o for model in models for o in set(case.backbone(model).organs("soft_pred")) & set(case.backbone(model).organs("entropy"))}
    if reference.table is None:
        message = f"{reference.source}: it is not known what its values mean."
        raise InputError(message, "Name its label table with --table.")
    known = set(value_mapping(reference.table, abdomenatlas_table()).values())
    usable = [organ for organ in case.average.organs() if organ in spoken and class_of(organ) in known]
    missing = sorted(set(wanted) - set(usable))
    if missing or not usable:
        what = f"{', '.join(missing)} cannot be simulated" if missing else "no organ can be simulated"
        message = f"{case.folder}: {what}: masks and probabilities in the case, or names in the table of {reference.source}, are missing."
        raise InputError(
            message, f"There are: {', '.join(usable) or 'none'}. Check --table, and run atlas segment and atlas average first."
        )
    return sorted(wanted or usable, key=lambda organ: (class_of(organ) or 0, organ))


def read_truth(reference: LabelVolume, organs: Sequence[str], axes: SliceAxes) -> tuple[Stack, ...]:
    """Return the reference masks of organs in canonical axes, for the perfect editor alone.

    Raises:
        GeometryError: The reference is on another grid (another order of its axes is fine).
    """
    array, affine = reorient(reference.array, reference.affine, axes.grid.orientation)
    turned = LabelVolume(array, affine, reference.source, reference.header, reference.table)
    require_same_grid(turned, axes.grid)
    classes = convert_labels(turned, abdomenatlas_table()).array
    return tuple(Stack(axes.turned(from_dense(np.asarray(classes == class_of(organ)), axes.grid))) for organ in organs)


@dataclass(frozen=True)
class OrganArrays:
    """An organ as whole arrays, for benchmarks and tests.

    Attributes:
        probabilities: (M, X, Y, Z), 0..1, of each model.
        model_masks: (M, X, Y, Z), bool, what each model says; decides where its soft prediction is kept (as in a case folder).
        average: (X, Y, Z), bool, the mask that is reviewed.
    """

    probabilities: Array
    model_masks: Array
    average: Array


def predictions_of_arrays(case: str, organs: Mapping[str, OrganArrays], grid: Grid, slices: str = AUTO) -> CasePredictions:
    """Return what strategies see of arrays in memory. Masks may not overlap; see `read_predictions` for the rest.

    Args:
        case: Its name.
        organs: Name to arrays on `grid`.
        grid: Where the voxels lie.
        slices: See `simulation_case.slice_axes`.
    """
    axes = slice_axes(grid, slices)
    return CasePredictions(axes, tuple(_of_arrays(case, organ, arrays, axes) for organ, arrays in organs.items()))


def _of_arrays(case: str, organ: str, arrays: OrganArrays, axes: SliceAxes) -> OrganPrediction:
    from scipy.ndimage import maximum_filter

    grid = axes.grid
    probabilities = [np.asarray(one, np.float32) for one in arrays.probabilities]
    near = [maximum_filter(mask.astype(np.uint8), size=3, mode="constant") for mask in arrays.model_masks]
    soft = [from_dense(soft_bytes(one) * kept, grid) for one, kept in zip(probabilities, near, strict=True)]
    entropy = [from_dense(entropy_bytes(one), grid) for one in probabilities]
    attention = attention_of(soft, entropy, from_dense(np.zeros(grid.shape, np.bool_), grid))
    stack = Stack(axes.turned(from_dense(np.asarray(arrays.average > 0), grid)))
    models = [axes.turned(from_dense(one, grid)) for one in probabilities]
    return OrganPrediction(case, organ, stack, axes.spacing, profiles_of(models, stack, axes, attention))
