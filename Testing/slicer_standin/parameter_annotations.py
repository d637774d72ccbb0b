"""What may stand in `Annotated[...]` of a parameter: validators, defaults and hints for widgets."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Annotated, Any, get_args, get_origin

PUBLIC = (
    *("Validator", "NotNone", "IsInstance", "WithinRange", "Minimum", "Maximum", "Choice", "Exclude"),
    *("Default", "Decimals", "SingleStep", "Label"),
)


class Validator(ABC):
    """Refuses values of a parameter by an exception."""

    @abstractmethod
    def validate(self, value: Any) -> None:
        """Raise an exception when the value is not allowed."""


class NotNone(Validator):
    """The value must not be None."""

    def validate(self, value: Any) -> None:
        if value is None:
            message = "Value must not be None"
            raise ValueError(message)


class IsInstance(Validator):
    """The value must be None or of the type (or of one of the types)."""

    def __init__(self, classtype: type | tuple[type, ...]) -> None:
        self.classtype = classtype

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            message = f"Value must be of type '{self.classtype}', is type '{type(value)}' value '{value}'"
            raise TypeError(message)


class WithinRange(Validator):
    """The value must lie between minimum and maximum, both included."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            message = f"Value must be within range [{self.minimum}, {self.maximum}], is {value}"
            raise ValueError(message)


class Minimum(Validator):
    """The value must not be smaller."""

    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            message = f"Value must be at least {self.minimum}, is {value}"
            raise ValueError(message)


class Maximum(Validator):
    """The value must not be larger."""

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            message = f"Value must be at most {self.maximum}, is {value}"
            raise ValueError(message)


class Choice(Validator):
    """The value must be one of these."""

    def __init__(self, choices: Iterable[Any]) -> None:
        self.choices = list(choices)

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            message = f"Value is {value}, but must be in one of the following: {self.choices}"
            raise ValueError(message)


class Exclude(Validator):
    """The value must be none of these."""

    def __init__(self, excludedValues: Iterable[Any]) -> None:
        self.excludedValues = list(excludedValues)

    def validate(self, value: Any) -> None:
        if value in self.excludedValues:
            message = f"Value is {value}, but must not be an excluded value: excluded values {self.excludedValues}"
            raise ValueError(message)


class Default:
    """The value of a parameter that has none: a value, or a function that makes one."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._make = generator if generator is not None else lambda: value

    @property
    def value(self) -> Any:
        return self._make()


@dataclasses.dataclass
class Decimals:
    """How many decimals a spin box shows."""

    value: int


@dataclasses.dataclass
class SingleStep:
    """One step of a spin box or slider."""

    value: float


@dataclasses.dataclass
class Label:
    """The name that a made form shows."""

    value: str


HINTS = (Default, Decimals, SingleStep, Label)


def split_annotations(hint: Any) -> tuple[Any, list[Any]]:
    """Return the type and the annotations of a type hint; a class among them (`NotNone`) counts as one made without arguments."""
    if get_origin(hint) is not Annotated:
        return hint, []
    type_, *annotations = get_args(hint)
    return type_, [_made(annotation) for annotation in annotations]


def _made(annotation: Any) -> Any:
    return annotation() if isinstance(annotation, type) and issubclass(annotation, Validator) else annotation


def find(annotations: Iterable[Any], kind: type) -> Any:
    """Return the first annotation of a kind, or None."""
    return next((annotation for annotation in annotations if isinstance(annotation, kind)), None)
