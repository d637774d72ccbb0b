"""Loading of .ui files, with the stand-in's own widgets as custom widgets and the file's connections made in Python."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from PySide6 import QtCore, QtUiTools, QtWidgets
from PySide6.QtCore import Property, QObject

from .qt_properties import QtProperty, new_attributes_allowed, raw_member, strict_setattr

WidgetClass = TypeVar("WidgetClass", bound=type)
_custom: dict[str, type] = {}


def register(cls: WidgetClass) -> WidgetClass:
    """Make a widget class of the stand-in strict and known to .ui files (class decorator)."""
    cls.__setattr__ = strict_setattr(cls, private=True)
    _custom[cls.__name__] = cls
    QtUiTools.QUiLoader().registerCustomWidget(cls)
    return cls


def load_ui(path: str | Path) -> QtWidgets.QWidget:
    """Return the top widget of a .ui file.

    Raises:
        RuntimeError: unknown widget class or property, or a connection whose sender, signal, receiver or slot does not exist.
    """
    file = QtCore.QFile(str(path))
    if not file.open(QtCore.QIODevice.ReadOnly):
        message = f"cannot read {path}"
        raise RuntimeError(message)
    return UiLoader().load(file)


class UiLoader(QtUiTools.QUiLoader):
    """``qt.QUiLoader``. Qt knows no ``vtkMRMLScene*``, so connections are taken out of the file and made in Python."""

    def load(self, device: QtCore.QIODevice, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        """Load the .ui file that ``device`` gives; raises RuntimeError as ``load_ui`` does."""
        root = ET.fromstring(device.readAll().data())
        connections = _take_connections(root)
        _check(root)
        _enums_to_numbers(root)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        with new_attributes_allowed():
            top = super().load(buffer, parent)
        if top is None:
            message = f"the .ui file cannot be loaded: {self.errorString()}"
            raise RuntimeError(message)
        for child in top.findChildren(QObject):  # PySide6 made attributes of those whose class is in Python
            top.__dict__.pop(child.objectName, None)
        for connection in connections:
            _connect(top, connection)
        return top


def _take_connections(root: ET.Element) -> list[dict[str, str]]:
    element = root.find("connections")
    if element is None:
        return []
    root.remove(element)
    keys = ("sender", "signal", "receiver", "slot")
    return [{key: connection.findtext(key, "") for key in keys} for connection in element.findall("connection")]


def _widget_class(name: str) -> type | None:
    # Designer's Line is a frame; its orientation is not a property but the shape.
    return _custom.get(name) or getattr(QtWidgets, "QFrame" if name == "Line" else name, None)


def _check(root: ET.Element) -> None:
    used = {element.findtext("class", "") for element in root.iter("customwidget")}
    used |= {element.get("class", "") for element in root.iter("widget")}
    unknown = {name for name in used if _widget_class(name) is None}
    problems = [f"unknown class {name}" for name in sorted(unknown)]
    problems += [f"{name} has no property {key}" for name, key in _undeclared_properties(root)]
    if problems:
        message = "the .ui file has " + ", ".join(problems)
        raise RuntimeError(message)


def _undeclared_properties(root: ET.Element) -> Iterator[tuple[str, str]]:
    # QUiLoader makes a dynamic property of a misspelled one without a word. Designer marks intended ones with stdset="0".
    for widget in root.iter("widget"):
        cls = _widget_class(widget.get("class", ""))
        for prop in widget.findall("property") if cls is not None else ():
            name = prop.get("name", "")
            known = isinstance(raw_member(cls, name), QtProperty | Property)
            drawn = widget.get("class") == "Line" and name == "orientation"
            if not known and not drawn and prop.get("stdset") != "0":
                yield widget.get("name", ""), name


def _enums_to_numbers(root: ET.Element) -> None:
    """Turn <set> and <enum> of the stand-in's own properties into numbers; QUiLoader reads only those of C++ classes."""
    for widget in root.iter("widget"):
        cls = _custom.get(widget.get("class", ""))
        for prop in widget.findall("property") if cls is not None else ():
            member = raw_member(cls, prop.get("name", ""))
            for tag in ("set", "enum"):
                element = prop.find(tag)
                if element is not None and isinstance(member, Property):
                    prop.remove(element)
                    ET.SubElement(prop, "number").text = str(_number(cls, element.text or ""))


def _number(cls: type, names: str) -> int:
    number = 0
    for name in filter(None, names.split("|")):
        scope, _, key = name.rpartition("::")
        scopes = (cls, _custom.get(scope), getattr(QtWidgets, scope, None), getattr(QtCore, scope, None))
        values = [getattr(owner, key) for owner in scopes if owner is not None and hasattr(owner, key)]
        if not values:
            message = f"{cls.__name__} has no enum value {name}"
            raise RuntimeError(message)
        number |= int(values[0])
    return number


def _connect(top: Any, connection: dict[str, str]) -> None:
    try:
        _find(top, connection["sender"]).connect(connection["signal"], _find(top, connection["receiver"]), connection["slot"])
    except (AttributeError, ValueError) as error:
        message = f"connection {connection['sender']}.{connection['signal']} -> {connection['receiver']}.{connection['slot']}: {error}"
        raise RuntimeError(message) from error


def _find(top: Any, name: str) -> Any:
    found = top if top.objectName == name else top.findChild(QObject, name)
    if found is None:
        message = f"no object named {name}"
        raise ValueError(message)
    return found
