"""What the values of provenance.nii.gz mean, as it is written to the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from AtlasReviewLib.merge import Labels, Source

_MEANING = {
    "original": "drawn or left out by the labels that came with the dataset",
    "revised": "drawn or left out by a reader",
    "predicted": "drawn by models",
}


def legend(numbers: Mapping[Source, int], provenance: Labels, combined: Labels) -> list[dict[str, Any]]:
    """Return one entry for each value of the provenance map, in ascending order.

    Each has value, kind, by, meaning, `drawn_voxels` (the combined map shows what this source drew) and `left_out_voxels`
    (the combined map is background there because this source left out what a source of lower priority had).
    """
    drawn, left_out = _counts(numbers, provenance, combined)
    background = {"value": 0, "kind": "background", "by": "", "meaning": "nobody drew anything", "voxels": int(left_out[0])}
    entries: list[dict[str, Any]] = [background]
    for source, number in sorted(numbers.items(), key=lambda item: item[1]):
        entries.append(
            {
                "value": number,
                "kind": source.kind,
                "by": source.by,
                "meaning": _MEANING[source.kind],
                "drawn_voxels": int(drawn[number]),
                "left_out_voxels": int(left_out[number]),
            }
        )
    return entries


def _counts(numbers: Mapping[Source, int], provenance: Labels, combined: Labels) -> tuple[Labels, Labels]:
    size = max(numbers.values()) + 1
    drawn, left_out = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    for z in range(provenance.shape[2]):
        plane, painted = provenance[:, :, z], combined[:, :, z] > 0
        drawn += np.bincount(plane[painted], minlength=size)
        left_out += np.bincount(plane[~painted], minlength=size)
    return drawn, left_out
