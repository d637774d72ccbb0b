"""Where two readings differ: regions by size, places in the patient, the same for every array order and whichever reading is A."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas_phantoms import turn
from AtlasReviewLib.reading_differences import differences
from AtlasReviewLib.review_case import sparse_of
from AtlasSegmentLib.errors import GeometryError
from AtlasSegmentLib.sparse import SparseVolume
from AtlasSegmentLib.volume import Volume

SHAPE = (14, 12, 10)
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def stored(mask: np.ndarray, orientation: str = "RAS", degrees: float = 0.0) -> SparseVolume:
    volume = Volume(mask.astype(np.uint8), turn(degrees) @ AFFINE).reoriented(orientation)
    return sparse_of(volume.array, volume.grid)


def block(*spans: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, np.bool_)
    mask[tuple(slice(*span) for span in spans)] = True
    return mask


BODY = block((3, 10), (3, 9), (2, 8))


def test_equal_readings_and_empty_ones_do_not_differ() -> None:
    assert differences(stored(BODY), stored(BODY)) == []
    assert differences(stored(np.zeros(SHAPE)), stored(np.zeros(SHAPE))) == []


def test_the_largest_region_comes_first_with_its_size_place_and_whose_it_is() -> None:
    a = BODY & ~block((3, 5), (3, 9), (2, 8))
    b = BODY | block((7, 9), (4, 6), (8, 9))
    first, second = differences(stored(a), stored(b), "spleen")
    assert (first.volume_mm3, second.volume_mm3) == (2 * 6 * 6 * 20.0, 2 * 2 * 1 * 20.0)
    assert (first.in_a_share, second.in_a_share) == (0.0, 0.0)
    assert "left side" in first.place
    assert "upper pole" in second.place
    turned, _ = differences(stored(b), stored(a), "spleen")
    assert (turned.center, turned.in_a_share) == (first.center, 1.0)


def test_only_so_many_as_are_wanted() -> None:
    a = BODY.copy()
    a[3, 3, 2] = a[9, 8, 7] = a[6, 6, 5] = False
    assert len(differences(stored(a), stored(BODY), limit=2)) == 2


def test_an_organ_that_one_reader_left_empty_is_one_region() -> None:
    (found,) = differences(stored(BODY), stored(np.zeros(SHAPE)))
    assert found.volume_mm3 == BODY.sum() * 20.0
    assert found.in_a_share == 1.0


def test_masks_on_different_grids_are_refused() -> None:
    with pytest.raises(GeometryError):
        differences(stored(BODY), stored(BODY, degrees=5))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(*(st.integers(0, n - 2) for n in SHAPE)), min_size=1, max_size=6, unique=True),
    st.lists(st.tuples(*(st.integers(0, n - 2) for n in SHAPE)), min_size=1, max_size=6, unique=True),
    st.sampled_from(["LPS", "SAL", "PIR"]),
    st.sampled_from([0.0, 17.0]),
)
def test_every_array_order_gives_the_same_places(
    a: list[tuple[int, ...]], b: list[tuple[int, ...]], orientation: str, degrees: float
) -> None:
    one, other = BODY.copy(), BODY.copy()
    for mask, corners in ((one, a), (other, b)):
        for corner in corners:
            mask[tuple(slice(c, c + 2) for c in corner)] ^= True
    plain = differences(stored(one, "RAS", degrees), stored(other, "RAS", degrees))
    turned = differences(stored(one, orientation, degrees), stored(other, orientation, degrees))
    assert [(d.volume_mm3, d.place, d.in_a_share) for d in plain] == [(d.volume_mm3, d.place, d.in_a_share) for d in turned]
    assert np.allclose([d.center for d in plain], [d.center for d in turned], atol=1e-3)
