"""Which widget may show which type of parameter, and how (gui_connection.md of Slicer's developer guide)."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer

from .parameter_annotations import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange, find, split_annotations
from .parameter_codecs import PATHS

PUBLIC = ("GuiConnector", "createGuiConnector")


class GuiConnector:
    """Reads, writes and watches the value of one widget."""

    signal: str | None = None

    def __init__(self, widget: Any, type_: Any, annotations: list[Any]) -> None:
        self._widget, self._type, self._annotations = widget, type_, annotations
        self._callback: Callable[[], None] | None = None
        self.prepare()

    def prepare(self) -> None:
        """Set the range, steps and choices that the annotations ask for."""

    def widget(self) -> Any:
        return self._widget

    def read(self) -> Any:
        raise NotImplementedError

    def write(self, value: Any) -> None:
        raise NotImplementedError

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call back when the user changes the value; None ends it."""
        if callback is None:
            if self._callback is not None and self.signal is not None:
                getattr(self._widget, self.signal).disconnect(self.changed)
        elif self.signal is not None:
            getattr(self._widget, self.signal).connect(self.changed)
        self._callback = callback

    def changed(self) -> None:
        if self._callback is not None:
            self._callback()


class _Checked(GuiConnector):
    signal = "toggled"

    def prepare(self) -> None:
        if not self._widget.checkable:  # Slicer makes it checkable and warns; the .ui file should say so
            message = f"{self._widget.objectName}: a button bound to a bool parameter must be checkable"
            raise RuntimeError(message)

    def read(self) -> bool:
        return bool(self._widget.checked)

    def write(self, value: bool) -> None:
        self._widget.checked = value


class _CheckBox(_Checked):
    signal = "stateChanged"

    def prepare(self) -> None:
        pass


class _Number(GuiConnector):
    signal = "valueChanged"
    needs_range: tuple[type, ...] = ()
    unbounded: tuple[float, float] = (float("-inf"), float("inf"))

    def prepare(self) -> None:
        within = find(self._annotations, WithinRange)
        low, high = find(self._annotations, Minimum), find(self._annotations, Maximum)
        lowest = within.minimum if within else low.minimum if low else None
        highest = within.maximum if within else high.maximum if high else None
        if (lowest is None or highest is None) and type(self._widget) in self.needs_range:
            message = f"Cannot have a connection to {type(self._widget).__name__} where the type is unbounded: annotate WithinRange"
            raise RuntimeError(message)
        self._steps()
        self._widget.setMinimum(self.unbounded[0] if lowest is None else lowest)
        self._widget.setMaximum(self.unbounded[1] if highest is None else highest)

    def _steps(self) -> None:
        step = find(self._annotations, SingleStep)
        if step is not None:
            self._widget.singleStep = step.value

    def read(self) -> Any:
        return self._type(self._widget.value)

    def write(self, value: Any) -> None:
        self._widget.value = self._type(value)


class _Integer(_Number):
    needs_range = (qt.QSlider,)
    unbounded = (-(2**31), 2**31 - 1)


class _Float(_Number):
    needs_range = (ctk.ctkSliderWidget, slicer.qMRMLSliderWidget)

    def _steps(self) -> None:
        super()._steps()
        decimals = find(self._annotations, Decimals)
        if self._type is int:
            self._widget.decimals = 0
        elif decimals is not None:
            self._widget.decimals = decimals.value


class _Choices(GuiConnector):
    signal = "currentIndexChanged"

    def prepare(self) -> None:
        choice = find(self._annotations, Choice)
        if choice is None:
            message = f"{self._widget.objectName}: a combo box bound to {self._type.__name__} requires the Choice annotation"
            raise RuntimeError(message)
        self._fill([(str(value), value) for value in choice.choices])

    def _fill(self, rows: list[tuple[str, Any]]) -> None:
        self._values = [value for _, value in rows]
        self._widget.clear()
        for text, _ in rows:
            self._widget.addItem(text)

    def read(self) -> Any:
        return self._values[self._widget.currentIndex]

    def write(self, value: Any) -> None:
        self._widget.currentIndex = self._values.index(value)


class _EnumChoices(_Choices):
    def prepare(self) -> None:
        label = getattr(self._type, "label", lambda member: member.name)
        self._fill([(label(member), member) for member in self._type])


