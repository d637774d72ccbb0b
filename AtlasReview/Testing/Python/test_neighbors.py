"""The organs around the reviewed one, in one label map."""

from __future__ import annotations

import numpy as np
import pytest

from AtlasReviewLib.neighbors import label_values_of, make_neighbors
from AtlasReviewLib.review_case import sparse_of
from AtlasSegmentLib.labels import load_table
from AtlasSegmentLib.sparse import SparseVolume, is_empty
from AtlasSegmentLib.volume import Grid

GRID = Grid((12, 10, 8), np.diag([1.0, 2.0, 5.0, 1.0]), "test")


def block(first: int, last: int) -> SparseVolume:
    mask = np.zeros(GRID.shape, np.uint8, order="F")
    mask[first:last, 2:5, 3:6] = 1
    return sparse_of(mask, GRID)


def test_every_organ_but_the_reviewed_one_is_there_with_its_published_value() -> None:
    masks = {"liver": block(0, 4), "spleen": block(5, 7), "my_organ": block(8, 10)}
    neighbors = make_neighbors("liver", masks, GRID)
    table = load_table("abdomenatlas")
    assert neighbors.values == {"spleen": table.value_of("spleen"), "my_organ": max(table.labels) + 1}
    dense = neighbors.labels.dense()
    for organ, value in neighbors.values.items():
        assert np.array_equal(dense == value, masks[organ].dense() == 1)
    assert not dense[:4].any()
    assert neighbors.overlap_ml == 0


def test_the_overlap_with_neighbors_is_measured_in_ml() -> None:
    neighbors = make_neighbors("liver", {"liver": block(0, 6), "spleen": block(4, 9), "stomach": block(5, 7)}, GRID)
    assert neighbors.overlap_ml == pytest.approx(2 * 3 * 3 * 10 / 1000)


def test_an_organ_alone_has_no_neighbors() -> None:
    neighbors = make_neighbors("liver", {"liver": block(0, 6)}, GRID)
    assert is_empty(neighbors.labels.box)
    assert (dict(neighbors.values), neighbors.overlap_ml) == ({}, 0.0)
    assert make_neighbors("liver", {"liver": block(0, 0), "spleen": block(0, 0)}, GRID).overlap_ml == 0.0


def test_names_that_are_aliases_get_the_published_value() -> None:
    table = load_table("abdomenatlas")
    assert label_values_of(["celiac_trunk", "kidney_left"]) == {
        "kidney_left": table.value_of("kidney_left"),
        "celiac_trunk": table.value_of("celiac_trunk"),
    }
