"""review.json: what may be in it, and which tasks it lets two readers do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from AtlasReviewLib.review_policy import POLICY_FILE, ReviewPolicy, read_policy, write_policy
from AtlasSegmentLib.errors import InputError

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
TASKS = [(f"case{case:04}", f"organ{organ:02}") for case in range(150) for organ in range(10)]


def test_without_a_policy_one_reader_decides_alone(tmp_path: Path) -> None:
    policy = read_policy(tmp_path)
    assert not policy.verify
    assert not any(policy.is_doubled(*task) for task in TASKS)


def test_a_policy_is_read_as_it_was_written(tmp_path: Path) -> None:
    policy = ReviewPolicy(verify=True, double_share=0.25, agree_dice=0.8, agree_nsd=0.7, tolerance_mm=1.0, agree_kappa=0.4, seed=3)
    write_policy(tmp_path, policy)
    assert read_policy(tmp_path) == policy


def test_what_a_policy_does_not_say_is_the_default(tmp_path: Path) -> None:
    (tmp_path / POLICY_FILE).write_text('{"verify": true}')
    assert read_policy(tmp_path) == ReviewPolicy(verify=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("double_share", 1.5), ("double_share", -0.1), ("double_share", "0.1"), ("double_share", True), ("agree_dice", float("nan")),
        ("tolerance_mm", -1), ("agree_kappa", 2), ("verify", 1), ("seed", 0.5), ("seed", True),
    ],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_named(tmp_path: Path, name: str, value: object) -> None:
    (tmp_path / POLICY_FILE).write_text(json.dumps({name: value}))
    with pytest.raises(InputError, match=name):
        read_policy(tmp_path)


@pytest.mark.parametrize("text", ['["verify"]', '{"verifi": true}', "{"])
def test_a_file_that_is_no_policy_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / POLICY_FILE).write_text(text)
    with pytest.raises(InputError, match=POLICY_FILE):
        read_policy(tmp_path)


@given(share=st.floats(0, 1), seed=st.integers(-5, 2**40))
def test_the_share_of_tasks_that_are_read_twice_is_the_wanted_one(share: float, seed: int) -> None:
    found = sum(ReviewPolicy(double_share=share, seed=seed).is_doubled(*task) for task in TASKS) / len(TASKS)
    assert abs(found - share) <= 5 * (share * (1 - share) / len(TASKS)) ** 0.5 + 1e-9  # five standard deviations


@given(case=NAMES, organ=NAMES, seed=st.integers(0, 99), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_larger_share_keeps_what_a_smaller_one_chose(case: str, organ: str, seed: int, shares: tuple[float, float]) -> None:
    small, large = (ReviewPolicy(double_share=share, seed=seed) for share in sorted(shares))
    assert large.is_doubled(case, organ) or not small.is_doubled(case, organ)


def test_another_seed_chooses_other_tasks() -> None:
    one, two = ({task for task in TASKS if ReviewPolicy(double_share=0.5, seed=seed).is_doubled(*task)} for seed in (0, 1))
    assert 0.2 < len(one & two) / len(TASKS) < 0.3
