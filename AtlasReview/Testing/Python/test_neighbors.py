"""The organs around the reviewed one."""

from __future__ import annotations

import numpy as np
import pytest

from AtlasReviewLib.neighbors import label_values_of, overlap_ml
from AtlasReviewLib.review_case import sparse_of
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.sparse import SparseVolume
from AtlasSegmentLib.volume import Grid

GRID = Grid((12, 10, 8), np.diag([1.0, 2.0, 5.0, 1.0]), "test")


def block(first: int, last: int) -> SparseVolume:
    mask = np.zeros(GRID.shape, np.uint8, order="F")
    mask[first:last, 2:5, 3:6] = 1
    return sparse_of(mask, GRID)


def test_the_overlap_with_neighbors_is_measured_once_in_ml() -> None:
    others = [block(4, 9), block(5, 7), block(8, 10)]
    assert overlap_ml(block(0, 6), others) == pytest.approx(2 * 3 * 3 * 10 / 1000)
    assert overlap_ml(block(0, 4), others) == 0


def test_an_organ_alone_or_without_voxels_overlaps_nothing() -> None:
    assert overlap_ml(block(0, 6), []) == 0
    assert overlap_ml(block(0, 6), [block(0, 0)]) == 0
    assert overlap_ml(block(0, 0), [block(0, 6)]) == 0


def test_organs_come_by_their_published_value_and_others_after_them() -> None:
    table = load_table("abdomenatlas")
    values = label_values_of(["my_organ", "stomach", "spleen"])
    assert list(values) == ["spleen", "stomach", "my_organ"]
    assert values["spleen"] == table.value_of("spleen")
    assert values["my_organ"] == max(table.labels) + 1


def test_names_that_are_aliases_get_the_published_value() -> None:
    table = load_table("abdomenatlas")
    assert label_values_of(["celiac_trunk", "kidney_left"]) == {
        "kidney_left": table.value_of("kidney_left"),
        "celiac_trunk": table.value_of("celiac_trunk"),
    }
