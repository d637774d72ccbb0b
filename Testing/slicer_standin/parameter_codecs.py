"""How a parameter of each type is kept in a vtkMRMLScriptedModuleNode: a string, or a reference to a node."""

from __future__ import annotations

import enum
import pathlib
import types
import typing
from collections.abc import Iterable, MutableSequence
from typing import Any, Protocol

import slicer
import slicer.util

from .parameter_annotations import IsInstance, NotNone, Validator, split_annotations

PATHS = (pathlib.Path, pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePath, pathlib.PurePosixPath, pathlib.PureWindowsPath)
Node = slicer.vtkMRMLScriptedModuleNode


class Codec(Protocol):
    """Reads and writes one kind of value under a name."""

    def default(self) -> Any: ...
    def is_in(self, node: Node, name: str) -> bool: ...
    def read(self, node: Node, name: str) -> Any: ...
    def write(self, node: Node, name: str, value: Any) -> None: ...
    def remove(self, node: Node, name: str) -> None: ...


class _Text:
    """A value that one string holds."""

    def __init__(self, to_text: typing.Callable[[Any], str], from_text: typing.Callable[[str], Any], default: Any) -> None:
        self._to_text, self._from_text, self._default = to_text, from_text, default

    def default(self) -> Any:
        return self._default

    def is_in(self, node: Node, name: str) -> bool:
        return bool(node.HasParameter(name))

    def read(self, node: Node, name: str) -> Any:
        return self._from_text(node.GetParameter(name))

    def write(self, node: Node, name: str, value: Any) -> None:
        node.SetParameter(name, self._to_text(value))

    def remove(self, node: Node, name: str) -> None:
        node.UnsetParameter(name)


class _NodeReference:
    """A MRML node; the empty parameter of the same name says that a value was set, even None."""

    def default(self) -> None:
        return None

    def is_in(self, node: Node, name: str) -> bool:
        return bool(node.HasParameter(name))

    def read(self, node: Node, name: str) -> Any:
        return node.GetNodeReference(name)

    def write(self, node: Node, name: str, value: Any) -> None:
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def remove(self, node: Node, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class _Validated:
    """A codec whose values are checked before they are written."""

    def __init__(self, codec: Any, validators: Iterable[Validator]) -> None:
        self._codec, self.validators = codec, list(validators)
        self.default, self.is_in, self.read, self.remove = codec.default, codec.is_in, codec.read, codec.remove

    def validate(self, value: Any) -> None:
        for validator in self.validators:
            validator.validate(value)

    def write(self, node: Node, name: str, value: Any) -> None:
        self.validate(value)
        self._codec.write(node, name, value)


class _List:
    """`name.len` and `name.0`, `name.1`, ..."""

    def __init__(self, element: Any) -> None:
        self._element = element

    def default(self) -> list[Any]:
        return []

    def is_in(self, node: Node, name: str) -> bool:
        return bool(node.HasParameter(f"{name}.len"))

    def _length(self, node: Node, name: str) -> int:
        return int(node.GetParameter(f"{name}.len")) if self.is_in(node, name) else 0

    def read(self, node: Node, name: str) -> ObservedList:
        values = [self._element.read(node, f"{name}.{index}") for index in range(self._length(node, name))]
        return ObservedList(values, lambda new: self.write(node, name, new))

    def write(self, node: Node, name: str, value: Any) -> None:
        for item in value:  # all of them before the first is written: a bad one changes nothing
            self._element.validate(item)
        with slicer.util.NodeModify(node):
            for index, item in enumerate(value):
                self._element.write(node, f"{name}.{index}", item)
            for index in range(len(value), self._length(node, name)):
                self._element.remove(node, f"{name}.{index}")
            node.SetParameter(f"{name}.len", str(len(value)))

    def remove(self, node: Node, name: str) -> None:
        with slicer.util.NodeModify(node):
            for index in range(self._length(node, name)):
                self._element.remove(node, f"{name}.{index}")
            node.UnsetParameter(f"{name}.len")


class ObservedList(MutableSequence[Any]):
    """A list whose changes are written to the parameter node."""

    def __init__(self, values: list[Any], write: typing.Callable[[list[Any]], None]) -> None:
        self._values, self._write = values, write

    def _change(self, change: typing.Callable[[list[Any]], None]) -> None:
        changed = list(self._values)
        change(changed)
        self._write(changed)
        self._values = changed

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._change(lambda values: values.__setitem__(index, value))

    def __delitem__(self, index: Any) -> None:
        self._change(lambda values: values.__delitem__(index))

    def insert(self, index: int, value: Any) -> None:
        self._change(lambda values: values.insert(index, value))

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list | ObservedList) and self._values == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._values)