class _LineEdit(GuiConnector):
    signal = "textChanged"

    def read(self) -> str:
        return str(self._widget.text)

    def write(self, value: str) -> None:
        if value != self._widget.text:  # writing moves the cursor to the end
            self._widget.text = value


class _Label(_LineEdit):
    signal = None  # one way: from the parameter to the label


class _TextEdit(_LineEdit):
    def read(self) -> str:
        return str(self._widget.toPlainText())

    def write(self, value: str) -> None:
        if value != self._widget.toPlainText():
            self._widget.setPlainText(value)


class _PathEdit(GuiConnector):
    signal = "currentPathChanged"

    def read(self) -> Any:
        return self._type(self._widget.currentPath)

    def write(self, value: Any) -> None:
        self._widget.currentPath = str(value)


class _DirectoryButton(GuiConnector):
    signal = "directoryChanged"

    def read(self) -> Any:
        return self._type(self._widget.directory)

    def write(self, value: Any) -> None:
        self._widget.directory = str(value)


class _NodeComboBox(GuiConnector):
    signal = "currentNodeChanged"

    def prepare(self) -> None:
        self._widget.nodeTypes = [type_.__name__ for type_ in node_types(self._type)]

    def read(self) -> Any:
        return self._widget.currentNode()

    def write(self, value: Any) -> None:
        self._widget.setCurrentNode(value)


def node_types(type_: Any) -> list[type]:
    """Return the MRML node classes of a type or union (None left out); [] when there is anything else in it."""
    union = typing.get_origin(type_) in {typing.Union, types.UnionType}
    members = [member for member in typing.get_args(type_) if member is not type(None)] if union else [type_]
    nodes = [member for member in members if isinstance(member, type) and issubclass(member, slicer.vtkMRMLNode)]
    return nodes if len(nodes) == len(members) else []


def createGuiConnector(widget: Any, datatype: Any) -> GuiConnector:
    """Return the connector of a widget to a (maybe annotated) type; RuntimeError when Slicer has none."""
    type_, annotations = split_annotations(datatype)
    connector = _TABLE.get((type(widget), type_)) or _by_kind(type(widget), type_)
    if connector is None:
        message = f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}' ({widget.objectName})"
        raise RuntimeError(message)
    return connector(widget, type_, annotations)


def _by_kind(widget_type: type, type_: Any) -> type[GuiConnector] | None:
    if widget_type is slicer.qMRMLNodeComboBox and node_types(type_):
        return _NodeComboBox
    if widget_type in COMBO_BOXES and isinstance(type_, type) and issubclass(type_, enum.Enum):
        return _EnumChoices
    return None


def _known(module: Any, *names: str) -> list[type]:
    """Return the classes of these names that the stand-in has."""
    return [getattr(module, name) for name in names if hasattr(module, name)]


COMBO_BOXES = (qt.QComboBox, *_known(ctk, "ctkComboBox"))
CHECK_BOXES = (qt.QCheckBox, *_known(ctk, "ctkCheckBox"))
FLOAT_WIDGETS = (
    *(qt.QDoubleSpinBox, slicer.qMRMLSliderWidget, slicer.qMRMLSpinBox),
    *_known(ctk, "ctkSliderWidget", "ctkDoubleSlider", "ctkDoubleSpinBox"),
)

# Slicer compares types exactly: a subclass of a widget in this table is not connected.
_TABLE: dict[tuple[type, Any], type[GuiConnector]] = {
    **{(widget, bool): _CheckBox for widget in CHECK_BOXES},
    (qt.QPushButton, bool): _Checked,
    (qt.QSlider, int): _Integer,
    (qt.QSpinBox, int): _Integer,
    (qt.QLineEdit, str): _LineEdit,
    (qt.QTextEdit, str): _TextEdit,
    (qt.QLabel, str): _Label,
    **{(widget, type_): _Float for widget in FLOAT_WIDGETS for type_ in (float, int)},
    **{(widget, type_): _Choices for widget in COMBO_BOXES for type_ in (int, float, str, bool)},
    **{(widget, path): _PathEdit for widget in _known(ctk, "ctkPathLineEdit") for path in PATHS},
    **{(widget, path): _DirectoryButton for widget in _known(ctk, "ctkDirectoryButton") for path in PATHS},
}
