"""--part K/N: parts of a job array are disjoint, complete, the same as nnU-Net's, and numbered from 1."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasSegmentLib.case_parts import Part, parse_part
from AtlasSegmentLib.errors import InputError

NAMES = st.lists(st.text("abc019_", min_size=1, max_size=4), max_size=40, unique=True)


def itself(name: str) -> str:
    """Sort names by themselves."""
    return name


@given(names=NAMES, count=st.integers(1, 50), seed=st.integers(0, 9))
def test_parts_are_disjoint_and_complete_whatever_the_order_each_job_is_given(names: list[str], count: int, seed: int) -> None:
    shuffled = random.Random(seed).sample(names, len(names))
    parts = [Part(number, count).of(names if number % 2 else shuffled, itself) for number in range(1, count + 1)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(names=NAMES, count=st.integers(1, 12))
def test_a_part_has_the_cases_of_nnunets_part_that_is_counted_from_zero(names: list[str], count: int) -> None:
    for part_id in range(count):
        assert Part(part_id + 1, count).of(names, itself) == sorted(names)[part_id::count]


def test_a_part_is_read_from_text() -> None:
    assert parse_part(" 3/10 ") == Part(3, 10)


@pytest.mark.parametrize("text", ["", "3", "/", "3/", "a/b", "1/2/3", "-1/4", "1.5/4", "1 / 4", "1/99999999999999999999", "²/4"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not K/N"):
        parse_part(text)


@pytest.mark.parametrize("text", ["5/4", "1/0", "0/0"])
def test_a_part_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="there is no part"):
        parse_part(text)


def test_a_job_array_that_counts_from_zero_is_told_how_to_count() -> None:
    with pytest.raises(InputError, match=r"counted from 1.*--array=1-4.*nnU-Net"):
        parse_part("0/4")
