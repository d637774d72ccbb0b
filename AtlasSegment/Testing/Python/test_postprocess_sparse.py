"""Cleaning the boxes of masks gives what cleaning the whole grids gives, for every class and orientation."""

from __future__ import annotations

import numpy as np
import pytest

from AtlasSegmentLib.postprocess import postprocess_volume
from AtlasSegmentLib.postprocess_sparse import postprocess_sparse
from AtlasSegmentLib.sparse import from_dense, is_empty
from AtlasSegmentLib.volume import Volume

SHAPE = (40, 30, 24)


def masks(seed: int) -> dict[int, np.ndarray]:
    """Return blobs and specks for all classes, bool; some touch the border, a few classes are empty."""
    rng = np.random.default_rng(seed)
    index = np.indices(SHAPE)
    found = {}
    for value in range(1, 33):
        mask = np.zeros(SHAPE, bool)
        for _ in range(int(rng.integers(0, 4))):
            center, radius = rng.uniform(0, SHAPE), rng.uniform(2, 7)
            mask |= sum((axis - c) ** 2 for axis, c in zip(index, center, strict=True)) < radius**2
        found[value] = mask
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("code", ["RAS", "LPS", "SAL"])
def test_boxes_are_cleaned_as_whole_grids_are(seed: int, code: str) -> None:
    whole = {value: Volume(mask, np.diag([1.5, 1.5, 1.5, 1.0])).reoriented(code) for value, mask in masks(seed).items()}
    grid = whole[1].grid
    sparse = {value: from_dense(volume.array, grid) for value, volume in whole.items()}
    for value in range(1, 33):
        expected = postprocess_volume(lambda v: whole[v].array, grid.affine, value)
        found = postprocess_sparse(sparse.get, grid, value)
        assert found.crop.dtype == np.bool_
        np.testing.assert_array_equal(found.dense(), expected, err_msg=f"class {value}")


def test_inputs_are_not_changed() -> None:
    given = masks(4)
    before = {value: mask.copy() for value, mask in given.items()}
    grid = Volume(given[1], np.eye(4)).grid
    sparse = {value: from_dense(mask, grid) for value, mask in given.items()}
    for value in range(1, 33):
        postprocess_sparse(sparse.get, grid, value)
    for value, mask in given.items():
        np.testing.assert_array_equal(mask, before[value])


@pytest.mark.parametrize("value", range(1, 33))
def test_an_empty_class_stays_empty_without_its_neighbors(value: int) -> None:
    grid = Volume(np.zeros(SHAPE), np.eye(4)).grid
    empty = from_dense(np.zeros(SHAPE, bool), grid)
    assert is_empty(postprocess_sparse({value: empty}.get, grid, value).box)
    assert is_empty(postprocess_sparse(lambda _: None, grid, value).box)
