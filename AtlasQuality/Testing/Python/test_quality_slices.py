"""What the label-quality network sees of a slice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image

from AtlasQualityLib.quality_slices import Kind, SliceRule, compat_crop, mask_box, slice_input
from AtlasSegmentLib.errors import InputError

COMPAT, ISOTROPIC = SliceRule("compat", 256, 20), SliceRule("isotropic", 64, 10)


def block(shape: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(shape, np.bool_)
    mask[rows, columns] = True
    return mask


def noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 150, shape).astype(np.int16)


def test_the_crop_is_segaes_with_its_missing_voxel_and_its_squaring() -> None:
    mask = block((100, 100), slice(40, 45), slice(50, 59))
    assert compat_crop(mask_box(mask), mask.shape, (20, 20)) == (18, 66, 30, 78)  # 44 rows made 48, 48 columns


def test_the_crop_of_a_mask_at_the_border_stays_inside_the_image() -> None:
    mask = block((60, 100), slice(0, 3), slice(90, 100))
    assert compat_crop(mask_box(mask), mask.shape, (20, 20)) == (0, 26, 70, 100)  # not square: as published


@pytest.mark.parametrize("place", [(slice(40, 45), slice(50, 59)), (slice(0, 90), slice(3, 500)), (slice(300, 301), slice(511, 512))])
def test_both_channels_are_resized_as_pillow_does_it(place: tuple[slice, slice]) -> None:
    ct, mask = noise((512, 512)), block((512, 512), *place)
    first, stop, left, right = compat_crop(mask_box(mask), mask.shape, (20, 20))
    found = slice_input(ct, mask, (1, 1), COMPAT)
    scaled = (np.clip(ct[first:stop, left:right].astype(np.float32), -200, 200) + 200) / 400
    for channel, (image, middle, width) in enumerate(((scaled, 0.5, 0.25), (mask[first:stop, left:right].astype(np.float32), 0.5, 0.5))):
        wanted = (np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BILINEAR)) - middle) / width
        np.testing.assert_allclose(found[channel], wanted, atol=2e-6)


def test_a_square_in_mm_shows_the_same_whatever_the_spacing() -> None:
    fine = np.kron(noise((40, 40)), np.ones((8, 8), np.int16))
    mask = np.kron(block((40, 40), slice(15, 25), slice(12, 30)), np.ones((8, 8), np.bool_))
    wanted = slice_input(fine, mask, (0.5, 0.5), ISOTROPIC)
    found = slice_input(fine[::4], mask[::4], (2.0, 0.5), ISOTROPIC)
    assert np.abs(found - wanted)[1].mean() < 0.02  # of 2; a squeezed one is far off
    assert np.abs(slice_input(fine[::4], mask[::4], (1.0, 0.5), ISOTROPIC) - wanted)[1].mean() > 0.1


def test_what_lies_outside_the_image_is_air_and_no_mask() -> None:
    found = slice_input(np.full((30, 30), 200, np.int16), np.ones((30, 30), np.bool_), (1, 1), ISOTROPIC)
    assert found[:, 0, 0].tolist() == [-2, -1]
    np.testing.assert_allclose(found[:, 32, 32], [2, 1], atol=1e-6)


def test_the_mask_is_in_the_middle_with_its_margin_around_it() -> None:
    found = slice_input(np.zeros((200, 200), np.int16), block((200, 200), slice(60, 104), slice(80, 90)), (1, 1), ISOTROPIC)
    rows, columns = np.flatnonzero((found[1] > 0).any(axis=1)), np.flatnonzero((found[1] > 0).any(axis=0))
    assert (rows[0], rows[-1]) == (10, 53)  # 44 mm and 10 mm on each side in 64 pixels
    assert (columns[0] + columns[-1]) / 2 == 31.5


@pytest.mark.parametrize("kind", ["isotropic", "compat"])
def test_an_empty_slice_shows_the_place_that_is_named(kind: Kind) -> None:
    rule, empty = SliceRule(kind, 64, 10), np.zeros((50, 50), np.bool_)
    with pytest.raises(InputError, match="an empty mask has no place"):
        slice_input(noise((50, 50)), empty, (1, 1), rule)
    named = slice_input(noise((50, 50)), empty, (1, 1), rule, box=(20, 29, 20, 29))
    assert (named[1] == -1).all()
    filled = slice_input(noise((50, 50)), block((50, 50), slice(20, 30), slice(20, 30)), (1, 1), rule)
    assert (named[0] == filled[0]).all()


@given(
    st_numpy.arrays(np.bool_, st_numpy.array_shapes(min_dims=2, max_dims=2, max_side=40)).filter(lambda mask: mask.any()),
    st.sampled_from([COMPAT, ISOTROPIC, SliceRule("compat", 32, 0)]),
    st.floats(0.3, 5),
    st.floats(0.3, 5),
)
def test_any_mask_gives_finite_numbers_in_range(mask: np.ndarray, rule: SliceRule, row: float, column: float) -> None:
    found = slice_input(noise(mask.shape), mask, (row, column), rule)
    assert found.shape == (2, rule.size, rule.size)
    assert found.dtype == np.float32
    assert np.abs(found[0]).max() <= 2 + 1e-5
    assert np.abs(found[1]).max() <= 1 + 1e-5


@pytest.mark.parametrize(("kind", "size", "margin"), [("round", 64, 10), ("compat", 0, 10), ("compat", 100, 10), ("isotropic", 64, -1)])
def test_a_rule_that_cannot_be_is_said(kind: str, size: int, margin: float) -> None:
    with pytest.raises(InputError, match="slice rule"):
        SliceRule(kind, size, margin)  # type: ignore[arg-type]