class _NoneOnly(Validator):
    def validate(self, value: Any) -> None:
        if value is not None:
            message = "Value must be None"
            raise ValueError(message)


class _Union:
    """The value under `name.<index of its type in the union>`."""

    def __init__(self, members: list[Any]) -> None:
        self._members = members

    def default(self) -> Any:
        optional = len(self._members) == 2 and isinstance(self._members[1].validators[0], _NoneOnly)
        return None if optional else self._members[0].default()

    def is_in(self, node: Node, name: str) -> bool:
        return any(member.is_in(node, f"{name}.{index}") for index, member in enumerate(self._members))

    def read(self, node: Node, name: str) -> Any:
        index, member = next((i, m) for i, m in enumerate(self._members) if m.is_in(node, f"{name}.{i}"))
        return member.read(node, f"{name}.{index}")

    def write(self, node: Node, name: str, value: Any) -> None:
        index = self._member_for(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            self._members[index].write(node, f"{name}.{index}", value)

    def _member_for(self, value: Any) -> int:
        errors: list[Exception] = []
        for index, member in enumerate(self._members):
            try:
                member.validate(value)
            except (TypeError, ValueError) as error:
                errors.append(error)
            else:
                return index
        raise errors[0]

    def remove(self, node: Node, name: str) -> None:
        for index, member in enumerate(self._members):
            member.remove(node, f"{name}.{index}")


def codec_for(hint: Any) -> Any:
    """Return the codec of a type hint, its validators included. Raises TypeError for a type that the stand-in does not know."""
    type_, annotations = split_annotations(hint)
    validators = [annotation for annotation in annotations if isinstance(annotation, Validator)]
    plain = _plain_codec(type_)
    return _Validated(plain, [*getattr(plain, "validators", []), *validators])


def _plain_codec(type_: Any) -> Any:
    if typing.get_origin(type_) is list:
        return _List(codec_for(typing.get_args(type_)[0]))
    if typing.get_origin(type_) in {typing.Union, types.UnionType}:
        return _Union([codec_for(member) for member in typing.get_args(type_)])
    if type_ is type(None):
        return _Validated(_Text(lambda _value: "None", lambda _text: None, None), [_NoneOnly()])
    if not isinstance(type_, type):
        return _unknown(type_)
    return _scalar_codec(type_)


def _scalar_codec(type_: type) -> Any:
    checks: list[Validator] = [NotNone(), IsInstance((float, int) if type_ is float else type_)]
    if type_ in _TEXTS:
        return _Validated(_TEXTS[type_], checks)
    if type_ in PATHS:
        return _Validated(_Text(str, type_, type_()), checks)
    if issubclass(type_, enum.Enum):
        return _Validated(_Text(lambda value: value.name, lambda text: type_[text], next(iter(type_))), checks)
    if issubclass(type_, slicer.vtkMRMLNode):
        return _Validated(_NodeReference(), [IsInstance(type_)])
    return _unknown(type_)


_TEXTS = {
    bool: _Text(lambda value: "True" if value else "False", lambda text: text == "True", False),
    int: _Text(str, int, 0),
    float: _Text(str, float, 0.0),
    str: _Text(str, str, ""),
}


def _unknown(type_: Any) -> Any:
    message = f"Unable to create serializer for type: {type_} (or the stand-in does not know it)"
    raise TypeError(message)
