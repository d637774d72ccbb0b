"""Values of nnU-Net's JSON files, each taken out with a check that says what is wrong and where."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from AtlasSegmentLib.errors import ModelError
from AtlasSegmentLib.model_facts import COPY_AGAIN


class Fields:
    """A JSON object of which every value is checked before it is used.

    Args:
        values: The parsed object.
        where: Begins every message, such as "plans.json: configuration '2d'".

    Raises:
        ModelError: By the constructor when `values` is no object, by every method when a value is not as asked for.
    """

    def __init__(self, values: Any, where: str) -> None:
        if not isinstance(values, dict):
            message = f"{where} is {values!r:.60}, expected an object with keys."
            raise ModelError(message, COPY_AGAIN)
        self.values: dict[str, Any] = values
        self.where = where

    def __contains__(self, key: object) -> bool:
        """Tell whether a key is there with a value other than null."""
        return self.values.get(key) is not None  # type: ignore[call-overload]

    def __iter__(self) -> Iterator[str]:
        """Walk over the keys."""
        return iter(self.values)

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Raise the error for a value that is not as expected."""
        found = f"is {self.values[key]!r:.80}" if key in self.values else "is missing"
        message = f"{self.where}: {key} {found}, expected {expected}."
        raise ModelError(message, COPY_AGAIN)

    def child(self, key: str) -> Fields:
        """Return an object inside this one."""
        value: Any = self.values.get(key)
        if not isinstance(value, dict):
            self.refuse(key, "an object with keys")
        return Fields(value, f"{self.where}: {key}")

    def text(self, key: str) -> str:
        """Return a text that is not empty."""
        value: Any = self.values.get(key)
        if not isinstance(value, str) or not value.strip():
            self.refuse(key, "a text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        value: Any = self.values.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            self.refuse(key, "a list of texts")
        return tuple(value)

    def number(self, key: str) -> float:
        """Return a finite number."""
        value: Any = self.values.get(key)
        if not is_number(value):
            self.refuse(key, "a finite number")
        return float(value)

    def whole(self, key: str, lowest: int, highest: int) -> int:
        """Return a whole number within limits, both included."""
        value: Any = self.values.get(key)
        if not is_whole(value) or not lowest <= value <= highest:
            self.refuse(key, f"a whole number of {lowest} to {highest}")
        return int(value)

    def flags(self, key: str, count: int) -> tuple[bool, ...]:
        """Return a list of `count` times true or false."""
        value: Any = self.values.get(key)
        if not isinstance(value, list) or len(value) != count or not all(isinstance(item, bool) for item in value):
            self.refuse(key, f"a list of {count} times true or false")
        return tuple(value)

    def sizes(self, key: str, counts: Sequence[int], highest: int) -> tuple[int, ...]:
        """Return a list of whole numbers of 1..`highest`; `counts` has the lengths it may have."""
        value: Any = self.values.get(key)
        if not is_sizes(value, counts, highest):
            self.refuse(key, f"{_either(counts)} whole numbers of 1 to {highest}")
        return tuple(int(item) for item in value)

    def lengths(self, key: str, counts: Sequence[int]) -> tuple[float, ...]:
        """Return a list of finite numbers above 0; `counts` has the lengths it may have."""
        value: Any = self.values.get(key)
        if not isinstance(value, list) or len(value) not in counts or not all(is_number(item) and item > 0 for item in value):
            self.refuse(key, f"{_either(counts)} finite numbers above 0")
        return tuple(float(item) for item in value)


def is_whole(value: Any) -> bool:
    """Tell whether a parsed JSON value is a whole number: not true, not 3.0."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Tell whether a parsed JSON value is a number that a float can hold: not true, not NaN, not 10 ** 400."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def is_sizes(value: Any, counts: Sequence[int], highest: int) -> bool:
    """Tell whether a parsed JSON value is a list of whole numbers of 1..`highest`, as long as `counts` allows."""
    return isinstance(value, list) and len(value) in counts and all(is_whole(item) and 1 <= item <= highest for item in value)


def _either(counts: Sequence[int]) -> str:
    return " or ".join(map(str, counts))
