"""The table of organs of a case: volume, attention, disagreement of the models, expected error, predicted Dice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from AtlasQualityLib.evaluation import dice
from AtlasQualityLib.in_threads import in_threads
from AtlasQualityLib.overlay_maps import OverlayMap
from AtlasQualityLib.slice_scores import OrganQuality
from AtlasSegmentLib.case_folder import CaseFolder
from AtlasSegmentLib.classes import class_of
from AtlasSegmentLib.errors import AtlasError
from AtlasSegmentLib.files import read_json
from AtlasSegmentLib.labels import structure_for
from AtlasSegmentLib.progress import ProgressCallback, ignore_progress
from AtlasSegmentLib.sparse import read_sparse, union
from AtlasSegmentLib.volume import require_same_grid


@dataclass(frozen=True)
class OrganRow:
    """Numbers of one organ; None is unknown.

    Attributes:
        organ: Name of its files in the case folder.
        structure: Canonical name.
        volume_ml: Volume of the average mask.
        attention_ml: Volume that the attention marks.
        disagreement: 1 - mean Dice over all pairs of models, 0 (all agree) to 1; None with fewer than two models.
        expected_error_ml: Sum of the error probability times the voxel volume.
        predicted_dice: What a quality model predicts, 0..1.
        quality: The same with its spread and the score of each slice.
    """

    organ: str
    structure: str
    volume_ml: float | None = None
    attention_ml: float | None = None
    disagreement: float | None = None
    expected_error_ml: float | None = None
    predicted_dice: float | None = None
    quality: OrganQuality | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> OrganRow:
        """Make it from what `to_json` returned."""
        quality = values.get("quality")
        return cls(**{**values, "quality": None if quality is None else OrganQuality.from_json(quality)})

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def organ_rows(case: CaseFolder, maps: list[OverlayMap], progress: ProgressCallback = ignore_progress) -> list[OrganRow]:
    """Return one row for each organ of the average, the one with the largest expected error (then attention) first.

    Args:
        case: With average masks.
        maps: What `overlay_maps.write_overlays` made of this case; [] without attention.
        progress: Told the finished share and the organ.

    Raises:
        InputError, GeometryError: A mask is damaged, or the models' masks lie on different grids.
    """
    organs, predicted, known = case.average.organs(), read_predicted_dice(case), read_predicted_quality(case)
    found = {(one.kind, one.organ): one for one in maps}
    rows = []
    measured = in_threads(lambda organ: (_volume_ml(case, organ), disagreement(case, organ)), organs)
    for number, (organ, (volume, apart)) in enumerate(zip(organs, measured, strict=True)):
        progress(number / len(organs), f"measure {organ}")
        attention, error = found.get(("attention", organ)), found.get(("expected_error", organ))
        rows.append(
            OrganRow(
                organ,
                structure_for(organ).name,
                volume,
                None if attention is None else attention.marked_ml,
                apart,
                None if error is None else error.sum_ml,
                predicted.get(organ),
                known.get(organ),
            )
        )
    return sorted(rows, key=lambda r: (-(r.expected_error_ml or 0), -(r.attention_ml or 0), class_of(r.organ) or 1000, r.organ))


def _volume_ml(case: CaseFolder, organ: str) -> float:
    mask = read_sparse(case.average.mask(organ))
    return int(np.count_nonzero(mask.crop)) * mask.grid.voxel_volume_mm3 / 1000


def disagreement(case: CaseFolder, organ: str) -> float | None:
    """Return 1 - mean Dice over all pairs of models that have a mask of the organ.

    Returns:
        0..1. A pair in which both masks are empty agrees; None with fewer than two models.

    Raises:
        InputError, GeometryError: A mask is damaged, or on another grid.
    """
    paths = [path for model in case.models() if (path := case.backbone(model).mask(organ)).is_file()]
    masks = [read_sparse(path) for path in paths] if len(paths) > 1 else []
    if not masks:
        return None
    for mask in masks:
        require_same_grid(mask.grid, masks[0].grid)
    box = union([mask.box for mask in masks])
    crops = [mask.within(box) > 0 for mask in masks]
    scores = [dice(a, b) for a, b in itertools.combinations(crops, 2)]
    return 1 - sum(1.0 if math.isnan(score) else score for score in scores) / len(scores)


def read_predicted_dice(case: CaseFolder) -> Mapping[str, float]:
    """Return organ to predicted Dice; empty when there is no such file or it is not one."""
    path = case.average.predicted_dice
    if not path.is_file():
        return {}
    try:
        return {str(organ): float(value) for organ, value in read_json(path)["organs"].items() if 0 <= float(value) <= 1}
    except (AtlasError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def read_predicted_quality(case: CaseFolder) -> Mapping[str, OrganQuality]:
    """Return organ to predicted quality with its slices; empty when there is no such file or it is not one."""
    path = case.average.predicted_dice
    if not path.is_file():
        return {}
    try:
        return {str(organ): OrganQuality.from_json(described) for organ, described in read_json(path)["details"].items()}
    except (AtlasError, KeyError, TypeError, ValueError, AttributeError):
        return {}
