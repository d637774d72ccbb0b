"""Sparse volumes are the dense ones without the zeros, in memory and on the disk."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from AtlasSegmentLib import nifti
from AtlasSegmentLib.sparse import (
    EMPTY_BOX,
    SparseVolume,
    box_shape,
    from_dense,
    intersection,
    is_empty,
    read_sparse,
    relative,
    union,
    write_sparse,
)
from AtlasSegmentLib.volume import Grid

SHAPE = (6, 5, 7)
GRID = Grid(SHAPE, np.diag([-1.0, 2.0, 3.0, 1.0]))
ARRAYS = arrays(np.uint8, SHAPE, elements=st.integers(0, 3), fill=st.just(0))


@st.composite
def boxes(draw: st.DrawFn) -> tuple[slice, slice, slice]:
    ends = [sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in SHAPE]
    x, y, z = (slice(a, b) for a, b in ends)
    return (x, y, z)


@given(ARRAYS)
def test_dense_gives_back_what_was_made_sparse(array: np.ndarray) -> None:
    sparse = from_dense(array, GRID)
    np.testing.assert_array_equal(sparse.dense(), array)
    assert sparse.crop.shape == box_shape(sparse.box)
    assert is_empty(sparse.box) == (not array.any())


@given(ARRAYS, boxes())
def test_a_part_of_a_sparse_volume_is_the_part_of_the_dense_one(array: np.ndarray, box: tuple[slice, slice, slice]) -> None:
    np.testing.assert_array_equal(from_dense(array, GRID).within(box), array[box])


@given(boxes(), boxes())
def test_union_and_intersection_are_those_of_the_voxels(a: tuple[slice, slice, slice], b: tuple[slice, slice, slice]) -> None:
    in_a, in_b = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    in_a[a] = in_b[b] = True
    shared = intersection(a, b)
    assert (shared is None) == (not (in_a & in_b).any())
    if shared is not None:
        np.testing.assert_array_equal(np.argwhere(in_a & in_b).min(0), [s.start for s in shared])
        assert box_shape(shared) == tuple(np.argwhere(in_a & in_b).max(0) + 1 - [s.start for s in shared])
        assert in_a[a][relative(shared, a)].shape == box_shape(shared)
    around = union([a, b])
    if is_empty(a) and is_empty(b):
        assert around == EMPTY_BOX
    else:
        covered = np.argwhere(in_a | in_b)
        np.testing.assert_array_equal(covered.min(0), [s.start for s in around])
        np.testing.assert_array_equal(covered.max(0) + 1, [s.stop for s in around])


def test_a_crop_with_an_offset_lands_at_its_place() -> None:
    crop = np.zeros((3, 3, 3), np.uint8)
    crop[1, 2, 0] = 9
    assert np.argwhere(from_dense(crop, GRID, (2, 1, 4)).dense()).tolist() == [[3, 3, 4]]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(array=ARRAYS, slab=st.sampled_from([1, 60, 10**6]))
def test_files_hold_the_whole_grid_whatever_the_thickness_of_the_slabs(tmp_path: Path, array: np.ndarray, slab: int) -> None:
    path = tmp_path / "map.nii.gz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nifti, "SLAB_BYTES", slab)
        write_sparse(path, from_dense(array, GRID))
        again = read_sparse(path)
    image = nib.load(path)
    np.testing.assert_array_equal(np.asarray(image.dataobj), array)
    np.testing.assert_allclose(image.affine, GRID.affine)
    np.testing.assert_array_equal(again.dense(), array)
    np.testing.assert_allclose(again.grid.affine, GRID.affine)


def test_masks_are_written_as_bytes_and_slopes_are_for_the_reader(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE, bool)
    mask[2, 3, 4] = True
    write_sparse(tmp_path / "mask.nii.gz", from_dense(mask, GRID))
    image = nib.load(tmp_path / "mask.nii.gz")
    assert image.get_data_dtype() == np.uint8
    assert np.asarray(image.dataobj)[2, 3, 4] == 1
    write_sparse(tmp_path / "scaled.nii.gz", from_dense(mask.astype(np.uint8) * np.uint8(200), GRID), slope=0.5)
    assert np.asarray(nib.load(tmp_path / "scaled.nii.gz").dataobj)[2, 3, 4] == pytest.approx(100)


def test_an_empty_map_is_a_whole_file(tmp_path: Path) -> None:
    write_sparse(tmp_path / "empty.nii.gz", SparseVolume(GRID, EMPTY_BOX, np.zeros((0, 0, 0), np.uint8)))
    assert nib.load(tmp_path / "empty.nii.gz").shape == SHAPE
    assert is_empty(read_sparse(tmp_path / "empty.nii.gz").box)
