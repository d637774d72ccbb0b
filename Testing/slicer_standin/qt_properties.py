"""Qt properties as Python attributes, and no others: what PythonQt makes of a Qt object.

PySide6's classes are patched in place instead of being subclassed: QUiLoader creates the C++ types, and code compares types.
"""

from __future__ import annotations

import contextlib
import enum
import types
from collections.abc import Callable, Iterator
from typing import Any

import shiboken6
from PySide6.QtCore import Property, QObject, SignalInstance

# Members of Qt objects that Qt 5.15 has not got.
QT6_MEMBERS = {"checkStateChanged", "colorScheme", "colorSchemeChanged"}
# Virtual methods that Qt asks Python for: a property of that name would be asked instead.
_VIRTUAL = {"sizeHint", "minimumSizeHint"}
# None is no value of these types; Qt would make false, 0 or an empty text of it.
_NEVER_NONE = {"bool", "int", "double", "QString"}

_read_property = QObject.property
_write_property = QObject.setProperty
_strict = True


class QtProperty:
    """Through an object the value of a Qt property, through the class PySide6's method (``qt.QTimer.singleShot(0, f)``)."""

    __slots__ = ("method", "read", "write")

    def __init__(self, read: Callable[[Any], Any], write: Callable[[Any, Any], None], method: Any) -> None:
        self.read, self.write, self.method = read, write, method

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is not None:
            return self.read(instance)
        return self.method.__get__(None, owner) if hasattr(self.method, "__get__") else self

    def __set__(self, instance: Any, value: Any) -> None:
        self.write(instance, value)


@contextlib.contextmanager
def new_attributes_allowed() -> Iterator[None]:
    """Let attributes be created on Qt objects in the block (QUiLoader hangs the children on the top widget)."""
    global _strict  # noqa: PLW0603
    before, _strict = _strict, False
    try:
        yield
    finally:
        _strict = before


def strict_setattr(cls: type, private: bool) -> Callable[[Any, str, Any], None]:
    """Return a ``__setattr__`` for exactly ``cls`` that refuses names it does not have; Python subclasses stay free.

    Args:
        cls: the class whose instances are guarded.
        private: whether names with a leading underscore are let through (the stand-in's own widgets store state there).
    """

    def set_attribute(self: Any, name: str, value: Any) -> None:
        # PySide6 itself stores the signals of an object that C++ made when they are first used.
        free = isinstance(value, SignalInstance) or (private and name.startswith("_"))
        if _strict and type(self) is cls and not free:
            member = raw_member(cls, name)
            if member is None:
                if _read_property(self, name) is not None:
                    _write_property(self, name, value)
                    return
                message = f"'{name}' does not exist on {cls.__name__} and creating new attributes on C++ objects is not allowed"
                raise AttributeError(message)
            if not isinstance(member, QtProperty | Property | property):
                message = f"'{name}' of {cls.__name__} is no property and can not be overwritten"
                raise AttributeError(message)
        QObject.__setattr__(self, name, value)

    return set_attribute


def patch_value_class(cls: type) -> None:
    """Make the objects of a PySide6 class that is no QObject (items, colors, icons, ...) refuse attributes, as PythonQt does."""

    def set_attribute(self: Any, name: str, value: Any) -> None:
        if type(self) is cls and not isinstance(raw_member(cls, name), types.GetSetDescriptorType):  # public C++ members can be set
            message = f"'{name}' of {cls.__name__} can not be set: it has no properties, and creating new attributes is not allowed"
            raise AttributeError(message)
        shiboken6.Object.__setattr__(self, name, value)

    cls.__setattr__ = set_attribute


def raw_member(cls: type, name: str) -> Any:
    """Return what ``name`` is in the class or its bases without binding it, or None."""
    return next((base.__dict__[name] for base in cls.__mro__ if name in base.__dict__), None)


def patch_class(cls: type[QObject], attribute_hooks: dict[str, Callable[..., Any]]) -> None:
    """Make the Qt properties of one PySide6 class attributes and its objects strict.

    Args:
        cls: the class; its bases must be patched before.
        attribute_hooks: methods found on every object before PySide6's own (connect, disconnect).
    """
    meta = cls.staticMetaObject
    properties = [meta.property(index) for index in range(meta.propertyOffset(), meta.propertyCount())]
    for prop in properties:
        if prop.name() not in _VIRTUAL and prop.name().isidentifier():
            setattr(cls, prop.name(), _make_property(cls, prop.name(), prop.typeName()))
    if cls is not QObject:  # CPython calls QObject.__setattr__ for the rest: that one must stay PySide6's
        cls.__setattr__ = strict_setattr(cls, private=False)
    if "__getattribute__" in cls.__dict__:
        cls.__getattribute__ = _find_attribute(cls.__getattribute__, attribute_hooks)


def _make_property(cls: type, name: str, type_name: str) -> QtProperty:
    capital = name[0].upper() + name[1:]
    getter = next((m for m in (_method(cls, n) for n in ("is" + capital, name, "has" + capital)) if m is not None), None)
    setter = _method(cls, "set" + capital)

    def read(self: Any) -> Any:
        return getter.__get__(self, type(self))() if getter is not None else _read_property(self, name)

    def write(self: Any, value: Any) -> None:
        if value is None and type_name in _NEVER_NONE:
            message = f"Property '{name}' of type '{type_name}' does not accept an object of type NoneType (None)"
            raise AttributeError(message)
        if setter is not None:
            with contextlib.suppress(TypeError):
                setter.__get__(self, type(self))(value)
                return
        if not _write_property(self, name, value):
            message = f"Property '{name}' of {type(self).__name__} is not writable or does not accept {value!r}"
            raise AttributeError(message)

    return QtProperty(read, write, raw_member(cls, name))


def _method(cls: type, name: str) -> Any:
    member = raw_member(cls, name)
    if isinstance(member, QtProperty):
        member = member.method
    return member if member is not None and not isinstance(member, property | Property) and hasattr(member, "__get__") else None


def _find_attribute(native: Callable[[Any, str], Any], hooks: dict[str, Callable[..., Any]]) -> Callable[[Any, str], Any]:
    # PySide6 answers "connect" of an instance in C before it looks at the class, so that __getattribute__ must be replaced.
    def find(self: Any, name: str) -> Any:
        if name in hooks:
            return hooks[name].__get__(self, type(self))
        if name in QT6_MEMBERS:
            message = f"{type(self).__name__}.{name} is not in Qt 5.15"
            raise AttributeError(message)
        try:
            return native(self, name)
        except AttributeError as error:
            found = _find_as_pythonqt(self, name)
            if found is None:
                message = f"{type(self).__name__} has no attribute named '{name}'"
                raise AttributeError(message, name=name, obj=self) from error
            return found

    return find


def _find_as_pythonqt(instance: Any, name: str) -> Any:
    """Look where PythonQt also looks: enum values through the object, dynamic properties, children by object name."""
    if name.startswith("__") or not shiboken6.isValid(instance):
        return None
    if name[0].isupper():
        cpp_class = next(base for base in type(instance).__mro__ if base.__module__.startswith("PySide6"))
        value = getattr(cpp_class, name, None)
        if isinstance(value, enum.Enum):
            return value
    value = _read_property(instance, name)
    if value is not None:
        return value
    return next((child for child in QObject.children(instance) if child.objectName == name), None)
