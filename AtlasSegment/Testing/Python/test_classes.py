"""Organs by any of their names are AbdomenAtlas' classes, and later classes are painted over earlier ones."""

from __future__ import annotations

import numpy as np
import pytest

from AtlasSegmentLib.classes import abdomenatlas_table, class_of, is_target, organ_name, paint
from AtlasSegmentLib.sparse import EMPTY_BOX, SparseVolume, from_dense
from AtlasSegmentLib.volume import Grid

GRID = Grid((6, 5, 4), np.eye(4))


@pytest.mark.parametrize(
    ("name", "value", "file"),
    [
        ("spleen", 1, "spleen"),
        ("gallbladder", 4, "gall_bladder"),
        ("gall_bladder", 4, "gall_bladder"),
        ("liver", 6, "liver"),
        ("inferior_vena_cava", 9, "postcava"),
        ("pancreas", 11, "pancreas"),
        ("part 7", None, "part 7"),
    ],
)
def test_an_organ_has_one_value_and_one_file_name(name: str, value: int | None, file: str) -> None:
    assert class_of(name) == value
    assert organ_name(name) == file


def test_there_are_nine_target_organs() -> None:
    names = abdomenatlas_table().names()
    assert len(names) == 32
    targets = {name for name in names if is_target(name)}
    nine = {"spleen", "kidney_right", "kidney_left", "gall_bladder", "liver", "stomach", "aorta", "postcava", "pancreas"}
    assert targets == nine
    assert not is_target("part 7")


def cube(first: int, last: int) -> SparseVolume:
    dense = np.zeros(GRID.shape, bool)
    dense[first:last, 1:4, 1:3] = True
    return from_dense(dense, GRID)


def test_later_classes_are_painted_over_earlier_ones_whatever_their_order_in_the_mapping() -> None:
    painted = paint({6: cube(2, 5), 1: cube(0, 3), None: cube(0, 6)}, GRID)
    assert painted.crop.dtype == np.uint8
    assert painted.dense()[:, 2, 1].tolist() == [1, 1, 6, 6, 6, 0]


def test_a_mask_with_holes_leaves_what_lies_under_them() -> None:
    ring = cube(0, 4)
    ring.crop[1:3] = False
    assert paint({1: cube(0, 4), 6: ring}, GRID).dense()[:, 2, 1].tolist() == [6, 1, 1, 6, 0, 0]


@pytest.mark.parametrize("masks", [{}, {1: SparseVolume(GRID, EMPTY_BOX, np.zeros((0, 0, 0), bool))}])
def test_without_masks_the_label_map_is_empty(masks: dict[int | None, SparseVolume]) -> None:
    assert not paint(masks, GRID).dense().any()
