"""Merging: original > revised > predicted, organ by organ, with the source of every voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasReviewLib.merge import ORIGINAL, PREDICTED, REVISED, Candidate, OrganCandidates, Source, merge_organs, source_ids

SHAPE = (3, 4, 2)
SOURCES = {
    ORIGINAL: [Source(ORIGINAL, "dataset 04")],
    REVISED: [Source(REVISED, "ana"), Source(REVISED, "ben")],
    PREDICTED: [Source(PREDICTED, "average of a, b")],
}


def mask_of(bits):
    return np.array([bool(bits >> i & 1) for i in range(24)]).reshape(SHAPE)


def candidate(kind, bits, by=0):
    return Candidate(SOURCES[kind][by % len(SOURCES[kind])], lambda: mask_of(bits))


@st.composite
def organs(draw):
    found = []
    for number in range(draw(st.integers(1, 5))):
        kinds = draw(st.lists(st.sampled_from([ORIGINAL, REVISED, PREDICTED]), unique=True, max_size=3))
        masks = tuple(candidate(kind, draw(st.integers(0, 2**24 - 1)), draw(st.integers(0, 1))) for kind in kinds)
        found.append(OrganCandidates(f"organ{number}", number + 1, 100 - number, masks))
    return found


def naive(found):
    """The rule in its plainest form, voxel by voxel."""
    numbers = source_ids(found)
    combined, provenance = np.zeros(SHAPE, int), np.zeros(SHAPE, int)
    rank = [ORIGINAL, REVISED, PREDICTED]
    for index in np.ndindex(SHAPE):
        best_rank = {o.organ: min((rank.index(c.source.kind) for c in o.candidates), default=0) for o in found}
        for organ in sorted(found, key=lambda o: (-best_rank[o.organ], o.order)):
            ranked = sorted(organ.candidates, key=lambda c: rank.index(c.source.kind))
            if ranked and ranked[0].load()[index]:
                combined[index], provenance[index] = organ.value, numbers[ranked[0].source]
            elif ranked and combined[index] == 0 and any(c.load()[index] for c in ranked[1:]):
                provenance[index] = numbers[ranked[0].source]
    return combined, provenance


@given(organs())
def test_every_voxel_follows_the_rule_read_off_voxel_by_voxel(found):
    combined, provenance = merge_organs(found, SHAPE)
    expected, sources = naive(found)
    np.testing.assert_array_equal(combined, expected)
    np.testing.assert_array_equal(provenance, sources)


@given(organs(), st.randoms(use_true_random=False))
def test_the_order_of_organs_and_of_their_masks_does_not_matter(found, random):
    shuffled = [OrganCandidates(o.organ, o.order, o.value, tuple(random.sample(o.candidates, len(o.candidates)))) for o in found]
    random.shuffle(shuffled)
    for first, second in zip(merge_organs(found, SHAPE), merge_organs(shuffled, SHAPE), strict=True):
        np.testing.assert_array_equal(first, second)


@given(organs())
def test_each_organ_is_exactly_its_best_mask_and_no_voxel_is_lost(found):
    drawn = {}
    combined, provenance = merge_organs(found, SHAPE, lambda organ: drawn.update({organ.organ: organ}))
    union = np.zeros(SHAPE, bool)
    for organ in found:
        by_kind = {c.source.kind: c for c in organ.candidates}
        best = by_kind.get(ORIGINAL) or by_kind.get(REVISED) or by_kind.get(PREDICTED)
        assert (organ.organ in drawn) == (best is not None)
        if best is not None:
            np.testing.assert_array_equal(drawn[organ.organ].mask, best.load())
            assert drawn[organ.organ].source == best.source
            union |= best.load()
    np.testing.assert_array_equal(combined > 0, union)
    assert (provenance[union] > 0).all()


def test_an_empty_original_removes_the_prediction_and_is_named_for_it():
    found = [OrganCandidates("liver", 6, 5, (candidate(PREDICTED, 0b1111), candidate(ORIGINAL, 0)))]
    seen = []
    combined, provenance = merge_organs(found, SHAPE, seen.append)
    assert not combined.any()
    np.testing.assert_array_equal(provenance, mask_of(0b1111) * 1)
    assert seen[0].removed == 4


def test_a_voxel_that_a_reader_removed_and_another_organ_claims_belongs_to_that_organ():
    liver = OrganCandidates("liver", 6, 5, (candidate(PREDICTED, 0b0111), candidate(REVISED, 0b0001)))
    stomach = OrganCandidates("stomach", 7, 9, (candidate(PREDICTED, 0b0010),))
    combined, provenance = merge_organs([liver, stomach], SHAPE)
    assert combined.ravel()[:4].tolist() == [5, 9, 0, 0]
    assert provenance.ravel()[:4].tolist() == [2, 3, 2, 0]  # 1 is kept for originals


def test_a_prediction_never_covers_what_a_person_drew():
    liver = OrganCandidates("liver", 6, 5, (candidate(PREDICTED, 0b0001), candidate(REVISED, 0b0011)))
    stomach = OrganCandidates("stomach", 7, 9, (candidate(PREDICTED, 0b0110),))
    assert merge_organs([liver, stomach], SHAPE)[0].ravel()[:3].tolist() == [5, 5, 9]


def test_lesions_paint_over_their_organ_whatever_their_value_in_the_map():
    liver = OrganCandidates("liver", 6, 200, (candidate(PREDICTED, 0b11),))
    tumor = OrganCandidates("liver_tumor", 27, 1, (candidate(PREDICTED, 0b10),))
    assert merge_organs([tumor, liver], SHAPE)[0].ravel()[:2].tolist() == [200, 1]


def test_more_than_255_readers_still_have_a_number_each():
    masks = [
        OrganCandidates(f"o{i}", i, 1 + i % 255, (Candidate(Source(REVISED, f"reader {i:03}"), lambda i=i: mask_of(1 << (i % 24))),))
        for i in range(300)
    ]
    _, provenance = merge_organs(masks, SHAPE)
    assert provenance.dtype == np.uint16
    assert provenance.max() == 301


@pytest.mark.parametrize("kind", [ORIGINAL, REVISED, PREDICTED])
def test_the_number_one_is_the_original_even_when_there_is_none(kind):
    number = source_ids([OrganCandidates("liver", 6, 5, (candidate(kind, 1),))])[SOURCES[kind][0]]
    assert number == (1 if kind == ORIGINAL else 2)
