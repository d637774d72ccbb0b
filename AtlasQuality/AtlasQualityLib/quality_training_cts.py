"""Which CTs a label-quality model was trained on: what it predicts of those is better than it is on others, and the user is told.

See `voxel_sum` for how a CT is known again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from AtlasSegmentLib.volume import Volume
from AtlasSegmentLib.voxel_sum import volume_sum

if TYPE_CHECKING:
    from AtlasQualityLib.quality_manifest import QualityManifest, TrainingCt


def training_ct(ct: Volume, manifest: QualityManifest) -> TrainingCt | None:
    """Return the CT of a model's training that this one is; None when it is none, or the model does not say."""
    if not manifest.training_cts:
        return None
    mark = volume_sum(ct)
    return next((one for one in manifest.training_cts if one.voxels_sha256 == mark), None)


def too_good(case: str, part: str) -> str:
    """Return what to tell people of a case that is one of the model's training."""
    used = "trained" if part == "train" else "validated"
    return f"{case}: the model was {used} on this CT: its figures here are too good."


def training_cts(masks: Sequence[tuple[str, str]], marks: Mapping[str, str]) -> tuple[TrainingCt, ...]:
    """Return the CTs that a training used, each once, those that only test it left out.

    Args:
        masks: (case, part) of each mask.
        marks: Case to `voxels_sha256`.
    """
    from AtlasQualityLib.quality_manifest import TrainingCt

    found: dict[str, TrainingCt] = {}
    parts: tuple[Literal["train", "val"], ...] = ("train", "val")
    for part in parts:
        for case in dict.fromkeys(case for case, own in masks if own == part):
            if mark := marks.get(case):
                found.setdefault(mark, TrainingCt(name=case, part=part, voxels_sha256=mark))
    return tuple(found.values())
