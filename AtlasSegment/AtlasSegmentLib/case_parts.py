"""One part of a list of cases, for job arrays that know nothing of each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from AtlasSegmentLib.errors import InputError

Item = TypeVar("Item")
_PART = re.compile(r"(\d{1,9})/(\d{1,9})")


@dataclass(frozen=True)
class Part:
    """Part `number` of `count` parts, counted from 1: `--part 1/4` ... `--part 4/4`.

    nnU-Net counts from 0: its `-part_id 0 -num_parts 4` is `--part 1/4` here, and takes the same cases.
    """

    number: int
    count: int

    def of(self, items: Sequence[Item], key: Callable[[Item], Any]) -> list[Item]:
        """Return every `count`-th of the items sorted by `key`, beginning with the `number`-th; empty when there are fewer.

        Sorting makes the parts of independent jobs disjoint and complete, whatever the order in which each was given the items.
        """
        return sorted(items, key=key)[self.number - 1 :: self.count]


def parse_part(text: str) -> Part:
    """Return the part that "K/N" names. Raises InputError when it names none."""
    match = _PART.fullmatch(text.strip())
    if match is None:
        message = f"--part {text!r}: is not K/N, two whole numbers."
        raise InputError(message, "Give for example --part 1/4, in a SLURM job array --part $SLURM_ARRAY_TASK_ID/4.")
    number, count = int(match[1]), int(match[2])
    if number == 0 and count:
        message = f"--part {text}: parts are counted from 1, as in --part 1/{count}."
        remedy = f"Number the job array from 1 (--array=1-{count}); nnU-Net's -part_id counts from 0, so add 1 to it."
        raise InputError(message, remedy)
    if not 1 <= number <= count:
        message = f"--part {text}: there is no part {number} of {count}."
        raise InputError(message, f"Give --part 1/{max(1, count)} to --part {max(1, count)}/{max(1, count)}.")
    return Part(number, count)
